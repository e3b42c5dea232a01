//! Pictures of the dashboard for the documents: `screenshots FOLDER`, from a lab with an agent and some traffic. With the name of a
//! scene behind it (`one`, `many`, `cart`, `fleet`) of that scene alone.
//!
//! Makes `dashboard.png`, `dashboard-dark.png`, `dashboard-phone.png` and `dashboard-phone-dark.png`, and of a pool with two
//! hundred Sites and five hundred names `dashboard-200.png` and `dashboard-200-phone.png`; of a fleet `dashboard-fleet.png`.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::Duration,
};

use tests::{
    agent::Agent,
    browser::{Browser, Look},
    cart_lab::CartLab,
    checker::{self, Pace},
    config::{Config, ProbeConfig},
    fleet::{BY_ETCD, FleetScene},
    lab::{Lab, LabSpec, front_addresses},
    many,
    scene::Scene,
};

/// The pictures' names and looks. Their heights are the pages' own.
const LOOKS: [(&str, Look); 4] = [
    ("dashboard", Look { width: 1200, height: 700, dark: false }),
    ("dashboard-dark", Look { width: 1200, height: 700, dark: true }),
    ("dashboard-phone", Look { width: 390, height: 844, dark: false }),
    ("dashboard-phone-dark", Look { width: 390, height: 844, dark: true }),
];

/// Traffic: enough for a curve, and for bounded work.
const PACE: Pace = Pace { rate: 500, duration: Duration::from_mins(5), sockets: 4 };

/// How long each scene lasts.
const WHILE: Duration = Duration::from_secs(15);

/// Takes the pictures of a scene.
type Take = fn(&Path) -> io::Result<()>;

fn main() -> ExitCode {
    let Some(folder) = env::args_os().nth(1).map(PathBuf::from).filter(|folder| folder.is_dir()) else {
        eprintln!("screenshots: name a folder for the pictures");
        return ExitCode::FAILURE;
    };
    let only = env::args().nth(2);
    let scenes: [(&str, Take); 4] = [("one", pictures), ("many", many), ("cart", cart), ("fleet", fleet)];
    for (_, take) in scenes.iter().filter(|(name, _)| only.as_ref().is_none_or(|only| only == name)) {
        if let Err(error) = take(&folder) {
            eprintln!("screenshots: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn pictures(folder: &Path) -> io::Result<()> {
    let probe = ProbeConfig { interval_ms: 1000, timeout_ms: 500, rise: 2, fall: 3 };
    let config = Config { probe: Some(probe), ..Config::default() };
    let scene = Scene::start("pictures of the dashboard", config).ok_or_else(|| io::Error::other("needs root"))?;
    let stop = AtomicBool::new(false);
    let servers = front_addresses(0);
    thread::scope(|scope| {
        scope.spawn(|| {
            // What it counts is of no interest here.
            let _ = checker::run(&scene.lab.client, &servers, &scene.targets(), PACE, &stop);
        });
        let taken = story(&scene, folder);
        stop.store(true, Ordering::Relaxed);
        taken
    })
}

/// Two hundred Sites in one pool, 299 groups of twelve, of which some are drained: nothing runs at them, so none is probed.
fn many(folder: &Path) -> io::Result<()> {
    let config = many::config();
    let lab = Lab::start(&LabSpec::default())?;
    let agent = Agent::start(&lab, 0, &config)?;
    for (key, word, reason) in [("site040", "drain", "a disk"), ("site077", "maint", "moving house")] {
        let said = format!("{{\"sites\":\"{key}\",\"word\":\"{word}\",\"reason\":\"{reason}\",\"by\":\"eve\"}}");
        agent.post("/v1/sites/word", &said)?;
    }
    thread::sleep(WHILE);
    let mut page = Browser::start(&lab.fronts[0])?;
    for (name, width, height) in [("dashboard-200", 1400, 900), ("dashboard-200-phone", 400, 800)] {
        page.look(Look { width, height, dark: false })?;
        page.go("http://127.0.0.1:8053/")?;
        page.wait_for("#alerts", |text| text.contains("site040"))?;
        page.wait_for("#traffic", |text| !text.is_empty())?;
        page.picture(&folder.join(format!("{name}.png")))?;
    }
    Ok(())
}

/// Three fronts, of which one refuses a drain: its file wants three Sites.
fn fleet(folder: &Path) -> io::Result<()> {
    let config = Config { fleet: BY_ETCD.into(), ..Config::default() };
    let scene = FleetScene::start("pictures of a fleet", 3, 3, &config);
    let scene = scene.ok_or_else(|| io::Error::other("needs root"))?;
    let careful = Config { pool: "min_sites = 3".into(), ..scene.configs[2].clone() };
    careful.write(scene.agents[2].folder())?;
    scene.agents[2].zerottl(&["reload"])?;
    scene.agents[0].zerottl(&["drain", "boston", "--reason", "new disks", "--by", "eve"])?;
    let mut page = Browser::start(&scene.lab.fronts[0])?;
    page.look(Look { width: 1200, height: 700, dark: false })?;
    page.go("http://127.0.0.1:8053/")?;
    page.wait_for("tr[data-front=ns3]", |text| text.contains("boston: "))?;
    page.picture(&folder.join("dashboard-fleet.png"))
}

/// A cart in a session whose worker and one of whose servers have died.
fn cart(folder: &Path) -> io::Result<()> {
    let mut lab = CartLab::start()?;
    let mut browser = lab.browser()?;
    CartLab::shop(&mut browser)?;
    lab.kill_host()?;
    CartLab::add(&mut browser, "cheese")?;
    lab.servers[0].kill();
    CartLab::add(&mut browser, "figs")?;
    browser.picture(&folder.join("session-cart.png"))?;
    lab.stop()
}

/// Some calm, then Chicago dies and comes back, then Boston dies and stays dead.
fn story(scene: &Scene, folder: &Path) -> io::Result<()> {
    thread::sleep(WHILE);
    scene.lab.site("chicago").kill();
    thread::sleep(WHILE);
    scene.lab.site("chicago").restart()?;
    thread::sleep(WHILE);
    scene.lab.site("boston").kill();
    scene.wait_for(&[("boston", false), ("chicago", true)]);
    thread::sleep(WHILE);
    let mut page = Browser::start(&scene.lab.fronts[0])?;
    for (name, look) in LOOKS {
        page.look(look)?;
        page.go("http://127.0.0.1:8053/")?;
        page.wait_for("#alerts", |text| text.contains("boston"))?;
        page.picture(&folder.join(format!("{name}.png")))?;
    }
    Ok(())
}
