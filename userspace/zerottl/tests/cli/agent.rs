//! The commands with an agent: on loopback, without a program, so without root.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    process::{Child, Stdio},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{config, folder, run, zerottl};

/// For what an agent on loopback does at once.
const PATIENCE: Duration = Duration::from_secs(20);

/// A running agent; killed when dropped.
pub(super) struct Agent {
    process: Child,
    dns: u16,
    pub(super) file: String,
    log: Option<JoinHandle<String>>,
    _folder: tempfile::TempDir,
}

/// A port that is free for UDP and for TCP.
fn free_port() -> u16 {
    for _ in 0..100 {
        let udp = UdpSocket::bind("127.0.0.1:0").expect("a free port");
        let at = udp.local_addr().expect("a place");
        if TcpListener::bind(at).is_ok() {
            return at.port();
        }
    }
    panic!("no port is free for both")
}

impl Agent {
    /// Ready when this returns.
    pub(super) fn start() -> Self {
        let admin = TcpListener::bind("127.0.0.1:0").and_then(|l| l.local_addr()).expect("a free port").port();
        Self::with_admin(&format!("listen = \"127.0.0.1:{admin}\""))
    }

    /// Starts one with other lines in `[admin]`.
    pub(super) fn with_admin(admin: &str) -> Self {
        // Others look for ports at the same time: one that was free is not for sure.
        for _ in 0..10 {
            if let Some(agent) = Self::try_start(admin) {
                return agent;
            }
        }
        panic!("no port stays free")
    }

