//! The effects of a reload, and what it leaves alone.

use std::{net::IpAddr, time::Duration};

use rustix::process::Signal;
use tests::{agent::attached, client::Client, config::Config, process::eventually, scene::Scene};

const SECOND: &str = "203.0.113.54";

/// Writes another configuration and reloads it; the new first plan is in force when this returns.
fn reload(scene: &mut Scene, config: &Config) {
    let before = scene.agent.status().expect("status").generation();
    config.write(scene.agent.folder()).expect("written");
    scene.agent.signal(Signal::HUP).expect("told");
    let reloaded = || scene.agent.status().is_ok_and(|report| report.generation() > before);
    assert!(eventually(Duration::from_secs(10), reloaded), "{}", scene.agent.log());
}

/// Invariant 3, S4-DNS-STATUS: what probes have found stays known: a dead Site is not answered for having been reloaded, nor
/// is one whose `initial` is "down" forgotten to be up.
#[test]
fn health_goes_on() {
    let Some(mut scene) = Scene::start("health over a reload", Config::default()) else { return };
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let dead = scene.address("boston", false);
    let client = scene.client(false);
    for weight in 3..=5 {
        let mut config = scene.config.clone();
        config.sites.iter_mut().for_each(|site| site.weight = weight);
        reload(&mut scene, &config);
        let answered: Vec<IpAddr> = (0..60).map(|_| client.lookup("app.com", false).expect("answered")).collect();
        assert!(!answered.contains(&dead), "{answered:?}");
    }
}

/// Addresses and interfaces come and go with a reload; the admin interface and other addresses go on.
#[test]
fn addresses_and_interfaces_come_and_go() {
    let config = Config { probe: None, ..Config::default() };
    let Some(mut scene) = Scene::start("addresses and interfaces by reload", config) else { return };
    scene.lab.fronts[0].ip(&format!("address add {SECOND}/24 dev eth0")).expect("a second address");
    scene.lab.client.ip(&format!("route add {SECOND} dev front0")).expect("the way to it");
    scene.lab.fronts[0].ip("link add spare0 type veth peer name spare1").expect("a second interface");
    let second: IpAddr = SECOND.parse().expect("an address");
    let ask = |scene: &Scene| {
        let client = Client::new(&scene.lab.client, None, (second, 53).into()).expect("client");
        client.give_up_after(Duration::from_millis(300)).expect("a time-out");
        client.lookup("app.com", false).is_ok()
    };
    assert!(!ask(&scene), "nobody is there");
    let mut addresses = scene.config.addresses.clone();
    addresses.push(second);
    let interfaces = vec!["eth0".to_owned(), "spare0".to_owned()];
    let more = Config { addresses, interfaces, ..scene.config.clone() };
    reload(&mut scene, &more);
    assert!(ask(&scene), "{}", scene.agent.log());
    let dig = scene.lab.client.read("dig", &[&format!("@{SECOND}"), "+tcp", "+short", "+time=2", "app.com", "SOA"]);
    assert!(dig.expect("dig").contains("hostmaster"), "the sockets listen there too");
    assert!(attached(&scene.lab.fronts[0], "spare0").expect("ip link").is_some());
    let before = scene.config.clone();
    reload(&mut scene, &before);
    assert!(!ask(&scene), "gone again");
    assert_eq!(attached(&scene.lab.fronts[0], "spare0").expect("ip link"), None);
    scene.client(false).lookup("app.com", false).expect("the first one goes on");
}

/// Invariant 9: a reload that fails at its last step, on an interface, undoes the others.
#[test]
fn a_reload_that_cannot_attach_changes_nothing() {
    let config = Config { probe: None, ..Config::default() };
    let Some(mut scene) = Scene::start("a reload that fails late", config) else { return };
    let before = scene.agent.attached("eth0").expect("ip link");
    let interfaces = vec!["eth0".to_owned(), "nowhere0".to_owned()];
    let bad = Config { interfaces, ..scene.config.clone() };
    bad.write(scene.agent.folder()).expect("written");
    scene.agent.signal(Signal::HUP).expect("told");
    let said = || scene.agent.log().contains("nowhere0");
    assert!(eventually(Duration::from_secs(10), said), "{}", scene.agent.log());
    assert_eq!(scene.agent.attached("eth0").expect("ip link"), before);
    scene.client(false).lookup("app.com", false).expect("answered");
    let good = Config { pool: "ttl = 7\n".into(), ..scene.config.clone() };
    reload(&mut scene, &good);
    assert_ne!(scene.agent.attached("eth0").expect("ip link"), before);
}

/// `watch`: a change of the file is a reload, and a bad one is told and changes nothing.
#[test]
fn a_watched_file() {
    let watch = "[agent]\nwatch = true\n";
    let config = Config { probe: None, more: watch.into(), ..Config::default() };
    let Some(scene) = Scene::start("a watched file", config) else { return };
    let generation = || scene.agent.status().expect("status").generation();
    let before = generation();
    let bad = Config { more: format!("{watch}[nonsense]\n"), ..scene.config.clone() };
    bad.write(scene.agent.folder()).expect("written");
    let told = || scene.agent.log().contains("nonsense");
    assert!(eventually(Duration::from_secs(10), told), "{}", scene.agent.log());
    assert_eq!(generation(), before);
    let good = Config { pool: "ttl = 7\n".into(), ..scene.config.clone() };
    good.write(scene.agent.folder()).expect("written");
    assert!(eventually(Duration::from_secs(10), || generation() > before), "{}", scene.agent.log());
}
