//! The part of the metrics page that is about sessions, where this process hosts them: made of the store's page.

use std::{fmt, sync::Arc};

use prometheus_client::{encoding::DescriptorEncoder, metrics::counter::ConstCounter};
use zerottl_core::{
    exposition::{family, flag, gauge, number, single},
    metrics,
};
use zerottl_session::{StorePage, page::SessionServerPage};

metrics! {
    /// Sessions in memory that this process hosts
    HOSTED = gauge "session_hosted" [],
    /// Bytes of their data
    BYTES = gauge "session_bytes" [],
    /// Sessions that have ended and are remembered as such
    ENDED = gauge "session_ended" [],
    /// Sessions whose newest state has fewer copies than it is to have
    UNDER_REPLICATED = gauge "session_under_replicated" [],
    /// Time that the oldest change has waited to be copied
    LAG = gauge "session_lag_seconds" [],
    /// Whether enough session servers have granted this process a lease
    HAS_LEASE = gauge "session_has_lease" [],
    /// Sessions that this process has become the host of, new ones included
    CLAIMS = counter "session_claims" [],
    /// Those of them that another process had hosted
    MOVES = counter "session_moves" [],
    /// Those of them that nobody had asked for since their process died
    ADOPTIONS = counter "session_adoptions" [],
    /// Sessions that another process has claimed from this one
    LOST = counter "session_lost" [],
    /// Sessions that were ended here
    ENDS = counter "session_ends" [],
    /// Sessions that left the memory, as there were too many
    EVICTIONS = counter "session_evictions" [],
    /// Sessions whose copies were given to other session servers
    REPAIRS = counter "session_repairs" [],
    /// State of a session server, as this process sees it: 1 for the one that it is in
    SERVER_STATE = gauge "session_server_state" [server, state],
    /// Sessions whose newest state a session server has
    SERVER_COPIES = gauge "session_server_copies" [server],
    /// Sessions that a session server is to have, and lacks or has an older state of
    SERVER_BEHIND = gauge "session_server_behind" [server],
    /// Copies that a session server has kept
    SERVER_WRITES = counter "session_server_writes" [server],
    /// Data that was read from a session server
    SERVER_READS = counter "session_server_reads" [server],
    /// Claims that a session server was asked for
    SERVER_CLAIMS = counter "session_server_claims" [server],
    /// Copies that a session server has refused, as another process owns the session
    SERVER_FENCED = counter "session_server_fenced" [server],
    /// Requests to a session server that failed
    SERVER_FAILURES = counter "session_server_failures" [server],
    /// Times that a session server was found started anew, and empty
    SERVER_RESTARTS = counter "session_server_restarts" [server],
}

/// States of a session server, as the page has them.
const STATES: [&str; 3] = ["up", "new", "down"];

/// A figure of a session server.
type ServerFigure = fn(&SessionServerPage) -> u64;

/// The figures of a store at one moment.
#[derive(Clone, Debug)]
pub(crate) struct SessionMetrics(pub(crate) Arc<StorePage>);

impl SessionMetrics {
    /// Writes them.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let page = &self.0;
        let gauges = [
            (&HOSTED, page.hosted),
            (&BYTES, page.bytes),
            (&ENDED, page.ended),
            (&UNDER_REPLICATED, page.under_replicated),
        ];
        for (metric, value) in gauges {
            single(encoder, metric, &number(value))?;
        }
        single(encoder, &LAG, &gauge(page.lag_s))?;
        single(encoder, &HAS_LEASE, &flag(page.has_lease))?;
        let counters = [
            (&CLAIMS, page.claims),
            (&MOVES, page.moves),
            (&ADOPTIONS, page.adoptions),
            (&LOST, page.lost),
            (&ENDS, page.ends),
            (&EVICTIONS, page.evictions),
            (&REPAIRS, page.repairs),
        ];
        for (metric, count) in counters {
            single(encoder, metric, &ConstCounter::new(count))?;
        }
        self.encode_servers(encoder)
    }

    fn encode_servers(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let servers = &self.0.servers;
        let states = servers.iter().flat_map(|server| {
            STATES.map(|state| ([server.name.clone(), state.to_owned()], flag(server.state == state)))
        });
        family(encoder, &SERVER_STATE, states)?;
        let gauges: [(_, ServerFigure); 2] =
            [(&SERVER_COPIES, |server| server.copies), (&SERVER_BEHIND, |server| server.behind)];
        for (metric, value) in gauges {
            family(encoder, metric, servers.iter().map(|server| ([server.name.clone()], number(value(server)))))?;
        }
        let counters: [(_, ServerFigure); 6] = [
            (&SERVER_WRITES, |server| server.writes),
            (&SERVER_READS, |server| server.reads),
            (&SERVER_CLAIMS, |server| server.claims),
            (&SERVER_FENCED, |server| server.fenced),
            (&SERVER_FAILURES, |server| server.failures),
            (&SERVER_RESTARTS, |server| server.restarts),
        ];
        for (metric, value) in counters {
            let of = |server: &SessionServerPage| ([server.name.clone()], ConstCounter::new(value(server)));
            family(encoder, metric, servers.iter().map(of))?;
        }
        Ok(())
    }
}
