//! The rules about the shape of the code: no circles, one name for one type, doc comments with a head, short documents,
//! links that lead somewhere, one version of each dependency, locks that are current. The first four have a record of where the tree does not keep
//! them yet, which may only shrink.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, path::PathBuf, process::Command};

use xtask::tree::{
    Tree,
    circles::circles,
    dependencies, links,
    records::{
        CIRCLES, Counts, DOC_WORDS, SIZES, TYPE_NAMES, count_headless, count_kib, count_names, grown, grown_circles,
        lines, read_counts,
    },
    type_names::shared_names,
};

/// A file of the checkout, by its path from there.
fn place(path: &str) -> PathBuf {
    let package = PathBuf::from(std::env::var_os("CARGO_MANIFEST_DIR").unwrap());
    package.parent().unwrap().join(path)
}

fn record(path: &str) -> String {
    fs::read_to_string(place(path)).unwrap()
}

fn apply(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

fn apply_counts(path: &str, found: &Counts) {
    apply(&grown(&read_counts(&record(path)), found));
}

#[test]
fn modules_and_files_have_no_circles() {
    let (known, found) = (record(CIRCLES), circles(&Tree::here().unwrap()));
    // Shown with `-- --nocapture`, to straighten the known ones by.
    for circle in &found {
        println!("{circle}");
    }
    apply(&grown_circles(&lines(&known).collect::<Vec<_>>(), &found));
}

#[test]
fn public_types_have_names_of_their_own() {
    let tree = Tree::here().unwrap();
    for (name, files) in shared_names(&tree) {
        println!("{name}: {}", files.join(", "));
    }
    apply_counts(TYPE_NAMES, &count_names(&tree));
}

#[test]
fn doc_comments_begin_with_a_verb_or_a_noun() {
    apply_counts(DOC_WORDS, &count_headless(&Tree::here().unwrap()));
}

#[test]
fn documents_are_short() {
    apply_counts(SIZES, &count_kib(&Tree::here().unwrap()));
}

#[test]
fn versions_that_are_there_twice_have_a_reason() {
    let texts = Tree::here().unwrap().texts;
    apply(&dependencies::faults(&texts["Cargo.lock"], &texts["deny.toml"]));
}

/// Packages that are no members have locks of their own, which a new dependency of a member changes too: a build with
/// `--locked`, as in CI, would fail long after this.
#[test]
fn locks_of_packages_apart_are_current() {
    let manifest = record("Cargo.toml");
    let apart = manifest.lines().find_map(|line| line.strip_prefix("exclude = ")).expect("there are such packages");
    let mut seen = 0;
    for package in apart.split('"').skip(1).step_by(2) {
        let manifest = format!("{package}/Cargo.toml");
        let mut update = Command::new(std::env::var_os("CARGO").unwrap());
        update.args(["update", "--workspace", "--locked", "--quiet", "--manifest-path"]).arg(place(&manifest));
        let output = update.output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        let remedy = format!("cargo update --workspace --manifest-path {manifest}");
        assert!(output.status.success(), "{said}\ntry: {remedy}");
        seen += 1;
    }
    assert!(seen >= 3, "{seen} packages: {apart}");
}

#[test]
fn links_lead_somewhere() {
    let tree = Tree::here().unwrap();
    let all: usize = tree.ending(".md").map(|(_, text)| links::links(text).len()).sum();
    assert!(all > 50, "{all} links were looked at");
    apply(&links::faults(&tree));
}
