//! Trust anchors and own certificates of TLS, from files.

use std::path::{Path, PathBuf};

use rustls_pki_types::{
    CertificateDer, PrivateKeyDer,
    pem::{self, PemObject as _},
};
use tokio_rustls::rustls::{self, RootCertStore, crypto::ring, sign::CertifiedKey};

/// The reason why a file gives no trust anchors.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    /// It cannot be read, or is not PEM.
    #[error(transparent)]
    Pem(#[from] pem::Error),
    /// One of its certificates, by its number from 1, is none.
    #[error("certificate {0} in it is none ({1})")]
    Certificate(usize, #[source] rustls::Error),
    /// There is nothing in it.
    #[error("holds no certificate")]
    Empty,
}

/// Reads the certificates of a PEM file, every one of which must be one.
pub fn trust_anchors(path: &Path) -> Result<RootCertStore, TrustError> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    for (at, certificate) in certificates?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| TrustError::Certificate(at + 1, error))?;
    }
    if roots.is_empty() {
        return Err(TrustError::Empty);
    }
    Ok(roots)
}

/// A chain, its own certificate first, and the private key of that.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// The reason why two files give no identity.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The chain cannot be read, or is not PEM.
    #[error("certificate {}: {source}", file.display())]
    Chain {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: pem::Error,
    },
    /// The chain has no certificate.
    #[error("certificate {}: there is none in it", .0.display())]
    Empty(PathBuf),
    /// The key cannot be read, or is not PEM.
    #[error("key {}: {source}", file.display())]
    Key {
        /// The file.
        file: PathBuf,
        /// The reason.
        source: pem::Error,
    },
    /// They cannot be used together, such as where the key is another certificate's.
    #[error("certificate {} and key {}: {source}", certificate.display(), key.display())]
    Unusable {
        /// The file of the chain.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// The reason.
        source: rustls::Error,
    },
}

/// Reads a chain and its key from PEM files, and tries whether they go together.
pub fn identity(certificate: &Path, key: &Path) -> Result<Identity, IdentityError> {
    let chain = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|source| IdentityError::Chain { file: certificate.to_owned(), source })?;
    if chain.is_empty() {
        return Err(IdentityError::Empty(certificate.to_owned()));
    }
    let private =
        PrivateKeyDer::from_pem_file(key).map_err(|source| IdentityError::Key { file: key.to_owned(), source })?;
    CertifiedKey::from_der(chain.clone(), private.clone_key(), &ring::default_provider()).map_err(|source| {
        IdentityError::Unusable { certificate: certificate.to_owned(), key: key.to_owned(), source }
    })?;
    Ok((chain, private))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rcgen::{CertificateParams, KeyPair};

    use super::*;

    #[test]
    fn a_certificate_and_its_key_go_together() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let key = KeyPair::generate().unwrap();
        let made = CertificateParams::new(vec!["probe".to_owned()]).unwrap().self_signed(&key).unwrap();
        let (chain, own) = (file("chain.pem", &made.pem()), file("own.key", &key.serialize_pem()));
        let other = file("other.key", &KeyPair::generate().unwrap().serialize_pem());
        let text = file("text", "no PEM");
        let read = |certificate: &Path, key: &Path| identity(certificate, key).map(|(chain, _)| chain.len());
        assert_eq!(read(&chain, &own).unwrap(), 1);
        assert!(matches!(read(&chain, &other), Err(IdentityError::Unusable { .. })));
        assert!(matches!(read(&chain, &text), Err(IdentityError::Key { .. })));
        assert!(matches!(read(&text, &own), Err(IdentityError::Empty(_))));
        assert!(matches!(read(&folder.path().join("none"), &own), Err(IdentityError::Chain { .. })));
    }
}
