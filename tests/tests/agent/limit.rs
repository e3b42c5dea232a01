//! Response rate limiting, as clients meet it.

use std::net::{IpAddr, Ipv4Addr};

use domain::base::Rtype;
use tests::{
    client::Client,
    config::Config,
    query::{ClientEdns, ClientQuestion},
    scene::Scene,
};

/// Answers a second.
const RATE: usize = 50;
/// Asked by the network that is held back.
const ASKED: usize = 2000;

fn client(scene: &Scene, network: u8, host: u8) -> Client {
    scene.client_from(false, Some(IpAddr::from(Ipv4Addr::new(198, 18, network, host))))
}

/// A network over its rate gets no more than that; its neighbours lose nothing; a dry run gives everything and counts.
fn a_network_is_held_to_its_rate(xdp: &str) {
    let limit = format!("[rate_limit]\nper_second = {RATE}\nslip = 0\n");
    let config = Config { xdp: xdp.into(), more: limit.clone(), ..Config::default() };
    let Some(scene) = Scene::start(&format!("rate limiting, xdp {xdp}"), config) else { return };
    let question = ClientQuestion::new("app.com", Rtype::A, Some(ClientEdns::USUAL)).expect("a legal name");
    let (greedy, modest) = (client(&scene, 1, 1), client(&scene, 2, 1));
    greedy.give_up_after(std::time::Duration::from_millis(1)).expect("set");
    let began = std::time::Instant::now();
    let mut given = 0;
    for asked in 0..ASKED {
        given += usize::from(greedy.ask(&question).is_ok());
        if asked % (ASKED / RATE) == 0 {
            modest.ask(&question).expect("a modest network is answered");
        }
    }
    let elapsed = began.elapsed();
    // The clock that is read has a step of some milliseconds; a late answer may be taken for the next question's.
    let most = RATE + 2 + elapsed.as_millis() as usize * RATE * 11 / 10_000;
    println!("xdp {xdp}: {given} of {ASKED} answered in {elapsed:.1?}, {RATE} a second");
    assert!((RATE / 2..=most).contains(&given), "{given} of {ASKED} in {elapsed:.1?}");
    let held_back = scene.agent.status().expect("status").limited();
    assert!(held_back >= (ASKED - most) as u64, "{held_back} are counted as held back");
}

#[test]
fn rates_in_the_kernel() {
    a_network_is_held_to_its_rate("native");
}

#[test]
fn rates_by_the_sockets() {
    a_network_is_held_to_its_rate("off");
}
