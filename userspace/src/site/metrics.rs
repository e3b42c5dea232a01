//! What ended how often at which stage, and the Site's metrics as text for Prometheus.
//!
//! Counts are kept here; what is known elsewhere is read when the page is made ([`Now`], and the front's counters), so that
//! no number is kept twice. The number of series is bounded: peers and backends beyond [`PEERS_MAX`] and
//! [`BACKENDS_MAX`] have none.

use std::{
    collections::BTreeMap,
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
    time::{SystemTime, UNIX_EPOCH},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet, text::encode},
    metrics::{MetricType, counter::ConstCounter, gauge::ConstGauge},
    registry::Registry,
};

use super::{
    certificates::Certificate,
    decide::{Decision, Outcome, Refusal, Stage},
    front::counters::{BackendCounters, Counters, Refused},
};
use crate::admin::metrics::{Format, family, gauge, number, single, to_prometheus};

/// Peers with series of their own, the first of the pool.
pub const PEERS_MAX: usize = 1000;
/// Names of certificates with series of their own.
pub const CERTIFICATES_MAX: usize = 1000;
/// Backends with series of their own, the first of the configuration.
pub const BACKENDS_MAX: usize = 1000;
/// What is there from the start, though nothing has ended so yet.
const EXPECTED: [(Stage, Outcome); 7] = [
    (Stage::Gate, Outcome::InSession),
    (Stage::OwnName, Outcome::Refused),
    (Stage::ToSite, Outcome::Redirected),
    (Stage::ToGroup, Outcome::Redirected),
    (Stage::AllBusy, Outcome::Busy),
    (Stage::Start, Outcome::Admitted),
    (Stage::ToNext, Outcome::Redirected),
];

/// Statuses that are there from the start.
const STATUSES: [u16; 11] = [200, 302, 303, 307, 400, 404, 421, 500, 502, 503, 504];

/// What is counted. Cheap on the way of a request: one or two additions.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[AtomicU64; Outcome::ALL.len()]; Stage::ALL.len()],
    refusals: [AtomicU64; Refusal::ALL.len()],
    hop_limit: AtomicU64,
    deferrals: AtomicU64,
    redeemed: AtomicU64,
    preflights: AtomicU64,
    listed: AtomicU64,
    shares_full: AtomicU64,
    malformed: AtomicU64,
}

/// What is true when the page is made.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Now {
    /// Requests handed to the application that have not ended.
    pub in_flight: u64,
    /// Of them, those beyond their clients' shares.
    pub beyond_shares: u64,
    /// Whether a newcomer with a share of 1 would be turned away.
    pub is_busy: bool,
    /// Sessions that are active.
    pub sessions: u64,
    /// Keys of deferrals that are due.
    pub keys_due: u32,
    /// The pool's other Sites by their names, and whether they count as up.
    pub peers: Vec<(String, bool)>,
}

/// Of the stand-alone server; a Site that only has the layer has none.
#[derive(Clone, Copy, Debug)]
pub struct FrontCounters<'a> {
    /// Of clients' connections and requests.
    pub connections: &'a Counters,
    /// Of the backends in force; a reload may have replaced them.
    pub backends: &'a Counters,
    /// In use.
    pub certificates: &'a [Certificate],
}

impl Metrics {
    /// A request was decided on, after these stages.
    pub fn decided(&self, stages: impl Iterator<Item = Stage>, decision: &Decision<'_>) {
        let (ended, outcome) = (ended_by(stages), decision.outcome());
        let stage = Stage::ALL.iter().position(|stage| *stage == ended).unwrap_or(0);
        self.requests[stage][outcome as usize].fetch_add(1, Relaxed);
        if let Decision::Refuse(refusal) = decision {
            self.refusals[*refusal as usize].fetch_add(1, Relaxed);
        }
        if outcome == Outcome::AdmittedDespite {
            self.hop_limit.fetch_add(1, Relaxed);
        }
    }

    /// Somebody was turned away with a key.
    pub fn deferred(&self) {
        self.deferrals.fetch_add(1, Relaxed);
    }

    /// A key was taken back.
    pub fn redeemed(&self) {
        self.redeemed.fetch_add(1, Relaxed);
    }

    /// A CORS preflight was passed on.
    pub fn preflight(&self) {
        self.preflights.fetch_add(1, Relaxed);
    }

    /// A request that `web.pass` lists was passed on.
    pub fn listed(&self) {
        self.listed.fetch_add(1, Relaxed);
    }

