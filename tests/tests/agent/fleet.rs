//! Fleets: several fronts that share words and observations, by real etcd nodes.

mod away;
mod debits;
mod file;
mod health;
mod load;
mod secrets;
mod secure;
mod sharing;
mod votes;
mod words;

use std::{
    collections::BTreeSet,
    net::IpAddr,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{
    client::Client,
    config::Config,
    fleet::{BY_ETCD, FleetScene},
    process::eventually,
};

/// For whatever takes a lease's time.
const PATIENCE: Duration = Duration::from_secs(20);
/// A word is in force at every front within this.
const IN_FORCE: Duration = Duration::from_secs(1);

/// A fleet with a short lease.
fn config() -> Config {
    Config { fleet: BY_ETCD.into(), ..Config::default() }
}

/// Three fronts and three nodes, all of which have met.
fn start(what: &str, config: &Config) -> Option<FleetScene> {
    let scene = FleetScene::start(what, 3, 3, config)?;
    let has_met = || (0..3).all(|front| fronts(&scene, front).len() == 3);
    assert!(eventually(PATIENCE, has_met), "{:?}", scene.agents[0].get("/v1/fleet"));
    Some(scene)
}

fn page(scene: &FleetScene, front: usize) -> Value {
    let text = scene.agents[front].get("/v1/fleet").unwrap_or_else(|e| panic!("front {front}: {e}"));
    serde_json::from_str(&text).expect("JSON")
}

/// The fronts that one front sees.
fn fronts(scene: &FleetScene, front: usize) -> Vec<String> {
    let page = page(scene, front);
    let fronts = page["fronts"].as_array().expect("fronts");
    fronts.iter().map(|front| front["front"].as_str().expect("a name").to_owned()).collect()
}

/// The alarms of one front, by kind.
fn alarms(scene: &FleetScene, front: usize) -> BTreeSet<String> {
    let status = scene.agents[front].status().expect("status").0;
    let alarms = status["alarms"].as_array().expect("alarms");
    alarms.iter().map(|alarm| alarm["kind"].as_str().expect("a kind").to_owned()).collect()
}

/// Says a word at one front; what the agent answers.
fn say(scene: &FleetScene, front: usize, word: &str, sites: &str, more: &str) -> Value {
    let body = format!("{{\"word\":\"{word}\",\"sites\":\"{sites}\"{more}}}");
    let text = scene.agents[front].post("/v1/sites/word", &body).unwrap_or_else(|e| panic!("{word} {sites}: {e}"));
    serde_json::from_str(&text).expect("JSON")
}

/// The Sites that the pool's answers come to at one front, in the order of the configuration.
fn answered(scene: &FleetScene, client: &Client) -> String {
    let seen: Vec<IpAddr> = (0..12).map(|_| client.lookup("app.com", false).expect("an answer")).collect();
    let has = |site: &&tests::config::SiteConfig| site.addresses.iter().any(|address| seen.contains(address));
    scene.configs[0].sites.iter().filter(has).map(|site| site.key.as_str()).collect::<Vec<_>>().join(" ")
}

/// The time until the pool's answers come to these Sites alone, at each front.
fn until(scene: &FleetScene, clients: &[Client], expect: &str) -> Vec<Duration> {
    let begun = Instant::now();
    let mut took = vec![None; clients.len()];
    let all = eventually(PATIENCE, || {
        for (took, client) in took.iter_mut().zip(clients).filter(|(took, _)| took.is_none()) {
            if answered(scene, client) == expect {
                *took = Some(begun.elapsed());
            }
        }
        took.iter().all(Option::is_some)
    });
    assert!(
        all,
        "{expect}: {took:?} {:?}",
        scene.agents.iter().map(|agent| agent.get("/v1/fleet")).collect::<Vec<_>>()
    );
    took.into_iter().flatten().collect()
}

fn clients(scene: &FleetScene) -> Vec<Client> {
    (0..scene.agents.len()).map(|front| scene.client(front, false)).collect()
}
