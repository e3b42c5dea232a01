//! `cargo xtask run --director`: the lab with a director, and the lines that it prints.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::{BufRead as _, BufReader, Read as _},
    os::unix::fs::MetadataExt as _,
    path::Path,
    process::{Child, Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use tests::{
    director::PATIENCE,
    lab::can_load,
    process::{Process, die_with_parent, eventually},
};

/// How long a pasted line may take: the download is of ten seconds on a machine that is not loaded.
const LINE_MAX: Duration = Duration::from_mins(2);

/// Begins a line as a shell does.
fn begin(line: &str) -> Child {
    let mut command = Command::new("sh");
    command.args(["-c", line.trim_end_matches('&')]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    die_with_parent(&mut command);
    command.spawn().unwrap()
}

/// Waits for its end; returns what it printed.
fn end(line: &str, child: Child) -> String {
    let output = child.wait_with_output().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{line}: {}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn paste(line: &str) -> String {
    end(line, begin(line))
}

/// The lines that the lab prints to be pasted, and nothing else of it.
struct Lines(Vec<String>);

impl Lines {
    /// The only one with this in it.
    fn with(&self, part: &str) -> &str {
        let found: Vec<_> = self.0.iter().filter(|line| line.contains(part)).collect();
        assert_eq!(found.len(), 1, "{part}: {found:?}");
        found[0]
    }

    fn status(&self) -> String {
        paste(self.with(" status "))
    }
}

/// Each line does what the text above it says, and Ctrl-C leaves nothing.
#[test]
fn each_line_of_the_directors_lab_can_be_pasted() {
    if !can_load("the director's lab") {
        return;
    }
    let mut command = Command::new(env!("CARGO_BIN_EXE_lab"));
    // Not the test's own process group or signals: those are the terminal's.
    command.arg("--director").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    die_with_parent(&mut command);
    let mut lab = Process::new(command.spawn().unwrap());
    let mut output = BufReader::new(lab.child().stdout.take().unwrap());
    let (mut text, mut line) = (String::new(), String::new());
    while output.read_line(&mut line).unwrap() > 0 && !line.contains("Ctrl-C ends") {
        text.push_str(&std::mem::take(&mut line));
    }
    let lines = text.lines().filter_map(|line| line.strip_prefix("  "));
    let commands = ["nsenter ", "seq ", "kill ", "/"];
    let lines = lines.filter(|line| commands.iter().any(|word| line.starts_with(word)));
    let lines = Lines(lines.map(|line| line.trim().to_owned()).collect());
    assert_eq!(lines.0.len(), 18, "{text}");

    for place in ["curl http://10.7.0.1:8080/", "curl 'http://[fd07::1]:8080/'"] {
        let line = lines.0.iter().find(|line| line.ends_with(place)).unwrap();
        let said = paste(line);
        assert!(said.contains("-1 "), "{line}: {said}");
    }
    let shares = paste(lines.with("seq 60 "));
    assert_eq!(shares.lines().count(), 3, "{shares}");
    let said = paste(lines.with(" explain "));
    assert!(said.contains("round-robin"), "{said}");

    let hold = begin(lines.with("/hold?"));
    let waits = |count: &str| eventually(PATIENCE, || lines.status().contains(&format!("waiting: {count} of 20")));
    assert!(waits("6"), "{}", lines.status());
    let ask = begin(lines.with("--max-time 30 "));
    assert!(waits("7"), "{}", lines.status());
    // It ends by curl's own time, which is a failure to curl.
    hold.wait_with_output().unwrap();
    assert!(end("ask", ask).contains("-1 "));
    assert!(waits("0"));

    let download = begin(lines.with("/bytes?"));
    assert!(eventually(PATIENCE, || lines.status().contains(" 1/")), "{}", lines.status());
    for _ in 0..2 {
        paste(lines.with("'director worker'"));
        assert!(eventually(PATIENCE, || begin(lines.with(" status ")).wait().unwrap().success()));
    }
    end("download", download);

    assert_eq!(paste(lines.with(" drain ")), "rust-1: drain\n");
    assert!(lines.status().contains("rust-1    drain"), "{}", lines.status());
    assert_eq!(paste(lines.with(" ready ")), "rust-1: ready\n");

    for name in ["python-1", "plain-1", "rust-1"] {
        paste(lines.with(&format!("# {name}")));
    }
    // How one ended that an earlier worker has started, its keeper knows and logs.
    let again = ["started again: ended", "started again: hangs: "];
    let came_back = eventually(PATIENCE, || {
        let status = lines.status();
        status.matches(" ready ").count() == 3 && again.iter().all(|why| status.contains(why))
    });
    assert!(came_back, "{}", lines.status());

    let load = begin(lines.with("seq 1000 "));
    assert_eq!(paste(lines.with(" restart ")), "rust-1, python-1, plain-1: restart\n");
    assert_eq!(end("load", load).split_whitespace().collect::<Vec<_>>(), ["1000", "200"]);
    assert!(paste(lines.with("/load")).contains("\"capacity\":12"));
    assert_eq!(paste(lines.with("/metrics")).matches("zerottl_director_server_live{").count(), 3);

    let namespace = lines.with("/load").split_whitespace().find_map(|word| word.strip_prefix("--net=")).unwrap();
    let group = format!("zerottl-boston.{}", fs::metadata(namespace).unwrap().ino());
    let groups = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(|mount| Path::new(mount).join(&group));
    assert!(groups.iter().any(|group| group.exists()), "{group}");
    let processes = || groups.iter().find_map(|group| fs::read_to_string(group.join("director/cgroup.procs")).ok());
    assert!(processes().is_some_and(|processes| processes.lines().count() >= 2));
    lab.signal(Signal::INT).unwrap();
    let status = lab.wait(LINE_MAX).unwrap();
    let mut rest = String::new();
    output.read_to_string(&mut rest).unwrap();
    assert!(status.success(), "{status}: {rest}");
    assert!(!groups.iter().any(|group| group.exists()), "{group} is left over");
    let prefix = format!("zerottl-lab.{}.", lab.id());
    let mut left = fs::read_dir(std::env::temp_dir()).unwrap().flatten();
    assert!(!left.any(|entry| entry.file_name().to_string_lossy().starts_with(&prefix)));
}
