//! Health from outside: stated by the admin interface and by a file, with a real agent and real queries.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, SystemTime},
};

use rustix::process::Signal;
use serde_json::Value;
use tests::{
    config::Config,
    process::eventually,
    scene::{HEALTH_PATIENCE, Scene},
};

/// Sites of which statements are all that is known.
fn stated(file: Option<&std::path::Path>, when_expired: &str) -> Config {
    let more = file.map_or(String::new(), |file| format!("[health]\nfile = \"{}\"\n", file.display()));
    let site_keys = format!("probe = {{ kind = \"external\", when_expired = \"{when_expired}\" }}");
    Config { probe: None, site_keys, more, ..Config::default() }
}

/// `POST`s a statement to the agent; the answer's status.
fn state(scene: &Scene, body: &str) -> u16 {
    let arguments = [
        "-sS",
        "--max-time",
        "5",
        "-H",
        "content-type: application/json",
        "-d",
        body,
        "-o",
        "/dev/null",
        "-w",
        "%{http_code}",
        "http://127.0.0.1:8053/v1/health",
    ];
    scene.lab.fronts[0].read("curl", &arguments).expect("curl").trim().parse().expect("a status")
}

/// The health of each Site's addresses, in the configuration's order.
fn health(scene: &Scene) -> String {
    let status = scene.agent.status().expect("status").0;
    let site = |site: &Value| {
        let addresses = site["addresses"].as_array().expect("addresses").iter();
        addresses.map(|address| address["health"].as_str().expect("a word")).collect::<Vec<_>>().join("/")
    };
    status["sites"].as_array().expect("sites").iter().map(site).collect::<Vec<_>>().join(" ")
}

fn wait(scene: &Scene, expected: &str) {
    let found = eventually(HEALTH_PATIENCE, || health(scene) == expected);
    assert!(found, "{} and not {expected}\n{}", health(scene), scene.agent.log());
}

/// Writes a file beside it and renames it over it.
fn replace(file: &PathBuf, text: &str) {
    let other = file.with_extension("new");
    fs::write(&other, text).expect("written");
    fs::rename(&other, file).expect("renamed");
}

/// The messages of the agent's alarms.
fn alarms(scene: &Scene) -> Vec<String> {
    let status = scene.agent.status().expect("status").0;
    let all = status["alarms"].as_array().expect("alarms").iter();
    all.map(|alarm| alarm["message"].as_str().expect("a text").to_owned()).collect()
}

/// F-FILE: any program is a probe: what it states is in the answers within a planning round, until it expires; it is shown
/// by whom; a restart knows it.
#[test]
fn f_file_health_is_stated_over_http() {
    let Some(scene) = Scene::start("F-FILE: POST /v1/health", stated(None, "down")) else { return };
    let client = scene.client(false);
    let site_of = |scene: &Scene| scene.site_at(client.lookup("boston.app.com", false).expect("an answer")).to_owned();
    assert_eq!(health(&scene), "unknown/unknown unknown/unknown unknown/unknown");
    assert_eq!(site_of(&scene), "boston", "initial is up");
    for site in ["geneva", "chicago"] {
        assert_eq!(state(&scene, &format!("{{\"site\":\"{site}\",\"state\":\"up\"}}")), 200);
    }
    assert_eq!(
        state(
            &scene,
            "{\"site\":\"boston\",\"state\":\"down\",\"for_s\":300,\"by\":\"cron\",\"reason\":\"disk full\"}"
        ),
        200
    );
    thread::sleep(Duration::from_millis(250));
    assert_eq!(site_of(&scene), "chicago", "within a round");
    assert_eq!(health(&scene), "up/up down/down up/up");
    let text = scene.agent.zerottl(&["explain", "boston.app.com"]).expect("explain");
    assert!(text.contains("stated to be down by cron (127.0.0.1)") && text.contains("disk full"), "{text}");
    let text = scene.agent.zerottl(&["status"]).expect("status");
    assert!(text.contains("stated to be down by cron (127.0.0.1)"), "{text}");
    let log = scene.agent.log();
    assert!(log.contains("Site boston is down") && log.contains("stated to be down by cron"), "{log}");
    assert_eq!(state(&scene, "{\"site\":\"bostn\",\"state\":\"down\"}"), 404);

    // For two seconds only; then it counts as down again.
    assert_eq!(state(&scene, "{\"site\":\"boston\",\"address\":\"192.0.2.10\",\"state\":\"up\",\"for_s\":2}"), 200);
    thread::sleep(Duration::from_millis(250));
    assert_eq!(health(&scene), "up/up up/down up/up");
    assert_eq!(site_of(&scene), "boston");
    wait(&scene, "up/up down/down up/up");
    let text = scene.agent.zerottl(&["explain", "boston.app.com"]).expect("explain");
    assert!(text.contains("which expired") && text.contains("when_expired = \"down\""), "{text}");

    // Written within a second, and read by the next run.
    thread::sleep(Duration::from_millis(1_500));
    let Scene { mut agent, lab, config } = scene;
    agent.kill();
    agent.restart(&[]).expect("started again");
    let scene = Scene { agent, lab, config };
    assert_eq!(health(&scene), "up/up down/down up/up", "from the first answer on");
    let status = scene.agent.status().expect("status").0;
    let stated = &status["sites"][1]["addresses"][1]["stated"];
    assert_eq!((&stated["by"], &stated["reason"]), (&"cron (127.0.0.1)".into(), &"disk full".into()));
    assert!(stated["left_s"].as_f64().expect("it goes on") < 300.0, "{stated}");
    scene.agent.stop(Signal::TERM).expect("stopped");
}

