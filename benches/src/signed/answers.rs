//! The cost of signed answers in the kernel's test run, beside unsigned ones of the same names.
//!
//! Two servers have the same names, and one signs them. Each query is the next of a walk over all of the names, or over as
//! many that are missing, so that signatures and proofs are in caches only as far as they fit.

use std::ops::Range;

use aya::maps::{Array, MapData};
use xdp_ebpf::reason::Reason;
use zerottl_core::model::Model;
use zerottl_kernel::{BENCH_OBJECT, Fastpath, FastpathParts, PacketCounters};

use crate::{
    cost::{self, CostEffort, WALK, XDP_TX},
    error::BenchError,
    kinds::counted,
    scene::{self, WalkQuery},
    stats::Quartiles,
};

/// Names configured.
pub const NAMES: u32 = 1_000;
/// Bytes of signed answers a second of a client network, by default.
const SIGNED_BYTES: u32 = 262_144;

const A: u16 = 1;
const HTTPS: u16 = 65;

/// Of whom is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// One that does not sign.
    Unsigned,
    /// One that signs.
    Signed,
    /// One that signs and meters signed answers by client network, as by default.
    Metered,
}

impl Server {
    const ALL: [Self; 3] = [Self::Unsigned, Self::Signed, Self::Metered];

    fn model(self) -> Model {
        let unsigned = scene::model(NAMES as usize, scene::PLANS_FEW);
        let mut model = if self == Self::Unsigned { Model::clone(&unsigned) } else { scene::signed(&unsigned) };
        if self == Self::Metered {
            model.edns.signed_bytes = SIGNED_BYTES;
        }
        model
    }
}

/// A question of a walk, and the reason it is answered under.
#[derive(Debug)]
struct Asked {
    what: &'static str,
    server: Server,
    query: WalkQuery,
    numbers: Range<u32>,
    reason: Reason,
    /// The position of the question whose answer it is compared with.
    base: usize,
    at_most: Option<f64>,
}

/// The questions, each behind that which it is compared with.
fn questions() -> Vec<Asked> {
    use Reason::{AnswerA, AnswerNodata, AnswerNxdomain, AnswerSigned, AnswerSignedNodata, AnswerSignedNxdomain};
    use Server::{Metered, Signed, Unsigned};
    const SERVED: Range<u32> = 0..NAMES;
    const MISSING: Range<u32> = NAMES..2 * NAMES;
    let asked = |what, server, rtype, edns, numbers: &Range<u32>, reason, base, at_most| {
        let query = WalkQuery { rtype, edns, spread: false };
        Asked { what, server, query, numbers: numbers.clone(), reason, base, at_most }
    };
    let spread = |asked: Asked| Asked { query: WalkQuery { spread: true, ..asked.query }, ..asked };
    vec![
        asked("A, unsigned zone, plain", Unsigned, A, false, &SERVED, AnswerA, 0, None),
        asked("A, unsigned zone, DO", Unsigned, A, true, &SERVED, AnswerA, 0, None),
        asked("A, signed zone, plain", Signed, A, false, &SERVED, AnswerA, 0, Some(1.05)),
        asked("A, signed zone, DO: signed", Signed, A, true, &SERVED, AnswerSigned, 0, Some(1.6)),
        asked("NXDOMAIN, unsigned zone, plain", Unsigned, A, false, &MISSING, AnswerNxdomain, 4, None),
        asked("NXDOMAIN, unsigned zone, DO", Unsigned, A, true, &MISSING, AnswerNxdomain, 4, None),
        asked("NXDOMAIN, signed zone, plain", Signed, A, false, &MISSING, AnswerNxdomain, 4, Some(1.05)),
        asked("NXDOMAIN, signed zone, DO: signed", Signed, A, true, &MISSING, AnswerSignedNxdomain, 4, Some(3.0)),
        asked("NODATA, unsigned zone, plain", Unsigned, HTTPS, false, &SERVED, AnswerNodata, 8, None),
        asked("NODATA, signed zone, plain", Signed, HTTPS, false, &SERVED, AnswerNodata, 8, Some(1.05)),
        asked("NODATA, signed zone, DO: signed", Signed, HTTPS, true, &SERVED, AnswerSignedNodata, 8, None),
        spread(asked("A, random clients, unsigned zone, plain", Unsigned, A, false, &SERVED, AnswerA, 11, None)),
        spread(asked("A, random clients, DO: signed", Signed, A, true, &SERVED, AnswerSigned, 11, None)),
        spread(asked("A, random clients, DO: signed and metered", Metered, A, true, &SERVED, AnswerSigned, 11, None)),
    ]
}

