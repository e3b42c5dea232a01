//! Invariant 4: one packet reads one generation. Answers at full rate from several CPUs while generations flip as fast as
//! they can: no answer's parts are of two generations, and generations only go forward.
//!
//! In generation G each of 64 names answers an address, in both families, and a TTL that tell G; an HTTPS record has all
//! of it in one packet. A zone's serial belongs to the loaded program: a reload makes a new one. So there are two
//! programs, each with its own serial and negative TTL, and packets go to the one that was swapped in last.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use aya::programs::Xdp;
use domain::{
    base::{Message, MessageBuilder, Name, Rtype},
    rdata::{
        AllRecordData,
        svcb::value::{Ipv4Hint, Ipv6Hint},
    },
};
use etherparse::PacketBuilder;
use xdp_ebpf::reason::Action;
use zerottl_core::{model::SiteId, plan::Plan, status::Health};
use zerottl_kernel::{FastpathParts, PROGRAM, image::Layout};

use super::{
    machine::{self, KernelMachine},
    planned::Planned,
};

/// Names, each a pool of Sites of its own.
const NAMES: usize = 64;
/// Sites of a pool: the address tells the generation modulo this. Only neighbours are ever in the maps together.
pub const MODULUS: u64 = 32;
const MACS: [[u8; 6]; 2] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
const TYPES: [Rtype; 4] = [Rtype::A, Rtype::AAAA, Rtype::HTTPS, Rtype::MX];
const ASKERS: usize = 2;
/// Generations at least: each publication waits for a grace period of an earlier one, answers for nothing.
const GENERATIONS_MIN: u64 = 500;

/// The address of a Site: of which program's name, and when.
fn address(program: usize, name: usize, when: u64, v6: bool) -> IpAddr {
    let (program, name, when) = (program as u8, name as u8, when as u8);
    if v6 {
        return Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, program.into(), name.into(), when.into()).into();
    }
    Ipv4Addr::new(10, program, name, when).into()
}

fn name(index: usize) -> String {
    format!("a-pool-of-its-own-number-{index}.torn.example")
}

/// The configuration of a program: its serial and its negative TTL tell which it is.
fn text(program: usize) -> String {
    let number = program + 1;
    let mut text = format!(
        "[front]\ninterfaces = [\"lo\"]\naddresses = [\"203.0.113.53\", \"2001:db8::53\"]\n\
         [zone.\"torn.example\"]\nnameservers = [\"ns1.torn.example\"]\ncontact = \"hostmaster@torn.example\"\n\
         serial = {number}\nnegative_ttl = {number}\n"
    );
    for pool in 0..NAMES {
        let keys: Vec<_> = (0..MODULUS).map(|when| format!("s{pool}-{when}")).collect();
        write!(text, "[pool.\"{}\"]\nsites = {keys:?}\nhttps = {{}}\n", name(pool)).unwrap();
        for (key, when) in keys.iter().zip(0..) {
            let [v4, v6] = [false, true].map(|v6| address(program, pool, when, v6));
            write!(text, "[site.{key}]\nname = \"{key}.torn.example\"\naddresses = [\"{v4}\", \"{v6}\"]\n").unwrap();
        }
    }
    text
}

/// A program, and its plans by generation modulo [`MODULUS`].
pub struct FlippingProgram {
    /// The program.
    pub loaded: FastpathParts,
    /// Where it has its parts.
    pub layout: Layout,
    /// Plans, by generation modulo [`MODULUS`].
    pub plans: Vec<Plan>,
}

impl FlippingProgram {
    /// Loads one of the two programs.
    #[must_use]
    pub fn new(program: usize) -> Self {
        let mut planned = Planned::read(&text(program), Path::new(""));
        let model = Arc::clone(planned.planner.model());
        let mut plan = |when: u64| {
            for pool in &model.pools {
                for (turn, SiteId(site)) in pool.sites.iter().enumerate() {
                    planned.status.health[*site].fill(if turn as u64 == when { Health::Up } else { Health::Down });
                }
            }
            planned.plan(1)
        };
        let plans: Vec<_> = (0..MODULUS).map(&mut plan).collect();
        let KernelMachine { loaded, .. } = KernelMachine::load(&planned, &plans[0], &MACS[..1]);
        Self { loaded, layout: Layout::new(&planned.planner), plans }
    }

    /// The plan of a generation: its addresses and its TTLs tell which.
    pub fn plan(&mut self, generation: u64) -> &Plan {
        let plan = &mut self.plans[(generation % MODULUS) as usize];
        plan.generation = generation;
        for service in plan.services.iter_mut() {
            service.ttl = generation as u32;
        }
        plan
    }

