//! The pages as pure functions of a snapshot.

use std::{net::IpAddr, sync::Arc, time::Duration};

use super::fixture::{model, name, set, snapshot, table};
use crate::{
    admin::{
        explain::explain,
        explanation::{Explanation, FamilyExplanation, SiteVerdict},
        metrics,
        status::StatusPage,
    },
    observe::{
        counters::{ForwardCounts, UpstreamCounts},
        snapshot::Snapshot,
    },
};
use zerottl_core::exposition::Format;
use zerottl_core::{
    model::{
        AllDown, DynamicName, Group, GroupId, Https, LoadKind, LoadSource, Model, NameKind, Policy, PoolId, SiteId,
        WhenStale, ZoneId,
    },
    nets::{Nets, Rule, Source},
    plan::{Basis, Choice, PlannedAnswer, Planner},
    site_load::{ReportedCondition, SiteLoad},
    status::{AdminState, Health, SelfReport},
};
use zerottl_dns::view::View;

const V4: &str = "0.0.0.0";
const V6: &str = "::";

/// The plan of a moment when all Sites are up: `app.com`, then `boston`, `chicago` and `geneva.app.com`.
fn all_up(model: &Model) -> Vec<[Choice; 2]> {
    vec![
        [table(model, V4, &["boston", "chicago", "boston", "geneva"]), table(model, V6, &["boston"])],
        [table(model, V4, &["boston"]), table(model, V6, &["boston"])],
        [table(model, V4, &["chicago"]), Choice::NoData],
        [table(model, V4, &["geneva"]), Choice::NoData],
    ]
}

pub(super) fn healthy() -> Snapshot {
    let model = model();
    let choices = all_up(&model);
    let mut snapshot = snapshot(model, choices);
    for key in ["boston", "chicago", "geneva"] {
        set(&mut snapshot, key, Health::Up, None);
    }
    snapshot
}

fn explained(snapshot: &Snapshot, name: &str) -> Explanation {
    explain(snapshot, name, None, |_, _, _| panic!("only sticky names with a client are picked")).expect("a DNS name")
}

/// The rows of a family as `site yes|no share why`.
fn rows(family: &FamilyExplanation) -> Vec<String> {
    let row = |site: &SiteVerdict| {
        format!("{} {} {} {}", site.site, if site.eligible { "yes" } else { "no" }, site.share, site.why)
    };
    family.sites.iter().map(row).collect()
}

#[test]
fn explain_pool_name_by_family() {
    let page = explained(&healthy(), "APP.com.");
    assert_eq!((page.name.as_str(), page.kind.as_str(), page.zone.as_deref()), ("app.com", "pool", Some("app.com")));
    assert_eq!(page.policy.as_deref(), Some("weighted-round-robin"));
    let [a, aaaa] = &page.families[..] else { panic!("two families: {page:?}") };
    assert_eq!(a.answer, "one of 3 addresses, in turn");
    assert_eq!(
        rows(a),
        [
            "boston yes 0.5 192.0.2.10 up for 12s",
            "chicago yes 0.25 192.0.2.20 up for 12s",
            "geneva yes 0.25 192.0.2.30 up for 12s"
        ]
    );
    assert_eq!(aaaa.answer, "2001:db8:1::10 (boston)");
    assert_eq!(
        rows(aaaa),
        [
            "boston yes 1 2001:db8:1::10 up for 12s",
            "chicago no 0 has no AAAA address",
            "geneva no 0 has no AAAA address"
        ]
    );
    assert_eq!((&a.note, &aaaa.note), (&None, &None));
}

