//! Losses that somebody else causes under a running agent: links, pins, descriptors. They are seen, said, and put right.

use std::{
    fs,
    os::fd::AsFd,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tests::{config::Config, process::eventually, scene::Scene};
use zerottl_kernel::{pins, sys};

const PINS: &str = "/sys/fs/bpf/zerottl";
const PATIENCE: Duration = Duration::from_secs(10);

fn start(what: &str) -> Option<Scene> {
    Scene::start(what, Config { probe: None, ..Config::default() })
}

fn in_front<T: Send + 'static>(scene: &Scene, work: impl FnOnce() -> T + Send + 'static) -> T {
    scene.lab.fronts[0].run(work).expect("the front's thread")
}

/// Detaches the link that is pinned for eth0, as `bpftool link detach` does.
fn detach(scene: &Scene) {
    let detached = in_front(scene, || {
        let path = Path::new(PINS).join("link-native-eth0");
        sys::get(&path).and_then(|link| sys::link_detach(link.as_fd()))
    });
    detached.expect("detached");
}

fn alarms(scene: &Scene) -> Vec<String> {
    let page = scene.agent.status().expect("status").0;
    let alarms = page["standings"]["alarms"].as_array().or(page["alarms"].as_array()).cloned().unwrap_or_default();
    alarms.iter().filter_map(|alarm| alarm["kind"].as_str().map(ToOwned::to_owned)).collect()
}

fn answers_in_kernel(scene: &Scene) -> bool {
    let before = scene.kernel_answers();
    scene.client(false).lookup("app.com", false).expect("answered");
    scene.kernel_answers() > before
}

/// The next end of the agent is no outage.
fn survives_a_kill(scene: &mut Scene) {
    scene.agent.kill();
    scene.client(false).lookup("app.com", false).expect("the program answers without an agent");
    scene.agent.restart(&[]).expect("started again");
    assert!(answers_in_kernel(scene));
}

/// A link that somebody detaches, three times: the program is back, it is said in log, status and metrics, and reloads and
/// kills are as before.
#[test]
fn a_detached_link_comes_back() {
    let Some(mut scene) = start("a link that somebody detaches") else { return };
    for _ in 0..3 {
        let before = scene.agent.attached("eth0").expect("ip link").expect("attached");
        detach(&scene);
        let is_back = || scene.agent.attached("eth0").expect("ip link").as_ref() == Some(&before);
        assert!(eventually(PATIENCE, is_back), "{}", scene.agent.log());
        assert!(eventually(PATIENCE, || answers_in_kernel(&scene)));
    }
    assert!(eventually(PATIENCE, || alarms(&scene).contains(&"program-taken-off".into())), "{:?}", alarms(&scene));
    let metrics = scene.agent.get("/metrics").expect("metrics");
    assert!(metrics.contains("zerottl_alarm{kind=\"program-taken-off\""), "{metrics}");
    let status = scene.agent.zerottl(&["status"]).expect("status");
    assert!(status.contains("3 times") && status.contains("eth0: native"), "{status}");
    assert!(scene.agent.log().contains("somebody has taken the program off"), "{}", scene.agent.log());
    scene.agent.zerottl(&["reload"]).expect("reloaded");
    survives_a_kill(&mut scene);
}

/// Where another's program has come in between, that is said for as long as it is there.
#[test]
fn another_program_in_its_place() {
    let Some(mut scene) = start("another's program in its place") else { return };
    let link = in_front(&scene, || {
        let path = Path::new(PINS).join("link-native-eth0");
        let ours = sys::get(&path).expect("pinned");
        sys::link_detach(ours.as_fd()).expect("detached");
        tests::pass::attach("eth0")
    });
    let Ok(link) = link else {
        // The agent was quicker.
        return;
    };
    assert!(eventually(PATIENCE, || alarms(&scene).contains(&"program-off".into())), "{:?}", alarms(&scene));
    let status = scene.agent.zerottl(&["status"]).expect("status");
    assert!(status.contains("eth0: off") && status.contains("another XDP program"), "{status}");
    scene.client(false).lookup("app.com", false).expect("the socket path answers");
    scene.agent.zerottl(&["reload"]).expect("a reload does not wait for it");
    drop(link);
    assert!(eventually(PATIENCE, || answers_in_kernel(&scene)), "{}", scene.agent.log());
    // The alarm goes with the next look at the interfaces.
    assert!(eventually(PATIENCE, || !alarms(&scene).contains(&"program-off".into())), "{:?}", alarms(&scene));
    survives_a_kill(&mut scene);
}

