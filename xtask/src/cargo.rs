//! Calls of cargo, and steps with their times.

use std::{
    env, io,
    path::{Path, PathBuf},
    process::Command,
    time::{Duration, Instant},
};

use crate::host;

/// A cargo for this workspace, without the variables that `cargo run` gave this process about itself: build scripts that
/// watch them would run again each time xtask and plain cargo take turns.
pub fn cargo(root: &Path) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    for (name, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(is_about_xtask)) {
        command.env_remove(name);
    }
    command.current_dir(root);
    command
}

/// The checkout that `cargo xtask` is called in. Cargo says at run time where this package lies; the path at compile time is
/// another one once the checkout has been moved or copied. Called without cargo, it is the one around the current directory.
pub fn root() -> Option<PathBuf> {
    let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
    package.into_iter().chain(env::current_dir()).find_map(|start| workspace_above(&start))
}

fn workspace_above(start: &Path) -> Option<PathBuf> {
    let is_root = |folder: &&Path| folder.join("Cargo.lock").is_file() && folder.join("xtask/Cargo.toml").is_file();
    start.ancestors().find(is_root).map(Path::to_owned)
}

/// `--locked` where a changed Cargo.lock would pass unseen.
pub fn locked() -> &'static [&'static str] {
    if host::is_ci() { &["--locked"] } else { &[] }
}

fn is_about_xtask(variable: &str) -> bool {
    let prefixes = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_"];
    prefixes.iter().any(|prefix| variable.starts_with(prefix)) || variable == "CARGO_PRIMARY_PACKAGE"
}

/// Cargo's output directory: this program lies in a profile's directory of it.
pub fn target_dir() -> io::Result<PathBuf> {
    let own = env::current_exe()?;
    own.ancestors().nth(2).map(Path::to_owned).ok_or_else(|| io::Error::other("xtask was not built by cargo"))
}

/// Says what is done, does it, and says how long it took. `Err` if it could not be started or failed.
pub fn step(what: &str, command: &mut Command) -> Result<Duration, String> {
    eprintln!("xtask: {what}");
    let begun = Instant::now();
    let status = command.status().map_err(|error| format!("{what}: {}: {error}", command.get_program().display()))?;
    let elapsed = begun.elapsed();
    eprintln!("xtask: {what}: {}, {:.1} s", if status.success() { "done" } else { "FAILED" }, elapsed.as_secs_f64());
    if status.success() { Ok(elapsed) } else { Err(format!("{what} failed ({status})")) }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    /// A moved or copied checkout works in its own place, whatever place it was built in.
    #[test]
    fn the_checkout_is_found_at_run_time() {
        let folder = env::temp_dir().join(format!("zerottl-xtask.{}", std::process::id()));
        let deep = folder.join("copy/userspace/src");
        fs::create_dir_all(&deep).unwrap();
        fs::create_dir_all(folder.join("copy/xtask")).unwrap();
        assert_eq!(workspace_above(&deep), None, "no checkout");
        for file in ["copy/Cargo.lock", "copy/xtask/Cargo.toml"] {
            fs::write(folder.join(file), "").unwrap();
        }
        assert_eq!(workspace_above(&deep), Some(folder.join("copy")));
        assert_eq!(workspace_above(&folder.join("copy/xtask")), Some(folder.join("copy")));
        fs::remove_dir_all(folder).unwrap();
        assert!(root().is_some_and(|root| root.join("Cargo.toml").is_file()));
    }
}
