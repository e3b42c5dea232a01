//! (d) What each kind of answer costs beside the plain one: one address, no EDNS.
//!
//! One query of each kind is restored and answered again and again; restoring is measured on its own and subtracted. Caches
//! are warm, so this compares the work and not the memory.

use std::str::FromStr as _;

use aya::maps::{Array, MapData};
use etherparse::PacketBuilder;
use serde_json::{Value, json};
use xdp_ebpf::reason::Reason;
use zerottl::{
    kernel::{BENCH_OBJECT, Counters, Fastpath, Loaded},
    model::{CookieSecrets, Edns, Name},
    plan::Planner,
    status::Status,
};

use crate::{
    Failure,
    cost::{Effort, run},
    scene,
    stats::Quartiles,
};

/// Bytes of the map `FIXED`: a frame, its length, padding.
const FIXED: usize = 520;
/// Names configured.
const NAMES: usize = 1_000;
/// Labels of the longest legal name of the most labels, its zone `app.example` among them.
const LABELS: usize = 122;

/// A kind of question, and what its answer costs.
#[derive(Clone, Debug)]
pub struct Kind {
    /// Which.
    pub what: &'static str,
    /// ns, restoring subtracted; one per round.
    rounds: Vec<f64>,
    /// The plain kind's in the same rounds.
    plain: Vec<f64>,
}

impl Kind {
    /// What an answer costs, ns.
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

/// What is asked, and the reason it is answered under.
struct Asked {
    what: &'static str,
    name: String,
    rtype: u16,
    options: Option<Vec<u8>>,
    reason: Reason,
}

fn kinds() -> Vec<Asked> {
    let deep = |label: &str| format!("{}{label}.app.example", "q.".repeat(LABELS - 3));
    let asked = |what, name: String, rtype, options: Option<&[u8]>, reason| Asked {
        what,
        name,
        rtype,
        options: options.map(<[u8]>::to_vec),
        reason,
    };
    let pool = || scene::pool_name(0);
    vec![
        asked("A, plain", pool(), 1, None, Reason::AnswerA),
        asked("A, EDNS", pool(), 1, Some(&[]), Reason::AnswerA),
        asked("A, EDNS with a cookie", pool(), 1, Some(b"\0\x0a\0\x08cookies!"), Reason::AnswerA),
        asked("A, client subnet", pool(), 1, Some(b"\0\x08\0\x07\0\x01\x18\0\xc0\0\x02"), Reason::AnswerA),
        asked("NODATA", pool(), 65, None, Reason::AnswerNodata),
        asked("NXDOMAIN", "nobody.app.example".into(), 1, None, Reason::AnswerNxdomain),
        asked("REFUSED", "www.elsewhere.net".into(), 1, None, Reason::AnswerRefused),
        asked("A, 122 labels", scene::deep_name(), 1, None, Reason::AnswerA),
        asked("NXDOMAIN, 122 labels", deep("r"), 1, None, Reason::AnswerNxdomain),
    ]
}

/// Measures. Runs on the calling thread, which should be pinned.
///
/// # Errors
/// Whatever keeps a program from being loaded or run, and an answer under another reason than the kind's.
pub fn measure(effort: &Effort) -> Result<Vec<Kind>, Failure> {
    let mut model = scene::deep_model(NAMES);
    let secret = xdp_ebpf::cookie::Secret::new([7; 16]);
    model.edns =
        Edns { cookies: Some(CookieSecrets { present: secret, previous: None }), nsid: None, client_subnet: true };
    let planner = Planner::new(model.into());
    let plan = planner.plan(&Status::unknown(planner.model()), 1);
    let loaded = Fastpath::load_object(BENCH_OBJECT, "fixed_answer", &planner, &plan, &scene::zones(&planner))?;
    let Loaded { mut fastpath, mut publisher, counters, .. } = loaded;
    publisher.set_macs(&[scene::SERVER_MAC]);
    publisher.publish(&plan);
    fastpath.program("fixed_restore").load()?;
    let mut fixed: Array<MapData, [u8; FIXED]> = fastpath.take_map("FIXED")?.try_into()?;

    let kinds = kinds();
    let mut costs: Vec<Vec<f64>> = vec![Vec::new(); kinds.len()];
    // The first round warms caches and is not kept.
    for round in 0..=effort.rounds {
        for (asked, costs) in kinds.iter().zip(&mut costs) {
            let frame = asked.frame();
            let mut value = [0; FIXED];
            value[..frame.len()].copy_from_slice(&frame);
            value[FIXED - 8..FIXED - 4].copy_from_slice(&(frame.len() as u32).to_ne_bytes());
            fixed.set(0, value, 0)?;
            let before = answered(&counters, asked.reason)?;
            let restore = run(fastpath.program("fixed_restore"), &frame, effort.repeat)?;
            let answer = run(fastpath.program("fixed_answer"), &frame, effort.repeat)?;
            let answers = answered(&counters, asked.reason)? - before;
            if answers != u64::from(effort.repeat) {
                return Err(format!("{}: {answers} of {} were answered", asked.what, effort.repeat).into());
            }
            if round > 0 {
                costs.push(answer - restore);
            }
        }
    }
    let base = costs[0].clone();
    Ok(kinds.iter().zip(costs).map(|(asked, rounds)| Kind { what: asked.what, rounds, plain: base.clone() }).collect())
}

fn answered(counters: &Counters, reason: Reason) -> Result<u64, Failure> {
    Ok(counters.read()?.into_iter().find(|(known, _)| *known == reason).map_or(0, |(_, count)| count))
}

impl Asked {
    fn frame(&self) -> Vec<u8> {
        let name = Name::from_str(&self.name).expect("the kinds' names are legal");
        let mut message = vec![1, 2, 1, 0, 0, 1, 0, 0, 0, 0, 0, u8::from(self.options.is_some())];
        message.extend_from_slice(name.as_slice());
        message.extend(self.rtype.to_be_bytes());
        message.extend([0, 1]);
        if let Some(options) = &self.options {
            message.extend([0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, options.len() as u8]);
            message.extend_from_slice(options);
        }
        let link = PacketBuilder::ethernet2(scene::CLIENT_MAC, scene::SERVER_MAC);
        let packet = link.ipv4(scene::CLIENT, scene::SERVER, 64).udp(scene::CLIENT_PORT, 53);
        let mut frame = Vec::with_capacity(packet.size(message.len()));
        packet.write(&mut frame, &message).expect("writing to a Vec, and the message is short");
        frame
    }
}
