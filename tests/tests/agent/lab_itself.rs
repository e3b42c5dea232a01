//! The lab before any agent runs in it: wires, Sites, and that it leaves nothing behind.

use std::{
    fs, io,
    net::{IpAddr, TcpStream},
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use tests::{
    lab::{Lab, LabSpec, can_run, front_addresses},
    netns::Netns,
    process::eventually,
    site::LabSite,
};

fn start(spec: &LabSpec) -> Lab {
    Lab::start(spec).expect("lab")
}

fn url(address: IpAddr, page: &str) -> String {
    match address {
        IpAddr::V4(v4) => format!("http://{v4}{page}"),
        IpAddr::V6(v6) => format!("http://[{v6}]{page}"),
    }
}

fn get(machine: &Netns, address: IpAddr, page: &str) -> Option<String> {
    machine.read("curl", &["-sf", "--max-time", "2", &url(address, page)]).ok()
}

#[test]
fn client_and_fronts_reach_every_site_over_both_families() {
    if !can_run("the lab's wires") {
        return;
    }
    let lab = start(&LabSpec { fronts: 2, resolver: true, ..LabSpec::default() });
    for site in &lab.sites {
        for &address in &site.config.addresses {
            assert_eq!(
                get(&lab.client, address, "/").as_deref(),
                Some(&*format!("{}\n", site.config.key)),
                "{address}"
            );
            for front in &lab.fronts {
                assert_eq!(get(front, address, "/health").as_deref(), Some("ok\n"), "{address}");
            }
        }
    }
    let resolver = lab.resolver.as_ref().expect("asked for");
    for (machine, fronts) in [(&lab.client, 2), (resolver, 1)] {
        for server in (0..fronts).flat_map(front_addresses) {
            // Nothing listens yet: a refusal is an answer of the front itself.
            let connected = machine.run(move || TcpStream::connect_timeout(&server, Duration::from_secs(2)));
            let kind = connected.expect("run").expect_err("nothing listens").kind();
            assert_eq!(kind, io::ErrorKind::ConnectionRefused, "{server} of {fronts}");
        }
    }
}

#[test]
fn sites_die_hang_fall_off_and_come_back() {
    if !can_run("the lab's Sites") {
        return;
    }
    let lab = start(&LabSpec::default());
    let site = lab.site("boston");
    let address = site.config.addresses[0];
    let answers = || get(&lab.fronts[0], address, "/health").is_some();
    assert!(answers() && site.pid().is_some());
    site.kill();
    assert!(!answers() && site.pid().is_none());
    site.restart().expect("restart");
    assert!(answers());
    site.hang(true).expect("hang");
    assert!(!answers());
    site.hang(false).expect("go on");
    assert!(answers());
    lab.plug_site("boston", false).expect("unplug");
    assert!(!answers());
    assert!(get(&lab.fronts[0], lab.site("chicago").config.addresses[0], "/health").is_some(), "others are untouched");
    lab.plug_site("boston", true).expect("plug");
    assert!(eventually(Duration::from_secs(5), answers));
}

#[test]
fn two_labs_are_two_worlds() {
    if !can_run("two labs at once") {
        return;
    }
    let (one, two) = thread::scope(|scope| {
        let one = scope.spawn(|| start(&LabSpec::default()));
        (start(&LabSpec::default()), one.join().expect("lab"))
    });
    one.site("geneva").kill();
    let address = one.site("geneva").config.addresses[0];
    assert_eq!(get(&one.client, address, "/"), None);
    assert_eq!(get(&two.client, address, "/").as_deref(), Some("geneva\n"));
}

/// A namespace, a Site and a folder end with the lab, also when a test panics while it runs.
#[test]
fn nothing_is_left_behind() {
    if !can_run("the lab's cleanup") {
        return;
    }
    let seen = |lab: &Lab| {
        let pids: Vec<_> = lab.sites.iter().filter_map(LabSite::pid).collect();
        (pids, lab.path().to_owned(), fs::read_link(lab.client.path()).expect("namespace"))
    };
    let lab = start(&LabSpec::default());
    let (pids, folder, _) = seen(&lab);
    assert_eq!(pids.len(), 3);
    drop(lab);
    let gone = |pid: &u32| !fs::exists(format!("/proc/{pid}")).expect("proc");
    assert!(pids.iter().all(gone) && !folder.exists());

    let (sender, receiver) = std::sync::mpsc::sync_channel(1);
    let panicked = thread::spawn(move || {
        let lab = start(&LabSpec::default());
        sender.send(seen(&lab)).expect("send");
        std::panic::resume_unwind(Box::new("a failing test"));
    });
    assert!(panicked.join().is_err());
    let (pids, folder, namespace) = receiver.recv().expect("lab was up");
    assert!(pids.iter().all(gone) && !folder.exists());
    let held = || {
        let links = fs::read_dir("/proc/self/fd").into_iter().flatten().flatten();
        links.filter_map(|fd| fs::read_link(fd.path()).ok()).any(|link| link == namespace)
    };
    assert!(!held());
}

/// Where the process that [`the_labs_children_end_with_it_even_by_sigkill`] kills writes its children's ids.
const MARK: &str = "ZEROTTL_TEST_HOLD_LAB";

/// Parent-death signals end the Sites where no destructor runs.
#[test]
fn the_labs_children_end_with_it_even_by_sigkill() {
    if !can_run("the lab's end by SIGKILL") {
        return;
    }
    // This test again, in a process of its own that is killed while its lab is up.
    if let Some(file) = std::env::var_os(MARK) {
        let lab = start(&LabSpec::default());
        let pids: Vec<_> = lab.sites.iter().filter_map(LabSite::pid).map(|pid| pid.to_string()).collect();
        fs::write(&file, pids.join(" ")).expect("write");
        thread::sleep(Duration::from_mins(1));
        return;
    }
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("pids");
    let mut holder = Command::new(std::env::current_exe().expect("this test"))
        .args(["--exact", "lab_itself::the_labs_children_end_with_it_even_by_sigkill", "--nocapture"])
        .env(MARK, &file)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("spawn");
    let mut pids = String::new();
    let up = eventually(Duration::from_secs(20), || {
        pids = fs::read_to_string(&file).unwrap_or_default();
        !pids.is_empty()
    });
    holder.kill().expect("kill");
    holder.wait().expect("wait");
    assert!(up, "the held lab came up");
    let gone = |pid: &str| !fs::exists(format!("/proc/{pid}")).expect("proc");
    assert!(eventually(Duration::from_secs(5), || pids.split(' ').all(gone)), "{pids}");
}