#[test]
fn explain_says_why_a_site_is_out_and_what_unknown_counts_as() {
    let model = model();
    let mut choices = all_up(&model);
    choices[0][0] = table(&model, V4, &["chicago", "geneva"]);
    let mut snapshot = snapshot(model, choices);
    set(&mut snapshot, "boston", Health::Down, Some("connect: connection refused"));
    set(&mut snapshot, "chicago", Health::Up, Some("status 503, expected 200"));
    assert_eq!(
        rows(&explained(&snapshot, "app.com").families[0]),
        [
            "boston no 0 192.0.2.10 down for 12s (connect: connection refused)",
            "chicago yes 0.5 192.0.2.20 up for 12s (status 503, expected 200)",
            "geneva yes 0.5 192.0.2.30 has no verdict yet and counts as up"
        ]
    );
}

/// S4-3B-380 as the operator sees it.
#[test]
fn explain_site_name_along_its_failover_order() {
    let model = model();
    let mut choices = all_up(&model);
    choices[1] = [table(&model, V4, &["chicago"]), Choice::NoData];
    let mut snapshot = snapshot(model, choices);
    set(&mut snapshot, "boston", Health::Down, Some("timeout after 500ms connecting"));
    set(&mut snapshot, "chicago", Health::Up, None);
    set(&mut snapshot, "geneva", Health::Up, None);
    let page = explained(&snapshot, "boston.app.com");
    assert_eq!(page.policy.as_deref(), Some("failover"));
    let [a, aaaa] = &page.families[..] else { panic!("two families: {page:?}") };
    assert_eq!(a.answer, "192.0.2.20 (chicago)");
    assert_eq!(
        rows(a),
        [
            "boston no 0 192.0.2.10 down for 12s (timeout after 500ms connecting); \
             2001:db8:1::10 down for 12s (timeout after 500ms connecting)",
            "chicago yes 1 the first in the failover order that is up; 192.0.2.20 up for 12s",
            "geneva yes 0 up, but chicago comes first"
        ]
    );
    assert_eq!((aaaa.answer.as_str(), &aaaa.note), ("NODATA", &None));
    assert!(rows(aaaa)[1].ends_with("has no AAAA address"), "{aaaa:?}");
}

/// Checks what stands above a table that health alone does not explain.
#[track_caller]
fn check_note(name: &str, change: impl FnOnce(&mut Model, &mut Vec<[Choice; 2]>), up: &[&str], expect: Option<&str>) {
    let mut model = model();
    let mut choices = all_up(&model);
    change(&mut model, &mut choices);
    let mut snapshot = snapshot(model, choices);
    for key in ["boston", "chicago", "geneva"] {
        set(&mut snapshot, key, if up.contains(&key) { Health::Up } else { Health::Down }, None);
    }
    assert_eq!(explained(&snapshot, name).families[0].note.as_deref(), expect, "{name}, up: {up:?}");
}

#[test]
fn explain_notes_what_health_alone_does_not_explain() {
    let fail_open = Some("no Site is up: answered as if all were (all_down = \"fail-open\")");
    let servfail = Some("no Site is up, and all_down = \"servfail\"");
    let stale = Some("the plan was made before the newest change of health");
    let all = ["boston", "chicago", "geneva"];
    check_note("app.com", |_, _| (), &all, None);
    check_note("app.com", |_, _| (), &[], fail_open);
    check_note("boston.app.com", |_, _| (), &[], fail_open);
    let servfails = |model: &mut Model, choices: &mut Vec<[Choice; 2]>| {
        model.pools[0].all_down = AllDown::Servfail;
        choices[0] = [Choice::Servfail, Choice::Servfail];
    };
    check_note("app.com", servfails, &[], servfail);
    check_note("app.com", servfails, &["boston"], stale);
    check_note("app.com", |_, _| (), &["boston"], stale);
    check_note("boston.app.com", |_, _| (), &["chicago"], stale);
    check_note("boston.app.com", |_, _| (), &["boston"], None);
    let left_out = |model: &mut Model, choices: &mut Vec<[Choice; 2]>| {
        choices[0][0] = table(model, V4, &["boston", "geneva"]);
    };
    check_note("app.com", left_out, &all, stale);
    check_note("app.com", left_out, &["boston", "geneva"], None);
    let threshold = |model: &mut Model, _: &mut Vec<[Choice; 2]>| model.pools[0].up_threshold = 0.5;
    check_note(
        "app.com",
        threshold,
        &["chicago"],
        Some("too few Sites are up: answered as if all were (up_threshold = 0.5)"),
    );
    let last_resort = |model: &mut Model, choices: &mut Vec<[Choice; 2]>| {
        model.sites[0].failover = vec![SiteId(0)].into();
        choices[1][0] = table(model, V4, &["geneva"]);
    };
    check_note(
        "boston.app.com",
        last_resort,
        &["geneva"],
        Some("no Site of the failover order is up: any of the pool's that is (last_resort = \"pool\")"),
    );
}

