//! Interfaces that change, and what others do to them.

use std::{
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
    thread,
    time::{Duration, Instant},
};

use zerottl_kernel::sys;

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    agent::{Agent, attached},
    checker::Pace,
    client::Client,
    config::Config,
    lab::{Lab, LabSpec, front_addresses},
    pass,
    process::eventually,
    scene::Scene,
    under_load::under_load,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "link-changes",
        promise: "An interface that goes down, has another MTU or MAC address, or bears another name, is answered on as soon as it is back",
        alone: false,
        run: link_changes,
    },
    Scenario {
        name: "foreign-program",
        promise: "Another's XDP program is named where a start fails for it, it does not get in while ours is there, the sockets answer where it has come in all the same, and the kernel does once it has gone",
        alone: false,
        run: foreign_program,
    },
    Scenario {
        name: "link-taken-away",
        promise: "A program that somebody takes off its interface is put back, an alarm says so, and no answer is wrong",
        alone: false,
        run: link_taken_away,
    },
];

/// The load goes on until all is done; this is only its bound.
const PACE: Pace = Pace { rate: 500, duration: Duration::from_mins(10), sockets: 4 };
/// Answers must be back within this, on a machine that is busy with other tests.
const BACK: Duration = Duration::from_secs(5);

fn start(what: &str) -> Scene {
    Scene::start(what, Config { probe: None, ..Config::default() }).expect("root")
}

/// Waits for an answer of the kernel's, and returns how long that took.
///
/// # Panics
/// If it does not come.
fn until_answered(scene: &Scene, what: &str) -> Duration {
    let since = Instant::now();
    let before = scene.kernel_answers();
    let (mut first, mut last) = (None, None);
    let answered = eventually(BACK, || {
        // Each by a socket of its own: an answer that comes late is none to the next question.
        let client = scene.client(false);
        client.give_up_after(Duration::from_millis(20)).expect("a time-out");
        let answer = client.lookup("app.com", false);
        // Of a row of answers the first is when they were back.
        first = answer.is_ok().then(|| first.unwrap_or_else(|| since.elapsed()));
        last = answer.err();
        first.is_some() && scene.kernel_answers() > before
    });
    first.filter(|_| answered).unwrap_or_else(|| {
        let (status, log) = (scene.agent.status(), scene.agent.log());
        panic!("{what}: not answered, or not in the kernel ({last:?}): {status:?}\n{log}")
    })
}

/// One change: what it is called, and `ip` lines for it and for its end.
struct Change {
    what: &'static str,
    lines: &'static str,
    end: &'static str,
}

/// A name that the configuration does not have.
const OTHER: &str = "other";

const CHANGES: [Change; 5] = [
    Change { what: "down and up", lines: "link set eth0 down", end: "link set eth0 up" },
    Change { what: "MTU of 1280", lines: "link set eth0 mtu 1280", end: "" },
    Change { what: "MTU of 1500", lines: "link set eth0 mtu 1500", end: "" },
    Change { what: "MAC address", lines: "link set eth0 address 02:00:00:00:00:99", end: "" },
    Change {
        what: "renamed and back",
        lines: "link set eth0 down\nlink set eth0 name other\nlink set other up",
        end: "link set other down\nlink set other name eth0\nlink set eth0 up",
    },
];

