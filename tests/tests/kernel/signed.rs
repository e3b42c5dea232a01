//! D-POS, D-NODATA, D-NX, D-DO, D-AMP in the kernel: a table of its own, as signatures are not made by hand.
//!
//! Each row runs in the kernel and on the host, over the same signatures, and what both say is taken apart by `domain`. That
//! a signature is the one of its data, tests/tests/kernel/differential.rs shows.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use domain::{
    base::{CanonicalOrd as _, Message, Name, ParsedName, Rtype, iana::Rcode},
    rdata::AllRecordData,
};
use kernel_table::{
    host_maps::{self, Grow, HostMaps},
    packet::{self, A, AAAA, HTTPS, TestPacket, ask, opt},
    verify,
    world::{OUR_MAC, World},
};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use tests::{
    kernel::{machine::KernelMachine, maps, planned::Planned},
    lab::can_load,
};
use xdp_ebpf::reason::Reason;

use Reason::{
    AnswerA, AnswerNodata, AnswerNxdomain, AnswerSigned, AnswerSignedBytes, AnswerSignedNodata, AnswerSignedNxdomain,
    AnswerTruncated, PassStatic, PassWildcard,
};

/// Names of many lengths below each other, empty ones, one family alone, HTTPS; and labels that share 8 bytes and 16.
const CONFIG: &str = r#"
[front]
interfaces = ["lo"]
addresses = ["203.0.113.53", "2001:db8::53"]
[edns]
SIGNED_BYTES
[zone."signed.example"]
nameservers = ["ns1.signed.example"]
contact = "hostmaster@signed.example"
dnssec = true
records = "signed.zone"
[zone."plain.example"]
nameservers = ["ns1.signed.example"]
contact = "hostmaster@plain.example"
[pool."signed.example"]
sites = ["one", "two"]
[pool."web.signed.example"]
sites = ["one", "two"]
https = { alpn = ["h2"] }
[pool."four.signed.example"]
sites = ["four"]
[pool."deep.er.and.deeper.signed.example"]
sites = ["one"]
[pool."a-common-beginning-of-1.signed.example"]
sites = ["one"]
[pool."a-common-beginning-of-3.signed.example"]
sites = ["one"]
[pool."plain.example"]
sites = ["one"]
[site.one]
name = "one.signed.example"
addresses = ["192.0.2.10", "2001:db8:1::10"]
[site.two]
name = "two.signed.example"
addresses = ["192.0.2.20", "2001:db8:2::10"]
[site.four]
name = "site-four.signed.example"
addresses = ["192.0.2.40"]
"#;
const RECORDS: &str = "*.wild TXT wild\nmail MX 5 mail\nsub NS ns.sub\nns.sub A 192.0.2.9\nalias CNAME web\n";

/// A question, and its answer's reason.
struct SignedRow {
    what: &'static str,
    packet: TestPacket,
    reason: Reason,
    /// Owners of the NSECs of a negative answer.
    proofs: &'static [&'static str],
}

const TXT: u16 = 16;
/// Where a message begins over IPv4 without VLAN.
const MESSAGE: usize = 14 + 20 + 8;

fn with_do(name: &str, rtype: u16) -> packet::Message {
    ask(name, rtype).additional(&opt(1232, 0x8000, &[]))
}