#[test]
fn explain_names_that_no_plan_answers() {
    let mut model = model();
    model.names[1].served = false;
    model.zones[0].failover_nameservers = vec![name("fo1.app.com"), name("fo2.app.com")];
    let choices = all_up(&model);
    let snapshot = snapshot(model, choices);
    let check = |asked: &str, kind: &str, note: &str| {
        let page = explained(&snapshot, asked);
        assert_eq!((page.kind.as_str(), page.note.as_deref(), page.families.len()), (kind, Some(note), 0), "{asked}");
    };
    check(
        "boston.app.com",
        "site",
        "this machine does not have the role `failover`: a referral to fo1.app.com, fo2.app.com",
    );
    check("www.app.com", "static", "no Pool, Group or Site Name: answered from the zone's records");
    check("notapp.com", "outside", "in none of the zones served here: REFUSED");
    check(".", "outside", "in none of the zones served here: REFUSED");
    for bad in ["a..b", &"a".repeat(64), &"a.".repeat(128)] {
        let error = explain(&snapshot, bad, None, |_, _, _| PlannedAnswer::NoData).expect_err(bad);
        assert_eq!(error.to_string(), format!("`{bad}` is not a DNS name"));
    }
}

#[test]
fn explain_sticky_name_for_a_client() {
    let mut model = model();
    model.pools[0].policy = Policy::Sticky;
    let choices = all_up(&model);
    let snapshot = snapshot(model, choices);
    let client = "198.51.100.7".parse().expect("valid");
    let pick = |_, _, of| {
        assert_eq!(of, client);
        PlannedAnswer::Address("192.0.2.20".parse().expect("valid"), 0)
    };
    let page = explain(&snapshot, "app.com", Some(client), pick).expect("a DNS name");
    assert_eq!(page.families[0].answer, "192.0.2.20 (chicago), by the client's subnet");
    assert_eq!(page.families[0].sticky, Some("192.0.2.20".parse().expect("valid")));
    assert_eq!(page.families[1].answer, "2001:db8:1::10 (boston)");
    assert_eq!(explained(&snapshot, "app.com").families[0].answer, "one of 3 addresses, by the client's subnet");
}

/// `app.com` with the groups `north` (boston, 10/8), sticky, and `south` (chicago and geneva, 10.1/16), planned for what
/// is up.
fn with_nets(up: &[&str]) -> Snapshot {
    let mut model = model();
    let nets = [("north.app.com", vec![0], "10.0.0.0/8"), ("south.app.com", vec![1, 2], "10.1.0.0/16")];
    let mut rules = Vec::new();
    for (i, (group, sites, net)) in nets.into_iter().enumerate() {
        let (zone, pool, group_name) = (ZoneId(0), PoolId(0), name(group));
        let kind = NameKind::Group(GroupId(i));
        rules.push(Rule { pool, group: GroupId(i), net: net.parse().expect("a net"), source: Source::Written });
        model.names.push(DynamicName { name: group_name.clone(), zone, kind, served: true });
        let policy = if i == 1 { Policy::Sticky } else { Policy::WeightedRoundRobin };
        let sites = sites.into_iter().map(SiteId).collect();
        model.groups.push(Group { name: group_name, zone, pool, sites, policy });
    }
    model.nets = Arc::new(Nets::build(&rules).expect("few"));
    let choices = vec![[Choice::NoData, Choice::NoData]; model.names.len()];
    let mut snapshot = snapshot(model, choices);
    for key in ["boston", "chicago", "geneva"] {
        set(&mut snapshot, key, if up.contains(&key) { Health::Up } else { Health::Down }, None);
    }
    snapshot.plan = Arc::new(Planner::new(Arc::clone(&snapshot.model)).plan(&snapshot.status, 7));
    snapshot
}

