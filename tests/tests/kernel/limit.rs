//! Response rate limiting in the kernel: what a rate makes of an answer hangs on those before it.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};

use kernel_table::row::Ran;
use tests::lab::can_load;
use xdp_ebpf::reason::Reason;

use super::differential::{
    ask::{self, Asked, asked},
    compare,
    machine::BothPaths,
};

/// The outcome of questions, and how long it took.
#[derive(Debug)]
struct Counts {
    reasons: BTreeMap<&'static str, usize>,
    elapsed: Duration,
}

impl Counts {
    fn of(&self, reason: Reason) -> usize {
        self.reasons.get(reason.name()).copied().unwrap_or(0)
    }

    fn all(&self) -> usize {
        self.reasons.values().sum()
    }

    /// Returns how many answers `networks` may have had at a rate: a second's worth and one immediately, then the rate for as long as it took.
    /// The kernel's clock moves in steps of up to 10 ms, which may be worth one more.
    fn allowed(&self, networks: usize, per_second: u32) -> std::ops::RangeInclusive<usize> {
        let at_once = per_second as usize + 1;
        let since = self.elapsed.as_millis() as usize * per_second as usize / 1000 + 2;
        networks * at_once..=networks * (at_once + since)
    }
}

/// Runs `count` of each question in turn.
fn run(machine: &mut BothPaths, questions: &[Asked], count: usize) -> Counts {
    let mut reasons = BTreeMap::new();
    let begun = Instant::now();
    for question in std::iter::repeat_n(questions, count).flatten() {
        let (ran, _) = machine.run_at(&question.frame());
        *reasons.entry(ran.reason.name()).or_default() += 1;
    }
    Counts { reasons, elapsed: begun.elapsed() }
}

/// Asks until the network has had its rate, however slow the machine: what became of the first question over it.
fn over(machine: &mut BothPaths, question: &Asked, expected: Reason) -> Ran {
    let frame = question.frame();
    let mut asked = (0..1000).map(|_| machine.run_at(&frame).0);
    asked.find(|ran| ran.reason == expected).unwrap_or_else(|| panic!("1,000 questions and no {}", expected.name()))
}

fn from(host: u8, network: u8) -> IpAddr {
    Ipv4Addr::new(198, 18, network, host).into()
}

/// A question for an address, without EDNS.
fn address(client: IpAddr) -> Asked {
    asked(client, b"\x03app\x07example\0", 1, &[])
}

/// Each network has its rate in each class, and no more.
#[test]
fn a_network_is_held_to_its_rate_in_each_class() {
    if !can_load("rate limiting in the kernel") {
        return;
    }
    let mut machine = BothPaths::with("[rate_limit]\nper_second = 10\nslip = 0\n");
    let v6 = |net: u16, host| IpAddr::from([0x2001, 0xdb8, 0, net, 0, 0, 0, host]);
    for (what, questions, answered) in [
        ("one client", vec![address(from(1, 1))], vec![(Reason::AnswerA, 1)]),
        ("a network", vec![address(from(1, 2)), address(from(200, 2))], vec![(Reason::AnswerA, 1)]),
        ("two networks", vec![address(from(1, 3)), address(from(1, 4))], vec![(Reason::AnswerA, 2)]),
        ("an IPv6 network", vec![address(v6(0, 1)), address(v6(0xff, 2))], vec![(Reason::AnswerA, 1)]),
        ("two IPv6 networks", vec![address(v6(0x100, 1)), address(v6(0x200, 1))], vec![(Reason::AnswerA, 2)]),
        (
            "four classes",
            vec![
                address(from(1, 5)),
                asked(from(2, 5), b"\x03app\x07example\0", 64, &[]),
                asked(from(3, 5), b"\x06nobody\x03app\x07example\0", 1, &[]),
                asked(from(4, 5), b"\x05other\x03net\0", 1, &[]),
            ],
            vec![
                (Reason::AnswerA, 1),
                (Reason::AnswerNodata, 1),
                (Reason::AnswerNxdomain, 1),
                (Reason::AnswerRefused, 1),
            ],
        ),
    ] {
        let counts = run(&mut machine, &questions, 300);
        for (reason, networks) in &answered {
            assert!(
                counts.allowed(*networks, 10).contains(&counts.of(*reason)),
                "{what}: {}: {counts:?}",
                reason.name()
            );
        }
        let given: usize = answered.iter().map(|(reason, _)| counts.of(*reason)).sum();
        assert_eq!(counts.of(Reason::DropLimited), counts.all() - given, "{what}: {counts:?}");
    }
}

