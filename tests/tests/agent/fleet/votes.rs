//! Votes: what several fronts see, by quorum.

use tests::{config::Config, fleet::FleetScene, process::eventually};

use super::{PATIENCE, alarms, answered, clients, config, page, start, until};

/// Which front is told apart by its probes' network.
const CUT: usize = 1;

/// Has one front reach nothing of a Site.
fn block(scene: &FleetScene, front: usize, site: &str) {
    for address in scene.configs[front].sites.iter().filter(|of| of.key == site).flat_map(|of| &of.addresses) {
        let bits = if address.is_ipv4() { 32 } else { 128 };
        let family = if address.is_ipv4() { "-4" } else { "-6" };
        let prefix = format!("{address}/{bits}");
        scene.lab.fronts[front].read("ip", &[family, "route", "replace", "blackhole", &prefix]).expect("blocked");
    }
}

/// F-VOTE, F-CUT: one front's probes reach nothing any more. No Site leaves any front's answers under `half`; the front says
/// that it is cut off, the others see that it says so; `explain` says which votes decided; and it comes back by itself.
#[test]
fn f_cut_a_front_without_its_probes_network_holds() {
    let folder = tests::scratch::folder().expect("a folder");
    let file = folder.path().join("events");
    let line = format!("echo $ZEROTTL_FRONT $ZEROTTL_EVENT >> {}", file.display());
    let more =
        format!("[hook.note]\ncommand = [\"/bin/sh\", \"-c\", \"{line}\"]\nevents = [\"cut-off\", \"rejoined\"]\n");
    let Some(scene) = start("F-VOTE: a front is cut off", &Config { more, ..config() }) else { return };
    let clients = clients(&scene);
    let all = "geneva boston chicago";
    until(&scene, &clients, all);
    scene.lab.join_front_to_sites(CUT, false).expect("cut");
    let says_so = || (0..3).all(|front| alarms(&scene, front).contains("fleet-cut-off"));
    let held = eventually(PATIENCE, || {
        for client in &clients {
            assert_eq!(answered(&scene, client), all);
        }
        says_so()
    });
    assert!(held, "{}", page(&scene, CUT));
    assert_eq!(page(&scene, CUT)["cut_off"], true);
    let explained = scene.agents[CUT].zerottl(&["explain", "app.com", "A", "--admin", "127.0.0.1:8053"]).expect("ran");
    for words in ["ns1 says up", "ns2 says down, which is cut off and has no vote", "ns3 says up", "by quorum half"] {
        assert!(explained.contains(words), "{words}: {explained}");
    }
    scene.lab.join_front_to_sites(CUT, true).expect("joined");
    assert!(eventually(PATIENCE, || (0..3).all(|front| alarms(&scene, front).is_empty())), "{}", page(&scene, CUT));
    assert!(scene.agents[CUT].log().contains("as the others do again"));
    for client in &clients {
        assert_eq!(answered(&scene, client), all);
    }
    // F-HOOK: once each, by that front alone.
    let told = || std::fs::read_to_string(&file).unwrap_or_default();
    assert!(eventually(PATIENCE, || told().lines().count() >= 2), "{}", told());
    assert_eq!(told(), "ns2 cut-off\nns2 rejoined\n");
}

/// F-CUT: where the probes of all fronts reach nothing, nobody is the odd one out: all Sites are down to all, and the pool's rule for that
/// holds, here the default, fail-open.
#[test]
fn f_cut_all_fronts_fail_open() {
    let Some(scene) = start("F-CUT: all fronts are cut off", &config()) else { return };
    let clients = clients(&scene);
    let all = "geneva boston chicago";
    until(&scene, &clients, all);
    for front in 0..3 {
        scene.lab.join_front_to_sites(front, false).expect("cut");
    }
    for front in 0..3 {
        scene.wait_for(front, false);
    }
    let is_said = || (0..3).all(|front| !alarms(&scene, front).contains("fleet-cut-off"));
    assert!(eventually(PATIENCE, is_said), "{}", page(&scene, CUT));
    for client in &clients {
        assert_eq!(answered(&scene, client), all, "fail-open");
    }
    let explained = scene.agents[CUT].zerottl(&["explain", "app.com", "A", "--admin", "127.0.0.1:8053"]).expect("ran");
    assert!(explained.contains("fail-open"), "{explained}");
    for front in 0..3 {
        scene.lab.join_front_to_sites(front, true).expect("joined");
    }
    for front in 0..3 {
        scene.wait_for(front, true);
    }
}