fn explained_to(snapshot: &Snapshot, name: &str, client: &str) -> Explanation {
    let view = View::new(Arc::clone(&snapshot.model), (*snapshot.plan).clone());
    let pick = |name, family, client: IpAddr| view.pick(name, family, client.into()).pick;
    explain(snapshot, name, Some(client.parse().expect("an address")), pick).expect("a DNS name")
}

/// S4-4C as the operator sees it: whose nets the client is in, and that group's own table.
#[test]
fn s4_4c_explain_pool_name_by_client_nets() {
    let all = ["boston", "chicago", "geneva"];
    let snapshot = with_nets(&all);
    let check = |client: &str, group: Option<&str>, note: &str, policy: &str, sites: &[&str]| {
        let page = explained_to(&snapshot, "app.com", client);
        assert_eq!((page.group.as_deref(), page.note.as_deref()), (group, Some(note)), "{client}");
        assert_eq!(page.policy.as_deref(), Some(policy), "{client}");
        let shown: Vec<&str> = page.families[0].sites.iter().map(|site| site.site.as_str()).collect();
        let answered: Vec<&str> = page.families[0].addresses.iter().map(|address| address.site.as_str()).collect();
        assert_eq!((&shown[..], &answered[..]), (sites, sites), "{client}");
        assert_eq!(page.families[0].note, None, "{client}");
    };
    let north = "the client is in the nets of group north.app.com (its /15 decides)";
    check("10.2.0.1", Some("north.app.com"), north, "weighted-round-robin", &["boston"]);
    let south = "the client is in the nets of group south.app.com (its /16 decides)";
    check("10.1.0.1", Some("south.app.com"), south, "sticky", &["chicago", "geneva"]);
    let none = "the client is in no group's nets (its /1 decides): the whole pool";
    check("192.0.2.1", None, none, "weighted-round-robin", &all);
    let sticky = &explained_to(&snapshot, "app.com", "10.1.0.1").families[0];
    assert!(sticky.sticky.is_some() && sticky.answer.ends_with("by the client's subnet"), "{sticky:?}");
    // Names that nets do not choose for, and no client.
    assert_eq!(explained_to(&snapshot, "south.app.com", "10.2.0.1").note, None);
    assert_eq!(explained_to(&healthy(), "app.com", "10.2.0.1").note, None);
    let page = explained(&snapshot, "app.com");
    let listed = "for clients in no group's nets; these groups have client nets: north.app.com, south.app.com";
    assert_eq!((page.group, page.note.as_deref()), (None, Some(listed)));
    assert_eq!(rows(&page.families[0]).len(), 3);
}

/// S4-4C: a group that cannot say anything stands back for its pool, by family, and the page says so.
#[test]
fn s4_4c_explain_a_dead_group_s_clients() {
    let page = explained_to(&with_nets(&["chicago"]), "app.com", "10.2.0.1");
    assert_eq!(page.group.as_deref(), Some("north.app.com"));
    let [a, aaaa] = &page.families[..] else { panic!("two families: {page:?}") };
    let pool_s = "no Site of north.app.com has a live A address: all of the pool's Sites are considered";
    assert_eq!((a.answer.as_str(), a.note.as_deref()), ("192.0.2.20 (chicago)", Some(pool_s)));
    assert_eq!(rows(a).len(), 3);
    let open = "no Site of north.app.com has a live AAAA address: all of the pool's Sites are considered; \
                no Site is up: answered as if all were (all_down = \"fail-open\")";
    assert_eq!((aaaa.answer.as_str(), aaaa.note.as_deref()), ("2001:db8:1::10 (boston)", Some(open)));
    // South has no AAAA: the pool's, which is up.
    let page = explained_to(&with_nets(&["boston", "geneva"]), "app.com", "10.1.0.1");
    assert_eq!((page.families[0].answer.as_str(), &page.families[0].note), ("192.0.2.30 (geneva)", &None));
    assert_eq!(page.families[1].answer, "2001:db8:1::10 (boston)");
    // The plan is older than the status: the group was dead then.
    let mut snapshot = with_nets(&["chicago"]);
    set(&mut snapshot, "boston", Health::Up, None);
    let a = &explained_to(&snapshot, "app.com", "10.2.0.1").families[0];
    assert_eq!(a.note.as_deref(), Some("the plan was made before the newest change of health"));
    assert_eq!(rows(a)[1], "chicago yes 1 not in the group");
}

