//! Caching resolvers in the lab's resolver namespace, each asking only the front for app.com.

use std::{
    fs,
    net::IpAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use crate::{
    lab::{Lab, front_v4, front_v6},
    netns::Netns,
    process::{Process, eventually},
    scene::Scene,
    scratch::find_tool,
};

/// Which one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ResolverKind {
    /// `unbound`.
    Unbound,
    /// `named`, of BIND.
    Named,
    /// `pdns_recursor`.
    Recursor,
}

impl ResolverKind {
    /// Its program.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Unbound => "unbound",
            Self::Named => "named",
            Self::Recursor => "pdns_recursor",
        }
    }

    /// Its configuration file's name and text; `more` are lines for it.
    fn file(self, folder: &Path, more: &str) -> (&'static str, String) {
        let (at, v4, v6) = (folder.display(), front_v4(0), front_v6(0));
        match self {
            // Random case, as careful resolvers ask (draft-vixie-dnsext-dns0x20).
            Self::Unbound => (
                "unbound.conf",
                format!(
                    "server:\n interface: 127.0.0.1\n do-daemonize: no\n use-syslog: no\n logfile: \"{at}/log\"\n \
                     directory: \"{at}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n module-config: \"iterator\"\n \
                     use-caps-for-id: yes\n {more}\nremote-control:\n control-enable: no\nstub-zone:\n name: \"app.com\"\n \
                     stub-addr: {v4}\n stub-addr: {v6}\n"
                ),
            ),
            Self::Named => (
                "named.conf",
                format!(
                    "options {{ directory \"{at}\"; listen-on {{ 127.0.0.1; }}; listen-on-v6 {{ none; }}; pid-file none; \
                     session-keyfile none; dnssec-validation no; recursion yes; {more} }};\ncontrols {{ }};\n\
                     zone \"app.com\" {{ type static-stub; server-addresses {{ {v4}; {v6}; }}; }};\n"
                ),
            ),
            Self::Recursor => (
                "recursor.conf",
                format!(
                    "daemon=no\nlocal-address=127.0.0.1\nsocket-dir={at}\ndnssec=off\nthreads=1\nsecurity-poll-suffix=\n\
                     hint-file=no\nforward-zones=app.com={v4};{v6}\n{more}\n"
                ),
            ),
        }
    }

    fn arguments(self, file: &Path, folder: &Path) -> Vec<String> {
        match self {
            Self::Unbound => vec!["-d".into(), "-c".into(), file.display().to_string()],
            Self::Named => vec!["-g".into(), "-c".into(), file.display().to_string()],
            Self::Recursor => vec![format!("--config-dir={}", folder.display())],
        }
    }
}

/// Starts one, with `more` lines in its configuration, and waits until it answers.
///
/// # Panics
/// If it does not come to that.
#[must_use]
pub fn start(scene: &Scene, kind: ResolverKind, more: &str) -> Process {
    start_on(&scene.lab, scene.lab.resolver.as_ref().expect("the lab has a resolver"), kind, more)
}

/// Starts one, as [`start`] does, on a machine of the lab that reaches front 0.
///
/// # Panics
/// If it does not come to that.
#[must_use]
pub fn start_on(lab: &Lab, machine: &Netns, kind: ResolverKind, more: &str) -> Process {
    let folder = lab.folder(kind.name()).expect("folder");
    let (name, text) = kind.file(&folder, more);
    let file = folder.join(name);
    fs::write(&file, text).expect("write");
    let log = folder.join("log");
    let output = || Stdio::from(fs::OpenOptions::new().create(true).append(true).open(&log).expect("log"));
    let mut command = Command::new(find_tool(kind.name()).unwrap_or_else(|e| panic!("{e}")));
    command.args(kind.arguments(&file, &folder)).stdin(Stdio::null()).stdout(output()).stderr(output());
    let process = Process::new(machine.spawn(command).expect("spawn"));
    let answers = eventually(Duration::from_secs(15), || !ask_on(machine, "app.com", "A").is_empty());
    assert!(answers, "{} does not answer:\n{}", kind.name(), fs::read_to_string(log).unwrap_or_default());
    process
}

/// Asks the resolver; the addresses it gives.
///
/// # Panics
/// If the lab has no resolver.
#[must_use]
pub fn ask(scene: &Scene, name: &str, rtype: &str) -> Vec<IpAddr> {
    ask_on(scene.lab.resolver.as_ref().expect("the lab has a resolver"), name, rtype)
}

fn ask_on(machine: &Netns, name: &str, rtype: &str) -> Vec<IpAddr> {
    let fixed = ["@127.0.0.1", "+short", "+tries=1", "+time=2"];
    let text = machine.read("dig", &[&fixed[..], &[name, rtype]].concat()).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}
