//! The meaning of valid files.

use std::{net::SocketAddr, time::Duration};

use super::*;
use zerottl_core::model::{
    AllDown, Family, GroupId, Initial, LastResort, NameKind, Policy, PoolId, ProbeKind, SiteId, XdpMode,
};

fn model(text: &str) -> Model {
    parse("f", text, &examples()).expect("a valid file").model
}

fn site(model: &Model, key: &str) -> SiteId {
    SiteId(model.sites.iter().position(|s| s.key == key).expect("a Site of the file"))
}

fn keys(model: &Model, sites: &[SiteId]) -> Vec<String> {
    sites.iter().map(|s| model.sites[s.0].key.clone()).collect()
}

/// S4-A-NAMES, S4-A-POOL, S4-A-GROUP: Appendix A's example as written.
#[test]
fn appendix_a_means_what_it_says() {
    let loaded = load(&examples().join("appendix-a.toml")).expect("valid");
    let model = &loaded.model;
    let names: Vec<_> = model.names.iter().map(|n| (n.name.to_string(), n.kind)).collect();
    assert_eq!(
        names,
        [
            ("app.com".to_owned(), NameKind::Pool(PoolId(0))),
            ("europe.app.com".to_owned(), NameKind::Group(GroupId(0))),
            ("americas.app.com".to_owned(), NameKind::Group(GroupId(1))),
            ("geneva.app.com".to_owned(), NameKind::Site(SiteId(0))),
            ("boston.app.com".to_owned(), NameKind::Site(SiteId(1))),
            ("chicago.app.com".to_owned(), NameKind::Site(SiteId(2))),
        ]
    );
    assert!(model.names.iter().all(|n| n.served));
    let failover = |key| keys(model, &model.sites[site(model, key).0].failover);
    assert_eq!(failover("geneva"), ["geneva"]);
    assert_eq!(failover("boston"), ["boston", "chicago"]);
    assert_eq!(failover("chicago"), ["chicago", "boston"]);
    assert_eq!(model.sites.iter().map(|s| s.weight).collect::<Vec<_>>(), [1, 2, 1]);
    let listen: [SocketAddr; 2] =
        ["203.0.113.53:53".parse().expect("an address"), "[2001:db8::53]:53".parse().expect("an address")];
    assert_eq!(model.front.listen, listen);
    assert_eq!(model.front.xdp, XdpMode::Auto);
    assert_eq!(model.admin.listen, ["127.0.0.1:8053".parse().expect("an address")]);
    assert_eq!(model.zones[0].rname.to_string(), "hostmaster.app.com");
    assert_eq!(model.zones[0].records, Some(examples().join("app.com.zone")));
    assert!(Family::ALL.iter().all(|f| model.sites.iter().all(|s| s.addresses.iter().any(|a| f.has(a.answer)))));
    let warnings: Vec<_> = loaded.warnings.iter().map(Problem::message).collect();
    assert_eq!(warnings, ["[site.geneva]: if geneva is down, geneva.app.com falls to the all-down rule (fail-open)"]);
}

/// The defaults that DESIGN.md and the reference name.
#[test]
fn defaults() {
    let mut text = BASE.replace("ttl = 0\n", "").replace("xdp = \"auto\"\n", "").replace("weight = 2\n", "");
    text = text.replace("[admin]\nlisten = \"127.0.0.1:8053\"\n", "");
    let model = model(&text);
    assert_eq!((model.front.xdp, model.admin.listen.len()), (XdpMode::Auto, 0));
    assert!(model.front.roles.load_balance && model.front.roles.failover);
    let zone = &model.zones[0];
    assert_eq!((zone.serial, zone.refresh, zone.retry, zone.expire), (1, 3600, 600, 604_800));
    assert_eq!((zone.negative_ttl, zone.ns_ttl, &zone.records), (5, 3600, &None));
    assert!(zone.balance_nameservers.is_empty() && zone.failover_nameservers.is_empty());
    let pool = &model.pools[0];
    assert_eq!((pool.policy, pool.ttl, pool.sticky_prefix), (Policy::WeightedRoundRobin, 0, (24, 56)));
    assert_eq!((pool.all_down, pool.last_resort), (AllDown::FailOpen, LastResort::None));
    assert!(pool.up_threshold.abs() < f64::EPSILON);
    let site = &model.sites[0];
    assert_eq!((site.weight, site.initial), (1, Initial::Up));
    let probe = site.probes.first().expect("probed");
    assert_eq!((probe.port, probe.rise, probe.fall), (80, 2, 3));
    assert_eq!((probe.interval, probe.timeout), (Duration::from_secs(1), Duration::from_millis(500)));
    let ProbeKind::Http(http) = &probe.kind else { panic!("an HTTP probe") };
    assert_eq!((http.path.as_str(), http.host.as_str()), ("/", "boston.app.com"));
    assert_eq!((http.expect_status.as_slice(), &http.expect_body), (&[200][..], &None));
    assert!(http.tls.is_none());
}

