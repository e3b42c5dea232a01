//! (d) What each kind of answer costs beside the plain one: one address, no EDNS.
//!
//! One query of each kind is restored and answered again and again; restoring is measured on its own and subtracted. Caches
//! are warm, so this compares the work and not the memory; but where each query comes from another client, what is looked
//! up by client is in caches only as far as it fits.

use std::str::FromStr as _;

use aya::maps::{Array, MapData};
use serde_json::{Value, json};
use xdp_ebpf::{cookie::Secret, reason::Reason};
use zerottl_core::model::{CookieSecrets, EdnsConfig, Https, Model, Name, RateLimit};
use zerottl_kernel::{BENCH_OBJECT, Fastpath, FastpathParts, PacketCounters};

use crate::{
    BenchError,
    cost::{CostEffort, XDP_TX, run},
    scene,
    stats::Quartiles,
};

/// Bytes of the map `FIXED`: a frame, its length, padding.
const FIXED: usize = 520;
/// Names configured.
const NAMES: usize = 1_000;
/// Labels of the longest legal name of the most labels, its zone `app.example` among them.
const LABELS: usize = 122;

/// Client nets, where they are configured.
pub const NETS: usize = 1_000_000;

/// A kind of question, and what its answer costs.
#[derive(Clone, Debug)]
pub struct AnswerKind {
    /// Which.
    pub what: &'static str,
    /// ns, restoring subtracted; one per round.
    rounds: Vec<f64>,
    /// The plain kind's in the same rounds.
    plain: Vec<f64>,
}

impl AnswerKind {
    /// Returns what an answer costs, ns.
    #[must_use]
    pub fn cost(&self) -> Quartiles {
        Quartiles::of(self.rounds.iter().copied())
    }

    /// By the plain answer's, measured in the same round.
    #[must_use]
    pub fn ratio(&self) -> Quartiles {
        Quartiles::of_pairs(&self.rounds, &self.plain, |kind, plain| kind / plain)
    }

    /// For machines.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({ "what": self.what, "answer_ns": self.cost().json(), "by_plain": self.ratio().json() })
    }
}

/// A question, and the reason it is answered under.
struct Asked {
    what: &'static str,
    name: String,
    rtype: u16,
    options: Option<Vec<u8>>,
    reason: Reason,
    server: Server,
    /// Whether each comes from another client.
    spread: bool,
}

/// Of whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Server {
    /// One without client nets and rate limiting.
    Plain,
    /// One with [`NETS`] client nets.
    Nets,
    /// One with rate limiting, its rate never reached by random clients.
    Limited,
    /// One with rate limiting, its rate always exceeded.
    Exceeded,
}

impl Server {
    const ALL: [Self; 4] = [Self::Plain, Self::Nets, Self::Limited, Self::Exceeded];

    fn model(self) -> Model {
        let mut model = if self == Self::Nets { scene::nets_model(NAMES, NETS) } else { scene::deep_model(NAMES) };
        let secret = Secret::new([7; 16]);
        model.edns = EdnsConfig {
            cookies: Some(CookieSecrets { present: secret, previous: None, is_shared: false }),
            nsid: None,
            client_subnet: true,
            signed_bytes: 0,
        };
        model.pools[1].https = Some(Https { alpn: vec!["h2".into()], port: None });
        let limit = |per_second| RateLimit { per_second, slip: 0, prefix: (24, 56), dry_run: false };
        model.rate_limit = match self {
            Self::Plain | Self::Nets => None,
            Self::Limited => Some(limit(1_000)),
            Self::Exceeded => Some(limit(1)),
        };
        model
    }
}

fn kinds() -> Vec<Asked> {
    let deep = |label: &str| format!("{}{label}.app.example", "q.".repeat(LABELS - 3));
    let asked = |what, name: String, rtype, options: Option<&[u8]>, reason| Asked {
        what,
        name,
        rtype,
        options: options.map(<[u8]>::to_vec),
        reason,
        server: Server::Plain,
        spread: false,
    };
    let pool = || scene::pool_name(0);
    let spread = |what, server| Asked { server, spread: true, ..asked(what, pool(), 1, None, Reason::AnswerA) };
    vec![
        asked("A, plain", pool(), 1, None, Reason::AnswerA),
        asked("A, EDNS", pool(), 1, Some(&[]), Reason::AnswerA),
        asked("A, EDNS with a cookie", pool(), 1, Some(b"\0\x0a\0\x08cookies!"), Reason::AnswerA),
        asked("A, client subnet", pool(), 1, Some(b"\0\x08\0\x07\0\x01\x18\0\xc0\0\x02"), Reason::AnswerA),
        asked("HTTPS", scene::pool_name(1), 65, None, Reason::AnswerHttps),
        asked("NODATA", pool(), 65, None, Reason::AnswerNodata),
        asked("NXDOMAIN", "nobody.app.example".into(), 1, None, Reason::AnswerNxdomain),
        asked("REFUSED", "www.elsewhere.net".into(), 1, None, Reason::AnswerRefused),
        asked("A, 122 labels", scene::deep_name(), 1, None, Reason::AnswerA),
        asked("NXDOMAIN, 122 labels", deep("r"), 1, None, Reason::AnswerNxdomain),
        spread("A, random clients", Server::Plain),
        spread("A, random clients, 1,000,000 client nets", Server::Nets),
        spread("A, random clients, rate limiting", Server::Limited),
        Asked {
            server: Server::Exceeded,
            ..asked("A, one client over its rate, dropped", pool(), 1, None, Reason::DropLimited)
        },
    ]
}

