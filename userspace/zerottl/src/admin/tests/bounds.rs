//! Pages of more names than they have room for: bounded, and what they leave out is counted.

use std::sync::Arc;

use super::fixture::{model, name, set, snapshot, table};
use crate::{
    admin::{
        metrics::{self, LOSSES_MAX, POOLS_MAX},
        overview::{self, Filter},
        status::{NAMES_MAX, StatusPage},
    },
    observe::{signing::SignedZoneState, snapshot::Snapshot},
};
use zerottl_core::{
    alarms::{AlarmWatch, NAMED_MAX},
    assess::remarks::Remarks,
    exposition::Format,
    model::{DynamicName, Model, NameKind, Pool, PoolId, SiteId, SiteOrder, ZoneId},
    plan::{Basis, Choice, Table},
    status::Health,
};

/// Appendix A's Sites, all up, and `p0.app.com` and so on: pools of the Sites of these positions, which want one Site each.
fn many(pools: usize, sites: impl Fn(usize) -> &'static [usize]) -> Snapshot {
    let mut model = model();
    let mut like = model.pools[0].clone();
    like.minimum.sites = 1;
    let all: [&[usize]; 3] = [&[0, 1, 2], &[0], &[1]];
    let orders = all.map(|sites| sites.iter().copied().map(SiteId).collect::<SiteOrder>());
    let pool = |id: usize| {
        let order = all.iter().position(|list| *list == sites(id)).expect("one of these");
        Pool { name: name(&format!("p{id}.app.com")), sites: orders[order].clone(), ..like.clone() }
    };
    model.pools = (0..pools).map(pool).collect();
    let of_pool = |(id, pool): (usize, &Pool)| DynamicName {
        name: pool.name.clone(),
        zone: ZoneId(0),
        kind: NameKind::Pool(PoolId(id)),
        served: true,
    };
    let names = model.pools.iter().enumerate().map(of_pool);
    model.names = names.chain(model.names.iter().skip(1).cloned()).collect();
    let all_boston = table(&model, "0.0.0.0", &["boston"]);
    let choices = vec![[all_boston, Choice::NoData]; model.names.len()];
    let mut snapshot = snapshot(model, choices);
    for (site, key) in ["boston", "chicago", "geneva"].into_iter().enumerate() {
        set(&mut snapshot, key, Health::Up, None);
        let own = [table(&snapshot.model, "0.0.0.0", &[key]), Choice::NoData];
        let plan = Arc::make_mut(&mut snapshot.plan);
        plan.services[pools + site].choice[..2].clone_from_slice(&own);
    }
    snapshot
}

fn shown(page: &StatusPage) -> Vec<&str> {
    page.names.iter().map(|name| name.name.as_str()).collect()
}

/// As many names as there is room for are all there, in the configuration's order; of more, those come first that an
/// operator looks for, wherever they stand.
#[test]
fn names_are_bounded() {
    let fits = StatusPage::new(&many(NAMES_MAX - 3, |_| &[0]));
    assert_eq!((fits.names.len(), fits.names_omitted), (NAMES_MAX, 0));
    assert_eq!((shown(&fits)[0], shown(&fits)[NAMES_MAX - 1]), ("p0.app.com", "geneva.app.com"));
    assert!(!fits.to_text().contains("zerottl explain NAME"));

    let pools = NAMES_MAX + 500;
    let mut snapshot = many(pools, |_| &[0]);
    let endpoint = table(&snapshot.model, "0.0.0.0", &["chicago"]);
    let plan = Arc::make_mut(&mut snapshot.plan);
    let open = |choice: &Choice| match choice {
        Choice::Table(table) => Choice::Table(Table { basis: Basis::FailOpen, ..table.clone() }),
        other => other.clone(),
    };
    plan.services[pools - 1].choice[0] = Choice::Servfail;
    plan.services[pools - 2].choice[0] = open(&plan.services[pools - 2].choice[0]);
    // Geneva's own name goes to another Site.
    plan.services[pools + 2].choice[0] = endpoint;
    let page = StatusPage::new(&snapshot);
    assert_eq!((page.names.len(), page.names_omitted), (NAMES_MAX, 503));
    let first = [pools - 2, pools - 1].map(|id| format!("p{id}.app.com"));
    assert_eq!(shown(&page)[..5], [first[0].as_str(), &first[1], "geneva.app.com", "p0.app.com", "p1.app.com"]);
    assert_eq!(page.plan.choices.values().sum::<u64>(), 2 * (pools as u64 + 3), "counts are of all");
    for names in [false, true] {
        let text = overview::text(&page, &Filter { names, ..Filter::default() });
        assert!(text.contains("\n503 more names: zerottl explain NAME shows one\n"), "{text}");
    }
    assert!(overview::names_table(&page, Some(80)).ends_with("\n503 more names: zerottl explain NAME shows one\n"));
    let of_boston = Filter { pool: Some("p7.app.com".into()), ..Filter::default() };
    assert!(!overview::text(&page, &of_boston).contains("more names"));

    let one = StatusPage::of_name(&snapshot, &name("P7.app.com"));
    assert_eq!((shown(&one), one.names_omitted), (vec!["p7.app.com"], 0));
    let lists: Vec<_> = one.sites.iter().map(|site| (site.member_of.join(" "), site.member_of_omitted)).collect();
    assert_eq!(lists, [("p7.app.com".to_owned(), 0), (String::new(), 0), (String::new(), 0)]);
    let none = StatusPage::of_name(&snapshot, &name("none.app.com"));
    assert!(none.names.is_empty() && none.sites.iter().all(|site| site.member_of.is_empty()));
}

