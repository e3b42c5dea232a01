//! The planner: what each name answers, by what is up.

use std::{
    collections::BTreeMap,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
};

use proptest::prelude::*;

use zerottl_config as config;
use zerottl_core::plan::*;
use zerottl_core::{
    model::{DynamicType, Family, Model, NameId, NameKind, PoolId, SiteId},
    status::{Assessment, Health},
};
use zerottl_dns::view::View;

/// Four Sites: geneva and chicago with both families, boston with two IPv4 addresses and no IPv6, tokyo with IPv6 alone.
/// Groups overlap: chicago is in both, and its primary one is europe.
const WORLD: &str = r#"
[front]
interfaces = ["eth0"]
addresses = ["203.0.113.53"]
[zone."app.com"]
nameservers = ["ns1.app.com"]
contact = "hostmaster@app.com"
[pool."app.com"]
sites = ["geneva", "boston", "chicago", "tokyo"]
POOL
[group."europe.app.com"]
pool = "app.com"
sites = ["geneva", "chicago"]
[group."americas.app.com"]
pool = "app.com"
sites = ["boston", "chicago"]
[group."asia.app.com"]
pool = "app.com"
sites = ["tokyo"]
policy = "sticky"
[site.geneva]
name = "geneva.app.com"
addresses = ["192.0.2.1", "2001:db8::1"]
probe = { kind = "tcp", port = 1 }
[site.boston]
name = "boston.app.com"
addresses = ["192.0.2.2", "192.0.2.22"]
weight = 2
probe = { kind = "tcp", port = 1 }
[site.chicago]
name = "chicago.app.com"
addresses = ["192.0.2.3", "2001:db8::3"]
probe = { kind = "tcp", port = 1 }
[site.tokyo]
name = "tokyo.app.com"
addresses = ["2001:db8::4"]
probe = { kind = "tcp", port = 1 }
"#;

/// This package's folder; where its program is run by hand, the one it is run in.
fn package() -> PathBuf {
    std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from)
}

fn world(pool: &str) -> Arc<Model> {
    let text = WORLD.replace("POOL", pool);
    Arc::new(config::parse("world", &text, Path::new("")).map_err(|error| error.plain()).unwrap().model)
}

/// Everything up but the named addresses; a Site's key stands for all of its.
pub(crate) fn status(model: &Model, down: &[&str]) -> Assessment {
    let mut status = Assessment::unknown(model);
    for (site, health) in model.sites.iter().zip(status.health.iter_mut()) {
        for (address, health) in site.addresses.iter().zip(health) {
            let is_down = down.contains(&site.key.as_str()) || down.contains(&address.answer.to_string().as_str());
            *health = if is_down { Health::Down } else { Health::Up };
        }
    }
    status
}

fn choice(model: &Arc<Model>, plan: &Plan, name: &str, family: Family) -> Choice {
    let id = model.names.iter().position(|n| n.name.to_string() == name).expect("the name is configured");
    plan.choice(NameId(id), family).clone()
}

/// Slots by address.
fn slots(plan: &Plan, choice: &Choice) -> BTreeMap<IpAddr, usize> {
    let mut counts = BTreeMap::new();
    if let Choice::Table(table) = choice {
        for slot in &table.slots[..] {
            *counts.entry(plan.endpoints[usize::from(*slot)]).or_default() += 1;
        }
    }
    counts
}

fn describe(plan: &Plan, choice: &Choice) -> String {
    let addresses: Vec<String> = slots(plan, choice).keys().map(ToString::to_string).collect();
    let basis = match choice {
        Choice::NoData => return "nodata".to_owned(),
        Choice::Servfail => return "servfail".to_owned(),
        Choice::Table(table) => match table.basis {
            Basis::Live => "",
            Basis::UpThreshold => " by threshold",
            Basis::FailOpen => " fail-open",
            Basis::Minimum => " minimum",
            Basis::Held => " held",
            Basis::Drained => " drained",
        },
    };
    format!("{}{basis}", addresses.join(" "))
}

