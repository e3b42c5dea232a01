//! Counts of what ended at which stage, and the Site's metrics as text for Prometheus.
//!
//! Counts are kept here; what is known elsewhere is read when the page is made ([`Now`], and the front's counters), so that
//! no number is kept twice. The number of series is bounded: peers beyond [`PEERS_MAX`] have none.

use std::{
    fmt,
    sync::atomic::{AtomicU64, Ordering::Relaxed},
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, text::encode},
    metrics::counter::ConstCounter,
    registry::Registry,
};

use super::{
    decide::{Decision, DecisionKind, Stage},
    refusal::Refusal,
};
use zerottl_core::{
    exposition::{Format, family, flag, number, single, to_prometheus},
    metrics,
};

metrics! {
    /// Requests decided on, by the stage that ended the decision
    REQUESTS = counter "requests" [stage, outcome],
    /// Requests that were for no name of this Site's pool
    REQUESTS_REFUSED = counter "requests_refused" [reason],
    /// Requests passed to the application without a decision
    REQUESTS_PASSED = counter "requests_passed" [what],
    /// Requests of new clients whose network had filled its share
    CLIENT_SHARE_FULL = counter "client_share_full" [],
    /// Requests for which a trusted proxy forwarded something that is no address
    FORWARDED_MALFORMED = counter "forwarded_malformed" [],
    /// Requests admitted because they had been redirected too often: clocks or configurations differ
    HOP_LIMIT_ALARMS = counter "hop_limit_alarms" [],
    /// Waiting-room keys given to clients that were turned away
    DEFERRALS = counter "deferrals" [],
    /// Waiting-room keys that were used
    KEYS_REDEEMED = counter "keys_redeemed" [],
    /// Waiting-room keys that are valid now, for which room is kept
    KEYS_DUE = gauge "keys_due" [],
    /// Requests handed to the application that have not ended
    REQUESTS_IN_FLIGHT = gauge "requests_in_flight" [],
    /// Requests in flight beyond their clients' shares, which do not count against other clients
    REQUESTS_BEYOND_SHARE = gauge "requests_beyond_share" [],
    /// Whether new clients are turned away
    BUSY = gauge "busy" [],
    /// Sessions that are active, as far as is known
    ACTIVE_SESSIONS = gauge "active_sessions" [],
    /// Whether another Site of the pool counts as up
    PEER_UP = gauge "peer_up" [peer],
}

/// Peers with series of their own, the first of the pool.
pub const PEERS_MAX: usize = 1000;
/// Series that are there from the start, though nothing has ended so yet.
const EXPECTED: [(Stage, DecisionKind); 7] = [
    (Stage::Session, DecisionKind::InSession),
    (Stage::OwnName, DecisionKind::Refused),
    (Stage::ToSite, DecisionKind::Redirected),
    (Stage::ToGroup, DecisionKind::Redirected),
    (Stage::AllBusy, DecisionKind::Busy),
    (Stage::Start, DecisionKind::Admitted),
    (Stage::ToNext, DecisionKind::Redirected),
];

/// The Site's counters. Cheap on the way of a request: one or two additions.
#[derive(Debug, Default)]
pub struct Metrics {
    requests: [[AtomicU64; DecisionKind::ALL.len()]; Stage::ALL.len()],
    refusals: [AtomicU64; Refusal::ALL.len()],
    hop_limit: AtomicU64,
    deferrals: AtomicU64,
    redeemed: AtomicU64,
    preflights: AtomicU64,
    listed: AtomicU64,
    shares_full: AtomicU64,
    malformed: AtomicU64,
}

/// The state when the page is made.
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