fn rows() -> Vec<SignedRow> {
    let row = |what, packet, reason, proofs| SignedRow { what, packet, reason, proofs };
    let v4 = |name: &str, rtype| with_do(name, rtype).v4();
    let long = "a-name-that-is-long-enough-to-be-answered-with-a-signature.and-some-more";
    vec![
        row("A", v4("web.signed.example", A), AnswerSigned, &[]),
        row("AAAA", v4("web.signed.example", AAAA), AnswerSigned, &[]),
        row("HTTPS", v4("web.signed.example", HTTPS), AnswerSigned, &[]),
        row("the apex", v4("signed.example", A), AnswerSigned, &[]),
        row("a Site Name, over IPv6", with_do("two.signed.example", AAAA).v6(), AnswerSigned, &[]),
        row("letters of both cases", v4("wEb.Signed.EXAMPLE", A), AnswerSigned, &[]),
        row(
            "with NSID",
            ask("web.signed.example", A).additional(&opt(1232, 0x8000, &[0, 3, 0, 0])).v4(),
            AnswerSigned,
            &[],
        ),
        row("a name of many labels", v4("deep.er.and.deeper.signed.example", A), AnswerSigned, &[]),
        row("without DO", ask("web.signed.example", A).edns().v4(), AnswerA, &[]),
        row("without OPT", ask("web.signed.example", A).v4(), AnswerA, &[]),
        row("every flag but DO", ask("web.signed.example", A).additional(&opt(1232, 0x7fff, &[])).v4(), AnswerA, &[]),
        row("another zone", v4("plain.example", A), AnswerA, &[]),
        row(
            "NODATA of a type that may come back",
            v4("four.signed.example", AAAA),
            AnswerSignedNodata,
            &["four.signed.example"],
        ),
        row(
            "NODATA of HTTPS that there is not",
            v4("four.signed.example", HTTPS),
            AnswerSignedNodata,
            &["four.signed.example"],
        ),
        row("NODATA of a static type", v4("web.signed.example", TXT), AnswerSignedNodata, &["web.signed.example"]),
        row("NODATA of a static name", v4("mail.signed.example", A), AnswerSignedNodata, &["mail.signed.example"]),
        row("NODATA at the apex", v4("signed.example", TXT), AnswerSignedNodata, &["signed.example"]),
        row("an empty name", v4("er.and.deeper.signed.example", A), AnswerSignedNodata, &["alias.signed.example"]),
        row("NODATA without DO", ask("four.signed.example", AAAA).edns().v4(), AnswerNodata, &[]),
        row("before all", v4("a.signed.example", A), AnswerSignedNxdomain, &["signed.example"]),
        row(
            "between two",
            v4("nothing.signed.example", A),
            AnswerSignedNxdomain,
            &["mail.signed.example", "signed.example"],
        ),
        row(
            "over IPv6",
            with_do("x.y.z.signed.example", TXT).v6(),
            AnswerSignedNxdomain,
            &["*.wild.signed.example", "signed.example"],
        ),
        row(
            "below one that has none below",
            v4("x.web.signed.example", A),
            AnswerSignedNxdomain,
            &["web.signed.example"],
        ),
        row(
            "below an empty name",
            v4("x.and.deeper.signed.example", A),
            AnswerSignedNxdomain,
            &["deep.er.and.deeper.signed.example", "alias.signed.example"],
        ),
        row(
            "before what shares sixteen bytes",
            v4("a-common-beginning-of.signed.example", A),
            AnswerSignedNxdomain,
            &["signed.example"],
        ),
        row(
            "between what shares sixteen bytes",
            v4("a-common-beginning-of-2.signed.example", A),
            AnswerSignedNxdomain,
            &["a-common-beginning-of-1.signed.example", "signed.example"],
        ),
        row(
            "behind what shares sixteen bytes",
            v4("a-common-beginning-of-4.signed.example", A),
            AnswerSignedNxdomain,
            &["a-common-beginning-of-3.signed.example", "signed.example"],
        ),
        row(
            "a missing name of both cases",
            v4("NoThing.sIgned.example", A),
            AnswerSignedNxdomain,
            &["mail.signed.example", "signed.example"],
        ),
        row("a missing name without DO", ask("nothing.signed.example", A).edns().v4(), AnswerNxdomain, &[]),
        row("a missing name of another zone", v4("nothing.plain.example", A), AnswerNxdomain, &[]),
        row(
            "a client that takes 512 bytes",
            ask(&format!("{long}.signed.example"), A).additional(&opt(512, 0x8000, &[])).v4(),
            AnswerTruncated,
            &[],
        ),
        row("what a wildcard may stand for", v4("x.wild.signed.example", A), PassWildcard, &[]),
        row("below a delegation", v4("x.sub.signed.example", A), PassStatic, &[]),
        row("an alias", v4("alias.signed.example", A), PassStatic, &[]),
        row("the keys", v4("signed.example", 48), PassStatic, &[]),
    ]
}

