//! The lab program that `cargo xtask run` starts.

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tests::{
    lab::can_run,
    process::{Process, die_with_parent},
};

/// `lab --check` asks with dig and with the checking client, and finds every answer right and made in the kernel.
#[test]
fn the_lab_checks_itself() {
    if !can_run("the lab's own check") {
        return;
    }
    let output = Command::new(env!("CARGO_BIN_EXE_lab")).arg("--check").output().expect("run");
    let said = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains(" 0 wrong, 0 lost, 0 twice"), "{said}");
}

/// A signal ends the lab with success, and with it every process and folder it made; what it prints can be pasted: the
/// dig line and zerottl's own commands are run as they stand while the lab is up, the dashboard is there from outside and, of
/// `lab --site`, so is the curl line, which ends bound to a Site.
#[test]
fn a_signal_ends_the_lab_and_leaves_nothing() {
    if !can_run("the lab's end by SIGINT and SIGTERM") {
        return;
    }
    for (signal, site) in [(Signal::INT, false), (Signal::TERM, true)] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
        command.args(site.then_some("--site"));
        // Not the test's own process group or signals: those are the terminal's.
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        die_with_parent(&mut command);
        let mut lab = Process::new(command.spawn().expect("spawn"));
        let mut output = BufReader::new(lab.child().stdout.take().expect("piped"));
        let (mut pids, mut dig, mut curl, mut line) = (vec![], None, None, String::new());
        let (mut commands, mut page) = (vec![], None);
        while output.read_line(&mut line).expect("read") > 0 && !line.contains("Ctrl-C ends") {
            if let Some(rest) = line.trim().strip_prefix("kill -9 ") {
                let own = rest.split_whitespace().take_while(|word| *word != "#");
                pids.extend(own.map(ToOwned::to_owned));
            }
            if line.trim().ends_with("http://app.com/") && line.contains(" curl ") {
                curl = Some(line.trim().to_owned());
            }
            if line.contains("/zerottl ") {
                commands.push(line.trim().to_owned());
            }
            if let Some((_, url)) = line.split_once("this machine: ") {
                page = Some(url.trim().to_owned());
            }
            if line.contains(" dig ") && dig.is_none() {
                dig = Some(line.trim().to_owned());
            }
            line.clear();
        }
        assert_eq!(pids.len(), if site { 6 } else { 3 }, "lines to kill each Site");
        let gone = |pid: &String| !fs::exists(format!("/proc/{pid}")).expect("proc");
        assert!(!pids.iter().any(gone));
        let pasted = Command::new("sh").args(["-c", &dig.expect("a dig line")]).output().expect("sh");
        let said = String::from_utf8_lossy(&pasted.stdout);
        assert!(said.contains("status: NOERROR") && said.contains("app.com.\t\t0\tIN\tA\t"), "{said}");
        assert_eq!(commands.len(), 6, "explain, status, top, drain, ready, simulate: {commands:?}");
        for command in &commands {
            // Without a terminal `top` prints once.
            let pasted = Command::new("sh").args(["-c", command]).stdin(Stdio::null()).output().expect("sh");
            let errors = String::from_utf8_lossy(&pasted.stderr);
            assert!(pasted.status.success() && !pasted.stdout.is_empty(), "{command}: {errors}");
        }
        let pasted =
            Command::new("curl").args(["-sSf", "--max-time", "10", &page.expect("a page")]).output().expect("curl");
        assert!(String::from_utf8_lossy(&pasted.stdout).contains("<title>zerottl</title>"), "{pasted:?}");
        assert_eq!(curl.is_some(), site);
        if let Some(curl) = curl {
            let pasted = Command::new("sh").args(["-c", &curl]).output().expect("sh");
            let said = String::from_utf8_lossy(&pasted.stdout);
            let (page, walk) = said.split_once('\n').expect("two lines");
            let (key, look) = page.split_once(": ").expect("the Site and the look");
            assert!(look.starts_with("look ") && walk.ends_with(&format!(", http://{key}.app.com/\n")), "{said}");
        }
        lab.signal(signal).expect("signal");
        let status = lab.wait(Duration::from_secs(20)).expect("it ends");
        let mut rest = String::new();
        output.read_to_string(&mut rest).expect("read");
        assert!(status.success(), "{signal:?}: {status}: {rest}");
        assert!(pids.iter().all(gone), "{signal:?}: {pids:?}");
        let prefix = format!("zerottl-lab.{}.", lab.id());
        let mut left = fs::read_dir(std::env::temp_dir()).expect("temporary folder").flatten();
        assert!(!left.any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)), "{signal:?}");
    }
}