/// `pool` are lines for the pool's section; `expect` is what A and AAAA answer.
#[track_caller]
fn check(description: &str, pool: &str, down: &[&str], name: &str, expect: [&str; 2]) {
    let model = world(pool);
    let plan = Planner::new(Arc::clone(&model)).plan(&status(&model, down), 1);
    let answers = Family::ALL.map(|family| describe(&plan, &choice(&model, &plan, name, family)));
    assert_eq!(answers, expect, "{description}: {name} with {down:?} down");
}

/// S4-A-SITE, S4-A-POOL: a Site may have several addresses; the pool has all Sites, each by one address per family.
#[test]
fn s4_a_site_s4_a_pool_every_site_by_its_first_live_address() {
    let all4 = "192.0.2.1 192.0.2.2 192.0.2.3";
    let all6 = "2001:db8::1 2001:db8::3 2001:db8::4";
    check("all up", "", &[], "app.com", [all4, all6]);
    let second = "192.0.2.1 192.0.2.3 192.0.2.22";
    check("an address down: the Site's next", "", &["192.0.2.2"], "app.com", [second, all6]);
    let without = "192.0.2.1 192.0.2.3";
    check("a Site down", "", &["boston"], "app.com", [without, all6]);
    check("a family down", "", &["2001:db8::1"], "app.com", [all4, "2001:db8::3 2001:db8::4"]);
}

/// S4-A-GROUP, S4-A-OVERLAP, S4-4C: a group answers only its Sites; a Site may be in several.
#[test]
fn s4_a_group_s4_a_overlap_groups_answer_their_own_sites() {
    check("europe", "", &[], "europe.app.com", ["192.0.2.1 192.0.2.3", "2001:db8::1 2001:db8::3"]);
    check("americas", "", &[], "americas.app.com", ["192.0.2.2 192.0.2.3", "2001:db8::3"]);
    check("asia has no IPv4 at all", "", &[], "asia.app.com", ["nodata", "2001:db8::4"]);
    check("others down", "", &["geneva", "boston"], "europe.app.com", ["192.0.2.3", "2001:db8::3"]);
}

/// S4-A-FONS, S4-3B-365/370, S4-3B-380, S4-A-ORDER: itself, then circularly onward through the primary group (C3).
#[test]
fn s4_a_fons_s4_3b_380_site_names_fail_over_circularly() {
    check("itself", "", &[], "geneva.app.com", ["192.0.2.1", "2001:db8::1"]);
    check("next in europe", "", &["geneva"], "geneva.app.com", ["192.0.2.3", "2001:db8::3"]);
    check(
        "chicago's primary group is europe, so geneva",
        "",
        &["chicago"],
        "chicago.app.com",
        ["192.0.2.1", "2001:db8::1"],
    );
    check("boston to chicago", "", &["boston"], "boston.app.com", ["192.0.2.3", "2001:db8::3"]);
    check("a Site is up by one address", "", &["192.0.2.1"], "geneva.app.com", ["192.0.2.1 fail-open", "2001:db8::1"]);
}

/// Families: a Site that is up and has no AAAA gives NODATA for it, never another Site's address.
#[test]
fn s4_a_fons_failover_is_per_site_never_per_family() {
    check("boston has no IPv6", "", &[], "boston.app.com", ["192.0.2.2", "nodata"]);
    check("tokyo has no IPv4", "", &[], "tokyo.app.com", ["nodata", "2001:db8::4"]);
    let servfail = r#"all_down = "servfail""#;
    check("its IPv4 is down", servfail, &["192.0.2.1"], "geneva.app.com", ["servfail", "2001:db8::1"]);
}

