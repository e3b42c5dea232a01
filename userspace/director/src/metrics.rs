//! The director's metrics, made of its page.

use std::fmt;

use prometheus_client::{
    collector::Collector, encoding::DescriptorEncoder, metrics::counter::ConstCounter, registry::Registry,
};
use zerottl_core::{
    exposition::{Format, family, flag, number, single, to_prometheus},
    metrics,
};

use crate::pages::{DirectorPage, ProcessPage, WaitingPage};

metrics! {
    /// Whether the kernel chooses servers; 0 is that all connections come to the director
    KERNEL = gauge "kernel" [],
    /// Connections that wait for a place
    WAITING = gauge "waiting" [],
    /// Connections that may wait at most
    WAITING_MAX = gauge "waiting_max" [],
    /// Connections that had to wait, since the worker began
    WAITED = counter "waited" [],
    /// Connections that no server was found for: those whose time was over, those that left, those that found the list full
    REFUSED = counter "refused" [reason],
    /// Connections that the director relays at this moment
    RELAYS = gauge "relays" [],
    /// Connections by the reason for their server, since the programs were loaded
    CHOICES = counter "choices" [reason],
    /// State of a process: 1 for the one that it is in
    SERVER_STATE = gauge "server_state" [server, state],
    /// Connections of a process
    SERVER_LIVE = gauge "server_live" [server],
    /// Connections to a process that are being made
    SERVER_RESERVED = gauge "server_reserved" [server],
    /// Connections at a time that a process may have; none without a limit
    SERVER_MAX = gauge "server_max_connections" [server],
    /// Connections assigned to a process since it was started
    SERVER_ASSIGNED = counter "server_assigned" [server],
    /// Connections that have waited and were handed over to a process
    SERVER_HANDED = counter "server_handed_over" [server],
    /// Connections that have waited and were relayed to a process
    SERVER_RELAYED = counter "server_relayed" [server],
    /// Starts of a process after one that failed
    SERVER_RESTARTS = counter "server_restarts" [server],
}

/// States of a process, as the page has them.
pub(crate) const STATES: [&str; 8] = ["ready", "standby", "starting", "drain", "maint", "hung", "backoff", "down"];

/// Writes the page of metrics.
pub(crate) fn text(page: DirectorPage, format: Format) -> Result<String, fmt::Error> {
    let mut registry = Registry::with_prefix("zerottl_director");
    registry.register_collector(Box::new(PageMetrics(page)));
    let mut text = String::new();
    prometheus_client::encoding::text::encode(&mut text, &registry)?;
    Ok(match format {
        Format::OpenMetrics => text,
        Format::Prometheus => to_prometheus(&text),
    })
}

/// A figure of a process.
type Figure<T> = fn(&ProcessPage) -> T;

#[derive(Debug)]
struct PageMetrics(DirectorPage);

impl Collector for PageMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let (page, encoder) = (&self.0, &mut encoder);
        single(encoder, &KERNEL, &flag(page.kernel))?;
        let WaitingPage { now, max, relays, .. } = page.waiting;
        for (metric, value) in [(&WAITING, now), (&WAITING_MAX, max), (&RELAYS, relays)] {
            single(encoder, metric, &number(value))?;
        }
        single(encoder, &WAITED, &ConstCounter::new(page.waiting.total))?;
        let refused = [("timeout", page.waiting.timeouts), ("left", page.waiting.left), ("full", page.waiting.full)];
        family(encoder, &REFUSED, refused.map(|(why, count)| ([why.to_owned()], ConstCounter::new(count))))?;
        let choices = page.reasons.iter().map(|one| ([one.reason.clone()], ConstCounter::new(one.count)));
        family(encoder, &CHOICES, choices)?;
        let states = page.servers.iter().flat_map(|server| {
            STATES.map(|state| ([server.name.clone(), state.to_owned()], flag(server.state == state)))
        });
        family(encoder, &SERVER_STATE, states)?;
        let gauges: [(_, Figure<Option<u64>>); 3] = [
            (&SERVER_LIVE, |server| Some(server.live)),
            (&SERVER_RESERVED, |server| Some(server.reserved)),
            (&SERVER_MAX, |server| server.max_connections.map(u64::from)),
        ];
        for (metric, value) in gauges {
            let of = |server: &ProcessPage| Some(([server.name.clone()], number(value(server)?)));
            family(encoder, metric, page.servers.iter().filter_map(of))?;
        }
        let counters: [(_, Figure<u64>); 4] = [
            (&SERVER_ASSIGNED, |server| server.assigned),
            (&SERVER_HANDED, |server| server.handed_over),
            (&SERVER_RELAYED, |server| server.relayed),
            (&SERVER_RESTARTS, |server| server.restarts),
        ];
        for (metric, value) in counters {
            let of = |server: &ProcessPage| ([server.name.clone()], ConstCounter::new(value(server)));
            family(encoder, metric, page.servers.iter().map(of))?;
        }
        Ok(())
    }
}
