//! The example of a hook that withdraws a front's route: two real BIRDs, and the peer's routing table.

use std::{fs, process::Command, time::Duration};

use tests::{
    bird::Bird,
    config::Config,
    lab::{Lab, LabSpec, fleet_v4, peer_v4},
    process::eventually,
    scene::Scene,
    scratch::root,
};

const PATIENCE: Duration = Duration::from_secs(30);

/// The peer: what it learns goes into its kernel's table.
fn peer_config() -> String {
    format!(
        "router id {peer};\nlog stderr all;\nprotocol device {{ scan time 1; }}\n\
         protocol kernel {{ ipv4 {{ import none; export all; }}; }}\n\
         protocol bgp front {{ local {peer} as 64511; neighbor {front} as 64512; ipv4 {{ import all; export none; }}; }}\n",
        peer = peer_v4(0),
        front = fleet_v4(0)
    )
}

fn has_route(lab: &Lab) -> bool {
    let said = lab.peers[0].read("ip", &["route", "show", "203.0.113.0/24"]).expect("ip");
    said.contains(&format!("via {}", fleet_v4(0)))
}

/// The shipped configuration and script, with this lab's addresses: while no Site is up the route is away from the peer's table, and it
/// comes back with the Sites; the same while the front is cut off; and the end of one reason is not the end of the other.
#[test]
fn a_front_without_sites_withdraws_its_route() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = |name: &str| folder.path().join(name).display().to_string();
    let script = root().join("examples/hooks/bird-route.sh").display().to_string();
    let command = [script.clone(), "anycast*".into(), path("bird.ctl"), path("marks")];
    let hook = format!(
        "[hook.route]\ncommand = {command:?}\nevents = [\"cut-off\", \"rejoined\", \"site-down\", \"site-up\"]\n"
    );
    let config = Config { groups: vec![], more: hook, ..Config::default() };
    let spec = LabSpec { peers: 1, sites: config.sites.clone(), ..LabSpec::default() };
    let Some(scene) = Scene::in_lab("routes of a front", &spec, config) else { return };
    let lab = &scene.lab;
    let example = fs::read_to_string(root().join("examples/hooks/bird.conf")).expect("the example");
    let own = example.replace("= 198.51.100.2;", &format!("= {};", fleet_v4(0)));
    let own = own.replace("= 198.51.100.1;", &format!("= {};", peer_v4(0)));
    let front = Bird::start(&lab.fronts[0], folder.path(), &own).unwrap_or_else(|e| panic!("{e}"));
    let folder_of_peer = lab.folder("bird").expect("a folder");
    let peer = Bird::start(&lab.peers[0], &folder_of_peer, &peer_config()).unwrap_or_else(|e| panic!("{e}"));
    let until = |has: bool| {
        let is_so = eventually(PATIENCE, || has_route(lab) == has);
        assert!(is_so, "route: {has}\n{}\n{}\n{}", front.log(), peer.log(), scene.agent.log());
    };
    until(true);

    lab.site("boston").kill();
    scene.wait_for(&[("boston", false), ("geneva", true)]);
    lab.join_front_to_sites(0, false).expect("cut");
    until(false);
    // The peering is up all the while: the route was withdrawn, not lost with it.
    assert!(peer.ask("show protocols front").expect("birdc").contains("Established"));
    lab.join_front_to_sites(0, true).expect("joined");
    until(true);

    let told = |event: &str, sites_up: &str| {
        let mut hook = Command::new(&script);
        hook.args(&command[1..]).env("ZEROTTL_EVENT", event).env("ZEROTTL_SITES_UP", sites_up);
        let output = lab.fronts[0].output(hook).expect("it runs");
        assert!(output.status.success(), "{output:?}");
    };
    told("cut-off", "");
    until(false);
    told("site-up", "1");
    told("cut-off", "");
    std::thread::sleep(Duration::from_millis(500));
    assert!(!has_route(lab), "it is still cut off");
    told("rejoined", "");
    until(true);
}
