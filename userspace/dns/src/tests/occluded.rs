//! Data that is never answered: loaded all the same, as BIND, NSD and Knot do (RFC 5936 section 3.5).

use std::{path::Path, sync::Arc};

use super::{BOTH, Bench, model, plan};
use crate::{Zones, load::Read, transfer, view::View};

fn read(records: &str) -> Read {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("z"), records).unwrap();
    Zones::read(&model(BOTH, Some(Path::new("z"))), dir.path(), None)
}

fn bench(records: &str) -> Bench {
    let read = read(records);
    assert_eq!(read.faults.errors, [], "{records}");
    Bench { zones: read.zones, view: Arc::new(View::new(Arc::new(model(BOTH, None)), plan())) }
}

#[track_caller]
fn warned(records: &str, expected: &[&str]) {
    let read = read(records);
    assert_eq!(read.faults.errors, [], "{records}");
    let warnings: Vec<_> =
        read.faults.warnings.iter().map(|w| format!("{}: {}", w.line.unwrap_or(0), w.message)).collect();
    assert_eq!(warnings.len(), expected.len(), "{records}: {warnings:?}");
    for (warning, expected) in warnings.iter().zip(expected) {
        assert!(warning.contains(expected), "{warning:?} does not say {expected:?}");
    }
}

const HIDDEN: &str = "$TTL 300\n\
    sub NS ns.deep.sub\nsub NS ns.example.net.\nsub DS 1 8 2 00\nsub TXT own\n\
    ns.deep.sub A 192.0.2.54\ndeep.sub NS ns.example.net.\nz.sub TXT below\nz.sub A 192.0.2.1\n*.sub MX 10 mail\n\
    q.w.sub CNAME sub\nold DNAME new\nold TXT here\nx.old TXT below\n*.old A 192.0.2.2\ny.x.old NS ns\n\
    both NS ns.example.net.\nboth DNAME new\n";

#[test]
fn hidden_data_is_loaded_and_never_answered() {
    let bench = bench(HIDDEN);
    let referral = "NOERROR |  | sub.app.com 300 NS ns.deep.sub.app.com., sub.app.com 300 NS ns.example.net. | \
        ns.deep.sub.app.com 300 A 192.0.2.54";
    for question in [
        "sub.app.com TXT",
        "z.sub.app.com TXT",
        "z.sub.app.com A",
        "nothing.sub.app.com MX",
        "q.w.sub.app.com A",
        "w.sub.app.com A",
        "x.deep.sub.app.com A",
        "z.sub.app.com DS",
        "sub.app.com NS",
    ] {
        bench.check("at and below a cut", question, referral);
    }
    bench.check("DS is the parent's", "sub.app.com DS", "NOERROR aa | sub.app.com 300 DS 1 8 2 00 |  | ");
    bench.check("a DNAME's own data", "old.app.com TXT", "NOERROR aa | old.app.com 300 TXT \"here\" |  | ");
    for (question, made) in [("x.old.app.com TXT", "x"), ("y.x.old.app.com NS", "y.x"), ("n.old.app.com A", "n")] {
        bench.check(
            "below a DNAME",
            question,
            &format!(
                "NXDOMAIN aa | old.app.com 300 DNAME new.app.com., {made}.old.app.com 300 CNAME {made}.new.app.com. | \
                 app.com 5 SOA ns1.app.com. hostmaster.app.com. 7 3600 600 86400 5 | "
            ),
        );
    }
    bench.check("a cut goes before a DNAME", "a.both.app.com A", "NOERROR |  | both.app.com 300 NS ns.example.net. | ");
}

#[test]
fn hidden_data_goes_with_the_whole_zone() {
    let zones = read(HIDDEN).zones;
    let zone = zones.iter().next().unwrap();
    let all: Vec<_> = transfer::replies(zone, None)
        .flat_map(|reply| reply.answer.iter().map(|rr| format!("{} {}", rr.owner.name(), rr.data)).collect::<Vec<_>>())
        .collect();
    for line in ["sub.app.com \"own\"", "z.sub.app.com \"below\"", "x.old.app.com \"below\"", "*.old.app.com 192.0.2.2"]
    {
        assert!(all.iter().any(|record| record == line), "{line} is not in {all:#?}");
    }
}

#[test]
fn what_is_hidden_is_said_once_each() {
    warned("s NS ns.x.\ns A 192.0.2.1\ng.s A 192.0.2.2\ng.s AAAA ::2\n", &[]);
    warned("s NS ns.x.\nz.s TXT x\nz.s TXT y\n", &["2: TXT at z.s.app.com is hidden by the delegation of s.app.com"]);
    warned("s NS ns.x.\ns MX 1 x\n", &["2: MX at s.app.com is hidden by its delegation"]);
    warned("x DNAME y\na.b.x A 192.0.2.1\n", &["2: A at a.b.x.app.com is hidden by the DNAME of x.app.com"]);
    warned("a DS 1 8 2 00\n", &["1: DS at a.app.com without an NS set"]);
    let many: String = (0..50).fold("s NS ns.x.\n".into(), |all, i| format!("{all}h{i}.s TXT x\n"));
    let faults = read(&many).faults;
    assert_eq!((faults.warnings.len(), faults.more_warnings), (20, 30));
}
