//! Sessions of a Site that is one machine, with a journal: `zerottl site` is killed, or ends, and is started again.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    thread::{self, JoinHandle, sleep},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tests::{lab::can_run, netns::Netns, scratch::folder, session_lab::WorkerMachine};
use zerottl_core::session_id::SessionId;

/// The documented second: a kill loses no change in `async` that is older.
const LAG: Duration = Duration::from_secs(1);
const CLIENTS: u64 = 8;

fn site(session: &str) -> (WorkerMachine, TempDir) {
    let folder = folder().unwrap();
    let worker = WorkerMachine::alone(folder.path(), &format!("journal = \"sessions.redb\"\n{session}")).unwrap();
    (worker, folder)
}

/// A connection to the admin interface, or another server, with header fields that each request has.
pub(super) struct Asker(TcpStream, String);

impl Asker {
    fn new(worker: &WorkerMachine) -> io::Result<Self> {
        Self::to(&worker.machine, worker.at(), "Host: 127.0.0.1\r\nContent-Type: application/json")
    }

    pub(super) fn to(machine: &Netns, at: SocketAddr, fields: &str) -> io::Result<Self> {
        let limit = Duration::from_secs(10);
        let stream = machine.run(move || TcpStream::connect_timeout(&at, limit)).unwrap()?;
        stream.set_read_timeout(Some(limit))?;
        stream.set_nodelay(true)?;
        Ok(Self(stream, fields.to_owned()))
    }

    /// Makes one request; returns its status, the tag or else the cookie, and the body.
    pub(super) fn ask(&mut self, method: &str, target: &str, body: &str) -> io::Result<(u16, Option<String>, String)> {
        let (length, fields) = (body.len(), &self.1);
        write!(self.0, "{method} {target} HTTP/1.1\r\n{fields}\r\nContent-Length: {length}\r\n\r\n{body}")?;
        let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
        loop {
            let text = String::from_utf8_lossy(&bytes).into_owned();
            if let Some((head, body)) = text.split_once("\r\n\r\n") {
                let field = |name: &str| {
                    let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
                    Some(line.split_once(':')?.1.trim().to_owned())
                };
                let length = field("content-length:").map_or(0, |length| length.parse().unwrap());
                if body.len() >= length {
                    return Ok((
                        head[9..12].parse().unwrap(),
                        field("etag:").or_else(|| field("set-cookie:")),
                        body.to_owned(),
                    ));
                }
            }
            match self.0.read(&mut part)? {
                0 => return Err(io::ErrorKind::UnexpectedEof.into()),
                count => bytes.extend_from_slice(&part[..count]),
            }
        }
    }

    fn of(&mut self, method: &str, session: u64, body: &str) -> (u16, Option<String>, String) {
        self.ask(method, &target(session), body).unwrap()
    }
}

fn target(session: u64) -> String {
    format!("/v1/session/{}", SessionId((u128::from(session) << 64).to_be_bytes()))
}

/// Changes sessions as fast as it can, each by a client of its own, until the Site answers no more.
struct Changes {
    clients: Vec<JoinHandle<Vec<Instant>>>,
    stop: Arc<AtomicBool>,
}

impl Changes {
    fn start(worker: &WorkerMachine) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|session| {
            let (mut asker, stop) = (Asker::new(worker).unwrap(), Arc::clone(&stop));
            thread::spawn(move || {
                let mut acknowledged = Vec::new();
                while !stop.load(Relaxed) {
                    let number = acknowledged.len() + 1;
                    match asker.ask("PUT", &target(session), &number.to_string()) {
                        Ok((204, ..)) => acknowledged.push(Instant::now()),
                        _ => break,
                    }
                }
                acknowledged
            })
        });
        Self { clients: clients.collect(), stop }
    }

    /// When each change was acknowledged, by session.
    fn end(self) -> Vec<Vec<Instant>> {
        self.stop.store(true, Relaxed);
        self.clients.into_iter().map(|client| client.join().unwrap()).collect()
    }
}

/// The numbers that sessions have.
fn numbers(worker: &WorkerMachine) -> Vec<usize> {
    let mut asker = Asker::new(worker).unwrap();
    (0..CLIENTS).map(|session| asker.of("GET", session, "").2.parse().unwrap_or(0)).collect()
}

