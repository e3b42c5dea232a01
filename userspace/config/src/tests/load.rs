//! `load` of a Site and the knobs of a pool.

use std::time::Duration;

use super::*;
use zerottl_core::model::{LoadKind, Policy, Poll, Steering, WhenStale};

/// The configuration with lines at the end of boston's section.
fn with(load: &str) -> String {
    changed("weight = 2", &format!("weight = 2\n{load}"))
}

fn source(load: &str) -> zerottl_core::model::LoadSource {
    let loaded = parse("f", &with(load), &examples()).map_err(|error| error.plain()).expect("valid");
    let boston = loaded.model.sites.iter().find(|site| site.key == "boston").expect("boston").clone();
    boston.load.expect("a load")
}

#[test]
fn kinds_and_defaults() {
    let http = source(r#"load = { kind = "http" }"#);
    let LoadKind::Http(poll, get) = &http.kind else { panic!("{http:?}") };
    let (interval, timeout) = (Duration::from_secs(1), Duration::from_millis(500));
    assert_eq!(*poll, Poll { port: 80, interval, timeout });
    assert_eq!((get.path.as_str(), get.host.as_str(), get.tls.is_none()), ("/load", "boston.app.com", true));
    assert_eq!((http.stale_after, http.when_stale), (Duration::from_secs(10), WhenStale::Hold));
    assert_eq!((http.per_answer, http.target, http.capacity), (None, None, None));
    let https = source(r#"load = { kind = "https", host = "h", interval = "10s", timeout = "2s", verify = false }"#);
    let LoadKind::Http(poll, get) = &https.kind else { panic!("{https:?}") };
    assert_eq!((poll.port, get.tls.as_ref().map(|tls| tls.verify)), (443, Some(false)));
    assert_eq!(https.stale_after, Duration::from_secs(36), "three intervals and timeouts");
    let check = source(r#"load = { kind = "agent-check", port = 9999, when_stale = "drain", stale_after = "2s" }"#);
    assert!(matches!(check.kind, LoadKind::AgentCheck(Poll { port: 9999, .. })));
    assert_eq!((check.when_stale, check.stale_after), (WhenStale::Drain, Duration::from_secs(2)));
    let header = source(r#"load = { kind = "probe-header", target = 0.7, when_stale = "equal" }"#);
    assert!(matches!(header.kind, LoadKind::ProbeHeader));
    assert_eq!((header.target, header.capacity, header.when_stale), (Some(0.7), Some(1.0), WhenStale::Equal));
    let push = source(r#"load = { kind = "push", target = 8, capacity = 10, load_per_answer = 0.5 }"#);
    assert!(matches!(push.kind, LoadKind::Push));
    assert_eq!((push.target, push.capacity, push.per_answer), (Some(8.0), Some(10.0), Some(0.5)));
}

#[test]
fn pools() {
    let steering = |lines: &str| {
        let loaded = parse("f", &changed("ttl = 0", lines), &examples()).map_err(|error| error.plain()).expect("valid");
        (loaded.model.pools[0].policy, loaded.model.pools[0].steering)
    };
    assert_eq!(steering("ttl = 0").1, Steering::default());
    let all = "policy = \"least-load\"\nlow_watermark = 0.4\nhigh_watermark = 0.9\nmax_step = 0.5\ntrickle = 0.1\n\
               slow_start = \"30s\"\nbalance_factor = 1.25";
    let expect = Steering {
        low_watermark: 0.4,
        high_watermark: 0.9,
        max_step: 0.5,
        trickle: 0.1,
        slow_start: Duration::from_secs(30),
        balance_factor: 1.25,
    };
    assert_eq!(steering(all), (Policy::LeastLoad, expect));
}

/// Lines for boston, and what they are refused with, without the place.
#[track_caller]
fn refused_whole(load: &str, expect: &[&str]) {
    let said = lines(&with(load));
    let said: Vec<&str> = said.iter().map(|line| line.splitn(4, ':').last().unwrap_or_default().trim()).collect();
    assert_eq!(said, expect);
}

#[test]
fn messages() {
    let at = "error: [site.boston.load]:";
    let refused = |load: &str, expect: &[&str]| {
        let expect: Vec<String> = expect.iter().map(|line| format!("{at} {line}")).collect();
        refused_whole(load, &expect.iter().map(String::as_str).collect::<Vec<_>>());
    };
    let missing =
        |load: &str, expect: &str| refused_whole(load, &[&format!("error: [site.boston.load] has no {expect}")]);
    missing("load = { port = 1 }", "`kind` (add `kind = \"http\"`)");
    missing(r#"load = { kind = "agent-check" }"#, "`port` (add `port = 9999`)");
    refused(
        r#"load = { kind = "agent" }"#,
        &["`agent` is not a value of `kind` (kind is one of http, https, agent-check, probe-header, push)"],
    );
    refused(
        r#"load = { kind = "http", timeout = "2s" }"#,
        &["`interval` 1s is below `timeout` 2s (give a timeout of at most 1s, or a longer interval)"],
    );
    refused(
        r#"load = { kind = "http", stale_after = "1s" }"#,
        &["`stale_after` 1s is shorter than one interval and one timeout (give at least 1500ms, or ask more often)"],
    );
    refused(
        r#"load = { kind = "push", stale_after = "25h" }"#,
        &["`stale_after` is 25h, out of range (give \"200ms\" to \"24h\", with the unit ms, s, m or h)"],
    );
    refused(
        r#"load = { kind = "push", when_stale = "hold", target = 3, capacity = 2 }"#,
        &["`target` 3 is above `capacity` 2 (give a target of at most the capacity)"],
    );
    refused(
        r#"load = { kind = "push", capacity = 0 }"#,
        &["`capacity` is 0, out of range (give 0.000001 to 1000000000000000, in the unit of the Site's reports)"],
    );
    refused(
        r#"load = { kind = "push", load_per_answer = nan }"#,
        &[
            "`load_per_answer` is NaN, out of range (give 0 to 1000000000000000, in the unit of the Site's reports; it is learned unless given)",
        ],
    );
    refused(
        r#"load = { kind = "push", port = 1, path = "/" }"#,
        &["`port` means nothing to kind push (take it out)", "`path` means nothing to kind push (take it out)"],
    );
    refused(
        r#"load = { kind = "agent-check", port = 1, capacity = 1, verify = true }"#,
        &[
            "`capacity` means nothing to kind agent-check (take it out)",
            "`verify` means nothing to kind agent-check (take it out)",
        ],
    );
}

/// A header needs a response.
#[test]
fn a_header_needs_an_http_probe() {
    let text = with("load = { kind = \"probe-header\" }").replace("kind = \"http\"", "kind = \"tcp\"");
    let said = lines(&text).join("\n");
    assert!(
        said.contains("[site.boston.load]: the Site's probe has no response whose header could say its load"),
        "{said}"
    );
}

#[test]
fn pool_messages() {
    let check = |line: &str, expect: &str| {
        let said = lines(&changed("ttl = 0", line)).join("\n");
        assert!(said.contains(&format!("error: [pool.\"app.com\"]: {expect}")), "{said}");
    };
    check(
        "max_step = 2",
        "`max_step` is 2, out of range (give 0 to 1, the part of its way that a share goes in a second; 0 is immediately)",
    );
    check("trickle = -1", "`trickle` is -1, out of range (give 0 to 1, what a full Site gets of its weight's share)");
    check(
        "low_watermark = 0.0",
        "`low_watermark` is 0, out of range (give 0.01 to 1, the part of its target up to which a Site is free)",
    );
    check(
        "high_watermark = 1.5",
        "`high_watermark` is 1.5, out of range (give 0.01 to 1, the part of its capacity from which a Site is full)",
    );
    check(
        "high_watermark = 0.5",
        "`low_watermark` 0.5 is not below `high_watermark` 0.5 (leave room between the two: shares fall from the one to the other)",
    );
    check(
        "slow_start = \"2h\"",
        "`slow_start` is 2h, out of range (give \"0s\" to \"1h\", with the unit ms, s, m or h)",
    );
    check(
        "balance_factor = 0.5",
        "`balance_factor` is 0.5, out of range (give 1 to 10, times the mean utilisation, or 0 for off)",
    );
}
