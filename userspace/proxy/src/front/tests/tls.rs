//! Certificates by server name.

use std::{fs, path::Path};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls_pki_types::ServerName;
use tempfile::TempDir;
use tokio_rustls::{
    TlsConnector,
    client::TlsStream,
    rustls::{AlertDescription, ClientConfig, Error as TlsError, crypto::ring},
};

use super::*;
use crate::front::FrontRefusal;
use zerottl_core::model::WebTls;
use zerottl_inputs::http_check::TrustAnyone;

/// Writes `NAME.pem` for these DNS names, and gives the certificate.
pub(super) fn pem(folder: &Path, file: &str, names: &[&str]) -> Vec<u8> {
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(names.iter().map(ToString::to_string).collect::<Vec<_>>()).unwrap();
    fs::write(folder.join(file), format!("{}{}", cert.pem(), signing_key.serialize_pem())).unwrap();
    cert.der().to_vec()
}

/// A front with TLS, certificates from this folder.
pub(super) fn front(backends: &[SocketAddr], folder: &TempDir, change: impl FnOnce(&mut Web)) -> Front {
    Front::start(backends, |web| {
        let listen = vec![SocketAddr::from(([127, 0, 0, 1], 0))];
        web.tls = Some(WebTls { listen, certificates: folder.path().to_path_buf() });
        change(web);
    })
}

/// Connects with this server name, believing any certificate; without SNI where the name is an address.
pub(super) async fn connect(front: &Front, name: &str, protocols: &[&str]) -> std::io::Result<TlsStream<TcpStream>> {
    let provider = Arc::new(ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(TrustAnyone(provider)))
        .with_no_client_auth();
    config.alpn_protocols = protocols.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(front.secure.unwrap()).await?;
    let name = ServerName::try_from(name.to_owned()).unwrap();
    timeout(SOON, TlsConnector::from(Arc::new(config)).connect(name, stream)).await.expect("shaken in time")
}

/// The certificate that is shown to a client that asks for this name, or the alert.
async fn shown(front: &Front, name: &str) -> Result<Vec<u8>, AlertDescription> {
    match connect(front, name, &[]).await {
        Ok(stream) => Ok(stream.get_ref().1.peer_certificates().unwrap()[0].to_vec()),
        Err(error) => match error.get_ref().and_then(|inner| inner.downcast_ref::<TlsError>()) {
            Some(TlsError::AlertReceived(alert)) => Err(*alert),
            other => panic!("{name}: {other:?}"),
        },
    }
}

#[tokio::test]
async fn a_certificate_is_chosen_by_server_name() {
    let folder = TempDir::new().unwrap();
    let pool = pem(folder.path(), "a.pem", &["app.com", "WWW.app.com"]);
    let sites = pem(folder.path(), "b.pem", &["*.app.com"]);
    // In two files, and without a DNS name: for the name of its file.
    let bare = pem(folder.path(), "geneva.org.tmp", &["192.0.2.1"]);
    let both = fs::read_to_string(folder.path().join("geneva.org.tmp")).unwrap();
    let (chain, key) = both.split_at(both.find("-----BEGIN PRIVATE KEY").unwrap());
    fs::write(folder.path().join("geneva.org.crt"), chain).unwrap();
    fs::write(folder.path().join("geneva.org.key"), key).unwrap();
    fs::write(folder.path().join("README"), "not a certificate").unwrap();
    let front = front(&[], &folder, |_| ());
    let names = front.certificates.as_ref().unwrap().names();
    assert_eq!(names, ["*.app.com", "app.com", "geneva.org", "www.app.com"]);
    for (name, expected) in [
        ("app.com", Ok(&pool)),
        ("www.app.com", Ok(&pool)),
        ("APP.com", Ok(&pool)),
        ("boston.app.com", Ok(&sites)),
        ("geneva.org", Ok(&bare)),
        ("a.boston.app.com", Err(AlertDescription::UnrecognisedName)),
        ("other.com", Err(AlertDescription::UnrecognisedName)),
        ("127.0.0.1", Err(AlertDescription::UnrecognisedName)), // No SNI at all.
    ] {
        assert_eq!(shown(&front, name).await.as_ref(), expected.as_ref().copied(), "{name}");
    }
    until("they are counted", || front.counters.refused(FrontRefusal::Handshake) == 3).await;
}

