//! Session servers that speak TLS alone and ask for a user and a password, as the chapter recommends it for more than one machine.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, net::SocketAddr, path::Path, sync::Arc, time::Duration};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
use serde_json::Value;
use tempfile::TempDir;
use tests::{
    lab::can_run, netns::Netns, process::eventually, redis::RedisServer, scratch::folder, session_lab::WorkerMachine,
};
use zerottl_core::session_id::SessionId;

const PATIENCE: Duration = Duration::from_secs(20);
const PASSWORD: &str = "a-long-password";
/// The port that speaks TLS; another one, which speaks none, is the test's own.
const TLS: u16 = 6380;
/// Rights that the chapter gives to the user, in the words of `ACL SETUSER`.
const USER: &str = "~zerottl:* +@read +@write +@scripting +@connection -@dangerous";

/// Somebody who signs certificates.
struct Authority {
    issuer: Issuer<'static, KeyPair>,
    certificate: String,
}

impl Authority {
    fn new(name: &str) -> Self {
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// Writes a certificate for a name or an address, and its key. Returns redis' settings with it.
    fn settings(&self, folder: &Path, name: &str) -> Vec<String> {
        let key = KeyPair::generate().unwrap();
        let signed = CertificateParams::new([name.to_owned()]).unwrap().signed_by(&key, &self.issuer).unwrap();
        let file = |end: &str, text: String| {
            let path = folder.join(format!("{name}.{end}"));
            fs::write(&path, text).unwrap();
            path.display().to_string()
        };
        let port = TLS.to_string();
        let (certificate, key) = (file("pem", signed.pem()), file("key", key.serialize_pem()));
        // Without client certificates, which zerottl has none of.
        let pairs = [
            ("--tls-port", port),
            ("--tls-cert-file", certificate.clone()),
            ("--tls-key-file", key),
            ("--tls-ca-cert-file", certificate),
            ("--tls-auth-clients", "no".to_owned()),
        ];
        pairs.into_iter().flat_map(|(name, value)| [name.to_owned(), value]).collect()
    }
}

/// A worker and its only session server, on one machine.
struct TlsScene {
    worker: WorkerMachine,
    redis: RedisServer,
    folder: TempDir,
}

impl TlsScene {
    /// Makes one whose session server's certificate is for `name`, signed by an authority that the worker trusts.
    fn new(name: &str) -> Self {
        let folder = folder().unwrap();
        let authority = Authority::new("the Site's");
        fs::write(folder.path().join("ca.pem"), &authority.certificate).unwrap();
        fs::write(folder.path().join("password"), format!("{PASSWORD}\n")).unwrap();
        let session = format!(
            "servers = [\"rediss://zerottl@127.0.0.1:{TLS}\"]\nservers_password = \"password\"\nservers_ca = \"ca.pem\"\n\
             copies = 1\nwrite = \"ack-all\"\nlease = \"5s\"\ntimeout = \"2s\"\n"
        );
        let worker = WorkerMachine::alone(folder.path(), &session).unwrap();
        let at = SocketAddr::from(([127, 0, 0, 1], 6379));
        let settings = authority.settings(folder.path(), name);
        let redis = RedisServer::start_with(at, Some(Arc::clone(&worker.machine)), settings).unwrap();
        redis.ask(&format!("ACL SETUSER zerottl on >{PASSWORD} {USER}")).unwrap();
        Self { worker, redis, folder }
    }

    fn machine(&self) -> &Netns {
        &self.worker.machine
    }

    fn curl(&self, method: &str, data: &str) -> String {
        let url = format!("http://{}/v1/session/{}", self.worker.at(), SessionId([7; 16]));
        let arguments = ["-sS", "-X", method, "--data-binary", data, "-w", " %{http_code}", &url];
        self.machine().read("curl", &arguments).unwrap()
    }

    /// The session server, as the worker sees it.
    fn server(&self) -> Value {
        let url = format!("http://{}/v1/sessions", self.worker.at());
        let page = self.machine().read("curl", &["-sSf", &url]).unwrap_or_default();
        let page: Value = serde_json::from_str(&page).unwrap_or_default();
        page["servers"][0].clone()
    }

