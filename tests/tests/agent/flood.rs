//! A flood of random subdomains is the kernel's work alone.
//!
//! `ZEROTTL_FLOOD_SECONDS` makes each flood longer than the 2 seconds that the tests take.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]
#![expect(clippy::cast_precision_loss, reason = "a rate that is printed")]

use std::{
    fs, io,
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::atomic::AtomicBool,
    thread,
    time::{Duration, Instant},
};

use rand::{Rng, SeedableRng, rngs::StdRng};
use tests::{
    agent::AgentReport,
    checker::{self, Pace},
    config::Config,
    lab::front_addresses,
    losses::Drops,
    process::settled,
    scene::Scene,
    turn::alone,
};

/// Queries a second, on a machine that has the time; on one that has not, the next that it carries.
const RATES: [u32; 5] = [100_000, 50_000, 25_000, 12_000, 6_000];
/// Of what is sent, this share may be dropped on the way at a rate that is carried: one in so many.
const DROPPED_MAX: u64 = 100;
/// How long a rate is tried.
const TRIAL: Duration = Duration::from_millis(300);
/// Answers that a flood must have had, or it proves nothing, however long that takes.
const ANSWERED_MIN: u64 = 10_000;
/// That is not waited for any longer.
const PATIENCE: Duration = Duration::from_mins(1);
/// Sent before the clock is looked at.
const BURST: u32 = 50;
/// A stall that is not made up for: what had to be sent meanwhile would be more than a link holds.
const STALL: Duration = Duration::from_millis(2);

/// The questions of a flood, after a label of random letters.
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

/// Sends queries for random names below `behind` at a rate, in bursts, for `duration`, and on until there are `least`.
/// Returns how many, and how long it took.
fn send(
    scene: &Scene,
    server: SocketAddr,
    behind: &[u8],
    rate: u32,
    duration: Duration,
    least: u64,
) -> (u64, Duration) {
    let socket = scene.lab.client.udp(None, server).unwrap();
    // Its answers are not read. They go before they are counted as drops of a socket's buffer, which those of the
    // legitimate queries are told by.
    refuse_all(&socket).unwrap();
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
    let mut due = start;
    while start.elapsed() < duration || (sent < least && start.elapsed() < PATIENCE) {
        for _ in 0..BURST {
            random.fill(&mut query[..2]);
            query[13..13 + letters].fill_with(|| random.random_range(b'a'..=b'z'));
            sent += u64::from(socket.send(&query).is_ok_and(|len| len == query.len()));
        }
        let now = Instant::now();
        due = (due + Duration::from_secs(1) * BURST / rate).max(now.checked_sub(STALL).unwrap_or(now));
        thread::sleep(due.saturating_duration_since(now));
    }
    (sent, start.elapsed())
}

/// Has a socket drop whatever comes, without a word in the counters of full buffers.
#[expect(unsafe_code, reason = "an option that no library has")]
fn refuse_all(socket: &UdpSocket) -> io::Result<()> {
    // BPF_RET | BPF_K of 0 bytes.
    let mut program = [libc::sock_filter { code: 0x06, jt: 0, jf: 0, k: 0 }];
    let filter = libc::sock_fprog { len: 1, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which lives until the call returns; the length is that of what is pointed to.
    let failed = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_ATTACH_FILTER,
            (&raw const filter).cast(),
            size_of::<libc::sock_fprog>() as libc::socklen_t,
        )
    };
    if failed == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The first of [`RATES`] that this machine carries at this moment, or the last.
fn rate(scene: &Scene, server: SocketAddr, behind: &[u8]) -> u32 {
    let carries = |rate: &&u32| {
        let before = drops(scene);
        let (sent, _) =
            thread::scope(|scope| scope.spawn(|| send(scene, server, behind, **rate, TRIAL, 0)).join().unwrap());
        drops(scene).since(before).all() * DROPPED_MAX <= sent
    };
    *RATES.iter().find(carries).unwrap_or(&RATES[RATES.len() - 1])
}

