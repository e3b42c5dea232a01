//! Debian's packages below `target/vm/root`, unpacked.

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::{cargo::step, host};

/// The package that names Debian 12's current kernel.
const KERNEL: &str = "linux-image-amd64";
const EMULATOR: &str = "qemu-system-x86";
const BUSYBOX: &str = "busybox-static";
/// Names the kernel package that is unpacked; written last.
const DONE: &str = "unpacked";
/// Of the kernel's package only this is unpacked: the table needs no module, and there are 400 MB of them.
const KERNEL_PART: &str = "./boot/vmlinuz-*";

/// The parts of a virtual machine.
#[derive(Debug)]
pub struct Parts {
    /// The kernel's release, such as `linux-image-6.1.0-13-amd64`.
    pub release: String,
    /// Its image.
    pub kernel: PathBuf,
    /// A busybox that needs no libraries.
    pub busybox: PathBuf,
    /// The emulator.
    pub emulator: PathBuf,
    /// Where the emulator finds the machine's firmware.
    pub firmware: Vec<PathBuf>,
    /// Where it finds its libraries, unless it is installed.
    pub libraries: Option<OsString>,
}

/// Downloads and unpacks what is not there yet, by apt-get.
pub fn fetch(place: &Path) -> Result<Parts, String> {
    let root = place.join("root");
    let there = fs::read_to_string(place.join(DONE)).ok();
    // Without apt, or with lists that are gone, what was unpacked before is still good.
    let release = match (newest_kernel(), there) {
        (Ok(newest), Some(there)) if newest == there.trim() => newest,
        (Ok(newest), _) => {
            unpack(place, &root, &newest)?;
            newest
        }
        (Err(_), Some(there)) => there.trim().to_owned(),
        (Err(why), None) => return Err(why),
    };
    let version = release.trim_start_matches("linux-image-");
    let libraries = ["usr/lib/x86_64-linux-gnu", "lib/x86_64-linux-gnu"].map(|dir| root.join(dir));
    let parts = Parts {
        kernel: root.join(format!("boot/vmlinuz-{version}")),
        busybox: root.join("bin/busybox"),
        emulator: root.join("usr/bin/qemu-system-x86_64"),
        firmware: ["qemu", "seabios"].map(|dir| root.join("usr/share").join(dir)).to_vec(),
        libraries: Some(std::env::join_paths(libraries).map_err(|error| error.to_string())?),
        release,
    };
    let parts = match host::program("qemu-system-x86_64") {
        Some(emulator) => Parts { emulator, firmware: Vec::new(), libraries: None, ..parts },
        None => parts,
    };
    let absent = [&parts.kernel, &parts.busybox, &parts.emulator].into_iter().find(|path| !path.is_file());
    if let Some(absent) = absent {
        return Err(format!("{} is not there; remove {} and try again", absent.display(), place.display()));
    }
    Ok(parts)
}

fn unpack(place: &Path, root: &Path, kernel: &str) -> Result<(), String> {
    let debs = place.join("debs");
    empty_dir(&debs)?;
    empty_dir(root)?;
    let mut packages = vec![kernel.to_owned(), BUSYBOX.to_owned()];
    if host::program("qemu-system-x86_64").is_none() {
        // With the libraries that this machine lacks; only a simulation, so it may be what could not be installed here.
        let simulated = output(Command::new("apt-get").args(["install", "-s", "--no-install-recommends", EMULATOR]))?;
        packages.extend(to_install(&simulated).map(str::to_owned));
    }
    let mut download = Command::new("apt-get");
    download.args(["download", "-q"]).args(&packages).current_dir(&debs).stdin(Stdio::null());
    step(&format!("downloading {} packages for the virtual machine", packages.len()), &mut download)?;
    let entries = fs::read_dir(&debs).map_err(|error| format!("{}: {error}", debs.display()))?;
    for deb in entries.flatten().map(|entry| entry.path()) {
        // Two programs and a pipe, so that a part of a package can be taken.
        let mut pack = Command::new("dpkg-deb")
            .arg("--fsys-tarfile")
            .arg(&deb)
            .stdout(Stdio::piped())
            .spawn()
            .map_err(|error| format!("dpkg-deb: {error}"))?;
        let tar = pack.stdout.take().map_or(Stdio::null(), Stdio::from);
        let mut extract = Command::new("tar");
        extract.args(["-x", "-C"]).arg(root).stdin(tar);
        let is_kernel = deb.file_name().is_some_and(|name| name.to_string_lossy().starts_with("linux-image-"));
        if is_kernel {
            extract.args(["--wildcards", KERNEL_PART]);
        }
        let extracted = extract.status().map_err(|error| format!("tar: {error}"))?;
        let packed = pack.wait().map_err(|error| format!("dpkg-deb: {error}"))?;
        if !extracted.success() || !packed.success() {
            return Err(format!("{} cannot be unpacked", deb.display()));
        }
    }
    fs::remove_dir_all(&debs).map_err(|error| format!("{}: {error}", debs.display()))?;
    fs::write(place.join(DONE), kernel).map_err(|error| format!("{}: {error}", place.display()))
}

fn newest_kernel() -> Result<String, String> {
    let depends = output(Command::new("apt-cache").args(["depends", "--important", KERNEL]))?;
    depended_on(&depends).map(str::to_owned).ok_or_else(|| format!("apt's lists have no {KERNEL}: apt-get update?"))
}

/// The package that a metapackage stands for, in what `apt-cache depends` says.
fn depended_on(depends: &str) -> Option<&str> {
    depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| name.starts_with("linux-image-"))
}

/// The packages that `apt-get install -s` would install.
fn to_install(simulated: &str) -> impl Iterator<Item = &str> {
    simulated.lines().filter_map(|line| line.strip_prefix("Inst ")?.split(' ').next())
}

fn output(command: &mut Command) -> Result<String, String> {
    let output = command.env("LC_ALL", "C").stdin(Stdio::null()).output();
    let name = command.get_program().display();
    let output = output.map_err(|error| {
        format!("{name}: {error}: the virtual machine is made of Debian 12's packages, which apt downloads")
    })?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    Err(format!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim()))
}

/// Creates an empty folder where there may be an old one.
pub fn empty_dir(path: &Path) -> Result<(), String> {
    let failed = |error: std::io::Error| format!("{}: {error}", path.display());
    if path.exists() {
        fs::remove_dir_all(path).map_err(failed)?;
    }
    fs::create_dir_all(path).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn apt_is_understood() {
        let depends = "linux-image-amd64\n  Depends: linux-image-6.1.0-13-amd64\n";
        assert_eq!(depended_on(depends), Some("linux-image-6.1.0-13-amd64"));
        assert_eq!(depended_on("linux-image-amd64\n"), None);
        let simulated =
            "Remv other [1]\nInst libslirp0 (4.7.0-1 Debian:12)\nInst qemu-system-x86 (1:7.2 [amd64])\nConf x";
        assert_eq!(to_install(simulated).collect::<Vec<_>>(), ["libslirp0", "qemu-system-x86"]);
    }
}
