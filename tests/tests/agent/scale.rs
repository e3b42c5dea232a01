//! The cost of many Sites: memory grows with their number, not with its square.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    net::{IpAddr, Ipv4Addr},
    process::{Command, Stdio},
    time::Duration,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{
    agent::{Agent, binary},
    config::{Config, SiteConfig},
    lab::{Lab, LabSpec, can_run},
    process::{eventually, memory_kib},
    scratch::folder,
    turn::alone,
};

/// As many as one table has room for, and a quarter of them.
const MANY: u32 = 8_000;
const FEW: u32 = MANY / 4;
/// How much more memory four times as many may take: four times as much, and some room. A list of all Sites for each Site,
/// which it was once, makes nearly sixteen of it.
const GROWTH_MAX: u64 = 6;

/// A pool of so many Sites, in one group or none: each fails over along all the others.
fn config(sites: u32, with_group: bool) -> Config {
    let site = |i: u32| {
        let address = IpAddr::from(Ipv4Addr::from_bits(0x0a00_0000 + i + 1));
        SiteConfig { addresses: vec![address], ..SiteConfig::new(&format!("s{i}"), 1, 1) }
    };
    let sites: Vec<SiteConfig> = (0..sites).map(site).collect();
    let keys = sites.iter().map(|site| site.key.clone()).collect();
    let groups = if with_group { vec![("all.app.com".to_owned(), keys)] } else { Vec::new() };
    let pool = "last_resort = \"pool\"".to_owned();
    Config { sites, groups, probe: None, records: String::new(), pool, ..Config::default() }
}

/// The most memory that a program took until it ended, KiB.
#[expect(clippy::zombie_processes, reason = "it is waited for by wait4, which says what it took")]
fn peak_kib(command: &mut Command) -> u64 {
    let child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap();
    let (mut status, mut usage) = (0, std::mem::MaybeUninit::<libc::rusage>::zeroed());
    // SAFETY: both point to memory of their types, which outlives the call; the child is ours and nobody else waits for it.
    let waited = unsafe { libc::wait4(child.id().cast_signed(), &raw mut status, 0, usage.as_mut_ptr()) };
    assert_eq!((waited, status), (child.id().cast_signed(), 0), "{command:?}");
    // SAFETY: all bits zero are a `rusage`, and the kernel has filled it.
    unsafe { usage.assume_init() }.ru_maxrss.unsigned_abs()
}

/// `check` of 8,000 Sites in one pool once took 554 MB, most of it the same list of Sites, once for each.
#[test]
fn checking_takes_memory_by_the_number_of_sites() {
    let _alone = alone();
    for with_group in [false, true] {
        let [few, many] = [FEW, MANY].map(|sites| {
            let folder = folder().unwrap();
            let file = config(sites, with_group).write(folder.path()).unwrap();
            let peak = peak_kib(Command::new(binary().unwrap()).args(["check", "--config"]).arg(file));
            println!("check of {sites} Sites in one pool, with a group: {with_group}: {} MiB", peak / 1024);
            peak
        });
        assert!(many <= GROWTH_MAX * few, "{few} KiB for {FEW} Sites, {many} for {MANY}");
    }
}

/// The agent, at its start and over reloads: 1.87 GB, and 3.2 GB after a reload, it once was.
#[test]
fn running_takes_memory_by_the_number_of_sites() {
    let _alone = alone();
    if !can_run("memory of an agent with 8,000 Sites") {
        return;
    }
    let peaks = [FEW, MANY].map(|sites| {
        let lab = Lab::start(&LabSpec::default()).unwrap();
        let mut agent = Agent::start(&lab, 0, &config(sites, true)).unwrap();
        let (started, pid) = (memory_kib(agent.pid(), "VmRSS").unwrap(), agent.pid());
        for _ in 0..3 {
            let before = agent.status().unwrap().generation();
            agent.signal(Signal::HUP).unwrap();
            let reloaded = || agent.status().is_ok_and(|report| report.generation() > before);
            assert!(eventually(Duration::from_mins(1), reloaded), "{}", agent.log());
        }
        let peak = memory_kib(pid, "VmHWM").unwrap();
        println!("agent with {sites} Sites: {} MiB, at most {} over 3 reloads", started / 1024, peak / 1024);
        // The old and the new configuration live beside each other during a reload, and pages are asked for.
        assert!(peak <= 5 * started, "{started} KiB at first, {peak} over reloads");
        peak
    });
    assert!(peaks[1] <= GROWTH_MAX * peaks[0], "{peaks:?} KiB for {FEW} and {MANY} Sites");
}

/// The page of so many names leaves some out: `status --pool` asks for such a one by itself, and `simulate` says that it compares
/// none of them, and takes none for new.
#[test]
fn names_that_the_page_leaves_out_are_asked_for() {
    const MORE: usize = 10_200;
    if !can_run("pages of an agent with 10,200 pools") {
        return;
    }
    let pool = |i: usize| format!("[pool.\"p{i}.app.com\"]\nsites = [\"boston\"]\n");
    let more: String = (0..MORE).map(pool).collect();
    let mut config = Config { probe: None, more, ..Config::default() };
    let lab = Lab::start(&LabSpec::default()).unwrap();
    let agent = Agent::start(&lab, 0, &config).unwrap();
    let last = format!("p{}.app.com", MORE - 1);
    let page: Value = serde_json::from_str(&agent.zerottl(&["status", "--json"]).unwrap()).unwrap();
    let is_there = page["names"].as_array().unwrap().iter().any(|name| name["name"] == last);
    assert_eq!((is_there, &page["names_omitted"]), (false, &json!(206)));

    let text = agent.zerottl(&["status", "--pool", &last]).unwrap();
    let rows = |site: &str| text.lines().any(|line| line.starts_with(site));
    assert!(rows(&last) && rows("boston ") && !rows("chicago "), "{text}");
    let page: Value = serde_json::from_str(&agent.zerottl(&["status", "--json", "--pool", &last]).unwrap()).unwrap();
    let keys: Vec<_> = page["sites"].as_array().unwrap().iter().map(|site| &site["key"]).collect();
    assert_eq!(keys, ["boston"]);

    config.more += "[pool.\"new.app.com\"]\nsites = [\"geneva\"]\n";
    let place = folder().unwrap();
    let file = config.write(place.path()).unwrap();
    let asked = place.path().join("asked");
    std::fs::write(&asked, format!("app.com A\n{last} A\n")).unwrap();
    let [file, asked] = [file, asked].map(|path| path.to_string_lossy().into_owned());
    let output = agent.output(&["simulate", "--json", "--config", &file, "--queries", &asked]).unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(complaint.contains("tells of 10000 names and leaves out 206, which are not compared"), "{complaint}");
    let page: Value = serde_json::from_slice(&output.stdout).unwrap();
    // A name that is new cannot be told from one that the page leaves out.
    assert_eq!((&page["added"], &page["removed"]), (&json!([]), &json!([])));
    // Of the one that it was asked for it says that it does not know what it was.
    let unknown = page["shares"].as_array().unwrap().iter().filter(|row| row["now"].is_null());
    assert_eq!(unknown.map(|row| &row["name"]).collect::<Vec<_>>(), [&last]);
}
