//! Kernel and socket path give the same answer to the same question (invariant 7), over generated questions.
//!
//! Each question is made from one number, printed where the two differ. `ZEROTTL_DIFFERENTIAL=1000000` makes that many.

pub(crate) mod ask;
pub(crate) mod compare;
pub(crate) mod machine;

use std::collections::BTreeMap;

use tests::lab::can_load;
use xdp_ebpf::reason::{Action, Reason};
use zerottl_dns::{self as dns, Transport};

use machine::BothPaths;

const QUESTIONS: u64 = 20_000;
const SEED: u64 = 0x7a65_726f_7474_6c03;
/// The number in a thousand that the kernel must answer at least.
const ANSWERED_MIN: u64 = 300;
/// How often each answering reason occurs in [`QUESTIONS`], at least; over the long run it is 1,000 and more.
const EACH_MIN: u64 = 50;

/// S4-3A-310, S4-3A-315, S4-3A-330, S4-3B-375, invariants 7 and 8: rcode, flags, sections, owners, TTLs and data equal;
/// the address from the same table, by sticky the same address; and what the kernel passes up is not its to answer.
#[test]
fn kernel_and_socket_path_answer_alike() {
    if can_load("kernel against socket path") {
        let by_sign =
            [Reason::AnswerSigned, Reason::AnswerSignedNodata, Reason::AnswerSignedNxdomain].map(Reason::name);
        answer_alike(BothPaths::new(), |reason| !by_sign.contains(&reason.name()));
    }
}

/// D-POS, D-NODATA, D-NX, D-DO, D-AMP: and of signed zones, each signature that which its own data has.
#[test]
fn kernel_and_socket_path_sign_alike() {
    if can_load("signatures of kernel against socket path") {
        // A name that no zone has, or no name, is answered as before.
        answer_alike(BothPaths::signed(), |_| true);
    }
}

/// Asks both, and fails where they differ, or a reason that is expected is rare.
fn answer_alike(mut machine: BothPaths, is_expected: impl Fn(Reason) -> bool) {
    let questions = match std::env::var("ZEROTTL_DIFFERENTIAL") {
        Ok(count) => count.parse().expect("ZEROTTL_DIFFERENTIAL is a number"),
        Err(_) => QUESTIONS,
    };
    let mut counts = BTreeMap::<&str, u64>::new();
    let (mut answered, mut measured) = (0, 0);
    println!("seed {SEED:#x}, {questions} questions");
    for i in 0..questions {
        let seed = SEED.wrapping_add(i);
        let asked = ask::question(seed);
        let (ran, now) = machine.run_at(&asked.frame());
        *counts.entry(ran.reason.name()).or_default() += 1;
        let respond =
            |transport| dns::respond(&asked.message, transport, asked.client, now, &machine.zones, &machine.view);
        let said = respond(Transport::Udp);
        // Whatever the kernel does with the question: with `xdp = "off"` this would be the answer.
        let large = said.as_ref().and_then(|said| compare::too_large(&machine, &asked, said));
        measured += u64::from(said.is_some());
        let fault = match (ran.action, said) {
            _ if large.is_some() => large.map(|fault| format!("the socket path's answer: {fault}")),
            // Names that stand in a message before are pointed to by the one and not by the other.
            (Action::Answer, Some(said))
                if ran.reason == Reason::AnswerTruncated && compare::is_signed_closely(&asked, &said) =>
            {
                answered += 1;
                None
            }
            (Action::Answer, Some(said)) => {
                answered += 1;
                let whole = if compare::is_truncated(&said) && compare::is_signed_whole(&ran.frame) {
                    respond(Transport::Tcp)
                } else {
                    None
                };
                compare::fault(&machine, &asked, &ran.frame, &said, whole.as_deref())
            }
            (Action::Answer, None) => Some("the socket path says nothing".to_owned()),
            (Action::Drop, Some(_)) if ran.reason == Reason::DropSource => None,
            (Action::Drop, Some(_)) => Some("dropped, but the socket path answers".to_owned()),
            (Action::Pass | Action::Drop, _) => None,
            (Action::Abort, _) => Some("aborted".to_owned()),
        };
        if let Some(fault) = fault {
            panic!("seed {seed:#x}, {}: {fault}\n{asked}", ran.reason.name());
        }
    }
    println!("{counts:?}");
    println!("{answered} answered by the kernel, {measured} by the socket path, none over the bounds of invariant 8");
    assert!(answered * 1000 >= questions * ANSWERED_MIN, "{answered} of {questions} were answered");
    // A rate's are tests/tests/kernel/limit.rs's.
    let by_rate = [Reason::AnswerSlip, Reason::AnswerOverLimit, Reason::AnswerSignedBytes];
    let by_question = Reason::ALL.iter().filter(|reason| reason.action() == Action::Answer);
    let by_question = by_question.filter(|reason| !by_rate.contains(reason) && is_expected(**reason));
    for reason in by_question {
        let count = counts.get(reason.name()).copied().unwrap_or(0);
        let least = if questions >= 1_000_000 { 1_000 } else { EACH_MIN.min(questions / 400) };
        assert!(count >= least, "{} occurred {count} times", reason.name());
    }
}

