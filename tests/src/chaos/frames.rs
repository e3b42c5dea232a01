//! Frames that are not as they should be, beside queries that are.

use std::{
    collections::BTreeMap,
    fs,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use kernel_table::{
    mutate, rows,
    world::{OUR4, OUR6, World},
};
use xdp_ebpf::reason::Reason;

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    agent::{Agent, AgentReport},
    checker::{self, Pace},
    config::Config,
    kernel_log::KernelLog,
    lab::{Lab, LabSpec, front_addresses},
    process::settled,
    raw_frames::FrameSender,
    scene::Scene,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[Scenario {
    name: "malformed-frames",
    promise: "Frames that are malformed in every way cost no good query: each frame that arrives is counted under one reason, the right one, and the kernel's log stays clean",
    alone: false,
    run: malformed,
}];

/// Good queries beside it.
const PACE: Pace = Pace { rate: 4_000, duration: Duration::from_mins(10), sockets: 4 };
/// The frames that are sent before a pause, in which a ring of 256 is emptied.
const BURST: usize = 64;
/// The frames that are made beforehand.
const ROUND: u64 = 100_000;
const PAUSE: Duration = Duration::from_millis(1);
/// Reasons that follow from the frame alone, whatever is configured.
const OF_THE_FRAME: [Reason; 15] = [
    Reason::DropResponse,
    Reason::DropShort,
    Reason::DropSourcePort,
    Reason::PassTruncated,
    Reason::PassVersion,
    Reason::PassIpv4Options,
    Reason::PassFragment,
    Reason::PassMac,
    Reason::PassIpLength,
    Reason::PassUdpLength,
    Reason::PassIpChecksum,
    Reason::PassUdpChecksum,
    Reason::PassOpcode,
    Reason::PassCounts,
    Reason::PassName,
];
/// The length of an Ethernet header, without which nothing is sent.
const ETHERNET: usize = 14;

/// Rows of the kernel table whose reason does not hang on the table's own configuration.
fn known() -> Vec<(Vec<u8>, Reason)> {
    let is_ours = |frame: &[u8]| {
        frame.windows(4).any(|bytes| bytes == OUR4.octets()) || frame.windows(16).any(|bytes| bytes == OUR6.octets())
    };
    let is_tagged = |frame: &[u8]| matches!(frame[12..ETHERNET], [0x81, 0] | [0x88, 0xa8]);
    let rows = rows::all().into_iter().filter(|row| row.world == World::Full && row.frame.len() >= ETHERNET);
    let rows = rows.filter(|row| OF_THE_FRAME.contains(&row.reason) && !is_tagged(&row.frame) && is_ours(&row.frame));
    rows.map(|row| (row.frame, row.reason)).collect()
}

/// Counts of the front's interface.
#[derive(Clone, Copy)]
struct Interface {
    arrived: u64,
    /// Answers that the wire had no room for.
    not_sent: u64,
}

impl Interface {
    fn read(agent: u32) -> Self {
        let text = fs::read_to_string(format!("/proc/{agent}/net/dev")).expect("it runs");
        let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("eth0");
        let counts: Vec<u64> = line.split_whitespace().map(|count| count.parse().expect("a count")).collect();
        Self { arrived: counts[1], not_sent: counts[11] }
    }
}

fn by_reason(report: &AgentReport) -> BTreeMap<String, u64> {
    report.reasons().into_iter().collect()
}

fn all(report: &AgentReport) -> u64 {
    report.reasons().iter().map(|(_, count)| count).sum()
}

/// Sends frames in bursts; how many went out.
fn send<'a>(sender: &FrameSender, frames: impl Iterator<Item = &'a [u8]>) -> u64 {
    let mut sent = 0;
    for (index, frame) in frames.enumerate() {
        sent += u64::from(sender.send(frame).expect("sent"));
        if index % BURST == BURST - 1 {
            thread::sleep(PAUSE);
        }
    }
    sent
}

