//! Client nets: a Pool query is answered from its client's group.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use domain::base::Rtype;
use serde_json::Value;
use tests::{
    client::Pinned,
    config::Config,
    mmdb,
    query::{ClientEdns, ClientQuestion},
    scene::Scene,
};

/// `198.18.0.0/15` by /24, `2001:db8:c::/48` by /56: the client machine's.
fn source(subnet: u8, v6: bool) -> IpAddr {
    if v6 {
        Ipv6Addr::new(0x2001, 0xdb8, 0xc, u16::from(subnet) << 8, 0, 0, 0, 9).into()
    } else {
        Ipv4Addr::new(198, 18, subnet, 9).into()
    }
}

/// Europe's clients by written nets; the rest of the sources by none.
fn config(xdp: &str) -> Config {
    let mut config = Config { xdp: xdp.into(), ..Config::default() };
    config.group_keys = vec![
        "clients = [\"198.18.0.0/18\", \"2001:db8:c::/50\"]".into(),
        "clients = [\"198.18.16.0/24\", \"198.18.64.0/18\", \"2001:db8:c:1000::/56\", \"2001:db8:c:4000::/50\"]".into(),
    ];
    config
}

/// The Sites that a client of network `subnet` is given for app.com, over 60 questions.
fn given(scene: &Scene, subnet: u8, over_v6: bool, v6: bool) -> Vec<String> {
    let client = scene.client_from(over_v6, Some(source(subnet, over_v6)));
    let rtype = if v6 { Rtype::AAAA } else { Rtype::A };
    let question = ClientQuestion::new("app.com", rtype, Some(ClientEdns::USUAL)).expect("a legal name");
    let mut sites: Vec<String> =
        (0..60).map(|_| scene.site_at(client.address(&question).expect("answer")).to_owned()).collect();
    sites.sort_unstable();
    sites.dedup();
    sites
}

fn check(scene: &Scene, expected: [(u8, &[&str]); 5]) {
    for (subnet, sites) in expected {
        for (over_v6, v6) in [(false, false), (false, true), (true, false), (true, true)] {
            assert_eq!(given(scene, subnet, over_v6, v6), sites, "network {subnet}, over IPv6: {over_v6}, AAAA: {v6}");
        }
    }
}

const ALL: [&str; 3] = ["boston", "chicago", "geneva"];
const EUROPE: [&str; 1] = ["geneva"];
const AMERICAS: [&str; 2] = ["boston", "chicago"];

/// `explain` shows whose nets the first network is in, and the table that its clients are answered from.
fn check_explained(scene: &Scene, answered: &str, note: Option<&str>) {
    let client = source(1, false).to_string();
    let text = scene.agent.zerottl(&["explain", "app.com", "--client", &client, "--json"]).expect("explain");
    let page: Value = serde_json::from_str(&text).expect("JSON");
    assert_eq!(page["group"], "europe.app.com", "{text}");
    let a = &page["families"][0];
    assert_eq!(a["note"].as_str(), note, "{text}");
    let sites = a["addresses"].as_array().expect("a list");
    assert!(sites.iter().any(|address| address["site"] == answered), "{text}");
}

/// S4-4C, S4-A-GROUP: whom a group has in its nets is answered from that group, by the longest prefix; when the group is
/// dead, from the pool; Group and Site Names mean what they say to everyone.
fn a_pool_query_is_answered_from_the_client_s_group(xdp: &str) {
    let Some(scene) = Scene::start(&format!("S4-4C: client nets, xdp {xdp}"), config(xdp)) else { return };
    let _pinned = Pinned::new().expect("pin");
    check(&scene, [(1, &EUROPE), (16, &AMERICAS), (17, &EUROPE), (70, &AMERICAS), (200, &ALL)]);
    let client = scene.client_from(false, Some(source(1, false)));
    for _ in 0..20 {
        let of_group = client.lookup("americas.app.com", false).expect("answer");
        assert!(AMERICAS.contains(&scene.site_at(of_group)));
        assert_eq!(client.lookup("chicago.app.com", false).expect("answer"), scene.address("chicago", false));
    }
    check_explained(&scene, EUROPE[0], None);
    scene.lab.site("geneva").kill();
    scene.wait_for(&[("geneva", false)]);
    check_explained(
        &scene,
        "boston",
        Some("no Site of europe.app.com has a live A address: all of the pool's Sites are considered"),
    );
    check(&scene, [(1, &AMERICAS), (16, &AMERICAS), (17, &AMERICAS), (70, &AMERICAS), (200, &AMERICAS)]);
    scene.lab.site("geneva").restart().expect("restart");
    scene.wait_for(&[("geneva", true)]);
    check(&scene, [(1, &EUROPE), (16, &AMERICAS), (17, &EUROPE), (70, &AMERICAS), (200, &ALL)]);
    let answers = scene.kernel_answers();
    assert_eq!(answers > 0, xdp != "off", "{answers} answered in the kernel");
}

#[test]
fn s4_4c_in_the_kernel() {
    a_pool_query_is_answered_from_the_client_s_group("native");
}

#[test]
fn s4_4c_by_the_sockets() {
    a_pool_query_is_answered_from_the_client_s_group("off");
}

/// S4-4C: countries and continents from a database file.
#[test]
fn s4_4c_by_country_and_continent() {
    let places = [("198.18.1.0/24", "CH", "EU"), ("198.18.16.0/20", "US", "NA"), ("2001:db8:c:100::/56", "CH", "EU")];
    let places = places.map(|(net, country, continent)| (net.parse().expect("a net"), country, continent));
    let folder = tests::scratch::folder().expect("a folder");
    let path = folder.path().join("country.mmdb");
    fs::write(&path, mmdb::write(&places)).expect("written");
    let mut config = Config { more: format!("[geo]\ndatabase = {path:?}\n"), ..Config::default() };
    config.group_keys = vec!["countries = [\"CH\"]".into(), "continents = [\"NA\"]".into()];
    let Some(scene) = Scene::start("S4-4C: countries", config) else { return };
    let _pinned = Pinned::new().expect("pin");
    for (subnet, over_v6, sites) in
        [(1, false, &EUROPE[..]), (1, true, &EUROPE), (17, false, &AMERICAS), (17, true, &ALL), (2, false, &ALL)]
    {
        assert_eq!(given(&scene, subnet, over_v6, false), sites, "network {subnet}, over IPv6: {over_v6}");
    }
}

/// The example database is what the writer makes of these; `ZEROTTL_BLESS=1` writes it.
#[test]
fn the_example_database_is_as_the_writer_makes_it() {
    let places = [
        ("192.0.2.0/24", "US", "NA"),
        ("198.51.100.0/24", "CH", "EU"),
        ("203.0.113.0/24", "DE", "EU"),
        ("2001:db8:c::/48", "CH", "EU"),
        ("2001:db8:d::/48", "DE", "EU"),
        ("2001:db8:e::/48", "JP", "AS"),
        ("2001:db8:f::/48", "LI", "EU"),
    ];
    let places = places.map(|(net, country, continent)| (net.parse().expect("a net"), country, continent));
    let path = tests::scratch::root().join("examples/example-country.mmdb");
    if std::env::var_os("ZEROTTL_BLESS").is_some() {
        fs::write(&path, mmdb::write(&places)).expect("written");
    }
    assert_eq!(fs::read(&path).expect("readable"), mmdb::write(&places));
}