/// Every key at a value that is not its default reaches the model.
#[test]
fn settings_arrive() {
    let front = "xdp = \"generic\"\n";
    let zone = "contact = \"host.master@app.com\"\nserial = 7\nrefresh = 8\nretry = 9\nexpire = 10\nnegative_ttl = 11\n\
                ns_ttl = 12\nrecords = \"app.com.zone\"\nbalance_nameservers = [\"a.example\"]\n\
                failover_nameservers = [\"b.example\"]\n";
    let pool = "ttl = 5\npolicy = \"sticky\"\nup_threshold = 1\nall_down = \"servfail\"\nlast_resort = \"pool\"\n\
                sticky_prefix_v4 = 32\nsticky_prefix_v6 = 0\n";
    let group = "sites = [\"boston\", \"geneva\"]\npolicy = \"weighted-random\"\n";
    let site = "initial = \"down\"\nprobe = { kind = \"https\", port = 8443, path = \"/h?x=1\", host = \"h.example:8443\", \
                expect_status = [204, 301], expect_body = \"ok\", interval = \"2m\", timeout = \"1s\", rise = 4, fall = 5, \
                verify = false }\n";
    let text = BASE
        .replace("xdp = \"auto\"\n", front)
        .replace("contact = \"hostmaster@app.com\"\n", zone)
        .replace("ttl = 0\n", pool)
        .replace("sites = [\"boston\", \"geneva\"]\n", group)
        .replacen("probe = { kind = \"http\" }\n", site, 1)
        .replace("[\"192.0.2.10\"]", "[{ answer = \"192.0.2.10\", probe = \"10.0.0.1\" }, \"2001:db8::1\"]");
    let model = model(&text);
    assert_eq!(model.front.xdp, XdpMode::Generic);
    let zone = &model.zones[0];
    assert_eq!(zone.rname.first().as_slice(), b"host.master");
    assert_eq!((zone.serial, zone.refresh, zone.retry, zone.expire), (7, 8, 9, 10));
    assert_eq!((zone.negative_ttl, zone.ns_ttl), (11, 12));
    assert_eq!(zone.records, Some(examples().join("app.com.zone")));
    assert_eq!(zone.balance_nameservers[0].to_string(), "a.example");
    assert_eq!(zone.failover_nameservers[0].to_string(), "b.example");
    let pool = &model.pools[0];
    assert_eq!((pool.policy, pool.ttl, pool.sticky_prefix), (Policy::Sticky, 5, (32, 0)));
    assert_eq!((pool.all_down, pool.last_resort), (AllDown::Servfail, LastResort::Pool));
    assert!((pool.up_threshold - 1.0).abs() < f64::EPSILON);
    assert_eq!(model.groups[0].policy, Policy::WeightedRandom);
    let boston = &model.sites[0];
    assert_eq!((boston.weight, boston.initial), (2, Initial::Down));
    let addresses: Vec<_> = boston.addresses.iter().map(|a| (a.answer.to_string(), a.probe.to_string())).collect();
    let expected = [("192.0.2.10", "10.0.0.1"), ("2001:db8::1", "2001:db8::1")];
    assert_eq!(addresses, expected.map(|(a, p)| (a.to_owned(), p.to_owned())));
    let probe = boston.probes.first().expect("probed");
    assert_eq!((probe.port, probe.rise, probe.fall), (8443, 4, 5));
    assert_eq!((probe.interval, probe.timeout), (Duration::from_mins(2), Duration::from_secs(1)));
    let ProbeKind::Http(http) = &probe.kind else { panic!("an HTTP probe") };
    assert_eq!((http.path.as_str(), http.host.as_str()), ("/h?x=1", "h.example:8443"));
    assert_eq!((http.expect_status.as_slice(), http.expect_body.as_deref()), (&[204, 301][..], Some("ok")));
    let tls = http.tls.as_ref().expect("TLS");
    assert_eq!((tls.server_name.as_str(), tls.verify, &tls.ca), ("h.example", false, &None));
}

/// A TCP probe is a port and its timing.
#[test]
fn a_tcp_probe() {
    let model = model(&changed("kind = \"http\"", "kind = \"tcp\", port = 8080"));
    let probe = model.sites[0].probes.first().expect("probed");
    assert!(matches!(probe.kind, ProbeKind::Tcp));
    assert_eq!(probe.port, 8080);
}

const FOUR: &str = r#"
[front]
addresses = ["127.0.0.1:5353"]
xdp = "off"
[zone."app.com"]
nameservers = ["ns1.app.com"]
contact = "hostmaster.app.com"
[pool."app.com"]
sites = ["d", "c", "b", "a"]
[group."z.app.com"]
pool = "APP.com."
sites = ["b", "c", "a"]
[group."y.app.com"]
pool = "app.com"
sites = ["c", "a"]
[site.a]
name = "a.app.com"
addresses = ["192.0.2.1"]
group = "y.app.com"
[site.b]
name = "B.app.com."
addresses = ["192.0.2.2"]
[site.c]
name = "c.app.com"
addresses = ["192.0.2.3"]
[site.d]
name = "d.app.com"
addresses = ["192.0.2.4"]
"#;

