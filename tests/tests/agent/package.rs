//! The Debian package: made twice alike, installed, its service's command started with the unit's user, capabilities and
//! file system and answering, upgraded, purged. All in an overlay over this machine, which is left as it was.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    env, fs,
    path::{Path, PathBuf},
    process::Command,
    time::Duration,
};

use rustix::{
    process::Signal,
    thread::{UnshareFlags, unshare_unsafe},
};
use tests::{
    agent::{AgentReport, binary},
    client::Client,
    config::Config,
    lab::{Lab, LabSpec, can_run, front_addresses},
    netns::Netns,
    process::{Process, eventually},
    scratch::root,
};

/// How exposed `systemd-analyze security` may find the service, in tenths: what is left is BPF and the network, its work.
const EXPOSURE_MAX: &str = "20";
/// As much for the director, whose servers have users of their own and any program within.
const DIRECTOR_EXPOSURE_MAX: &str = "30";

/// Where the unit is installed.
const UNIT: &str = "/lib/systemd/system/zerottl.service";
/// The unit for Sites, by their keys.
const SITE_UNIT: &str = "/lib/systemd/system/zerottl-site@.service";
/// The unit for the directors of Sites.
const DIRECTOR_UNIT: &str = "/lib/systemd/system/zerottl-director@.service";

/// `cargo xtask` itself: `ZEROTTL_XTASK`, else the newest build beside this program.
fn xtask() -> PathBuf {
    if let Some(path) = env::var_os("ZEROTTL_XTASK") {
        return path.into();
    }
    let program = env::current_exe().unwrap();
    let target = program.ancestors().nth(3).unwrap();
    let builds = ["debug", "release"].map(|profile| target.join(profile).join("xtask"));
    let newest = builds
        .into_iter()
        .filter(|path| path.is_file())
        .max_by_key(|path| path.metadata().unwrap().modified().unwrap());
    newest.expect("no xtask binary: run `cargo build -p xtask`")
}

fn read(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "{command:?}: {}\n{}{said}",
        output.status,
        String::from_utf8_lossy(&output.stdout)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// `cargo xtask dist` into a folder; the tarball and the package.
fn dist(out: &Path) -> (PathBuf, PathBuf) {
    let mut command = Command::new(xtask());
    command
        .arg("dist")
        .arg("--binary")
        .arg(binary().unwrap())
        .arg("--out")
        .arg(out)
        .env("SOURCE_DATE_EPOCH", "1700000000");
    let text = read(&mut command);
    let mut files = text.lines().map(PathBuf::from);
    (files.next().unwrap(), files.next().unwrap())
}

/// The values of a key of the unit.
fn values<'a>(unit: &'a str, key: &str) -> Vec<&'a str> {
    unit.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect()
}

/// A machine's root: this one's, with what is written kept in memory.
struct Overlay<'a> {
    machine: &'a Netns,
    upper: PathBuf,
    merged: PathBuf,
}

impl<'a> Overlay<'a> {
    /// In a mount namespace of the machine's thread, so that it goes with the machine.
    fn new(machine: &'a Netns, place: &Path) -> Self {
        // SAFETY: only the thread's mount namespace, root and working directory change; no descriptor table is unshared.
        machine.run(|| unsafe { unshare_unsafe(UnshareFlags::NEWNS) }).unwrap().unwrap();
        let layers = place.join("layers");
        let [upper, work, merged] = ["upper", "work", "merged"].map(|name| layers.join(name));
        let overlay = Self { machine, upper, merged };
        let mount = |arguments: &[&str]| machine.read("mount", arguments).unwrap();
        fs::create_dir(&layers).unwrap();
        mount(&["--make-rprivate", "/"]);
        mount(&["-t", "tmpfs", "tmpfs", &layers.to_string_lossy()]);
        let folders = [&overlay.upper, &work, &overlay.merged].map(|path| path.to_string_lossy().into_owned());
        machine.read("mkdir", &[&folders[0], &folders[1], &folders[2]]).unwrap();
        let options = format!("lowerdir=/,upperdir={},workdir={}", folders[0], folders[1]);
        mount(&["-t", "overlay", "overlay", "-o", &options, &folders[2]]);
        for tree in ["proc", "sys", "dev"] {
            mount(&["--rbind", &format!("/{tree}"), &format!("{}/{tree}", folders[2])]);
        }
        // As systemd mounts it.
        mount(&["-t", "bpf", "-o", "mode=0700", "bpf", &format!("{}/sys/fs/bpf", folders[2])]);
        overlay
    }

    fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new("chroot");
        command
            .arg(&self.merged)
            .arg(program)
            .args(arguments)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .current_dir("/");
        command
    }

    fn read(&self, program: &str, arguments: &[&str]) -> String {
        let output = self.machine.output(self.command(program, arguments)).unwrap();
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{program} {arguments:?}: {}\n{out}{err}", output.status);
        out.into_owned()
    }

    fn fails(&self, program: &str, arguments: &[&str]) -> bool {
        !self.machine.output(self.command(program, arguments)).unwrap().status.success()
    }

    /// Reads or writes a file in it: its mounts are not in this thread's namespace.
    fn read_file(&self, path: &str) -> String {
        let path = self.merged.join(path.trim_start_matches('/'));
        self.machine.run(move || fs::read_to_string(path)).unwrap().unwrap()
    }

    fn write_file(&self, path: &str, text: String) {
        let path = self.merged.join(path.trim_start_matches('/'));
        self.machine.run(move || fs::write(path, text)).unwrap().unwrap();
    }
}

/// The command that starts the service as the unit says: its file systems, user and capabilities, and no new privileges.
/// strace, which writes to `log`, follows it.
fn service(overlay: &Overlay, unit: &str, log: &str) -> Command {
    let one = |key| *values(unit, key).first().unwrap_or_else(|| panic!("the unit has no {key}"));
    let capabilities =
        |key| one(key).split_whitespace().map(|c| format!("+{}", c.trim_start_matches("CAP_").to_lowercase()));
    let list = |key| format!("-all,{}", capabilities(key).collect::<Vec<_>>().join(","));
    let bind = one("BindPaths");
    assert_eq!(values(unit, "TemporaryFileSystem"), ["/sys/fs/bpf"]);
    let script = format!(
        "mkdir /run/pins && mount --bind {bind} /run/pins && mount -t tmpfs -o mode=0755 tmpfs /sys/fs/bpf && \
         mkdir {bind} && mount --bind /run/pins {bind} && umount /run/pins && rmdir /run/pins && exec strace -D -f -qq -o {log} \
         setpriv --reuid {user} --regid {group} --init-groups --no-new-privs --inh-caps={ambient} \
         --ambient-caps={ambient} --bounding-set={bounding} sh -c 'mkdir {bind}/probe && rmdir {bind}/probe && exec {start}'",
        user = one("User"),
        group = one("Group"),
        ambient = list("AmbientCapabilities"),
        bounding = list("CapabilityBoundingSet"),
        start = one("ExecStart"),
    );
    overlay.command("unshare", &["--mount", "sh", "-ec", &script])
}

/// The system calls that the unit lets the service make, by name.
fn allowed(unit: &str) -> BTreeSet<String> {
    let mut allowed = BTreeSet::new();
    for line in values(unit, "SystemCallFilter") {
        let (takes, line) = line.strip_prefix('~').map_or((false, line), |line| (true, line));
        for word in line.split_whitespace() {
            let calls = expand(word);
            if takes {
                allowed.retain(|call| !calls.contains(call));
            } else {
                allowed.extend(calls);
            }
        }
    }
    // The default set, which systemd always allows.
    allowed.extend(expand("@default"));
    allowed
}

fn expand(word: &str) -> BTreeSet<String> {
    if !word.starts_with('@') {
        return [word.to_owned()].into();
    }
    let text = read(Command::new("systemd-analyze").args(["syscall-filter", word]));
    let entries =
        text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#') && *line != word);
    entries.flat_map(expand).collect()
}

/// The system calls in strace's log since the agent itself began.
fn made(log: &str) -> BTreeSet<String> {
    let begun = log.find("execve(\"/usr/bin/zerottl\"").expect("strace saw the agent start");
    let call = |line: &str| {
        let rest = line.split_once(' ')?.1.trim_start();
        let rest = rest.strip_prefix("<... ").unwrap_or(rest);
        let name = rest.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).next()?;
        (!name.is_empty() && !rest.starts_with("+++") && !rest.starts_with("---")).then(|| name.to_owned())
    };
    log[begun..].lines().skip(1).filter_map(call).collect()
}