/// Pins that somebody removes, one, all, and the folder: made anew, said, counters go on, and reloads and kills are as before.
#[test]
fn removed_pins_come_back() {
    let Some(mut scene) = start("pins that somebody removes") else { return };
    let whole = in_front(&scene, || fs::read_dir(PINS).expect("read").count());
    for what in ["the link", "the counters", "all", "the folder", "moved"] {
        scene.client(false).lookup("app.com", false).expect("answered");
        let counted = scene.kernel_answers();
        in_front(&scene, move || {
            let folder = Path::new(PINS);
            let counters: PathBuf = pins::shared(folder, "COUNTERS");
            match what {
                "the link" => fs::remove_file(folder.join("link-native-eth0")),
                "the counters" => fs::remove_file(counters),
                "all" => fs::read_dir(folder).expect("read").try_for_each(|pin| fs::remove_file(pin?.path())),
                "moved" => fs::rename(folder, "/sys/fs/bpf/elsewhere"),
                _ => fs::remove_dir_all(folder),
            }
        })
        .expect(what);
        let is_whole = || in_front(&scene, || fs::read_dir(PINS).map_or(0, Iterator::count)) == whole;
        assert!(eventually(PATIENCE, is_whole), "{what}: {}", scene.agent.log());
        let is_told = || alarms(&scene).contains(&"pins-removed".into());
        assert!(eventually(PATIENCE, is_told), "{what}: {:?}", alarms(&scene));
        scene.agent.zerottl(&["reload"]).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(answers_in_kernel(&scene), "{what}");
        assert!(scene.kernel_answers() > counted, "{what}: counters go on");
        survives_a_kill(&mut scene);
        if what == "moved" {
            in_front(&scene, || fs::remove_dir_all("/sys/fs/bpf/elsewhere")).expect("removed");
        }
    }
    assert!(scene.agent.log().contains("somebody has removed pins"), "{}", scene.agent.log());
}

/// A process without descriptors takes nothing for gone: its program answers, and is its own when there are some again.
#[test]
fn no_descriptors_is_no_news_of_an_interface() {
    let Some(mut scene) = start("no descriptors left") else { return };
    let pid = Pid::from_raw(i32::try_from(scene.agent.pid()).expect("a process id"));
    let before = scene.agent.attached("eth0").expect("ip link");
    for _ in 0..3 {
        let limit = |current| prlimit(pid, Resource::Nofile, Rlimit { current: Some(current), maximum: Some(4096) });
        // Those that are open stay; the next would have to be below this.
        limit(3).expect("set");
        std::thread::sleep(Duration::from_secs(1));
        assert_eq!(scene.agent.attached("eth0").expect("ip link"), before);
        limit(4096).expect("set back");
        assert!(eventually(PATIENCE, || scene.agent.status().is_ok()), "{}", scene.agent.log());
        let page = scene.agent.status().expect("status").0;
        assert_eq!(page["front"]["attach"][0]["mode"], "native", "{page}");
    }
    assert!(!scene.agent.log().contains("is gone"), "{}", scene.agent.log());
    scene.agent.zerottl(&["reload"]).expect("reloaded");
    survives_a_kill(&mut scene);
}

/// Interfaces that are made anew, or bear another name, while no agent runs: the next one has its program where its file says,
/// takes back the link that is there, and leaves no pin of what has gone.
#[test]
fn interfaces_that_change_without_an_agent() {
    let Some(mut scene) = start("interfaces that change without an agent") else { return };
    let front = std::sync::Arc::clone(&scene.lab.fronts[0]);
    let add = "link add spare0 type veth peer name spare1\nlink add old0 type veth peer name other1\n\
               link add gone0 type veth peer name other2";
    front.ip(add).expect("interfaces");
    let with = |names: &[&str]| {
        let names = std::iter::once("eth0").chain(names.iter().copied());
        Config { interfaces: names.map(ToOwned::to_owned).collect(), ..scene.config.clone() }
    };
    let (before, after) = (with(&["spare0", "old0", "gone0"]), with(&["spare0", "new0"]));
    before.write(scene.agent.folder()).expect("written");
    scene.agent.zerottl(&["reload"]).expect("reloaded");
    scene.agent.kill();
    front.ip("link del spare0\nlink add spare0 type veth peer name spare1\nlink set old0 name new0").expect("changed");
    after.write(scene.agent.folder()).expect("written");
    scene.agent.restart(&[]).unwrap_or_else(|error| panic!("{error}"));
    let program = scene.agent.attached("eth0").expect("ip link").expect("attached");
    for interface in ["spare0", "new0"] {
        assert_eq!(scene.agent.attached(interface).expect("ip link").as_ref(), Some(&program), "{interface}");
    }
    assert_eq!(scene.agent.attached("gone0").expect("ip link"), None, "one that is not in the file any more");
    let links = in_front(&scene, || {
        let mut names: Vec<_> = pins::links(Path::new(PINS)).expect("read").into_iter().map(|link| link.name).collect();
        names.sort();
        names
    });
    assert_eq!(links, ["link-native-eth0", "link-native-new0", "link-native-spare0"]);
    scene.agent.kill();
    assert_eq!(scene.agent.attached("new0").expect("ip link").as_ref(), Some(&program), "pinned");
    scene.agent.restart(&[]).expect("started again");
    assert!(answers_in_kernel(&scene));
}
