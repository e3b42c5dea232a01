//! Forward names and their upstreams, for the pages.

use super::text;
use crate::observe::counters::{ForwardCounts, UpstreamCounts};

#[expect(clippy::cast_precision_loss, reason = "microseconds and seconds, far below 2^52")]
fn row(upstream: &UpstreamCounts, forward: &str) -> Vec<String> {
    let state = match upstream.down_s {
        Some(down) if !upstream.up => format!("DOWN for {}", text::age(down as f64)),
        _ => "up".into(),
    };
    vec![
        forward.to_owned(),
        upstream.upstream.clone(),
        state,
        upstream.rtt_us.map_or("-".into(), |rtt| format!("{:.1}ms", rtt as f64 / 1e3)),
        upstream.waiting.to_string(),
        upstream.queries.to_string(),
        upstream.unanswered.to_string(),
    ]
}

/// Both for a terminal; empty where nothing is forwarded.
#[must_use]
pub fn to_text(forwards: &[ForwardCounts], upstreams: &[UpstreamCounts]) -> String {
    let rows = forwards.iter().flat_map(|forward| {
        let pages = forward.upstreams.iter().filter_map(|at| upstreams.iter().find(|page| page.upstream == *at));
        // The name stands on the first of its rows.
        pages.enumerate().map(|(index, page)| row(page, if index == 0 { &forward.name } else { "" }))
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
        let upstream = |at: &str, down_s: Option<_>| UpstreamCounts {
            upstream: at.into(),
            up: down_s.is_none(),
            down_s,
            rtt_us: Some(1_240),
            queries: 7,
            ..UpstreamCounts::default()
        };
        let upstreams = [upstream("192.0.2.53:53", Some(125)), upstream("[2001:db8::53]:53", None)];
        let forward = ForwardCounts {
            name: "corp.example".into(),
            upstreams: upstreams.iter().map(|upstream| upstream.upstream.clone()).collect(),
            failed: 2,
            ..ForwardCounts::default()
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