fn scene() -> Scene {
    let lab = Lab::start(&LabSpec { sites: vec![], ..LabSpec::default() }).expect("a lab");
    // The table's frames are for this address.
    lab.fronts[0].ip("link set eth0 address 02:00:00:00:00:01").expect("an address");
    let config = Config { probe: None, ..Config::default() };
    let agent = Agent::start(&lab, 0, &config).expect("an agent");
    Scene { agent, lab, config }
}

fn malformed(length: Length) -> ChaosOutcome {
    let (times, mutations): (usize, u64) = length.of((5, 20_000), (400, 2_000_000));
    let mut log = KernelLog::from_now().expect("the kernel's log");
    let scene = scene();
    let (targets, known) = (scene.targets(), known());
    let sender = FrameSender::new(&scene.lab.client, "front0").expect("a packet socket");
    let status = || scene.agent.status().expect("status");
    let quiet = || settled(|| all(&status()));
    let interface = || Interface::read(scene.agent.pid());
    quiet();
    let (before, interface_before) = (status(), interface());

    // First those that are known, alone, so that each reason's count can be told.
    let known_sent = send(&sender, known.iter().flat_map(|(frame, _)| std::iter::repeat_n(frame.as_slice(), times)));
    quiet();
    let after_known = status();
    let missing = known_sent.saturating_sub(interface().arrived - interface_before.arrived);
    let mut wrong = Vec::new();
    for reason in OF_THE_FRAME {
        let expected = times as u64 * known.iter().filter(|row| row.1 == reason).count() as u64;
        let counted = after_known.reason(reason.name()) - before.reason(reason.name());
        assert!(expected > 0, "{}: no row", reason.name());
        if counted > expected || expected - counted > missing {
            wrong.push(format!("{}: {counted} of {expected}", reason.name()));
        }
    }

    // Then whatever comes of changing right ones, beside good queries.
    let stop = AtomicBool::new(false);
    let (report, mutated) = thread::scope(|scope| {
        let checker = scope.spawn(|| checker::run(&scene.lab.client, &front_addresses(0), &targets, PACE, &stop));
        let mut sent = 0;
        for round in 0..mutations.div_ceil(ROUND) {
            let frames: Vec<Vec<u8>> = (round * ROUND..mutations.min((round + 1) * ROUND)).map(mutate::frame).collect();
            let whole = frames.iter().filter(|frame| frame.len() >= ETHERNET);
            sent += send(&sender, whole.map(Vec::as_slice));
        }
        stop.store(true, Ordering::Relaxed);
        (checker.join().expect("the checker's thread").expect("checker"), sent)
    });
    quiet();
    let (after, now) = (status(), interface());
    let (counted, came) = (all(&after) - all(&before), now.arrived - interface_before.arrived);
    let sent = known_sent + mutated;
    let dropped = (sent + report.sent).saturating_sub(came) + now.not_sent - interface_before.not_sent;
    let reasons = by_reason(&after).len();
    let troubles = log.troubles().expect("the kernel's log");
    let figure = format!(
        "{} good queries beside {} malformed frames: {} lost, {} wrong; {} frames arrived and {} are counted, under {reasons} \
         reasons; of {} frames whose reason is known, {} counted under another; {} lines of trouble in the kernel's log{}",
        count(report.sent),
        count(sent),
        report.lost,
        report.wrong,
        count(came),
        count(counted),
        count(known_sent),
        wrong.len(),
        troubles.len(),
        if dropped > 0 { format!(" (the wire had no room for {dropped})") } else { String::new() },
    );
    let good_lost = report.lost > dropped || report.wrong + report.duplicates > 0;
    let held = !good_lost && wrong.is_empty() && troubles.is_empty() && counted == came;
    if held {
        ChaosOutcome::held(figure)
    } else {
        ChaosOutcome::broken(format!("{figure}; {wrong:?} {troubles:?} {report}"))
    }
}
