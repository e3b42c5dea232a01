//! The director's processes: who outlives whom, what comes back, and what a server is started with.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs::{self, File},
    io::{BufRead as _, BufReader},
    net::{SocketAddr, TcpListener},
    os::unix::net::UnixDatagram,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;
use tests::{
    lab::can_run,
    process::{Process, die_with_parent, eventually},
    scratch::folder,
};

const PATIENCE: Duration = Duration::from_secs(30);

fn stub() -> Command {
    Command::new(env!("CARGO_BIN_EXE_director-stub"))
}

/// Whether it runs; a zombie does not.
fn runs(pid: Pid) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, rest)| !rest.starts_with(['Z', 'X']))
}

/// A keeper with its workers.
struct Director {
    keeper: Process,
    folder: TempDir,
    notify: UnixDatagram,
}

impl Director {
    fn start(way: &str) -> Self {
        let folder = folder().unwrap();
        let notify = UnixDatagram::bind(folder.path().join("notify")).unwrap();
        notify.set_nonblocking(true).unwrap();
        let mut command = stub();
        command.arg("keeper").arg(folder.path()).arg(way);
        command.env("NOTIFY_SOCKET", folder.path().join("notify")).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(folder.path().join("stderr")).unwrap());
        Self { keeper: Process::new(command.spawn().unwrap()), folder, notify }
    }

    /// Lines of workers: the process that wrote it, and what it wrote.
    fn log(&self) -> Vec<(Pid, String)> {
        let log = fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        let line = |line: &str| {
            let (pid, text) = line.split_once(' ')?;
            Some((Pid::from_raw(pid.parse().ok()?)?, text.to_owned()))
        };
        log.lines().filter_map(line).collect()
    }

    /// Waits for the line that begins so, the `nth` of them.
    fn says(&self, begin: &str, nth: usize) -> (Pid, String) {
        let find = || self.log().into_iter().filter(|(_, text)| text.starts_with(begin)).nth(nth);
        assert!(eventually(PATIENCE, || find().is_some()), "{begin}: {:?}", self.log());
        find().unwrap()
    }

    /// Its server: the same one all the time.
    fn server(&self, nth: usize) -> Pid {
        let (_, text) = self.says("server ", nth);
        text.split_once(' ').and_then(|(_, pid)| Pid::from_raw(pid.parse().ok()?)).unwrap()
    }

    /// Waits until the service manager is told so.
    fn tells(&self, word: &str) {
        let mut note = [0; 512];
        let mut heard = || {
            let said = self.notify.recv(&mut note).map(|length| note[..length].to_vec()).unwrap_or_default();
            said.split(|byte| *byte == b'\n').any(|line| line == word.as_bytes())
        };
        assert!(eventually(PATIENCE, &mut heard), "{word}: {:?}", self.log());
    }
}

impl Drop for Director {
    fn drop(&mut self) {
        self.keeper.kill();
        let own = self.folder.path().to_str().unwrap_or_default().to_owned();
        for (worker, text) in self.log() {
            if fs::read_to_string(format!("/proc/{worker}/cmdline")).is_ok_and(|line| line.contains(&own)) {
                let _ = kill_process(worker, Signal::KILL);
            }
            let server = text.strip_prefix("server ").and_then(|pid| Pid::from_raw(pid.parse().ok()?));
            if let Some(server) = server.filter(|server| is_ours(*server)) {
                let _ = kill_process(server, Signal::KILL);
            }
        }
    }
}

/// Whether it is a worker's server still, and nobody else with its number.
fn is_ours(server: Pid) -> bool {
    fs::read_to_string(format!("/proc/{server}/environ")).is_ok_and(|all| all.contains("ZEROTTL_SERVER=app-1"))
}

/// A worker that is killed is followed by one that is given all that the keeper holds; the server notices nothing.
#[test]
fn a_worker_is_followed_and_servers_go_on() {
    let mut director = Director::start("well");
    let (first, begin) = director.says("began", 0);
    assert_eq!(begin, "began with [] [] stopping=false");
    let server = director.server(0);
    director.tells("READY=1");
    director.keeper.signal(Signal::HUP).unwrap();
    assert_eq!(director.says("hang-up", 0).0, first, "signals reach it");

    kill_process(first, Signal::KILL).unwrap();
    let (second, begin) = director.says("began", 1);
    assert_eq!(begin, "began with [listener server] [starts=1] stopping=false");
    assert_ne!(first, second);
    assert_eq!(director.server(1), server);
    assert!(runs(server));
    director.tells("READY=1");

    let status = fs::read_to_string(format!("/proc/{server}/status")).unwrap();
    let parent = format!("PPid:\t{}", director.keeper.id());
    assert!(status.lines().any(|line| line == parent), "the keeper has adopted it: {status}");
    // So the keeper reaps it; the worker sees its end.
    kill_process(server, Signal::KILL).unwrap();
    director.says("ended", 0);
    assert!(eventually(PATIENCE, || !Path::new(&format!("/proc/{server}")).exists()), "reaped");
    director.keeper.signal(Signal::TERM).unwrap();
    director.tells("STOPPING=1");
    assert!(director.keeper.wait(PATIENCE).unwrap().success());
    assert_eq!(director.says("stop", 0).0, second, "it was told to stop, once");
    assert!(!runs(second));
}

