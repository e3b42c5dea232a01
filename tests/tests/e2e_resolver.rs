//! A caching resolver (unbound) between the client and the front.

use std::{
    collections::HashSet,
    fs,
    net::IpAddr,
    process::{Command, Stdio},
    time::Duration,
};

use tests::{
    config::Config,
    lab::{LabSpec, front_v4, front_v6},
    process::{Process, eventually},
    scene::Scene,
};

/// Starts unbound in the resolver's namespace, asking only the front for app.com.
fn unbound(scene: &Scene, name: &str, more: &str) -> Process {
    let folder = scene.lab.folder(name).expect("folder");
    let at = folder.display();
    let text = format!(
        "server:
  interface: 127.0.0.1
  do-daemonize: no
  use-syslog: no
  logfile: \"{at}/log\"
  directory: \"{at}\"
  chroot: \"\"
  username: \"\"
  pidfile: \"\"
  module-config: \"iterator\"
  # Random case, as careful resolvers ask (draft-vixie-dnsext-dns0x20).
  use-caps-for-id: yes
  {more}
remote-control:
  control-enable: no
stub-zone:
  name: \"app.com\"
  stub-addr: {}
  stub-addr: {}
",
        front_v4(0),
        front_v6(0)
    );
    let file = folder.join("unbound.conf");
    fs::write(&file, text).expect("write");
    let mut command = Command::new(tests::scratch::find_tool("unbound").expect("unbound"));
    command.arg("-d").arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let machine = scene.lab.resolver.as_ref().expect("the lab has a resolver");
    let process = Process::new(machine.spawn(command).expect("spawn"));
    let answers = eventually(Duration::from_secs(15), || !ask(scene, "app.com", "A").is_empty());
    assert!(answers, "unbound answers:\n{}", fs::read_to_string(folder.join("log")).unwrap_or_default());
    process
}

/// Asks the resolver; the addresses it gives.
fn ask(scene: &Scene, name: &str, rtype: &str) -> Vec<IpAddr> {
    let machine = scene.lab.resolver.as_ref().expect("the lab has a resolver");
    let fixed = ["@127.0.0.1", "+short", "+tries=1", "+time=2"];
    let text = machine.read("dig", &[&fixed[..], &[name, rtype]].concat()).unwrap_or_default();
    text.lines().filter_map(|line| line.parse().ok()).collect()
}

fn scene(what: &str) -> Option<Scene> {
    let spec = LabSpec { resolver: true, ..LabSpec::default() };
    // The resolver's wire is a second interface.
    let config = Config { interfaces: vec!["eth0".into(), "eth2".into()], ..Config::default() };
    Scene::in_lab(what, &spec, config)
}

/// S4-2A, S4-2B, S4-2C, S4-3A-325 through a resolver that honours TTL 0: every lookup is a decision of the front, made
/// in the kernel; Site Names pin and move.
#[test]
fn a_resolver_that_honours_ttl_0_passes_every_decision_on() {
    let Some(scene) = scene("S4-2A to S4-2C through unbound") else { return };
    let _unbound = unbound(&scene, "unbound", "");
    let before = scene.kernel_answers();
    let mut seen = HashSet::new();
    for _ in 0..24 {
        let addresses = ask(&scene, "app.com", "A");
        assert_eq!(addresses.len(), 1);
        seen.extend(addresses);
    }
    assert_eq!(seen.len(), 3, "each Site is met: {seen:?}");
    assert!(scene.kernel_answers() - before >= 24, "every lookup reached the kernel");
    for (rtype, v6) in [("A", false), ("AAAA", true)] {
        for _ in 0..20 {
            assert_eq!(ask(&scene, "boston.app.com", rtype), [scene.address("boston", v6)]);
        }
    }
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    assert_eq!(ask(&scene, "boston.app.com", "A"), [scene.address("chicago", false)]);
    assert_eq!(ask(&scene, "boston.app.com", "AAAA"), [scene.address("chicago", true)]);
    scene.lab.site("boston").restart().expect("restart");
    scene.wait_for(&[("boston", true)]);
    assert_eq!(ask(&scene, "boston.app.com", "A"), [scene.address("boston", false)]);
}

/// S4-C15: a resolver that keeps answers longer than their TTL of 0 does not break a session: the Site Name goes on
/// giving the Site that the client was sent to, and moves once what the resolver kept has run out.
#[test]
fn a_resolver_that_ignores_ttl_0_breaks_no_session() {
    let Some(scene) = scene("S4-C15: a resolver that ignores TTL 0") else { return };
    let _unbound = unbound(&scene, "unbound", "cache-min-ttl: 3");
    let selected = ask(&scene, "app.com", "A");
    let key = scene.site_at(selected[0]).to_owned();
    for _ in 0..10 {
        assert_eq!(ask(&scene, "app.com", "A"), selected, "kept by the resolver");
        assert_eq!(ask(&scene, &scene.site(&key).name, "A"), selected, "the Site Name pins");
    }
    ask(&scene, "boston.app.com", "A");
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let moved =
        eventually(Duration::from_secs(8), || ask(&scene, "boston.app.com", "A") == [scene.address("chicago", false)]);
    assert!(moved, "the name moves when the kept answer has run out");
}
