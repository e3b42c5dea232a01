//! Queries in VLANs: those of the host are answered in the kernel, as they come and go, and no others.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fmt::Write as _,
    net::{IpAddr, Ipv4Addr},
    thread,
    time::{Duration, Instant},
};

use domain::base::Rtype;
use tests::{
    config::Config,
    lab::{front_addresses, front_v4},
    query::ClientQuestion,
    scene::Scene,
};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long an answer is waited for.
const WAIT: Duration = Duration::from_millis(300);
/// The client's addresses in VLAN 100, in VLAN 101, and in VLAN 200 within VLAN 100.
const CLIENTS: [Ipv4Addr; 3] =
    [Ipv4Addr::new(192, 168, 77, 1), Ipv4Addr::new(192, 168, 78, 1), Ipv4Addr::new(192, 168, 79, 1)];

/// The address of the client's and the front's ends of the wire.
fn mac(scene: &Scene) -> String {
    let front = scene.lab.fronts[0].read("cat", &["/sys/class/net/eth0/address"]).unwrap();
    front.trim().to_owned()
}

/// Whether a query from one of the client's addresses is answered.
fn is_answered(scene: &Scene, client: Ipv4Addr) -> bool {
    let socket = scene.lab.client.udp(Some(IpAddr::V4(client)), front_addresses(0)[0]).unwrap();
    socket.set_read_timeout(Some(WAIT)).unwrap();
    let question = ClientQuestion::new("app.com", Rtype::A, None).unwrap();
    socket.send(&question.query(7, 9)).unwrap();
    socket.recv(&mut [0; 1500]).is_ok()
}

#[track_caller]
fn comes_to(scene: &Scene, what: &str, expected: [bool; 3]) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = CLIENTS.map(|client| is_answered(scene, client));
        if found == expected {
            return;
        }
        assert!(Instant::now() < end, "{what}: {found:?}, not {expected:?}");
        thread::sleep(Duration::from_millis(50));
    }
}

/// The program answers in the VLANs that the host has on the interface, at the time, and in none besides.
#[test]
fn the_hosts_vlans_are_answered_and_no_others() {
    let Some(scene) = Scene::start("queries in VLANs", Config::default()) else { return };
    if scene.lab.client.ip("link add link front0 name probe type vlan id 9\nlink delete probe\n").is_err() {
        println!("NOT TESTED: queries in VLANs (this kernel has no VLAN interfaces)");
        return;
    }
    let (front, mac) = (front_v4(0), mac(&scene));
    // The tags have to be in the frames, where the program sees them.
    scene.lab.client.read("ethtool", &["-K", "front0", "txvlan", "off"]).unwrap();
    let mut lines = String::from(
        "link add link front0 name v100 type vlan id 100\nlink add link front0 name v101 type vlan id 101\n\
         link add link v100 name v200 type vlan id 200\n",
    );
    for (name, (client, table)) in ["v100", "v101", "v200"].into_iter().zip(CLIENTS.into_iter().zip(100..)) {
        // Writing into a String does not fail.
        let _ = write!(
            lines,
            "link set {name} up\naddress add {client}/32 dev {name}\nroute add {front}/32 dev {name} table {table}\n\
             rule add from {client} table {table}\nneighbour add {front} lladdr {mac} dev {name} nud permanent\n"
        );
    }
    scene.lab.client.ip(&lines).unwrap();
    comes_to(&scene, "no VLANs at all", [false; 3]);
    let passed = || scene.agent.status().unwrap().reason("pass-vlan");
    assert!(passed() > 0);
    let front = &scene.lab.fronts[0];
    front.ip("link add link eth0 name eth0.100 type vlan id 100\nlink set eth0.100 up\n").unwrap();
    comes_to(&scene, "VLAN 100", [true, false, false]);
    front.ip("link add link eth0.100 name inner type vlan id 200\nlink set inner up\n").unwrap();
    comes_to(&scene, "VLAN 200 within it", [true, false, true]);
    front.ip("link set eth0.100 down\nlink add link eth0 name other type vlan id 101\nlink set other up\n").unwrap();
    comes_to(&scene, "VLAN 101 instead", [false, true, false]);
    front.ip("link delete other\n").unwrap();
    comes_to(&scene, "no VLANs any more", [false; 3]);
}
