//! Installs what a task lacks. With nothing lacking it only looks at files, and calls no package manager.

use std::{
    fmt::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use crate::{
    cargo::{cargo, step},
    ebpf, host,
    requirements::{self, BuildLinker, DAEMONS, EbpfPlan, Requirement, Task},
};

/// The version that reads LLVM 21 to 23.
const BPF_LINKER_VERSION: &str = "0.13.0";

/// A second round sees what the first could only guess, the compiler's LLVM.
const ROUNDS_MAX: u32 = 3;

/// Packages start their daemons when they are installed unless this file says no. A shell does it, not this program, so
/// that the file is removed whatever ends this program. A file that is there already is the administrator's.
const POLICY: &str = "/usr/sbin/policy-rc.d";
const APT_INSTALL: &str = r#"
policy=$1
shift
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    trap 'exit 130' HUP INT TERM
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
apt-get install --yes --no-install-recommends --no-remove -o DPkg::Lock::Timeout=300 -o Dpkg::Use-Pty=0 "$@"
"#;

/// Installs what `task` lacks and says what and why. Without root it says what to run, and fails.
pub fn setup(task: Task, root: &Path) -> Result<(), String> {
    let wish = ebpf::wish();
    for _ in 0..ROUNDS_MAX {
        let survey = ebpf::survey(root, wish.as_deref());
        let toolchain = ebpf::choose(wish.as_deref(), &survey);
        let tools = requirements::missing_tools(task, &host::there);
        let plan = match &toolchain {
            Ok(toolchain) if tools.is_empty() => {
                eprintln!("setup: all there; the BPF programs are built by {toolchain}");
                return Ok(());
            }
            Ok(_) => EbpfPlan::default(),
            Err(lacking) if wish.as_deref().is_some_and(|wish| wish != "debian") => {
                return Err(by_hand(&tools, lacking));
            }
            Err(_) => requirements::ebpf_plan(&survey, &host::there),
        };
        let packages = [plan.packages, tools].concat();
        if host::program("apt-get").is_none() {
            return Err(by_hand(&packages, &toolchain.err().unwrap_or_default()));
        }
        install_packages(&packages)?;
        if let Some(linker) = plan.build_linker {
            build_linker(root, linker)?;
        }
    }
    Err("setup: all was installed, yet something is missing; `cargo xtask setup` again says what".to_owned())
}

/// Says what to do on a machine whose packages we do not know, or with a toolchain that is its owner's.
fn by_hand(packages: &[Requirement], lacking: &[String]) -> String {
    let mut text = String::from("setup: please install what is missing (this is done for you on Debian 12 only):\n");
    for Requirement { package, why } in packages {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "  Debian's {package}: {why}");
    }
    if !lacking.is_empty() {
        let _ = writeln!(text, "  the eBPF toolchain: {}", lacking.join("; "));
        text.push_str("    rustup toolchain install nightly --profile minimal --component rust-src\n");
        let _ = writeln!(text, "    cargo install bpf-linker --version {BPF_LINKER_VERSION} --locked");
        text.push_str("    (see bpf-linker's README for the LLVM it needs)\n");
    }
    text
}

fn install_packages(packages: &[Requirement]) -> Result<(), String> {
    if packages.is_empty() {
        return Ok(());
    }
    eprintln!("setup: missing packages:");
    for Requirement { package, why } in packages {
        eprintln!("  {package:<16} {why}");
    }
    let names: Vec<&str> = packages.iter().map(|requirement| requirement.package.as_str()).collect();
    if !host::is_root() {
        return Err(format!(
            "installing packages needs root. Run this, then the same command again:\n  \
             apt-get update && apt-get install --no-install-recommends {}",
            names.join(" ")
        ));
    }
    let unknown = without_candidate(packages)?;
    if !unknown.is_empty() {
        eprintln!("setup: apt's lists do not have {}", unknown.join(", "));
        update_lists()?;
        let unknown = without_candidate(packages)?;
        if !unknown.is_empty() {
            let lacking = unknown.iter().map(|package| format!("this system has no package {package}"));
            return Err(by_hand(packages, &lacking.collect::<Vec<_>>()));
        }
    }
    let daemons: Vec<&str> =
        DAEMONS.iter().filter(|(package, _)| names.contains(package)).map(|(_, service)| *service).collect();
    if !daemons.is_empty() {
        eprintln!("setup: the services {} are neither started nor enabled", daemons.join(" and "));
    }
    let what = format!("installing {} packages by apt-get", names.len());
    let installed = step(&what, &mut apt_install(&names));
    if installed.is_err() {
        // Lists that name versions the archive no longer has are the usual reason.
        update_lists()?;
        step(&what, &mut apt_install(&names))?;
    }
    for service in daemons {
        // The first takes systemd's links away, whether systemd runs or not; the second those of System V's scripts, where
        // the package has one.
        let unit = format!("{service}.service");
        if Path::new("/usr/bin/systemctl").exists() {
            step(&format!("disabling {unit}"), Command::new("/usr/bin/systemctl").args(["disable", "--quiet", &unit]))?;
        }
        if Path::new("/etc/init.d").join(service).exists() {
            step(&format!("disabling {service}"), Command::new("/usr/sbin/update-rc.d").args([service, "disable"]))?;
        }
    }
    Ok(())
}