/// F-FILE: the file is watched, renamed files too; time counts from its last change on; bad lines are named and lose
/// nothing of the rest; a file that is too long changes nothing and is an alarm.
#[test]
fn f_file_a_file_is_watched() {
    let folder = tests::scratch::folder().expect("a folder");
    let file = folder.path().join("health");
    let Some(scene) = Scene::start("F-FILE: the file", stated(Some(&file), "down")) else { return };
    let first = alarms(&scene);
    assert!(first.iter().any(|alarm| alarm.contains("is not read: No such file")), "{first:?}");
    replace(&file, "# by cron\ngeneva => UP\nboston => UP/600\nboston/192.0.2.10 => DOWN/600\nchicago => DOWN\n");
    wait(&scene, "up/up down/up down/down");
    assert_eq!(alarms(&scene), Vec::<String>::new());
    let text = scene.agent.zerottl(&["explain", "boston.app.com"]).expect("explain");
    assert!(text.contains("stated to be down by health:4"), "{text}");

    fs::write(&file, "geneva => UP\nboston => OK\nnowhere => UP\nchicago => UP/600\ngeneva => DRAIN\n")
        .expect("written");
    wait(&scene, "up/up unknown/unknown up/up");
    let named = alarms(&scene).join("\n");
    assert!(
        named.contains("line 2: `OK` is no state") && named.contains("line 3: there is no Site `nowhere`"),
        "{named}"
    );
    assert!(named.contains("line 5: words are not taken from this file"), "{named}");
    let text = scene.agent.zerottl(&["status"]).expect("status");
    assert!(text.contains("ALARM") && text.contains("line 2: `OK` is no state"), "{text}");
    let metrics = scene.agent.get("/metrics").expect("metrics");
    assert!(metrics.contains("zerottl_alarm{kind=\"health-file-lines\",pool=\"\"} 1"), "{metrics}");

    // Over 16 MiB: nothing of it counts, and nothing is lost.
    let long = format!("chicago => DOWN\n{}", "# long\n".repeat((16 << 20) / 7 + 1));
    replace(&file, &long);
    let told =
        eventually(HEALTH_PATIENCE, || alarms(&scene).iter().any(|alarm| alarm.contains("it is longer than 16 MiB")));
    assert!(told, "{:?}", alarms(&scene));
    assert_eq!(health(&scene), "up/up unknown/unknown up/up");

    // Ten minutes from an hour ago on are over.
    fs::write(&file, "geneva => UP\nboston => UP\nchicago => UP/600\n").expect("written");
    let changed = fs::File::options().append(true).open(&file).expect("there");
    changed.set_modified(SystemTime::now() - Duration::from_hours(1)).expect("set");
    wait(&scene, "up/up up/up down/down");
    assert_eq!(alarms(&scene), Vec::<String>::new());
    fs::remove_file(&file).expect("removed");
    let told = eventually(HEALTH_PATIENCE, || !alarms(&scene).is_empty());
    assert!(told);
    assert_eq!(health(&scene), "up/up up/up down/down", "a file that has gone takes nothing back");
}

/// F-FILE: where probes look, `down` takes an address out until it expires, and `up` brings none back; statements outlive a
/// reload.
#[test]
fn f_file_statements_join_probes_and_outlive_a_reload() {
    let Some(scene) = Scene::start("F-FILE: beside probes", Config::default()) else { return };
    assert_eq!(state(&scene, "{\"site\":\"boston\",\"state\":\"down\",\"for_s\":6,\"reason\":\"slow\"}"), 200);
    thread::sleep(Duration::from_millis(250));
    assert_eq!(health(&scene), "up/up down/down up/up");
    let text = scene.agent.zerottl(&["reload"]).expect("reloaded");
    assert!(text.contains("reloaded"), "{text}");
    assert_eq!(health(&scene), "up/up down/down up/up", "after a reload");
    wait(&scene, "up/up up/up up/up");
    assert_eq!(state(&scene, "{\"site\":\"chicago\",\"state\":\"up\"}"), 200);
    scene.lab.site("chicago").kill();
    scene.wait_for(&[("chicago", false)]);
}