    /// Publishes a generation's plan.
    pub fn publish(&mut self, generation: u64) {
        // Borrowed in two parts.
        self.plan(generation);
        let plan = &self.plans[(generation % MODULUS) as usize];
        self.loaded.publisher.publish(plan);
        // Where nobody reads it any more, the next bank as well.
        if generation.is_multiple_of(3) {
            self.loaded.publisher.prepare(plan);
        }
    }
}

/// One question, and the name it is for.
#[derive(Debug)]
pub struct TornQuestion {
    frame: Vec<u8>,
    name: usize,
}

/// Every name and type over both families, in an order in which neighbours differ.
#[must_use]
pub fn questions() -> Vec<TornQuestion> {
    let mut questions = Vec::new();
    for rtype in TYPES {
        for v6 in [false, true] {
            for index in 0..NAMES {
                let mut builder = MessageBuilder::new_vec().question();
                let name: Name<Vec<u8>> = name(index).parse().unwrap();
                builder.push((name, rtype)).unwrap();
                let message = builder.finish();
                let link = PacketBuilder::ethernet2(MACS[1], MACS[0]);
                let ip = if v6 {
                    let server = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);
                    link.ipv6(Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 1).octets(), server.octets(), 64)
                } else {
                    link.ipv4([198, 18, 0, 1], [203, 0, 113, 53], 64)
                };
                let mut frame = Vec::new();
                ip.udp(40_000, 53).write(&mut frame, &message).unwrap();
                questions.push(TornQuestion { frame, name: index });
            }
        }
    }
    let step = 197;
    let count = questions.len();
    let mut order: Vec<_> = questions.into_iter().enumerate().collect();
    order.sort_by_key(|(index, _)| index * step % count);
    order.into_iter().map(|(_, asked)| asked).collect()
}

/// The generation and program that an answer's parts tell.
#[derive(Debug, PartialEq, Eq)]
pub enum TornAnswer {
    /// All of one generation of one program.
    Generation {
        /// Which.
        program: usize,
        /// Which.
        generation: u64,
    },
    /// A negative answer, all of one program.
    Negative {
        /// Which.
        program: usize,
    },
    /// Parts of two: all that it says.
    Mixed(String),
}

/// Reads an answer to a question for a name.
fn read(frame: &[u8], asked: usize) -> TornAnswer {
    let headers = etherparse::SlicedPacket::from_ethernet(frame).unwrap();
    let Some(etherparse::TransportSlice::Udp(datagram)) = headers.transport else { panic!("no UDP: {frame:02x?}") };
    let message = Message::from_octets(datagram.payload()).unwrap();
    let counts = message.header_counts();
    if counts.ancount() == 0 {
        let record = message.authority().unwrap().next().unwrap().unwrap();
        let any = record.to_any_record::<AllRecordData<_, _>>().unwrap();
        let AllRecordData::Soa(soa) = any.data() else { panic!("{any:?}") };
        let parts = [soa.serial().into_int(), soa.minimum().as_secs(), record.ttl().as_secs()];
        if parts.iter().all(|part| *part == parts[0]) {
            return TornAnswer::Negative { program: parts[0] as usize - 1 };
        }
        return TornAnswer::Mixed(format!("serial, minimum and TTL {parts:?}"));
    }
    let record = message.answer().unwrap().next().unwrap().unwrap();
    let any = record.to_any_record::<AllRecordData<_, _>>().unwrap();
    let addresses: Vec<IpAddr> = match any.data() {
        AllRecordData::A(a) => vec![a.addr().into()],
        AllRecordData::Aaaa(aaaa) => vec![aaaa.addr().into()],
        AllRecordData::Https(https) => {
            let v4 = https.params().first::<Ipv4Hint<_>>().unwrap().iter().next().unwrap();
            let v6 = https.params().first::<Ipv6Hint<_>>().unwrap().iter().next().unwrap();
            vec![v4.into(), v6.into()]
        }
        other => panic!("{other:?}"),
    };
    let generation = u64::from(record.ttl().as_secs());
    let fits = |program: &usize| {
        let expected = |v6| address(*program, asked, generation % MODULUS, v6);
        addresses.iter().all(|address| *address == expected(address.is_ipv6()))
    };
    match (0..2).find(fits) {
        Some(program) => TornAnswer::Generation { program, generation },
        None => TornAnswer::Mixed(format!("TTL {generation}, {addresses:?} for name {asked}")),
    }
}

/// Asks a program and reads what its answer tells.
#[must_use]
pub fn run(program: &Xdp, asked: &TornQuestion) -> TornAnswer {
    let (action, frame) = machine::run(program, &asked.frame);
    assert_eq!(action, Action::Answer);
    read(&frame, asked.name)
}

