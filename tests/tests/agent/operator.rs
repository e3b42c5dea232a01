//! Overrides and the safety rules, with a real agent and real queries.

use std::{
    io,
    net::IpAddr,
    path::PathBuf,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::process::Signal;
use serde_json::Value;
use tests::{
    agent::Agent,
    client::Client,
    config::{Config, ProbeConfig},
    process::eventually,
    program::WallClock,
    scene::{HEALTH_PATIENCE, Scene},
};

/// A word must be in force within this of the command's start.
const IN_FORCE: Duration = Duration::from_millis(100);

/// A scene whose agents all keep their state in one folder of the lab.
fn start(what: &str, config: Config) -> Option<(Scene, tempfile::TempDir)> {
    let state = tests::scratch::folder().expect("a folder");
    let config = Config { state: Some(state.path().join("state")), ..config };
    Some((Scene::start(what, config)?, state))
}

/// `POST`s JSON to the agent; the status and what it says.
fn post(scene: &Scene, path: &str, body: &str) -> (u16, Value) {
    let url = format!("http://127.0.0.1:8053{path}");
    let arguments =
        ["-sS", "--max-time", "5", "-H", "content-type: application/json", "-d", body, "-w", "\n%{http_code}", &url];
    let text = scene.lab.fronts[0].read("curl", &arguments).expect("curl");
    let (body, code) = text.trim_end().rsplit_once('\n').expect("a status");
    (code.parse().expect("a number"), serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
}

fn say(scene: &Scene, word: &str, sites: &str, more: &str) -> (u16, Value) {
    post(scene, "/v1/sites/word", &format!("{{\"word\":\"{word}\",\"sites\":\"{sites}\"{more}}}"))
}

fn done(scene: &Scene, word: &str, sites: &str) {
    let (code, answer) = say(scene, word, sites, "");
    assert_eq!((code, &answer["kept"]), (200, &Value::Bool(true)), "{word} {sites}: {answer}");
}

/// The Sites that a name's answers come to now, in the order of the configuration.
fn answered(scene: &Scene, client: &Client, name: &str) -> String {
    let seen: Vec<IpAddr> =
        (0..24).map(|i| client.lookup(name, i % 2 == 1).unwrap_or_else(|e| panic!("{name}: {e}"))).collect();
    let has = |site: &&tests::config::SiteConfig| site.addresses.iter().any(|address| seen.contains(address));
    scene.config.sites.iter().filter(has).map(|site| site.key.as_str()).collect::<Vec<_>>().join(" ")
}

fn site(scene: &Scene, key: &str) -> Value {
    let status = scene.agent.status().expect("status").0;
    status["sites"].as_array().expect("sites").iter().find(|site| site["key"] == key).expect("the Site").clone()
}

/// SIGKILL, so that nothing is said on the way down, and another agent with the same configuration.
fn restart(scene: Scene, config: Config) -> Scene {
    let Scene { agent, lab, .. } = scene;
    agent.stop(Signal::KILL).expect_err("it was killed");
    let agent = Agent::start(&lab, 0, &config).unwrap_or_else(|e| panic!("{e}"));
    Scene { agent, lab, config }
}

/// S4-DNS-STATUS: a drain is in the very next answers, within 100 ms of being asked for; the Site Name keeps its clients;
/// who, why and since when is shown; `ready` takes it back.
#[test]
fn s4_dns_status_a_drain_counts_at_once_and_pinned_clients_stay() {
    let Some((scene, _state)) = start("S4-DNS-STATUS: drain", Config::default()) else { return };
    let client = scene.client(false);
    assert_eq!(answered(&scene, &client, "app.com"), "geneva boston chicago");
    let asked = Instant::now();
    let (code, answer) = say(&scene, "drain", "boston", ",\"by\":\"alice\",\"reason\":\"new disks\"");
    // The answer is there once the plan is out, and the order on disk: no answer from here on may be Boston's.
    let took = asked.elapsed();
    assert_eq!((code, &answer["sites"]), (200, &serde_json::json!(["boston"])), "{answer}");
    assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago");
    assert_eq!(answered(&scene, &client, "americas.app.com"), "chicago");
    assert_eq!(answered(&scene, &client, "boston.app.com"), "boston", "its clients stay");
    // Starting curl in its namespace and the sync of the disk are in this, too: ten times the bound is a fault for sure,
    // and the agent's own figure is held to the bound itself.
    assert!(took < 10 * IN_FORCE, "{took:?}");
    let publish_ms = scene.agent.status().expect("status").0["plan"]["publish_ms"].as_f64().expect("published");
    assert!(Duration::from_secs_f64(publish_ms / 1e3) < IN_FORCE, "{publish_ms} ms");

    let boston = site(&scene, "boston");
    assert_eq!((&boston["word"]["what"], &boston["word"]["reason"]), (&"drain".into(), &"new disks".into()));
    assert_eq!((&boston["word"]["by"], &boston["up"]), (&"alice (127.0.0.1)".into(), &true.into()));
    let text = scene.agent.zerottl(&["status"]).expect("status");
    assert!(text.contains("drain by alice (127.0.0.1)") && text.contains("new disks"), "{text}");
    let text = scene.agent.zerottl(&["explain", "app.com"]).expect("explain");
    assert!(text.contains("drain by alice (127.0.0.1)"), "{text}");
    let metrics = scene.agent.get("/metrics").expect("metrics");
    assert!(metrics.contains("zerottl_site_word{site=\"boston\",word=\"drain\""), "{metrics}");
    assert!(metrics.contains("zerottl_site_eligible{site=\"boston\"} 0"), "{metrics}");

    done(&scene, "ready", "boston");
    assert_eq!(answered(&scene, &client, "app.com"), "geneva boston chicago");
    assert!(site(&scene, "boston")["word"].is_null());
}

/// S4-2C, S4-3B-380: `maint` counts as down: the Site Name fails over. Words come by glob and by group; with every
/// Site drained they are answered before any other rule, and never is there no answer (S4-3A-ALLDOWN).
#[test]
fn s4_3a_alldown_maint_fails_over_and_nothing_is_ever_empty() {
    let Some((scene, _state)) = start("S4-3B-380, S4-3A-ALLDOWN: maint", Config::default()) else { return };
    let client = scene.client(true);
    done(&scene, "maint", "bos*");
    assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago");
    assert_eq!(answered(&scene, &client, "boston.app.com"), "chicago", "its name fails over");
    assert_eq!(answered(&scene, &client, "chicago.app.com"), "chicago");
    done(&scene, "ready", "americas.app.com");
    assert_eq!(answered(&scene, &client, "boston.app.com"), "boston");

    // A group's only Site, drained: still answered under the group's name, and said so.
    done(&scene, "drain", "europe.app.com");
    assert_eq!(answered(&scene, &client, "europe.app.com"), "geneva");
    let text = scene.agent.zerottl(&["explain", "europe.app.com"]).expect("explain");
    assert!(text.contains("no other Site is live: those are answered that are drained"), "{text}");
    assert_eq!(answered(&scene, &client, "app.com"), "boston chicago");
    let (code, answer) = say(&scene, "maint", "*", ",\"force\":true");
    assert_eq!(code, 200, "{answer}");
    for name in ["app.com", "europe.app.com", "boston.app.com"] {
        assert!(!answered(&scene, &client, name).is_empty());
    }
    let (code, answer) = say(&scene, "drain", "nowhere", "");
    assert_eq!((code, &answer["error"]), (404, &"no-such".into()));
    // A web page could send a form, but no JSON.
    let form = scene.lab.fronts[0].read(
        "curl",
        &[
            "-sS",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
            "-d",
            "{\"word\":\"ready\",\"sites\":\"*\"}",
            "http://127.0.0.1:8053/v1/sites/word",
        ],
    );
    assert_eq!(form.expect("curl"), "415");
}

/// `min_sites`: what would undershoot it is refused with the reason and the old plan kept; `--force` breaks the glass;
/// deaths take out Sites all the same, with an alarm.
#[test]
fn the_minimum_refuses_words_and_never_keeps_the_dead() {
    let config = Config { pool: "min_sites = 2".into(), ..Config::default() };
    let Some((scene, _state)) = start("min_sites", config) else { return };
    let client = scene.client(false);
    done(&scene, "drain", "boston");
    let generation = scene.agent.status().expect("status").generation();
    let (code, answer) = say(&scene, "drain", "chicago", ",\"by\":\"bob\"");
    assert_eq!((code, &answer["error"]), (409, &"below-minimum".into()));
    let message = answer["message"].as_str().expect("words");
    assert!(message.contains("pool app.com would have 1 Site to answer, and min_sites is 2"), "{message}");
    let status = scene.agent.status().expect("status");
    assert_eq!(status.generation(), generation, "the plan is the old one");
    assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago");
    assert!(status.0["refusal"]["message"].as_str().is_some_and(|words| words.contains("bob")), "{:?}", status.0);
    assert!(scene.agent.get("/metrics").expect("metrics").contains("zerottl_refusals_total 1"));
    let refused = scene.agent.zerottl(&["drain", "chicago"]).expect_err("refused").to_string();
    assert!(refused.contains("min_sites is 2") && refused.contains("--force"), "{refused}");

    scene.agent.zerottl(&["drain", "chicago", "--force", "--reason", "fire"]).expect("forced");
    assert_eq!(answered(&scene, &client, "app.com"), "geneva");
    let line = "zerottl_alarm{kind=\"below-minimum\",pool=\"app.com\"} 1\n";
    let alarm = |scene: &Scene| scene.agent.get("/metrics").expect("metrics").contains(line);
    assert!(alarm(&scene));
    done(&scene, "ready", "app.com");
    assert!(!alarm(&scene));
    for key in ["geneva", "boston"] {
        scene.lab.site(key).kill();
    }
    scene.wait_for(&[("geneva", false), ("boston", false)]);
    assert_eq!(answered(&scene, &client, "app.com"), "chicago", "the dead are taken out");
    assert!(alarm(&scene));
}

/// Words outlive `kill -9`, with who and why and what is left of their time; those that are over do not come back.
#[test]
fn words_outlive_kill_9_and_lapse_by_themselves() {
    let Some((scene, _state)) = start("words kept", Config::default()) else { return };
    scene.agent.zerottl(&["maint", "boston", "--reason", "disks"]).expect("said");
    scene.agent.zerottl(&["weight", "geneva", "9", "--for", "1h"]).expect("said");
    let said = Instant::now();
    scene.agent.zerottl(&["drain", "chicago", "--for", "2s", "--force"]).expect("said");
    let config = scene.config.clone();
    let scene = restart(scene, config);
    let client = scene.client(false);
    assert_eq!(answered(&scene, &client, "boston.app.com"), "chicago");
    let boston = site(&scene, "boston");
    assert_eq!((&boston["word"]["what"], &boston["word"]["reason"]), (&"maint".into(), &"disks".into()));
    let geneva = site(&scene, "geneva");
    assert_eq!((&geneva["weight_now"], &geneva["weight"]), (&9.into(), &1.into()));
    let left = geneva["weight_order"]["left_s"].as_f64().expect("left");
    assert!((3500.0..3600.0).contains(&left), "{left}");
    let shares = scene.agent.status().expect("status").shares("app.com");
    let over = eventually(Duration::from_secs(5), || site(&scene, "chicago")["word"].is_null());
    assert!(over && said.elapsed() >= Duration::from_secs(2), "{:?} {shares:?}", said.elapsed());
    assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago");
    let share = scene.agent.status().expect("status").shares("app.com");
    let geneva = share.iter().find(|(key, _)| key == "geneva").expect("answered").1;
    assert!((geneva - 0.9).abs() < 0.05, "9 to 1: {share:?}");
    scene.agent.zerottl(&["weight", "geneva", "configured"]).expect("said");
    assert_eq!(site(&scene, "geneva")["weight_now"], 1);
}

/// A reload keeps what was said, and refuses a file that would take from a pool more than its minimum allows.
#[test]
fn a_reload_keeps_words_and_the_minimum() {
    let config = Config { pool: "min_sites = 2".into(), ..Config::default() };
    let Some((mut scene, _state)) = start("reload and words", config) else { return };
    scene.agent.zerottl(&["drain", "boston", "--reason", "disks"]).expect("said");
    let reload = |scene: &mut Scene, config: &Config| {
        let (generation, log) = (scene.agent.status().expect("status").generation(), scene.agent.log().len());
        config.write(scene.agent.folder()).expect("written");
        scene.agent.signal(Signal::HUP).expect("told");
        let is_done = || scene.agent.log()[log..].contains("reloaded");
        assert!(eventually(Duration::from_secs(10), is_done), "{}", scene.agent.log());
        scene.agent.status().expect("status").generation() > generation
    };
    let mut other = scene.config.clone();
    other.sites.reverse();
    assert!(reload(&mut scene, &other), "{}", scene.agent.log());
    let client = scene.client(false);
    assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago");
    let boston = site(&scene, "boston");
    assert_eq!((&boston["word"]["reason"], &boston["addresses"][0]["health"]), (&"disks".into(), &"up".into()));

    // Without Chicago, Geneva alone would be left: it goes on as it was.
    let mut fewer = scene.config.clone();
    fewer.sites.retain(|site| site.key != "chicago");
    fewer.groups = vec![("all.app.com".into(), vec!["geneva".into(), "boston".into()])];
    assert!(!reload(&mut scene, &fewer), "{}", scene.agent.log());
    assert!(scene.agent.log().contains("pool app.com would have 1 Site to answer, and min_sites is 2"));
    assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago");
    // And it takes words as before.
    done(&scene, "ready", "boston");
    assert!(reload(&mut scene, &fewer), "{}", scene.agent.log());
    assert_eq!(answered(&scene, &client, "app.com"), "geneva boston");
}

/// Whoever looks while reloads go on finds what was said in every single page, as the words are in force all along.
#[test]
fn no_page_during_reloads_lacks_a_word() {
    let Some((scene, _state)) = start("words shown", Config::default()) else { return };
    scene.agent.zerottl(&["maint", "boston", "--reason", "disks"]).expect("said");
    let is_over = AtomicBool::new(false);
    let pages = thread::scope(|scope| {
        let looking = scope.spawn(|| {
            let mut pages = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let url = "http://127.0.0.1:8053/v1/status#[1-50]";
                let text = scene.lab.fronts[0].read("curl", &["-sSf", "--max-time", "20", url]).expect("pages");
                pages.extend(serde_json::Deserializer::from_str(&text).into_iter().map(|page| page.expect("JSON")));
            }
            pages
        });
        for _ in 0..10 {
            scene.agent.zerottl(&["reload"]).expect("reloaded");
        }
        is_over.store(true, Ordering::Relaxed);
        looking.join().expect("looked")
    });
    let lacks = |page: &&Value| {
        let site = page["sites"].as_array().and_then(|sites| sites.iter().find(|site| site["key"] == "boston"));
        site.is_none_or(|site| site["word"]["what"] != "maint")
    };
    assert!(pages.len() >= 50, "{}", pages.len());
    assert_eq!(pages.iter().filter(lacks).count(), 0, "of {} pages: {:?}", pages.len(), pages.iter().find(lacks));
}

/// Slow enough that the first verdict after a start comes long after the test has looked.
const SLOW: ProbeConfig = ProbeConfig { interval_ms: 5_000, timeout_ms: 400, rise: 2, fall: 3 };

/// A cold start: what was known down an instant ago is not answered, before any probe has said so again. A state file that
/// is cut short is no reason not to start: a warning, and a start that knows nothing.
#[test]
fn a_cold_start_answers_rightly_at_once() {
    let Some((scene, state)) = start("cold start", Config::default()) else { return };
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let file = state.path().join("state/state.json");
    let knows = || std::fs::read_to_string(&file).is_ok_and(|text| text.matches("\"up\":false").count() == 2);
    assert!(eventually(Duration::from_secs(5), knows), "the verdicts on both addresses are on disk");
    let slow = Config { probe: Some(SLOW), ..scene.config.clone() };
    let scene = restart(scene, slow.clone());
    let client = scene.client(false);
    assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago");
    assert_eq!(answered(&scene, &client, "boston.app.com"), "chicago");
    let address = &site(&scene, "boston")["addresses"][0];
    assert_eq!((&address["health"], &address["recalled"]), (&"down".into(), &true.into()));

    // The next agent writes the file anew; this one must not.
    let Scene { agent, lab, .. } = scene;
    agent.stop(Signal::KILL).expect_err("it was killed");
    let whole = std::fs::read(&file).expect("the file");
    std::fs::write(&file, &whole[..whole.len() / 2]).expect("cut");
    let agent = Agent::start(&lab, 0, &slow).unwrap_or_else(|e| panic!("{e}"));
    assert!(agent.log().contains("the saved state cannot be used: it is cut short"), "{}", agent.log());
    let scene = Scene { agent, lab, config: slow };
    assert_eq!(answered(&scene, &client, "app.com"), "geneva boston chicago", "nothing is known: as `initial` says");
}

/// Where the state cannot be written the agent says so, once, and goes on; a word says that it is not kept.
#[test]
fn without_a_place_for_the_state_the_agent_goes_on() {
    let folder = tests::scratch::folder().expect("a folder");
    let file: PathBuf = folder.path().join("file");
    std::fs::write(&file, "").expect("written");
    let config = Config { state: Some(file.join("state")), probe: None, ..Config::default() };
    let Some(scene) = Scene::start("no place for the state", config) else { return };
    for _ in 0..3 {
        let (code, answer) = say(&scene, "drain", "boston", "");
        assert_eq!((code, &answer["kept"]), (200, &false.into()), "{answer}");
    }
    assert_eq!(scene.agent.log().matches("the state cannot be saved").count(), 1, "{}", scene.agent.log());
    assert_eq!(answered(&scene, &scene.client(false), "app.com"), "geneva chicago");
    assert!(scene.agent.get("/metrics").expect("metrics").contains("zerottl_state_kept 0"));
}

/// S4-3B-BACK: from its third failure in a row on a Site that returns is held back, which is shown with the time left;
/// its being down counts at once all the same. `ready` lets it go.
#[test]
fn s4_3b_back_a_flapping_site_is_held_back() {
    let probe = ProbeConfig { interval_ms: 200, timeout_ms: 150, rise: 1, fall: 2 };
    let Some((scene, _state)) = start("S4-3B-BACK: hold-down", Config { probe: Some(probe), ..Config::default() })
    else {
        return;
    };
    let client = scene.client(false);
    for failure in 1..=3 {
        scene.lab.site("boston").kill();
        scene.wait_for(&[("boston", false)]);
        assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago", "failure {failure} counts at once");
        scene.lab.site("boston").restart().expect("restart");
        scene.wait_for(&[("boston", true)]);
        if failure < 3 {
            assert_eq!(answered(&scene, &client, "app.com"), "geneva boston chicago", "return {failure} is free");
        }
    }
    assert_eq!(answered(&scene, &client, "app.com"), "geneva chicago");
    assert_eq!(answered(&scene, &client, "boston.app.com"), "chicago");
    let boston = site(&scene, "boston");
    let left = boston["hold"]["left_s"].as_f64().expect("held");
    assert!(boston["hold"]["failures"] == 3 && left > 0.0 && left <= 10.0, "{boston}");
    let text = scene.agent.zerottl(&["explain", "app.com"]).expect("explain");
    assert!(text.contains("more after 3 failures in a row"), "{text}");
    done(&scene, "ready", "boston");
    assert_eq!(answered(&scene, &client, "app.com"), "geneva boston chicago");
}

/// `drain --wait` ends once nothing answers the Site, and says what it cannot see.
#[test]
fn drain_waits_and_says_what_it_sees() {
    let config = Config { probe: None, ..Config::default() };
    let Some((scene, _state)) = start("drain --wait", config) else { return };
    let text = scene.agent.zerottl(&["drain", "boston", "--wait"]).expect("done");
    assert!(text.contains("boston: no name answers it; its sessions cannot be seen"), "{text}");
    assert_eq!(answered(&scene, &scene.client(false), "app.com"), "geneva chicago");
}

/// Steps of the wall clock, forward and back, change nothing: the agent runs under a library that shifts what it takes
/// for the time of day (libfaketime), and probes, plans, lapses and ages go on as they were.
#[test]
fn clock_steps_change_nothing() -> io::Result<()> {
    let Some(clock) = WallClock::new("clock steps") else { return Ok(()) };
    let Some((scene, _state)) = start("clock steps", Config::default()) else { return Ok(()) };
    let config = scene.config.clone();
    let Scene { agent, lab, .. } = scene;
    agent.stop(Signal::TERM)?;
    let agent = Agent::start_with(&lab, 0, &config, &clock.environment())?;
    let scene = Scene { agent, lab, config };
    scene.agent.wait_for(&[("geneva", true), ("boston", true), ("chicago", true)], HEALTH_PATIENCE)?;
    let client = scene.client(false);
    let (code, answer) = say(&scene, "drain", "geneva", ",\"for_s\":600");
    assert_eq!(code, 200, "{answer}");
    let wall = |scene: &Scene| site(scene, "geneva")["word"]["at_ms"].as_f64().expect("said at");
    let before = wall(&scene);
    for step in ["+400d", "-400d", "+0"] {
        clock.step(step);
        let killed = scene.lab.site("boston").kill();
        scene.wait_for(&[("boston", false)]);
        let bound = scene.config.probe.expect("probed").dead_after() + Duration::from_secs(1);
        assert!(killed.elapsed() < bound, "{step}: seen after {:?}", killed.elapsed());
        assert_eq!(answered(&scene, &client, "app.com"), "chicago", "{step}");
        scene.lab.site("boston").restart()?;
        scene.wait_for(&[("boston", true)]);
        done(&scene, "ready", "boston");
        assert_eq!(answered(&scene, &client, "app.com"), "boston chicago", "{step}");
        let left = site(&scene, "geneva")["word"]["left_s"].as_f64().expect("left");
        assert!((400.0..600.0).contains(&left), "{step}: {left} s left");
        let age = scene.agent.status()?.0["uptime_s"].as_f64().expect("age");
        assert!(age < 200.0, "{step}: up for {age} s");
    }
    // The step did reach the agent: what it says now is said 400 days later.
    clock.step("+400d");
    let (code, _) = say(&scene, "drain", "geneva", "");
    let days = (wall(&scene) - before) / 86_400_000.0;
    assert!(code == 200 && (399.0..401.0).contains(&days), "{days} days");
    Ok(())
}
