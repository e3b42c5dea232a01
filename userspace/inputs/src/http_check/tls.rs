//! TLS for checks: whom to trust, loaded once.

use std::{collections::HashMap, io, path::PathBuf, sync::Arc};

use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{
        ClientConfig, DigitallySignedStruct, Error as TlsError, RootCertStore, SignatureScheme,
        client::{
            Resumption,
            danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        },
        crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature},
    },
};

use super::{
    conn::Connected,
    failure::{Failure, SetupError},
};
use zerottl_core::model::ProbeTls;

/// The trust a check's TLS starts from.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Trust {
    System,
    File(PathBuf),
    Anyone,
}

/// The version of HTTP that is spoken, as the handshake has it.
type Protocol = &'static [u8];
pub(super) const HTTP_1: Protocol = b"http/1.1";
pub(super) const HTTP_2: Protocol = b"h2";

/// The files of the certificate that is shown to the server, and of its key.
type Shown = Option<Box<(PathBuf, PathBuf)>>;

/// Client configurations, one for each that differs: reading the system's roots is slow and their copies are large.
#[derive(Default)]
pub struct Configs {
    made: HashMap<(Trust, Shown, Protocol), Arc<ClientConfig>>,
}

impl Configs {
    /// The connector and server name for one Site's probes. Reads files.
    pub(super) fn connector(
        &mut self,
        tls: &ProbeTls,
        protocol: Protocol,
    ) -> Result<(TlsConnector, ServerName<'static>), SetupError> {
        let name = ServerName::try_from(tls.server_name.clone())
            .map_err(|_| SetupError::ServerName(tls.server_name.clone()))?;
        let trust = match (&tls.ca, tls.verify) {
            (_, false) => Trust::Anyone,
            (Some(path), true) => Trust::File(path.clone()),
            (None, true) => Trust::System,
        };
        let of = (trust, tls.identity.clone(), protocol);
        let config = if let Some(config) = self.made.get(&of) {
            Arc::clone(config)
        } else {
            let config = Arc::new(client_config(&of.0, of.1.as_deref(), protocol)?);
            self.made.insert(of, Arc::clone(&config));
            config
        };
        Ok((TlsConnector::from(config), name))
    }
}

fn client_config(
    trust: &Trust,
    shown: Option<&(PathBuf, PathBuf)>,
    protocol: Protocol,
) -> Result<ClientConfig, SetupError> {
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions()?;
    let builder = match trust {
        Trust::Anyone => builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAnyone(provider))),
        Trust::File(path) => {
            let roots = zerottl_host::trust::trust_anchors(path)
                .map_err(|source| SetupError::TrustAnchors { path: path.clone(), source })?;
            builder.with_root_certificates(roots)
        }
        Trust::System => {
            let loaded = rustls_native_certs::load_native_certs();
            let mut roots = RootCertStore::empty();
            // System stores hold odd old certificates; the others still serve.
            let (usable, _) = roots.add_parsable_certificates(loaded.certs);
            if usable == 0 {
                return Err(SetupError::NoSystemAnchors(loaded.errors.into_iter().next()));
            }
            builder.with_root_certificates(roots)
        }
    };
    let mut config = match shown {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let (chain, key) = zerottl_host::trust::identity(certificate, key)?;
            builder.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![protocol.to_vec()];
    // A resumed session does not present its certificate, so an expired one would go unseen.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// The TLS handshake over a connected stream.
pub(super) async fn handshake(
    connector: &TlsConnector,
    name: &ServerName<'static>,
    stream: Connected,
) -> Result<TlsStream<Connected>, Failure> {
    connector.connect(name.clone(), stream).await.map_err(|error| Failure::sorted(error, failure))
}

/// Tells a certificate's fault from others of the handshake.
fn failure(error: io::Error) -> Failure {
    match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
        Some(TlsError::InvalidCertificate(why)) => Failure::Certificate(why.clone()),
        Some(TlsError::AlertReceived(alert)) => Failure::Alert(*alert),
        _ => Failure::Tls(error),
    }
}

/// `verify = false`: any certificate will do, but the handshake must still be signed by its key.
#[derive(Debug)]
pub struct TrustAnyone(pub Arc<CryptoProvider>);

impl ServerCertVerifier for TrustAnyone {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, TlsError> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls12_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, TlsError> {
        verify_tls13_signature(message, cert, dss, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