/// S1-2, C31: a Site that is killed has its sessions when it is started again, with the tags that they had; one that was ended
/// stays so, and one is changed by a condition from before.
#[test]
fn s1_2_a_journal_keeps_sessions_over_a_kill() {
    if !can_run("a Site with a journal") {
        return;
    }
    for write in ["async", "ack-one"] {
        let (mut worker, _folder) = site(&format!("write = \"{write}\""));
        worker.start().unwrap();
        let mut asker = Asker::new(&worker).unwrap();
        let mut tags = Vec::new();
        for session in 0..50 {
            assert_eq!(asker.of("PUT", session, "first").0, 204);
            tags.push(asker.of("PUT", session, &format!("cart {session}")).1.unwrap());
        }
        assert_eq!(asker.of("DELETE", 7, "").0, 204);
        assert_eq!(asker.of("DELETE", 99, "").0, 204, "one that never had data");
        if write == "async" {
            sleep(LAG);
        }
        for _ in 0..2 {
            worker.kill();
            worker.start().unwrap();
            let mut asker = Asker::new(&worker).unwrap();
            for session in 0..50_u64 {
                let (status, tag, body) = asker.of("GET", session, "");
                if session == 7 {
                    assert_eq!((status, asker.of("PUT", 7, "again").0), (410, 410));
                    continue;
                }
                assert_eq!((status, &*body), (200, &*format!("cart {session}")), "{write}");
                assert_eq!(tag.as_ref(), tags.get(session as usize));
            }
            assert_eq!(asker.of("PUT", 99, "again").0, 410);
            let (status, _, page) = asker.ask("GET", "/v1/sessions", "").unwrap();
            assert!(status == 200 && page.contains("\"hosted\":49") && page.contains("\"ended\":2"), "{page}");
        }
    }
}

/// S1-2, S1-X-ACK: killed in the middle of changes, a Site has all that it acknowledged in `ack-one`, and in `async` all but
/// those of one second.
#[test]
fn s1_x_ack_a_kill_loses_no_more_than_the_mode_says() {
    if !can_run("a Site with a journal") {
        return;
    }
    for (write, lag) in [("ack-one", Duration::ZERO), ("async", LAG)] {
        let (mut worker, _folder) = site(&format!("write = \"{write}\""));
        for round in 0..3 {
            worker.start().unwrap();
            let changes = Changes::start(&worker);
            sleep(Duration::from_millis(1500));
            worker.kill();
            let killed = Instant::now();
            let acknowledged = changes.end();
            worker.start().unwrap();
            let (kept, all) = (numbers(&worker), acknowledged.iter().map(Vec::len).sum::<usize>());
            let mut lost = 0;
            for (session, (kept, times)) in kept.iter().zip(&acknowledged).enumerate() {
                let due = times.iter().filter(|time| killed.saturating_duration_since(**time) >= lag).count();
                assert!(*kept >= due, "{write}, round {round}, session {session}: {kept} of {due}");
                assert!(*kept <= times.len() + 1, "one was under way");
                assert!(times.len() > 20, "{} changes", times.len());
                lost += times.len().saturating_sub(*kept);
            }
            println!("{write}: {all} changes acknowledged in 1.5 s, {lost} lost by the kill");
            worker.kill();
        }
    }
}

/// S1-2: a Site that ends in order loses nothing, in any mode.
#[test]
fn s1_2_an_end_in_order_loses_nothing() {
    if !can_run("a Site with a journal") {
        return;
    }
    let (mut worker, _folder) = site("");
    for _ in 0..3 {
        worker.start().unwrap();
        let changes = Changes::start(&worker);
        sleep(Duration::from_millis(500));
        worker.end().unwrap();
        let acknowledged: Vec<_> = changes.end().iter().map(Vec::len).collect();
        worker.start().unwrap();
        let kept = numbers(&worker);
        assert!(kept.iter().zip(&acknowledged).all(|(kept, all)| kept >= all), "{kept:?} of {acknowledged:?}");
        assert!(acknowledged.iter().all(|all| *all > 10), "{acknowledged:?}");
        worker.end().unwrap();
    }
}

/// C31: a journal that another process uses, and one that is damaged, are told at the start.
#[test]
fn c31_a_journal_that_cannot_be_used_is_told() {
    if !can_run("a Site with a journal") {
        return;
    }
    let (mut worker, folder) = site("");
    worker.start().unwrap();
    assert_eq!(Asker::new(&worker).unwrap().of("PUT", 1, &"cart".repeat(5000)).0, 204);
    let mut other = WorkerMachine::alone(folder.path(), "journal = \"sessions.redb\"").unwrap();
    let refused = other.start().unwrap_err().to_string();
    assert!(refused.contains("sessions.redb: another process uses it"), "{refused}");
    worker.end().unwrap();
    let file = folder.path().join("sessions.redb");
    assert_eq!(
        fs::metadata(&file).map(|about| std::os::unix::fs::PermissionsExt::mode(&about.permissions())).unwrap() & 0o777,
        0o600
    );
    let good = fs::read(&file).unwrap();
    // Each in its turn: the start, all of the middle, the end that is missing.
    let (third, half) = (good.len() / 3, good.len() / 2);
    let zeroed = |from: usize, to: usize| {
        let mut bytes = good.clone();
        bytes[from..to].fill(0x5a);
        bytes
    };
    for bad in
        [zeroed(0, 64), zeroed(4096, third), zeroed(third, good.len()), good[..half].to_vec(), b"[web]\n".to_vec()]
    {
        fs::write(&file, bad).unwrap();
        let refused = worker.start().unwrap_err().to_string();
        assert!(refused.contains("sessions.redb: it is damaged, or none of zerottl's"), "{refused}");
    }
    fs::write(&file, good).unwrap();
    worker.start().unwrap();
    assert_eq!(Asker::new(&worker).unwrap().of("GET", 1, "").2.len(), 20_000);
}
