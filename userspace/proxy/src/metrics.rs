//! The stand-alone Site's part of the metrics page: connections, responses, backends, certificates, and the sessions that are hosted here.

use std::{
    collections::BTreeMap,
    fmt,
    sync::{Arc, atomic::Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet},
    metrics::{MetricType, counter::ConstCounter},
};
use zerottl_core::{
    exposition::{family, flag, gauge, number, single},
    metrics,
};
use zerottl_host::certificates::Certificate;

use zerottl_invitation::InvitePage;

use crate::{
    front::counters::{BackendCounters, FrontCounters, FrontRefusal, ScreenResult},
    session_metrics::SessionMetrics,
};

metrics! {
    /// Connections of clients that were accepted
    CONNECTIONS_ACCEPTED = counter "connections_accepted" [],
    /// Connections of clients that are open
    CONNECTIONS = gauge "connections" [],
    /// Upgraded connections (WebSocket) that are open
    TUNNELS = gauge "tunnels" [],
    /// Requests received by the server, probes and load reports included
    REQUESTS_RECEIVED = counter "requests_received" [],
    /// Connections and requests that the server refused or cut
    REFUSED = counter "refused" [reason],
    /// Requests sent to a backend
    BACKEND_REQUESTS = counter "backend_requests" [backend],
    /// Responses to clients, by status
    RESPONSES = counter "responses" [status],
    /// Time from a request to the beginning of its response, redirects and refusals included
    REQUEST_SECONDS = histogram "request_seconds" [],
    /// Lines that the access log has lost
    ACCESS_LOG_LINES_LOST = counter "access_log_lines_lost" [],
    /// Attempts that a backend did not answer completely
    BACKEND_FAILURES = counter "backend_failures" [backend],
    /// Requests that a backend did not answer and that were sent again, to another or over another connection
    BACKEND_RETRIES = counter "backend_retries" [backend],
    /// Ejections of a backend for requests that it did not answer
    BACKEND_EJECTIONS = counter "backend_ejections" [backend],
    /// Connections made to a backend
    BACKEND_CONNECTS = counter "backend_connects" [backend],
    /// Whether requests go to a backend
    BACKEND_HEALTHY = gauge "backend_healthy" [backend],
    /// Requests that were screened, by what the screen said
    SCREENED = counter "screened" [result],
    /// Application servers that have a channel here
    INVITED_SERVERS = gauge "invited_servers" [],
    /// Requests that application servers still take
    INVITE_CREDITS = gauge "invite_credits" [],
    /// Requests that wait for an application server to be ready
    INVITE_WAITING = gauge "invite_waiting" [],
    /// Requests by how they came to an application server's credit, or did not
    INVITE_REQUESTS = counter "invite_requests" [outcome],
    /// Channels of application servers that were closed because nothing came in time
    INVITE_STALLS = counter "invite_stalls" [],
    /// Sessions that an application server named, by whether they go on here
    INVITE_TAKEOVERS = counter "invite_takeovers" [outcome],
    /// Time until the certificate of a name expires; negative once it has
    CERTIFICATE_EXPIRY = gauge "certificate_expiry_seconds" [name],
}

/// Names of certificates with series of their own.
pub(crate) const CERTIFICATES_MAX: usize = 1000;
/// Backends with series of their own, the first of the configuration.
pub(crate) const BACKENDS_MAX: usize = 1000;
/// Statuses that are there from the start.
const STATUSES: [u16; 11] = [200, 302, 303, 307, 400, 404, 421, 500, 502, 503, 504];

/// The sources of the front's figures; a Site that only has the layer has none.
#[derive(Clone, Debug)]
pub(crate) struct FrontSources<'a> {
    /// Counters of clients' connections and requests.
    pub(crate) connections: &'a FrontCounters,
    /// Counters of the backends in force; a reload may have replaced them.
    pub(crate) backends: &'a FrontCounters,
    /// The certificates in use.
    pub(crate) certificates: &'a [Certificate],
    /// The state of invitations, if any are taken.
    pub(crate) invite: Option<&'a InvitePage>,
    /// The sessions that are hosted here, if any are.
    pub(crate) sessions: Option<SessionMetrics>,
}

