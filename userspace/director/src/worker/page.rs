//! The page of this moment.

use std::{net::SocketAddr, time::Instant};

use xdp_ebpf::director::layout::WAITING;
use zerottl_core::model::ConnectionPolicy;

use super::{
    parts::Entry,
    placements::{Placement, Route},
    state::Worker,
};
use crate::{
    member::{Phase, Wanted},
    pages::{ChoicesPage, ConnectionPage, DirectorPage, ProcessPage, WaitingPage},
};

impl Worker {
    /// Makes the page of this moment.
    pub(crate) fn page(&self) -> DirectorPage {
        let oldest = self.list.oldest().map_or(0, |since| Instant::now().saturating_duration_since(since).as_millis());
        let counts = &self.counts;
        let mut reasons: Vec<ChoicesPage> = Vec::new();
        for (_, reason, count) in self.balance.reasons() {
            match reasons.iter_mut().find(|one| one.reason == reason.name()) {
                Some(one) => one.count += count,
                None => reasons.push(ChoicesPage { reason: reason.name().to_owned(), count }),
            }
        }
        DirectorPage {
            site: self.site.clone(),
            policy: policy_word(self.config.policy).to_owned(),
            kernel: self.balance.is_kernel(),
            note: self.note.clone(),
            listen: self.own.iter().map(|(at, _)| at.to_string()).collect(),
            waiting: WaitingPage {
                now: self.list.len() as u64,
                max: self.list.max() as u64,
                oldest_ms: u64::try_from(oldest).unwrap_or(u64::MAX),
                total: counts.waited,
                timeouts: counts.timeouts,
                left: counts.left,
                full: counts.full,
                served_handover: counts.handed,
                served_relay: counts.relayed,
                relays: counts.relays,
            },
            servers: self.entries.iter().map(|entry| self.server_page(entry)).collect(),
            reasons,
        }
    }

    fn server_page(&self, entry: &Entry) -> ProcessPage {
        let server = self.config.servers.get(entry.server);
        let current = entry.member.current();
        let run = current.and_then(|run| self.runs.get(&run.slot));
        let tally = |slot: u32| self.balance.tally(slot);
        let finishing = entry.member.runs().filter(|run| current.is_none_or(|current| current.slot != run.slot));
        let finishing = finishing.map(|run| tally(run.slot).live).sum();
        let own = current.map(|run| tally(run.slot)).unwrap_or_default();
        let state = match (entry.member.wanted(), current.map(|run| run.phase)) {
            (Wanted::Maint | Wanted::Gone, _) => "maint",
            (_, None) if entry.member.gave_up() => "down",
            (_, None) => "backoff",
            (_, Some(Phase::Starting)) => "starting",
            _ if run.is_some_and(|run| run.judged.hangs) => "hung",
            (Wanted::Drain, _) => "drain",
            (Wanted::Ready, _) if server.is_some_and(|server| server.standby) && !self.serves_standby() => "standby",
            (Wanted::Ready, _) => "ready",
        };
        let mut why = entry.member.why.clone();
        if let Some(run) = run.filter(|_| state == "starting") {
            why.clone_from(&run.judged.failure);
        }
        ProcessPage {
            name: entry.name.clone(),
            server: server.map(|server| server.name.clone()).unwrap_or_default(),
            state: state.to_owned(),
            pid: run
                .and_then(|run| run.process.as_ref())
                .map(|process| process.pid().as_raw_nonzero().get().unsigned_abs()),
            slot: current.map(|run| run.slot),
            weight: server.map_or(0, |server| server.weight),
            live: own.live + finishing,
            finishing,
            reserved: own.reserved,
            max_connections: server.and_then(|server| server.max_connections),
            assigned: own.assigned,
            handed_over: entry.handed,
            relayed: entry.relayed,
            restarts: entry.member.restarts,
            since_s: run.map_or(0.0, |run| run.started.elapsed().as_secs_f64()),
            pending: run.and_then(|run| run.judged.pending),
            why,
        }
    }

    /// Says why a connection is where it is.
    pub(crate) fn explain(&self, client: SocketAddr) -> Option<ConnectionPage> {
        let ports = self.own.iter().map(|(at, _)| at.port());
        let known = ports.filter_map(|port| {
            let choice = self.balance.choice(client, port);
            // One from before the kernel's last choice was that of another connection from the same port.
            let placement = self
                .placements
                .of(client, port)
                .filter(|placement| choice.as_ref().is_none_or(|choice| placement.at.elapsed() <= choice.age));
            let age = placement.map(|placement| placement.at.elapsed()).or(choice.as_ref().map(|choice| choice.age))?;
            Some((age, choice, placement))
        });
        let (_, choice, placement) = known.min_by_key(|(age, ..)| *age)?;
        let mut why = Vec::new();
        if let Some(choice) = &choice {
            why.push(format!("{} ({})", sentence(choice.reason.description()), choice.reason.name()));
            why.push(format!("chosen {:.1} s ago", choice.age.as_secs_f64()));
            why.push(if choice.done { "the connection was made" } else { "its handshake is not over" }.to_owned());
        }
        let client_text = client.to_string();
        if let Some(placement) = placement {
            why.push(placed(placement));
            return Some(ConnectionPage { client: client_text, server: Some(placement.server.clone()), why });
        }
        let choice = choice?;
        let run = self.runs.get(&choice.slot);
        if choice.slot == WAITING {
            let now = self.list.position(|waiting| waiting.arrival.client == client);
            why.push(now.map_or_else(
                || "it has waited, and has left since".to_owned(),
                |(before, waited)| format!("{before} wait before it; it has waited for {:.1} s", waited.as_secs_f64()),
            ));
        } else if run.is_none() {
            why.push("the process has ended since".to_owned());
        }
        Some(ConnectionPage { client: client_text, server: run.map(|run| run.name.clone()), why })
    }
}

/// Says how this process placed a connection.
fn placed(placement: &Placement) -> String {
    let giver = placement.giver.as_ref().map_or_else(String::new, |giver| format!("given away by {giver}; "));
    let route = match placement.route {
        Route::HandedOver => "handed over to",
        Route::Relayed => "relayed to",
    };
    let (waited, ago) = (placement.waited.as_secs_f64(), placement.at.elapsed().as_secs_f64());
    format!("{giver}waited for {waited:.3} s, then {route} {}, {ago:.1} s ago", placement.server)
}

/// A sentence as a part of another one.
fn sentence(text: &str) -> &str {
    text.trim().trim_end_matches('.')
}

/// The policy as it is written.
pub(crate) fn policy_word(policy: ConnectionPolicy) -> &'static str {
    match policy {
        ConnectionPolicy::WeightedRoundRobin => "weighted-round-robin",
        ConnectionPolicy::LeastConnections => "least-connections",
    }
}
