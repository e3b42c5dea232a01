//! Forward names and their upstreams, for the pages.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::text;
use zerottl_dns::forward::{lanes::Lanes, upstreams::Upstream};

/// One forward name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ForwardPage {
    /// The name.
    pub name: String,
    /// Who is asked for it, in the configuration's order; see [`UpstreamPage`].
    pub upstreams: Vec<String>,
    /// Queries that wait for them now.
    pub waiting: u64,
    /// Queries that got SERVFAIL because too many waited.
    pub refused: u64,
    /// Queries that got SERVFAIL because no upstream gave a useful answer.
    pub failed: u64,
}

/// A server that queries are forwarded to, for whatever names.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct UpstreamPage {
    /// Its address and port.
    pub upstream: String,
    /// Whether it is asked before others are. One that is down gets a copy of a query now and then.
    pub up: bool,
    /// How long it has been down, seconds.
    pub down_s: Option<u64>,
    /// Smoothed time that its answers take, microseconds.
    pub rtt_us: Option<u64>,
    /// Queries that wait for it now.
    pub waiting: u64,
    /// Queries sent to it.
    pub queries: u64,
    /// Answers, of whatever rcode.
    pub answers: u64,
    /// Queries that it left without an answer.
    pub unanswered: u64,
    /// Queries that this machine could not send, or looked for the answer of too late.
    pub not_tried: u64,
    /// Answers whose question was spelt in other letter case than the query's.
    pub respelt: u64,
    /// Datagrams that were not the answer: wrong ID, question or sender.
    pub wrong: u64,
}

impl ForwardPage {
    /// All of them, in the configuration's order.
    #[must_use]
    pub fn all(lanes: &Lanes) -> Vec<Self> {
        let page = |lane: &zerottl_dns::forward::lanes::Lane| Self {
            name: lane.name.to_string(),
            upstreams: lane.upstreams.iter().map(|upstream| upstream.address.to_string()).collect(),
            waiting: lane.waiting(),
            refused: lane.refused(),
            failed: lane.failed(),
        };
        lanes.iter().map(page).collect()
    }
}

impl UpstreamPage {
    /// All of them, each once.
    #[must_use]
    pub fn all(lanes: &Lanes) -> Vec<Self> {
        lanes.upstreams().iter().map(|upstream| Self::new(upstream)).collect()
    }

    fn new(upstream: &Upstream) -> Self {
        let seen = upstream.seen();
        Self {
            upstream: upstream.address.to_string(),
            up: seen.up,
            down_s: seen.down_for.map(|time| time.as_secs()),
            rtt_us: seen.rtt.map(|time| u64::try_from(time.as_micros()).unwrap_or(u64::MAX)),
            waiting: seen.waiting,
            queries: seen.queries,
            answers: seen.answers,
            unanswered: seen.unanswered,
            not_tried: seen.not_tried,
            respelt: seen.respelt,
            wrong: seen.wrong,
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "microseconds and seconds, far below 2^52")]
    fn row(&self, forward: &str) -> Vec<String> {
        let state = match self.down_s {
            Some(down) if !self.up => format!("DOWN for {}", text::age(down as f64)),
            _ => "up".into(),
        };
        vec![
            forward.to_owned(),
            self.upstream.clone(),
            state,
            self.rtt_us.map_or("-".into(), |rtt| format!("{:.1}ms", rtt as f64 / 1e3)),
            self.waiting.to_string(),
            self.queries.to_string(),
            self.unanswered.to_string(),
        ]
    }
}

/// Both for a terminal; empty where nothing is forwarded.
#[must_use]
pub fn to_text(forwards: &[ForwardPage], upstreams: &[UpstreamPage]) -> String {
    let rows = forwards.iter().flat_map(|forward| {
        let pages = forward.upstreams.iter().filter_map(|at| upstreams.iter().find(|page| page.upstream == *at));
        // The name stands on the first of its rows.
        pages.enumerate().map(|(index, page)| page.row(if index == 0 { &forward.name } else { "" }))
    });
    let rows: Vec<_> = rows.collect();
    if rows.is_empty() {
        return String::new();
    }
    let header = ["FORWARD", "UPSTREAM", "STATE", "TAKES", "WAITING", "QUERIES", "UNANSWERED"];
    let mut page = text::table(&header, &rows);
    for forward in forwards.iter().filter(|forward| forward.refused > 0 || forward.failed > 0) {
        page.push_str(&text::printable(&format!(
            "{}: {} queries got SERVFAIL for want of an answer, {} because too many waited",
            forward.name, forward.failed, forward.refused
        )));
        page.push('\n');
    }
    page
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_names_what_is_down() {
        let upstream = |at: &str, down_s: Option<_>| UpstreamPage {
            upstream: at.into(),
            up: down_s.is_none(),
            down_s,
            rtt_us: Some(1_240),
            queries: 7,
            ..UpstreamPage::default()
        };
        let upstreams = [upstream("192.0.2.53:53", Some(125)), upstream("[2001:db8::53]:53", None)];
        let forward = ForwardPage {
            name: "corp.example".into(),
            upstreams: upstreams.iter().map(|upstream| upstream.upstream.clone()).collect(),
            failed: 2,
            ..ForwardPage::default()
        };
        assert_eq!(
            to_text(&[forward], &upstreams),
            "FORWARD       UPSTREAM           STATE        TAKES  WAITING  QUERIES  UNANSWERED\n\
             corp.example  192.0.2.53:53      DOWN for 2m  1.2ms  0        7        0\n              \
             [2001:db8::53]:53  up           1.2ms  0        7        0\n\
             corp.example: 2 queries got SERVFAIL for want of an answer, 0 because too many waited\n"
        );
        assert_eq!(to_text(&[], &upstreams), "");
    }
}
