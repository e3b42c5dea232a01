//! The lab of several fronts: etcd's nodes, and which links can be cut alone.

use std::time::{Duration, Instant};

use rustix::process::Signal;
use tests::{
    config::Config,
    etcd::Etcd,
    fleet::FleetScene,
    lab::{Lab, LabSpec, can_run},
    process::eventually,
};

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn etcd_has_three_nodes_and_survives_its_leader() {
    if !can_run("etcd in the lab") {
        return;
    }
    let lab = Lab::start(&LabSpec { sites: vec![], peers: 3, ..LabSpec::default() }).expect("lab");
    let mut etcd = Etcd::start(&lab).expect("three nodes");
    assert_eq!(etcd.len(), 3);
    // Bytes of any kind, and more than an argument of a program may have.
    let value: Vec<u8> = (0..300_000_u32).map(|n| n as u8).collect();
    etcd.put(0, "a/one", &value).expect("put");
    etcd.put(1, "b/two", b"2").expect("put");
    assert_eq!(etcd.get(2, "a/one").expect("get"), Some(value));
    assert_eq!(etcd.keys(2, "a/").expect("keys"), ["a/one"]);

    let leader = etcd.leader().expect("a leader");
    let other = (leader + 1) % 3;
    etcd.kill(leader);
    let killed = Instant::now();
    assert!(eventually(PATIENCE, || etcd.put(other, "a/one", b"new").is_ok()), "{}", etcd.log(other));
    eprintln!("writes again {:?} after the leader was killed", killed.elapsed());
    assert!(etcd.leader().is_some_and(|now| now != leader));
    etcd.restart(leader).expect("again");
    assert_eq!(etcd.get(leader, "a/one").expect("get"), Some(b"new".to_vec()));

    // Two of three do not answer: nothing is written until one goes on.
    for number in [0, 1] {
        etcd.signal(number, Signal::STOP).expect("stop");
    }
    etcd.put(2, "a/one", b"lost").expect_err("no majority");
    etcd.signal(0, Signal::CONT).expect("go on");
    assert!(eventually(PATIENCE, || etcd.put(2, "a/one", b"kept").is_ok()), "{}", etcd.log(2));
    etcd.signal(1, Signal::CONT).expect("go on");
    etcd.delete(2, "a/one").expect("delete");
    assert_eq!(etcd.get(2, "a/one").expect("get"), None);
}

#[test]
fn each_link_of_a_front_is_cut_alone() {
    let Some(scene) = FleetScene::start("several fronts", 3, 1, &Config::default()) else { return };
    let url = format!("{}/version", scene.etcd.endpoints()[0]);
    let reaches = |front: usize| scene.lab.fronts[front].read("curl", &["-sf", "--max-time", "1", &url]).is_ok();
    let proven = |front: usize| scene.agents[front].status().expect("status").site_is_proven("boston");
    assert_eq!([0, 1, 2].map(reaches), [true; 3]);

    scene.lab.join_front_to_peers(1, false).expect("cut");
    assert_eq!([0, 1, 2].map(reaches), [true, false, true]);
    scene.lab.join_front_to_peers(1, true).expect("join");
    assert!(eventually(PATIENCE, || reaches(1)));

    scene.lab.join_front_to_sites(1, false).expect("cut");
    scene.wait_for(1, false);
    assert_eq!([0, 2].map(proven), [Some(true); 2]);
    assert_eq!([0, 1, 2].map(reaches), [true; 3]);
    scene.lab.join_front_to_sites(1, true).expect("join");
    scene.wait_for(1, true);

    scene.lab.join_peer(0, false).expect("cut");
    assert_eq!([0, 1, 2].map(reaches), [false; 3]);
}
