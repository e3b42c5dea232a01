//! The configuration: its meaning, its messages, its examples.

mod admin;
mod agent;
mod clients;
mod director;
mod director_messages;
mod dnssec;
mod edns;
mod fleet;
mod forward;
mod geo;
mod health;
mod hooks;
mod https;
mod limits;
mod load;
mod long;
mod meaning;
mod messages;
mod messages_whole;
mod probes;
mod reference;
mod safety;
mod shown;
mod vlans;
mod web;
mod web_messages;
mod web_rules;
mod web_session;
mod zones;

use std::path::PathBuf;

use super::*;

/// A valid file without warnings.
const BASE: &str = r#"[front]
interfaces = ["eth0"]
addresses = ["203.0.113.53"]
xdp = "auto"

[admin]
listen = "127.0.0.1:8053"

[zone."app.com"]
nameservers = ["ns1.app.com"]
contact = "hostmaster@app.com"

[pool."app.com"]
sites = ["geneva", "boston"]
ttl = 0

[group."all.app.com"]
pool = "app.com"
sites = ["boston", "geneva"]

[site.boston]
name = "boston.app.com"
addresses = ["192.0.2.10"]
probe = { kind = "http" }
weight = 2

[site.geneva]
name = "geneva.app.com"
addresses = ["198.51.100.10"]
probe = { kind = "http" }
"#;

/// Where the package lies now, as cargo says: not where it was compiled, which a moved checkout no longer is.
pub(crate) fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from)
}

fn examples() -> PathBuf {
    package().join("../../examples")
}

/// [`BASE`] with one piece replaced, once.
fn changed(from: &str, to: &str) -> String {
    assert!(BASE.contains(from), "{from:?} is in the base");
    BASE.replacen(from, to, 1)
}

/// The faults of a text, which are the same where it is read in parts as a long one is.
#[track_caller]
fn lines(text: &str) -> Vec<String> {
    let lines = shown(parse("f", text, &examples()));
    let report = report::Reporter::new("f", text.to_owned(), &examples());
    // What no TOML is may be told otherwise of a part.
    if !lines.iter().any(|line| line.contains("not TOML")) {
        assert_eq!(shown(parse_parts("f", report, Parts::cut_by(text, 0, 1, 0), None)), lines, "read in parts");
    }
    lines
}

fn shown(parsed: Result<Loaded, ConfigError>) -> Vec<String> {
    let problems = match parsed {
        Ok(loaded) => loaded.warnings,
        Err(error) => error.problems().to_vec(),
    };
    let base_dir = examples().display().to_string();
    problems.iter().map(|p| p.line().replace(&base_dir, "DIR")).collect()
}

/// [`BASE`] with one piece replaced is reported by exactly these lines.
#[track_caller]
fn check(from: &str, to: &str, expect: &[&str]) {
    assert_eq!(lines(&changed(from, to)), expect);
}
