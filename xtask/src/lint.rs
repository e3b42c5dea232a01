//! lint and mutants.

use std::path::Path;

use crate::{
    cargo::{cargo, locked, step},
    ebpf, host,
    needs::Door,
    setup::setup,
};

/// Checks formatting, lints, documentation and the house rules; runs them all before it fails.
pub fn lint(root: &Path) -> Result<(), String> {
    for (program, component) in [("cargo-fmt", "rustfmt"), ("cargo-clippy", "clippy")] {
        if host::program(program).is_none() {
            return Err(format!("{program} is missing; install it: rustup component add {component}"));
        }
    }
    setup(Door::Lint, root)?;

    let mut format = cargo(root);
    format.args(["fmt", "--all", "--check"]);

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

    let mut rules = cargo(root);
    rules.args(["test", "--quiet", "--package", "xtask", "--test", "*"]).args(locked());

    let steps = [
        ("formatting", format),
        ("lints", clippy),
        ("lints of the BPF programs", programs),
        ("documentation", documentation),
        ("house rules", rules),
    ];
    let failed: Vec<String> =
        steps.into_iter().filter_map(|(what, mut command)| step(what, &mut command).err()).collect();
    if failed.is_empty() { Ok(()) } else { Err(failed.join("; ")) }
}

/// Runs cargo-mutants on the library of `xdp-ebpf`, installing it if it is missing.
pub fn mutants(root: &Path, arguments: &[String]) -> Result<(), String> {
    setup(Door::Build, root)?;
    let home = ebpf::cargo_home().map(|home| home.join("bin/cargo-mutants"));
    if host::program("cargo-mutants").is_none() && !home.is_some_and(|home| home.is_file()) {
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