fn planned(signed_bytes: &str) -> Planned {
    let folder = tests::scratch::folder().unwrap();
    std::fs::write(folder.path().join("signed.zone"), RECORDS).unwrap();
    Planned::read(&CONFIG.replace("SIGNED_BYTES", signed_bytes), Path::new(folder.path())).sign()
}

fn machines(planned: &Planned) -> (KernelMachine, HostMaps) {
    let plan = planned.plan(1);
    let mut kernel = KernelMachine::load(planned, &plan, &[OUR_MAC]);
    kernel.loaded.publisher.publish(&plan);
    (kernel, maps::held_by(planned, World::Full))
}

type Parts = (Rcode, Vec<(String, Rtype)>, BTreeSet<String>);

/// The sections' records without the OPT, checked: each set is followed by its one signature, and each NSEC is of this name or
/// denies it.
fn parts(dns: &[u8]) -> Parts {
    let message = Message::from_octets(dns).expect("a message");
    let question = message.sole_question().expect("a question");
    let name: Name<Vec<u8>> = question.qname().to_string().parse().expect("a name");
    assert!(!message.header().ad() && !message.header().cd() && message.header().aa());
    let mut all = Vec::new();
    let mut proofs = BTreeSet::new();
    let mut before: Option<(String, Rtype)> = None;
    for record in message.answer().unwrap().chain(message.authority().unwrap()) {
        let record = record.expect("a record");
        let owner = record.owner().to_string().to_ascii_lowercase();
        let data = record.to_any_record::<AllRecordData<_, ParsedName<_>>>().expect("its data");
        match data.data() {
            AllRecordData::Rrsig(rrsig) => {
                assert_eq!(before.take(), Some((owner.clone(), rrsig.type_covered())));
                assert_eq!(rrsig.signer_name().to_string(), "signed.example");
                assert_eq!(usize::from(rrsig.labels()), owner.trim_start_matches("*.").split('.').count(), "{owner}");
                assert_eq!(rrsig.signature().len(), 64);
                assert_eq!(rrsig.original_ttl(), record.ttl());
            }
            AllRecordData::Nsec(nsec) => {
                let first: Name<Vec<u8>> = owner.parse().expect("a name");
                let next: Name<Vec<u8>> = nsec.next_name().to_string().parse().expect("a name");
                let is_own = first == name;
                assert!(
                    !is_own || !nsec.types().contains(question.qtype()),
                    "{} is said to be there",
                    question.qtype()
                );
                // Nothing live is denied: what the name may have beside the type asked for.
                assert!(first.canonical_lt(&next) || next.to_string() == "signed.example", "{first} {next}");
                proofs.insert(owner.clone());
                assert!(before.replace((owner.clone(), Rtype::NSEC)).is_none());
            }
            _ => assert!(before.replace((owner.clone(), record.rtype())).is_none()),
        }
        all.push((owner, record.rtype()));
    }
    assert!(before.is_none(), "a set without its signature: {all:?}");
    (message.header().rcode(), all, proofs)
}

#[test]
fn every_signed_row_holds() {
    if !can_load("signed answers in the kernel") {
        return;
    }
    let planned = planned("signed_bytes = 0");
    let (mut kernel, host) = machines(&planned);
    let mut reasons = BTreeSet::new();
    for SignedRow { what, packet, reason, proofs } in rows() {
        let frame = packet.bytes();
        let ran = kernel.run(&frame);
        assert_eq!((ran.reason, ran.action), (reason, reason.action()), "{what}");
        for grow in [Grow::Tail, Grow::Head] {
            let host = host_maps::run(&host, &frame, grow);
            assert_eq!(host.reason, reason, "{what} on the host");
        }
        reasons.insert(reason.name());
        if !matches!(reason, AnswerSigned | AnswerSignedNodata | AnswerSignedNxdomain) {
            continue;
        }
        let dns = verify::carried(&frame, &ran.frame).unwrap_or_else(|fault| panic!("{what}: {fault}"));
        let (rcode, records, proven) = parts(&dns);
        assert_eq!(rcode == Rcode::NXDOMAIN, reason == AnswerSignedNxdomain, "{what}");
        assert_eq!(proven, proofs.iter().map(|proof| (*proof).to_owned()).collect(), "{what}");
        assert_eq!(records.len(), if reason == AnswerSigned { 2 } else { 2 + 2 * proofs.len() }, "{what}: {records:?}");
    }
    for reason in [AnswerSigned, AnswerSignedNodata, AnswerSignedNxdomain, AnswerTruncated] {
        assert!(reasons.contains(reason.name()), "no row of {}", reason.name());
    }
}

