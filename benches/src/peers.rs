//! (l) zerottl beside other authoritative servers: answered rate, CPU per answer, latency at half load.
//!
//! ```text
//!   client namespace                                 front namespace, one for each server
//!   dnsperf or kxdpgun ── wire ════════ veth ════════ eth0   an XDP program, or a server by sockets or AF_XDP
//!   CPU 0                 NAPI thread: CPU 1         NAPI thread: CPU 1; a server: CPU 1, or either
//! ```
//!
//! All wires stay for the whole run, and all servers; whoever is not asked sleeps. A server in user space is first tried on
//! CPU 1 and on both, under a flood and under little more than it answers, and is then measured where it answers most.

use ::tests::scratch;

use crate::{
    error::BenchError,
    peers::{
        contestant::{Contestant, Offered},
        figures::{PeerCosts, ServerCost},
    },
    rate::Generator,
    scene,
    stats::{Quartiles, percentile},
};

mod contestant;
pub mod figures;
pub mod picture;
pub mod report;
mod servers;

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub struct PeersEffort {
    /// Interleaved rounds of rates.
    pub rounds: usize,
    /// Interleaved rounds of latencies.
    pub latency_rounds: usize,
    /// Of one generator's run, whole seconds.
    pub seconds: u64,
    /// Whether servers are tried in several places and under several loads first.
    pub tried: bool,
}

impl PeersEffort {
    /// The effort of a whole or of a quick run.
    #[must_use]
    pub const fn new(quick: bool) -> Self {
        let (rounds, latency_rounds) = if quick { (1, 1) } else { (6, 4) };
        Self { rounds, latency_rounds, seconds: 1, tried: !quick }
    }
}

/// Measures all that are there. One that is not, or that answers wrongly, is among the absent.
pub fn measure(effort: PeersEffort) -> Result<PeerCosts, BenchError> {
    for tool in ["dnsperf", "kxdpgun", "dig", "unshare", "taskset"] {
        scratch::find_tool(tool)?;
    }
    let model = scene::model(crate::rate::NAMES, scene::PLANS_FEW);
    let (mut contestants, absent) = contestant::all(&model)?;
    let mut costs: Vec<ServerCost> = Vec::new();
    for contestant in &mut contestants {
        costs.push(ServerCost::new(contestant.what.clone(), contestant.ttl));
        settle(contestant, effort)?;
    }
    for round in 0..effort.rounds {
        for which in order(contestants.len(), round) {
            for (at, generator) in Generator::ALL.into_iter().enumerate() {
                let ran = contestants[which].run(generator, effort.seconds)?;
                costs[which].answered[at].push(ran.per_second);
                costs[which].cpu_ns[at].push(ran.cpu_ns);
            }
        }
    }
    for cost in &mut costs {
        // Sockets are the only client that tells how long each answer took.
        cost.half_qps = Quartiles::of(cost.answered[0].iter().copied()).median / 2.0;
    }
    for round in 0..effort.latency_rounds {
        for which in order(contestants.len(), round) {
            let us = contestants[which].latencies_us(costs[which].half_qps, effort.seconds)?;
            for (share, figures) in [0.5, 0.99].into_iter().zip(&mut costs[which].latency_us) {
                figures.push(percentile(&us, share));
            }
        }
    }
    Ok(PeerCosts { servers: costs, absent })
}

/// Returns the order of a round: another one first each time, so that drift favours nobody.
fn order(count: usize, round: usize) -> impl Iterator<Item = usize> {
    (0..count).map(move |at| (at + round) % count)
}

/// Finds where a server in user space answers most, and warms every one.
fn settle(contestant: &mut Contestant, effort: PeersEffort) -> Result<(), BenchError> {
    if !effort.tried {
        return Ok(());
    }
    let sustained = contestant.run(Generator::Sockets, 1)?.per_second;
    if !contestant.is_process() {
        contestant.run(Generator::AfXdp, 1)?;
        return Ok(());
    }
    let little_more = Some((sustained * 1.5) as u32);
    for generator in Generator::ALL {
        let loads: &[Option<u32>] = if generator == Generator::AfXdp { &[None, little_more] } else { &[None] };
        let mut best = (0.0, Offered::default());
        for everywhere in [false, true] {
            for qps in loads {
                let offered = Offered { qps: *qps, everywhere };
                contestant.offered[generator as usize] = offered;
                let answered = contestant.run(generator, 1)?.per_second;
                if answered > best.0 {
                    best = (answered, offered);
                }
            }
        }
        contestant.offered[generator as usize] = best.1;
    }
    Ok(())
}
