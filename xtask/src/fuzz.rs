//! The fuzz targets of `tests/fuzz`, by cargo-fuzz.

use std::{fs, path::Path, process::Command};

use crate::{
    cargo::{cargo, step, target_dir},
    ebpf, host,
    requirements::Task,
    setup::setup,
};

/// Where the fuzz crate lies. It is a workspace of its own: sanitizers need a toolchain, a target directory and flags of
/// their own.
const CRATE: &str = "tests/fuzz";
/// Longer than any input that a target looks at.
const INPUT_MAX: u32 = 4096;
/// Bounds of one input, in seconds and MiB: the promise of invariant 8 that no input is unbounded work or memory.
const INPUT_SECONDS_MAX: u32 = 10;
const MEMORY_MIB_MAX: u32 = 2048;

/// Runs each target, or one, for so many seconds, from the corpus in the tree. What is found goes to `target/fuzz`.
pub fn fuzz(root: &Path, seconds: u32, target: Option<&str>) -> Result<(), String> {
    setup(Task::Fuzz, root)?;
    install(root)?;
    let all = targets(root)?;
    let chosen: Vec<&String> = all.iter().filter(|name| target.is_none_or(|target| target == *name)).collect();
    if chosen.is_empty() {
        return Err(format!("there is no fuzz target `{}`; there are {}", target.unwrap_or_default(), all.join(", ")));
    }
    let place = target_dir().map_err(|error| error.to_string())?.join("fuzz");
    let mut failed = Vec::new();
    for name in chosen {
        let (corpus, found) = (place.join("corpus").join(name), place.join("found").join(name));
        for dir in [&corpus, &found] {
            fs::create_dir_all(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        }
        let mut run = cargo_fuzz(root, &place);
        run.arg(name).arg(&corpus).arg(root.join(CRATE).join("corpus").join(name)).arg("--").args([
            format!("-max_total_time={seconds}"),
            format!("-max_len={INPUT_MAX}"),
            format!("-timeout={INPUT_SECONDS_MAX}"),
            format!("-rss_limit_mb={MEMORY_MIB_MAX}"),
            format!("-artifact_prefix={}/", found.display()),
            "-print_final_stats=1".to_owned(),
        ]);
        failed.extend(step(&format!("fuzzing {name} for {seconds} s"), &mut run).err());
    }
    if failed.is_empty() {
        return Ok(());
    }
    Err(format!(
        "{}; the inputs are in {}: copy what a fix must keep to {CRATE}/corpus",
        failed.join("; "),
        place.join("found").display()
    ))
}

/// `cargo fuzz run` with a compiler that takes `-Z` options: rustup's nightly, else the one there is, told to.
fn cargo_fuzz(root: &Path, place: &Path) -> Command {
    let nightly = host::program("rustup").is_some()
        && Command::new("rustup")
            .args(["run", "nightly", "rustc", "--version"])
            .output()
            .is_ok_and(|o| o.status.success());
    let mut command = if nightly {
        eprintln!("xtask: fuzzing with rustup's nightly");
        let mut command = Command::new("rustup");
        command.args(["run", "nightly", "cargo"]);
        command
    } else {
        eprintln!("xtask: there is no nightly; RUSTC_BOOTSTRAP=1 lets the stable compiler take its options");
        let mut command = cargo(root);
        command.env("RUSTC_BOOTSTRAP", "1");
        command
    };
    // Those of the toolchain that runs this program.
    for name in ["CARGO", "RUSTC", "RUSTDOC", "RUSTUP_TOOLCHAIN"] {
        if nightly {
            command.env_remove(name);
        }
    }
    command.current_dir(root).args(["fuzz", "run", "--fuzz-dir", CRATE, "--target-dir"]).arg(place);
    command
}

fn install(root: &Path) -> Result<(), String> {
    let home = ebpf::cargo_home().map(|home| home.join("bin/cargo-fuzz"));
    if host::program("cargo-fuzz").is_some() || home.is_some_and(|home| home.is_file()) {
        return Ok(());
    }
    let mut install = cargo(root);
    install.args(["install", "cargo-fuzz", "--locked"]);
    step("installing cargo-fuzz", &mut install).map(drop)
}

/// The targets' names: one file each.
fn targets(root: &Path) -> Result<Vec<String>, String> {
    let dir = root.join(CRATE).join("fuzz_targets");
    let entries = fs::read_dir(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
    let files = entries.flatten().map(|entry| entry.path());
    let rust = files.filter(|path| path.extension().is_some_and(|extension| extension == "rs"));
    let mut names: Vec<String> = rust.filter_map(|path| Some(path.file_stem()?.to_str()?.to_owned())).collect();
    names.sort();
    Ok(names)
}