    /// A newcomer's client has filled its share.
    pub fn share_full(&self) {
        self.shares_full.fetch_add(1, Relaxed);
    }

    /// A trusted proxy has said of a client what is no address.
    pub fn malformed(&self) {
        self.malformed.fetch_add(1, Relaxed);
    }

    /// Requests that a stage ended with an outcome.
    #[must_use]
    pub fn requests(&self, stage: Stage, outcome: Outcome) -> u64 {
        let stage = Stage::ALL.iter().position(|one| *one == stage).unwrap_or(0);
        self.requests[stage][outcome as usize].load(Relaxed)
    }

    /// The page as text.
    pub fn text(&self, now: &Now, front: Option<&FrontCounters<'_>>, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("zerottl_site");
        registry.register_collector(Box::new(self.read(now, front)));
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Prometheus => to_prometheus(&text),
        })
    }

    fn read(&self, now: &Now, front: Option<&FrontCounters<'_>>) -> Source {
        let mut requests = Vec::new();
        for stage in Stage::ALL {
            for outcome in Outcome::ALL {
                let count = self.requests(stage, outcome);
                if count > 0 || EXPECTED.contains(&(stage, outcome)) {
                    requests.push((stage, outcome, count));
                }
            }
        }
        Source {
            requests,
            refusals: Refusal::ALL.map(|refusal| (refusal.name(), self.refusals[refusal as usize].load(Relaxed))),
            counts: [&self.hop_limit, &self.deferrals, &self.redeemed, &self.shares_full, &self.malformed]
                .map(|count| count.load(Relaxed)),
            passed: [("preflight", &self.preflights), ("listed", &self.listed)]
                .map(|(what, count)| (what, count.load(Relaxed))),
            now: now.clone(),
            front: front.map(Front::read),
        }
    }
}

/// The stage that ended a request: what made it a redirect, where it is one.
#[must_use]
pub fn ended_by(stages: impl Iterator<Item = Stage>) -> Stage {
    stages.filter(|stage| *stage != Stage::Redirect).last().unwrap_or(Stage::Receive)
}

