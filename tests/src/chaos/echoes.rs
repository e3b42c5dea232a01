//! Answers that go to where they do harm: to another server, or to somebody who never asked.
#![expect(clippy::cast_precision_loss, reason = "lengths of datagrams")]

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    thread,
    time::Duration,
};

use kernel_table::packet::{ask, opt};

use super::scenario::{ChaosOutcome, Length, Scenario, count};
use crate::{
    agent::Agent,
    config::Config,
    lab::{Lab, LabSpec, front_addresses, front_v4, front_v6},
    netns::Netns,
    process::settled,
    raw_frames::FrameSender,
    scene::Scene,
};

/// The scenarios of this group.
pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "response-loops",
        promise: "Two front ends whose addresses are forged as each other's, port 53 on both sides, in the kernel or by the sockets: each forged query has one answer at most, and no answer has one",
        alone: false,
        run: loops,
    },
    Scenario {
        name: "amplification",
        promise: "No UDP answer is over its bound, counted as IP packets: 2 times its query for balanced names, 2.5 times if negative, 512 bytes or 3 times for static records without a cookie",
        alone: false,
        run: amplification,
    },
];

/// The frames that are sent before a pause.
const BURST: usize = 16;
const PAUSE: Duration = Duration::from_millis(1);
/// Frames of the machines' own, ARP and neighbour discovery, that may be counted beside.
const OWN: u64 = 64;

/// Frames that have come to a front's eth0.
fn arrived(front: &Netns) -> u64 {
    let text = front.run(|| fs::read_to_string("/proc/thread-self/net/dev")).expect("a thread").expect("counters");
    let line = text.lines().find_map(|line| line.trim().strip_prefix("eth0:")).expect("eth0");
    line.split_whitespace().nth(1).and_then(|packets| packets.parse().ok()).expect("a count of packets")
}

/// Two fronts whose packets to each other go by way of the client.
fn two_fronts(xdp: &str) -> (Lab, Vec<Agent>) {
    let lab = Lab::start(&LabSpec { fronts: 2, sites: vec![], ..LabSpec::default() }).expect("a lab");
    for key in ["net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding"] {
        lab.client.sysctl(key, "1").expect("set");
    }
    for (number, front) in lab.fronts.iter().enumerate() {
        let other = 1 - number;
        let (client4, client6) = crate::lab::CLIENT;
        front
            .ip(&format!(
                "route add {}/32 via {client4} dev eth0 onlink\nroute add {}/128 via {client6} dev eth0 onlink",
                front_v4(other),
                front_v6(other)
            ))
            .expect("the way to the other");
    }
    let agent = |number: usize| {
        let addresses = front_addresses(number).map(|at| at.ip()).into();
        let config = Config { addresses, xdp: xdp.into(), probe: None, ..Config::default() };
        Agent::start(&lab, number, &config).expect("an agent")
    };
    let agents = (0..2).map(agent).collect();
    (lab, agents)
}

/// Queries of every kind to one front, as if the other had asked: right ones and others, and responses.
fn forged(number: usize, mac: [u8; 6]) -> Vec<Vec<u8>> {
    let names = ["app.com", "boston.app.com", "none.app.com", "mail.app.com", "big.app.com", "other.net", ""];
    let mut frames = Vec::new();
    for name in names {
        for kind in [1, 28, 65, 15, 16, 6, 255, 252] {
            // QUERY, NOTIFY, UPDATE, one that is not assigned; and a response.
            for flags in [0x0100, 0x2400, 0x2800, 0x7800, 0x8180] {
                for v6 in [false, true] {
                    let message = ask(name, kind).flags(flags).edns();
                    let mut packet = if v6 { message.v6() } else { message.v4() };
                    let at = |front: usize| front_addresses(front)[usize::from(v6)].ip();
                    (packet.source, packet.destination, packet.ports) = (at(1 - number), at(number), (53, 53));
                    packet.destination_mac = mac;
                    frames.push(packet.bytes());
                }
            }
        }
    }
    frames
}

fn mac_of(front: &Netns) -> [u8; 6] {
    let text = front.read("ip", &["-br", "link", "show", "eth0"]).expect("ip");
    let word = text.split_whitespace().nth(2).expect("an address");
    let bytes: Vec<u8> = word.split(':').map(|byte| u8::from_str_radix(byte, 16).expect("hexadecimal")).collect();
    bytes.try_into().expect("six bytes")
}

