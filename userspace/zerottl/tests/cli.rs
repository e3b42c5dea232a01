//! The `zerottl` command as a user meets it: what it prints where, and its exit status. None of this needs root.

#[path = "cli/agent.rs"]
mod agent;
#[path = "cli/top.rs"]
mod top;

use std::{
    fs,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
};

use serde_json::Value;

fn zerottl(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_zerottl"));
    command.args(arguments).env_remove("ZEROTTL_LOG").stdin(Stdio::null());
    command
}

/// Exit status, stdout, stderr.
fn run(arguments: &[&str]) -> (i32, String, String) {
    let Output { status, stdout, stderr } = zerottl(arguments).output().expect("the binary starts");
    let text = |bytes| String::from_utf8(bytes).expect("UTF-8");
    (status.code().expect("no signal"), text(stdout), text(stderr))
}

/// `check --json`: exit status and page.
fn check_json(file: &str) -> (i32, Value) {
    let (code, out, err) = run(&["check", "--config", file, "--json"]);
    assert_eq!(err, "", "JSON is all there is");
    (code, serde_json::from_str(&out).expect("JSON"))
}

fn example(name: &str) -> String {
    // The place now: the one at compile time is another once the checkout has been moved.
    let package = std::env::var("CARGO_MANIFEST_DIR").expect("run by cargo");
    Path::new(&package).join("../../examples").join(name).display().to_string()
}

/// A folder with a configuration, and a records file where `records` has text.
fn folder(config: &str, records: Option<&str>) -> (tempfile::TempDir, String) {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("zerottl.toml");
    fs::write(&file, config).expect("written");
    if let Some(records) = records {
        fs::write(folder.path().join("app.com.zone"), records).expect("written");
    }
    let file = file.display().to_string();
    (folder, file)
}

fn config(records: bool, weights: [u32; 2]) -> String {
    let records = if records { "records = \"app.com.zone\"\n" } else { "" };
    let [boston, geneva] = weights;
    format!(
        "[front]\naddresses = [\"127.0.0.1:5353\"]\nxdp = \"off\"\n\n\
         [zone.\"app.com\"]\nnameservers = [\"ns1.app.com\"]\ncontact = \"hostmaster@app.com\"\n{records}\n\
         [pool.\"app.com\"]\nsites = [\"boston\", \"geneva\"]\n\n\
         [site.boston]\nname = \"boston.app.com\"\naddresses = [\"192.0.2.10\"]\nweight = {boston}\n\
         probe = {{ kind = \"tcp\", port = 80, interval = \"1h\" }}\n\n\
         [site.geneva]\nname = \"geneva.app.com\"\naddresses = [\"198.51.100.10\"]\nweight = {geneva}\n\
         probe = {{ kind = \"tcp\", port = 80, interval = \"1h\" }}\n\n\
         [state]\ndirectory = \"state\"\n"
    )
}

#[test]
fn check_accepts_every_example() {
    for name in ["appendix-a.toml", "balance-only.toml", "director.toml", "failover-only.toml", "reference.toml"] {
        let file = example(name);
        let (code, out, err) = run(&["check", "--config", &file]);
        assert_eq!((code, out), (0, format!("{file}: ok\n")), "{err}");
        let (code, page) = check_json(&file);
        assert_eq!((code, &page["ok"]), (0, &Value::Bool(true)));
    }
}

/// D-BUNDLE: the host that signs checks its configuration before there is a bundle; that there is none is told.
#[test]
fn check_tells_of_a_bundle_that_is_not_there() {
    let file = example("reference.toml");
    let (code, _, err) = run(&["check", "--config", &file]);
    assert_eq!(code, 0, "{err}");
    assert!(err.contains("app.bundle of the zone bundled.example is not there"), "{err}");
}

/// Appendix A's lonely Site is allowed and told: a warning on stderr, `ok` on stdout, exit status 0.
#[test]
fn check_warns() {
    let file = example("appendix-a.toml");
    let (code, out, err) = run(&["check", "--config", &file]);
    assert_eq!((code, out), (0, format!("{file}: ok\n")));
    assert!(err.contains("[site.geneva]: if geneva is down"), "{err}");
    assert!(!err.contains('\u{1b}'), "no colours without a terminal: {err}");
    let (_, page) = check_json(&file);
    let problem = &page["problems"][0];
    assert_eq!((&problem["severity"], &problem["file"]), (&"warning".into(), &file.into()));
    assert!(problem["line"].is_u64() && problem["column"].is_u64() && problem["help"].is_string(), "{problem}");
}

