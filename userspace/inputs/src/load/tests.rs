//! Load: reading what Sites say, and keeping it.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{report::FIGURE_MAX, *};
use zerottl_config as config;
use zerottl_core::{
    model::{Model, SiteId},
    site_load::{ReportedCondition, SiteLoad},
    status::{AdminState, Load},
};

fn words_are(line: &str, expect: Result<Report, &str>) {
    let read = agent_check::line(line.as_bytes()).map_err(|error| error.to_string());
    assert_eq!(read, expect.map_err(ToOwned::to_owned), "{line:?}");
}

/// Every word of the grammar, alone and together; a body of `0` or `0%` is no new clients.
#[test]
fn agent_check_words() {
    let silent = Report::default();
    let factor = |factor| Ok(Report { factor: Some(factor), ..silent.clone() });
    let word = |word| Ok(Report { admin_state: Some(word), ..silent.clone() });
    let condition = |condition| Ok(Report { condition: Some(condition), ..silent.clone() });
    words_are("75%\n", factor(0.75));
    words_are("75", factor(0.75));
    words_are("0\r\n", factor(0.0));
    words_are("0%", factor(0.0));
    words_are("1000%", factor(10.0));
    words_are("ready", word(AdminState::Ready));
    words_are("DRAIN", word(AdminState::Drain));
    words_are("maint", word(AdminState::Maint));
    words_are("up", condition(ReportedCondition::Up));
    for down in [ReportedCondition::Down, ReportedCondition::Fail, ReportedCondition::Stopped] {
        words_are(down.as_str(), condition(down));
    }
    words_are("maxconn:30", Ok(Report { maxconn: Some(30), ..silent.clone() }));
    let note = Some("all is well 20% drain".into());
    let together =
        Report { factor: Some(0.5), condition: Some(ReportedCondition::Up), maxconn: Some(7), note, ..silent.clone() };
    words_are("  up,50%\tmaxconn:7 # all is well 20% drain\nmaint", Ok(together));
    // HAProxy: the last word of a kind counts.
    words_are("ready drain", word(AdminState::Drain));
    words_are("drain ready", word(AdminState::Ready));
    // HAProxy: a word that is not known is shown, and the others count.
    let slip = Some("\"upp\" is no word of the agent check".into());
    words_are("drain upp", Ok(Report { admin_state: Some(AdminState::Drain), slip, ..silent }));
}

/// Lines one after another, and what they have come to: `-` is nothing.
fn sequence_is(lines: &[&str], expect: &str) {
    let model = model();
    let (store, now) = (LoadStore::new(&model), Instant::now());
    for line in lines {
        store.report(SiteId(1), now, body::read(line.as_bytes()));
    }
    let entry = store.read().remove(1);
    let says = entry.self_report().unwrap_or_else(|| "-".into());
    assert_eq!(format!("{says}: {}", entry.state_in_force().as_str()), expect, "{lines:?}");
}

/// Three things are said, each of which stays until it is said otherwise; so it is in `HAProxy` 2.6, beside which
/// `tests/tests/agent/haproxy.rs` holds this.
#[test]
fn each_word_replaces_its_own_kind_alone() {
    for (lines, expect) in [
        (&["drain", "up"][..], "drain: drain"),
        (&["drain", "up 50%"], "drain, 50%: drain"),
        (&["drain", "50%"], "drain, 50%: drain"),
        (&["drain", "ready"], "-: ready"),
        (&["drain", "maint"], "maint: maint"),
        (&["maint", "drain"], "drain: drain"),
        (&["maint", "up"], "maint: maint"),
        (&["maint", "ready"], "-: ready"),
        (&["down", "ready"], "down: maint"),
        (&["stopped # for the night", "ready"], "stopped: maint"),
        (&["fail", "75%"], "fail, 75%: maint"),
        (&["fail # disk full", "75%"], "fail, 75% (disk full): maint"),
        (&["down", "up"], "-: ready"),
        (&["down", "drain", "up"], "drain: drain"),
        (&["down", "drain", "ready"], "down: maint"),
        (&["down # db", "stopped # night"], "stopped (night): maint"),
        (&["0%", "up"], "0%: ready"),
        (&["0%", "ready"], "0%: ready"),
        (&["0% # full", "100%"], "-: ready"),
        (&["drain", "maxconn:9"], "drain: drain"),
        (&["drain", "nonsense"], "drain: drain"),
        (&["drain nonsense", "down upp"], "drain, down: maint"),
    ] {
        sequence_is(lines, expect);
    }
}

