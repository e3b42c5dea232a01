//! `--nic` over veth: the interface is looked at, both programs answer there, and nothing stays.

use std::{process::Command, time::Duration};

use benches::nic::{self, NicWish};
use tests::{netns::Netns, process::Process, scratch};

/// The generator's whole time: it must cover both programs'.
const GENERATOR_S: &str = "30";

#[test]
fn an_interface_is_measured_and_left_as_it_was() {
    if !tests::lab::can_run("--nic") {
        return;
    }
    let (client, front) = (Netns::new().unwrap(), Netns::new().unwrap());
    for namespace in [&client, &front] {
        namespace.sysctl("net/ipv6/conf/default/disable_ipv6", "1").unwrap();
    }
    client
        .ip(&format!(
            "link add wire type veth peer name eth0 address 02:00:00:00:00:77 netns {}\n\
             addr add 198.51.100.200/32 dev wire\nlink set wire up\nroute add 203.0.113.53 dev wire\n\
             neigh add 203.0.113.53 lladdr 02:00:00:00:00:77 dev wire nud permanent",
            front.path()
        ))
        .unwrap();
    front.ip("link set eth0 up\nroute add default dev eth0").unwrap();
    let left = scratch::folder().unwrap();
    let measure = |consent| {
        let folder = left.path().to_owned();
        let wish = NicWish { interface: "eth0".to_owned(), consent, time: Duration::from_secs(2), folder };
        front.run(move || nic::measure(&wish)).unwrap()
    };

    let refused = measure(false).unwrap_err().to_string();
    assert!(refused.contains("carries the default route"), "{refused}");

    let folder = scratch::folder().unwrap();
    let queries = folder.path().join("queries");
    std::fs::write(&queries, "aaaaaaaa.app.example A\n").unwrap();
    let mut kxdpgun = Command::new(scratch::find_tool("kxdpgun").unwrap());
    kxdpgun.args(["-t", GENERATOR_S, "-Q", "100000", "-b", "32", "-I", "wire", "-i"]).arg(&queries).arg("203.0.113.53");
    kxdpgun.stdout(std::process::Stdio::null());
    let generator = Process::new(client.spawn(kxdpgun).unwrap());
    let costs = measure(true).unwrap();
    drop(generator);

    assert_eq!((costs.interface.driver.as_str(), costs.interface.mac), ("veth", [2, 0, 0, 0, 0, 0x77]));
    assert_eq!(
        costs.phases.iter().map(|phase| (phase.what, phase.native)).collect::<Vec<_>>(),
        [("reflector", true), ("zerottl", true)]
    );
    for phase in &costs.phases {
        assert!(phase.packets > 1_000.0 && phase.softirq_s > 0.0 && phase.cycles() > 0.0, "{phase:?}");
    }
    let asked = std::fs::read_to_string(left.path().join("zerottl-nic-queries")).unwrap();
    assert!(asked.starts_with("aaaaaaaa.app.example A\n"), "{asked:.40}");
    let link = front.read("ip", &["link", "show", "dev", "eth0"]).unwrap();
    assert!(!link.contains("xdp"), "{link}");
}