/// S4-3A-330: HTTPS records, as in a master file, with the shares of their Sites.
#[test]
fn explain_https() {
    let mut model = model();
    model.pools[0].https = Some(Https { alpn: vec!["h2".into()], port: Some(8443) });
    let choices = vec![[Choice::NoData, Choice::NoData]; model.names.len()];
    let mut snapshot = snapshot(model, choices);
    for key in ["boston", "chicago", "geneva"] {
        set(&mut snapshot, key, if key == "geneva" { Health::Down } else { Health::Up }, None);
    }
    snapshot.plan = Arc::new(Planner::new(Arc::clone(&snapshot.model)).plan(&snapshot.status, 7));
    let page = explained(&snapshot, "app.com");
    let text = page.to_text();
    let (_, https) = text.split_once("\nHTTPS: ").expect("HTTPS");
    let shown = "a Site's, chosen in the same way
RECORD                                                             SHARE
1 . alpn=h2 port=8443 ipv4hint=192.0.2.10 ipv6hint=2001:db8:1::10  65.6%
1 . alpn=h2 port=8443 ipv4hint=192.0.2.20                          34.4%
";
    assert_eq!(https, shown);
    assert_eq!(explained(&healthy(), "app.com").https, None, "only where it is configured");
}

#[test]
fn explain_text() {
    let page = explained(&healthy(), "app.com");
    assert_eq!(
        page.to_text(),
        "app.com: pool name in zone app.com, by weighted-round-robin

A: one of 3 addresses, in turn
SITE     ELIGIBLE  SHARE  WHY
boston   yes       50.0%  192.0.2.10 up for 12s
chicago  yes       25.0%  192.0.2.20 up for 12s
geneva   yes       25.0%  192.0.2.30 up for 12s

AAAA: 2001:db8:1::10 (boston)
SITE     ELIGIBLE  SHARE   WHY
boston   yes       100.0%  2001:db8:1::10 up for 12s
chicago  no        0.0%    has no AAAA address
geneva   no        0.0%    has no AAAA address
"
    );
}

#[test]
fn status_text() {
    let mut snapshot = healthy();
    set(&mut snapshot, "geneva", Health::Down, Some("status 503, expected 200"));
    assert_eq!(
        StatusPage::new(&snapshot).to_text(),
        concat!(
            "zerottl ",
            env!("CARGO_PKG_VERSION"),
            ", up 1m; plan 7, published 10s ago
answers on 203.0.113.53:53; roles: load-balance, failover
eth0: generic (the MTU is 9000)

SITE     STATE  WEIGHT  ADDRESS         HEALTH  SINCE  TRIED  LATENCY  ERROR
boston   up     2       192.0.2.10      up      12s    1s     1.5ms
                        2001:db8:1::10  up      12s    1s     1.5ms
chicago  up     1       192.0.2.20      up      12s    1s     1.5ms
geneva   DOWN   1       192.0.2.30      down    12s    1s     1.5ms    status 503, expected 200

NAME             KIND  BY                    A                                          AAAA
app.com          pool  weighted-round-robin  boston 50.0%, chicago 25.0%, geneva 25.0%  boston 100.0%
boston.app.com   site  failover              boston 100.0%                              boston 100.0%
chicago.app.com  site  failover              chicago 100.0%                             NODATA
geneva.app.com   site  failover              geneva 100.0%                              NODATA

REASON       ACTION  COUNT
answered     answer  5
udp-queries  socket  3
NOERROR      socket  2
dropped      socket  1
tcp-open     socket  4
"
        )
    );
}

