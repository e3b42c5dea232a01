//! The facts in certificates: whose they are, and until when. No trust is decided by it.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use x509_parser::{extensions::GeneralName, parse_x509_certificate};

/// Files of a folder that are looked at, at most.
const FILES_MAX: usize = 4096;

/// A chain's first certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Its file.
    pub file: PathBuf,
    /// DNS names, lower case; its file's where there are none.
    pub names: Vec<String>,
    /// The last second in which it holds, Unix seconds.
    pub ends: i64,
}

impl Certificate {
    /// From its bytes; none where they are no certificate.
    #[must_use]
    pub fn read(file: &Path, der: &[u8]) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let alternatives = certificate.subject_alternative_name().ok().flatten();
        let mut names: Vec<String> = alternatives
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|name| match name {
                GeneralName::DNSName(name) => Some(name.to_ascii_lowercase()),
                _ => None,
            })
            .collect();
        if names.is_empty() {
            names.extend(file.file_stem().map(|stem| stem.to_string_lossy().to_ascii_lowercase()));
        }
        Some(Self { file: file.to_owned(), names, ends: certificate.validity().not_after.timestamp() })
    }

    /// Whether it is for a name, by itself or by a wildcard.
    #[must_use]
    pub fn is_for(&self, name: &str) -> bool {
        let parent = name.split_once('.').map(|(_, parent)| parent);
        self.names.iter().any(|own| own == name || own.strip_prefix("*.").is_some_and(|rest| Some(rest) == parent))
    }
}

/// The reason why the front could not use a folder of certificates.
#[derive(Debug, thiserror::Error)]
pub enum CertificatesError {
    /// The folder cannot be read.
    #[error("{} cannot be read: {}", .0.display(), .1)]
    Folder(PathBuf, #[source] io::Error),
    /// A chain or its key cannot be read.
    #[error("{} or its key cannot be read: {}", .0.display(), .1)]
    File(PathBuf, #[source] io::Error),
    /// A file holds no certificate.
    #[error("no certificate is in {}", .0.display())]
    NoCertificate(PathBuf),
    /// A file holds no private key.
    #[error("no private key is in {}", .0.display())]
    NoKey(PathBuf),
    /// The bytes of what a file calls a certificate are none.
    #[error("what is in {} is no certificate", .0.display())]
    Malformed(PathBuf),
    /// The folder has no file of a certificate.
    #[error("no certificate is in {}: NAME.pem, or NAME.crt and NAME.key", .0.display())]
    Empty(PathBuf),
}

/// Reads the certificates of a folder, as the front does. None where the folder is not on this machine, or not for this
/// user to read.
pub fn in_folder(folder: &Path) -> Result<Option<Vec<Certificate>>, CertificatesError> {
    let is_elsewhere =
        |error: &io::Error| matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied);
    let entries = match fs::read_dir(folder) {
        Err(error) if is_elsewhere(&error) => return Ok(None),
        Err(error) => return Err(CertificatesError::Folder(folder.to_owned(), error)),
        Ok(entries) => entries,
    };
    let mut found = Vec::new();
    for path in entries.take(FILES_MAX).filter_map(|entry| Some(entry.ok()?.path())) {
        let key = match path.extension().and_then(|extension| extension.to_str()) {
            Some("pem") => path.clone(),
            Some("crt") => path.with_extension("key"),
            _ => continue,
        };
        let text = match fs::read(&path).and_then(|chain| Ok((chain, fs::read(&key)?))) {
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => return Ok(None),
            Err(error) => return Err(CertificatesError::File(path, error)),
            Ok(text) => text,
        };
        let first = CertificateDer::pem_slice_iter(&text.0).next();
        let Some(Ok(first)) = first else { return Err(CertificatesError::NoCertificate(path)) };
        if PrivateKeyDer::from_pem_slice(&text.1).is_err() {
            return Err(CertificatesError::NoKey(key));
        }
        let read = Certificate::read(&path, &first);
        found.push(read.ok_or(CertificatesError::Malformed(path))?);
    }
    if found.is_empty() {
        return Err(CertificatesError::Empty(folder.to_owned()));
    }
    Ok(Some(found))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, date_time_ymd};

    use super::*;

    /// Writes `NAME.pem` for these names, until the end of 2030.
    fn write(folder: &Path, file: &str, names: &[&str]) {
        let mut params = CertificateParams::new(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
        params.not_after = date_time_ymd(2031, 1, 1);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        fs::write(folder.join(file), certificate.pem() + &key.serialize_pem()).unwrap();
    }

    #[test]
    fn names_and_ends_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        assert!(matches!(in_folder(&folder.join("elsewhere")), Ok(None)));
        assert!(in_folder(folder).unwrap_err().to_string().contains("no certificate is in "));
        write(folder, "App.com.pem", &["App.com", "*.app.com"]);
        write(folder, "b.example.pem", &[]);
        fs::write(folder.join("readme.txt"), "none").unwrap();
        let mut found = in_folder(folder).unwrap().unwrap();
        found.sort_by(|one, other| one.file.cmp(&other.file));
        assert_eq!(found.iter().map(|one| one.ends).collect::<Vec<_>>(), [1_924_992_000; 2]);
        assert_eq!(
            (&found[0].names[..], &found[1].names[..]),
            (&["app.com".into(), "*.app.com".into()][..], &["b.example".into()][..])
        );
        let is_for = ["app.com", "boston.app.com", "a.boston.app.com", "com"].map(|name| found[0].is_for(name));
        assert_eq!(is_for, [true, true, false, false]);
        for (file, text) in [("x.pem", "nothing"), ("x.crt", "nothing")] {
            fs::write(folder.join(file), text).unwrap();
            let why = in_folder(folder).unwrap_err().to_string();
            assert!(why.contains("x.pem") || why.contains("x.crt"), "{why}");
            fs::remove_file(folder.join(file)).unwrap();
        }
    }
}
