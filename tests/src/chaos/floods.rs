//! Floods, beside clients that are as they should be.

use std::{
    net::{Ipv4Addr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use kernel_table::packet::{A, ask, opt};
use rand::{Rng as _, SeedableRng as _, rngs::SmallRng};

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    checker::{self, CheckReport, Pace},
    config::Config,
    lab::front_addresses,
    process::settled,
    raw_frames::FrameSender,
    scene::Scene,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "spoofed-flood",
        promise: "Under a flood of forged sources with `[rate_limit]`, 99.9 % of good queries are answered, also of a client within the forged network that shows its cookie, and that network gets no more than its rate",
        alone: true,
        run: spoofed,
    },
    Scenario {
        name: "slow-path-flood",
        promise: "A flood of queries for the agent's sockets leaves 99.9 % of what the kernel answers as it is, no Site is thought down for it, and the sockets answer once it is over",
        alone: true,
        run: slow_path,
    },
];

/// Good queries beside a flood.
const PACE: Pace = Pace { rate: 1_000, duration: Duration::from_mins(10), sockets: 4 };
/// UDP answers to one network of one class in a second: `[rate_limit]`'s own value.
const RATE: u64 = 1_000;
/// The frames that are sent before a pause, in which a ring of 256 is emptied.
const BURST: usize = 64;
const PAUSE: Duration = Duration::from_millis(1);
/// Frames that are made beforehand, and sent again and again.
const FRAMES: usize = 20_000;
/// Good queries of 1,000 that may be lost.
const LOST_MAX: u64 = 1;
/// The network whose addresses are forged; the client of this lab has them, too.
const FORGED: [u8; 3] = [198, 18, 77];
/// The code of the option, RFC 7873, and the lengths of a client's part and of the whole.
const COOKIE: u8 = 10;
const COOKIE_CLIENT: usize = 8;
const COOKIE_WHOLE: usize = 24;

/// Sends frames again and again for as long as `meanwhile` takes; how many, and what that returned.
fn flooded<T>(scene: &Scene, frames: &[Vec<u8>], meanwhile: impl FnOnce() -> T) -> (u64, T) {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        let flood = scope.spawn(|| {
            let sender = FrameSender::new(&scene.lab.client, "front0").expect("a packet socket");
            // The client's own end of the wire goes first: answers that are lost there are none of the server's.
            rustix::process::setpriority_process(None, 10).expect("nicer");
            let mut sent = 0;
            for (index, frame) in frames.iter().cycle().enumerate() {
                if index % BURST == BURST - 1 {
                    thread::sleep(PAUSE);
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                }
                sent += u64::from(sender.send(frame).expect("sent"));
            }
            sent
        });
        let result = meanwhile();
        stop.store(true, Ordering::Relaxed);
        (flood.join().expect("the flood's thread"), result)
    })
}

/// Good queries for a while.
fn good(scene: &Scene, duration: Duration) -> CheckReport {
    let pace = Pace { duration, ..PACE };
    checker::run(&scene.lab.client, &front_addresses(0), &scene.targets(), pace, &AtomicBool::new(false))
        .expect("checker")
}

/// Whether no more are lost than may be, and none is wrong.
fn is_good(report: &CheckReport) -> bool {
    report.sent > 0 && report.wrong + report.duplicates == 0 && report.lost * 1000 <= report.sent * LOST_MAX
}

/// A client that shows the cookie that it was given.
struct CookieClient {
    socket: UdpSocket,
    cookie: Vec<u8>,
    asked: u64,
    answered: u64,
}

impl CookieClient {
    fn new(scene: &Scene) -> Self {
        let source = Ipv4Addr::new(FORGED[0], FORGED[1], FORGED[2], 7);
        let socket = scene.lab.client.udp(Some(source.into()), front_addresses(0)[0]).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(500))).expect("a time-out");
        let mut client = Self { socket, cookie: vec![9; COOKIE_CLIENT], asked: 0, answered: 0 };
        let answer = client.ask().expect("nothing is limited yet");
        client.cookie = answer[answer.len() - COOKIE_WHOLE..].to_vec();
        assert_eq!(client.cookie[..COOKIE_CLIENT], [9; COOKIE_CLIENT], "the cookie is the last of it: {answer:02x?}");
        client
    }

    /// Asks once. An answer without an address, because it was truncated, is none.
    fn ask(&mut self) -> Option<Vec<u8>> {
        let id: u16 = rand::random();
        let option = [&[0, COOKIE, 0, self.cookie.len() as u8], self.cookie.as_slice()].concat();
        let query = ask("app.com", A).id(id).additional(&opt(1232, 0, &option)).bytes();
        self.socket.send(&query).expect("sent");
        self.asked += 1;
        let mut answer = [0; 2048];
        loop {
            let length = self.socket.recv(&mut answer).ok()?;
            // One to the flood's forged query would be for another port.
            if answer[..2] == id.to_be_bytes() && answer[6..8] == [0, 1] {
                self.answered += 1;
                return Some(answer[..length].to_vec());
            }
        }
    }
}

/// Queries for a balanced name: half of them from one network, half from anywhere.
fn forged() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(7);
    let frame = |index: usize| {
        let source = match index % 2 {
            0 => Ipv4Addr::new(FORGED[0], FORGED[1], FORGED[2], random.random_range(10..250)),
            _ => Ipv4Addr::new(11, random.random(), random.random(), random.random()),
        };
        let mut packet = ask("app.com", A).id(random.random()).edns().v4();
        packet.source = source.into();
        // Not where the client of the forged network listens.
        packet.ports.0 = 1_024 + random.random_range(0..8_192);
        packet.bytes()
    };
    (0..FRAMES).map(frame).collect()
}