#[test]
fn status_json_goes_there_and_back() {
    let page = StatusPage::new(&healthy());
    let json = serde_json::to_value(&page).expect("plain data");
    assert_eq!(json["sites"][0]["addresses"][1]["answer"], "2001:db8:1::10");
    assert_eq!(json["names"][0]["a"]["shares"]["boston"], 0.5);
    assert_eq!(json["reasons"]["answered"]["count"], 5);
    assert_eq!(serde_json::from_value::<StatusPage>(json).expect("its own form"), page);
}

/// Upstreams stand on the page, in the text and in the metrics, a dead one first of all that an operator looks for.
#[test]
fn upstreams_are_shown_everywhere() {
    let mut snapshot = healthy();
    let upstream = |at: &str, up| UpstreamCounts {
        upstream: at.into(),
        up,
        down_s: (!up).then_some(30),
        rtt_us: Some(1_500),
        queries: 9,
        answers: 8,
        unanswered: 1,
        respelt: 3,
        ..UpstreamCounts::default()
    };
    snapshot.socket.upstreams = vec![upstream("192.0.2.53:53", false), upstream("[2001:db8::53]:53", true)];
    snapshot.socket.forwards = vec![ForwardCounts {
        name: "corp.example".into(),
        upstreams: vec!["192.0.2.53:53".into(), "[2001:db8::53]:53".into()],
        waiting: 5,
        refused: 2,
        failed: 1,
    }];
    let text = metrics::text(&snapshot, Format::Prometheus).expect("text");
    for line in [
        "zerottl_forward_upstream_up{upstream=\"192.0.2.53:53\"} 0.0",
        "zerottl_forward_upstream_up{upstream=\"[2001:db8::53]:53\"} 1.0",
        "zerottl_forward_upstream_rtt_seconds{upstream=\"192.0.2.53:53\"} 0.0015",
        "zerottl_forward_upstream_queries_total{upstream=\"192.0.2.53:53\"} 9",
        "zerottl_forward_upstream_answers_total{upstream=\"192.0.2.53:53\"} 8",
        "zerottl_forward_upstream_unanswered_total{upstream=\"192.0.2.53:53\"} 1",
        "zerottl_forward_upstream_respelt_total{upstream=\"[2001:db8::53]:53\"} 3",
        "zerottl_forward_upstream_wrong_total{upstream=\"[2001:db8::53]:53\"} 0",
        "zerottl_forward_waiting{forward=\"corp.example\"} 5",
        "zerottl_forward_failures_total{forward=\"corp.example\",why=\"no-answer\"} 1",
        "zerottl_forward_failures_total{forward=\"corp.example\",why=\"too-many\"} 2",
    ] {
        assert!(text.lines().any(|of| of == line), "`{line}` is not in\n{text}");
    }
    let page = StatusPage::new(&snapshot);
    let json = serde_json::to_value(&page).expect("plain data");
    assert_eq!(json["socket"]["upstreams"][0]["up"], false);
    assert_eq!(json["socket"]["forwards"][0]["waiting"], 5);
    assert_eq!(serde_json::from_value::<StatusPage>(json).expect("its own form"), page);
    assert!(page.to_text().contains("corp.example  192.0.2.53:53      DOWN for 30s"), "{}", page.to_text());
}