    /// None where somebody else took a port meanwhile.
    fn try_start(admin: &str) -> Option<Self> {
        let dns = free_port();
        let text = config(false, [1, 1]).replace("127.0.0.1:5353", &format!("127.0.0.1:{dns}"));
        let (folder, file) = folder(&format!("{text}\n[admin]\n{admin}\n"), None);
        let mut command = zerottl(&["run", "--config", &file]);
        command.env("ZEROTTL_LOG_FORMAT", "json").stderr(Stdio::piped());
        let mut agent =
            Self { process: command.spawn().expect("the binary starts"), dns, file, log: None, _folder: folder };
        let mut lines = BufReader::new(agent.process.stderr.take().expect("piped"));
        let mut log = String::new();
        while !log.contains("\"ready\"") {
            let read = lines.read_line(&mut log).expect("a line");
            if read == 0 && log.contains("in use") {
                return None;
            }
            assert!(read > 0, "it ended: {log}");
        }
        agent.log = Some(thread::spawn(move || {
            lines.read_to_string(&mut log).expect("UTF-8");
            log
        }));
        Some(agent)
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).expect("it is there until it is waited for");
    }

    fn has_ended(&mut self) -> bool {
        self.process.try_wait().expect("waited").is_some()
    }

    /// Waits for its end; exit status and log.
    fn ended(mut self) -> (Option<i32>, String) {
        let until = Instant::now() + PATIENCE;
        while !self.has_ended() {
            assert!(Instant::now() < until, "it does not end");
            thread::sleep(Duration::from_millis(10));
        }
        let log = self.log.take().expect("started").join().expect("read");
        (self.process.wait().expect("waited").code(), log)
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn the_commands_ask_a_running_agent() {
    let agent = Agent::start();
    let ask = |arguments: &[&str]| run(&[arguments, &["--config", &agent.file]].concat());
    let (code, page, err) = ask(&["status"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(page.contains("boston") && page.contains("geneva.app.com"), "{page}");
    let (code, page, _) = ask(&["status", "--json"]);
    let json: Value = serde_json::from_str(&page).expect("JSON");
    assert_eq!((code, json["sites"].as_array().map(Vec::len)), (0, Some(2)));
    let (age, page_text) = (json["plan"]["age_s"].as_f64(), ask(&["status"]).1);
    let (code, page, _) = ask(&["explain", "BOSTON.app.com"]);
    assert_eq!(code, 0);
    assert!(page.contains("192.0.2.10"), "{page}");

    let (code, page, err) = ask(&["explain", "nothing.app.com"]);
    assert_eq!((code, err.as_str()), (0, ""));
    assert!(page.contains("nothing.app.com") && page.contains("no Pool, Group or Site Name"), "{page}");
    let (code, page, err) = ask(&["explain", "two..dots"]);
    assert_eq!((code, page.as_str()), (1, ""));
    assert!(err.starts_with("zerottl: ") && err.contains("two..dots"), "{err}");

    agent.signal(Signal::TERM);
    let (code, log) = agent.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.contains("SIGTERM") && log.contains("stopped"), "{log}");
    for line in log.lines() {
        let line: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"));
        assert!(line["level"].is_string() && line["message"].is_string() && line["timestamp"].is_string(), "{line}");
    }
    // Its Sites have no probes, and nothing has changed since the start: it answers all the same, and says so.
    assert!(age.is_some() && page_text.contains("plan 1, published "), "{page_text}");
}

/// Where systemd has connected stderr to its journal, each line bears its priority and no time; elsewhere it does not, though
/// the variable is there, as a child's is whose stderr is another.
#[test]
fn the_journal_is_told_priorities() {
    use std::os::unix::fs::MetadataExt;
    for is_journal in [true, false] {
        let dns = UdpSocket::bind("127.0.0.1:0").and_then(|socket| socket.local_addr()).expect("a free port").port();
        let text = config(false, [1, 1]).replace("127.0.0.1:5353", &format!("127.0.0.1:{dns}"));
        let (folder, file) = folder(&text, None);
        let log = folder.path().join("log");
        let stderr = std::fs::File::create(&log).expect("a file");
        let own = stderr.metadata().expect("of a file");
        let stream = format!("{}:{}", own.dev(), own.ino() + u64::from(!is_journal));
        let mut command = zerottl(&["run", "--config", &file]);
        let mut agent = command.env("JOURNAL_STREAM", stream).stderr(stderr).spawn().expect("the binary starts");
        let until = Instant::now() + PATIENCE;
        let text = || std::fs::read_to_string(&log).expect("UTF-8");
        while !text().contains("ready") && Instant::now() < until {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = agent.kill();
        let _ = agent.wait();
        let is_as_told = |line: &str| line.starts_with("<6>zerottl") || line.starts_with("<4>zerottl");
        assert!(text().contains("ready") && text().lines().all(|line| is_as_told(line) == is_journal), "{}", text());
    }
}

/// An override is by whoever is named, else whoever `sudo` and the environment name, else the user that the kernel knows.
#[test]
fn words_bear_the_name_of_whoever_says_them() {
    let agent = Agent::start();
    let named = |arguments: &[&str], environment: &[(&str, &str)]| {
        let arguments = [&["maint", "boston", "--force"], arguments, &["--config", &agent.file]].concat();
        let mut command = zerottl(&arguments);
        for variable in ["SUDO_USER", "USER", "LOGNAME"] {
            command.env_remove(variable);
        }
        let output = command.envs(environment.iter().copied()).output().expect("the binary starts");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let (_, page, _) = run(&["status", "--json", "--config", &agent.file]);
        let page: Value = serde_json::from_str(&page).expect("JSON");
        page["sites"][0]["word"]["by"].as_str().expect("a name").to_owned()
    };
    let uid = rustix::process::getuid().as_raw();
    let user = zerottl::admin::listen::user_name(uid).unwrap_or_else(|| format!("uid {uid}"));
    for (arguments, environment, name) in [
        (&[][..], &[][..], user.as_str()),
        (&[], &[("USER", "carol")], "carol"),
        (&[], &[("USER", "root"), ("SUDO_USER", "alice")], "alice"),
        (&["--by", "the night watch"], &[("USER", "carol")], "the night watch"),
    ] {
        assert_eq!(named(arguments, environment), format!("{name} (127.0.0.1)"), "{arguments:?} {environment:?}");
    }
}

/// A slip would log nothing, errors included: no command goes on with it.
#[test]
fn a_slip_in_what_is_logged_is_refused() {
    let (_folder, file) = folder(&config(false, [1, 1]), None);
    let site = ["site", "--config", &file, "--as", "boston"];
    let commands: [&[&str]; 5] =
        [&["run", "--config", &file], &site, &["check", "--config", &file], &["status"], &["completions", "bash"]];
    for (variable, slip, allowed) in [
        ("ZEROTTL_LOG", "inf0", "off, error, warn, info, debug, trace"),
        ("ZEROTTL_LOG", "info,zerottl=chatty", "off, error, warn, info, debug, trace"),
        ("ZEROTTL_LOG_FORMAT", "xml", "`text`, `json` or `journald`"),
    ] {
        for command in commands {
            let output = zerottl(command).env(variable, slip).output().expect("the binary starts");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{command:?} {said}");
            assert!(
                said.starts_with(&format!("zerottl: {variable}: ")) && said.contains(allowed),
                "{command:?} {said}"
            );
        }
    }
}

/// A client that reads no answers holds up the end for some seconds, but not against a second signal.
#[test]
fn a_second_signal_ends_it_at_once() {
    let mut agent = Agent::start();
    let mut client = TcpStream::connect(("127.0.0.1", agent.dns)).expect("connected");
    client.set_write_timeout(Some(Duration::from_millis(500))).expect("set");
    // app.com SOA, behind its length; sent until the agent, which cannot send its answers, reads no more.
    let query = b"\0\x19\x12\x34\0\0\0\x01\0\0\0\0\0\0\x03app\x03com\0\0\x06\0\x01";
    let batch = query.repeat(1_000);
    // On a busy machine it may only be late: nothing is taken three times in a row.
    let (mut at, mut stalls) = (0, 0);
    for _ in 0..50_000 {
        match client.write(&batch[at..]) {
            Ok(taken) => (at, stalls) = ((at + taken) % batch.len(), 0),
            Err(_) => stalls += 1,
        }
        if stalls == 3 {
            break;
        }
    }
    assert_eq!(stalls, 3, "it reads without end");
    agent.signal(Signal::TERM);
    // So soon, it is the same signal, as `timeout` sends it.
    agent.signal(Signal::TERM);
    thread::sleep(Duration::from_millis(1_300));
    assert!(!agent.has_ended(), "the client holds it up");
    agent.signal(Signal::INT);
    let (code, log) = agent.ended();
    assert_eq!(code, Some(1), "{log}");
    assert!(log.contains("SIGINT again: stopping immediately"), "{log}");
}

/// A served address that cannot be had: told with what to do.
#[test]
fn an_address_that_is_taken_or_not_ours() {
    let agent = Agent::start();
    let taken = format!("127.0.0.1:{}", agent.dns);
    let (_folder, file) = folder(&config(false, [1, 1]).replace("127.0.0.1:5353", &taken), None);
    let (code, out, err) = run(&["run", "--config", &file]);
    assert_eq!((code, out.as_str()), (1, ""));
    assert!(err.contains(&format!("zerottl: front.addresses: cannot listen on {taken} (UDP): ")), "{err}");
    assert!(err.contains("something else has it"), "{err}");
    let not_ours = config(false, [1, 1]).replace("127.0.0.1:5353", "192.0.2.53:5353");
    let not_ours = not_ours.replace("xdp = \"off\"", "xdp = \"off\"\nfreebind = false");
    let (_folder, file) = folder(&not_ours, None);
    let (code, _, err) = run(&["run", "--config", &file]);
    assert_eq!(code, 1);
    assert!(err.contains("192.0.2.53:5353") && err.contains("no interface has this address"), "{err}");
    agent.signal(Signal::INT);
    assert_eq!(agent.ended().0, Some(0));
}