/// One that dies each time is started again and again; the server goes on.
#[test]
fn a_worker_that_always_dies_ends_nothing() {
    let mut director = Director::start("raves");
    let server = director.server(0);
    for nth in 1..4 {
        assert_eq!(director.server(nth), server);
    }
    assert!(runs(server) && director.keeper.ended().unwrap().is_none());
}

/// Nobody is left to stop servers by mistake: the worker goes with its keeper, even one that does not come to see it.
#[test]
fn the_keepers_death_ends_the_worker_and_no_server() {
    let mut director = Director::start("well");
    let (worker, _) = director.says("began", 0);
    let server = director.server(0);
    director.tells("READY=1");
    kill_process(worker, Signal::STOP).unwrap();
    director.keeper.kill();
    assert!(eventually(PATIENCE, || !runs(worker)));
    assert!(runs(server));
    assert!(director.log().iter().all(|(_, text)| text != "stop"), "{:?}", director.log());
}

/// A stop goes on where a worker dies in it.
#[test]
fn a_stop_comes_to_its_end() {
    let mut director = Director::start("dies-in-stop");
    let server = director.server(0);
    director.tells("READY=1");
    director.keeper.signal(Signal::TERM).unwrap();
    assert!(director.keeper.wait(PATIENCE).unwrap().success());
    let (_, begin) = director.says("began", 1);
    assert_eq!(begin, "began with [listener server] [starts=1] stopping=true");
    assert!(!runs(server));
}

/// A fault of the configuration, say, ends the command as any other.
#[test]
fn a_worker_that_never_served_is_not_started_again() {
    let mut director = Director::start("never-ready");
    assert_eq!(director.keeper.wait(PATIENCE).unwrap().code(), Some(7));
}

/// A server by itself, until this is dropped.
struct Started {
    _stub: Process,
    pid: Pid,
    said: PathBuf,
    _folder: TempDir,
}

impl Started {
    fn new(options: &[&str]) -> Self {
        let folder = folder().unwrap();
        let said = folder.path().join("said");
        // It writes with the rights of its own user.
        rustix::fs::chmod(folder.path(), 0o777.into()).unwrap();
        let script = format!(
            "echo \"$COLOUR $LISTEN_PID $LISTEN_FDS $LISTEN_FDNAMES $ZEROTTL_SERVER $HOME $NOTIFY_SOCKET\" > {0}.new; ls /proc/$$/fd >> {0}.new; readlink /proc/$$/fd/0 >> {0}.new; mv {0}.new {0}; exec sleep 1000",
            said.display()
        );
        let mut command = Command::new("/bin/bash");
        // A descriptor that the director itself was started with is none of its servers'.
        command.args(["-c", "exec \"$0\" \"$@\" 60</dev/null", env!("CARGO_BIN_EXE_director-stub"), "start"]);
        command.args(options).args(["--", "/bin/sh", "-c", &script]).stdout(Stdio::piped());
        command.env("NOTIFY_SOCKET", "/nowhere");
        die_with_parent(&mut command);
        let mut stub = Process::new(command.spawn().unwrap());
        let mut line = String::new();
        BufReader::new(stub.child().stdout.take().unwrap()).read_line(&mut line).unwrap();
        let pid = line.trim().parse().ok().and_then(Pid::from_raw).unwrap_or_else(|| panic!("{line}"));
        assert!(eventually(PATIENCE, || said.exists()));
        Self { _stub: stub, pid, said, _folder: folder }
    }

    fn status(&self, key: &str) -> String {
        let status = fs::read_to_string(format!("/proc/{}/status", self.pid)).unwrap();
        let value = status.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(':')).unwrap();
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        let _ = kill_process(self.pid, Signal::KILL);
    }
}

