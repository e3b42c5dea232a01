//! `HAProxy` beside the agent, both reading the same agent check: what a Site says of itself means the same to both.

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use tests::{
    config::Config,
    netns::Netns,
    process::{Process, eventually},
    scene::Scene,
    scratch::find_tool,
    site::AgentCheck,
    turn::alone,
};

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);

/// `HAProxy` with boston behind it.
struct Haproxy {
    socket: PathBuf,
    _process: Process,
}

impl Haproxy {
    fn start(machine: &Netns, folder: &Path, site: &str) -> Self {
        let socket = folder.join("haproxy.sock");
        // Of a weight of 100, a percentage is itself.
        let configuration = format!(
            "global\n  stats socket {} mode 600 level admin\ndefaults\n  mode http\n  timeout connect 1s\n  timeout client \
             5s\n  timeout server 5s\nfrontend in\n  bind 127.0.0.1:8099\n  default_backend sites\nbackend sites\n  server \
             boston {site}:80 check inter 500ms weight 100 maxconn 1 agent-check agent-port 9999 agent-inter 200ms\n",
            socket.display()
        );
        let file = folder.join("haproxy.cfg");
        fs::write(&file, configuration).expect("written");
        let mut command = Command::new(find_tool("haproxy").expect("haproxy"));
        command.args(["-db", "-f"]).arg(file).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(fs::File::create(folder.join("haproxy.log")).expect("a log"));
        Self { socket, _process: Process::new(machine.spawn(command).expect("haproxy")) }
    }

    fn ask(&self, what: &str) -> Option<String> {
        let mut stream = UnixStream::connect(&self.socket).ok()?;
        stream.write_all(format!("{what}\n").as_bytes()).ok()?;
        let mut text = String::new();
        stream.read_to_string(&mut text).ok()?;
        Some(text)
    }

    /// The column of `show stat` of this name.
    fn stat(&self, column: &str) -> Option<String> {
        let text = self.ask("show stat")?;
        let head = text.lines().next()?.trim_start_matches("# ");
        let at = head.split(',').position(|name| name == column)?;
        let row = text.lines().find(|line| line.starts_with("sites,boston,"))?;
        row.split(',').nth(at).map(ToOwned::to_owned)
    }

    /// Its state: `ready`, `drain` or `maint`, which also stands for down, and its weight.
    fn state(&self) -> Option<(String, f64)> {
        let text = self.ask("show servers state sites")?;
        let row = text.lines().find(|line| line.split(' ').nth(3) == Some("boston"))?;
        let field = |index: usize| row.split(' ').nth(index)?.parse::<u32>().ok();
        // management.txt: operational state 0 is stopped; administrative state 1 is forced maintenance, 8 forced drain.
        let (operation, administration, weight) = (field(5)?, field(6)?, field(7)?);
        let word = match (operation, administration) {
            (0, _) => "maint",
            (_, admin) if admin & 0x01 != 0 => "maint",
            (_, admin) if admin & 0x08 != 0 => "drain",
            _ => "ready",
        };
        Some((word.to_owned(), f64::from(weight) / 100.0))
    }
}

/// Lines one after another; each is said on top of what the ones before have left.
const SEQUENCES: &[&[&str]] = &[
    &["drain", "up", "up 40%", "70%", "ready"],
    &["maint", "up", "drain", "ready"],
    &["down # the database", "ready", "60%", "up"],
    &["stopped", "fail", "drain", "up", "ready"],
    &["fail", "maint", "ready", "up"],
    &["0%", "up", "ready", "100%"],
    &["drain ready", "ready drain", "down up", "up down", "up ready"],
    &["drain, 30%", "nonsense", "ready nonsense", "UP 100%"],
];

/// After each line, `HAProxy`'s server and our Site are in the same state, with the same part of their weight.
#[test]
fn words_mean_the_same_to_haproxy() {
    let _alone = alone();
    let load = "[site.boston.load]\nkind = \"agent-check\"\nport = 9999\ninterval = \"200ms\"\ntimeout = \"150ms\"\n\
                stale_after = \"1h\"\n";
    let Some(scene) = Scene::start("the agent check beside HAProxy", Config { more: load.into(), ..Config::default() })
    else {
        return;
    };
    let check = AgentCheck::start(&scene.lab.site("boston").machine, 9999, "up ready 100%\n").expect("a listener");
    let folder = scene.lab.folder("haproxy").expect("a folder");
    let haproxy = Haproxy::start(&scene.lab.fronts[0], &folder, &scene.address("boston", false).to_string());
    let load = || scene.agent.status().ok().and_then(|report| Some(report.0["sites"].as_array()?[1]["load"].clone()));
    let (mut mark, mut said) = (1, Vec::new());
    for line in SEQUENCES.iter().flat_map(|sequence| [&["up ready 100%"], *sequence].concat()) {
        // By this, each shows that it has read the line; it changes nothing else.
        mark += 1;
        let (text, note) =
            line.split_once('#').map_or((line, String::new()), |(text, note)| (text, format!("#{note}")));
        check.say(&format!("{text} maxconn:{mark} {note}\n"));
        said.push(line);
        let read = || {
            haproxy.stat("slim").as_deref() == Some(&mark.to_string())
                && load().is_some_and(|load| load["maxconn"] == mark)
        };
        let log = || fs::read_to_string(folder.join("haproxy.log")).unwrap_or_default();
        assert!(eventually(PATIENCE, read), "{said:?}: {:?} {:?} {}", haproxy.stat("slim"), load(), log());
        let ours = || {
            let load = load()?;
            Some((load["word"].as_str()?.to_owned(), load["factor"].as_f64()?))
        };
        // Its health check has a say in it, too.
        let are_alike = || ours().is_some() && ours() == haproxy.state();
        assert!(eventually(PATIENCE, are_alike), "{said:?}: HAProxy {:?}, ours {:?}", haproxy.state(), ours());
    }
    // What the words come to where nothing is said in between: the table that the agent's own tests have.
    assert_eq!(haproxy.state(), Some(("ready".into(), 1.0)), "the last sequence leaves it as it began");
}
