//! Certificates by server name, read anew as a whole.

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{
    LazyConfigAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        server::{Acceptor, ProducesTickets},
    },
    server::TlsStream,
};

use zerottl_host::certificates::Certificate;

/// A fatal alert, `unrecognized_name` (RFC 6066 section 3), as a record of its own.
const UNRECOGNIZED_NAME: [u8; 7] = [21, 3, 3, 0, 2, 2, 112];

/// The versions of HTTP that may be spoken, the best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// The certificates of a folder, each for the DNS names in it.
///
/// `NAME.pem` holds a chain and its key; `NAME.crt` holds a chain, `NAME.key` beside it the key. A certificate without
/// DNS names is for `NAME`. Other files are left alone.
pub struct Certificates {
    folder: PathBuf,
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<Set>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certificates").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// One reading of the folder.
#[derive(Default)]
struct Set {
    exact: HashMap<String, Entry>,
    /// By what comes after `*.`.
    wildcard: HashMap<String, Entry>,
    /// The certificate, where there is but one: it is shown to whoever asks.
    only: Option<Arc<ServerConfig>>,
    read: Vec<Certificate>,
}

#[derive(Clone)]
struct Entry {
    config: Arc<ServerConfig>,
    file: PathBuf,
}

impl Certificates {
    /// Reads the folder. The error names the file.
    pub fn open(folder: &Path) -> Result<Arc<Self>, String> {
        let tickets = ring::Ticketer::new().map_err(|error| format!("TLS tickets: {error}"))?;
        let current = ArcSwap::from_pointee(Set::read(folder, &tickets)?);
        Ok(Arc::new(Self { folder: folder.to_path_buf(), tickets, current }))
    }

    /// Reads the folder again: handshakes from now on see all of it, or, where this is an error, nothing of it.
    pub fn reload(&self) -> Result<(), String> {
        self.current.store(Arc::new(Set::read(&self.folder, &self.tickets)?));
        Ok(())
    }

    /// Returns the names that have a certificate, sorted; wildcards as `*.name`.
    #[cfg(test)]
    pub fn names(&self) -> Vec<String> {
        let set = self.current.load();
        let wildcards = set.wildcard.keys().map(|name| format!("*.{name}"));
        let mut names: Vec<String> = set.exact.keys().cloned().chain(wildcards).collect();
        names.sort_unstable();
        names
    }

    /// Returns the certificates in use, as they were read.
    #[must_use]
    pub fn read(&self) -> Vec<Certificate> {
        self.current.load().read.clone()
    }

    /// The handshake. A client that names nothing we have a certificate for is told so, unless there is but one.
    pub(super) async fn accept<IO>(&self, stream: IO) -> io::Result<TlsStream<IO>>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let mut start = LazyConfigAcceptor::new(Acceptor::default(), stream).await?;
        let config = self.current.load().choose(start.client_hello().server_name());
        if let Some(config) = config {
            return start.into_stream(config).await;
        }
        start.io.write_all(&UNRECOGNIZED_NAME).await?;
        start.io.shutdown().await?;
        Err(io::Error::new(io::ErrorKind::InvalidInput, "no certificate for this server name"))
    }
}

impl Set {
    fn read(folder: &Path, tickets: &Arc<dyn ProducesTickets>) -> Result<Self, String> {
        let said = |error: io::Error| format!("certificates in {}: {error}", folder.display());
        let entries = fs::read_dir(folder).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(said)?;
        let mut paths: Vec<PathBuf> = entries.iter().map(fs::DirEntry::path).collect();
        paths.sort_unstable();
        let mut set = Self::default();
        let mut count = 0;
        for path in paths {
            let key = match path.extension().and_then(|extension| extension.to_str()) {
                Some("pem") => path.clone(),
                Some("crt") => path.with_extension("key"),
                _ => continue,
            };
            let (names, config, read) = certificate(&path, &key, tickets)?;
            set.read.extend(read);
            let entry = Entry { config: Arc::new(config), file: path };
            set.only = (count == 0).then(|| Arc::clone(&entry.config));
            count += 1;
            for name in names {
                set.add(&name, &entry)?;
            }
        }
        if count == 0 {
            return Err(format!("no certificate in {}: NAME.pem, or NAME.crt and NAME.key", folder.display()));
        }
        Ok(set)
    }

    fn add(&mut self, name: &str, entry: &Entry) -> Result<(), String> {
        let (map, key) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest),
            None => (&mut self.exact, name),
        };
        match map.insert(key.to_owned(), entry.clone()) {
            Some(other) if other.file != entry.file => {
                Err(format!("{} and {} are both for {name}", other.file.display(), entry.file.display()))
            }
            _ => Ok(()),
        }
    }

    fn choose(&self, name: Option<&str>) -> Option<Arc<ServerConfig>> {
        let named = name.and_then(|name| {
            let name = name.to_ascii_lowercase();
            self.exact.get(&name).or_else(|| self.wildcard.get(name.split_once('.')?.1))
        });
        named.map(|entry| &entry.config).or(self.only.as_ref()).map(Arc::clone)
    }
}

/// A chain and its key: the names it is for, and how it is shown.
fn certificate(
    path: &Path,
    key: &Path,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<(Vec<String>, ServerConfig, Option<Certificate>), String> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| format!("certificate {}: {error}", path.display()))?;
    let first = chain.first().ok_or_else(|| format!("certificate {}: there is none in it", path.display()))?;
    let names = names(first, path).map_err(|error| format!("certificate {}: {error}", path.display()))?;
    let read = Certificate::read(path, first);
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| format!("key {}: {error}", key.display()))?;
    let said = |error| format!("certificate {}: {error}", path.display());
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(said)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(said)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    config.ticketer = Arc::clone(tickets);
    Ok((names, config, read))
}

/// The DNS names of a certificate; its file's where there are none.
fn names(certificate: &CertificateDer<'_>, path: &Path) -> Result<Vec<String>, webpki::Error> {
    let end_entity = webpki::EndEntityCert::try_from(certificate)?;
    let mut names: Vec<String> = end_entity.valid_dns_names().map(str::to_ascii_lowercase).collect();
    if names.is_empty() {
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase()));
    }
    Ok(names)
}