/// S4-3A-330R: names that are forwarded, in a zone or in none, and those that a DNAME redirects are the socket path's; those beside and above them are not.
#[test]
fn forwarded_names_are_passed_up() {
    if !can_load("forwarded names in the kernel") {
        return;
    }
    let mut machine = BothPaths::new();
    let deep = format!("{}given", "q.".repeat(120));
    let names = [
        ("given.away.app.example", Reason::PassStatic),
        ("x.given.away.app.example", Reason::PassStatic),
        ("X.y.GIVEN.away.app.example", Reason::PassStatic),
        ("away.app.example", Reason::AnswerNodata),
        ("taken.away.app.example", Reason::AnswerNxdomain),
        ("xgiven.away.app.example", Reason::AnswerNxdomain),
        ("given", Reason::PassStatic),
        ("x.given", Reason::PassStatic),
        (&deep, Reason::PassStatic),
        ("inner.given", Reason::PassStatic),
        ("x.inner.given", Reason::PassStatic),
        ("moved.app.example", Reason::PassStatic),
        ("x.y.moved.app.example", Reason::PassStatic),
        ("xgiven", Reason::AnswerRefused),
        ("given.net", Reason::AnswerRefused),
        ("test", Reason::AnswerRefused),
        ("x.test", Reason::AnswerRefused),
        ("example", Reason::AnswerRefused),
        ("app.example", Reason::AnswerA),
    ];
    for (name, reason) in names {
        let (ran, _) = machine.run_at(&ask::plain(name).frame());
        assert_eq!((ran.reason, ran.action), (reason, reason.action()), "{name}");
    }
}

/// A server cookie made by one of the two is given back unchanged by the other (RFC 9018): a client whose questions go
/// now this way and now that keeps it.
#[test]
fn kernel_and_socket_path_know_each_others_cookies() {
    if !can_load("cookies of kernel and socket path") {
        return;
    }
    let mut machine = BothPaths::new();
    for v6 in [false, true] {
        let first = ask::with_cookie(v6, b"clientco");
        let (ran, now) = machine.run_at(&first.frame());
        let by_kernel = compare::cookie(&compare::payload(&ran.frame).unwrap()).expect("a cookie");
        assert_eq!((by_kernel.len(), &by_kernel[..8]), (24, b"clientco".as_slice()));
        let said = |machine: &BothPaths, asked: &ask::Asked, now| {
            dns::respond(&asked.message, Transport::Udp, asked.client, now, &machine.zones, &machine.view).unwrap()
        };
        let again = ask::with_cookie(v6, &by_kernel);
        assert_eq!(
            compare::cookie(&said(&machine, &again, now + 9)),
            Some(by_kernel.clone()),
            "the socket path, 9 s later"
        );

        // One that the kernel would not make at this moment.
        let earlier = compare::cookie(&said(&machine, &first, now - 100)).unwrap();
        assert_ne!(earlier, by_kernel);
        let (ran, _) = machine.run_at(&ask::with_cookie(v6, &earlier).frame());
        assert_eq!(compare::cookie(&compare::payload(&ran.frame).unwrap()), Some(earlier), "the kernel, 100 s later");

        let old = compare::cookie(&said(&machine, &first, now - 1900)).unwrap();
        let forged = [&by_kernel[..23], &[by_kernel[23] ^ 1]].concat();
        for stale in [old, forged] {
            let (ran, now) = machine.run_at(&ask::with_cookie(v6, &stale).frame());
            let renewed = compare::cookie(&compare::payload(&ran.frame).unwrap()).unwrap();
            assert_eq!(
                renewed,
                compare::cookie(&said(&machine, &first, now)).unwrap(),
                "over half an hour old, or forged: renewed"
            );
        }
    }
}
