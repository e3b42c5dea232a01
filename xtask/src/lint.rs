//! check, lint and mutants.

use std::{path::Path, process::Command};

use crate::{
    cargo::{cargo, locked, step},
    ebpf, host,
    requirements::Task,
    setup::setup,
};

/// Checks what every change should keep: a part of [`lint`] that is quick when little has changed. The BPF programs are
/// built anew only if their own source has changed, and are not linted.
pub fn check(root: &Path) -> Result<(), String> {
    has_components()?;
    setup(Task::Build, root)?;
    let mut clippy = cargo(root);
    clippy.args(["clippy", "--all-targets"]).args(locked()).args(["--", "-D", "warnings"]);
    run_all([("formatting", formatting(root)), ("lints", clippy), ("house rules", house_rules(root))])
}

/// Checks formatting, lints, documentation, dependencies and the house rules; runs them all before it fails.
pub fn lint(root: &Path) -> Result<(), String> {
    has_components()?;
    setup(Task::Lint, root)?;

    let mut clippy = cargo(root);
    clippy.args(["clippy", "--workspace", "--all-targets"]).args(locked()).args(["--", "-D", "warnings"]);

    // Only the target has the programs' linker and intrinsics, but the host's compiler can check them as well; the BPF
    // compilers bring no clippy. Aborting is the one way to panic without std.
    let mut programs = cargo(root);
    programs
        .args(["clippy", "--package", "xdp-ebpf", "--features", "log", "--bins"])
        .args(locked())
        .args(["--", "-D", "warnings"])
        .env("CARGO_PROFILE_DEV_PANIC", "abort");

    let mut documentation = cargo(root);
    documentation.args(["doc", "--workspace", "--no-deps"]).args(locked()).env("RUSTDOCFLAGS", "-D warnings");

    let linted = run_all([
        ("formatting", formatting(root)),
        ("lints", clippy),
        ("lints of the BPF programs", programs),
        ("documentation", documentation),
        ("house rules", house_rules(root)),
    ]);
    both(linted, dependencies(root))
}

/// Checks the dependencies by `deny.toml`, where cargo-deny is installed. Advisories need its database, which is fetched;
/// where it cannot be had, this says so.
fn dependencies(root: &Path) -> Result<(), String> {
    if !has_cargo_program("cargo-deny") {
        eprintln!(
            "xtask: dependencies: NOT TESTED, because cargo-deny is missing; install it: cargo install cargo-deny"
        );
        return Ok(());
    }
    let deny = |arguments: &[&str]| {
        let mut command = cargo(root);
        command.args(["deny", "--workspace"]).args(arguments);
        command
    };
    let rest = run_all([("dependencies", deny(&["check", "bans", "licenses", "sources"]))]);
    if step("advisories: fetching their database", &mut deny(&["fetch", "db"])).is_err() {
        eprintln!("xtask: advisories: NOT TESTED, because their database cannot be had");
        return rest;
    }
    both(rest, run_all([("advisories", deny(&["--offline", "check", "advisories"]))]))
}

fn has_components() -> Result<(), String> {
    for (program, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if host::program(program).is_none() {
            return Err(format!("{program} is missing; install it: rustup component add {component}"));
        }
    }
    Ok(())
}

/// Whether a subcommand of cargo is installed, in `PATH` or where `cargo install` puts it.
fn has_cargo_program(name: &str) -> bool {
    let home = ebpf::cargo_home().map(|home| home.join("bin").join(name));
    host::program(name).is_some() || home.is_some_and(|home| home.is_file())
}

fn formatting(root: &Path) -> Command {
    let mut command = cargo(root);
    command.args(["fmt", "--all", "--check"]);
    command
}

/// All tests of this package: those of its own modules hold generated documents to their source.
fn house_rules(root: &Path) -> Command {
    let mut command = cargo(root);
    command.args(["test", "--quiet", "--package", "xtask", "--no-fail-fast"]).args(locked());
    command
}

/// Runs every step, and fails with all that failed.
fn run_all<const N: usize>(steps: [(&str, Command); N]) -> Result<(), String> {
    let failed: Vec<String> =
        steps.into_iter().filter_map(|(what, mut command)| step(what, &mut command).err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Joins two results into one that has the faults of both.
fn both(one: Result<(), String>, other: Result<(), String>) -> Result<(), String> {
    let failed: Vec<String> = [one, other].into_iter().filter_map(Result::err).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Runs cargo-mutants on the library of `xdp-ebpf`, installing it if it is missing.
pub fn mutants(root: &Path, arguments: &[String]) -> Result<(), String> {
    setup(Task::Build, root)?;
    if !has_cargo_program("cargo-mutants") {
        let mut install = cargo(root);
        install.args(["install", "cargo-mutants", "--locked"]);
        step("installing cargo-mutants", &mut install)?;
    }
    let mut command = cargo(root);
    command
        .args(["mutants", "--package", "xdp-ebpf", "--exclude", "xdp-ebpf/src/main.rs", "--output", "target"])
        .args(arguments);
    step("mutating the shared packet code", &mut command).map(drop)
}