fn apt_install(names: &[&str]) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .args(["-euc", APT_INSTALL, "apt", POLICY])
        .args(names)
        .env("DEBIAN_FRONTEND", "noninteractive")
        .stdin(Stdio::null());
    command
}

fn update_lists() -> Result<(), String> {
    let mut update = Command::new("apt-get");
    update.args(["update", "-q", "-o", "DPkg::Lock::Timeout=300"]).stdin(Stdio::null());
    step("updating apt's package lists", &mut update).map(drop)
}

fn without_candidate(packages: &[Requirement]) -> Result<Vec<&str>, String> {
    let mut policy = Command::new("apt-cache");
    policy.arg("policy").args(packages.iter().map(|requirement| &requirement.package)).env("LC_ALL", "C");
    let output = policy.output().map_err(|error| format!("apt-cache: {error}"))?;
    Ok(requirements::without_candidate(&String::from_utf8_lossy(&output.stdout), packages))
}

fn build_linker(root: &Path, BuildLinker { llvm, beside }: BuildLinker) -> Result<(), String> {
    let place = if beside { Some(ebpf::tools_dir(root)) } else { ebpf::cargo_home() };
    let place = place.ok_or("neither CARGO_HOME nor HOME is set: nowhere to install bpf-linker")?;
    let prefix = format!("/usr/lib/llvm-{llvm}");
    let mut path = std::ffi::OsString::from(format!("{prefix}/bin:"));
    path.push(std::env::var_os("PATH").unwrap_or_default());
    let mut install = cargo(root);
    install
        .args(["install", "bpf-linker", "--version", BPF_LINKER_VERSION, "--locked", "--force"])
        .args(["--no-default-features", "--features", &format!("llvm-{llvm}"), "--root"])
        .arg(&place)
        .env("LLVM_PREFIX", prefix)
        .env("PATH", path);
    step(&format!("building bpf-linker {BPF_LINKER_VERSION} with LLVM {llvm} into {}", place.display()), &mut install)
        .map(drop)
}

#[cfg(test)]
mod tests {
    use std::{env, fs, os::unix::fs::PermissionsExt, path::PathBuf, process};

    use super::*;

    struct Scratch(PathBuf);

    impl Drop for Scratch {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    /// Runs the install script with an `apt-get` that notes what the policy says, then ends with `status`. Gives the
    /// script's own status, the note, and the policy afterwards.
    fn install(name: &str, before: Option<&str>, status: i32) -> (Option<i32>, String, Option<String>) {
        let scratch = Scratch(env::temp_dir().join(format!("zerottl-xtask-{}-{name}", process::id())));
        let dir = &scratch.0;
        fs::create_dir_all(dir).unwrap();
        let (policy, apt) = (dir.join("policy"), dir.join("apt-get"));
        if let Some(text) = before {
            fs::write(&policy, text).unwrap();
        }
        fs::write(&apt, format!("#!/bin/sh\ncat {0}/policy >{0}/note\nexit {status}\n", dir.display())).unwrap();
        fs::set_permissions(&apt, fs::Permissions::from_mode(0o755)).unwrap();
        let path = format!("{}:/usr/bin:/bin", dir.display());
        let script = Command::new("/bin/sh")
            .args(["-euc", APT_INSTALL, "apt"])
            .arg(&policy)
            .arg("some-package")
            .env("PATH", path)
            .status()
            .unwrap();
        (script.code(), fs::read_to_string(dir.join("note")).unwrap(), fs::read_to_string(&policy).ok())
    }

    #[test]
    fn no_daemon_starts_and_the_policy_goes_away() {
        let forbids = "#!/bin/sh\nexit 101\n".to_owned();
        assert_eq!(install("ok", None, 0), (Some(0), forbids.clone(), None));
        assert_eq!(install("fails", None, 100), (Some(100), forbids, None));
    }

    #[test]
    fn an_administrators_policy_stays() {
        let own = "own".to_owned();
        assert_eq!(install("own", Some("own"), 0), (Some(0), own.clone(), Some(own)));
    }
}