/// Counts of what askers have seen.
#[derive(Default)]
struct Seen {
    answers: AtomicU64,
    negative: AtomicU64,
    mixed: AtomicU64,
    /// Generations that followed another, as the askers saw them.
    flips: AtomicU64,
}

/// Asks until `done`; each asker counts in steps, so that counting is no shared line of every packet.
fn ask(
    current: impl Fn() -> (usize, u64),
    programs: &[&Xdp],
    questions: &[TornQuestion],
    seen: &Seen,
    done: impl Fn() -> bool,
) {
    let mut newest: BTreeMap<usize, u64> = BTreeMap::new();
    while !done() {
        for asked in questions {
            let (index, at_least) = current();
            match run(programs[index], asked) {
                TornAnswer::Generation { program, generation } => {
                    assert_eq!(program, index, "the program's own endpoints");
                    let last = newest.insert(program, generation).unwrap_or(0);
                    assert!(generation >= last.max(at_least), "{generation} after {last}, {at_least} published");
                    seen.flips.fetch_add(u64::from(generation > last), Ordering::Relaxed);
                }
                TornAnswer::Negative { program } => {
                    assert_eq!(program, index, "the program's own SOA");
                    seen.negative.fetch_add(1, Ordering::Relaxed);
                }
                TornAnswer::Mixed(what) => {
                    if seen.mixed.fetch_add(1, Ordering::Relaxed) == 0 {
                        eprintln!("mixed: {what}");
                    }
                }
            }
        }
        seen.answers.fetch_add(questions.len() as u64, Ordering::Relaxed);
    }
}

/// Counts of what was answered while plans flipped.
#[derive(Clone, Copy, Debug, Default)]
pub struct TornFigures {
    /// Answers, each of which was read.
    pub answers: u64,
    /// Of these, negative ones.
    pub negative: u64,
    /// Of these, those with parts of two generations or programs.
    pub mixed: u64,
    /// Generations that were published.
    pub generations: u64,
    /// Generations that followed another, as the askers saw them.
    pub flips: u64,
}

impl TornFigures {
    /// Whether none was mixed, and enough was put to the test.
    #[must_use]
    pub fn hold(&self, wanted: u64) -> bool {
        self.mixed == 0 && self.answers >= wanted && self.flips >= 100 && self.negative >= wanted / 8
    }
}

/// Asks from two CPUs until there are so many answers, while two programs get plans as fast as they can and are swapped.
#[must_use]
pub fn torn_figures(wanted: u64) -> TornFigures {
    let mut machines = [0, 1].map(FlippingProgram::new);
    for (machine, generation) in machines.iter_mut().zip(1..) {
        machine.publish(generation);
    }
    let [one, two] = &mut machines;
    let (mut publishers, mut fastpaths) = (Vec::new(), Vec::new());
    for FlippingProgram { loaded, plans, .. } in [one, two] {
        publishers.push((&mut loaded.publisher, plans));
        fastpaths.push(&mut loaded.fastpath);
    }
    let programs: Vec<&Xdp> = fastpaths.into_iter().map(|fastpath| &*fastpath.program(PROGRAM)).collect();
    let (questions, seen, ended) = (questions(), Seen::default(), AtomicBool::new(false));
    // Which program is swapped in, and the generation that it answers from at least.
    let swapped_in = AtomicU64::new(0);
    let current = || {
        let word = swapped_in.load(Ordering::Acquire);
        ((word & 1) as usize, word >> 1)
    };
    let done = || ended.load(Ordering::Relaxed);
    let published = std::thread::scope(|scope| {
        let askers: Vec<_> =
            (0..ASKERS).map(|_| scope.spawn(|| ask(current, &programs, &questions, &seen, done))).collect();
        let mut generation = 3;
        let enough = |generation| seen.answers.load(Ordering::Relaxed) >= wanted && generation >= GENERATIONS_MIN;
        while !enough(generation) && askers.iter().all(|asker| !asker.is_finished()) {
            // Several plans of a program, then a swap: as between reloads.
            let program = (generation / 8 % 2) as usize;
            let (publisher, plans) = &mut publishers[program];
            let plan = &mut plans[(generation % MODULUS) as usize];
            plan.generation = generation;
            plan.services.iter_mut().for_each(|service| service.ttl = generation as u32);
            publisher.publish(plan);
            swapped_in.store(generation << 1 | program as u64, Ordering::Release);
            generation += 1;
        }
        ended.store(true, Ordering::Relaxed);
        for asker in askers {
            asker.join().unwrap();
        }
        generation
    });
    let count = |count: &AtomicU64| count.load(Ordering::Relaxed);
    TornFigures {
        answers: count(&seen.answers),
        negative: count(&seen.negative),
        mixed: count(&seen.mixed),
        generations: published,
        flips: count(&seen.flips),
    }
}
