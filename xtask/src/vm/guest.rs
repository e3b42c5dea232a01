//! The inside of the machine: an initramfs with the test program.

use std::{
    collections::BTreeSet,
    fs::{self, File},
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use super::fetch::{Parts, empty_dir};
use crate::host;

/// The console's line with the test program's status.
pub const ENDED: &str = "vm: ended with ";
/// The service's capabilities, and a user who has nothing else.
const CAPABILITIES: &str = "-all,+bpf,+net_admin,+perfmon,+net_bind_service";
const NOBODY: &str = "65534";

/// Questions of the differential test, which is slow on an emulated processor.
const QUESTIONS: u32 = 4000;

/// Makes the initramfs for a program of this name and file, and returns its path.
pub fn initramfs(place: &Path, parts: &Parts, program: (&str, &Path), call: &[&str]) -> Result<PathBuf, String> {
    let tree = place.join("initramfs");
    empty_dir(&tree)?;
    let failed = |error: std::io::Error| format!("{}: {error}", tree.display());
    for dir in ["bin", "dev", "proc", "sys", "tmp"] {
        fs::create_dir(tree.join(dir)).map_err(failed)?;
    }
    let setpriv = host::program("setpriv").ok_or("setpriv is missing; Debian's util-linux has it")?;
    let mut needed = libraries(&setpriv)?;
    for (from, to) in [(parts.busybox.as_path(), "busybox"), (&setpriv, "setpriv")] {
        fs::copy(from, tree.join("bin").join(to)).map_err(failed)?;
    }
    let (name, file) = program;
    fs::copy(file, tree.join("bin").join(name)).map_err(failed)?;
    needed.extend(libraries(file)?);
    for library in needed {
        let to = tree.join(library.strip_prefix("/").unwrap_or(&library));
        if let Some(dir) = to.parent() {
            fs::create_dir_all(dir).map_err(failed)?;
        }
        fs::copy(&library, to).map_err(failed)?;
    }
    let init = tree.join("init");
    fs::write(&init, script(name, call)).map_err(failed)?;
    fs::set_permissions(&init, fs::Permissions::from_mode(0o755)).map_err(failed)?;
    pack(parts, &tree, &place.join("initramfs.cpio"))
}

/// Makes `/init`, which shows what kernel and rights the program has, runs it, and switches off.
fn script(program: &str, call: &[&str]) -> String {
    let call = call.iter().map(|argument| quoted(argument)).collect::<Vec<_>>().join(" ");
    format!(
        "#!/bin/busybox sh\n\
         b=/bin/busybox\n\
         $b mount -t proc proc /proc\n\
         $b mount -t sysfs sys /sys\n\
         $b mount -t devtmpfs dev /dev\n\
         $b mount -t bpf bpf /sys/fs/bpf\n\
         $b mount -t cgroup2 cgroup /sys/fs/cgroup\n\
         $b ifconfig lo up\n\
         $b chmod 1777 /tmp /sys/fs/bpf\n\
         $b cat /proc/version\n\
         $b sysctl kernel.unprivileged_bpf_disabled net.core.bpf_jit_enable net.core.bpf_jit_harden\n\
         as() {{\n\
         \x20   /bin/setpriv --reuid {NOBODY} --regid {NOBODY} --clear-groups --no-new-privs \\\n\
         \x20       --bounding-set {CAPABILITIES} --inh-caps {CAPABILITIES} --ambient-caps {CAPABILITIES} \"$@\"\n\
         }}\n\
         as $b grep -E '^(Uid|Cap|NoNewPrivs)' /proc/self/status\n\
         export ZEROTTL_DIFFERENTIAL={QUESTIONS}\n\
         as /bin/{program} {call}\n\
         echo \"{ENDED}$?\"\n\
         $b poweroff -f\n"
    )
}

/// An argument that a shell takes as it is.
fn quoted(argument: &str) -> String {
    format!("'{}'", argument.replace('\'', "'\\''"))
}

fn libraries(program: &Path) -> Result<Vec<PathBuf>, String> {
    let output = Command::new("ldd").arg(program).output().map_err(|error| format!("ldd: {error}"))?;
    if !output.status.success() {
        return Err(format!("ldd {}: {}", program.display(), String::from_utf8_lossy(&output.stderr).trim()));
    }
    Ok(named_libraries(&String::from_utf8_lossy(&output.stdout)))
}

/// The files in what `ldd` says.
fn named_libraries(ldd: &str) -> Vec<PathBuf> {
    let files: BTreeSet<PathBuf> =
        ldd.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect();
    files.into_iter().collect()
}

/// Every path below `tree`, folders before what is in them.
fn paths(tree: &Path, dir: &Path, found: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        found.push(entry.path().strip_prefix(tree).map_or_else(|_| entry.path(), Path::to_owned));
        if entry.file_type()?.is_dir() {
            paths(tree, &entry.path(), found)?;
        }
    }
    Ok(())
}

/// Packs the tree by busybox's own cpio.
fn pack(parts: &Parts, tree: &Path, to: &Path) -> Result<PathBuf, String> {
    let failed = |error: std::io::Error| format!("{}: {error}", to.display());
    let mut names = Vec::new();
    paths(tree, tree, &mut names).map_err(failed)?;
    let mut cpio = Command::new(&parts.busybox)
        .args(["cpio", "-o", "-H", "newc", "-R", "0:0"])
        .current_dir(tree)
        .stdin(Stdio::piped())
        .stdout(File::create(to).map_err(failed)?)
        .stderr(Stdio::null())
        .spawn()
        .map_err(failed)?;
    // Dropped at once, which is the list's end.
    if let Some(mut list) = cpio.stdin.take() {
        for name in &names {
            writeln!(list, "{}", name.display()).map_err(failed)?;
        }
    }
    let status = cpio.wait().map_err(failed)?;
    if status.success() { Ok(to.to_owned()) } else { Err(format!("packing {} failed ({status})", to.display())) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_reach_the_program_as_they_are() {
        assert_eq!(quoted("a b'c"), r"'a b'\''c'");
        let script = script("kernel", &["every_row", "--nocapture"]);
        let call = format!("as /bin/kernel 'every_row' '--nocapture'\necho \"{ENDED}$?\"\n");
        assert!(script.contains(&call), "{script}");
        assert!(script.starts_with("#!/bin/busybox sh\n") && script.ends_with("poweroff -f\n"));
    }

    #[test]
    fn libraries_are_found_in_both_forms() {
        let ldd =
            "\tlinux-vdso.so.1 (0x7f)\n\tlibc.so.6 => /lib/libc.so.6 (0x7f)\n\t/lib64/ld-linux-x86-64.so.2 (0x7f)\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(named_libraries(ldd), expected);
    }
}