/// A share that no table can hold is told at the section; 65,535 to 1 just fits.
#[test]
fn check_warns_of_uneven_shares() {
    let (_folder, file) = folder(&config(false, [65_535, 1]), None);
    assert_eq!(check_json(&file), (0, serde_json::json!({ "ok": true, "problems": [] })));
    let (_folder, file) = folder(&config(false, [60_001, 7]), None);
    let (code, page) = check_json(&file);
    assert_eq!((code, &page["ok"], page["problems"].as_array().map(Vec::len)), (0, &true.into(), Some(1)));
    let problem = &page["problems"][0];
    let message = problem["message"].as_str().expect("a text");
    assert!(message.starts_with("[pool.\"app.com\"]: a Site's share of A answers is off by "), "{message}");
    assert_eq!((&problem["severity"], &problem["line"]), (&"warning".into(), &9.into()));
    let (code, out, err) = run(&["check", "--config", &file]);
    assert_eq!((code, out), (0, format!("{file}: ok\n")));
    assert!(err.contains("65536 slots do not hold these weights"), "{err}");
}

#[test]
fn check_refuses_with_the_place_and_the_mend() {
    let (_folder, file) = folder(&config(false, [1, 1]).replacen("weight = 1", "wieght = 1", 1), None);
    let (code, out, err) = run(&["check", "--config", &file]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("zerottl.toml:15:1") && err.contains("did you mean `weight`?"), "{err}");
    let (code, page) = check_json(&file);
    let problem = &page["problems"][0];
    assert_eq!((code, &page["ok"]), (1, &false.into()));
    assert_eq!((&problem["severity"], &problem["line"]), (&"error".into(), &15.into()));
}

/// Faults of a records file are told as those of the configuration: by file, line and severity.
#[test]
fn check_refuses_records_by_their_line() {
    let (folder, file) = folder(&config(true, [1, 1]), Some("@ MX 10 @\n  A nonsense\n"));
    let zone = folder.path().join("app.com.zone").display().to_string();
    let (code, out, err) = run(&["check", "--config", &file]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains("app.com.zone:2:5") && err.contains("expected IPv4 address"), "{err}");
    let (code, page) = check_json(&file);
    let problem = &page["problems"][0];
    assert_eq!((code, &problem["severity"]), (1, &"error".into()));
    assert_eq!((&problem["file"], &problem["line"], &problem["column"]), (&zone.into(), &2.into(), &5.into()));
    let (code, _, err) = run(&["run", "--config", &file]);
    assert_eq!(code, 1);
    assert!(err.contains("app.com.zone:2:5"), "{err}");

    // Without a line of its own it is told at the zone that names it.
    let text = config(true, [1, 1]).replace("xdp = \"off\"", "xdp = \"off\"\nroles = [\"load-balance\"]");
    let text = text.replace("records =", "failover_nameservers = [\"ns2.app.com\"]\nrecords =");
    fs::write(&file, text).expect("written");
    fs::write(folder.path().join("app.com.zone"), "mail A 192.0.2.25\n").expect("written");
    let (code, page) = check_json(&file);
    let problem = &page["problems"][0];
    assert_eq!((code, &problem["file"], &problem["line"]), (1, &file.into(), &10.into()), "{problem}");
    let message = problem["message"].as_str().expect("a text");
    assert!(message.contains("`failover_nameservers` names ns2.app.com, which lies in the zone"), "{message}");
}