impl Metrics {
    /// A request was decided on, after these stages.
    pub fn decided(&self, stages: impl Iterator<Item = Stage>, decision: &Decision<'_>) {
        let (ended, outcome) = (ended_by(stages), decision.outcome());
        let stage = Stage::ALL.iter().position(|stage| *stage == ended).unwrap_or(0);
        self.requests[stage][outcome as usize].fetch_add(1, Relaxed);
        if let Decision::Refuse(refusal) = decision {
            self.refusals[*refusal as usize].fetch_add(1, Relaxed);
        }
        if outcome == DecisionKind::AdmittedDespite {
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
    pub fn requests(&self, stage: Stage, outcome: DecisionKind) -> u64 {
        let stage = Stage::ALL.iter().position(|one| *one == stage).unwrap_or(0);
        self.requests[stage][outcome as usize].load(Relaxed)
    }

    /// The page as text; with what a stand-alone server has counted.
    pub fn text(&self, now: &Now, front: Option<Box<dyn Collector>>, format: Format) -> Result<String, fmt::Error> {
        let mut registry = Registry::with_prefix("zerottl_site");
        registry.register_collector(Box::new(self.read(now)));
        if let Some(front) = front {
            registry.register_collector(front);
        }
        let mut text = String::new();
        encode(&mut text, &registry)?;
        Ok(match format {
            Format::OpenMetrics => text,
            Format::Prometheus => to_prometheus(&text),
        })
    }

    fn read(&self, now: &Now) -> Source {
        let mut requests = Vec::new();
        for stage in Stage::ALL {
            for outcome in DecisionKind::ALL {
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
        }
    }
}

/// The stage that ended a request: what made it a redirect, where it is one.
#[must_use]
pub fn ended_by(stages: impl Iterator<Item = Stage>) -> Stage {
    stages.filter(|stage| *stage != Stage::Redirect).last().unwrap_or(Stage::Receive)
}

/// The figures that a page is written from.
#[derive(Debug)]
struct Source {
    requests: Vec<(Stage, DecisionKind, u64)>,
    refusals: [(&'static str, u64); Refusal::ALL.len()],
    /// Hop limit, deferrals, keys redeemed, full shares, malformed addresses.
    counts: [u64; 5],
    passed: [(&'static str, u64); 2],
    now: Now,
}

impl Collector for Source {
    fn encode(&self, mut encoder: DescriptorEncoder) -> fmt::Result {
        let (now, encoder) = (&self.now, &mut encoder);
        let requests = self.requests.iter().map(|(stage, outcome, count)| {
            ([stage.number().to_string(), outcome.name().to_owned()], ConstCounter::new(*count))
        });
        family(encoder, &REQUESTS, requests)?;
        let refusals = self.refusals.iter().map(|(why, count)| ([(*why).to_owned()], ConstCounter::new(*count)));
        family(encoder, &REQUESTS_REFUSED, refusals)?;
        let passed = self.passed.iter().map(|(what, count)| ([(*what).to_owned()], ConstCounter::new(*count)));
        family(encoder, &REQUESTS_PASSED, passed)?;
        let [hop_limit, deferrals, redeemed, shares_full, malformed] = self.counts;
        let counters = [
            (&HOP_LIMIT_ALARMS, hop_limit),
            (&DEFERRALS, deferrals),
            (&KEYS_REDEEMED, redeemed),
            (&CLIENT_SHARE_FULL, shares_full),
            (&FORWARDED_MALFORMED, malformed),
        ];
        for (metric, count) in counters {
            single(encoder, metric, &ConstCounter::new(count))?;
        }
        let gauges = [
            (&REQUESTS_IN_FLIGHT, now.in_flight),
            (&REQUESTS_BEYOND_SHARE, now.beyond_shares),
            (&BUSY, now.is_busy.into()),
            (&ACTIVE_SESSIONS, now.sessions),
            (&KEYS_DUE, now.keys_due.into()),
        ];
        for (metric, value) in gauges {
            single(encoder, metric, &number(value))?;
        }
        let peers = now.peers.iter().take(PEERS_MAX).map(|(name, is_up)| ([name.clone()], flag(*is_up)));
        family(encoder, &PEER_UP, peers)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(metrics: &Metrics, now: &Now, front: Option<Box<dyn Collector>>) -> String {
        metrics.text(now, front, Format::Prometheus).expect("text")
    }

    fn has(text: &str, line: &str) {
        assert!(text.lines().any(|one| one == line), "{line}\nis not in\n{text}");
    }

    #[test]
    fn stages_and_outcomes_are_counted_apart() {
        let metrics = Metrics::default();
        let receive = [Stage::Receive, Stage::OwnName];
        metrics.decided([Stage::Session].into_iter(), &Decision::Bypass);
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
}