fn drops(scene: &Scene) -> Drops {
    Drops::read(&scene.lab.client, scene.agent.pid()).unwrap()
}

/// Whether all is answered, rightly and once, but for what the machine has dropped by its own counters.
fn is_clean(report: &checker::CheckReport, dropped: Drops) -> bool {
    report.right > 0 && report.wrong == 0 && report.duplicates == 0 && report.lost <= dropped.all()
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

/// S4-3A-330, S4-3B-375: a flood of up to 100,000 queries a second for names that do not exist, inside a zone and outside,
/// and with as many labels as a name can have: every one that arrives is answered in the kernel, the agent's sockets get
/// nothing and its threads wake up no more than in quiet, and the legitimate queries of the same seconds lose nothing but
/// what this machine's links and sockets had no room for, by their own counters.
#[test]
fn a_flood_of_random_subdomains_never_reaches_the_agent() {
    let _alone = alone();
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
    let before = drops(&scene);
    let (quiet_report, quiet) = legitimate();
    let dropped = drops(&scene).since(before);
    assert!(is_clean(&quiet_report, dropped), "{quiet_report}; {dropped}");
    for flood in floods() {
        for server in front_addresses(0) {
            let rate = rate(&scene, server, &flood.behind);
            let count = |report: &AgentReport| report.reason(flood.reason);
            let before = settled(|| count(&scene.agent.status().unwrap()));
            let sockets = socket_queries(&scene);
            let dropped = drops(&scene);
            let ((sent, took), (report, woken)) = thread::scope(|scope| {
                let sender = scope.spawn(|| send(&scene, server, &flood.behind, rate, duration, ANSWERED_MIN));
                let legitimate = legitimate();
                (sender.join().unwrap(), legitimate)
            });
            let answered = settled(|| count(&scene.agent.status().unwrap())) - before;
            let to_sockets = socket_queries(&scene) - sockets;
            let dropped = drops(&scene).since(dropped);
            println!(
                "{} at {server}: {:.0} a second of {rate}, {answered} of {sent} answered in the kernel, {to_sockets} to \
                 the agent's sockets, {dropped}; {woken} wake-ups, {quiet} in quiet; beside it {report}",
                flood.what,
                sent as f64 / took.as_secs_f64(),
            );
            let what = flood.what;
            assert!(answered >= ANSWERED_MIN / 2, "{what}: nothing is proven by so few");
            assert!(answered <= sent && sent - answered <= dropped.all(), "{what}: lost beyond what was dropped");
            assert_eq!(to_sockets, 0, "{what}");
            assert!(is_clean(&report, dropped), "{what}: legitimate queries: {report}; {dropped}");
            // Probes, housekeeping and the pages asked for here; a flood that got through would make thousands a second.
            assert!(woken <= quiet + quiet / 2 + 100 * seconds, "{what}: {woken} wake-ups, {quiet} in quiet");
        }
    }
}

/// A loss beyond the counted drops is a fault, and so is any wrong or second answer, however much was dropped.
#[test]
fn only_counted_drops_excuse_a_loss() {
    let _alone = alone();
    let report = |lost, wrong, duplicates| checker::CheckReport {
        sent: 2_000,
        right: 2_000 - lost - wrong,
        lost,
        wrong,
        duplicates,
        ..checker::CheckReport::default()
    };
    let dropped = |links| Drops { links, ..Drops::default() };
    for (report, links, expected) in [
        (report(0, 0, 0), 0, true),
        (report(4, 0, 0), 0, false),
        (report(4, 0, 0), 3, false),
        (report(4, 0, 0), 4, true),
        (report(0, 1, 0), 9, false),
        (report(0, 0, 1), 9, false),
        (report(2_000, 0, 0), 5_000, false),
    ] {
        assert_eq!(is_clean(&report, dropped(links)), expected, "{report}, {links} dropped");
    }
}