#[test]
fn a_file_that_is_not_there() {
    for command in [&["check"][..], &["run"], &["status"], &["top"], &["trace"], &["explain", "app.com"]] {
        let (code, out, err) = run(&[command, &["--config", "/nonexistent/zerottl.toml"]].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{command:?}");
        assert!(err.contains("/nonexistent/zerottl.toml") && err.contains("No such file"), "{command:?}: {err}");
    }
}

#[test]
fn what_is_not_a_command_line_exits_with_2() {
    for arguments in [
        &[][..],
        &["nonsense"],
        &["run"],
        &["explain"],
        &["explain", "app.com", "--client", "nobody"],
        &["status", "--admin", "8053"],
        &["status", "--admin", "127.0.0.1:8053", "--config", "f"],
        &["completions", "tcsh"],
    ] {
        let (code, out, err) = run(arguments);
        assert_eq!((code, out.as_str()), (2, ""), "{arguments:?}");
        assert!(err.contains("--help"), "{arguments:?}: {err}");
    }
}

const COMMANDS: [&str; 15] = [
    "run",
    "check",
    "status",
    "top",
    "explain",
    "simulate",
    "drain",
    "maint",
    "ready",
    "weight",
    "reload",
    "detach",
    "trace",
    "completions",
    "man",
];

#[test]
fn every_command_has_help_and_a_version() {
    let (code, help, _) = run(&["--help"]);
    assert_eq!(code, 0);
    assert!(help.contains("Exit status") && help.contains("ZEROTTL_LOG"), "{help}");
    for command in COMMANDS {
        assert!(help.contains(&format!("  {command}")), "{help}");
        let (code, own, _) = run(&[command, "--help"]);
        assert_eq!(code, 0);
        assert!(own.contains(&format!("Usage: zerottl {command}")), "{own}");
    }
    let (code, version, _) = run(&["--version"]);
    assert_eq!((code, version), (0, format!("zerottl {}\n", env!("CARGO_PKG_VERSION"))));
}

#[test]
fn completions_and_man_pages() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let (code, script, _) = run(&["completions", shell]);
        assert!(code == 0 && script.contains("COMPLETE") && script.contains("zerottl"), "{shell}: {script}");
    }
    // What bash asks once it has run that script, with the cursor in the last word.
    let file = example("appendix-a.toml");
    let candidates = |words: &[&str]| -> Vec<String> {
        let mut command = zerottl(&[]);
        command.arg("--").arg("zerottl").args(words).env("COMPLETE", "bash").env("_CLAP_IFS", "\n");
        command.env("_CLAP_COMPLETE_INDEX", words.len().to_string()).env("_CLAP_COMPLETE_COMP_TYPE", "9");
        let output = command.output().expect("the binary starts");
        String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
    };
    let commands = candidates(&[""]);
    assert!(COMMANDS.iter().all(|command| commands.iter().any(|known| known == command)), "{commands:?}");
    assert_eq!(candidates(&["drain", "--config", &file, "bo"]), ["boston"]);
    assert_eq!(candidates(&["status", "--config", &file, "--site", ""]), ["geneva", "boston", "chicago"]);
    assert!(candidates(&["explain", "--config", &file, "e"]).contains(&"europe.app.com".to_owned()));
    assert_eq!(
        candidates(&["drain", "--config", "/nonexistent", "--admin", "127.0.0.1:1", "bo"]),
        Vec::<String>::new()
    );
    let folder = tempfile::tempdir().expect("a folder");
    let (code, out, err) = run(&["man", &folder.path().display().to_string()]);
    assert_eq!((code, out.as_str(), err.as_str()), (0, "", ""));
    let own = COMMANDS.map(|command| format!("zerottl-{command}.1"));
    for page in std::iter::once("zerottl.1").chain(own.iter().map(String::as_str)) {
        let text = fs::read_to_string(folder.path().join(page)).expect(page);
        assert!(text.contains(".TH zerottl"), "{page}: {text}");
        assert!(
            ["EXAMPLES", "FILES", "ENVIRONMENT", "\"SEE ALSO\""]
                .iter()
                .all(|head| text.contains(&format!(".SH {head}"))),
            "{page}: {text}"
        );
        // The pages that it leads to are there.
        let (_, also) = text.rsplit_once("SEE ALSO").expect(page);
        for other in also
            .split([',', '\n'])
            .filter_map(|word| word.trim().replace("\\-", "-").strip_suffix("(1)").map(str::to_owned))
        {
            assert!(other == "dig" || folder.path().join(format!("{other}.1")).is_file(), "{page} leads to {other}");
        }
    }
    let text = fs::read_to_string(folder.path().join("zerottl.toml.5")).expect("zerottl.toml.5");
    let reference = fs::read_to_string(example("reference.toml")).expect("the reference");
    let keys = reference.lines().filter(|line| line.starts_with(|first: char| first.is_ascii_lowercase()));
    for key in keys.filter_map(|line| line.split_once(" = ")).map(|(key, _)| key.trim()) {
        assert!(text.contains(&format!("\\fB{}", key.replace('-', "\\-"))), "{key}");
    }
    let (code, _, err) = run(&["man", "/nonexistent"]);
    assert_eq!(code, 1);
    assert!(err.starts_with("zerottl: /nonexistent: "), "{err}");
}

/// `| head`, and a terminal that has gone: no panic, whatever the command.
#[test]
fn closed_pipes_are_no_error() {
    let closed = || {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        writer
    };
    let file = example("reference.toml");
    for arguments in
        [&["completions", "bash"][..], &["check", "--config", &file], &["check", "--json", "--config", &file]]
    {
        let output = zerottl(arguments).stdout(closed()).output().expect("the binary starts");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !err.contains("panicked"), "{arguments:?}: {err}");
    }
    for command in ["check", "run"] {
        let mut command = zerottl(&[command, "--config", "/nonexistent"]);
        let status = command.stderr(closed()).stdout(Stdio::null()).status().expect("the binary starts");
        assert_eq!(status.code(), Some(1), "{command:?}: a panic would be 101");
    }
}

#[test]
fn without_an_agent_the_commands_say_so() {
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port").port();
    let at = format!("127.0.0.1:{port}");
    for command in [&["status"][..], &["status", "--json"], &["top"], &["trace"], &["explain", "app.com"]] {
        let (code, out, err) = run(&[command, &["--admin", &at]].concat());
        assert_eq!((code, out.as_str()), (1, ""), "{command:?}");
        assert!(err.starts_with(&format!("zerottl: no agent answers at {at}: ")), "{command:?}: {err}");
        assert!(err.contains("is it running") && err.contains("--admin"), "{command:?}: {err}");
    }
    let (_folder, file) = folder(&config(false, [1, 1]), None);
    let (code, _, err) = run(&["status", "--config", &file]);
    assert_eq!(code, 1);
    assert!(err.contains("there is no [admin] `listen`"), "{err}");
}