/// Sends them all; how many, how many answers came to a front, and how many frames beyond both came.
fn cross(xdp: &str, times: usize) -> (u64, u64, u64) {
    let (lab, agents) = two_fronts(xdp);
    let before: u64 = lab.fronts.iter().map(|front| arrived(front)).sum();
    let mut sent = 0;
    for (number, front) in lab.fronts.iter().enumerate() {
        let interface = ["front0", "front1"][number];
        let sender = FrameSender::new(&lab.client, interface).expect("a packet socket");
        let frames = forged(number, mac_of(front));
        for (index, frame) in frames.iter().cycle().take(frames.len() * times).enumerate() {
            sent += u64::from(sender.send(frame).expect("sent"));
            if index % BURST == BURST - 1 {
                thread::sleep(PAUSE);
            }
        }
    }
    let all = || lab.fronts.iter().map(|front| arrived(front)).sum();
    let came = settled(all) - before;
    // Once more, after a while in which a loop would have gone on.
    thread::sleep(Duration::from_millis(500));
    let on = all() - before - came;
    let crossed = came.saturating_sub(sent);
    drop(agents);
    (sent, crossed, on)
}

fn loops(length: Length) -> ChaosOutcome {
    let times = length.of(1, 200);
    let (mut figures, mut held) = (Vec::new(), true);
    for (xdp, how) in [("native", "in the kernel"), ("off", "by the sockets")] {
        let (sent, crossed, on) = cross(xdp, times);
        figures.push(format!(
            "{how} {} forged frames, {} answers to the other front, {on} frames once that was over",
            count(sent),
            count(crossed),
        ));
        // A fifth of them are responses, and a loop would have no end.
        held &= crossed > sent / 10 && crossed <= sent * 4 / 5 + OWN && on <= OWN / 8;
    }
    ChaosOutcome::held_if(held, figures.join("; "))
}

/// The largest answers so far, as parts of their queries.
#[derive(Debug, Default)]
struct Largest {
    asked: u64,
    balanced: (f64, String),
    negative: (f64, String),
    records: (f64, String),
    longest: usize,
    over: Vec<String>,
}

impl Largest {
    fn add(&mut self, what: String, is_static: bool, (asked, said): (usize, &[u8]), headers: usize) {
        self.asked += 1;
        let factor = (said.len() + headers) as f64 / (asked + headers) as f64;
        self.longest = self.longest.max(said.len());
        let is_negative = said[6..8] == [0, 0];
        let (largest, is_over) = match (is_negative, is_static) {
            (true, _) => (&mut self.negative, factor > 2.5),
            (false, true) => (&mut self.records, said.len() > 512 && factor > 3.0),
            (false, false) => (&mut self.balanced, factor > 2.0),
        };
        if is_over {
            self.over.push(format!("{factor:.2}: {what}"));
        }
        if factor > largest.0 {
            *largest = (factor, what);
        }
    }
}

fn amplification(length: Length) -> ChaosOutcome {
    let kinds: Vec<u16> = length
        .of((1..=65).chain(249..=257).collect(), (0..=1_024).chain(32_768..=32_780).chain([65_280, 65_535]).collect());
    let scene = Scene::start("amplification", Config { probe: None, ..Config::default() }).expect("root");
    // A name, and whether its records are of the file.
    let names = [
        ("app.com", true),
        ("europe.app.com", false),
        ("boston.app.com", false),
        ("mail.app.com", true),
        ("www.app.com", true),
        ("big.app.com", true),
        ("none.app.com", false),
        ("a.much.longer.name.that.does.not.exist.below.app.com", false),
        ("other.net", false),
        ("x", false),
        ("", false),
    ];
    let mut largest = Largest::default();
    for (server, headers) in front_addresses(0).into_iter().zip([28, 48]) {
        let source: Option<IpAddr> = None;
        let socket: UdpSocket = scene.lab.client.udp(source, server).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_millis(300))).expect("a time-out");
        for (name, has_records) in names {
            for kind in &kinds {
                for size in [None, Some(512), Some(1_232), Some(65_535)] {
                    let message = ask(name, *kind).id(rand::random());
                    let query = size
                        .map_or_else(|| message.clone(), |size| message.clone().additional(&opt(size, 0x8000, &[])))
                        .bytes();
                    socket.send(&query).expect("sent");
                    let mut answer = [0; 4_096];
                    // Nothing is as small as an answer can be.
                    let Ok(length) = socket.recv(&mut answer) else { continue };
                    // Addresses and HTTPS records of a balanced name are not of the file.
                    let is_static = has_records && !(name == "app.com" && matches!(kind, 1 | 28 | 65));
                    let what = format!("{name}, type {kind}, size {size:?}, {server}");
                    largest.add(what, is_static, (query.len(), &answer[..length]), headers);
                }
            }
        }
    }
    let Largest { asked, balanced, negative, records, longest, over } = &largest;
    let figure = format!(
        "{} answers of {} types: the largest {:.2} times its query for balanced names, {:.2} times if negative, {:.2} times for \
         static records (of 512 bytes at most, or 3 times); {longest} bytes the longest; {} over their bounds",
        count(*asked),
        kinds.len(),
        balanced.0,
        negative.0,
        records.0,
        over.len(),
    );
    let held = over.is_empty() && balanced.0 > 1.0 && negative.0 > 1.0 && records.0 > 1.0;
    if held { ChaosOutcome::held(figure) } else { ChaosOutcome::broken(format!("{figure}; {over:?}; {largest:?}")) }
}
