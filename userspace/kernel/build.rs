//! Builds the BPF programs of `xdp-ebpf` and hands their paths to the agent's source.
//!
//! Each program `zerottl-NAME` becomes the variable `ZEROTTL_NAME_OBJECT`, for `include_bytes_aligned!(env!(…))`. The
//! programs need another compiler than the agent; `xtask/src/ebpf.rs` says which, and `cargo xtask setup` installs it.

use std::{env, fs, path::Path, process::exit};

#[path = "../../xtask/src/ebpf.rs"]
mod ebpf;
#[path = "../../xtask/src/ebpf_build.rs"]
mod ebpf_build;

/// The programs, by their names as binaries of `xdp-ebpf`.
const PROGRAMS: [&str; 4] = ["zerottl-xdp", "zerottl-bench", "zerottl-softirq", "zerottl-director"];

fn main() {
    if let Err(problem) = build() {
        eprintln!("\nerror: the BPF programs cannot be built\n{problem}");
        exit(1);
    }
}

fn build() -> Result<(), String> {
    let variable = |name: &str| env::var(name).map_err(|_| format!("{name} is not set: not run by cargo?"));
    let (manifest_dir, out_dir) = (variable("CARGO_MANIFEST_DIR")?, variable("OUT_DIR")?);
    let root = Path::new(&manifest_dir).ancestors().nth(2).ok_or("the package has no workspace above it")?;
    for input in [
        "xdp-ebpf/src",
        "xdp-ebpf/Cargo.toml",
        "Cargo.toml",
        "Cargo.lock",
        "xtask/src/ebpf.rs",
        "xtask/src/ebpf_build.rs",
    ] {
        // Relative to this package: a moved checkout looks at its own files.
        println!("cargo::rerun-if-changed=../../{input}");
    }
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={}", ebpf::TOOLCHAIN_ENV);

    let wish = ebpf::wish();
    let survey = ebpf::survey(root, wish.as_deref());
    let toolchain = ebpf::choose(wish.as_deref(), &survey)
        .map_err(|lacking| format!("  {}\nhelp: run `cargo xtask setup`", lacking.join("\n  ")))?;
    // An upgrade of either must rebuild the programs.
    println!("cargo::rerun-if-changed={}", toolchain.linker.display());
    println!("cargo::rerun-if-changed={}", toolchain.compiler.bin.join("rustc").display());

    let log = env::var_os("CARGO_FEATURE_BPF_LOG").is_some();
    let (features, suffix) = if log { ("bpf,log", "-log") } else { ("bpf", "") };
    // One directory per variant: two builds at once must not overwrite each other's result.
    let origin = toolchain.compiler.origin;
    let target_dir = ebpf_build::target_root(Path::new(&out_dir)).join("ebpf").join(format!("{origin}{suffix}"));
    let mut command = ebpf_build::build_command(&toolchain, root, &target_dir, features);
    let status = command.status().map_err(|error| format!("{}: {error}", command.get_program().display()))?;
    if !status.success() {
        return Err(format!("the compiler's output is above; the toolchain was {toolchain}"));
    }

    for program in PROGRAMS {
        let built = target_dir.join(ebpf_build::TARGET).join("release").join(program);
        let object = Path::new(&out_dir).join(program);
        fs::copy(&built, &object).map_err(|error| format!("{}: {error}", built.display()))?;
        println!("cargo::rustc-env={}={}", ebpf_build::object_variable(program), object.display());
    }
    Ok(())
}