/// Invariant 3: that a name answers Sites that are down, because too few are up or none is, is seen and counted.
#[test]
fn s4_3a_alldown_is_counted_and_visible() {
    let mut snapshot = healthy();
    let plan = Arc::make_mut(&mut snapshot.plan);
    for (service, basis) in plan.services.iter_mut().zip([Basis::UpThreshold, Basis::FailOpen]) {
        if let Choice::Table(table) = &mut service.choice[0] {
            table.basis = basis;
        }
    }
    let page = StatusPage::new(&snapshot).to_text();
    assert!(page.contains("geneva 25.0% (up-threshold)"), "{page}");
    assert!(page.contains("boston 100.0% (fail-open)"), "{page}");
    let text = metrics::text(&snapshot, Format::OpenMetrics).expect("text");
    for line in ["zerottl_plan_choices{from=\"up-threshold\"} 1", "zerottl_plan_choices{from=\"fail-open\"} 1"] {
        assert!(text.lines().any(|l| l == line), "{line} is not in\n{text}");
    }
}

/// A Site that takes itself out: the reason and its own words wherever it is shown.
#[test]
fn what_a_site_says_of_itself_is_shown() {
    let mut model = model();
    model.sites[0].load = Some(LoadSource {
        kind: LoadKind::Push,
        stale_after: Duration::from_secs(9),
        when_stale: WhenStale::Hold,
        per_answer: None,
        target: None,
        capacity: None,
    });
    let choices = all_up(&model);
    let mut snapshot = snapshot(model, choices);
    for key in ["boston", "chicago", "geneva"] {
        set(&mut snapshot, key, Health::Up, None);
    }
    snapshot.loads[0].condition = ReportedCondition::Stopped;
    snapshot.loads[0].note = Some("new disks".into());
    snapshot.status.sites[0].self_report.admin_state = AdminState::Maint;
    let words = "it says stopped (new disks)";
    for name in ["app.com", "boston.app.com"] {
        let page = explained(&snapshot, name);
        let row = &rows(&page.families[0])[0];
        assert!(row.starts_with("boston no ") && row.contains(words) && row.contains("192.0.2.10 up for 12s"), "{row}");
    }
    let page = StatusPage::new(&snapshot);
    let site = &page.sites[0];
    assert_eq!((site.state.as_str(), site.reason.as_deref()), ("down", Some(words)));
    assert_eq!(site.load.as_ref().and_then(|load| load.says.as_deref()), Some("stopped (new disks)"));
    assert!(page.to_text().contains(&format!("\nboston: {words}\n")), "{}", page.to_text());
    let out = |text: String, value: &str| {
        let line = format!("zerottl_site_takes_itself_out{{site=\"boston\"}} {value}");
        assert!(text.lines().any(|of| of == line), "`{line}` is not in\n{text}");
    };
    out(metrics::text(&snapshot, Format::OpenMetrics).expect("text"), "1.0");
    // Up, and wants nobody.
    snapshot.loads[0] = SiteLoad { factor: Some(0.0), note: Some("full".into()), ..Default::default() };
    snapshot.status.sites[0].self_report = SelfReport { factor: 0.0, ..Default::default() };
    let page = StatusPage::new(&snapshot);
    assert_eq!((page.sites[0].state.as_str(), page.sites[0].reason.as_deref()), ("drain", Some("it says 0% (full)")));
    assert!(page.to_text().contains("up, drain"), "{}", page.to_text());
    assert!(
        rows(&explained(&snapshot, "app.com").families[0])[0].contains("it wants no new clients: it says 0% (full)")
    );
    out(metrics::text(&snapshot, Format::OpenMetrics).expect("text"), "1.0");
}

/// A Site that is down says why, as each of its addresses has it.
#[test]
fn a_site_that_is_down_has_its_reason() {
    let mut snapshot = healthy();
    set(&mut snapshot, "boston", Health::Down, Some("connect: connection refused"));
    let page = StatusPage::new(&snapshot);
    let why = "192.0.2.10: connect: connection refused; 2001:db8:1::10: connect: connection refused";
    assert_eq!(page.sites[0].reason.as_deref(), Some(why));
    assert_eq!(page.sites[1].reason, None);
}