/// D-AMP: a client network has its bytes, and is told to come by TCP from then on; another has its own.
#[test]
fn signed_bytes_are_metered_in_the_kernel() {
    if !can_load("signed bytes in the kernel") {
        return;
    }
    let (mut kernel, _) = machines(&planned("signed_bytes = 65536"));
    let frame = with_do("web.signed.example", A).v4().bytes();
    let (mut whole, mut sent) = (0, 0);
    while whole < 10_000 {
        let ran = kernel.run(&frame);
        if ran.reason != AnswerSigned {
            assert_eq!(ran.reason, AnswerSignedBytes);
            let dns = verify::carried(&frame, &ran.frame).unwrap();
            assert_eq!((dns[2] & 2, &dns[6..10]), (2, &[0; 4][..]), "truncated, and empty");
            break;
        }
        whole += 1;
        sent += verify::carried(&frame, &ran.frame).unwrap().len();
    }
    // A second's bytes at once, and what a second or two of this loop adds.
    assert!((65_536..400_000).contains(&sent), "{sent} bytes in {whole} answers");
    assert_eq!(
        kernel.run(&ask("web.signed.example", A).edns().v4().bytes()).reason,
        AnswerA,
        "unsigned ones are not metered"
    );
    assert_eq!(kernel.run(&with_do("web.signed.example", A).v6().bytes()).reason, AnswerSigned, "another network");
}

/// Code compiled twice does one thing: whatever comes, kernel and host have the same reason, and of what no turn decides the
/// same frame.
#[test]
fn kernel_and_host_sign_alike() {
    const FRAMES: usize = 20_000;
    const SEED: u64 = 0x7a65_726f_7474_6c09;
    if !can_load("signed answers, host against kernel") {
        return;
    }
    let planned = planned("signed_bytes = 0");
    let (mut kernel, host) = machines(&planned);
    let random = &mut StdRng::seed_from_u64(SEED);
    let frames: Vec<_> = rows().iter().map(|row| row.packet.bytes()).filter(|frame| frame[12..14] == [8, 0]).collect();
    let mut counts = BTreeMap::<&str, usize>::new();
    for number in 0..FRAMES {
        let mut frame = frames[random.random_range(0..frames.len())].clone();
        for _ in 0..random.random_range(0..4) {
            let at = random.random_range(MESSAGE..frame.len());
            frame[at] = if random.random() { random.random() } else { frame[at] ^ 0x20 };
        }
        // None over IPv4: a changed message goes on.
        frame[MESSAGE - 2..MESSAGE].fill(0);
        let (ran, expected) = (kernel.run(&frame), host_maps::run(&host, &frame, Grow::Tail));
        let what = format!("frame {number} of seed {SEED:#x}: {}", verify::hex(&frame));
        assert_eq!((ran.reason, ran.action), (expected.reason, expected.action), "{what}");
        if matches!(ran.reason, AnswerSignedNodata | AnswerSignedNxdomain | AnswerTruncated) {
            assert_eq!(ran.frame, expected.frame, "{what}");
        }
        *counts.entry(ran.reason.name()).or_default() += 1;
    }
    println!("{counts:?}");
    for reason in [AnswerSigned, AnswerSignedNodata, AnswerSignedNxdomain] {
        assert!(counts.get(reason.name()).is_some_and(|count| *count > 500), "{counts:?}");
    }
}
