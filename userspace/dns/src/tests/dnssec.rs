//! Signed zones, each signature verified here by `ring` over bytes that are put together anew from the answer.

use std::{
    collections::HashSet,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use domain::{
    base::{
        CanonicalOrd, Message, MessageBuilder, Name, NameBuilder, ParsedName, Rtype, Serial, iana::Class,
        rdata::ComposeRecordData,
    },
    rdata::{AllRecordData, Rrsig},
};
use proptest::prelude::*;
use ring::signature::{ECDSA_P256_SHA256_FIXED, ED25519, UnparsedPublicKey};

use super::{BOTH, Bench, NOW, ask, name, show};
use crate::{
    dnssec::{SignedZone, chain::COHORTS},
    respond,
    transport::Transport,
    view::View,
    zone::{Data, Zone},
};
use zerottl_core::model::{DnssecConfig, DynamicName, Model, NameKind, Pool, PoolId, ZoneAlgorithm, ZoneId};
use zerottl_sign::{KeyRole, Validity, ZoneKeys, keyring, roll, store::KeptCohort};

type Record<'a> = domain::base::Record<ParsedName<&'a [u8]>, AllRecordData<&'a [u8], ParsedName<&'a [u8]>>>;

fn config() -> DnssecConfig {
    DnssecConfig::default()
}

fn signed_by(config: &DnssecConfig, change: impl FnOnce(&mut Model)) -> Bench {
    let mut bench = Bench::with(BOTH, |model, _| change(model));
    let folder = tempfile::tempdir().unwrap();
    let keys = keyring::open(&bench.view.model.zones[0].apex, config, folder.path()).unwrap();
    bench.zones.mark_signed(ZoneId(0));
    sign(&mut bench, Arc::new(keys), config, &[], NOW);
    bench
}

fn sign(bench: &mut Bench, keys: Arc<ZoneKeys>, config: &DnssecConfig, kept: &[KeptCohort], now: u32) {
    let (model, plan) = (Arc::clone(&bench.view.model), bench.view.plan());
    let signed = SignedZone::new((&bench.zones, ZoneId(0)), keys, config, &model, kept, now).unwrap();
    bench.view = Arc::new(View::new(model, (*plan).clone()).with_signed(vec![Some(Arc::new(signed))]));
}

fn signed() -> Bench {
    signed_by(&config(), |_| {})
}

fn zone(bench: &Bench) -> (&Zone, &Arc<SignedZone>) {
    let zone = bench.zones.zone(ZoneId(0));
    (zone, bench.view.signed(ZoneId(0)).unwrap())
}

/// Panics unless a signature is good for the records of its set, at `NOW`.
fn verify(keys: &ZoneKeys, rrsig: &Rrsig<&[u8], ParsedName<&[u8]>>, owner: &ParsedName<&[u8]>, set: &[&Record<'_>]) {
    let what = format!("{owner} {}", rrsig.type_covered());
    let key = keys.all().iter().find(|key| key.tag() == rrsig.key_tag());
    let key = key.unwrap_or_else(|| panic!("{what}: no key {}", rrsig.key_tag()));
    // Of a set that a wildcard made, the wildcard is the owner (RFC 4035 section 5.3.2).
    let labels = owner.iter().filter(|label| !label.is_root()).count();
    let surplus = labels - usize::from(rrsig.labels());
    let mut message = Vec::new();
    rrsig.type_covered().compose(&mut message).unwrap();
    message.extend([rrsig.algorithm().to_int(), rrsig.labels()]);
    for number in [rrsig.original_ttl().as_secs(), rrsig.expiration().into_int(), rrsig.inception().into_int()] {
        message.extend(number.to_be_bytes());
    }
    message.extend(rrsig.key_tag().to_be_bytes());
    let lower = |name: &[u8]| name.to_ascii_lowercase();
    message.extend(lower(name(&format!("{}.", rrsig.signer_name())).as_slice()));
    let owner: Name<Vec<u8>> = owner
        .iter()
        .skip(surplus)
        .fold(NameBuilder::new_vec(), |mut builder, label| {
            if !label.is_root() {
                builder.append_label(label.as_slice()).unwrap();
            }
            builder
        })
        .into_name()
        .unwrap();
    let star: &[u8] = if surplus > 0 { b"\x01*" } else { b"" };
    let mut bodies: Vec<Vec<u8>> = set
        .iter()
        .map(|record| {
            let mut body = Vec::new();
            record.data().compose_canonical_rdata(&mut body).unwrap();
            body
        })
        .collect();
    bodies.sort();
    for body in bodies {
        message.extend(star);
        message.extend(lower(owner.as_slice()));
        rrsig.type_covered().compose(&mut message).unwrap();
        message.extend([0, 1]);
        message.extend(rrsig.original_ttl().as_secs().to_be_bytes());
        message.extend((body.len() as u16).to_be_bytes());
        message.extend(body);
    }
    let mut public = key.dnskey().public_key().to_vec();
    let algorithm: &dyn ring::signature::VerificationAlgorithm = if rrsig.algorithm().to_int() == 13 {
        // An uncompressed point (RFC 6605 section 4 leaves its first byte out).
        public.insert(0, 4);
        &ECDSA_P256_SHA256_FIXED
    } else {
        &ED25519
    };
    let verified = UnparsedPublicKey::new(algorithm, public).verify(&message, rrsig.signature());
    assert!(verified.is_ok(), "{what}: the signature is wrong");
    assert!(
        Serial(NOW) >= Serial(rrsig.inception().into_int()) && Serial(NOW) <= Serial(rrsig.expiration().into_int())
    );
}

/// Verifies every signature of an answer; the sets that have one, and those that have none, as `section owner type`.
fn verified(bench: &Bench, answer: &[u8]) -> (Vec<String>, Vec<String>) {
    verified_by(&zone(bench).1.keys(), answer)
}

/// Verifies it by given keys, among which those of the answer are.
fn verified_by(keys: &ZoneKeys, answer: &[u8]) -> (Vec<String>, Vec<String>) {
    let message = Message::from_slice(answer).unwrap();
    let sections =
        [(0, message.answer().unwrap()), (1, message.authority().unwrap()), (2, message.additional().unwrap())];
    let mut records: Vec<(usize, Record<'_>)> = Vec::new();
    for (at, section) in sections {
        records.extend(section.map(|record| {
            let record = record.unwrap();
            (at, record.into_any_record().unwrap())
        }));
    }
    let (mut with, mut without) = (Vec::new(), Vec::new());
    let of_same =
        |one: &(usize, Record<'_>), other: &(usize, Record<'_>)| one.0 == other.0 && one.1.owner() == other.1.owner();
    for (i, first) in records.iter().enumerate() {
        let rtype = first.1.rtype();
        let is_first = !records[..i].iter().any(|other| of_same(first, other) && other.1.rtype() == rtype);
        if matches!(rtype, Rtype::RRSIG | Rtype::OPT) || !is_first {
            continue;
        }
        let set: Vec<_> =
            records.iter().filter(|one| of_same(first, one) && one.1.rtype() == rtype).map(|one| &one.1).collect();
        let mut found = 0;
        for (_, record) in records.iter().filter(|one| of_same(first, one)) {
            if let AllRecordData::Rrsig(rrsig) = record.data()
                && rrsig.type_covered() == rtype
            {
                verify(keys, rrsig, first.1.owner(), &set);
                assert_eq!(record.ttl(), first.1.ttl(), "RFC 4034 section 3");
                found += 1;
            }
        }
        let said = format!("{} {} {rtype}", ["an", "ns", "ar"][first.0], first.1.owner());
        if found > 0 { with.push(said) } else { without.push(said) }
    }
    (with, without)
}

#[track_caller]
fn check(bench: &Bench, question: &str, with: &[&str], without: &[&str]) {
    let answer = bench.tcp(&ask(&format!("{question} +do"))).unwrap();
    let found = verified(bench, &answer);
    let sorted = |mut list: Vec<String>| {
        list.sort();
        list
    };
    let expected = |list: &[&str]| sorted(list.iter().map(|text| (*text).to_owned()).collect());
    assert_eq!((sorted(found.0), sorted(found.1)), (expected(with), expected(without)), "{question}");
}

/// D-POS, D-NODATA, D-NX, D-STATIC: each kind of answer has the signatures and the proofs that it needs, and no others.
#[test]
fn answers_have_their_signatures_and_proofs() {
    let bench = signed();
    let check = |question, with: &[&str], without: &[&str]| check(&bench, question, with, without);
    check("app.com A", &["an app.com A"], &[]);
    check("aPP.com AAAA", &["an aPP.com AAAA"], &[]);
    check("app.com ANY", &["an app.com A"], &[]);
    check("europe.app.com AAAA", &["ns app.com SOA", "ns europe.app.com NSEC"], &[]);
    check("boston.app.com MX", &["ns app.com SOA", "ns boston.app.com NSEC"], &[]);
    check("boston.app.com TXT", &["an boston.app.com TXT"], &[]);
    check("app.com MX", &["an app.com MX"], &[]);
    check("app.com SOA", &["an app.com SOA"], &[]);
    check("app.com DNSKEY", &["an app.com DNSKEY"], &[]);
    check("app.com CDS", &["an app.com CDS"], &[]);
    check("app.com CDNSKEY", &["an app.com CDNSKEY"], &[]);
    check("www.app.com A", &["an www.app.com CNAME", "an app.com A"], &[]);
    check(
        "dangling.app.com A",
        &["an dangling.app.com CNAME", "ns app.com SOA", "ns mail.app.com NSEC", "ns app.com NSEC"],
        &[],
    );
    check("none.app.com A", &["ns app.com SOA", "ns mail.app.com NSEC", "ns app.com NSEC"], &[]);
    check("a.b.none.app.com A", &["ns app.com SOA", "ns mail.app.com NSEC", "ns app.com NSEC"], &[]);
    check("ent.app.com A", &["ns app.com SOA", "ns dangling.app.com NSEC"], &[]);
    check("x.ent.app.com A", &["ns app.com SOA", "ns deep.ent.app.com NSEC", "ns dangling.app.com NSEC"], &[]);
    check("x.wild.app.com A", &["an x.wild.app.com A", "ns host.wild.app.com NSEC"], &[]);
    check("x.wild.app.com TXT", &["ns app.com SOA", "ns *.wild.app.com NSEC", "ns host.wild.app.com NSEC"], &[]);
    check("x.host.wild.app.com A", &["ns app.com SOA", "ns host.wild.app.com NSEC"], &[]);
    check("host.sub.app.com A", &["ns sub.app.com DS"], &["ns sub.app.com NS", "ar ns1.sub.app.com A"]);
    check("sub.app.com DS", &["an sub.app.com DS"], &[]);
    check(
        "x.wide.app.com A",
        &["ns wide.app.com NSEC"],
        &["ns wide.app.com NS", "ar a.wide.app.com AAAA", "ar b.wide.app.com AAAA"],
    );
    check("wide.app.com DS", &["ns app.com SOA", "ns wide.app.com NSEC"], &[]);
    check("boston.app.com NSEC", &["an boston.app.com NSEC"], &[]);
}

/// D-DO: without DO a signed zone answers as one that is not, but for the records of the keys and the chain.
#[test]
fn without_do_nothing_is_signed() {
    let (signed, plain) = (signed(), Bench::new(BOTH));
    for question in [
        "app.com A",
        "app.com ANY",
        "europe.app.com AAAA",
        "none.app.com A",
        "x.wild.app.com A",
        "www.app.com A",
        "host.sub.app.com A",
        "app.com SOA",
    ] {
        for options in ["", " +opt"] {
            let query = ask(&format!("{question}{options}"));
            let shown = |bench: &Bench| show(&query, &bench.tcp(&query).unwrap());
            assert_eq!(shown(&signed), shown(&plain), "{question}{options}");
        }
    }
    let query = ask("app.com DNSKEY");
    assert!(!show(&query, &signed.tcp(&query).unwrap()).contains("RRSIG"));
}

/// D-AMP: a client that nothing proves gets keys within 2.5 times its query, and a signed address within 3.2; a client
/// network has its bytes of signed answers.
#[test]
fn signed_answers_are_bounded() {
    let metered = |model: &mut Model| {
        model.zones[0].dnssec = Some(config());
        model.edns.signed_bytes = 4_096;
    };
    let bench = signed_by(&config(), metered);
    let udp = |query: &[u8], client: &str| {
        respond(query, Transport::Udp, client.parse().unwrap(), NOW, &bench.zones, &bench.view).unwrap()
    };
    let is_truncated = |answer: &[u8]| answer[2] & 2 != 0;
    for question in ["app.com DNSKEY +do", "app.com DNSKEY"] {
        let query = ask(question);
        let padded = [&query[..], &[0; 400]].concat();
        assert!(is_truncated(&udp(&query, "192.0.2.1")), "{question}");
        assert!(!is_truncated(&udp(&padded, "192.0.2.1")), "{question}, of a long query");
        assert!(!is_truncated(&bench.tcp(&query).unwrap()), "{question} by TCP");
    }
    let query = ask("app.com A +do");
    let whole = (0..1_000).map(|_| udp(&query, "198.51.100.1")).filter(|answer| !is_truncated(answer));
    let lens: Vec<usize> = whole.map(|answer| answer.len()).collect();
    assert!(lens.iter().all(|len| 10 * (28 + len) <= 32 * (28 + query.len())), "{lens:?}");
    let sent: usize = lens.iter().sum();
    assert!((4_096..12_000).contains(&sent), "{sent} bytes of a second's 4,096, and of the time that this took");
    assert!(!is_truncated(&udp(&query, "203.0.113.1")), "another network has its own");
    assert!(!is_truncated(&bench.tcp(&query).unwrap()), "by TCP");
}

/// D-TRAP: an NSEC that is a proof of a gap, or of a static type, has every type that its name may ever have; that which
/// denies a type of the plan lacks that alone.
#[test]
fn no_proof_denies_what_may_come_back() {
    let bench = signed();
    let names = ["app", "boston.app", "chicago.app", "geneva.app", "europe.app"];
    let mut seen = 0;
    for of in names {
        for (below, rtype) in
            [("", "TXT"), ("", "LOC"), ("", "A"), ("", "AAAA"), ("x.", "A"), ("\\000.", "AAAA"), ("zz.x.", "LOC")]
        {
            let question = format!("{below}{of}.com {rtype}");
            let answer = bench.tcp(&ask(&format!("{question} +do"))).unwrap();
            for record in
                Message::from_slice(&answer).unwrap().authority().unwrap().limit_to::<AllRecordData<_, ParsedName<_>>>()
            {
                let record = record.unwrap();
                let AllRecordData::Nsec(nsec) = record.data() else { continue };
                let owner = record.owner().to_string();
                if !names.iter().any(|name| owner == format!("{name}.com")) {
                    continue;
                }
                for (word, of) in [("A", Rtype::A), ("AAAA", Rtype::AAAA)] {
                    let is_asked = below.is_empty() && question.starts_with(&owner) && word == rtype;
                    assert_eq!(nsec.types().contains(of), !is_asked, "{question}: the NSEC of {owner}, {of}");
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 40, "{seen}");
}

/// Every signature that there is, of both algorithms and by split keys.
#[test]
fn every_possible_answer_is_signed() {
    let split = DnssecConfig { split_keys: true, ..config() };
    let other = DnssecConfig { algorithm: ZoneAlgorithm::Ed25519, ..config() };
    for config in [config(), split, other] {
        let bench = signed_by(&config, |_| {});
        let (zone, signed) = zone(&bench);
        let mut count = 0;
        for records in signed.all_sets(zone) {
            let mut answer = MessageBuilder::new_vec().answer();
            for rr in &records {
                answer.push((rr.owner.name(), Class::IN, rr.ttl, &*rr.data)).unwrap();
            }
            let found = verified(&bench, &answer.finish());
            assert_eq!((found.0.len(), found.1.len()), (1, 0), "{found:?}");
            count += 1;
        }
        assert_eq!(count, signed.signatures(), "each once");
        assert!(count >= 80, "{count}");
    }
}

/// Names of the same Sites share what is signed for them, but not with those of another TTL.
#[test]
fn each_pool_is_signed_with_its_own_ttl() {
    let bench = signed_by(&config(), |model| {
        let mut pool = Pool { name: name("other.app.com."), ..model.pools[0].clone() };
        pool.ttl = 30;
        let kind = NameKind::Pool(PoolId(model.pools.len()));
        model.names.push(DynamicName { name: pool.name.clone(), zone: ZoneId(0), kind, served: true });
        model.pools.push(pool);
    });
    let (zone, signed) = zone(&bench);
    let sets = signed.all_sets(zone);
    let ttls = |owner: &str| -> Vec<u32> {
        let of = sets.iter().map(|records| &records[0]).filter(|rr| *rr.owner.name() == name(owner));
        of.filter(|rr| matches!(&*rr.data, Data::A(_))).map(|rr| rr.ttl).collect()
    };
    assert_eq!((ttls("app.com."), ttls("other.app.com.")), (vec![0; 3], vec![30; 3]));
}

fn names() -> impl Strategy<Value = String> {
    let byte = prop_oneof![Just(0_u8), Just(1), Just(b'*'), Just(b'a'), Just(b'z'), Just(255), any::<u8>()];
    let label = proptest::collection::vec(byte, 1..4);
    proptest::collection::vec(label, 1..4).prop_map(|labels| {
        let label = |label: Vec<u8>| label.iter().map(|byte| format!("\\{byte:03}")).collect::<Vec<_>>().concat();
        labels.into_iter().map(label).chain(["app.com.".to_owned()]).collect::<Vec<_>>().join(".")
    })
}

proptest! {
    /// D-NX: the NSEC that covers a missing name is that of its predecessor, whatever bytes the name is of.
    #[test]
    fn the_predecessor_covers(text in names()) {
        static BENCH: std::sync::LazyLock<Bench> = std::sync::LazyLock::new(signed);
        let asked = name(&text);
        let (_, signed) = zone(&BENCH);
        let chain: Vec<_> = signed.chain().collect();
        let (owner, next) = signed.gap(asked.for_slice());
        // The last that is not after it, of a list that the library has put in order.
        let mut sorted = chain.clone();
        sorted.sort_by(CanonicalOrd::canonical_cmp);
        let at = sorted.iter().rposition(|one| one.canonical_cmp(&asked).is_le()).unwrap();
        prop_assert_eq!(owner, &sorted[at]);
        prop_assert_eq!(next, &sorted[(at + 1) % sorted.len()]);
        prop_assert_eq!(chain, sorted);
    }
}

/// The RRSIGs of an answer: type, expiration, signature.
fn rrsigs(answer: &[u8]) -> Vec<(Rtype, u32, Vec<u8>)> {
    let message = Message::from_slice(answer).unwrap();
    let sections = [message.answer().unwrap(), message.authority().unwrap()];
    let all = sections.into_iter().flat_map(domain::base::RecordSection::limit_to::<Rrsig<_, ParsedName<_>>>);
    let of =
        |rrsig: &Rrsig<&[u8], _>| (rrsig.type_covered(), rrsig.expiration().into_int(), rrsig.signature().to_vec());
    all.map(|record| of(record.unwrap().data())).collect()
}

/// Raises a flag when it goes.
struct Raised<'a>(&'a AtomicBool);

impl Drop for Raised<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// D-RESIGN: while cohorts are replaced as fast as can be, each signature that is answered is whole: its times, its bytes
/// and what it signs are of one cohort. Ed25519 makes one signature of one message, so that all there can be are known.
#[test]
fn no_answer_mixes_two_cohorts() {
    const ANSWERS: usize = 400_000;
    let bench = signed_by(&DnssecConfig { algorithm: ZoneAlgorithm::Ed25519, ..config() }, |_| {});
    let (zone, signed) = zone(&bench);
    let questions = ["app.com A", "boston.app.com AAAA", "none.app.com A", "europe.app.com AAAA"];
    let questions = questions.map(|question| ask(&format!("{question} +do")));
    let mut known = HashSet::new();
    let rounds: Vec<_> = (0..8)
        .map(|round| {
            for cohort in 0..COHORTS {
                signed.renew(zone, cohort, Validity::new(NOW, Duration::from_secs(7200 + round))).unwrap();
            }
            for question in &questions {
                let answer = bench.tcp(question).unwrap();
                assert!(!verified(&bench, &answer).0.is_empty());
                known.extend(rrsigs(&answer));
            }
            signed.all_cohorts()
        })
        .collect();
    let ends = AtomicBool::new(false);
    thread::scope(|scope| {
        // Also where an answer is wrong: else the scope would wait for the other thread for ever.
        let _end = Raised(&ends);
        scope.spawn(|| {
            let all = rounds.iter().cycle();
            all.take_while(|_| !ends.load(Ordering::Relaxed)).for_each(|round| signed.put_cohorts(round));
        });
        let mut seen = HashSet::new();
        for question in questions.iter().cycle().take(ANSWERS) {
            for rrsig in rrsigs(&bench.tcp(question).unwrap()) {
                assert!(known.contains(&rrsig), "{} until {} is of two cohorts", rrsig.0, rrsig.1);
                seen.insert(rrsig.1);
            }
        }
        assert_eq!(seen.len(), rounds.len(), "every round was met");
    });
}

/// D-KEYS: while the keys change as fast as can be, each answer with them is of one moment, through an alias as well; and
/// what is signed by the key before stays as it is until its cohort is made anew.
#[test]
fn keys_change_between_two_answers() {
    let bench = signed();
    let (zone, signed) = zone(&bench);
    let folder = tempfile::tempdir().unwrap();
    let apex = name("app.com.");
    let one = Arc::new(keyring::open(&apex, &config(), folder.path()).unwrap());
    let (mut keyring, lock) = roll::hold(&apex, &config(), folder.path()).unwrap();
    keyring.roll(Some(KeyRole::Csk), 0, &lock).unwrap();
    let two = Arc::new(keyring.keys().unwrap());
    let validity = Validity::new(NOW, Duration::from_hours(4));
    signed.set_keys(Arc::clone(&one), validity).unwrap();
    assert_eq!(signed.cohort_of_other_key(), Some(0));
    for cohort in 0..COHORTS {
        assert_eq!(signed.cohort_of_other_key(), Some(cohort));
        signed.renew(zone, cohort, validity).unwrap();
    }
    assert_eq!(signed.cohort_of_other_key(), None);
    let mut all = [one, Arc::clone(&two)].into_iter().cycle();
    let ends = AtomicBool::new(false);
    let mut lengths = HashSet::new();
    thread::scope(|scope| {
        let _end = Raised(&ends);
        scope.spawn(|| {
            while !ends.load(Ordering::Relaxed) {
                signed.set_keys(all.next().unwrap(), validity).unwrap();
            }
        });
        for question in ["app.com DNSKEY", "www.app.com DNSKEY", "app.com CDS", "app.com A"].iter().cycle().take(4000) {
            let answer = bench.tcp(&ask(&format!("{question} +do"))).unwrap();
            assert!(verified_by(&two, &answer).1.is_empty(), "{question}");
            lengths.insert(answer.len());
        }
    });
    assert!(lengths.len() >= 6, "{lengths:?}");
}

/// Kept signatures are gone on with: nothing is signed twice that is good, of the records that are still there.
#[test]
fn kept_signatures_are_used_again() {
    let mut bench = signed();
    let (keys, kept, before) = {
        let (zone, signed) = zone(&bench);
        (signed.keys(), signed.kept(zone), signed.validities().collect::<Vec<_>>())
    };
    let question = ask("app.com A +do");
    let first = bench.tcp(&question).unwrap();
    let mut again = |now: u32| {
        sign(&mut bench, Arc::clone(&keys), &config(), &kept, now);
        (bench.tcp(&question).unwrap(), zone(&bench).1.validities().collect::<Vec<_>>())
    };
    let (same, validities) = again(NOW + 60);
    assert_eq!(same, first, "ECDSA signatures differ each time: this one was kept");
    assert_eq!(validities[..COHORTS], before[..COHORTS]);
    // D-CLOCK: a clock that is two days behind does not make signatures that are over.
    assert_eq!(again(NOW - 2 * 86_400).0, first);
    // What is due is made anew.
    let (_, validities) = again(NOW + 3 * 86_400);
    assert!(validities.iter().all(|validity| validity.left(NOW + 3 * 86_400) > 3 * 86_400 - 3600));
}