#[test]
fn a_server_is_started_by_the_contract() {
    let free = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (one, two): (SocketAddr, SocketAddr) = (free(), free());
    let server = Started::new(&["--listen", &one.to_string(), "--listen", &two.to_string()]);
    let said = fs::read_to_string(&server.said).unwrap();
    let names = [one, two].map(|at| format!("tcp-{at}").replace(':', "_")).join(":");
    let home = std::env::var("HOME").unwrap_or_default();
    let mut lines = said.lines();
    assert_eq!(lines.next().unwrap().trim(), format!("blue {} 2 {names} app-1 {home}", server.pid).trim());
    let rest: Vec<&str> = lines.collect();
    let (zero, numbers) = rest.split_last().unwrap();
    assert_eq!(*zero, "/dev/null");
    let high: Vec<&&str> = numbers.iter().filter(|number| number.parse::<u32>().is_ok_and(|n| n > 4)).collect();
    // The shell's own one for what it reads or has set aside is at 10 and above.
    assert!(!high.contains(&&"60") && !high.contains(&&"5"), "{numbers:?}");
    assert!(["0", "1", "2", "3", "4"].iter().all(|number| numbers.contains(number)), "{numbers:?}");
    let group = fs::read_to_string(format!("/proc/{}/stat", server.pid)).unwrap();
    let group = group.rsplit_once(") ").unwrap().1.split(' ').nth(2).unwrap().to_owned();
    assert_eq!(group, server.pid.to_string(), "a process group of its own");
}

#[test]
fn user_cpus_and_cgroup_are_as_configured() {
    if !can_run("a server's user, CPUs and cgroup") {
        return;
    }
    let server = Started::new(&["--user", "nobody", "--cpus", "0"]);
    let nobody = fs::read_to_string("/etc/passwd").unwrap();
    let nobody: Vec<&str> = nobody.lines().find(|line| line.starts_with("nobody:")).unwrap().split(':').collect();
    assert_eq!(server.status("Uid"), [nobody[2]; 4].join(" "));
    assert_eq!(server.status("Gid"), [nobody[3]; 4].join(" "));
    assert_eq!(server.status("Groups"), nobody[3]);
    assert_eq!(server.status("Cpus_allowed_list"), "0");
    for set in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
        assert_eq!(server.status(set), "0000000000000000", "{set}");
    }
    assert!(fs::read_to_string(&server.said).unwrap().contains(nobody[5]), "its home");
    drop(server);
    let server = Started::new(&["--user", "54321"]);
    assert_eq!((server.status("Uid"), server.status("Gid")), (["54321"; 4].join(" "), ["54321"; 4].join(" ")));
    assert_eq!(server.status("Groups"), "");
    drop(server);

    let Some(group) = Cgroup::new() else { return eprintln!("NOT TESTED: no cgroup2 that can be written") };
    let server = Started::new(&["--cgroup", group.0.to_str().unwrap(), "--user", "nobody"]);
    let processes = fs::read_to_string(group.0.join("cgroup.procs")).unwrap();
    assert!(processes.lines().any(|pid| pid == server.pid.to_string()), "{processes}");
}

/// A cgroup of its own.
struct Cgroup(PathBuf);

impl Cgroup {
    fn new() -> Option<Self> {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
        let mount = mounts.lines().find_map(|line| {
            let mut fields = line.split(' ').skip(1);
            let (at, kind) = (fields.next()?, fields.next()?);
            (kind == "cgroup2").then(|| PathBuf::from(at))
        })?;
        let group = mount.join(format!("zerottl-test-start-{}", std::process::id()));
        fs::create_dir(&group).ok().map(|()| Self(group))
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
        eventually(PATIENCE, || fs::remove_dir(&self.0).is_ok());
    }
}

/// A start that fails is told in a sentence with its remedy, and leaves no process.
#[test]
fn a_start_that_fails_says_why() {
    if !can_run("starts that fail") {
        return;
    }
    let check = |options: &[&str], program: &str, expect: &str| {
        let output = stub().arg("start").args(options).args(["--", program]).output().unwrap();
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.starts_with(expect), "{said}, not {expect}");
        assert_eq!(output.status.code(), Some(1));
    };
    check(&[], "/no/such/program", "app-1: `/no/such/program` cannot be executed: No such file or directory");
    check(&[], "/etc/passwd", "app-1: `/etc/passwd` cannot be executed: Permission denied");
    check(&["--user", "no-such-user"], "/bin/true", "app-1: there is no user `no-such-user` on this machine: create");
    check(&["--cpus", "1000"], "/bin/true", "app-1: running on the CPUs [1000] failed: Invalid argument");
    check(&["--cpus", "100000"], "/bin/true", "app-1: running on the CPUs [100000] failed: Invalid argument");
    check(&["--cgroup", "/no/group"], "/bin/true", "app-1: joining the cgroup /no/group failed: No such file");
}