/// A Site with `failback = "manual"` that has gone down stays out, over a restart too, until somebody says `ready` of it; it
/// is shown why, and gives way to the pool's minimum.
#[test]
fn a_site_comes_back_by_hand() {
    let config = Config { pool: "failback = \"manual\"\n".into(), ..Config::default() };
    let Some(scene) = Scene::start("failback by hand", config) else { return };
    let client = scene.client(false);
    let answered = |scene: &Scene| {
        let seen: Vec<_> = (0..24).map(|_| client.lookup("app.com", false).expect("an answer")).collect();
        let has = |site: &&tests::config::SiteConfig| site.addresses.iter().any(|address| seen.contains(address));
        scene.config.sites.iter().filter(has).map(|site| site.key.clone()).collect::<Vec<_>>().join(" ")
    };
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    scene.lab.site("boston").restart().expect("started again");
    scene.wait_for(&[("boston", true)]);
    thread::sleep(Duration::from_secs(1));
    assert_eq!(answered(&scene), "geneva chicago", "its probes say up");
    let text = scene.agent.zerottl(&["explain", "app.com"]).expect("explain");
    assert!(text.contains("stays out until somebody says ready of it"), "{text}");
    let text = scene.agent.zerottl(&["status"]).expect("status");
    assert!(text.contains("up, held"), "{text}");
    assert!(scene.agent.log().contains("stays out until somebody says `ready` of it"), "{}", scene.agent.log());

    let Scene { mut agent, lab, config } = scene;
    thread::sleep(Duration::from_millis(1_500));
    agent.kill();
    agent.restart(&[]).expect("started again");
    let scene = Scene { agent, lab, config };
    assert_eq!(answered(&scene), "geneva chicago", "after a restart");
    scene.wait_for(&[("boston", true), ("geneva", true), ("chicago", true)]);
    assert_eq!(answered(&scene), "geneva chicago");
    let status = scene.agent.status().expect("status").0;
    assert!(status["sites"][1]["failback"]["age_s"].as_f64().expect("it stays out") > 1.0, "{status}");

    // No other Site is left: it is answered, since nobody else is.
    for site in ["geneva", "chicago"] {
        scene.lab.site(site).kill();
    }
    scene.wait_for(&[("geneva", false), ("chicago", false)]);
    assert_eq!(answered(&scene), "boston");
    scene.agent.zerottl(&["ready", "boston"]).expect("ready");
    let status = scene.agent.status().expect("status").0;
    assert!(status["sites"][1]["failback"].is_null() && status["sites"][1]["state"] == "up", "{status}");
    scene.lab.site("chicago").restart().expect("started again");
    scene.wait_for(&[("chicago", true)]);
    assert_eq!(answered(&scene), "boston", "Chicago waits for somebody");
    scene.agent.zerottl(&["ready", "chicago"]).expect("ready");
    assert_eq!(answered(&scene), "boston chicago");
}

/// A Site that depends on another is down with it, at once, and `status`, `explain` and the log say because of whom.
#[test]
fn a_site_is_down_with_what_it_depends_on() {
    let more = "[site.shop]\nname = \"shop.app.com\"\naddresses = [\"192.0.2.77\"]\ndepends_on = [\"boston\"]\n\
                probe = { kind = \"external\", when_expired = \"keep\" }\n\
                [pool.\"shops.app.com\"]\nsites = [\"shop\"]\nall_down = \"servfail\"\nmin_sites = 0\n";
    let config = Config { more: more.into(), ..Config::default() };
    let Some(scene) = Scene::start("depends_on", config) else { return };
    assert_eq!(state(&scene, "{\"site\":\"shop\",\"state\":\"up\"}"), 200);
    thread::sleep(Duration::from_millis(250));
    let client = scene.client(false);
    assert_eq!(client.lookup("shops.app.com", false).expect("an answer").to_string(), "192.0.2.77");
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false)]);
    let is_down = eventually(HEALTH_PATIENCE, || client.lookup("shops.app.com", false).is_err());
    assert!(is_down, "{}", scene.agent.log());
    let status = scene.agent.status().expect("status").0;
    let shop = status["sites"].as_array().expect("sites").iter().find(|site| site["key"] == "shop").expect("the shop");
    assert_eq!((&shop["needs"], &shop["state"], &shop["up"]), (&"boston".into(), &"down".into(), &false.into()));
    assert_eq!(shop["reason"], "it depends on boston, which is down");
    let text = scene.agent.zerottl(&["explain", "shops.app.com"]).expect("explain");
    assert!(text.contains("it depends on boston, which is down"), "{text}");
    let log = scene.agent.log();
    assert!(log.contains("Site shop is down: it depends on boston, which is down"), "{log}");
    scene.lab.site("boston").restart().expect("started again");
    let is_up = eventually(HEALTH_PATIENCE, || client.lookup("shops.app.com", false).is_ok());
    assert!(is_up, "{}", scene.agent.log());
    scene.agent.zerottl(&["maint", "boston"]).expect("maint");
    assert!(client.lookup("shops.app.com", false).is_err(), "maint counts as down, at once");
}