/// S4-3A-ALLDOWN: no Site up is answered as configured; a family that was never there stays NODATA.
#[test]
fn s4_3a_alldown_is_as_configured() {
    let all = &["geneva", "boston", "chicago", "tokyo"];
    let open4 = "192.0.2.1 192.0.2.2 192.0.2.3 fail-open";
    let open6 = "2001:db8::1 2001:db8::3 2001:db8::4 fail-open";
    check("pool, fail-open", "", all, "app.com", [open4, open6]);
    check("site, fail-open", "", all, "boston.app.com", ["192.0.2.2 fail-open", "2001:db8::3 fail-open"]);
    check("group", "", all, "asia.app.com", ["nodata", "2001:db8::4 fail-open"]);
    let servfail = r#"all_down = "servfail""#;
    check("pool, servfail", servfail, all, "app.com", ["servfail", "servfail"]);
    check("site, servfail", servfail, all, "geneva.app.com", ["servfail", "servfail"]);
    check("group, servfail", servfail, all, "asia.app.com", ["nodata", "servfail"]);
}

/// `last_resort = "pool"`: once the whole failover list is down, the pool's first operational Site.
#[test]
fn s4_3b_380_last_resort_is_the_pool() {
    let pool = r#"last_resort = "pool""#;
    check("not yet", pool, &["geneva"], "geneva.app.com", ["192.0.2.3", "2001:db8::3"]);
    check("now", pool, &["geneva", "chicago"], "geneva.app.com", ["192.0.2.2", "nodata"]);
    check("none", "", &["geneva", "chicago"], "geneva.app.com", ["192.0.2.1 fail-open", "2001:db8::1 fail-open"]);
}

/// `up_threshold`: below it all Sites count as up; never for Site Names; visible in the plan.
#[test]
fn s4_3a_320_up_threshold() {
    let half = "up_threshold = 0.5";
    check(
        "half is enough",
        half,
        &["boston"],
        "app.com",
        ["192.0.2.1 192.0.2.3", "2001:db8::1 2001:db8::3 2001:db8::4"],
    );
    check(
        "a quarter is not",
        half,
        &["boston", "geneva"],
        "app.com",
        ["192.0.2.1 192.0.2.2 192.0.2.3 by threshold", "2001:db8::3 2001:db8::4"],
    );
    check("Site Names never", half, &["boston", "geneva"], "geneva.app.com", ["192.0.2.3", "2001:db8::3"]);
}

/// S4-A-NAMES, S4-C1…C10: Appendix A's examples, literally.
#[test]
fn s4_a_names_appendix_a() {
    let examples = package().join("../../examples");
    let loaded = config::load(&examples.join("appendix-a.toml")).map_err(|error| error.plain()).unwrap();
    let model = Arc::new(loaded.model);
    let planner = Planner::new(Arc::clone(&model));
    let answer = |down: &[&str], name: &str| {
        let plan = planner.plan(&status(&model, down), 1);
        describe(&plan, &choice(&model, &plan, name, Family::V4))
    };
    let (geneva, boston, chicago) = ("198.51.100.10", "192.0.2.10", "192.0.2.20");
    // "The Geneva Site Name would be configured with one IP address: that of the Geneva Site."
    assert_eq!(answer(&[], "geneva.app.com"), geneva);
    assert_eq!(answer(&["geneva"], "geneva.app.com"), format!("{geneva} fail-open"));
    // "The Boston Site Name … with two: Boston for primary usage, Chicago for backup … Chicago vice-versa."
    assert_eq!(answer(&[], "boston.app.com"), boston);
    assert_eq!(answer(&["boston"], "boston.app.com"), chicago);
    assert_eq!(answer(&[], "chicago.app.com"), chicago);
    assert_eq!(answer(&["chicago"], "chicago.app.com"), boston);
    // "The Pool Name would contain one for Geneva, one for Boston, one for Chicago"; likewise the Group Names.
    assert_eq!(answer(&[], "app.com"), format!("{boston} {chicago} {geneva}"));
    assert_eq!(answer(&[], "europe.app.com"), geneva);
    assert_eq!(answer(&[], "americas.app.com"), format!("{boston} {chicago}"));
}