/// A scene whose front has the address that the frames of the kernel table are for.
fn scene(what: &str, more: &str) -> Scene {
    let scene = Scene::start(what, Config { more: more.into(), ..Config::default() }).expect("root");
    scene.lab.fronts[0].ip("link set eth0 address 02:00:00:00:00:01").expect("an address");
    // The agent has to see it, and the client to ask for it.
    thread::sleep(Duration::from_millis(1500));
    let client = scene.client(false);
    assert!(crate::process::eventually(Duration::from_secs(5), || client.lookup("app.com", false).is_ok()));
    scene
}

fn spoofed(length: Length) -> ChaosOutcome {
    let duration = Duration::from_secs(length.of(2, 60));
    let scene = scene("a spoofed flood", &format!("[rate_limit]\nper_second = {RATE}\nslip = 0\n"));
    let frames = forged();
    let mut shown = CookieClient::new(&scene);
    let limited = || scene.agent.status().expect("status").reason("drop-limited");
    let before = settled(limited);
    let begun = Instant::now();
    let (sent, report) = flooded(&scene, &frames, || {
        let end = Instant::now() + duration;
        thread::scope(|scope| {
            let good = scope.spawn(|| good(&scene, duration));
            while Instant::now() < end {
                shown.ask();
                thread::sleep(Duration::from_millis(2));
            }
            good.join().expect("the checker's thread")
        })
    });
    let took = begun.elapsed();
    let held_back = settled(limited) - before;
    // Half of them are of the one network; all that is held back is of it, as anywhere else nobody comes near the rate.
    let given = (sent / 2).saturating_sub(held_back);
    let most = RATE * (took.as_millis() as u64 + 1_000) * 11 / 10_000;
    let figure = format!(
        "{} of {} good queries answered ({:.3} %), {} of {} with a cookie out of the forged network, beside {} forged ones \
         ({} a second); that network was sent {} answers in {:.0} s",
        count(report.right),
        count(report.sent),
        share(report.right, report.sent),
        count(shown.answered),
        count(shown.asked),
        count(sent),
        count(sent * 1000 / took.as_millis() as u64),
        count(given),
        took.as_secs_f64(),
    );
    let with_cookie = (shown.asked - shown.answered) * 1000 <= shown.asked.max(1_000) * LOST_MAX;
    if is_good(&report) && with_cookie && given <= most {
        return ChaosOutcome::held(figure);
    }
    ChaosOutcome::broken(format!("{figure}, of {} at most; {report}", count(most)))
}

fn share(part: u64, whole: u64) -> f64 {
    let thousandths = u32::try_from(part * 100_000 / whole.max(1)).unwrap_or_default();
    f64::from(thousandths) / 1000.0
}

/// Queries that the kernel leaves to the sockets: static records, and one that no UDP answer has room for.
fn slow() -> Vec<Vec<u8>> {
    let mut random = SmallRng::seed_from_u64(8);
    let kinds = [("mail.app.com", A), ("app.com", 15), ("big.app.com", 16), ("www.app.com", A)];
    let frame = |index: usize| {
        let (name, kind) = kinds[index % kinds.len()];
        let mut packet = ask(name, kind).id(random.random()).edns().v4();
        packet.source =
            Ipv4Addr::new(FORGED[0], FORGED[1], random.random_range(80..90), random.random_range(10..250)).into();
        packet.ports.0 = 1_024 + random.random_range(0..8_192);
        packet.bytes()
    };
    (0..FRAMES).map(frame).collect()
}

fn slow_path(length: Length) -> ChaosOutcome {
    let duration = Duration::from_secs(length.of(2, 60));
    let scene = scene("a slow-path flood", "");
    let frames = slow();
    let answers = || scene.kernel_answers();
    let (before, log) = (settled(answers), scene.agent.log().len());
    let begun = Instant::now();
    let (sent, report) = flooded(&scene, &frames, || good(&scene, duration));
    let took = begun.elapsed();
    let in_kernel = settled(answers) - before;
    let passed = scene.agent.status().expect("status").reason("pass-static");
    let downs = scene.agent.log()[log..].lines().filter(|line| line.contains("to=Down")).count();
    let server = format!("@{}", front_addresses(0)[0].ip());
    let after = scene.lab.client.read("dig", &[&server, "+short", "+time=2", "+tries=1", "mail.app.com"]);
    let recovers = after.is_ok_and(|text| text.contains("192.0.2.200"));
    let figure = format!(
        "{} of {} good queries answered ({:.3} %), all in the kernel, beside {} for the sockets ({} a second, {} arrived); {downs} \
         Sites thought down; afterwards the sockets answer: {}",
        count(report.right),
        count(report.sent),
        share(report.right, report.sent),
        count(sent),
        count(sent * 1000 / took.as_millis() as u64),
        count(passed),
        if recovers { "yes" } else { "no" },
    );
    let held = is_good(&report) && in_kernel >= report.right && passed * 10 >= sent * 9 && downs == 0 && recovers;
    if held {
        ChaosOutcome::held(figure)
    } else {
        ChaosOutcome::broken(format!("{figure}; {in_kernel} in the kernel; {report}"))
    }
}