fn link_changes(length: Length) -> ChaosOutcome {
    let rounds = length.of(1, 20);
    let mut longest = [Duration::ZERO; CHANGES.len()];
    let mut jumbo = Vec::new();
    for xdp in ["native", "generic"] {
        // With an MTU of 9000 the client's end of the veth has no native program, which would forbid it on this end, too.
        let mtu = if xdp == "native" { 1500 } else { 9000 };
        let config = Config { probe: None, xdp: xdp.into(), ..Config::default() };
        let spec = LabSpec { mtu, sites: vec![], ..LabSpec::default() };
        let scene = Scene::in_lab("an interface that changes", &spec, config).expect("root");
        let front = &scene.lab.fronts[0];
        until_answered(&scene, "as it was");
        for _ in 0..rounds {
            for (Change { what, lines, end }, longest) in CHANGES.iter().zip(&mut longest) {
                front.ip(lines).unwrap_or_else(|e| panic!("{what}: {e}"));
                if lines.contains(OTHER) {
                    let is_off = || attached(front, OTHER).expect("ip link").is_none();
                    assert!(eventually(BACK, is_off), "on an interface that bears no configured name");
                }
                if !end.is_empty() {
                    thread::sleep(Duration::from_millis(200));
                    front.ip(end).unwrap_or_else(|e| panic!("{what}: {e}"));
                }
                // As a switch and a router learn it from the announcement that the lab's kernel does not make.
                scene.lab.client.ip("neigh flush dev front0").expect("ip");
                *longest = until_answered(&scene, what).max(*longest);
            }
        }
        assert!(scene.agent.log().contains("the interface is gone"), "{}", scene.agent.log());
        // A veth takes no MTU over a page while a native program is on it, which the kernel says by itself.
        let grown = front.ip("link set eth0 mtu 9000").is_ok();
        until_answered(&scene, "MTU of 9000");
        jumbo.push(format!("{xdp} {}", if grown { "taken" } else { "refused by the kernel" }));
    }
    let row = |(change, took): (&Change, &Duration)| format!("{} {} ms", change.what, took.as_millis());
    let rows: Vec<_> = CHANGES.iter().zip(&longest).map(row).collect();
    let figure = format!(
        "{rounds} times each, native and generic, longest time until answers were back: {}; MTU of 9000 {}",
        rows.join(", "),
        jumbo.join(", ")
    );
    ChaosOutcome::held_if(jumbo == ["native refused by the kernel", "generic taken"], figure)
}

/// Detaches our link as `bpftool link detach` does, and does something before anybody else can.
fn detached<T: Send + 'static>(lab: &Lab, then: impl FnOnce() -> T + Send + 'static) -> T {
    let detach = || {
        let path = Path::new("/sys/fs/bpf/zerottl/link-native-eth0");
        let detached = sys::get(path).and_then(|link| sys::link_detach(link.as_fd()));
        detached.map(|()| then())
    };
    lab.fronts[0].run(detach).expect("the front's thread").expect("detached")
}

fn foreign_program(length: Length) -> ChaosOutcome {
    let named = refused_for_another();
    let mut scene = start("another's program");
    let (report, refused) = under_load(&mut scene, PACE, |_, lab, _| {
        let attempts = [pass::attach as fn(&str) -> std::io::Result<OwnedFd>, pass::attach_generic];
        let mut refused = 0;
        for attach in attempts.into_iter().cycle().take(length.of(20, 2000)) {
            refused += u64::from(lab.fronts[0].run(move || attach("eth0").is_err()).expect("a thread"));
        }
        refused
    });
    let mut back = Duration::ZERO;
    let (mut by_sockets, mut rounds) = (0, 0);
    while rounds < length.of(1, 20) {
        // The agent may be quicker, which is none of this scenario.
        let Ok(link) = detached(&scene.lab, || pass::attach("eth0")) else { continue };
        rounds += 1;
        let alarm = || scene.agent.status().is_ok_and(|status| status.has_alarm("program-off"));
        let is_told = eventually(BACK * 2, alarm);
        let status = scene.agent.zerottl(&["status"]).expect("status");
        let is_named = status.contains("eth0: off") && status.contains("another XDP program");
        by_sockets += u32::from(is_told && is_named && scene.client(false).lookup("app.com", false).is_ok());
        scene.agent.zerottl(&["reload"]).expect("a reload does not wait for it");
        drop(link);
        let since = Instant::now();
        let is_back = || scene.agent.attached("eth0").is_ok_and(|program| program.is_some());
        assert!(eventually(BACK * 2, is_back), "not put back: {}", scene.agent.log());
        until_answered(&scene, "another has gone");
        back = back.max(since.elapsed());
        // The alarm goes with the next look at the interfaces.
        assert!(eventually(BACK * 2, || !alarm()), "{:?}", scene.agent.status());
    }
    scene.survives_a_kill();
    let figure = format!(
        "{named} of 3 starts refused by its name; {} attempts to attach beside ours, {refused} refused; {} answers, {} lost; come in {rounds} \
         times: told, and the sockets answered, {by_sockets} times, in the kernel within {} ms of its going",
        length.of(20, 2000),
        count(report.right),
        report.lost,
        back.as_millis()
    );
    let held = named == 3 && refused == length.of(20, 2000) && report.is_clean() && by_sockets == rounds;
    ChaosOutcome::held_if(held, figure)
}

