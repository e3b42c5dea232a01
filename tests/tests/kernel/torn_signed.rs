//! D-RESIGN: answers at full rate from several CPUs while every cohort of a zone is signed anew as fast as it can be: no
//! answer has a signature with the times of another.
//!
//! Each signing has times of its own, so the times in an RRSIG tell which signing it is of, and the owner, type and address
//! which of that signing's signatures it has to have.

use std::{
    collections::{HashMap, VecDeque},
    fmt::Write as _,
    path::Path,
    sync::{
        Arc, RwLock,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use aya::{maps::Map, programs::Xdp};
use domain::{
    base::{Message, ParsedName, Rtype},
    rdata::AllRecordData,
};
use kernel_table::{
    packet::{self, A, AAAA, HTTPS, ask, opt},
    verify::carried,
    world::OUR_MAC,
};
use tests::{
    kernel::{
        machine::{self, KernelMachine},
        planned::Planned,
    },
    lab::can_load,
    turn::alone,
};
use xdp_ebpf::{
    layout::signed::{Region, SignatureLine},
    reason::Action,
};
use zerottl_core::model::{DynamicType, ZoneId};
use zerottl_dns::dnssec::{
    SignedZone,
    chain::COHORTS,
    mirror::{CohortMirror, CohortSignatures},
};
use zerottl_kernel::{PROGRAM, mmap_array::Mapped};
use zerottl_sign::{SetSignature, Validity};

const ASKERS: usize = 2;
/// Seconds that each signature is good for.
const GOOD: u32 = 1_000;
/// Signings of a cohort that are remembered: an answer may be of the last, or of one before.
const REMEMBERED: usize = 256;
/// Signings at least: each waits for a grace period, answers for nothing.
const SIGNINGS_MIN: u32 = 200;
/// A writer in place must be seen to within this.
const PATIENCE: Duration = Duration::from_mins(1);

fn config() -> String {
    let mut text = "[front]\ninterfaces = [\"lo\"]\naddresses = [\"203.0.113.53\"]\n[edns]\nsigned_bytes = 0\n\
                    [zone.\"torn.example\"]\nnameservers = [\"ns1.torn.example\"]\ncontact = \"h@torn.example\"\ndnssec = true\n"
        .to_owned();
    for pool in 0..8 {
        writeln!(text, "[pool.\"p{pool}.torn.example\"]\nsites = [\"s{pool}a\", \"s{pool}b\"]\nhttps = {{}}").unwrap();
        for (key, last) in [("a", 1), ("b", 2)] {
            let site = format!("s{pool}{key}");
            let addresses = format!("[\"192.0.{pool}.{last}\", \"2001:db8:{pool}::{last}\"]");
            writeln!(text, "[site.{site}]\nname = \"{site}.torn.example\"\naddresses = {addresses}").unwrap();
        }
    }
    text
}

/// The signings of a zone, by cohort and the second that they begin with.
type Signings = Arc<RwLock<Vec<VecDeque<(u32, Vec<SetSignature>)>>>>;

/// Remembers what is signed, before the kernel has it.
#[derive(Debug)]
struct Memory(Signings);

impl CohortMirror for Memory {
    fn put(&mut self, cohort: usize, signatures: CohortSignatures<'_>) {
        let signings = &mut self.0.write().unwrap()[cohort];
        signings.push_back((signatures.validity.inception, signatures.lines.to_vec()));
        if signings.len() > REMEMBERED {
            signings.pop_front();
        }
    }
}

/// Where each set's signature lies.
struct Lines {
    /// By owner, type and data: cohort and line.
    answers: HashMap<(String, Rtype, String), (usize, usize)>,
    signings: Signings,
}

impl Lines {
    fn new(planned: &Planned, signed: &SignedZone) -> Self {
        let zone = planned.zones.zone(ZoneId(0));
        let mut answers = HashMap::new();
        for link in signed.links() {
            let owner = link.owner().to_string();
            let mut put = |rtype, data: String, line: u32| {
                answers.insert((owner.clone(), rtype, data), (link.cohort(), line as usize));
            };
            for (of, rtype) in DynamicType::ALL.into_iter().zip([Rtype::A, Rtype::AAAA, Rtype::HTTPS]) {
                let (first, all) = link.answers(of).unwrap_or((0, &[]));
                all.iter().zip(first..).for_each(|(data, line)| put(rtype, plain(data), line));
            }
            link.proofs().for_each(|(_, line, data)| put(Rtype::NSEC, plain(&data), line));
            link.set(zone, Rtype::SOA).into_iter().for_each(|(line, _)| put(Rtype::SOA, String::new(), line));
        }
        let signings = Signings::new(RwLock::new(vec![VecDeque::new(); COHORTS]));
        signed.mirror_to(Box::new(Memory(Arc::clone(&signings))));
        Self { answers, signings }
    }

    /// The fault of a message; none where each signature is its set's own, of the signing that its times tell.
    fn fault(&self, dns: &[u8]) -> Option<String> {
        let message = Message::from_octets(dns).expect("a message");
        let mut before = None;
        let mut signatures = 0;
        for record in message.answer().unwrap().chain(message.authority().unwrap()) {
            let record = record.expect("a record");
            let any = record.to_any_record::<AllRecordData<_, ParsedName<_>>>().expect("its data");
            let owner = record.owner().to_string();
            let AllRecordData::Rrsig(rrsig) = any.data() else {
                let data = if record.rtype() == Rtype::SOA { String::new() } else { plain(any.data()) };
                before = Some((owner, record.rtype(), data));
                continue;
            };
            signatures += 1;
            let set = before.take()?;
            let Some((cohort, line)) = self.answers.get(&set) else { return Some(format!("{set:?} is not signed")) };
            let (inception, expiration) = (rrsig.inception().into_int(), rrsig.expiration().into_int());
            let signings = self.signings.read().unwrap();
            let Some((_, lines)) = signings[*cohort].iter().find(|(begun, _)| *begun == inception) else {
                return Some(format!("{set:?}: no signing of {inception}"));
            };
            let signature: &[u8] = rrsig.signature();
            if lines[*line][..] != *signature {
                return Some(format!("{set:?}: the times of {inception}, and the signature of another"));
            }
            // What the zone was signed with at first is good for as long as is configured.
            if inception < GOOD * 1_000 && expiration != inception + GOOD {
                return Some(format!("{set:?}: from {inception} to {expiration}"));
            }
        }
        (signatures == 0).then(|| "no signature".to_owned())
    }
}

fn plain(data: &impl ToString) -> String {
    data.to_string().replacen("1 ..", "1 .", 1)
}

fn frames() -> Vec<Vec<u8>> {
    let with_do = |name: &str, rtype| -> packet::Message { ask(name, rtype).additional(&opt(1232, 0x8000, &[])) };
    let names = (0..8).flat_map(|pool| [format!("p{pool}.torn.example"), format!("s{pool}b.torn.example")]);
    let dynamic = names.flat_map(|name| [A, AAAA, HTTPS].map(|rtype| with_do(&name, rtype)));
    let negative = (0..8).flat_map(|pool| {
        [with_do(&format!("p{pool}.torn.example"), 16), with_do(&format!("p{pool}x.torn.example"), A)]
    });
    dynamic
        .chain(negative)
        .filter(|asked| asked.name[1] != b's' || asked.kind != HTTPS)
        .map(|asked| asked.v4().bytes())
        .collect()
}

/// Asks everything again and again until told to end; counts answers and faults, and tells the first.
fn askers(program: &Xdp, lines: &Lines, answers: &AtomicU64, faults: &AtomicU64, ended: &AtomicBool) {
    let frames = frames();
    while !ended.load(Ordering::Relaxed) {
        for frame in &frames {
            let (action, answer) = machine::run(program, frame);
            assert_eq!(action, Action::Answer);
            let dns = carried(frame, &answer).unwrap();
            if let Some(fault) = lines.fault(&dns)
                && faults.fetch_add(1, Ordering::Relaxed) == 0
            {
                eprintln!("{fault}");
            }
        }
        answers.fetch_add(frames.len() as u64, Ordering::Relaxed);
    }
}

struct Torn {
    planned: Planned,
    signed: Arc<SignedZone>,
    lines: Lines,
    kernel: KernelMachine,
}

fn torn() -> Torn {
    let planned = Planned::read(&config(), Path::new("")).sign();
    let signed = Arc::clone(planned.signed[0].as_ref().expect("signed"));
    let lines = Lines::new(&planned, &signed);
    let plan = planned.plan(1);
    let mut kernel = KernelMachine::load(&planned, &plan, &[OUR_MAC]);
    kernel.loaded.publisher.publish(&plan);
    Torn { planned, signed, lines, kernel }
}

/// D-RESIGN: 0 mixed in 300,000 answers, or in as many as `ZEROTTL_TORN` says.
#[test]
fn no_signature_has_the_times_of_another() {
    let _alone = alone();
    if !can_load("torn signatures") {
        return;
    }
    let wanted: u64 = std::env::var("ZEROTTL_TORN").map_or(300_000, |count| count.parse().unwrap());
    let Torn { planned, signed, lines, mut kernel } = torn();
    let zone = planned.zones.zone(ZoneId(0));
    let program: &Xdp = kernel.loaded.fastpath.program(PROGRAM);
    let (answers, faults, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let begun = Instant::now();
    let signings = std::thread::scope(|scope| {
        let all: Vec<_> =
            (0..ASKERS).map(|_| scope.spawn(|| askers(program, &lines, &answers, &faults, &ended))).collect();
        let mut signings = 0;
        let enough = |signings| answers.load(Ordering::Relaxed) >= wanted && signings >= SIGNINGS_MIN;
        while !enough(signings) && all.iter().all(|asker| !asker.is_finished()) {
            signings += 1;
            let validity = Validity { inception: signings, expiration: signings + GOOD };
            signed.renew(zone, signings as usize % COHORTS, validity).unwrap();
        }
        ended.store(true, Ordering::Relaxed);
        for asker in all {
            asker.join().unwrap();
        }
        signings
    });
    eprintln!("{} answers, {signings} signings, in {:?}", answers.load(Ordering::Relaxed), begun.elapsed());
    assert_eq!(faults.load(Ordering::Relaxed), 0, "mixed signatures");
    assert!(answers.load(Ordering::Relaxed) >= wanted);
}

/// The test above fails where signatures are written to the region in use.
#[test]
fn signing_in_place_is_seen() {
    let _alone = alone();
    if !can_load("torn signatures, made on purpose") {
        return;
    }
    let Torn { signed, lines, mut kernel, .. } = torn();
    let total = (COHORTS + 1) * signed.lines().into_iter().max().unwrap();
    let mut array = |name| {
        let Map::Array(map) = kernel.loaded.fastpath.take_map(name).unwrap() else { panic!("an array") };
        map
    };
    let mut written = Mapped::<SignatureLine>::new(array("SIGNATURES").fd(), total).unwrap();
    let cohorts = Mapped::<u64>::new(array("COHORTS").fd(), COHORTS).unwrap();
    let mut regions = Mapped::<Region>::new(array("REGIONS").fd(), COHORTS + 1).unwrap();
    let program: &Xdp = kernel.loaded.fastpath.program(PROGRAM);
    let (answers, faults, ended) = (AtomicU64::new(0), AtomicU64::new(0), AtomicBool::new(false));
    let end = Instant::now() + PATIENCE;
    std::thread::scope(|scope| {
        let asker = scope.spawn(|| askers(program, &lines, &answers, &faults, &ended));
        let mut mirror = Memory(Arc::clone(&lines.signings));
        let mut signing = 0;
        while faults.load(Ordering::Relaxed) == 0 && Instant::now() < end && !asker.is_finished() {
            signing += 1;
            for (at, len) in signed.lines().into_iter().enumerate() {
                let region = cohorts.read(at) as usize - 1;
                let made = vec![[signing as u8; 64]; len];
                let validity = Validity { inception: signing, expiration: signing + GOOD };
                mirror.put(at, CohortSignatures { validity, tag: 0, algorithm: 13, lines: &made });
                let place = regions.read(region);
                let times = Region { inception: signing.to_be(), expiration: (signing + GOOD).to_be(), ..place };
                regions.write(region, &[times]);
                written.write(
                    place.first as usize,
                    &vec![SignatureLine([u64::from_ne_bytes([signing as u8; 8]); 8]); len],
                );
            }
        }
        ended.store(true, Ordering::Relaxed);
        asker.join().unwrap();
    });
    assert!(faults.load(Ordering::Relaxed) > 0, "nothing seen in {} answers", answers.load(Ordering::Relaxed));
}