/// S4-A-LBNS: shares follow weights, for every policy.
#[test]
fn s4_a_lbns_shares_follow_weights() {
    for policy in ["weighted-round-robin", "weighted-random", "sticky"] {
        let model = world(&format!("policy = \"{policy}\""));
        let plan = Planner::new(Arc::clone(&model)).plan(&status(&model, &[]), 1);
        let counts = slots(&plan, &choice(&model, &plan, "app.com", Family::V4));
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [8, 16, 8], "{policy}");
    }
}

/// Names of the same Sites by the same rules are one service, and its tables lie there once.
#[test]
fn equal_names_share_a_service() {
    let text = WORLD.replace("POOL", "").replace(
        "[group.\"europe",
        "[group.\"again.app.com\"]\npool = \"app.com\"\nsites = [\"geneva\", \"chicago\"]\n[group.\"europe",
    );
    let model = Arc::new(config::parse("world", &text, Path::new("")).map_err(|error| error.plain()).unwrap().model);
    let plan = Planner::new(Arc::clone(&model)).plan(&status(&model, &["boston"]), 1);
    let service = |name: &str| {
        let id = model.names.iter().position(|n| n.name.to_string() == name).expect("the name is configured");
        plan.service_of[id]
    };
    assert_eq!(service("europe.app.com"), service("again.app.com"));
    assert_ne!(service("europe.app.com"), service("americas.app.com"));
}

/// Exactly the prefix counts: its last bit does, the bit behind it does not.
#[test]
fn sticky_prefixes_are_exact() {
    let model = world("policy = \"sticky\"");
    let plan = Planner::new(Arc::clone(&model)).plan(&status(&model, &[]), 1);
    let (v4, v6) = (u32::from_be_bytes([198, 51, 100, 7]), 0x2001_0db8_0102_0304_0506_0708_090a_0b0c_u128);
    for (prefix4, prefix6) in [(8, 16), (20, 48), (24, 56), (25, 64), (31, 65), (32, 128)] {
        let service = Service { sticky_prefix: (prefix4, prefix6), ..plan.services[0].clone() };
        let turn4 = |bits: u32| service.sticky_turn(IpAddr::V4(bits.into()));
        let turn6 = |bits: u128| service.sticky_turn(IpAddr::V6(bits.into()));
        assert_ne!(turn4(v4), turn4(v4 ^ 1 << (32 - prefix4)), "/{prefix4}");
        assert_ne!(turn6(v6), turn6(v6 ^ 1 << (128 - prefix6)), "/{prefix6}");
        if prefix4 < 32 {
            assert_eq!(turn4(v4), turn4(v4 ^ 1 << (31 - prefix4)), "/{prefix4}");
            assert_eq!(turn6(v6), turn6(v6 ^ 1 << (127 - prefix6)), "/{prefix6}");
        }
    }
}

/// A sticky client gets the same Site for A and AAAA, its whole prefix with it.
#[test]
fn sticky_is_by_prefix_and_not_by_family() {
    let model = world("policy = \"sticky\"");
    let planner = Planner::new(Arc::clone(&model));
    // Only Sites with both families, so that the tables have the same candidates.
    let plan = planner.plan(&status(&model, &["boston", "tokyo"]), 1);
    let view = View::new(Arc::clone(&model), plan);
    let id = NameId(model.names.iter().position(|n| n.name.to_string() == "europe.app.com").unwrap());
    let site = |client: &str, family| match view.pick(id, family, client.parse::<IpAddr>().unwrap().into()).pick {
        PlannedAnswer::Address(address, 0) => {
            model.sites.iter().find(|s| s.addresses.iter().any(|a| a.answer == address)).unwrap()
        }
        other => panic!("{other:?}"),
    };
    let mut seen = std::collections::BTreeSet::new();
    for net in 0..=255_u8 {
        let client = format!("198.51.{net}.7");
        let first = &site(&client, Family::V4).key;
        seen.insert(first.clone());
        assert_eq!(first, &site(&client, Family::V6).key, "{client}");
        assert_eq!(first, &site(&format!("198.51.{net}.200"), Family::V4).key, "{client}'s neighbour");
        let client6 = format!("2001:db8:0:{net:x}00::1");
        assert_eq!(site(&client6, Family::V4).key, site(&format!("2001:db8:0:{net:x}ff::2"), Family::V6).key);
    }
    assert_eq!(seen.len(), 2, "both Sites have clients");
}

