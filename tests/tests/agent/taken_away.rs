//! Losses that somebody else causes under an agent: pins and interfaces. They are seen, said, and put right. Links and descriptors are
//! scenarios of `chaos.rs`.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use tests::{config::Config, process::eventually, scene::Scene};
use zerottl_kernel::pins;

const PINS: &str = "/sys/fs/bpf/zerottl";
const PATIENCE: Duration = Duration::from_secs(10);

fn start(what: &str) -> Option<Scene> {
    Scene::start(what, Config { probe: None, ..Config::default() })
}

fn in_front<T: Send + 'static>(scene: &Scene, work: impl FnOnce() -> T + Send + 'static) -> T {
    scene.lab.fronts[0].run(work).expect("the front's thread")
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
        let is_told = || scene.agent.status().is_ok_and(|status| status.has_alarm("pins-removed"));
        assert!(eventually(PATIENCE, is_told), "{what}: {:?}", scene.agent.status());
        scene.agent.zerottl(&["reload"]).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert!(scene.answers_in_kernel(), "{what}");
        assert!(scene.kernel_answers() > counted, "{what}: counters go on");
        scene.survives_a_kill();
        if what == "moved" {
            in_front(&scene, || fs::remove_dir_all("/sys/fs/bpf/elsewhere")).expect("removed");
        }
    }
    assert!(scene.agent.log().contains("somebody has removed pins"), "{}", scene.agent.log());
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
    assert!(scene.answers_in_kernel());
}