/// The package, made twice alike and without fault; the tarball likewise.
fn package(folder: &Path) -> PathBuf {
    let (tarball, package) = dist(&folder.join("one"));
    let again = dist(&folder.join("two"));
    assert_eq!(fs::read(&tarball).unwrap(), fs::read(again.0).unwrap(), "the tarball is reproducible");
    assert_eq!(fs::read(&package).unwrap(), fs::read(again.1).unwrap(), "the package is reproducible");
    let listed = read(Command::new("tar").arg("--list").arg("--file").arg(&tarball));
    for file in [
        "bin/zerottl",
        "share/man/man1/zerottl.1",
        "share/man/man5/zerottl.toml.5",
        "zerottl.service",
        "zerottl-site@.service",
        "zerottl-director@.service",
        "LICENSE-MIT",
        "examples/reference.toml",
    ] {
        assert!(
            listed.lines().any(|line| line.split_once('/').is_some_and(|(_, path)| path == file)),
            "{file}: {listed}"
        );
    }
    // The files that the README and the chapters link to are there, too; the source they also link to is not a package's.
    let packed: Vec<&str> = listed.lines().filter_map(|line| Some(line.split_once('/')?.1)).collect();
    let is_chapter = |path: &&&str| **path == "README.md" || path.starts_with("docs/") && is_markdown(path);
    for document in packed.iter().filter(is_chapter) {
        let text = fs::read_to_string(root().join(document)).unwrap();
        for link in links(document, &text) {
            let is_document = link.starts_with("docs/") || link.starts_with("examples/") || is_markdown(&link);
            let is_there = packed.contains(&link.as_str());
            assert!(is_there || !is_document, "the installed {document} links to {link}: {listed}");
        }
    }
    // A first upload to Debian closes a bug there; this is none.
    let mut lintian = Command::new("lintian");
    lintian.args(["--allow-root", "--fail-on", "error,warning", "--suppress-tags", "initial-upload-closes-no-bugs"]);
    read(lintian.arg(&package));
    package
}

fn is_markdown(path: &str) -> bool {
    Path::new(path).extension().is_some_and(|extension| extension == "md")
}

/// The files of the repository that a document links to, by their paths from its root.
fn links(document: &str, text: &str) -> Vec<String> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split([')', '#']).next());
    let files = targets.filter(|target| !target.is_empty() && !target.contains(':'));
    let resolved = files.map(|target| {
        let mut path: Vec<&str> = document.split('/').collect();
        path.pop();
        for part in target.split('/') {
            if part == ".." {
                path.pop();
            } else {
                path.push(part);
            }
        }
        path.join("/")
    });
    resolved.collect()
}

/// Installs it, and looks at what is there then.
fn install(overlay: &Overlay<'_>, package: &str) {
    overlay.read("dpkg", &["--install", package]);
    overlay.read("id", &["zerottl"]);
    overlay.read("zerottl", &["check", "--config", "/etc/zerottl/zerottl.toml"]);
    for (file, words) in [
        ("/usr/share/bash-completion/completions/zerottl", "COMPLETE"),
        ("/usr/share/zsh/vendor-completions/_zerottl", "#compdef zerottl"),
        ("/usr/share/fish/vendor_completions.d/zerottl.fish", "COMPLETE"),
        ("/usr/share/doc/zerottl/copyright", "Apache-2.0"),
    ] {
        assert!(overlay.read_file(file).contains(words), "{file}");
    }
    let manual = overlay.read("sh", &["-c", "gzip -dc /usr/share/man/man1/zerottl-simulate.1.gz"]);
    assert!(manual.contains(".TH"), "{manual}");
    for (unit, file, exposure_max) in [
        ("zerottl.service", UNIT, EXPOSURE_MAX),
        ("zerottl-site@boston.service", SITE_UNIT, EXPOSURE_MAX),
        ("zerottl-director@boston.service", DIRECTOR_UNIT, DIRECTOR_EXPOSURE_MAX),
    ] {
        overlay.read("systemd-analyze", &["verify", "--man=no", "--recursive-errors=no", unit]);
        overlay.read("systemd-analyze", &["security", "--offline=true", "--threshold", exposure_max, file]);
    }
}