/// S4-3A-320: the socket path's round robin gives every Site its share within one per cycle, A and AAAA apart.
#[test]
fn s4_3a_320_view_takes_turns() {
    let model = world("");
    let view = View::new(Arc::clone(&model), Planner::new(Arc::clone(&model)).plan(&status(&model, &[]), 1));
    let id = NameId(0);
    assert_eq!(model.names[0].kind, NameKind::Pool(PoolId(0)));
    let client = "198.51.100.1".parse::<IpAddr>().unwrap().into();
    for _ in 0..10 {
        let mut counts = BTreeMap::<IpAddr, usize>::new();
        for _ in 0..4 {
            if let PlannedAnswer::Address(address, _) = view.pick(id, Family::V4, client).pick {
                *counts.entry(address).or_default() += 1;
            }
            let _ = view.pick(id, Family::V6, client);
        }
        assert_eq!(counts.values().copied().collect::<Vec<_>>(), [1, 2, 1]);
    }
}

fn arbitrary_status() -> impl Strategy<Value = Vec<bool>> {
    prop::collection::vec(any::<bool>(), 7)
}

proptest! {
    /// S4-3A-320, S4-3B-370, S4-3B-380 and invariant 3, for any set of live addresses: a Site that is down is never
    /// answered while an eligible one of that family is up, and a Site Name is its first operational Site.
    #[test]
    fn s4_3a_320_s4_3b_380_never_a_down_site(up in arbitrary_status()) {
        let model = world("");
        let mut status = Assessment::unknown(&model);
        let mut bits = up.into_iter();
        for health in status.health.iter_mut().flatten() {
            *health = if bits.next().unwrap() { Health::Up } else { Health::Down };
        }
        let plan = Planner::new(Arc::clone(&model)).plan(&status, 1);
        let live = |family: Family, sites: &[SiteId]| -> Vec<IpAddr> {
            let of_site = |site: &SiteId| {
                let addresses = &model.sites[site.0].addresses;
                let is_live = |i: &usize| family.has(addresses[*i].answer) && status.address_is_live(&model, *site, *i);
                (0..addresses.len()).filter(is_live).map(|i| addresses[i].answer).next()
            };
            sites.iter().filter_map(of_site).collect()
        };
        for (i, name) in model.names.iter().enumerate() {
            let sites = model.sites_of(name.kind);
            for family in Family::ALL {
                let answered: Vec<IpAddr> =
                    slots(&plan, plan.choice(NameId(i), family)).into_keys().collect();
                match name.kind {
                    NameKind::Site(_) => {
                        if let Some(first) = sites.iter().find(|s| status.site_is_up(&model, **s)) {
                            let own = &model.sites[first.0].addresses;
                            prop_assert!(answered.iter().all(|a| own.iter().any(|o| o.answer == *a)));
                            let live = live(family, &[*first]);
                            prop_assert!(live.is_empty() || answered == live[..1]);
                        }
                    }
                    NameKind::Pool(_) | NameKind::Group(_) => {
                        let mut live = live(family, sites);
                        live.sort();
                        prop_assert!(live.is_empty() || answered == live, "{}: {answered:?}, live {live:?}", name.name);
                    }
                }
            }
        }
    }
}

