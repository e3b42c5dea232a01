use std::process::{Child, Command};

use super::*;

#[test]
fn mounts_are_found() {
    let hybrid = "31 23 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755\n\
                  35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                  41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw\n";
    assert_eq!(mount_of(hybrid), Some(("/sys/fs/cgroup/unified".into(), "/".into())));
    let part = "35 31 0:32 /a\\040b /mnt/x\\134y rw - cgroup2 none rw\n";
    assert_eq!(mount_of(part), Some(("/mnt/x\\y".into(), "/a b".into())));
    assert_eq!(mount_of("35 31 0:32 / /x rw - cgroup cgroup2 rw\nnonsense\n"), None);
}

/// Groups of this machine for one test, or none where it has none that can be written.
fn scratch(name: &str) -> Option<PathBuf> {
    let (mount, _) = own_group().ok()?;
    let scratch = mount.join(format!("zerottl-test-{name}-{}", process::id()));
    make(&scratch).map_err(|error| eprintln!("not tested: {error}")).ok().map(|()| scratch)
}

/// A process in a group.
fn sleeper(group: &Path) -> Child {
    let child = Command::new("sleep").arg("1000").spawn().unwrap();
    write(&group.join("cgroup.procs"), &child.id().to_string()).unwrap();
    child
}

fn ends(mut child: Child) {
    child.kill().unwrap();
    child.wait().unwrap();
}

/// As under systemd: a group of our own becomes the base, and all of it is as before in the end.
#[test]
fn a_delegated_group_is_the_base() {
    let Some(own) = scratch("delegated") else { return };
    let (mount, _) = own_group().unwrap();
    let (worker, keeper) = (sleeper(&own), sleeper(&own));
    let moved = vec![worker.id(), keeper.id()];
    let groups = Cgroups::within(&mount, &own, "boston", &moved).unwrap();
    assert_eq!(groups.root(), own.join("zerottl-boston"));
    assert!(processes(&own).unwrap().is_empty());
    let director = groups.root().join(DIRECTOR);
    let sorted = |group: &Path| {
        let mut all = processes(group).unwrap();
        all.sort_unstable();
        all
    };
    let mut expect = moved.clone();
    expect.sort_unstable();
    assert_eq!(sorted(&director), expect);

    // A later worker finds itself there.
    let groups = Cgroups::within(&mount, &director, "boston", &moved[..1]).unwrap();
    assert_eq!(groups.root(), own.join("zerottl-boston"));
    let app = groups.make("app-1", Some(64 << 20)).unwrap();
    match groups.without_memory() {
        None => assert_eq!(fs::read_to_string(app.join("memory.max")).unwrap().trim(), (64 << 20).to_string()),
        Some(why) => assert!(why.to_string().starts_with("`memory_max` has no effect"), "{why}"),
    }
    let mut server = sleeper(&app);
    let inner = app.join("inner");
    make(&inner).unwrap();
    assert_eq!(processes(&app).unwrap(), [server.id()]);
    groups.remove("app-1").unwrap();
    groups.remove("app-1").unwrap();
    assert!(!app.exists());
    assert!(!server.wait().unwrap().success(), "it was killed");

    let app = groups.make("app-2", None).unwrap();
    let mut server = sleeper(&app);
    groups.remove_all().unwrap();
    assert!(!server.wait().unwrap().success());
    assert_eq!((sorted(&own), children(&own)), (expect, vec![]));
    ends(worker);
    ends(keeper);
    remove(&own).unwrap();
}

/// As in a shell: where others are in our group, another base is taken, and they stay where they are.
#[test]
fn others_are_left_where_they_are() {
    let Some(mount) = scratch("shell") else { return };
    let own = mount.join("session");
    make(&own).unwrap();
    let (worker, shell) = (sleeper(&own), sleeper(&own));
    let groups = Cgroups::within(&mount, &own, "boston", &[worker.id()]).unwrap();
    assert_eq!(groups.root(), mount.join("zerottl-boston"));
    assert_eq!(processes(&own).unwrap(), [shell.id()]);
    groups.remove_all().unwrap();
    assert!(!mount.join("zerottl-boston").exists());
    ends(worker);
    ends(shell);
    remove(&mount).unwrap();
}

#[test]
fn what_cannot_be_made_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing");
    let error = Cgroups::within(&missing, &missing, "boston", &[]).unwrap_err().to_string();
    assert!(error.starts_with(&format!("making the cgroup {}", missing.display())), "{error}");
    assert!(error.contains("Delegate=yes"), "{error}");
}