/// F-VOTE: a Site that one front alone cannot reach stays under `half` and leaves every front's answers under `100%`; one that
/// is dead leaves them under any.
#[test]
fn f_vote_by_quorum() {
    for (quorum, expect) in
        [("half", "geneva boston chicago"), ("100%", "geneva chicago"), ("any", "geneva boston chicago")]
    {
        let what = format!("F-VOTE: {quorum}");
        let Some(scene) = start(&what, &Config { pool: format!("quorum = \"{quorum}\""), ..config() }) else { return };
        let clients = clients(&scene);
        until(&scene, &clients, "geneva boston chicago");
        block(&scene, 0, "boston");
        let sees = || {
            scene.agents[0]
                .get("/v1/status")
                .expect("status")
                .contains(r#"{"front":"ns1","health":"down","counts":true}"#)
        };
        assert!(eventually(PATIENCE, sees), "{}", scene.agents[0].get("/v1/status").expect("status"));
        until(&scene, &clients, expect);
        std::thread::sleep(super::IN_FORCE);
        until(&scene, &clients, expect);
        scene.lab.plug_site("geneva", false).expect("unplugged");
        until(&scene, &clients, expect.strip_prefix("geneva ").expect("it is first"));
    }
}

/// F-VOTE: a vote ends with its front's lease: the last word of a front that was killed does not count for long.
#[test]
fn f_vote_ends_with_the_lease() {
    let Some(mut scene) = start("F-VOTE: the lease", &Config { pool: "quorum = \"100%\"".into(), ..config() }) else {
        return;
    };
    let clients = clients(&scene);
    until(&scene, &clients, "geneva boston chicago");
    block(&scene, 2, "boston");
    until(&scene, &clients, "geneva chicago");
    scene.agents[2].kill();
    let took = until(&scene, &clients[..2], "geneva boston chicago");
    eprintln!("after its front was killed a vote counted for {took:?}, with a lease of 2 s");
}

/// F-VOTE: two fronts of one name: the one that came first says so, and has its vote again as soon as the other is gone.
#[test]
fn f_vote_comes_back_after_a_namesake() {
    let Some(mut scene) = start("F-VOTE: two fronts of one name", &config()) else { return };
    let is_at = |scene: &FleetScene, front: usize, config: &Config| {
        config.write(scene.agents[front].folder()).expect("written");
        scene.agents[front].zerottl(&["reload", "--admin", "127.0.0.1:8053"]).expect("reloaded");
    };
    let as_ns2 = Config { fleet: scene.configs[2].fleet.replace("ns3", "ns2"), ..scene.configs[2].clone() };
    is_at(&scene, 2, &as_ns2);
    assert!(eventually(PATIENCE, || alarms(&scene, 1).contains("fleet-name")), "{}", page(&scene, 1));
    is_at(&scene, 2, &scene.configs[2]);
    let is_whole = || {
        let votes = scene.etcd.keys(0, "zerottl/vote/").expect("keys");
        let of = |front: &str| votes.iter().filter(|key| key.contains(front)).count();
        (0..3).all(|front| alarms(&scene, front).is_empty() && super::fronts(&scene, front).len() == 3)
            && ["/ns1/", "/ns2/", "/ns3/"].iter().all(|front| of(front) == 6)
    };
    assert!(eventually(PATIENCE, is_whole), "{:?} {}", scene.etcd.keys(0, "zerottl/"), page(&scene, 1));
    // Killed, and started again within its lease, a front is nobody's namesake.
    let complaints = |scene: &FleetScene| scene.agents[1].log().matches("another front bears this name").count();
    let before = complaints(&scene);
    scene.agents[1].kill();
    scene.agents[1].restart(&[]).expect("restarted");
    assert!(eventually(PATIENCE, || page(&scene, 1)["engine"] == "connected"), "{}", page(&scene, 1));
    assert_eq!(complaints(&scene), before, "{}", scene.agents[1].log());
    assert_ne!(page(&scene, 1)["detail"], "");
}