/// C3, C12, S4-A-ORDER, S4-A-OVERLAP: the Site itself, then circularly onward through its primary group, which is the
/// first in the file that lists it unless it names one; the pool's order for a Site in no group.
#[test]
fn failover_goes_circularly_through_the_primary_group() {
    let model = model(FOUR);
    let failover = |key| keys(&model, &model.sites[site(&model, key).0].failover);
    assert_eq!(failover("a"), ["a", "c"], "by its `group`");
    assert_eq!(failover("b"), ["b", "c", "a"]);
    assert_eq!(failover("c"), ["c", "a", "b"], "by the first group in the file");
    assert_eq!(failover("d"), ["d", "c", "b", "a"], "by the pool");
    assert_eq!(keys(&model, model.sites_of(NameKind::Group(GroupId(1)))), ["c", "a"]);
    assert_eq!(model.names[1].name.to_string(), "z.app.com", "in the file's order, not the alphabet's");
}

/// A group that bears its pool's name sets the pool's order, and neither is a second name nor a primary group.
#[test]
fn a_group_with_the_pools_name_only_sets_the_order() {
    let order = "[group.\"app.com\"]\npool = \"app.com\"\nsites = [\"a\", \"b\", \"c\", \"d\"]\n[group.\"z.app.com\"]";
    let model = model(&FOUR.replace("[group.\"z.app.com\"]", order));
    assert_eq!(keys(&model, &model.pools[0].sites), ["a", "b", "c", "d"]);
    assert_eq!(keys(&model, &model.sites[site(&model, "d").0].failover), ["d", "a", "b", "c"]);
    assert_eq!(keys(&model, &model.sites[site(&model, "b").0].failover), ["b", "c", "a"]);
    let pools_name: Vec<_> = model.names.iter().filter(|n| n.name.to_string() == "app.com").map(|n| n.kind).collect();
    assert_eq!(pools_name, [NameKind::Pool(PoolId(0))]);
    assert_eq!((model.groups.len(), model.names.len()), (3, 7));
}

/// S4-4B, invariant 10: each of two machines serves the names of its role and knows the other's.
#[test]
fn roles_decide_what_is_served() {
    let balance = load(&examples().join("balance-only.toml")).expect("valid").model;
    let failover = load(&examples().join("failover-only.toml")).expect("valid").model;
    let served = |m: &Model| m.names.iter().filter(|n| n.served).map(|n| n.name.to_string()).collect::<Vec<_>>();
    assert_eq!(served(&balance), ["app.com"]);
    assert_eq!(served(&failover), ["geneva.app.com", "boston.app.com"]);
    assert_eq!(balance.names.len(), failover.names.len());
    assert_eq!(balance.zones[0].failover_nameservers[0].to_string(), "ns2.app.com");
}

/// A pool is where a Site's knobs come from: the first that lists it.
#[test]
fn a_site_in_two_pools_belongs_to_the_first() {
    let two = "[pool.\"first.app.com\"]\nsites = [\"a\"]\n[pool.\"app.com\"]";
    let model = model(&FOUR.replace("[pool.\"app.com\"]", two));
    assert_eq!(model.sites.iter().map(|s| s.pool).collect::<Vec<_>>(), [PoolId(0), PoolId(1), PoolId(1), PoolId(1)]);
}

/// The longest legal names are legal, of few labels and of many.
#[test]
fn names_up_to_255_bytes() {
    let long = [vec!["b".repeat(61); 3], vec!["b".repeat(59)]].concat().join(".") + ".app.com";
    assert_eq!(model(&changed("boston.app.com", &long)).sites[0].name.len(), 255);
    let deep = "b.".repeat(123) + "app.com";
    let name = model(&changed("boston.app.com", &deep)).sites[0].name.clone();
    assert_eq!((name.len(), name.label_count()), (255, 126));
}

/// A slot names an endpoint in 16 bits.
#[test]
fn endpoints_are_at_most_65535() {
    let list =
        |n: u32| (1..=n).map(|i| format!("\"10.1.{}.{}\"", i >> 8 & 255, i & 255)).collect::<Vec<_>>().join(", ");
    let few = changed("[\"192.0.2.10\"]", &format!("[{}]", list(65_534)));
    assert_eq!(lines(&few), Vec::<String>::new());
    let many = changed("[\"192.0.2.10\"]", &format!("[{}]", list(65_535)));
    let expected = "f:27:7: error: [site.geneva]: more than 65535 Site addresses in all (split the Sites over several \
                    instances)";
    assert_eq!(lines(&many), [expected]);
}
