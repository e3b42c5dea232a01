//! Finds a compiler and a linker that can build the BPF programs, and says how to call them.
//!
//! `userspace/kernel/build.rs` includes this file by `#[path]`: both must come to the same choice, and a library crate for it
//! would stand in front of every build of the agent. It therefore uses nothing but `std`.
//!
//! Two compilers are looked for, in this order:
//!
//! | compiler | needs | where |
//! |---|---|---|
//! | nightly | its `rust-src` component | rustup |
//! | Debian | `rustc-web`, `cargo-web`, `rust-web-src` | `/usr/bin`; unstable options by `RUSTC_BOOTSTRAP=1` |
//!
//! Either needs a `bpf-linker` whose LLVM is at least as new as the compiler's, or it cannot read the bitcode.
//! `ZEROTTL_EBPF_TOOLCHAIN` (`debian`, `nightly`, or a rustup name that begins with `nightly-`) forces one.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// Forces the compiler; see the module's text.
pub const TOOLCHAIN_ENV: &str = "ZEROTTL_EBPF_TOOLCHAIN";

/// Where a compiler comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A rustup toolchain that accepts `-Z` options.
    Nightly,
    /// Debian's `rustc-web`, a stable compiler told to accept them.
    Debian,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nightly => "nightly",
            Self::Debian => "debian",
        })
    }
}

/// A compiler found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// Where it comes from.
    pub origin: Origin,
    /// The directory that holds its `cargo` and `rustc`.
    pub bin: PathBuf,
    /// The major version of its LLVM.
    pub llvm: u32,
    /// Whether its `cargo` is there too.
    pub cargo: bool,
    /// Whether the source of `core` is there, which the target has no prebuilt copy of.
    pub source: bool,
}

/// A `bpf-linker` found on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    /// The executable.
    pub path: PathBuf,
    /// The major version of its LLVM, if it runs and says so.
    pub llvm: Option<u32>,
}

/// The compilers and linkers to choose from, best first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Every compiler found.
    pub compilers: Vec<Compiler>,
    /// Every linker found.
    pub linkers: Vec<Linker>,
}

/// A compiler and the linker that fits it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// The compiler.
    pub compiler: Compiler,
    /// The linker.
    pub linker: PathBuf,
}

impl fmt::Display for Toolchain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compiler { origin, bin, llvm, .. } = &self.compiler;
        write!(f, "{origin} (LLVM {llvm}, {}) with {}", bin.display(), self.linker.display())
    }
}

/// Whether a linker can read what a compiler with this LLVM writes. One that does not say its version cannot be used:
/// a mismatch shows only as a crash or as an object that the kernel refuses.
pub fn fits(linker: &Linker, compiler_llvm: u32) -> bool {
    linker.llvm.is_some_and(|llvm| llvm >= compiler_llvm)
}

/// The first complete toolchain, or what each one lacks, a line each. `wish` is [`TOOLCHAIN_ENV`]'s value.
pub fn choose(wish: Option<&str>, survey: &Survey) -> Result<Toolchain, Vec<String>> {
    let wanted = match wish {
        None => None,
        Some("debian") => Some(Origin::Debian),
        Some(name) if is_nightly(name) => Some(Origin::Nightly),
        Some(other) => return Err(vec![format!("{TOOLCHAIN_ENV} is `{other}`; it can be `debian` or `nightly`")]),
    };
    let mut lacking = Vec::new();
    for origin in [Origin::Nightly, Origin::Debian] {
        if wanted.is_some_and(|wanted| wanted != origin) {
            continue;
        }
        let Some(compiler) = survey.compilers.iter().find(|c| c.origin == origin) else {
            lacking.push(format!("{origin}: no compiler"));
            continue;
        };
        let linker = survey.linkers.iter().find(|linker| fits(linker, compiler.llvm));
        match linker {
            Some(linker) if compiler.source && compiler.cargo => {
                return Ok(Toolchain { compiler: compiler.clone(), linker: linker.path.clone() });
            }
            _ => {}
        }
        if !compiler.cargo {
            lacking.push(format!("{origin}: no cargo in {}", compiler.bin.display()));
        }
        if !compiler.source {
            lacking.push(format!("{origin}: no standard library source ({})", source_package(origin)));
        }
        if linker.is_none() {
            lacking.push(format!("{origin}: no bpf-linker with LLVM {} or newer", compiler.llvm));
        }
    }
    Err(lacking)
}