/// A body that is figures takes back what bodies of words said before, as from a Site that drained itself with one line
/// and reports its load again.
#[test]
fn figures_end_words_of_the_same_source() {
    let figures = r#"{"current": 5, "capacity": 9}"#;
    for word in ["drain", "0", "0%", "maint", "stopped # night", "drain 20%"] {
        sequence_is(&[figures, word, figures], "-: ready");
        sequence_is(&[word, figures, figures], "-: ready");
    }
    sequence_is(&[figures, "drain"], "drain: drain");
    // A cache, or a Site that has frozen: the report from before the word, once more.
    let (first, second) = (r#"{"current": 5, "capacity": 9, "at": 7}"#, r#"{"current": 5, "capacity": 9, "at": 8}"#);
    sequence_is(&[first, "drain", first], "drain: drain");
    sequence_is(&[first, "drain", first, second], "-: ready");
}

#[test]
fn agent_check_faults() {
    words_are("", Err("an agent-check line without a word"));
    words_are("# 75%", Err("an agent-check line without a word"));
    words_are("75%%", Err("\"75%%\" is no percentage of 0 to 1000"));
    words_are("1001%", Err("\"1001%\" is no percentage of 0 to 1000"));
    words_are("99999999999999999999%", Err("\"99999999999999999999%\" is no percentage of 0 to 1000"));
    words_are("-5%", Err("\"-5%\" is no word of the agent check"));
    words_are("maxconn:", Err("\"maxconn:\" is no word of the agent check"));
    words_are("maxconn:+3", Err("\"maxconn:+3\" is no word of the agent check"));
    words_are("upp", Err("\"upp\" is no word of the agent check"));
    let long = "up ".repeat(400);
    words_are("upp,#up", Err("\"upp\" is no word of the agent check"));
    words_are(&long, Err("an agent-check line of more than 1024 bytes"));
    assert_eq!(agent_check::line(b"\xff").unwrap_err().to_string(), "an agent-check line that is not UTF-8");
}

/// The JSON form; and a body is of either form.
#[test]
fn json_reports() {
    let text = br#" { "current": 412, "target": 800, "capacity": 1000, "sessions": 390, "at": 1.5, "other": [] }"#;
    let all = Report {
        current: Some(412.0),
        target: Some(800.0),
        capacity: Some(1000.0),
        sessions: Some(390.0),
        at: Some(1.5),
        ..Report::default()
    };
    assert_eq!(body::read(text), Ok(all));
    assert_eq!(body::read(b"0"), Ok(Report { factor: Some(0.0), ..Report::default() }), "no new clients");
    let why = |text: &str| body::read(text.as_bytes()).unwrap_err().to_string();
    assert_eq!(why(r#"{"capacity": 3}"#), "not a load report: missing field `current` at line 1 column 15");
    assert_eq!(why(r#"{"current": -1}"#), format!("`current` is -1: it must be 0 to {FIGURE_MAX}"));
    assert_eq!(
        why(r#"{"current": 1, "capacity": 0}"#),
        format!("`capacity` is 0: it must be 0.000001 to {FIGURE_MAX}")
    );
    assert!(why(r#"{"current": 1e400}"#).starts_with("not a load report"));
    assert!(why(&format!("{{\"current\": {}1}}", "[".repeat(9000))).starts_with("not a load report"));
    assert_eq!(why(&" ".repeat(20_000)), "a report of more than 16384 bytes");
}

#[test]
fn orca_headers() {
    let current = |text: &str| orca::header(text.as_bytes()).map(|report| report.current).map_err(|e| e.to_string());
    assert_eq!(current("TEXT cpu_utilization=0.3, application_utilization=1.25,named_metrics.q=x"), Ok(Some(1.25)));
    assert_eq!(current("TEXT cpu_utilization=0.3,application_utilization=0"), Ok(Some(0.3)));
    assert_eq!(current(r#"JSON {"cpu_utilization": 0.3, "rps_fractional": 9}"#), Ok(Some(0.3)));
    assert_eq!(current("TEXT cpu_utilization=0"), Ok(Some(0.0)));
    let why = |text: &str| current(text).unwrap_err();
    assert_eq!(why("BIN CZqZ"), "endpoint-load-metrics is \"BIN\": only its forms TEXT and JSON are read");
    assert_eq!(why(""), "endpoint-load-metrics is \"\": only its forms TEXT and JSON are read");
    let none = "endpoint-load-metrics has none of application_utilization, cpu_utilization, mem_utilization";
    assert_eq!(why("TEXT eps=3"), none);
    assert_eq!(why("TEXT cpu_utilization"), "endpoint-load-metrics: \"cpu_utilization\" is no key=value");
    assert_eq!(why("TEXT cpu_utilization=high"), "endpoint-load-metrics: \"high\" is no number");
    assert!(why("TEXT cpu_utilization=NaN").ends_with("cpu_utilization is NaN: it must be 0 or more"));
    assert!(why("TEXT cpu_utilization=-1").ends_with("cpu_utilization is -1: it must be 0 or more"));
    assert!(why("JSON {").starts_with("endpoint-load-metrics: EOF"));
}

/// boston's load is pushed, chicago's fetched.
fn model() -> Arc<Model> {
    let text = r#"
[front]
interfaces = ["eth0"]
addresses = ["203.0.113.53"]
[zone."app.com"]
nameservers = ["ns1.app.com"]
contact = "h@app.com"
[pool."app.com"]
sites = ["boston", "chicago"]
[site.boston]
name = "boston.app.com"
addresses = ["192.0.2.1"]
load = { kind = "push", stale_after = "10s" }
[site.chicago]
name = "chicago.app.com"
addresses = ["192.0.2.2"]
load = { kind = "agent-check", port = 9 }
"#;
    let loaded = config::parse("test", text, Path::new("")).map_err(|error| error.plain()).unwrap();
    Arc::new(loaded.model)
}

#[test]
fn pushes_are_taken_whole_or_not_at_all() {
    let model = model();
    let store = LoadStore::new(&model);
    let now = Instant::now();
    let push = |text: &str| push::push(&store, &model, now, text.as_bytes()).map_err(|error| error.to_string());
    assert_eq!(push(r#"{"site": "boston", "current": 1, "capacity": 4}"#), Ok(1));
    assert_eq!(store.read()[0].load, Some(Load { current: 1.0, target: 4.0, capacity: 4.0 }));
    let two = r#"[{"site": "boston", "current": 2, "capacity": 4}, {"site": "berlin", "current": 1}]"#;
    assert_eq!(push(two), Err("there is no Site \"berlin\"".into()));
    assert_eq!(store.read()[0].reports, 1, "nothing of it was taken");
    let chicago = r#"{"site": "chicago", "current": 1}"#;
    assert_eq!(push(chicago), Err("Site `chicago` has no `load = { kind = \"push\" }`".into()));
    let boundless = r#"[{"site": "boston", "current": 2}]"#;
    let why = "Site `boston`: the report names no `capacity`, and neither does the Site's `load`";
    assert_eq!(push(boundless), Err(why.into()));
    let above = r#"{"site": "boston", "current": 2, "target": 5, "capacity": 4}"#;
    assert_eq!(push(above), Err("Site `boston`: `target` 5 is above `capacity` 4".into()));
    assert!(push("drain").unwrap_err().starts_with("not a load report with its site, nor a list of them: "));
    let many = format!("[{}]", vec![r#"{"site":"boston","current":2,"capacity":4}"#; 10_001].join(","));
    assert_eq!(push(&many), Err("more than 10000 reports".into()));
}

/// A report with the same `at` is the same report, an earlier one has been overtaken; until what is there is stale.
#[test]
fn repeated_reports_make_nothing_younger() {
    let model = model();
    let (store, begin) = (LoadStore::new(&model), Instant::now());
    let at = |seconds: u64| begin + Duration::from_secs(seconds);
    let say = |now, at_s: f64, current: f64| {
        let report = Report { current: Some(current), capacity: Some(9.0), at: Some(at_s), ..Report::default() };
        store.report(SiteId(0), now, Ok(report));
        let entry = store.read().remove(0);
        (entry.news, entry.received, entry.load.map(|load| load.current))
    };
    assert_eq!(say(at(0), 100.0, 1.0), (1, Some(at(0)), Some(1.0)));
    assert_eq!(say(at(1), 100.0, 2.0), (1, Some(at(0)), Some(1.0)), "the same again");
    assert_eq!(say(at(2), 99.0, 3.0), (1, Some(at(0)), Some(1.0)), "overtaken");
    assert_eq!(say(at(3), 101.0, 4.0), (2, Some(at(3)), Some(4.0)));
    assert_eq!(say(at(14), 101.0, 5.0), (2, Some(at(3)), Some(4.0)), "frozen figures stay stale");
    assert_eq!(say(at(15), 50.0, 6.0), (3, Some(at(15)), Some(6.0)), "the Site's clock was set back");
}

/// A value that a report leaves out stays; a failure keeps what is known and says why.
#[test]
fn what_is_not_said_stays() {
    let model = model();
    let (store, now) = (LoadStore::new(&model), Instant::now());
    let say = |line: &str| store.report(SiteId(1), now, agent_check::line(line.as_bytes()));
    say("drain 50%");
    say("maxconn:5");
    let entry = store.read().remove(1);
    assert_eq!((entry.admin_state, entry.factor, entry.maxconn), (AdminState::Drain, Some(0.5), Some(5)));
    say("nonsense");
    say("ready");
    let entry = store.read().remove(1);
    assert_eq!((entry.admin_state, entry.factor, entry.reports, entry.failures), (AdminState::Ready, Some(0.5), 3, 1));
    assert_eq!(entry.error, None);
}

/// A new configuration keeps what is known of the Sites that it has too.
#[test]
fn the_board_is_carried_over_by_key() {
    let old = model();
    let (store, now) = (LoadStore::new(&old), Instant::now());
    store.report(SiteId(1), now, agent_check::line(b"30%"));
    let mut new = (*old).clone();
    new.sites.swap(0, 1);
    let carried = store.carry_over(&Arc::new(new));
    assert_eq!(carried.read()[0].factor, Some(0.3));
    assert_eq!(carried.read()[1], SiteLoad::default());
}