/// [`WORLD`] with client nets for two of its groups.
pub(crate) fn world_with_nets(pool: &str) -> Arc<Model> {
    let text = WORLD
        .replace("POOL", pool)
        .replace("[\"boston\", \"chicago\"]\n[group", "[\"boston\", \"chicago\"]\nclients = [\"10.0.0.0/8\"]\n[group")
        .replace("policy = \"sticky\"\n", "policy = \"sticky\"\nclients = [\"10.1.0.0/16\", \"2001:db8::/32\"]\n");
    Arc::new(config::parse("world", &text, Path::new("")).map_err(|error| error.plain()).unwrap().model)
}

/// Checks what `client` is told about app.com.
#[track_caller]
fn check_client(pool: &str, down: &[&str], client: &str, expect: [&str; 2]) {
    let model = world_with_nets(pool);
    let plan = Planner::new(Arc::clone(&model)).plan(&status(&model, down), 1);
    let view = View::new(Arc::clone(&model), plan.clone());
    let id = model.names.iter().position(|n| n.name.to_string() == "app.com").expect("configured");
    let client: IpAddr = client.parse().unwrap();
    let (service, ..) = view.service(&plan, NameId(id), client.into());
    let answers = Family::ALL.map(|family| describe(&plan, &service.choice[family.index()]));
    assert_eq!(answers, expect, "{client} with {down:?} down");
}

/// S4-4C: a Pool query from a client in a group's nets is answered from that group; the longest prefix decides.
#[test]
fn s4_4c_a_pool_query_is_answered_from_the_client_s_group() {
    let americas = "192.0.2.2 192.0.2.3";
    let all = ["192.0.2.1 192.0.2.2 192.0.2.3", "2001:db8::1 2001:db8::3 2001:db8::4"];
    check_client("", &[], "10.2.0.1", [americas, "2001:db8::3"]);
    check_client("", &[], "192.0.2.99", all);
    check_client("", &[], "2001:db9::1", all);
    // Tokyo has IPv6 alone: what its group cannot say, the pool says, as a resolver keeps a NODATA for everyone.
    check_client("", &[], "10.1.0.1", [all[0], "2001:db8::4"]);
    check_client("", &[], "2001:db8::9", [all[0], "2001:db8::4"]);
}

/// S4-4C, invariant 3: never a dead address while the pool has a live one; the pool's own all-down rule at the end.
#[test]
fn s4_4c_a_dead_group_s_clients_are_the_pool_s() {
    let americas = ["boston", "chicago"];
    check_client("", &americas, "10.2.0.1", ["192.0.2.1", "2001:db8::1 2001:db8::4"]);
    check_client("", &["2001:db8::3"], "10.2.0.1", ["192.0.2.2 192.0.2.3", "2001:db8::1 2001:db8::4"]);
    check_client("up_threshold = 0.9", &["boston"], "10.2.0.1", ["192.0.2.2 192.0.2.3 by threshold", "2001:db8::3"]);
    let everything = ["geneva", "boston", "chicago", "tokyo"];
    let all = ["192.0.2.1 192.0.2.2 192.0.2.3 fail-open", "2001:db8::1 2001:db8::3 2001:db8::4 fail-open"];
    check_client("", &everything, "10.2.0.1", all);
    check_client("all_down = \"servfail\"", &everything, "10.2.0.1", ["servfail", "servfail"]);
}

/// A group's own cursor turns for its clients, so that two groups' clients in alternation still meet all Sites.
#[test]
fn groups_turn_on_their_own() {
    let model = world_with_nets("");
    let planner = Planner::new(Arc::clone(&model));
    let plan = planner.plan(&Assessment::unknown(&model), 1);
    let view = View::new(Arc::clone(&model), plan.clone());
    let id = |name: &str| NameId(model.names.iter().position(|n| n.name.to_string() == name).expect("configured"));
    let whose = |client: &str| view.service(&plan, id("app.com"), client.parse::<IpAddr>().unwrap().into()).1;
    assert_eq!(whose("10.2.0.1"), id("americas.app.com"));
    assert_eq!(whose("10.1.0.1"), id("asia.app.com"));
    assert_eq!(whose("192.0.2.1"), id("app.com"));
}