/// How many modes' starts are refused with the words that tell why.
fn refused_for_another() -> usize {
    let lab = Lab::start(&LabSpec { sites: vec![], ..LabSpec::default() }).unwrap_or_else(|e| panic!("lab: {e}"));
    let link = lab.fronts[0].run(|| pass::attach("eth0")).expect("a thread").expect("attached");
    let is_named = |xdp: &&str| {
        let config = Config { xdp: (*xdp).into(), probe: None, ..Config::default() };
        let refused = Agent::start(&lab, 0, &config).err().map(|error| error.to_string()).unwrap_or_default();
        refused.contains("another XDP program") && refused.contains("ip link show eth0")
    };
    let named = ["native", "generic", "auto"].iter().filter(|xdp| is_named(xdp)).count();
    drop(link);
    let is_free = || attached(&lab.fronts[0], "eth0").expect("ip link").is_none();
    assert!(eventually(BACK, is_free), "the other is still there");
    Agent::start(&lab, 0, &Config { probe: None, ..Config::default() }).expect("free now");
    named
}

fn link_taken_away(length: Length) -> ChaosOutcome {
    let times = length.of(3, 100);
    let mut scene = start("a program that is taken off");
    let (report, (mut back, told)) = under_load(&mut scene, PACE, |agent, lab, _| {
        let before = agent.attached("eth0").expect("ip link").expect("attached");
        let client = Client::new(&lab.client, None, front_addresses(0)[0]).expect("a client");
        let mut back = Vec::new();
        for _ in 0..times {
            detached(lab, || ());
            let since = Instant::now();
            let is_back = || attached(&lab.fronts[0], "eth0").expect("ip link").as_ref() == Some(&before);
            assert!(eventually(BACK * 2, is_back), "not put back: {}", agent.log());
            back.push(since.elapsed());
            client.lookup("app.com", false).expect("answered");
        }
        let told = || agent.status().is_ok_and(|status| status.has_alarm("program-taken-off"));
        (back, eventually(BACK * 2, told))
    });
    let metrics = scene.agent.get("/metrics").expect("metrics");
    assert!(metrics.contains("zerottl_alarm{kind=\"program-taken-off\""), "{metrics}");
    let status = scene.agent.zerottl(&["status"]).expect("status");
    assert!(status.contains(&format!("{times} times")) && status.contains("eth0: native"), "{status}");
    assert!(scene.agent.log().contains("somebody has taken the program off"), "{}", scene.agent.log());
    scene.agent.zerottl(&["reload"]).expect("reloaded");
    scene.survives_a_kill();
    back.sort_unstable();
    let figure = format!(
        "taken off {times} times: back after {} ms at the median and {} ms at most, {}; {} answers, {} lost, {} wrong",
        back[back.len() / 2].as_millis(),
        back[back.len() - 1].as_millis(),
        if told { "with an alarm" } else { "without an alarm" },
        count(report.right),
        report.lost,
        report.wrong
    );
    ChaosOutcome::held_if(told && report.wrong == 0 && report.duplicates == 0, figure)
}