/// One in `slip` is sent truncated, with the question and its OPT.
#[test]
fn slips_are_truncated_answers() {
    if !can_load("rate limiting in the kernel: slip") {
        return;
    }
    let mut machine = BothPaths::with("[rate_limit]\nper_second = 1\nslip = 2\n");
    let counts = run(&mut machine, &[address(from(1, 1))], 1000);
    assert!(counts.allowed(1, 1).contains(&counts.of(Reason::AnswerA)), "{counts:?}");
    let (slips, drops) = (counts.of(Reason::AnswerSlip), counts.of(Reason::DropLimited));
    assert_eq!(slips + drops, counts.all() - counts.of(Reason::AnswerA), "{counts:?}");
    // Five standard deviations.
    assert!(slips.abs_diff(drops).pow(2) <= 25 * (slips + drops), "one in two: {counts:?}");

    let mut machine = BothPaths::with("[rate_limit]\nper_second = 1\nslip = 1\n");
    let questions = [
        ("an address", asked(from(1, 1), b"\x03app\x07example\0", 28, b""), 0),
        ("NXDOMAIN", asked(from(1, 2), b"\x06nobody\x03app\x07example\0", 1, b"\0\x03\0\0"), 3),
        ("REFUSED", asked(IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1]), b"\x05other\x03net\0", 1, b""), 5),
    ];
    for (what, question, rcode) in questions {
        let ran = over(&mut machine, &question, Reason::AnswerSlip);
        let message = compare::payload(&ran.frame).unwrap();
        let question_end = message.len() - 11 - if what == "NXDOMAIN" { 7 } else { 0 };
        assert_eq!(message[..2], question.message[..2], "{what}: id");
        assert_eq!((message[2] & 0x82, message[3] & 0xf), (0x82, rcode), "{what}: QR and TC, rcode");
        assert_eq!(message[4..12], [0, 1, 0, 0, 0, 0, 0, 1], "{what}: the question and OPT alone");
        assert_eq!(message[12..question_end], question.message[12..question_end], "{what}: the question");
    }
}

/// Whoever gives back a cookie of ours is who it says, and is answered; a forged cookie helps nobody.
#[test]
fn a_cookie_of_ours_is_exempt() {
    if !can_load("rate limiting in the kernel: cookies") {
        return;
    }
    let mut machine = BothPaths::with("[rate_limit]\nper_second = 1\nslip = 0\n");
    for v6 in [false, true] {
        let (ran, _) = machine.run_at(&ask::with_cookie(v6, b"clientco").frame());
        let cookie = compare::cookie(&compare::payload(&ran.frame).unwrap()).unwrap();
        let counts = run(&mut machine, &[ask::with_cookie(v6, &cookie)], 500);
        assert_eq!(counts.reasons, BTreeMap::from([(Reason::AnswerA.name(), 500)]));
        let mut forged = cookie.clone();
        forged[23] ^= 1;
        let counts = run(&mut machine, &[ask::with_cookie(v6, &forged), ask::with_cookie(v6, b"clientco")], 250);
        let given = counts.all() - counts.of(Reason::DropLimited);
        // The very first question, without a cookie of ours, took its part.
        assert!(given <= *counts.allowed(1, 1).end(), "{counts:?}");
    }
}

/// A dry run changes no answer, and says which it would have.
#[test]
fn a_dry_run_only_counts() {
    if !can_load("rate limiting in the kernel: dry run") {
        return;
    }
    let mut machine = BothPaths::with("[rate_limit]\nper_second = 10\ndry_run = true\n");
    let counts = run(&mut machine, &[address(from(1, 1))], 300);
    assert!(counts.allowed(1, 10).contains(&counts.of(Reason::AnswerA)), "{counts:?}");
    assert_eq!(counts.of(Reason::AnswerOverLimit) + counts.of(Reason::AnswerA), 300, "{counts:?}");
    let ran = over(&mut machine, &address(from(1, 1)), Reason::AnswerOverLimit);
    let message = compare::payload(&ran.frame).unwrap();
    assert_eq!(message[6..8], [0, 1], "an address");
}