/// Describes a name's HTTPS records as hints by Site, with the table's basis.
fn https(pool: &str, down: &[&str], name: &str) -> String {
    let model = world(pool);
    let plan = Planner::new(Arc::clone(&model)).plan(&status(&model, down), 1);
    let id = NameId(model.names.iter().position(|n| n.name.to_string() == name).expect("the name is configured"));
    let table = match plan.choice(id, DynamicType::Https) {
        Choice::NoData => return "nodata".to_owned(),
        Choice::Servfail => return "servfail".to_owned(),
        Choice::Table(table) => table,
    };
    let mut counts = BTreeMap::<String, usize>::new();
    for slot in &table.slots[..] {
        let binding = plan.bindings[usize::from(*slot)];
        assert_eq!(binding.pool, PoolId(0));
        let hints = [binding.v4.map(IpAddr::from), binding.v6.map(IpAddr::from)];
        let hints: Vec<String> = hints.iter().flatten().map(ToString::to_string).collect();
        *counts.entry(hints.join("+")).or_default() += 1;
    }
    let total = table.slots.len();
    let shares = counts.iter().map(|(hints, count)| format!("{hints} {}%", (100 * count + total / 2) / total));
    let basis = if table.basis == Basis::Live { "" } else { " all" };
    format!("{}{basis}", shares.collect::<Vec<_>>().join(", "))
}

/// S4-3A-330: HTTPS records go with their Sites: of those with any live address, by weight, with hints of what is live.
#[test]
fn https_records_go_with_their_sites() {
    let on = "https = { alpn = [\"h2\"] }";
    let geneva = "192.0.2.1+2001:db8::1";
    let chicago = "192.0.2.3+2001:db8::3";
    let cases = [
        ("without", "", vec![], "app.com", "nodata".to_owned()),
        ("all up", on, vec![], "app.com", format!("{geneva} 20%, 192.0.2.2 40%, {chicago} 20%, 2001:db8::4 20%")),
        (
            "half a Site down: its other family's hint stays",
            on,
            vec!["2001:db8::1"],
            "europe.app.com",
            format!("192.0.2.1 50%, {chicago} 50%"),
        ),
        ("a first address down", on, vec!["192.0.2.2"], "boston.app.com", "192.0.2.22 100%".to_owned()),
        ("a Site down", on, vec!["geneva"], "europe.app.com", format!("{chicago} 100%")),
        ("a Site Name fails over", on, vec!["geneva"], "geneva.app.com", format!("{chicago} 100%")),
        ("a Site Name comes back", on, vec![], "geneva.app.com", format!("{geneva} 100%")),
        ("IPv6 alone", on, vec![], "asia.app.com", "2001:db8::4 100%".to_owned()),
        ("all down", on, vec!["geneva", "chicago"], "europe.app.com", format!("{geneva} 50%, {chicago} 50% all")),
    ];
    for (description, pool, down, name, expected) in cases {
        assert_eq!(https(pool, &down, name), expected, "{description}: {name} with {down:?} down");
    }
    let servfail = format!("{on}\nall_down = \"servfail\"");
    assert_eq!(https(&servfail, &["geneva", "chicago"], "europe.app.com"), "servfail");
    assert_eq!(https(&servfail, &["geneva", "chicago"], "geneva.app.com"), "servfail");
}

