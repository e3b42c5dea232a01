//! A Site whose servers a director runs: its connections are the load that DNS chooses by.

use std::{
    fs::{self, File},
    io,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::{Signal, kill_process};
use serde_json::Value;
use tests::{
    agent::binary,
    client::Client,
    config::Config,
    director::{end_remains, server, who, worker_of},
    netns::Netns,
    process::{Process, eventually},
    scene::Scene,
    scratch::folder,
    server::HttpClient,
    turn::alone,
};

/// On a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Places of the one server.
const PLACES: u64 = 4;

/// The director on a Site's machine, with its log.
struct SiteDirector<'a> {
    machine: &'a Netns,
    folder: &'a Path,
    process: Option<Process>,
}

impl<'a> SiteDirector<'a> {
    /// Starts it with the agent's own file.
    fn start(machine: &'a Netns, folder: &'a Path, config: &Config) -> io::Result<Self> {
        config.write(folder)?;
        let log = File::create(folder.join("log"))?;
        let mut command = Command::new(binary()?);
        command.arg("director").arg("--config").arg(folder.join("zerottl.toml")).args(["--as", "boston"]);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        Ok(Self { machine, folder, process: Some(Process::new(machine.spawn(command)?)) })
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Kills its worker, and waits for the next one.
    fn kill_worker(&self) {
        let worker = || worker_of(self.process.as_ref().expect("it runs").id());
        let before = worker().expect("a worker");
        kill_process(before, Signal::KILL).expect("killed");
        assert!(eventually(PATIENCE, || worker().is_some_and(|now| now != before)), "{}", self.log());
    }

    fn stop(mut self) {
        let process = self.process.as_mut().expect("it runs");
        process.signal(Signal::TERM).expect("signalled");
        let status = process.wait(PATIENCE);
        assert!(status.is_ok_and(|status| status.success()), "{}", self.log());
    }
}

impl Drop for SiteDirector<'_> {
    fn drop(&mut self) {
        drop(self.process.take());
        end_remains(self.machine);
    }
}

/// Boston's load as the agent's status has it.
fn load(scene: &Scene) -> Value {
    let page = scene.agent.status().map(|report| report.0).unwrap_or_default();
    let mut sites = page["sites"].as_array().into_iter().flatten();
    sites.find(|site| site["key"] == "boston").map(|site| site["load"].clone()).unwrap_or_default()
}

/// Waits until the agent knows so many connections, and due parts of the answers are boston's, and asks for some.
#[track_caller]
fn comes_to(scene: &Scene, client: &Client, what: &str, connections: u64, due: f64) {
    #[expect(clippy::cast_precision_loss, reason = "a handful")]
    let (connections, places) = (connections as f64, PLACES as f64);
    let share = || {
        let shares = scene.agent.status().map(|report| report.shares("app.com")).unwrap_or_default();
        shares.into_iter().find(|(key, _)| key == "boston").map_or(0.0, |(_, share)| share)
    };
    let is_so = || {
        let load = load(scene);
        let used = load["current"].as_f64().zip(load["capacity"].as_f64()).map(|(current, all)| current / all);
        used == Some(connections / places) && load["error"].is_null() && (share() - due).abs() < 0.01
    };
    assert!(eventually(PATIENCE, is_so), "{what}: {} {}\n{}", load(scene), share(), scene.agent.log());
    let answers = (0..200).map(|_| client.lookup("app.com", false).unwrap_or_else(|error| panic!("{error}")));
    let bostons = answers.filter(|address| scene.site_at(*address) == "boston").count();
    let part = f64::from(u32::try_from(bostons).expect("200 at most")) / 200.0;
    // Cursors are per CPU, and 200 answers are not whole rounds of a table.
    assert!((part - due).abs() < 0.05 && (due > 0.0 || bostons == 0), "{what}: {bostons} of 200, due {due}");
}

/// S4-3A-320: connections that a Site's director has given to its server, and those that wait there, are
/// the load by which DNS chooses; when they close it falls again, and its worker's death changes nothing of it.
#[test]
fn s4_3a_320_a_directors_connections_move_shares() {
    let _alone = alone();
    let folder = folder().expect("a folder");
    let server = server("app", &format!("max_connections = {PLACES}\nhandover = true")).expect("a server");
    // Only boston's load changes; the others say once that they are free.
    let more = format!(
        "[director]\nlisten = [\"0.0.0.0:8080\"]\nadmin = \"[::]:8054\"\ncontrol = \"{}\"\ndrain_timeout = \"1s\"\n{server}\n\
         [site.boston.load]\nkind = \"http\"\nport = 8054\npath = \"/load\"\ninterval = \"200ms\"\ntimeout = \"150ms\"\n\
         stale_after = \"1h\"\nload_per_answer = 0.0\n\
         [site.geneva.load]\nkind = \"push\"\nstale_after = \"1h\"\nload_per_answer = 0.0\n\
         [site.chicago.load]\nkind = \"push\"\nstale_after = \"1h\"\nload_per_answer = 0.0\n",
        folder.path().join("director.sock").display()
    );
    let pool = "max_step = 0.0\nlow_watermark = 0.5\nhigh_watermark = 1.0".into();
    let mut config = Config { policy: "least-load".into(), pool, groups: vec![], more, ..Config::default() };
    config.sites.iter_mut().for_each(|site| site.weight = 1);
    let Some(scene) = Scene::start("a director's load", config) else { return };
    let client = scene.client(false);
    for site in ["geneva", "chicago"] {
        let report = format!("{{\"site\": \"{site}\", \"current\": 0, \"capacity\": 100}}");
        scene.agent.post("/v1/load", &report).expect("taken");
    }
    let machine = &scene.lab.site("boston").machine;
    let director = SiteDirector::start(machine, folder.path(), &scene.config).expect("a director");
    let at = SocketAddr::from((scene.address("boston", false), 8080));
    let connect = || HttpClient::connect(&scene.lab.client, at).expect("connected");
    let is_ready = || HttpClient::connect(&scene.lab.client, at).and_then(|mut one| who(&mut one)).is_ok();
    assert!(eventually(PATIENCE, is_ready), "{}", director.log());

    comes_to(&scene, &client, "nobody", 0, 1.0 / 3.0);
    let mut held: Vec<HttpClient> = (0..3).map(|_| connect()).collect();
    for one in &mut held {
        assert_eq!(who(one).expect("served"), "app-1", "{}", director.log());
    }
    // Headroom is half of its weight.
    comes_to(&scene, &client, "three of four", 3, 0.2);
    held.push(connect());
    held.push(connect());
    comes_to(&scene, &client, "full, and one waits", 5, 0.0);
    held.truncate(3);
    comes_to(&scene, &client, "three of four again", 3, 0.2);
    director.kill_worker();
    comes_to(&scene, &client, "with another worker", 3, 0.2);
    held.clear();
    comes_to(&scene, &client, "nobody again", 0, 1.0 / 3.0);
    // The name of a web page may lead to loopback.
    let arguments =
        ["-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", "Host: app.test", "http://127.0.0.1:8054/load"];
    assert_eq!(machine.read("curl", &arguments).expect("curl"), "403");
    director.stop();
    let is_told = || load(&scene)["error"].is_string();
    assert!(eventually(PATIENCE, is_told), "a director that is gone is told of: {}", load(&scene));
}