/// The figures that the front has counted.
#[derive(Debug)]
pub(crate) struct FrontMetrics {
    accepted: u64,
    received: u64,
    open: u64,
    tunnels: u64,
    responses: Vec<(u16, u64)>,
    took: (Vec<(f64, u64)>, f64),
    lines_lost: u64,
    refused: [(&'static str, u64); FrontRefusal::ALL.len()],
    backends: Vec<BackendCounts>,
    /// Seconds until a name's certificate ends.
    certificates: Vec<(String, i64)>,
    screened: [(&'static str, u64); ScreenResult::ALL.len()],
    invite: Option<InvitePage>,
    sessions: Option<SessionMetrics>,
}

/// Figures of one backend.
#[derive(Debug)]
struct BackendCounts {
    url: String,
    requests: u64,
    failures: u64,
    retries: u64,
    ejections: u64,
    connects: u64,
    is_healthy: bool,
}

/// Times as the encoder takes them.
struct Times<'a>(&'a (Vec<(f64, u64)>, f64));

impl EncodeMetric for Times<'_> {
    fn encode(&self, mut encoder: MetricEncoder) -> fmt::Result {
        let (buckets, sum_s) = self.0;
        let count = buckets.iter().map(|(_, count)| count).sum();
        encoder.encode_histogram::<NoLabelSet>(*sum_s, count, buckets, None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl FrontMetrics {
    /// Reads the counters.
    #[must_use]
    pub(crate) fn read(front: &FrontSources<'_>) -> Self {
        let FrontSources { connections, backends, certificates, invite, sessions } = front;
        let backend = |backend: &Arc<BackendCounters>| BackendCounts {
            url: backend.url.clone(),
            requests: backend.requests.load(Relaxed),
            failures: backend.failures.load(Relaxed),
            retries: backend.retries.load(Relaxed),
            ejections: backend.ejections.load(Relaxed),
            connects: backend.connects.load(Relaxed),
            is_healthy: backend.healthy.load(Relaxed),
        };
        Self {
            accepted: connections.accepted.load(Relaxed),
            received: connections.requests.load(Relaxed),
            open: connections.open.load(Relaxed),
            tunnels: connections.tunnels.load(Relaxed),
            responses: connections
                .responses()
                .filter(|(status, count)| *count > 0 || STATUSES.contains(status))
                .collect(),
            took: connections.took(),
            lines_lost: connections.access.load().as_ref().map_or(0, |log| log.lost()),
            refused: FrontRefusal::ALL.map(|why| (why.label(), connections.refused(why))),
            backends: backends.backends.iter().take(BACKENDS_MAX).map(backend).collect(),
            certificates: ends(certificates).into_iter().take(CERTIFICATES_MAX).collect(),
            screened: ScreenResult::ALL.map(|result| (result.label(), backends.screened(result))),
            invite: invite.cloned(),
            sessions: sessions.clone(),
        }
    }
}

impl Collector for FrontMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let encoder = &mut encoder;
        let counters = [(&CONNECTIONS_ACCEPTED, self.accepted), (&REQUESTS_RECEIVED, self.received)];
        for (metric, count) in counters {
            single(encoder, metric, &ConstCounter::new(count))?;
        }
        let responses = self.responses.iter().map(|(status, count)| {
            let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
            ([status], ConstCounter::new(*count))
        });
        family(encoder, &RESPONSES, responses)?;
        single(encoder, &REQUEST_SECONDS, &Times(&self.took))?;
        single(encoder, &ACCESS_LOG_LINES_LOST, &ConstCounter::new(self.lines_lost))?;
        let gauges = [(&CONNECTIONS, self.open), (&TUNNELS, self.tunnels)];
        for (metric, value) in gauges {
            single(encoder, metric, &number(value))?;
        }
        let refused = self.refused.iter().map(|(why, count)| ([(*why).to_owned()], ConstCounter::new(*count)));
        family(encoder, &REFUSED, refused)?;

        let each = |count: fn(&BackendCounts) -> u64| {
            self.backends.iter().map(move |one| ([one.url.clone()], ConstCounter::new(count(one))))
        };
        family(encoder, &BACKEND_REQUESTS, each(|one| one.requests))?;
        family(encoder, &BACKEND_FAILURES, each(|one| one.failures))?;
        family(encoder, &BACKEND_RETRIES, each(|one| one.retries))?;
        family(encoder, &BACKEND_EJECTIONS, each(|one| one.ejections))?;
        family(encoder, &BACKEND_CONNECTS, each(|one| one.connects))?;
        let healthy = self.backends.iter().map(|one| ([one.url.clone()], flag(one.is_healthy)));
        family(encoder, &BACKEND_HEALTHY, healthy)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let expiry = self.certificates.iter().map(|(name, left)| ([name.clone()], gauge(*left as f64)));
        family(encoder, &CERTIFICATE_EXPIRY, expiry)?;
        let screened = self.screened.iter().map(|(what, count)| ([(*what).to_owned()], ConstCounter::new(*count)));
        family(encoder, &SCREENED, screened)?;
        self.sessions.as_ref().map_or(Ok(()), |sessions| sessions.encode(encoder))?;
        self.invite.as_ref().map_or(Ok(()), |invite| encode_invite(encoder, invite))
    }
}

fn encode_invite(encoder: &mut DescriptorEncoder<'_>, invite: &InvitePage) -> fmt::Result {
    let credits = invite.servers.iter().map(|server| u64::from(server.credits)).sum();
    let gauges = [
        (&INVITED_SERVERS, invite.servers.len() as u64),
        (&INVITE_CREDITS, credits),
        (&INVITE_WAITING, invite.waiting as u64),
    ];
    for (metric, value) in gauges {
        single(encoder, metric, &number(value))?;
    }
    let counts = |counts: &[(&str, u64)]| {
        counts.iter().map(|(what, count)| ([(*what).to_owned()], ConstCounter::new(*count))).collect::<Vec<_>>()
    };
    let requests =
        [("granted", invite.granted), ("waited", invite.waited), ("expired", invite.expired), ("full", invite.full)];
    family(encoder, &INVITE_REQUESTS, counts(&requests))?;
    single(encoder, &INVITE_STALLS, &ConstCounter::new(invite.stalls))?;
    let takeovers = [("taken", invite.takeovers), ("failed", invite.takeover_failures)];
    family(encoder, &INVITE_TAKEOVERS, counts(&takeovers))
}

/// Returns, by name, in how many seconds its certificate ends: of several, the first that does.
fn ends(certificates: &[Certificate]) -> BTreeMap<String, i64> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    let mut ends = BTreeMap::new();
    for certificate in certificates {
        for name in &certificate.names {
            let left = ends.entry(name.clone()).or_insert(i64::MAX);
            *left = certificate.ends.saturating_sub(now).min(*left);
        }
    }
    ends
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use zerottl_core::{
        exposition::Format,
        model::{Backend, Web},
    };
    use zerottl_invitation::page::InvitedServerPage;
    use zerottl_session::{StorePage, page::SessionServerPage};
    use zerottl_site::metrics::{Metrics, Now};

    use super::*;

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|one| one == line), "{line}\nis not in\n{text}");
    }

    #[test]
    fn what_the_front_counts_is_read() {
        let backend = |url: &str| Backend { url: url.into(), authority: String::new() };
        let web = Web { backends: vec![backend("http://127.0.0.1:1"), backend("http://127.0.0.1:2")], ..Web::at([]) };
        let (counters, before) = (FrontCounters::new(&web), FrontCounters::new(&web));
        counters.accepted.store(1, Relaxed);
        before.accepted.store(9, Relaxed);
        before.open.store(2, Relaxed);
        before.requests.store(7, Relaxed);
        before.tunnels.store(1, Relaxed);
        counters.backends[1].requests.store(6, Relaxed);
        counters.backends[1].failures.store(5, Relaxed);
        counters.backends[1].connects.store(4, Relaxed);
        counters.backends[1].retries.store(3, Relaxed);
        counters.backends[0].ejections.store(2, Relaxed);
        counters.backends[1].healthy.store(false, Relaxed);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
        let certificate = |names: &[&str], left: i64| Certificate {
            file: "a".into(),
            names: names.iter().map(ToString::to_string).collect(),
            ends: now + left,
        };
        let certificates =
            [certificate(&["app.com", "*.app.com"], 90 * 86_400 + 1000), certificate(&["app.com"], -86_400)];
        counters.count_screened(ScreenResult::Refused);
        let server = InvitedServerPage { credits: 3, ..InvitedServerPage::default() };
        let invite = InvitePage {
            servers: vec![server.clone(), server],
            waiting: 2,
            stalls: 1,
            expired: 4,
            ..InvitePage::default()
        };
        let server = SessionServerPage {
            name: "10.0.0.1:6379".into(),
            state: "new".into(),
            behind: 2,
            fenced: 8,
            ..SessionServerPage::default()
        };
        let page = StorePage { hosted: 40, lag_s: 1.5, moves: 6, servers: vec![server], ..StorePage::default() };
        let front = FrontSources {
            connections: &before,
            backends: &counters,
            certificates: &certificates,
            invite: Some(&invite),
            sessions: Some(SessionMetrics(Arc::new(page))),
        };
        let front = Box::new(FrontMetrics::read(&front));
        let text = Metrics::default().text(&Now::default(), Some(front), Format::Prometheus).expect("text");
        let left = |name: &str| {
            let start = format!("zerottl_site_certificate_expiry_seconds{{name=\"{name}\"}} ");
            let value = text.lines().find_map(|line| line.strip_prefix(&start)).expect("a metric");
            value.parse::<f64>().expect("a number")
        };
        assert!((90.0 * 86_400.0..90.0 * 86_400.0 + 1001.0).contains(&left("*.app.com")), "{text}");
        assert!((-87_400.0..=-86_400.0).contains(&left("app.com")), "the first that ends: {text}");
        for line in [
            "zerottl_site_connections_accepted_total 9",
            "zerottl_site_connections 2",
            "zerottl_site_requests_received_total 7",
            "zerottl_site_tunnels 1",
            "zerottl_site_refused_total{reason=\"slow\"} 0",
            "zerottl_site_backend_requests_total{backend=\"http://127.0.0.1:1\"} 0",
            "zerottl_site_backend_requests_total{backend=\"http://127.0.0.1:2\"} 6",
            "zerottl_site_backend_failures_total{backend=\"http://127.0.0.1:2\"} 5",
            "zerottl_site_backend_connects_total{backend=\"http://127.0.0.1:2\"} 4",
            "zerottl_site_backend_retries_total{backend=\"http://127.0.0.1:2\"} 3",
            "zerottl_site_backend_ejections_total{backend=\"http://127.0.0.1:1\"} 2",
            "zerottl_site_responses_total{status=\"200\"} 0",
            "zerottl_site_responses_total{status=\"502\"} 0",
            "zerottl_site_request_seconds_count 0",
            "zerottl_site_request_seconds_bucket{le=\"+Inf\"} 0",
            "zerottl_site_access_log_lines_lost_total 0",
            "zerottl_site_screened_total{result=\"refused\"} 1",
            "zerottl_site_invited_servers 2",
            "zerottl_site_invite_credits 6",
            "zerottl_site_invite_waiting 2",
            "zerottl_site_invite_stalls_total 1",
            "zerottl_site_invite_requests_total{outcome=\"expired\"} 4",
            "zerottl_site_invite_takeovers_total{outcome=\"taken\"} 0",
            "zerottl_site_backend_healthy{backend=\"http://127.0.0.1:1\"} 1.0",
            "zerottl_site_backend_healthy{backend=\"http://127.0.0.1:2\"} 0.0",
            "zerottl_site_session_hosted 40",
            "zerottl_site_session_under_replicated 0",
            "zerottl_site_session_lag_seconds 1.5",
            "zerottl_site_session_has_lease 0.0",
            "zerottl_site_session_moves_total 6",
            "zerottl_site_session_server_state{server=\"10.0.0.1:6379\",state=\"new\"} 1.0",
            "zerottl_site_session_server_state{server=\"10.0.0.1:6379\",state=\"down\"} 0.0",
            "zerottl_site_session_server_behind{server=\"10.0.0.1:6379\"} 2",
            "zerottl_site_session_server_fenced_total{server=\"10.0.0.1:6379\"} 8",
            "zerottl_site_session_server_restarts_total{server=\"10.0.0.1:6379\"} 0",
        ] {
            has(&text, line);
        }
    }
}