#[test]
fn the_package_serves_and_leaves_nothing() {
    if !can_run("the package") {
        return;
    }
    let lab = Lab::start(&LabSpec::default()).unwrap_or_else(|error| panic!("lab: {error}"));
    let folder = lab.folder("package").unwrap();
    let package = package(&folder);
    let machine = &lab.fronts[0];
    let overlay = Overlay::new(machine, &folder);
    let package = package.to_string_lossy();
    install(&overlay, &package);
    let unit = overlay.read_file(UNIT);
    let config = Config::default();
    overlay.write_file("/etc/zerottl/zerottl.toml", config.to_toml());
    overlay.write_file("/etc/zerottl/app.com.zone", config.records);
    let as_root = |key| {
        for line in values(&unit, key) {
            overlay.read("sh", &["-ec", line.strip_prefix('+').expect("as root").trim_start_matches('-')]);
        }
    };
    let start = |log: &str| {
        as_root("ExecStartPre");
        Process::new(machine.spawn(service(&overlay, &unit, log)).unwrap())
    };
    let end = |mut process: Process, key: &str| {
        let signal = match values(&unit, key)[..] {
            ["SIGTERM"] => Signal::TERM,
            ["SIGUSR1"] => Signal::USR1,
            ref other => panic!("{key}: {other:?}"),
        };
        process.signal(signal).unwrap();
        assert!(process.wait(Duration::from_secs(20)).unwrap().success(), "{key}");
        as_root("ExecStopPost");
    };
    let mut process = start("/var/log/strace1");
    let status = || {
        let text = machine.read("curl", &["-sf", "--max-time", "5", "http://127.0.0.1:8053/v1/status"]);
        text.ok().and_then(|text| serde_json::from_str(&text).ok()).map(AgentReport)
    };
    let is_up = || {
        eventually(Duration::from_secs(30), || {
            status().is_some_and(|report| report.site_is_proven("boston") == Some(true))
        })
    };
    assert!(is_up(), "{:?}: {:?}", process.ended(), status());
    let ask = || {
        for server in front_addresses(0) {
            let client = Client::new(&lab.client, None, server).unwrap();
            for v6 in [false, true] {
                client.lookup("app.com", v6).unwrap();
            }
        }
    };
    ask();
    assert_eq!(status().unwrap().kernel_answers(), 4, "answered by the XDP program");
    // An upgrade keeps what the operator wrote, and the agent; its restart leaves the program answering.
    overlay.read("dpkg", &["--install", "--force-confold", &package]);
    assert_eq!(overlay.read_file("/etc/zerottl/zerottl.toml"), Config::default().to_toml());
    assert!(status().is_some(), "the agent goes on");
    end(process, "RestartKillSignal");
    assert!(status().is_none());
    ask();
    let process = start("/var/log/strace2");
    assert!(is_up(), "{:?}", status());
    ask();
    end(process, "KillSignal");
    let pins = values(&unit, "BindPaths")[0];
    assert!(overlay.fails("test", &["-e", pins]), "the pins' folder is gone");

    let logs = ["/var/log/strace1", "/var/log/strace2"].map(|log| made(&overlay.read_file(log)));
    let made: BTreeSet<_> = logs.into_iter().flatten().collect();
    let allowed = allowed(&unit);
    assert!(made.contains("bpf") && made.contains("membarrier"), "{made:?}");
    let refused: Vec<_> = made.difference(&allowed).collect();
    assert!(refused.is_empty(), "the unit refuses {refused:?}");

    overlay.read("dpkg", &["--purge", "zerottl"]);
    assert!(overlay.fails("id", &["zerottl"]), "the user is gone");
    let upper = overlay.upper.to_string_lossy();
    // The records file had been changed; purging takes conffiles all the same.
    let left = machine.read("find", &[&upper, "-name", "*zerottl*", "-not", "-path", "*/tmp/*"]).unwrap();
    assert_eq!(left, "", "left behind");
}

/// The test stands on this: the unit's path of the pins is the one that is prepared.
#[test]
fn the_unit_prepares_what_it_binds() {
    let unit = fs::read_to_string(root().join("packaging/systemd/zerottl.service")).unwrap();
    let path = values(&unit, "BindPaths")[0];
    assert!(values(&unit, "ExecStartPre")[0].ends_with(path));
    assert_eq!(values(&unit, "ReadWritePaths"), [path]);
    assert_eq!(values(&unit, "AmbientCapabilities"), values(&unit, "CapabilityBoundingSet"));
}
