//! An application of somebody else's: it depends on the site crate by path, needs no BPF toolchain, and binds a client.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use tests::{process::Process, process::eventually, scratch, turn::alone};

/// For a build of everything below the site crate, on a busy machine.
const START: Duration = Duration::from_secs(20);

fn cargo(root: &Path, words: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(words).arg("--locked").current_dir(root.join("examples/layer"));
    // A machine that has no BPF toolchain: whoever asked for one would fail.
    command.env("ZEROTTL_EBPF_TOOLCHAIN", "there-is-none").env("CARGO_PROFILE_DEV_DEBUG", "0");
    command.env("CARGO_TARGET_DIR", root.join("target/layer"));
    command
}

fn said(mut command: Command) -> String {
    let output = command.stdin(Stdio::null()).output().expect("cargo starts");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

fn curl(words: &[&str]) -> Option<String> {
    let output = Command::new("curl").args(["-sSi", "--max-time", "5"]).args(words).output().expect("curl starts");
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

fn field<'a>(response: &'a str, name: &str) -> Option<&'a str> {
    let mut fields = response.lines().filter_map(|line| line.split_once(": "));
    fields.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// S4-B-FORM: from the Pool Name to the Site Name, a cookie, and the page from then on.
#[test]
fn an_application_binds_its_clients() {
    let _alone = alone();
    let root = scratch::root();
    let tree = said(cargo(&root, &["tree", "--package", "zerottl-site", "--edges", "normal", "--prefix", "none"]));
    for needless in ["aya ", "clap ", "zerottl-dns ", "zerottl-kernel ", "zerottl v"] {
        assert!(!tree.lines().any(|line| line.starts_with(needless)), "{needless}is needed:\n{tree}");
    }
    said(cargo(&root, &["build"]));
    let folder = scratch::folder().expect("a folder");
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr()).expect("a port").port();
    let file = folder.path().join("zerottl.toml");
    let text = format!(
        "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\n\
         [zone.\"app.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"hostmaster@app.com\"\n\
         [pool.\"app.com\"]\nsites = [\"boston\"]\n\
         [site.boston]\nname = \"boston.app.com\"\naddresses = [\"192.0.2.1\"]\n\
         [web]\nlisten = [\"127.0.0.1:{port}\"]\npeers = \"none\"\nclean_url = false\n"
    );
    std::fs::write(&file, text).expect("written");
    let mut command = Command::new(root.join("target/layer/debug/layer"));
    command.arg(&file).arg("boston").stdin(Stdio::null()).stdout(Stdio::null());
    let _running = Process::new(command.spawn().expect("it starts"));
    let url = format!("http://127.0.0.1:{port}");
    assert!(eventually(START, || curl(&["-H", "Host: app.com", &url]).is_some()), "it does not answer");
    let sent = curl(&["-H", "Host: app.com", &format!("{url}/cart?a=1")]).expect("an answer");
    let to = field(&sent, "location").unwrap_or_default();
    let marked = to.strip_prefix("http://boston.app.com").unwrap_or_else(|| panic!("no redirect: {sent}"));
    let admitted = curl(&["-H", "Host: boston.app.com", &format!("{url}{marked}")]).expect("an answer");
    let cookie = field(&admitted, "set-cookie").and_then(|set| set.split(';').next()).unwrap_or_default();
    assert!(cookie.starts_with("ZSESSION="), "{admitted}");
    let page = curl(&["-H", "Host: boston.app.com", "-H", &format!("Cookie: {cookie}"), &format!("{url}/cart")]);
    assert!(page.is_some_and(|page| page.starts_with("HTTP/1.1 200") && page.ends_with("bound\n")));
    let stranger = curl(&["-H", "Host: evil.example", &url]).expect("an answer");
    assert!(!stranger.contains("bound"), "{stranger}");
}
