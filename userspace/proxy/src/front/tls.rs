//! Certificates by server name, read anew as a whole.

use std::{
    collections::HashMap,
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use arc_swap::ArcSwap;
use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject},
};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::{
    LazyConfigAcceptor,
    rustls::{
        self, ServerConfig,
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
pub(crate) struct Certificates {
    folder: PathBuf,
    tickets: Arc<dyn ProducesTickets>,
    current: ArcSwap<Set>,
}

impl fmt::Debug for Certificates {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_struct("Certificates").field("folder", &self.folder).finish_non_exhaustive()
    }
}

/// A folder of certificates that cannot be used, and why.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CertificateError {
    /// There is no key for session tickets.
    #[error("TLS tickets: {0}")]
    Tickets(#[source] rustls::Error),
    /// The folder cannot be read.
    #[error("certificates in {}: {source}", folder.display())]
    Folder { folder: PathBuf, source: io::Error },
    /// The folder has no certificate.
    #[error("no certificate in {}: NAME.pem, or NAME.crt and NAME.key", .0.display())]
    NoCertificate(PathBuf),
    /// Two certificates are for one name.
    #[error("{} and {} are both for {name}", first.display(), second.display())]
    SameName { name: String, first: PathBuf, second: PathBuf },
    /// A chain cannot be read.
    #[error("certificate {}: {source}", file.display())]
    Chain { file: PathBuf, source: pem::Error },
    /// A chain has no certificate.
    #[error("certificate {}: there is none in it", .0.display())]
    EmptyChain(PathBuf),
    /// A certificate is malformed.
    #[error("certificate {}: {source}", file.display())]
    Malformed { file: PathBuf, source: webpki::Error },
    /// A key cannot be read.
    #[error("key {}: {source}", file.display())]
    Key { file: PathBuf, source: pem::Error },
    /// A chain and its key cannot be used together.
    #[error("certificate {}: {source}", file.display())]
    Unusable { file: PathBuf, source: rustls::Error },
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
    pub(crate) fn open(folder: &Path) -> Result<Arc<Self>, CertificateError> {
        let tickets = ring::Ticketer::new().map_err(CertificateError::Tickets)?;
        let current = ArcSwap::from_pointee(Set::read(folder, &tickets)?);
        Ok(Arc::new(Self { folder: folder.to_path_buf(), tickets, current }))
    }

    /// Reads the folder again: handshakes from now on see all of it, or, where this is an error, nothing of it.
    pub(crate) fn reload(&self) -> Result<(), CertificateError> {
        self.current.store(Arc::new(Set::read(&self.folder, &self.tickets)?));
        Ok(())
    }

    /// Returns the names that have a certificate, sorted; wildcards as `*.name`.
    #[cfg(test)]
    pub(crate) fn names(&self) -> Vec<String> {
        let set = self.current.load();
        let wildcards = set.wildcard.keys().map(|name| format!("*.{name}"));
        let mut names: Vec<String> = set.exact.keys().cloned().chain(wildcards).collect();
        names.sort_unstable();
        names
    }

    /// Returns the certificates in use, as they were read.
    #[must_use]
    pub(crate) fn read(&self) -> Vec<Certificate> {
        self.current.load().read.clone()
    }

    /// Makes the handshake. A client that names nothing we have a certificate for is told so, unless there is but one.
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
    fn read(folder: &Path, tickets: &Arc<dyn ProducesTickets>) -> Result<Self, CertificateError> {
        let entries = fs::read_dir(folder)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| CertificateError::Folder { folder: folder.to_owned(), source })?;
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
            return Err(CertificateError::NoCertificate(folder.to_owned()));
        }
        Ok(set)
    }

    fn add(&mut self, name: &str, entry: &Entry) -> Result<(), CertificateError> {
        let (map, key) = match name.strip_prefix("*.") {
            Some(rest) => (&mut self.wildcard, rest),
            None => (&mut self.exact, name),
        };
        match map.insert(key.to_owned(), entry.clone()) {
            Some(other) if other.file != entry.file => {
                let (first, second) = (other.file, entry.file.clone());
                Err(CertificateError::SameName { name: name.to_owned(), first, second })
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

/// Reads a chain and its key. Returns the names it is for, and how it is shown.
fn certificate(
    path: &Path,
    key: &Path,
    tickets: &Arc<dyn ProducesTickets>,
) -> Result<(Vec<String>, ServerConfig, Option<Certificate>), CertificateError> {
    let chain = CertificateDer::pem_file_iter(path)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| CertificateError::Chain { file: path.to_owned(), source })?;
    let first = chain.first().ok_or_else(|| CertificateError::EmptyChain(path.to_owned()))?;
    let names = names(first, path).map_err(|source| CertificateError::Malformed { file: path.to_owned(), source })?;
    let read = Certificate::read(path, first);
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|source| CertificateError::Key { file: key.to_owned(), source })?;
    let unusable = |source| CertificateError::Unusable { file: path.to_owned(), source };
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, private)
        .map_err(unusable)?;
    config.alpn_protocols = PROTOCOLS.iter().map(|name| name.to_vec()).collect();
    config.ticketer = Arc::clone(tickets);
    Ok((names, config, read))
}

/// Returns the DNS names of a certificate; its file's where there are none.
fn names(certificate: &CertificateDer<'_>, path: &Path) -> Result<Vec<String>, webpki::Error> {
    let end_entity = webpki::EndEntityCert::try_from(certificate)?;
    let mut names: Vec<String> = end_entity.valid_dns_names().map(str::to_ascii_lowercase).collect();
    if names.is_empty() {
        names.extend(path.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase()));
    }
    Ok(names)
}
