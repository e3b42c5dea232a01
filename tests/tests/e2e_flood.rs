//! A flood of random subdomains is the kernel's work alone.
//!
//! `ZEROTTL_FLOOD_SECONDS` makes each flood longer than the 2 seconds that the tests take.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    net::SocketAddr,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tests::{
    agent::Report,
    checker::{self, Pace},
    config::Config,
    lab::front_addresses,
    scene::Scene,
};

/// Queries a second.
const RATE: u32 = 100_000;
/// What must be sent at least, or the run proves nothing: the machine has two cores for client, kernel and checker.
const RATE_MIN: u64 = 50_000;
/// Sent before the clock is looked at.
const BURST: u32 = 100;

/// What is asked in a flood, behind a label of random letters.
struct Flood {
    what: &'static str,
    /// Wire form, without the random label.
    behind: Vec<u8>,
    reason: &'static str,
}

fn floods() -> [Flood; 4] {
    let labels = |count: usize, end: &[u8]| [b"\x01q".repeat(count), end.to_vec()].concat();
    [
        Flood { what: "inside a zone", behind: b"\x03app\x03com\0".to_vec(), reason: "answer-nxdomain" },
        Flood { what: "outside the zones", behind: b"\x05other\x03net\0".to_vec(), reason: "answer-refused" },
        // With the random label, 255 bytes in all.
        Flood { what: "of 121 labels", behind: labels(118, b"\x03app\x03com\0"), reason: "answer-nxdomain" },
        Flood { what: "of 124 labels, outside", behind: labels(122, b"\0"), reason: "answer-refused" },
    ]
}

/// Sends queries for random names below `behind`, in bursts. Returns how many.
fn send(scene: &Scene, server: SocketAddr, behind: &[u8], duration: Duration) -> u64 {
    let socket = scene.lab.client.udp(None, server).unwrap();
    // The flood must not keep the client's own end of the wire, whose work is done beside it, from the CPU: answers that
    // are lost there are none of the server's. Only this thread becomes nicer.
    rustix::process::setpriority_process(None, 10).unwrap();
    let letters = 254_usize.saturating_sub(behind.len()).min(10);
    let mut query = vec![0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, letters as u8];
    query.extend(vec![b'x'; letters]);
    query.extend_from_slice(behind);
    query.extend([0, 1, 0, 1]);
    let mut random = StdRng::seed_from_u64(7);
    let (start, mut sent) = (Instant::now(), 0);
    while start.elapsed() < duration {
        for _ in 0..BURST {
            random.fill(&mut query[..2]);
            query[13..13 + letters].fill_with(|| random.random_range(b'a'..=b'z'));
            sent += u64::from(socket.send(&query).is_ok_and(|len| len == query.len()));
        }
        // Its answers are not read: the socket drops what it has no room for.
        let due = start + Duration::from_secs(1) * sent as u32 / RATE;
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
    sent
}

/// Context switches that the agent's threads made of their own accord: each wake-up ends in one.
fn wakeups(pid: u32) -> u64 {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let switches = tasks.map(|task| {
        let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        line.and_then(|count| count.trim().parse::<u64>().ok()).unwrap_or(0)
    });
    switches.sum()
}

/// Queries that the agent's sockets got.
fn socket_queries(scene: &Scene) -> u64 {
    let page = scene.agent.get("/metrics").unwrap();
    let lines = page.lines().filter(|line| line.starts_with("zerottl_socket_queries_total"));
    lines.filter_map(|line| line.rsplit_once(' ')?.1.parse::<u64>().ok()).sum()
}

/// S4-3A-330, S4-3B-375: a flood of 100,000 queries a second for names that do not exist, inside a zone and outside, and
/// with as many labels as a name can have: every one is answered in the kernel, the agent's sockets get nothing and its
/// threads wake up no more than in quiet, and the legitimate queries of the same seconds lose nothing.
#[test]
fn a_flood_of_random_subdomains_never_reaches_the_agent() {
    let Some(scene) = Scene::start("S4-3A-330: a flood of random subdomains", Config::default()) else { return };
    let seconds = std::env::var("ZEROTTL_FLOOD_SECONDS").map_or(2, |seconds| seconds.parse().expect("a number"));
    let duration = Duration::from_secs(seconds);
    let (targets, pid) = (scene.targets(), scene.agent.pid());
    let pace = Pace { rate: 1_000, duration, sockets: 4 };
    let legitimate = || {
        let before = wakeups(pid);
        let report =
            checker::run(&scene.lab.client, &front_addresses(0), &targets, pace, &AtomicBool::new(false)).unwrap();
        (report, wakeups(pid) - before)
    };
    let (quiet_report, quiet) = legitimate();
    assert!(quiet_report.is_clean(), "{quiet_report}");
    for flood in floods() {
        for server in front_addresses(0) {
            let count = |report: &Report| report.reason(flood.reason);
            let (before, sockets) = (count(&scene.agent.status().unwrap()), socket_queries(&scene));
            let (sent, (report, woken)) = thread::scope(|scope| {
                let sender = scope.spawn(|| send(&scene, server, &flood.behind, duration));
                let legitimate = legitimate();
                (sender.join().unwrap(), legitimate)
            });
            let answered = count(&scene.agent.status().unwrap()) - before;
            let to_sockets = socket_queries(&scene) - sockets;
            println!(
                "{} at {server}: {} a second sent, {answered} of {sent} answered in the kernel, {to_sockets} to the \
                 agent's sockets; {woken} wake-ups, {quiet} in quiet; beside it {report}",
                flood.what,
                sent / seconds
            );
            assert!(sent >= RATE_MIN * seconds, "{}: too slow to tell", flood.what);
            assert_eq!((answered, to_sockets), (sent, 0), "{}", flood.what);
            assert!(report.is_clean(), "{}: legitimate queries: {report}", flood.what);
            // Probes, housekeeping and the pages asked for here; a flood that got through would make thousands a second.
            assert!(woken <= quiet + quiet / 2 + 100 * seconds, "{}: {woken} wake-ups, {quiet} in quiet", flood.what);
        }
    }
}