/// The shares of a name are as many as its Sites; names with many are bounded by them.
#[test]
fn shares_are_bounded() {
    let keys: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
    let addresses: Vec<[String; 1]> = (0..100).map(|n| [format!("192.0.2.{n}")]).collect();
    let addresses: Vec<[&str; 1]> = addresses.iter().map(|one| [one[0].as_str()]).collect();
    let sites: Vec<_> = keys.iter().zip(&addresses).map(|(key, at)| (key.as_str(), &at[..], None)).collect();
    let mut model: Model = zerottl_core::fixture::model(&sites);
    let entry = model.names[0].clone();
    model.names = vec![entry; 5_100];
    let table = Choice::Table(Table { slots: (0..100).collect(), basis: Basis::Live });
    let page = StatusPage::new(&snapshot(model, vec![[table, Choice::NoData]; 5_100]));
    assert_eq!((page.names.len(), page.names_omitted), (5_000, 100));
}

/// A Site lists its part of so many names; where all lists are short together, each is whole.
#[test]
fn lists_of_members_are_bounded() {
    let lists = |pools: usize, sites: &'static [usize]| -> Vec<(usize, u64)> {
        let page = StatusPage::new(&many(pools, |_| sites));
        page.sites.iter().map(|site| (site.member_of.len(), site.member_of_omitted)).collect()
    };
    assert_eq!(lists(33_333, &[0, 1, 2]), [(33_333, 0); 3]);
    assert_eq!(lists(33_340, &[0, 1, 2]), [(33_333, 7); 3]);
    assert_eq!(lists(100_000, &[0]), [(100_000, 0), (0, 0), (0, 0)]);
}

/// Of many losses the worst are shown, and none twice in the text.
#[test]
fn losses_are_bounded() {
    let mut snapshot = many(500, |_| &[0, 1, 2]);
    let model = Arc::make_mut(&mut snapshot.model);
    model.sites.iter_mut().for_each(|site| site.capacity = Some(100.0));
    let page = StatusPage::new(&snapshot);
    let (losses, omitted) = (&page.notices.losses, page.notices.losses_omitted);
    assert_eq!((losses.len(), omitted), (1_000, 500));
    assert!(losses.is_sorted_by(|one, other| one.at_once >= other.at_once));
    let text = page.to_text();
    let mut sentences: Vec<&str> = text.lines().filter(|line| line.starts_with("if ")).collect();
    let shown = sentences.len();
    sentences.dedup();
    assert!(shown > 1 && sentences.len() == shown, "{text}");
}

fn metric(text: &str, line: &str) -> Option<u64> {
    text.lines().find_map(|of| of.strip_prefix(line)?.strip_prefix(' ')?.parse().ok())
}

/// So many pools have series, those of the others go together or are counted; a pool that is counted by the alarms is not
/// well for that.
#[test]
fn metrics_are_bounded() {
    // The first 500 go by chicago, and boston dies first: it is the others that are named.
    let pools = POOLS_MAX + 600;
    let mut snapshot = many(pools, |id| if id < 500 { &[1] } else { &[0] });
    Arc::make_mut(&mut snapshot.model).sites.iter_mut().for_each(|site| site.capacity = Some(100.0));
    let mut watch = AlarmWatch::default();
    for key in ["boston", "chicago"] {
        set(&mut snapshot, key, Health::Down, None);
        watch.look(&snapshot.model, &snapshot.status);
    }
    let alarms = watch.alarms();
    assert_eq!((alarms.len(), alarms[0].pool()), (NAMED_MAX + 1, "p500.app.com"));
    snapshot.remarks = Arc::new(Remarks { alarms, ..Remarks::default() });
    let zone = SignedZoneState {
        zone: "app.com".into(),
        keys: Vec::new(),
        signatures: 1,
        left_min: 60,
        is_expiring: false,
        is_ahead: false,
        is_bundle: false,
    };
    snapshot.context.signed = vec![zone; 1_001];
    let text = metrics::text(&snapshot, Format::OpenMetrics).expect("text");
    let of = |pool: &str| metric(&text, &format!("zerottl_alarm{{kind=\"below-minimum\",pool=\"{pool}\"}}"));
    assert_eq!((of("p0.app.com"), of("p999.app.com"), of("p1000.app.com")), (Some(1), Some(1), None));
    assert_eq!(of(""), Some(600));
    let omitted = |what: &str| metric(&text, &format!("zerottl_series_omitted{{what=\"{what}\"}}"));
    assert_eq!((omitted("pools"), omitted("zones"), omitted("losses")), (Some(600), Some(1), Some(0)));
    assert!(text.lines().count() < 20_000, "{} lines", text.lines().count());

    // All up again, with three Sites each: three losses each.
    let mut snapshot = many(pools, |_| &[0, 1, 2]);
    Arc::make_mut(&mut snapshot.model).sites.iter_mut().for_each(|site| site.capacity = Some(100.0));
    let text = metrics::text(&snapshot, Format::OpenMetrics).expect("text");
    let series = text.lines().filter(|line| line.starts_with("zerottl_n_minus_one{")).count();
    assert_eq!(series, (3 * POOLS_MAX).min(LOSSES_MAX));
    let omitted = metric(&text, "zerottl_series_omitted{what=\"losses\"}");
    assert_eq!(omitted, Some((3 * pools - series) as u64));
    assert_eq!(metric(&text, "zerottl_alarm{kind=\"below-minimum\",pool=\"\"}"), Some(0));
}
