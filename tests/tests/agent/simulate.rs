//! `zerottl simulate`: what it shows is what the agent then answers, and it touches nothing.

use std::{collections::BTreeMap, fs, net::IpAddr, path::Path, process::Command};

use serde_json::Value;
use tests::{agent::Agent, agent::binary, config::Config, lab::can_run, scene::Scene, scratch::folder};

/// Shares by Site, of A answers for a name: `now` or `then`.
fn shares(page: &Value, name: &str, when: &str) -> BTreeMap<String, f64> {
    let all = page["shares"].as_array().expect("shares").iter();
    let of_name = all.filter(|share| share["name"] == name && share["type"] == "A");
    let known = of_name.filter_map(|share| Some((share["site"].as_str()?.to_owned(), share[when].as_f64()?)));
    known.filter(|(_, share)| *share > 0.0).collect()
}

fn simulate(agent: &Agent, file: &Path, more: &[&str]) -> Value {
    let file = file.to_string_lossy();
    let arguments = [&["simulate", "--json", "--config", &file], more].concat();
    let text = agent.zerottl(&arguments).expect("simulate");
    serde_json::from_str(&text).expect("JSON")
}

/// All that a simulation could leave: programs, attachments, pins, plans.
fn traces(scene: &Scene) -> (Option<(u64, String)>, u64, String) {
    let pins = scene.lab.fronts[0].read("find", &["/sys/fs/bpf"]).expect("find");
    assert!(pins.contains("/sys/fs/bpf/zerottl/"), "the agent's own pins: {pins}");
    let generation = scene.agent.status().expect("status").generation();
    (scene.agent.attached("eth0").expect("attached"), generation, pins)
}

fn close(shown: &BTreeMap<String, f64>, real: &BTreeMap<String, f64>, what: &str) {
    assert!(shown.keys().eq(real.keys()), "{what}: {shown:?}, in truth {real:?}");
    for (site, share) in shown {
        // Each side has 1 % of its own.
        assert!((share - real[site]).abs() < 0.02, "{what}: {shown:?}, in truth {real:?}");
    }
}

/// The shares of app.com's answers, by asking.
fn asked(scene: &Scene, name: &str) -> BTreeMap<String, f64> {
    const QUERIES: u32 = 16_000;
    let client = scene.client(false);
    let mut counts = BTreeMap::new();
    for _ in 0..QUERIES {
        let address: IpAddr = client.lookup(name, false).expect("answer");
        *counts.entry(scene.site_at(address).to_owned()).or_insert(0) += 1;
    }
    counts.into_iter().map(|(site, count)| (site, f64::from(count) / f64::from(QUERIES))).collect()
}

/// A Site is down, the new file has another policy, other weights and other groups: what is shown as `now` is what the
/// agent answers, and what is shown as `then` is what it answers once it has the file. Nothing is touched by showing it.
#[test]
fn what_is_shown_is_what_comes() {
    let Some(scene) = Scene::start("simulate", Config::default()) else { return };
    scene.lab.site("geneva").kill();
    scene.wait_for(&[("geneva", false)]);
    let mut new = Config { policy: "weighted-random".into(), ..Config::default() };
    new.sites[2].weight = 3;
    new.groups = vec![("emea.app.com".into(), vec!["geneva".into(), "boston".into()])];
    let place = folder().expect("folder");
    let file = new.write(place.path()).expect("write");

    let before = traces(&scene);
    let page = simulate(&scene.agent, &file, &[]);
    assert_eq!(traces(&scene), before, "it touches nothing");
    assert_eq!(page["added"], serde_json::json!(["emea.app.com"]));
    assert_eq!(page["removed"], serde_json::json!(["americas.app.com", "europe.app.com"]));
    assert_eq!(shares(&page, "europe.app.com", "then"), [("answer-nxdomain".to_owned(), 1.0)].into());
    close(&shares(&page, "app.com", "now"), &asked(&scene, "app.com"), "now");
    let shown = ["app.com", "emea.app.com", "geneva.app.com"].map(|name| (name, shares(&page, name, "then")));
    assert!((shown[0].1["chicago"] - 0.6).abs() < 0.02, "3 of 5: {shown:?}");

    let text = scene.agent.zerottl(&["simulate", "--config", &file.to_string_lossy()]).expect("simulate");
    assert!(text.contains("NAME") && text.contains("names added: emea.app.com"), "{text}");

    // The running agent's own file changes nothing.
    let old = scene.config.write(place.path()).expect("write");
    let text = scene.agent.zerottl(&["simulate", "--config", &old.to_string_lossy()]).expect("simulate");
    assert!(!text.contains("NAME"), "{text}");

    // Nor does it while a Site is drained and another weighs more: what the operator said holds there, too.
    scene.agent.zerottl(&["drain", "chicago", "--config", &old.to_string_lossy()]).expect("drain");
    let text = scene.agent.zerottl(&["simulate", "--config", &old.to_string_lossy()]).expect("simulate");
    assert!(!text.contains("NAME"), "{text}");
    scene.agent.zerottl(&["ready", "chicago", "--config", &old.to_string_lossy()]).expect("ready");

    let Scene { agent, lab, .. } = scene;
    agent.stop(rustix::process::Signal::TERM).expect("stop");
    let scene = Scene { agent: Agent::start(&lab, 0, &new).expect("start"), lab, config: new };
    scene.wait_for(&[("geneva", false), ("boston", true), ("chicago", true)]);
    for (name, shown) in &shown {
        close(shown, &asked(&scene, name), name);
    }
}