/// `XDP_DROP`: what is over its rate.
const XDP_DROP: u32 = 1;

/// Measures. Runs on the calling thread, which should be pinned.
///
/// # Errors
/// Whatever keeps a program from being loaded or run, and an answer under another reason than the kind's.
pub fn measure(effort: &CostEffort) -> Result<Vec<AnswerKind>, BenchError> {
    let mut servers = Vec::new();
    for server in Server::ALL {
        servers.push(Programs::new(server)?);
    }
    let kinds = kinds();
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
    // The first round warms caches and is not kept.
    for round in 0..=effort.rounds {
        for (asked, costs) in kinds.iter().zip(&mut costs) {
            let server = &mut servers[asked.server as usize];
            let cost = server.measure(asked, effort)?;
            if round > 0 {
                costs.push(cost);
            }
        }
    }
    let base = costs[0].clone();
    Ok(kinds
        .iter()
        .zip(costs)
        .map(|(asked, rounds)| AnswerKind { what: asked.what, rounds, plain: base.clone() })
        .collect())
}

/// The programs, loaded for a server.
struct Programs {
    fastpath: Fastpath,
    counters: PacketCounters,
    fixed: Array<MapData, [u8; FIXED]>,
}

impl Programs {
    fn new(server: Server) -> Result<Self, BenchError> {
        let loaded = scene::load((BENCH_OBJECT, "fixed_answer"), server.model().into())?;
        let FastpathParts { mut fastpath, counters, .. } = loaded;
        fastpath.program("fixed_restore").load()?;
        let fixed = fastpath.take_map("FIXED")?.try_into()?;
        Ok(Self { fastpath, counters, fixed })
    }

    /// ns per answer, restoring subtracted.
    fn measure(&mut self, asked: &Asked, effort: &CostEffort) -> Result<f64, BenchError> {
        let frame = asked.frame();
        let mut value = [0; FIXED];
        value[..frame.len()].copy_from_slice(&frame);
        value[FIXED - 8..FIXED - 4].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
        value[FIXED - 4..].copy_from_slice(&u32::from(asked.spread).to_ne_bytes());
        self.fixed.set(0, value, 0)?;
        let before = counted(&self.counters, asked.reason)?;
        let action = if asked.reason == Reason::DropLimited { XDP_DROP } else { XDP_TX };
        let restore = run(self.fastpath.program("fixed_restore"), &frame, effort.repeat, XDP_TX)?;
        let answer = run(self.fastpath.program("fixed_answer"), &frame, effort.repeat, action)?;
        let count = counted(&self.counters, asked.reason)? - before;
        // A rate that is exceeded still lets one through now and then.
        let least = u64::from(effort.repeat) - if action == XDP_DROP { 100 } else { 0 };
        if count < least {
            return Err(format!("{}: {count} of {} were as they should be", asked.what, effort.repeat).into());
        }
        Ok(answer - restore)
    }
}

/// Answers of a reason so far.
pub(crate) fn counted(counters: &PacketCounters, reason: Reason) -> Result<u64, BenchError> {
    Ok(counters.read()?.into_iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| count))
}

impl Asked {
    fn frame(&self) -> Vec<u8> {
        let name = Name::from_str(&self.name).expect("the kinds' names are legal");
        // Where clients are spread, addresses and IDs are filled in, and make up for each other.
        let id = if self.spread { [0xff; 2] } else { [1, 2] };
        let mut message = vec![id[0], id[1], 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(self.options.is_some())];
        message.extend_from_slice(name.as_slice());
        message.extend(self.rtype.to_be_bytes());
        message.extend([0, 1]);
        if let Some(options) = &self.options {
            message.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, options.len() as u8]);
            message.extend_from_slice(options);
        }
        scene::udp_frame(&message, self.spread)
    }
}
