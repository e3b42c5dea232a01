//! Trust anchors of TLS, from files.

use std::path::Path;

use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use tokio_rustls::rustls::RootCertStore;

/// The certificates of a PEM file, every one of which must be one.
pub fn trust_anchors(path: &Path) -> Result<RootCertStore, String> {
    let certificates = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
    let mut roots = RootCertStore::empty();
    for (at, certificate) in certificates.map_err(|error| error.to_string())?.into_iter().enumerate() {
        roots.add(certificate).map_err(|error| format!("certificate {} in it is none ({error})", at + 1))?;
    }
    if roots.is_empty() {
        return Err("holds no certificate".into());
    }
    Ok(roots)
}