fn source_package(origin: Origin) -> &'static str {
    match origin {
        Origin::Nightly => "rustup's component rust-src",
        Origin::Debian => "package rust-web-src",
    }
}

fn is_nightly(name: &str) -> bool {
    name == "nightly" || name.starts_with("nightly-")
}

/// The major LLVM version in the output of `rustc -vV` (`LLVM version: 22.1.8`) or of LLVM's own `-version`
/// (`Debian LLVM version 22.1.8`).
pub fn llvm_major(text: &str) -> Option<u32> {
    let (_, version) = text.split_once("LLVM version")?;
    let version = version.trim_start_matches([':', ' ']);
    version.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

/// Looks at this machine. `root` is the workspace's directory.
pub fn survey(root: &Path, wish: Option<&str>) -> Survey {
    let nightly = wish.filter(|name| is_nightly(name)).unwrap_or("nightly");
    let compilers = [
        rustup_bin(nightly).and_then(|bin| compiler(Origin::Nightly, bin)),
        compiler(Origin::Debian, PathBuf::from("/usr/bin")),
    ];
    Survey { compilers: compilers.into_iter().flatten().collect(), linkers: linkers(root) }
}

/// The directory where setup puts a linker that must not replace the user's own.
pub fn tools_dir(root: &Path) -> PathBuf {
    root.join("target").join("tools")
}

/// Cargo's home directory, where `cargo install` puts programs.
pub fn cargo_home() -> Option<PathBuf> {
    let home = || Some(PathBuf::from(env::var_os("HOME")?).join(".cargo"));
    env::var_os("CARGO_HOME").map(PathBuf::from).or_else(home)
}

fn linkers(root: &Path) -> Vec<Linker> {
    let mut dirs = vec![tools_dir(root).join("bin")];
    dirs.extend(cargo_home().map(|home| home.join("bin")));
    dirs.extend(env::split_paths(&env::var_os("PATH").unwrap_or_default()));
    let mut found: Vec<Linker> = Vec::new();
    for path in dirs.into_iter().map(|dir| dir.join("bpf-linker")).filter(|path| path.is_file()) {
        if !found.iter().any(|linker| linker.path == path) {
            // LLVM answers its own option before the (absent) input is looked at, in static builds too.
            let version = run(Command::new(&path).args(["--llvm-args=-version", "--output=/dev/null", "/dev/null"]));
            found.push(Linker { path, llvm: version.as_deref().and_then(llvm_major) });
        }
    }
    found
}

fn rustup_bin(toolchain: &str) -> Option<PathBuf> {
    // Asking must not make rustup fetch the toolchain; the variable that chose this build's own must not answer for it.
    let rustc = run(Command::new("rustup")
        .args(["which", "--toolchain", toolchain, "rustc"])
        .env("RUSTUP_AUTO_INSTALL", "0")
        .env_remove("RUSTUP_TOOLCHAIN"))?;
    Some(Path::new(rustc.trim()).parent()?.to_owned())
}

fn compiler(origin: Origin, bin: PathBuf) -> Option<Compiler> {
    let rustc = bin.join("rustc");
    let version = run(Command::new(&rustc).arg("-vV"))?;
    let sysroot = run(Command::new(&rustc).args(["--print", "sysroot"]))?;
    let source = Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library/core/Cargo.toml");
    let (source, cargo) = (source.is_file(), bin.join("cargo").is_file());
    // A `/usr/bin/rustc` that is not Debian's (rustup's proxy, say) has no sysroot in `/usr`; older ones (Debian 12's
    // `rustc` 1.63) are too old for the workspace.
    if origin == Origin::Debian && (sysroot.trim() != "/usr" || minor(&version)? < 95) {
        return None;
    }
    Some(Compiler { origin, bin, llvm: llvm_major(&version)?, cargo, source })
}

/// The 96 in `rustc 1.96.0 (…)`.
fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("rustc 1.")?.split('.').next()?.parse().ok()
}

fn run(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8(output.stdout).ok()
}

/// [`TOOLCHAIN_ENV`]'s value, if it is set and not empty.
pub fn wish() -> Option<String> {
    env::var(TOOLCHAIN_ENV).ok().filter(|wish| !wish.is_empty())
}

#[cfg(test)]
#[path = "ebpf_tests.rs"]
mod tests;
