use super::*;

fn compiler(origin: Origin, llvm: u32) -> Compiler {
    Compiler { origin, bin: PathBuf::from(origin.to_string()), llvm, cargo: true, source: true }
}

fn linker(path: &str, llvm: impl Into<Option<u32>>) -> Linker {
    Linker { path: PathBuf::from(path), llvm: llvm.into() }
}

/// The chosen compiler and linker, or what is lacking, as one line.
fn check(wish: Option<&str>, compilers: &[Compiler], linkers: &[Linker], expected: &str) {
    let survey = Survey { compilers: compilers.to_vec(), linkers: linkers.to_vec() };
    let found = match choose(wish, &survey) {
        Ok(toolchain) => format!("{} {}", toolchain.compiler.origin, toolchain.linker.display()),
        Err(lacking) => lacking.join("; "),
    };
    assert_eq!(found, expected);
}

#[test]
fn nightly_comes_first_and_debian_stands_in() {
    let (nightly, debian) = (compiler(Origin::Nightly, 22), compiler(Origin::Debian, 22));
    let linkers = [linker("l", 22)];
    check(None, &[debian.clone(), nightly.clone()], &linkers, "nightly l");
    let bare = Compiler { source: false, ..nightly.clone() };
    check(None, &[bare.clone(), debian.clone()], &linkers, "debian l");
    check(Some("debian"), &[nightly.clone(), debian.clone()], &linkers, "debian l");
    check(Some("nightly-2026-05-19"), &[nightly, debian.clone()], &linkers, "nightly l");
    check(
        Some("nightly"),
        &[bare, debian],
        &linkers,
        "nightly: no standard library source (rustup's component rust-src)",
    );
}

#[test]
fn the_linker_is_the_first_that_can_read_the_bitcode() {
    let linkers = [linker("old", 21), linker("mute", None), linker("newer", 23), linker("same", 22)];
    check(None, &[compiler(Origin::Debian, 22)], &linkers, "debian newer");
    // A newer nightly does not stand in the way of a compiler that the linker fits.
    let both = [compiler(Origin::Nightly, 24), compiler(Origin::Debian, 22)];
    check(None, &both, &linkers, "debian newer");
    let lacking = "nightly: no compiler; debian: no bpf-linker with LLVM 22 or newer";
    check(None, &[compiler(Origin::Debian, 22)], &linkers[..2], lacking);
}

#[test]
fn everything_lacking_is_named() {
    check(None, &[], &[], "nightly: no compiler; debian: no compiler");
    check(Some("gcc"), &[], &[], "ZEROTTL_EBPF_TOOLCHAIN is `gcc`; it can be `debian` or `nightly`");
    let bare = Compiler { source: false, cargo: false, ..compiler(Origin::Debian, 22) };
    check(
        Some("debian"),
        &[bare],
        &[],
        "debian: no cargo in debian; debian: no standard library source (package rust-web-src); \
         debian: no bpf-linker with LLVM 22 or newer",
    );
}

#[test]
fn versions_are_read_as_the_tools_print_them() {
    assert_eq!(llvm_major("release: 1.96.0\nLLVM version: 22.1.8\n"), Some(22));
    assert_eq!(llvm_major("Debian LLVM version 22.1.8\n  Optimized build.\n"), Some(22));
    assert_eq!(llvm_major("LLVM (http://llvm.org/):\n  LLVM version 9.0.0-rust-1.40\n"), Some(9));
    assert_eq!(llvm_major("bpf-linker 0.13.0"), None);
    assert_eq!(minor("rustc 1.96.0 (ac68faa20 2026-05-25)\nbinary: rustc"), Some(96));
    assert_eq!(minor("rustc 2.0.0"), None);
}
