//! How `userspace/kernel/build.rs`, which includes this file by `#[path]`, calls the inner cargo. It stands here to be tested:
//! nothing tests a build script.

use std::{env, path::Path, process::Command};

use crate::ebpf::{Origin, Toolchain};

/// The target the programs are built for.
pub const TARGET: &str = "bpfel-unknown-none";
/// Full debug information because BTF is made from it, and the BTF itself, without which libbpf refuses the maps.
pub const RUSTFLAGS: &str = "-Cdebuginfo=2 -Clink-arg=--btf";

/// Whether a variable of an outer cargo (or of its build script, or of clippy) may reach the inner one. The inner one
/// has another compiler and another target; what was set for the outer build breaks it or, worse, changes it unseen.
pub fn inherits(variable: &str) -> bool {
    let keeps = ["CARGO_HOME", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTR", "CARGO_SOURCE_", "CARGO_TERM_"];
    if variable.starts_with("CARGO") {
        // The host's linker builds the inner build's proc macros and build scripts.
        let host_linker = variable.starts_with("CARGO_TARGET_") && variable.ends_with("_LINKER");
        return host_linker || keeps.iter().any(|prefix| variable.starts_with(prefix));
    }
    !(variable.starts_with("RUSTC")
        || variable.starts_with("RUSTDOC")
        || ["RUSTFLAGS", "RUSTUP_TOOLCHAIN", "OUT_DIR", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG"]
            .contains(&variable))
}

/// The command that builds every BPF program of the package `xdp-ebpf` into `target_dir`, always optimised: the
/// verifier refuses, and nobody wants, an unoptimised one.
pub fn build_command(toolchain: &Toolchain, root: &Path, target_dir: &Path, features: &str) -> Command {
    let bin = &toolchain.compiler.bin;
    let mut command = Command::new(bin.join("cargo"));
    for (variable, _) in env::vars_os().filter(|(name, _)| name.to_str().is_some_and(|name| !inherits(name))) {
        command.env_remove(variable);
    }
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths([bin.clone()].into_iter().chain(env::split_paths(&path)));
    command
        .current_dir(root)
        .args(["build", "--locked", "--package", "xdp-ebpf", "--bins", "--features", features])
        .args(["--release", "--target", TARGET, "-Zbuild-std=core", "--target-dir"])
        .arg(target_dir)
        .env("RUSTC", bin.join("rustc"))
        .env("RUSTFLAGS", RUSTFLAGS)
        .env("CARGO_TARGET_BPFEL_UNKNOWN_NONE_LINKER", &toolchain.linker)
        // The agent's release profile is tuned for the agent; the programs keep their own.
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "3")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_STRIP", "none")
        // BTF is made from what the object itself holds.
        .env("CARGO_PROFILE_RELEASE_SPLIT_DEBUGINFO", "off")
        .env("CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS", "false")
        .env("CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS", "false");
    if let Ok(path) = path {
        command.env("PATH", path);
    }
    if toolchain.compiler.origin == Origin::Debian {
        command.env("RUSTC_BOOTSTRAP", "1");
    }
    command
}

/// The directory that cargo keeps its output in, found upward from a build script's `OUT_DIR` by cargo's own tag.
/// Profiles share it, so that the programs are built once for all of them.
pub fn target_root(out_dir: &Path) -> &Path {
    out_dir.ancestors().find(|dir| dir.join("CACHEDIR.TAG").is_file()).unwrap_or(out_dir)
}

/// The environment variable that carries a program's path to the agent's source: `zerottl-xdp` gives
/// `ZEROTTL_XDP_OBJECT`.
pub fn object_variable(program: &str) -> String {
    format!("{}_OBJECT", program.to_ascii_uppercase().replace('-', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_inner_cargo_inherits_no_build_settings() {
        let dropped = [
            "CARGO",
            "CARGO_BUILD_TARGET",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_FEATURE_BPF_LOG",
            "CARGO_MAKEFLAGS",
            "CARGO_PROFILE_RELEASE_LTO",
            "CARGO_TARGET_DIR",
            "RUSTC",
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTC_WRAPPER",
            "RUSTDOCFLAGS",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ];
        let kept = [
            "CARGO_HOME",
            "CARGO_HTTP_CAINFO",
            "CARGO_NET_OFFLINE",
            "CARGO_REGISTRIES_X_INDEX",
            "CARGO_TARGET_X86_64_UNKNOWN_LINUX_GNU_LINKER",
            "HTTPS_PROXY",
            "PATH",
            "RUSTUP_HOME",
        ];
        assert_eq!(dropped.iter().filter(|name| inherits(name)).collect::<Vec<_>>(), Vec::<&&str>::new());
        assert_eq!(kept.iter().filter(|name| !inherits(name)).collect::<Vec<_>>(), Vec::<&&str>::new());
    }

    #[test]
    fn programs_name_their_variables() {
        assert_eq!(object_variable("zerottl-xdp"), "ZEROTTL_XDP_OBJECT");
        assert_eq!(object_variable("zerottl-bench"), "ZEROTTL_BENCH_OBJECT");
    }
}