/// Each type turns on its own: asked in rotation, each meets both Sites in turn.
#[test]
fn each_type_turns_on_its_own() {
    let model = world("https = {}");
    let view = View::new(Arc::clone(&model), Planner::new(Arc::clone(&model)).plan(&status(&model, &[]), 1));
    let id = NameId(model.names.iter().position(|n| n.name.to_string() == "europe.app.com").unwrap());
    let mut last = [const { None }; 3];
    for turn in 0..20 {
        for of in DynamicType::ALL {
            let pick = view.pick(id, of, "198.51.100.7".parse::<IpAddr>().unwrap().into()).pick;
            assert_ne!(last[of.index()].replace(pick), Some(pick), "{of:?}, turn {turn}");
        }
    }
}

/// Where another pool's Sites have the same addresses its tables are its own, and HTTPS agrees with the addresses.
#[test]
fn sticky_tables_are_of_sites_and_not_of_addresses() {
    let site = |key: &str, last: u8, v6: u8| {
        format!(
            "[site.{key}]\nname = \"{key}.app.com\"\naddresses = [\"192.0.2.{last}\", \"2001:db8::{v6}\"]\nprobe = {{ kind = \"tcp\", port = 1 }}\n"
        )
    };
    let pool = "policy = \"sticky\"\nhttps = {}\n[pool.\"shop.app.com\"]\nsites = [\"seoul\", \"lima\"]\npolicy = \"sticky\"\nhttps = {}";
    let text = WORLD.replace("\"geneva\", \"boston\", \"chicago\", \"tokyo\"", "\"geneva\", \"chicago\"");
    let text = &text[..text.find("[group.").unwrap()].replace("POOL", pool);
    let sites = [site("geneva", 1, 1), site("chicago", 3, 3), site("seoul", 1, 5), site("lima", 3, 6)].concat();
    let model = config::parse("world", &format!("{text}{sites}"), Path::new("")).map_err(|error| error.plain());
    let model = Arc::new(model.unwrap().model);
    let view = View::new(Arc::clone(&model), Planner::new(Arc::clone(&model)).plan(&status(&model, &[]), 1));
    for name in ["app.com", "shop.app.com"] {
        let id = NameId(model.names.iter().position(|n| n.name.to_string() == name).unwrap());
        for net in 0..=255_u8 {
            let client = format!("198.51.{net}.7").parse::<IpAddr>().unwrap().into();
            let [v4, v6] = Family::ALL.map(|family| match view.pick(id, family, client).pick {
                PlannedAnswer::Address(address, _) => Some(address),
                _ => None,
            });
            let PlannedAnswer::Https(binding, _) = view.pick(id, DynamicType::Https, client).pick else {
                panic!("no HTTPS")
            };
            assert_eq!((binding.v4.map(IpAddr::from), binding.v6.map(IpAddr::from)), (v4, v6), "{name}, {net}");
            let own = |address: &str| Some(address.parse::<IpAddr>().unwrap());
            assert_eq!(v4 == own("192.0.2.1"), v6 == own("2001:db8::1") || v6 == own("2001:db8::5"), "{name}, {net}");
        }
    }
}

/// Two Sites with both families: HTTPS has their turns, and under `sticky` a client's hints are the addresses it gets.
#[test]
fn https_and_addresses_agree_under_sticky() {
    let model = world("policy = \"sticky\"\nhttps = {}");
    let view = View::new(Arc::clone(&model), Planner::new(Arc::clone(&model)).plan(&status(&model, &[]), 1));
    let id = NameId(model.names.iter().position(|n| n.name.to_string() == "europe.app.com").unwrap());
    for net in 0..=255_u8 {
        let client = format!("198.51.{net}.7").parse::<IpAddr>().unwrap().into();
        let [v4, v6] = Family::ALL.map(|family| match view.pick(id, family, client).pick {
            PlannedAnswer::Address(address, 0) => Some(address),
            _ => None,
        });
        let PlannedAnswer::Https(binding, 0) = view.pick(id, DynamicType::Https, client).pick else {
            panic!("no HTTPS")
        };
        assert_eq!((binding.v4.map(IpAddr::from), binding.v6.map(IpAddr::from)), (v4, v6), "{net}");
    }
}