/// What a page is written from.
#[derive(Debug)]
struct Source {
    requests: Vec<(Stage, Outcome, u64)>,
    refusals: [(&'static str, u64); Refusal::ALL.len()],
    /// Hop limit, deferrals, keys redeemed, full shares, malformed addresses.
    counts: [u64; 5],
    passed: [(&'static str, u64); 2],
    now: Now,
    front: Option<Front>,
}

/// What the front has counted.
#[derive(Debug)]
struct Front {
    accepted: u64,
    received: u64,
    open: u64,
    tunnels: u64,
    responses: Vec<(u16, u64)>,
    took: (Vec<(f64, u64)>, f64),
    lines_lost: u64,
    refused: [(&'static str, u64); Refused::ALL.len()],
    backends: Vec<BackendCounts>,
    /// By name, seconds until it ends.
    certificates: Vec<(String, i64)>,
}

/// Of one backend.
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

impl Front {
    fn read(FrontCounters { connections, backends, certificates }: &FrontCounters<'_>) -> Self {
        let backend = |backend: &BackendCounters| BackendCounts {
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
            refused: Refused::ALL.map(|why| (why.word(), connections.refused(why))),
            backends: backends.backends.iter().take(BACKENDS_MAX).map(backend).collect(),
            certificates: ends(certificates).into_iter().take(CERTIFICATES_MAX).collect(),
        }
    }
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (now, encoder) = (&self.now, &mut encoder);
        let requests = self.requests.iter().map(|(stage, outcome, count)| {
            let labels = vec![("stage", stage.number().to_string()), ("outcome", outcome.name().to_owned())];
            (labels, ConstCounter::new(*count))
        });
        family(encoder, ("requests", "Requests decided on, by the stage that ended operation 500"), requests)?;
        let refusals = self.refusals.iter().map(|(why, count)| (label("reason", why), ConstCounter::new(*count)));
        family(encoder, ("requests_refused", "Requests that were for no name of this Site's pool"), refusals)?;
        let passed = self.passed.iter().map(|(what, count)| (label("what", what), ConstCounter::new(*count)));
        family(encoder, ("requests_passed", "Requests that operation 500 left alone"), passed)?;
        let [hop_limit, deferrals, redeemed, shares_full, malformed] = self.counts;
        let counters = [
            ("hop_limit_alarms", "Requests admitted because they had been sent round too often", hop_limit),
            ("deferrals", "Keys given to those who were turned away", deferrals),
            ("keys_redeemed", "Keys that were used", redeemed),
            ("client_share_full", "Newcomers whose client had filled its share", shares_full),
            ("forwarded_malformed", "Requests of which a trusted proxy said what is no address", malformed),
        ];
        for (name, help, count) in counters {
            single(encoder, (name, help), &ConstCounter::new(count))?;
        }
        let gauges = [
            ("requests_in_flight", "Requests handed to the application that have not ended", now.in_flight),
            ("requests_beyond_share", "Of them, those beyond their clients' shares", now.beyond_shares),
            ("busy", "Whether newcomers are turned away", now.is_busy.into()),
            ("active_sessions", "Sessions that are active, as far as is known", now.sessions),
            ("keys_due", "Keys that hold now, for which room is kept", now.keys_due.into()),
        ];
        for (name, help, value) in gauges {
            single(encoder, (name, help), &number(value))?;
        }
        let peers = now.peers.iter().take(PEERS_MAX).map(|(name, is_up)| (label("peer", name), flag(*is_up)));
        family(encoder, ("peer_up", "Whether another Site of the pool counts as up"), peers)?;
        self.front.as_ref().map_or(Ok(()), |front| front.encode(encoder))
    }
}

impl Front {
    fn encode(&self, encoder: &mut DescriptorEncoder<'_>) -> fmt::Result {
        let counters = [
            ("connections_accepted", "Connections of clients that were accepted", self.accepted),
            ("requests_received", "Requests handed on by the server, probes and load reports too", self.received),
        ];
        for (name, help, count) in counters {
            single(encoder, (name, help), &ConstCounter::new(count))?;
        }
        let responses = self.responses.iter().map(|(status, count)| {
            let status = if *status == 0 { "other".to_owned() } else { status.to_string() };
            (label("status", &status), ConstCounter::new(*count))
        });
        family(encoder, ("responses", "Responses to clients, by status"), responses)?;
        let took = ("request_seconds", "Times from requests to the begin of their responses");
        single(encoder, took, &Times(&self.took))?;
        let lost = ("access_log_lines_lost", "Lines that the access log has lost");
        single(encoder, lost, &ConstCounter::new(self.lines_lost))?;
        let gauges = [
            ("connections", "Connections of clients that are open", self.open),
            ("tunnels", "Upgraded connections (WebSocket) that are open", self.tunnels),
        ];
        for (name, help, value) in gauges {
            single(encoder, (name, help), &number(value))?;
        }
        let refused = self.refused.iter().map(|(why, count)| (label("reason", why), ConstCounter::new(*count)));
        family(encoder, ("refused", "Connections and requests that the server refused or cut"), refused)?;

        let each = |count: fn(&BackendCounts) -> u64| {
            self.backends.iter().map(move |one| (label("backend", &one.url), ConstCounter::new(count(one))))
        };
        family(encoder, ("backend_requests", "Requests that a backend was sent"), each(|one| one.requests))?;
        let failures = ("backend_failures", "Attempts that a backend did not answer to the end");
        family(encoder, failures, each(|one| one.failures))?;
        let retries = ("backend_retries", "Requests that a backend did not answer and that were sent again");
        family(encoder, retries, each(|one| one.retries))?;
        let ejections = ("backend_ejections", "How often a backend was ejected for requests it did not answer");
        family(encoder, ejections, each(|one| one.ejections))?;
        family(encoder, ("backend_connects", "Connections made to a backend"), each(|one| one.connects))?;
        let healthy = self.backends.iter().map(|one| (label("backend", &one.url), flag(one.is_healthy)));
        family(encoder, ("backend_healthy", "Whether requests go to a backend"), healthy)?;
        #[expect(clippy::cast_precision_loss, reason = "far below 2^52")]
        let expiry = self.certificates.iter().map(|(name, left)| (label("name", name), gauge(*left as f64)));
        let help = "Until the certificate of a name ends; negative since it has";
        family(encoder, ("certificate_expiry_seconds", help), expiry)
    }
}

/// By name, in how many seconds its certificate ends: of several, the first that does.
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

fn label(name: &'static str, value: &str) -> Vec<(&'static str, String)> {
    vec![(name, value.to_owned())]
}

fn flag(is: bool) -> ConstGauge<f64> {
    gauge(if is { 1.0 } else { 0.0 })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Backend, Web};

    fn text(metrics: &Metrics, now: &Now, front: Option<&FrontCounters<'_>>) -> String {
        metrics.text(now, front, Format::Prometheus).expect("text")
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|one| one == line), "{line}\nis not in\n{text}");
    }

    #[test]
    fn stages_and_outcomes_are_counted_apart() {
        let metrics = Metrics::default();
        let receive = [Stage::Receive, Stage::OwnName];
        metrics.decided([Stage::Gate].into_iter(), &Decision::Bypass);
        metrics.decided(receive.into_iter(), &Decision::Refuse(Refusal::UnknownHost));
        metrics.decided(receive.into_iter(), &Decision::Refuse(Refusal::Misdirected));
        metrics.decided([Stage::Receive].into_iter(), &Decision::Refuse(Refusal::BadTarget));
        metrics.decided([Stage::Balanced, Stage::Start].into_iter(), &Decision::Admit { despite: true });
        metrics.decided([Stage::TooBusy, Stage::Start].into_iter(), &Decision::Admit { despite: false });
        metrics.decided([Stage::TooBusy, Stage::AllBusy].into_iter(), &Decision::Busy);
        metrics.deferred();
        metrics.redeemed();
        metrics.redeemed();
        let now = Now {
            in_flight: 3,
            beyond_shares: 1,
            is_busy: true,
            sessions: 40,
            keys_due: 5,
            peers: vec![("geneva.app.com".into(), true), ("chicago.app.com".into(), false)],
        };
        let text = text(&metrics, &now, None);
        for line in [
            "# TYPE zerottl_site_requests_total counter",
            "zerottl_site_requests_total{stage=\"500\",outcome=\"in-session\"} 1",
            "zerottl_site_requests_total{stage=\"505\",outcome=\"refused\"} 1",
            "zerottl_site_requests_total{stage=\"510\",outcome=\"refused\"} 2",
            "zerottl_site_requests_total{stage=\"588\",outcome=\"admitted\"} 1",
            "zerottl_site_requests_total{stage=\"588\",outcome=\"admitted-at-hop-limit\"} 1",
            "zerottl_site_requests_total{stage=\"570\",outcome=\"busy\"} 1",
            "zerottl_site_requests_total{stage=\"545\",outcome=\"redirected\"} 0",
            "zerottl_site_requests_refused_total{reason=\"unknown-host\"} 1",
            "zerottl_site_requests_refused_total{reason=\"bad-host\"} 0",
            "zerottl_site_hop_limit_alarms_total 1",
            "zerottl_site_deferrals_total 1",
            "zerottl_site_keys_redeemed_total 2",
            "# TYPE zerottl_site_busy gauge",
            "zerottl_site_requests_in_flight 3",
            "zerottl_site_busy 1",
            "zerottl_site_active_sessions 40",
            "zerottl_site_keys_due 5",
            "zerottl_site_peer_up{peer=\"geneva.app.com\"} 1.0",
            "zerottl_site_peer_up{peer=\"chicago.app.com\"} 0.0",
        ] {
            has(&text, line);
        }
        assert!(!text.contains("backend") && !text.contains("# EOF"));
    }

    #[test]
    fn a_redirect_is_counted_where_it_came_from() {
        let ended = |stages: &[Stage]| ended_by(stages.iter().copied());
        assert_eq!(ended(&[Stage::OwnName, Stage::ToSite, Stage::Redirect]), Stage::ToSite);
        assert_eq!(ended(&[Stage::OwnName, Stage::ToGroup, Stage::Redirect]), Stage::ToGroup);
        assert_eq!(ended(&[Stage::Overflow, Stage::ToNext]), Stage::ToNext);
        assert_eq!(ended(&[]), Stage::Receive);
    }

    #[test]
    fn what_the_front_counts_is_read() {
        let backend = |url: &str| Backend { url: url.into(), authority: String::new() };
        let web = Web { backends: vec![backend("http://127.0.0.1:1"), backend("http://127.0.0.1:2")], ..Web::at([]) };
        let (counters, before) = (Counters::new(&web), Counters::new(&web));
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
        let text = text(
            &Metrics::default(),
            &Now::default(),
            Some(&FrontCounters { connections: &before, backends: &counters, certificates: &certificates }),
        );
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
            "zerottl_site_backend_healthy{backend=\"http://127.0.0.1:1\"} 1.0",
            "zerottl_site_backend_healthy{backend=\"http://127.0.0.1:2\"} 0.0",
        ] {
            has(&text, line);
        }
    }
}
