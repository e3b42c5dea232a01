//! Temporary folders, swept when their maker died without cleaning up.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use tempfile::TempDir;

const PREFIX: &str = "zerottl-lab.";

/// A new folder, removed when dropped. Folders of labs whose process is gone (killed, so nothing was dropped) go first.
pub fn folder() -> io::Result<TempDir> {
    sweep(&std::env::temp_dir());
    tempfile::Builder::new().prefix(&format!("{PREFIX}{}.", std::process::id())).tempdir()
}

fn sweep(root: &Path) {
    for path in fs::read_dir(root).into_iter().flatten().flatten().map(|entry| entry.path()) {
        if maker(&path).is_some_and(|pid| !Path::new("/proc").join(pid).exists()) {
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// The process id in a lab folder's name; none for anything else.
fn maker(path: &Path) -> Option<String> {
    let rest = path.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let (pid, _) = rest.split_once('.')?;
    pid.parse::<u32>().ok().map(|pid| pid.to_string())
}

/// A program: from `PATH` or the system folders, where Debian puts daemons.
pub fn find_tool(name: &str) -> io::Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/bin".into()]);
    folders.map(|folder| folder.join(name)).find(|file| file.is_file()).ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("{name} is not installed: run `cargo xtask setup`"))
    })
}

/// The checkout: where cargo says that this package lies now. The place at compile time is another one once the checkout
/// has been moved or copied.
///
/// # Panics
/// If the program was not run by cargo.
#[must_use]
pub fn root() -> PathBuf {
    let package = std::env::var_os("CARGO_MANIFEST_DIR").expect("run by cargo");
    Path::new(&package).parent().expect("a package of the workspace").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_folders_of_dead_labs_are_swept() {
        let root = tempfile::tempdir().expect("temporary folder");
        let own = root.path().join(format!("{PREFIX}{}.x", std::process::id()));
        // Linux never gives out a pid above 2^22.
        let dead = root.path().join(format!("{PREFIX}4194999.x"));
        let other = root.path().join("someone-elses.4194999.x");
        for folder in [&own, &dead, &other] {
            fs::create_dir(folder).expect("create");
        }
        sweep(root.path());
        assert!(own.exists() && other.exists() && !dead.exists());
    }
}