/// A kind of question, and what its answer costs.
#[derive(Clone, Debug)]
pub struct SignedKind {
    /// Which.
    pub what: &'static str,
    /// That whose answer it is compared with.
    pub base: &'static str,
    /// By how much it may be more than that, if anything was said.
    pub at_most: Option<f64>,
    /// ns, restoring subtracted; one per round.
    rounds: Vec<f64>,
    base_rounds: Vec<f64>,
}

impl SignedKind {
    /// Returns what an answer costs, ns.
    #[must_use]
    pub fn cost(&self) -> Quartiles {
        Quartiles::of(self.rounds.iter().copied())
    }

    /// By that of the base, measured in the same round.
    #[must_use]
    pub fn ratio(&self) -> Quartiles {
        Quartiles::of_pairs(&self.rounds, &self.base_rounds, |kind, base| kind / base)
    }
}

/// Measures. Runs on the calling thread, which should be pinned.
///
/// # Errors
/// Whatever keeps a program from being loaded or run, and an answer under another reason than the question's.
pub fn measure(effort: &CostEffort) -> Result<Vec<SignedKind>, BenchError> {
    let mut servers = Vec::new();
    for server in Server::ALL {
        servers.push(Walker::new(server.model())?);
    }
    let questions = questions();
    let mut rounds: Vec<Vec<f64>> = vec![Vec::new(); questions.len()];
    // The first round warms caches and is not kept.
    for round in 0..=effort.rounds {
        for (asked, rounds) in questions.iter().zip(&mut rounds) {
            let cost = servers[asked.server as usize].measure(asked, effort)?;
            if round > 0 {
                rounds.push(cost);
            }
        }
    }
    let kind = |(asked, own): (&Asked, &Vec<f64>)| SignedKind {
        what: asked.what,
        base: questions[asked.base].what,
        at_most: asked.at_most,
        rounds: own.clone(),
        base_rounds: rounds[asked.base].clone(),
    };
    Ok(questions.iter().zip(&rounds).map(kind).collect())
}

/// The programs, loaded for a server.
struct Walker {
    fastpath: Fastpath,
    counters: PacketCounters,
    walk: Array<MapData, [u8; WALK]>,
}

impl Walker {
    fn new(model: Model) -> Result<Self, BenchError> {
        let loaded = scene::load((BENCH_OBJECT, "bench_answer"), model.into())?;
        let FastpathParts { mut fastpath, counters, .. } = loaded;
        fastpath.program("bench_restore").load()?;
        let walk = fastpath.take_map("WALK")?.try_into()?;
        Ok(Self { fastpath, counters, walk })
    }

    /// ns per answer, restoring subtracted.
    fn measure(&mut self, asked: &Asked, effort: &CostEffort) -> Result<f64, BenchError> {
        let frame = scene::walk_frame(0, asked.query);
        self.walk.set(0, cost::walk(&frame, asked.numbers.clone(), asked.query.spread), 0)?;
        let before = counted(&self.counters, asked.reason)?;
        let restore = cost::run(self.fastpath.program("bench_restore"), &frame, effort.repeat, XDP_TX)?;
        let answer = cost::run(self.fastpath.program("bench_answer"), &frame, effort.repeat, XDP_TX)?;
        let count = counted(&self.counters, asked.reason)? - before;
        if count != u64::from(effort.repeat) {
            return Err(format!("{}: {count} of {} were as they should be", asked.what, effort.repeat).into());
        }
        Ok(answer - restore)
    }
}
