//! Probes that HTTP and TCP alone do not make: with a certificate of one's own, by gRPC, and several at once.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use tests::{
    config::{Config, SiteConfig},
    lab::LabSpec,
    netns::Netns,
    process::{Process, eventually},
    scene::{HEALTH_PATIENCE, Scene},
    scratch::{find_tool, folder},
};

/// A server of the health protocol by the gRPC library, and Debian's own Python, for which python3-grpcio is.
const GRPC: &str = include_str!("probes/health_server.py");
const PYTHON: &str = "/usr/bin/python3";

/// A file that is written as a whole.
fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
    let (path, new) = (folder.join(name), folder.join("new"));
    fs::write(&new, text).expect("written");
    fs::rename(&new, &path).expect("renamed");
    path
}

/// An authority, in `NAME-ca.pem`.
struct Authority(CertifiedIssuer<'static, KeyPair>);

impl Authority {
    fn new(folder: &Path, name: &str) -> Self {
        let mut params = CertificateParams::new(vec![]).expect("parameters");
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("a certificate");
        put(folder, &format!("{name}-ca.pem"), &issuer.pem());
        Self(issuer)
    }

    /// A certificate and its key, as texts.
    fn issue(&self, name: &str) -> [String; 2] {
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new(vec![name.to_owned()]).expect("parameters");
        [params.signed_by(&key, &self.0).expect("a certificate").pem(), key.serialize_pem()]
    }
}

/// A scene with boston alone, which serves nothing but what a test starts there, probed as told.
fn boston(what: &str, keys: &str) -> Option<Scene> {
    let sites = vec![SiteConfig::new("boston", 1, 1)];
    let spec = LabSpec { sites: sites.clone(), ..LabSpec::default() };
    let site_keys = format!("{keys}\n");
    let more = "[agent]\nwatch = true\n".into();
    let config = Config { sites, groups: vec![], probe: None, site_keys, more, ..Config::default() };
    Scene::in_lab(what, &spec, config)
}

/// Waits until what `explain` says of boston has these words.
fn explained(scene: &Scene, words: &str) {
    let text = || scene.agent.zerottl(&["explain", "boston.app.com"]).unwrap_or_default();
    let said = eventually(HEALTH_PATIENCE, || text().contains(words));
    assert!(said, "no {words:?} in\n{}\n{}", text(), scene.agent.log());
}

/// Starts a program of the lab on a machine, its words in a log of the folder.
fn spawn(machine: &Netns, folder: &Path, mut command: Command) -> Process {
    let log = fs::File::create(folder.join("server.log")).expect("a log");
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
    Process::new(machine.spawn(command).expect("a server"))
}

/// `HAProxy` asks for a certificate: the Site is up once the probe shows one of the right authority; files that change are read
/// again.
#[test]
fn certificates_are_shown_to_haproxy() {
    let folder = folder().expect("a folder");
    let folder = folder.path();
    let (ours, theirs) = (Authority::new(folder, "ours"), Authority::new(folder, "theirs"));
    let server = put(folder, "server.pem", &ours.issue("boston.app.com").concat());
    let show = |[certificate, key]: [String; 2]| {
        put(folder, "probe.key", &key);
        put(folder, "probe.pem", &certificate);
    };
    show(theirs.issue("probe"));
    let path = |name: &str| folder.join(name).display().to_string();
    let keys = format!(
        "probe = {{ kind = \"https\", interval = \"500ms\", timeout = \"400ms\", ca = {:?}, certificate = {:?}, key = {:?} }}",
        path("ours-ca.pem"),
        path("probe.pem"),
        path("probe.key")
    );
    let Some(scene) = boston("a probe with a certificate", &keys) else { return };
    let configuration = format!(
        "global\n  log stderr format raw local0\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client 5s\n  \
         timeout server 5s\nfrontend in\n  bind :::443 v4v6 ssl crt {} ca-file {} verify required\n  http-request return \
         status 200\n",
        server.display(),
        path("ours-ca.pem")
    );
    let file = put(folder, "haproxy.cfg", &configuration);
    let mut command = Command::new(find_tool("haproxy").expect("haproxy"));
    command.args(["-db", "-f"]).arg(file);
    let _haproxy = spawn(&scene.lab.site("boston").machine, folder, command);
    scene.wait_for(&[("boston", false)]);
    explained(&scene, "the server does not trust the certificate that it was shown");
    show(ours.issue("probe"));
    scene.wait_for(&[("boston", true)]);
    show(theirs.issue("probe"));
    scene.wait_for(&[("boston", false)]);
}

/// A real gRPC server says of a service that it serves, that it does not, and that it knows none; and it is no longer there.
fn grpc_health(what: &str, over_tls: bool) {
    let folder = folder().expect("a folder");
    let folder = folder.path();
    let authority = Authority::new(folder, "ours");
    let path = |name: &str| folder.join(name).display().to_string();
    let mut keys =
        "kind = \"grpc\", port = 50051, service = \"shop.v1.Cart\", interval = \"500ms\", timeout = \"400ms\""
            .to_owned();
    let mut arguments = vec![path("statuses"), "50051".to_owned()];
    if over_tls {
        for name in ["boston.app.com", "probe"] {
            let [certificate, key] = authority.issue(name);
            put(folder, &format!("{name}.pem"), &certificate);
            put(folder, &format!("{name}.key"), &key);
        }
        let (ca, certificate, key) = (path("ours-ca.pem"), path("probe.pem"), path("probe.key"));
        keys = format!("{keys}, tls = true, ca = {ca:?}, certificate = {certificate:?}, key = {key:?}");
        arguments.extend([path("boston.app.com.pem"), path("boston.app.com.key"), ca]);
    }
    put(folder, "statuses", "=NOT_SERVING\nshop.v1.Cart=SERVING\n");
    let Some(scene) = boston(what, &format!("probe = {{ {keys} }}")) else { return };
    let script = put(folder, "health_server.py", GRPC);
    let mut command = Command::new(PYTHON);
    command.arg(script).args(arguments);
    let mut server = spawn(&scene.lab.site("boston").machine, folder, command);
    scene.wait_for(&[("boston", true)]);
    put(folder, "statuses", "=SERVING\nshop.v1.Cart=NOT_SERVING\n");
    scene.wait_for(&[("boston", false)]);
    explained(&scene, "grpc: the status is NOT_SERVING, not SERVING");
    put(folder, "statuses", "=SERVING\n");
    explained(&scene, "grpc: the call failed with NOT_FOUND: \"unknown service\"");
    put(folder, "statuses", "shop.v1.Cart=SERVING\n");
    scene.wait_for(&[("boston", true)]);
    server.kill();
    scene.wait_for(&[("boston", false)]);
    explained(&scene, "connect: connection refused");
}

#[test]
fn grpc_in_the_clear() {
    grpc_health("a gRPC probe in the clear", false);
}

#[test]
fn grpc_over_tls_with_a_certificate() {
    grpc_health("a gRPC probe over TLS", true);
}

/// Two probes of which one is enough; then, by a reload, both must be well. What fails is named while the other keeps the Site up.
#[test]
fn one_of_two_probes_is_enough() {
    let keys = |min_healthy: usize| {
        format!(
            "min_healthy = {min_healthy}\nprobe = [{{ kind = \"http\", path = \"/health\", interval = \"500ms\", timeout = \"400ms\" }}, \
             {{ kind = \"grpc\", port = 50051, interval = \"500ms\", timeout = \"400ms\" }}]\n"
        )
    };
    let Some(mut scene) = boston("several probes", &keys(1)) else { return };
    let folder = folder().expect("a folder");
    let folder = folder.path();
    put(folder, "statuses", "=SERVING\n");
    let script = put(folder, "health_server.py", GRPC);
    let serve = |scene: &Scene| {
        let mut command = Command::new(PYTHON);
        command.arg(&script).arg(folder.join("statuses")).arg("50051");
        spawn(&scene.lab.site("boston").machine, folder, command)
    };
    scene.wait_for(&[("boston", true)]);
    let error = |scene: &Scene| {
        scene.agent.status().expect("status").0["sites"][0]["addresses"][0]["last_error"]
            .as_str()
            .map(ToOwned::to_owned)
    };
    let named = || error(&scene).as_deref() == Some("grpc on port 50051: connect: connection refused");
    assert!(eventually(HEALTH_PATIENCE, named), "{:?}", error(&scene));
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let mut grpc = serve(&scene);
    scene.wait_for(&[("boston", true)]);
    scene.lab.site("boston").restart().expect("nginx");
    let well = || error(&scene).is_none();
    assert!(eventually(HEALTH_PATIENCE, well), "{:?}", error(&scene));
    scene.config.site_keys = keys(2);
    scene.config.write(scene.agent.folder()).expect("written");
    let reloaded = || scene.agent.log().contains("reloaded generation");
    assert!(eventually(HEALTH_PATIENCE, reloaded), "{}", scene.agent.log());
    grpc.kill();
    scene.wait_for(&[("boston", false)]);
}
