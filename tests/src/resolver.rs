//! Caching resolvers in the lab's resolver namespace, each asking only the front for app.com.

use std::{
    fs,
    net::IpAddr,
    path::{Path, PathBuf},
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

    /// Its configuration file's name and text.
    fn file(self, folder: &Path, setup: &ResolverSetup) -> (&'static str, String) {
        let (at, v4, v6) = (folder.display(), front_v4(0), front_v6(0));
        let ResolverSetup { listen, zones, anchors, more } = setup;
        let validation = if anchors.is_empty() { self.no_validation() } else { self.validation(folder, anchors) };
        match self {
            // Random case, as careful resolvers ask (draft-vixie-dnsext-dns0x20).
            Self::Unbound => {
                let stubs = joined(zones, |zone| {
                    format!("stub-zone:\n name: \"{zone}\"\n stub-addr: {v4}\n stub-addr: {v6}\n")
                });
                let text = format!(
                    "server:\n interface: {listen}\n do-daemonize: no\n use-syslog: no\n logfile: \"{at}/log\"\n \
                     directory: \"{at}\"\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n \
                     use-caps-for-id: yes\n{validation} {more}\nremote-control:\n control-enable: no\n{stubs}"
                );
                ("unbound.conf", text)
            }
            Self::Named => {
                let stubs = joined(zones, |zone| {
                    format!("zone \"{zone}\" {{ type static-stub; server-addresses {{ {v4}; {v6}; }}; }};\n")
                });
                let text = format!(
                    "options {{ directory \"{at}\"; listen-on {{ {listen}; }}; listen-on-v6 {{ none; }}; pid-file none; \
                     session-keyfile none; empty-zones-enable no; recursion yes; {more} {validation} }};\ncontrols {{ }};\n{stubs}{}",
                    named_anchors(anchors)
                );
                ("named.conf", text)
            }
            Self::Recursor => {
                let forward: Vec<_> = zones.iter().map(|zone| format!("{zone}={v4};{v6}")).collect();
                let text = format!(
                    "daemon=no\nlocal-address={listen}\nsocket-dir={at}\nthreads=1\nsecurity-poll-suffix=\n\
                     hint-file=no\nforward-zones={}\n{validation}{more}\n",
                    forward.join(",")
                );
                ("recursor.conf", text)
            }
        }
    }

    fn no_validation(self) -> String {
        let lines = match self {
            Self::Unbound => " module-config: \"iterator\"\n",
            Self::Named => "dnssec-validation no;",
            Self::Recursor => "dnssec=off\n",
        };
        lines.into()
    }

    /// Returns what makes it validate, and answer from the proofs that it has (RFC 8198). The lab's addresses are none that a
    /// resolver asks by itself.
    fn validation(self, folder: &Path, anchors: &[String]) -> String {
        match self {
            Self::Unbound => {
                let anchors = joined(anchors, |ds| format!(" trust-anchor: \"{ds}\"\n"));
                format!(
                    " module-config: \"validator iterator\"\n aggressive-nsec: yes\n val-log-level: 2\n ede: yes\n{anchors}"
                )
            }
            Self::Named => "dnssec-validation yes; synth-from-dnssec yes;".into(),
            Self::Recursor => {
                let file = folder.join("anchors.lua");
                let anchors = joined(anchors, |ds| {
                    let (owner, data) = ds_parts(ds);
                    format!("addTA(\"{owner}\", \"{data}\")\n")
                });
                fs::write(&file, format!("clearTA()\n{anchors}")).expect("write");
                format!("dnssec=validate\ndnssec-log-bogus=yes\ndont-query=\nlua-config-file={}\n", file.display())
            }
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

/// The settings of a resolver that differ from test to test.
#[derive(Clone, Copy, Debug)]
pub struct ResolverSetup<'a> {
    /// Where it listens.
    pub listen: &'a str,
    /// The zones that it asks front 0 for.
    pub zones: &'a [&'a str],
    /// DS records as lines of a master file, the only ones that it trusts; none for a resolver that does not validate.
    pub anchors: &'a [String],
    /// More lines for its configuration.
    pub more: &'a str,
}

impl Default for ResolverSetup<'_> {
    fn default() -> Self {
        Self { listen: "127.0.0.1", zones: &["app.com"], anchors: &[], more: "" }
    }
}

/// One line for each, one after another.
fn joined<T>(all: &[T], line: impl Fn(&T) -> String) -> String {
    all.iter().map(line).collect::<Vec<_>>().concat()
}

/// Splits a DS record's line into its owner and its data.
fn ds_parts(line: &str) -> (&str, String) {
    let words: Vec<_> = line.split_whitespace().collect();
    let at = words.iter().position(|word| *word == "DS").expect("a DS record");
    (words[0], words[at + 1..].join(" "))
}

/// Writes DS records as BIND's tools take them for trust anchors.
///
/// # Panics
/// If a line is none of a DS record.
#[must_use]
pub fn named_anchors(anchors: &[String]) -> String {
    let lines = joined(anchors, |ds| {
        let (owner, data) = ds_parts(ds);
        let words: Vec<_> = data.split(' ').collect();
        // A digest may be in several words.
        format!(" \"{owner}\" static-ds {} \"{}\";\n", words[..3].join(" "), words[3..].concat())
    });
    if lines.is_empty() { lines } else { format!("trust-anchors {{\n{lines}}};\n") }
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
    let (process, folder) = launch(lab, machine, kind, &ResolverSetup { more, ..ResolverSetup::default() });
    let answers = eventually(Duration::from_secs(15), || !ask_on(machine, "app.com", "A").is_empty());
    assert!(answers, "{} does not answer:\n{}", kind.name(), said(&folder));
    process
}

/// Starts one, without waiting; returns the folder with its [log](said), too.
///
/// # Panics
/// If it cannot be started.
#[must_use]
pub fn launch(lab: &Lab, machine: &Netns, kind: ResolverKind, setup: &ResolverSetup) -> (Process, PathBuf) {
    let folder = lab.folder(kind.name()).expect("folder");
    let (name, text) = kind.file(&folder, setup);
    let file = folder.join(name);
    fs::write(&file, text).expect("write");
    let log = folder.join("log");
    let output = || Stdio::from(fs::OpenOptions::new().create(true).append(true).open(&log).expect("log"));
    let mut command = Command::new(find_tool(kind.name()).unwrap_or_else(|e| panic!("{e}")));
    command.args(kind.arguments(&file, &folder)).stdin(Stdio::null()).stdout(output()).stderr(output());
    (Process::new(machine.spawn(command).expect("spawn")), folder)
}

/// Returns what a resolver has logged.
#[must_use]
pub fn said(folder: &Path) -> String {
    fs::read_to_string(folder.join("log")).unwrap_or_default()
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
