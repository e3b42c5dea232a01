//! Response rate limiting on the socket path. A slow machine is given more by the rate, so every bound goes by the clock.

use std::time::{Duration, Instant};

use super::{BOTH, Bench, NOW, ask, bytes_of, show};
use crate::{
    Transport,
    respond::{Disposition, answer},
    transport::Asker,
};
use zerottl_core::{limit::RateVerdict, model::RateLimit};

const RATE: RateLimit = RateLimit { per_second: 1, slip: 0, prefix: (24, 56), dry_run: false };
const CLIENT: &str = "198.51.100.9";

fn bench(rate: RateLimit) -> Bench {
    Bench::with(BOTH, |model, _| model.rate_limit = Some(rate))
}

/// How many of 500 questions of each kind are answered, asked in turn, and how many a network may have in that time.
fn answered(bench: &Bench, questions: &[&str]) -> (usize, usize) {
    let begun = Instant::now();
    let queries: Vec<_> = questions.iter().map(|question| ask(question)).collect();
    let given = (0..500).flat_map(|_| &queries).filter(|query| bench.udp(query).is_some()).count();
    // Two at once, one for each second begun, and a step of the clock.
    (given, 4 + begun.elapsed().as_secs() as usize)
}

/// Data, NODATA, NXDOMAIN and the rest have a rate each, whatever the name and the type.
#[test]
fn each_class_has_its_rate() {
    let bench = bench(RATE);
    for questions in [
        &["app.com A", "www.app.com A", "boston.app.com AAAA", "version.bind TXT class=3"][..],
        &["europe.app.com AAAA", "app.com HTTPS", "mail.app.com MX"],
        &["nothing.app.com A", "other.app.com MX +opt"],
        &["example.org A", "example.net AAAA", "app.com A +version=1", "chicago.app.com A", "x.sub.app.com A"],
    ] {
        let (given, most) = answered(&bench, questions);
        assert!((2..=most).contains(&given), "{questions:?}: {given} of at most {most}");
    }
}

/// A slipped answer has no records but OPT, and TC, so that a real client asks by TCP, which has no limit.
#[test]
fn slips_are_truncated() {
    let bench = bench(RateLimit { slip: 1, ..RATE });
    for (question, expected) in [
        ("app.com A +do", "NOERROR aa tc |  |  |  | opt 1232 do"),
        ("europe.app.com AAAA", "NOERROR aa tc |  |  | "),
        ("nothing.app.com A +o=3:", "NXDOMAIN aa tc |  |  |  | opt 1232 3:6c6231"),
        ("example.org A", "REFUSED tc |  |  | "),
    ] {
        let mut asked = (0..500).map(|_| bench.shown(&ask(question), CLIENT, NOW)).skip(2);
        assert!(asked.any(|shown| shown == expected), "{question}");
        let query = ask(question);
        for _ in 0..50 {
            assert!(!show(&query, &bench.tcp(&query).unwrap()).contains(" tc"), "{question} by TCP");
        }
    }
}

/// A cookie of ours proves who asks; the client's own alone does not, nor does another's.
#[test]
fn a_cookie_of_ours_is_exempt() {
    let bench = bench(RATE);
    let client = "2464c4abcf10c957";
    let shown = bench.shown(&ask(&format!("app.com A +o=10:{client}")), CLIENT, NOW);
    let cookie = shown.split("10:").nth(1).expect("a cookie").to_owned();
    assert_eq!(bytes_of(&cookie).len(), 24);
    let asks = |cookie: &str| answered(&bench, &[&format!("app.com A +o=10:{cookie}")]);
    assert_eq!(asks(&cookie).0, 500);
    for other in [client.to_owned(), format!("{}00", &cookie[..46])] {
        let (given, most) = asks(&other);
        assert!(given <= most, "{other}: {given} of at most {most}");
    }
}

#[test]
fn a_dry_run_changes_nothing() {
    let bench = bench(RateLimit { dry_run: true, ..RATE });
    let (query, client) = (ask("app.com A"), CLIENT.parse().unwrap());
    let mut over = 0;
    for _ in 0..500 {
        let asker = Asker { transport: Transport::Udp, client, idle: Duration::ZERO };
        let outcome = answer(&query, asker, NOW, &bench.zones, &bench.view).unwrap();
        let Disposition::Ready(answer) = outcome else { panic!("it is answered here") };
        assert_eq!(show(&query, &answer.message), "NOERROR aa | app.com 0 A 192.0.2.10 |  | ");
        over += usize::from(answer.rate == RateVerdict::DryRun);
    }
    assert!(over > 0);
}