/// Recorded clients ask as they did: under `sticky` each has its own Site, which the agent gives them, too.
#[test]
fn recorded_clients_count() {
    let config = Config { policy: "sticky".into(), ..Config::default() };
    let Some(scene) = Scene::start("simulate: recorded clients", config) else { return };
    let place = folder().expect("folder");
    let file = scene.config.write(place.path()).expect("write");
    let queries = place.path().join("trace");
    for subnet in [3, 77, 200] {
        let source = IpAddr::from([198, 18, subnet, 9]);
        fs::write(&queries, format!("{{\"name\":\"app.com\",\"qtype\":\"A\",\"client\":\"{source}\"}}\n"))
            .expect("write");
        let page = simulate(&scene.agent, &file, &["--queries", &queries.to_string_lossy()]);
        let real = scene.client_from(false, Some(source)).lookup("app.com", false).expect("answer");
        let expected = [(scene.site_at(real).to_owned(), 1.0)].into();
        assert_eq!(shares(&page, "app.com", "then"), expected, "{source}");
    }
    // And what the agent's own trace prints is such a file.
    let client = scene.client(false);
    let traced = std::thread::scope(|scope| {
        let traced = scope.spawn(|| scene.agent.zerottl(&["trace", "--count", "20"]).expect("trace"));
        while !traced.is_finished() {
            client.lookup("boston.app.com", false).expect("answer");
        }
        traced.join().expect("joined")
    });
    fs::write(&queries, traced).expect("write");
    let page = simulate(&scene.agent, &file, &["--queries", &queries.to_string_lossy()]);
    assert_eq!(shares(&page, "boston.app.com", "then"), [("boston".to_owned(), 1.0)].into());
}

/// A file that `check` refuses is refused in `check`'s words; without capabilities the kernel's refusal is explained.
#[test]
fn refusals_are_explained() {
    if !can_run("simulate: refusals") {
        return;
    }
    let place = folder().expect("folder");
    let file = Config::default().write(place.path()).expect("write");
    let zerottl = binary().expect("binary");
    let bare = Command::new("setpriv")
        .args(["--bounding-set=-all", "--inh-caps=-all", "--"])
        .arg(&zerottl)
        .args(["simulate", "--config"])
        .arg(&file)
        .output()
        .expect("setpriv");
    let words = String::from_utf8_lossy(&bare.stderr);
    assert!(!bare.status.success() && words.contains("CAP_BPF"), "{words}");

    let broken = Config { policy: "by-feel".into(), ..Config::default() }.write(place.path()).expect("write");
    let said = |command: &str| {
        let output = Command::new(&zerottl).args([command, "--config"]).arg(&broken).output().expect("zerottl");
        assert_eq!(output.status.code(), Some(1));
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    assert!(said("check").contains("by-feel"));
    assert_eq!(said("simulate"), said("check"));
}
