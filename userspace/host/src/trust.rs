//! Trust anchors of TLS, from files.

use std::path::Path;

use rustls_pki_types::{
    CertificateDer,
    pem::{self, PemObject as _},
};
use tokio_rustls::rustls::{self, RootCertStore};

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