    /// Waits until the session server is not reached for a reason with these words, which the log has too, with the server's name;
    /// the password is nowhere.
    fn is_refused(&self, words: &str) {
        let is_so = || {
            let server = self.server();
            server["state"] == "down" && server["why"].as_str().is_some_and(|why| why.contains(words))
        };
        assert!(eventually(PATIENCE, is_so), "{words}: {:#} {}", self.server(), self.worker.log());
        let (log, name) = (self.worker.log(), format!("127.0.0.1:{TLS}"));
        let is_said =
            |line: &str| line.contains("session server not reached") && line.contains(&name) && line.contains(words);
        assert!(log.lines().any(is_said), "{words}: {log}");
        assert!(!log.contains(PASSWORD) && !self.server().to_string().contains(PASSWORD), "{log}");
        assert_eq!(self.server()["name"], name);
        let answer = self.curl("PUT", "cart");
        assert!(answer.contains("no_quorum") && answer.ends_with(" 503"), "{answer}");
    }
}

/// Session servers are reached over TLS, as a user with a password who may do no more than the chapter gives.
#[test]
fn session_servers_over_tls_with_a_password() {
    if !can_run("session servers over TLS") {
        return;
    }
    let mut scene = TlsScene::new("127.0.0.1");
    scene.worker.start().unwrap();
    assert!(eventually(PATIENCE, || scene.server()["state"] == "up"), "{:#} {}", scene.server(), scene.worker.log());
    assert_eq!(scene.curl("PUT", "cart"), " 204");
    let kept = scene.redis.ask(&format!("HGET zerottl:boston.app.com:s:{} data", SessionId([7; 16]))).unwrap();
    assert!(kept.contains("cart"), "{kept}");
    let clients = scene.redis.ask("CLIENT LIST").unwrap();
    let of_worker: Vec<&str> = clients.lines().filter(|line| line.contains("user=zerottl")).collect();
    assert!(!of_worker.is_empty(), "{clients}");
    assert!(of_worker.iter().all(|line| line.contains(&format!("laddr=127.0.0.1:{TLS} "))), "{clients}");
    // Read from there by the next start.
    scene.worker.end().unwrap();
    scene.worker.start().unwrap();
    assert!(eventually(PATIENCE, || scene.curl("GET", "") == "cart 200"), "{}", scene.worker.log());
    assert_eq!(scene.server()["reads"], 1);
}

/// A session server whose certificate nobody vouches for, or is for another name, and one that refuses the password, are named with
/// the reason, and are not used; once it is set right and the process is started again, all is well.
#[test]
fn session_servers_that_cannot_be_trusted_are_named() {
    if !can_run("session servers that cannot be trusted") {
        return;
    }
    let mut scene = TlsScene::new("127.0.0.1");
    let beside = |scene: &TlsScene, name: &str| scene.folder.path().join(name);
    let good = fs::read(beside(&scene, "ca.pem")).unwrap();
    fs::write(beside(&scene, "ca.pem"), Authority::new("somebody else").certificate).unwrap();
    scene.worker.start().unwrap();
    scene.is_refused("UnknownIssuer");
    scene.worker.end().unwrap();

    fs::write(beside(&scene, "ca.pem"), good).unwrap();
    fs::write(beside(&scene, "password"), "another\n").unwrap();
    scene.worker.start().unwrap();
    scene.is_refused("Password authentication failed");
    scene.worker.end().unwrap();

    fs::write(beside(&scene, "password"), PASSWORD).unwrap();
    scene.worker.start().unwrap();
    assert!(eventually(PATIENCE, || scene.server()["state"] == "up"), "{:#} {}", scene.server(), scene.worker.log());
    assert_eq!(scene.curl("PUT", "cart"), " 204");

    let mut scene = TlsScene::new("redis.example");
    scene.worker.start().unwrap();
    scene.is_refused("not valid for name");
}
