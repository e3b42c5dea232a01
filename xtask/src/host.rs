//! Abilities of this machine's kernel and rights of this process.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::requirements::Sign;

/// `bpf_xdp_load_bytes` came with 5.18.
const KERNEL_MIN: (u32, u32) = (5, 18);
const CAP_NET_ADMIN: u32 = 12;
const CAP_SYS_ADMIN: u32 = 21;

/// Whether a package's sign is there.
pub fn there(sign: Sign<'_>) -> bool {
    match sign {
        Sign::File(path) => Path::new(path).exists(),
        Sign::Program(name) => program(name).is_some(),
    }
}

/// A program by name. Directories for administrators are searched too: they are not in an ordinary user's `PATH`.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let extra = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    env::split_paths(&path).chain(extra).map(|dir| dir.join(name)).find(|file| file.is_file())
}

/// Whether this process runs as root.
pub fn is_root() -> bool {
    status_field("Uid:").is_some_and(|ids| ids.split_whitespace().nth(1) == Some("0"))
}

/// Whether this is an automatic run, which must fail where a person would be told.
pub fn is_ci() -> bool {
    env::var("CI").is_ok_and(|ci| !ci.is_empty() && ci != "false")
}

/// Whether BPF programs and network namespaces work here. An error names everything that stands in the way.
pub fn kernel_ready() -> Result<(), String> {
    let mut problems = Vec::new();
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    if kernel_version(&release).is_none_or(|version| version < KERNEL_MIN) {
        problems.push(format!("kernel {} is older than {}.{}", release.trim(), KERNEL_MIN.0, KERNEL_MIN.1));
    }
    if !Path::new("/proc/sys/kernel/unprivileged_bpf_disabled").exists() {
        problems.push("this kernel has no BPF system call (CONFIG_BPF_SYSCALL)".to_owned());
    }
    let capabilities = status_field("CapEff:").unwrap_or_default();
    if has_capabilities(&capabilities, &[CAP_NET_ADMIN, CAP_SYS_ADMIN]) {
        problems.extend(try_namespace().err());
    } else {
        problems
            .push("CAP_NET_ADMIN and CAP_SYS_ADMIN are needed: run as root (in a container: privileged)".to_owned());
    }
    if problems.is_empty() { Ok(()) } else { Err(problems.join("; ")) }
}

/// Major and minor version in a kernel release such as `6.1.0-13-amd64`.
fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// Whether the set in `hex`, as in `/proc/self/status`, holds all of `wanted`.
fn has_capabilities(hex: &str, wanted: &[u32]) -> bool {
    let set = u64::from_str_radix(hex.trim(), 16).unwrap_or(0);
    wanted.iter().all(|bit| set & (1 << bit) != 0)
}

fn status_field(name: &str) -> Option<String> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)).map(|value| value.trim().to_owned())
}

/// Not by `ip netns add`, which leaves a mount at /run/netns for good.
fn try_namespace() -> Result<(), String> {
    quiet(Command::new("unshare").args(["--net", "true"]))
}

/// Runs a short command and gives what it said if it failed.
fn quiet(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(format!("{command:?} failed: {}", said.trim()).replace('"', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_compared_by_number() {
        assert_eq!(kernel_version("6.1.0-13-amd64\n"), Some((6, 1)));
        assert_eq!(kernel_version("5.9"), Some((5, 9)));
        assert_eq!(kernel_version("weird"), None);
        assert!(kernel_version("5.18.3-x") >= Some(KERNEL_MIN) && kernel_version("5.9.1") < Some(KERNEL_MIN));
    }

    #[test]
    fn capabilities_are_all_wanted() {
        assert!(has_capabilities("000001ffffffffff", &[CAP_NET_ADMIN, CAP_SYS_ADMIN]));
        // Docker's default set has neither.
        assert!(!has_capabilities("00000000a80425fb", &[CAP_NET_ADMIN]));
        assert!(!has_capabilities("0000000000001000", &[CAP_NET_ADMIN, CAP_SYS_ADMIN]));
        assert!(!has_capabilities("", &[CAP_NET_ADMIN]));
    }
}