#[tokio::test]
async fn the_only_certificate_is_for_everyone() {
    let folder = TempDir::new().unwrap();
    let only = pem(folder.path(), "a.pem", &["app.com"]);
    let front = front(&[], &folder, |_| ());
    for name in ["app.com", "other.com", "127.0.0.1"] {
        assert_eq!(shown(&front, name).await.as_ref(), Ok(&only), "{name}");
    }
}

#[tokio::test]
async fn a_folder_is_read_anew_whole_or_not_at_all() {
    let folder = TempDir::new().unwrap();
    let first = pem(folder.path(), "a.pem", &["app.com"]);
    let front = front(&[], &folder, |_| ());
    let certificates = front.certificates.clone().unwrap();
    let second = pem(folder.path(), "a.pem", &["app.com"]);
    assert_eq!(shown(&front, "app.com").await, Ok(first));
    certificates.reload().unwrap();
    assert_eq!(shown(&front, "app.com").await.as_ref(), Ok(&second));

    // Each of these leaves the ones before, and names the file.
    let file = |name: &str| folder.path().join(name);
    fs::write(file("b.pem"), "nothing").unwrap();
    let error = certificates.reload().unwrap_err().to_string();
    assert!(error.contains("b.pem") && error.contains("none in it"), "{error}");
    fs::remove_file(file("b.pem")).unwrap();

    pem(folder.path(), "c.pem", &["app.com"]);
    let error = certificates.reload().unwrap_err().to_string();
    assert!(error.contains("a.pem") && error.contains("c.pem") && error.contains("app.com"), "{error}");

    let other = fs::read_to_string(file("c.pem")).unwrap();
    fs::rename(file("c.pem"), file("c.crt")).unwrap();
    let error = certificates.reload().unwrap_err().to_string();
    assert!(error.contains("c.key"), "{error}");

    let mine = fs::read_to_string(file("a.pem")).unwrap();
    let from = "-----BEGIN PRIVATE KEY";
    let mixed = [mine.split(from).next().unwrap(), from, other.split(from).nth(1).unwrap()].concat();
    fs::remove_file(file("c.crt")).unwrap();
    fs::write(file("a.pem"), mixed).unwrap();
    let error = certificates.reload().unwrap_err().to_string();
    assert!(error.contains("a.pem"), "{error}");

    fs::remove_file(file("a.pem")).unwrap();
    let error = certificates.reload().unwrap_err().to_string();
    assert!(error.contains("no certificate in"), "{error}");
    assert_eq!(shown(&front, "app.com").await, Ok(second));
}

#[tokio::test]
async fn a_handshake_is_not_waited_for() {
    let folder = TempDir::new().unwrap();
    pem(folder.path(), "a.pem", &["app.com"]);
    let front = front(&[], &folder, |web| web.limits.head_timeout = Duration::from_millis(100));
    let mut stream = TcpStream::connect(front.secure.unwrap()).await.unwrap();
    assert_eq!(read_to_end(&mut stream).await, "");
    assert_eq!(front.counters.refused(FrontRefusal::Handshake), 1);
    // Plain HTTP there is none.
    let mut stream = TcpStream::connect(front.secure.unwrap()).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let answer = read_to_end(&mut stream).await;
    assert!(!answer.contains("HTTP"), "{answer}");
}

#[tokio::test]
async fn http1_over_tls_says_so_to_the_backend() {
    let folder = TempDir::new().unwrap();
    pem(folder.path(), "a.pem", &["app.com"]);
    let app = Recorder::start("app").await;
    let front = front(&[app.at], &folder, |_| ());
    let mut stream = connect(&front, "app.com", &["http/1.1"]).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nHost: app.com\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut answer = String::new();
    let _ = timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap();
    assert!(answer.ends_with("app"), "{answer}");
    assert_eq!(app.seen()[0].all("x-forwarded-proto"), ["https"]);
}
