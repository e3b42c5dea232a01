//! `zerottl top` in a terminal that util-linux's `script` makes, and without one. And the other ways to reach an agent.

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, sync_channel},
    thread,
    time::{Duration, Instant},
};

use super::{agent::Agent, run, zerottl};

/// For what a command on loopback does at once, on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// A shell's line in a terminal of its own; killed when dropped.
struct Terminal {
    script: Child,
    output: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(line: &str) -> Self {
        let mut command = Command::new("script");
        command.args(["-qefc", line, "/dev/null"]).env("TERM", "xterm").env("SHELL", "/bin/sh");
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut script = command.spawn().expect("util-linux's script");
        let mut from = script.stdout.take().expect("piped");
        let (sender, output) = sync_channel(1024);
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(length @ 1..) = from.read(&mut bytes) {
                if sender.send(bytes[..length].to_vec()).is_err() {
                    return;
                }
            }
        });
        Self { script, output, seen: String::new() }
    }

    /// Waits until the terminal has shown `text` since the last time.
    #[track_caller]
    fn wait_for(&mut self, text: &str) {
        let end = Instant::now() + PATIENCE;
        while !self.seen.contains(text) {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(bytes) = self.output.recv_timeout(left) else { panic!("no {text:?} in {:?}", self.seen) };
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
    }

    fn press(&mut self, key: &str) {
        let input = self.script.stdin.as_mut().expect("piped");
        input.write_all(key.as_bytes()).and_then(|()| input.flush()).expect("pressed");
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.script.kill();
        let _ = self.script.wait();
    }
}

/// Sequences that a terminal gets when a full-screen program takes it, and when that gives it back.
const TAKEN: &str = "\u{1b}[?1049h";
const GIVEN_BACK: &str = "\u{1b}[?1049l";

fn line(program: &str, agent: &Agent) -> String {
    let stty = "stty rows 40 cols 160; ";
    format!(
        "{stty}{program} {} top --config {}; echo rc=$?; stty -a; echo end",
        env!("CARGO_BIN_EXE_zerottl"),
        agent.file
    )
}

#[track_caller]
fn is_whole(terminal: &Terminal, status: i32) {
    let (_, after) = terminal.seen.rsplit_once(GIVEN_BACK).expect("given back");
    assert!(after.contains(&format!("rc={status}")), "{after:?}");
    // As `stty` has it; what is off has a `-` before it.
    for mode in ["icanon", "echo", "isig", "opost"] {
        assert!(after.split_whitespace().any(|word| word == mode), "no {mode}: {after:?}");
    }
    assert!(terminal.seen.contains("\u{1b}[?25h"), "the cursor is back");
}

#[test]
fn top_shows_goes_on_without_an_agent_and_gives_the_terminal_back() {
    let agent = Agent::start();
    let mut terminal = Terminal::start(&line("", &agent));
    terminal.wait_for(TAKEN);
    terminal.wait_for("geneva  up");
    // Drawn again by itself.
    terminal.seen.clear();
    terminal.wait_for("geneva  up");
    drop(agent);
    terminal.wait_for("THE AGENT DOES NOT ANSWER");
    terminal.press("q");
    terminal.wait_for("end\r\n");
    is_whole(&terminal, 0);
}

#[test]
fn top_gives_the_terminal_back_at_sigterm() {
    let agent = Agent::start();
    // `timeout` sends SIGTERM after that time and then ends with 124, if the program had not ended before.
    let mut terminal = Terminal::start(&line("timeout --foreground 3", &agent));
    terminal.wait_for(TAKEN);
    terminal.wait_for("end\r\n");
    is_whole(&terminal, 124);
}

#[test]
fn top_without_a_terminal_shows_once() {
    let agent = Agent::start();
    let (code, out, err) = run(&["top", "--config", &agent.file]);
    assert_eq!(code, 0);
    assert!(out.contains("geneva.app.com") && !out.contains('\u{1b}'), "{out}");
    assert!(err.contains("this is not a terminal, so it is shown once"), "{err}");
}

/// By a Unix socket, by `--admin unix:…` and by `--config`; by a token, from a file, the variable and `--config`.
#[test]
fn commands_find_sockets_and_tokens() {
    let folder = tempfile::tempdir().expect("a folder");
    let (socket, token) = (folder.path().join("admin.sock"), folder.path().join("token"));
    fs::write(&token, "correct-horse-battery\n").expect("written");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("set");
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
    let (place, tcp) = (format!("unix:{}", socket.display()), format!("127.0.0.1:{port}"));
    let token = token.display().to_string();
    let agent = Agent::with_admin(&format!("listen = [\"{tcp}\", \"{place}\"]\ntoken_file = \"{token}\""));
    assert_eq!(fs::metadata(&socket).expect("there").permissions().mode() & 0o777, 0o660);
    let check = |arguments: &[&str], expect: &str| {
        let (code, out, err) = run(&[&["status"], arguments].concat());
        assert!(
            if expect.is_empty() { code == 0 && out.contains("geneva") } else { code == 1 && err.contains(expect) },
            "{arguments:?}: {err}"
        );
    };
    check(&["--admin", &place], "");
    check(&["--config", &agent.file], "");
    check(&["--admin", &tcp], "asks for its token");
    check(&["--admin", &tcp, "--token-file", &token], "");
    check(&["--admin", &tcp, "--token-file", "/nonexistent"], "/nonexistent: No such file");
    check(&["--admin", "unix:/nonexistent"], "no agent answers at unix:/nonexistent");
    let by_variable = |token: &str| {
        let output = zerottl(&["status", "--admin", &tcp]).env("ZEROTTL_TOKEN", token).output().expect("it starts");
        (output.status.success(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    assert!(by_variable("correct-horse-battery").0);
    assert!(by_variable("another-horse-battery").1.contains("asks for its token"));
    assert!(by_variable("short").1.contains("ZEROTTL_TOKEN: the token does not have 16 to 256 characters"));
    drop(agent);
}
