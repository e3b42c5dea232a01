//! The documents for contributors against the tree they describe. Each rule is a pure function from texts to their faults,
//! tested on a sample that breaks it, then applied to the repository.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

/// Documents that name files of the repository.
const NAME_FILES: [&str; 5] =
    ["ARCHITECTURE.md", "CONTRIBUTING.md", "docs/concepts.md", "docs/contributing/", "docs/decisions/"];
/// Ends of what is taken for a file's name between backticks.
const ENDS: [&str; 9] = [".rs", ".toml", ".md", ".html", ".yml", ".json", ".zone", ".service", "/"];

/// The checkout, where cargo says that it lies now.
fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> =
        LazyLock::new(|| Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_owned());
    &ROOT
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

/// Returns every file's path from the root.
fn files() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open = vec![root().to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if !path.is_dir() {
                found.insert(path.strip_prefix(root()).unwrap().display().to_string());
            } else if name != "target" && name != ".git" && !name.starts_with("mutants.out") {
                open.push(path);
            }
        }
    }
    found
}

/// Every Markdown file by its path.
fn documents(files: &BTreeSet<String>) -> BTreeMap<String, String> {
    let markdown = files.iter().filter(|path| Path::new(path).extension().is_some_and(|extension| extension == "md"));
    markdown.map(|path| (path.clone(), document(path))).collect()
}

/// Whether a text names `word` between backticks, alone or before `::`.
fn names(text: &str, word: &str) -> bool {
    [format!("`{word}`"), format!("`{word}::")].iter().any(|span| text.contains(span))
}

/// A package: the last part of its directory, and the modules that its `lib.rs` or `main.rs` declares; not its tests, nor
/// another package's by `#[path]`.
struct Package {
    directory: String,
    source: String,
}

impl Package {
    fn name(&self) -> &str {
        self.directory.rsplit('/').next().unwrap_or(&self.directory)
    }

    fn modules(&self) -> Vec<&str> {
        let mut modules = Vec::new();
        let mut is_test = false;
        for line in self.source.lines() {
            let declared = line.strip_prefix("pub mod ").or_else(|| line.strip_prefix("mod "));
            if let Some(name) = declared.and_then(|rest| rest.strip_suffix(';')).filter(|_| !is_test) {
                modules.push(name);
            }
            let is_elsewhere = ["#[cfg(test)]", "#[path"].iter().any(|start| line.starts_with(start));
            // Further attributes may stand between.
            is_test = is_elsewhere || (is_test && (line.starts_with("#[") || line.starts_with("//") || line == ")]"));
        }
        modules
    }

    /// Whether the source's own head names a module.
    fn head_names(&self, module: &str) -> bool {
        // A package with a library and a program has two.
        let head: String = self.source.lines().filter(|line| line.starts_with("//!")).collect();
        // Where a function bears the same name, the link says which is meant.
        names(&head.replace("mod@", ""), module)
    }
}

/// The packages of a workspace, by the files in it.
fn packages(files: &BTreeSet<String>) -> Vec<Package> {
    let manifests = files.iter().filter_map(|path| path.strip_suffix("/Cargo.toml"));
    let own = manifests.filter(|directory| *directory != "tests/fuzz");
    let package = |directory: &str| {
        let roots = ["lib.rs", "main.rs"].map(|file| format!("{directory}/src/{file}"));
        let source = roots.iter().filter(|path| files.contains(*path)).map(|path| document(path)).collect();
        Package { directory: directory.to_owned(), source }
    };
    own.map(package).collect()
}

/// The packages and top modules that nothing names: ARCHITECTURE.md, or for a module the head of its crate.
fn unnamed(architecture: &str, packages: &[Package]) -> Vec<String> {
    let mut faults = Vec::new();
    for package in packages {
        if !names(architecture, package.name()) {
            faults.push(format!("ARCHITECTURE.md does not name the crate `{}`", package.name()));
        }
        let modules = package.modules();
        let unnamed = modules.iter().filter(|module| !names(architecture, module) && !package.head_names(module));
        faults.extend(unnamed.map(|module| {
            format!("neither ARCHITECTURE.md nor the head of its crate names `{}::{module}`", package.name())
        }));
    }
    faults
}

/// The rows of ARCHITECTURE.md's tables of modules whose module is not there.
fn gone(architecture: &str, packages: &[Package]) -> Vec<String> {
    let rows = architecture.lines().filter_map(|line| line.strip_prefix("| `")?.split('`').next());
    let is_there = |name: &str| packages.iter().any(|package| package.modules().contains(&name));
    rows.filter(|name| !is_there(name))
        .map(|name| format!("ARCHITECTURE.md has a row of `{name}`, no module"))
        .collect()
}

/// The files that a document names between backticks and that are not there. A name may be the end of a path, and have
/// one `*`.
fn missing_files(path: &str, text: &str, files: &BTreeSet<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let mut in_block = false;
    for line in text.lines() {
        in_block ^= line.trim_start().starts_with("```");
        if in_block {
            continue;
        }
        for span in line.split('`').skip(1).step_by(2) {
            let name = span.split("::").next().unwrap_or(span);
            let is_name = ENDS.iter().any(|end| name.ends_with(end) && name.len() > end.len());
            let is_path = |c: char| c.is_ascii_alphanumeric() || "/._-*@".contains(c);
            // An absolute path is another machine's.
            if is_name && name.chars().all(is_path) && !name.starts_with('/') && !has_file(files, name) {
                faults.push(format!("{path}: there is no file `{name}`"));
            }
        }
    }
    faults
}

/// The names that a document finds "in" a file, as in `name` in `path/file.rs`, and that the file has not.
fn misplaced_names(path: &str, text: &str, read: impl Fn(&str) -> Option<String>) -> Vec<String> {
    let mut faults = Vec::new();
    let outside: Vec<&str> = text.split("```").step_by(2).collect();
    for text in outside {
        let spans: Vec<&str> = text.split('`').collect();
        for found in spans.windows(3).skip(1).step_by(2) {
            let [name, between, file] = found else { continue };
            let ident = name.rsplit("::").next().unwrap_or(name).trim_end_matches(['!', '(', ')']);
            let is_ident = !ident.is_empty() && ident.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
            if between.trim() != "in" || !is_ident {
                continue;
            }
            if read(file).is_some_and(|source| !source.contains(ident)) {
                faults.push(format!("{path}: `{file}` has no `{name}`"));
            }
        }
    }
    faults
}

fn has_file(files: &BTreeSet<String>, name: &str) -> bool {
    let (before, after) = name.split_once('*').unwrap_or((name, ""));
    files.iter().any(|file| {
        let mut starts = [0].into_iter().chain(file.match_indices('/').map(|(at, _)| at + 1));
        starts.any(|start| {
            let Some(rest) = file[start..].strip_prefix(before) else { return false };
            if name.ends_with('/') {
                true
            } else if name.contains('*') {
                rest.ends_with(after)
            } else {
                rest.is_empty()
            }
        })
    })
}

#[track_caller]
fn none(faults: &[String]) {
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn the_architecture_names_every_crate_and_top_module() {
    let (text, packages) = (document("ARCHITECTURE.md"), packages(&files()));
    assert!(packages.len() >= 5, "packages are found");
    none(&unnamed(&text, &packages));
    none(&gone(&text, &packages));
}

#[test]
fn named_files_are_there() {
    let files = files();
    let documents = documents(&files);
    let concerned = documents.iter().filter(|(path, _)| NAME_FILES.iter().any(|start| path.starts_with(start)));
    let faults: Vec<String> = concerned.flat_map(|(path, text)| missing_files(path, text, &files)).collect();
    none(&faults);
}

#[test]
fn names_are_in_the_files_that_are_named_with_them() {
    let documents = documents(&files());
    let concerned = documents.iter().filter(|(path, _)| NAME_FILES.iter().any(|start| path.starts_with(start)));
    let source = |name: &str| fs::read_to_string(root().join(name)).ok();
    let faults: Vec<String> = concerned.flat_map(|(path, text)| misplaced_names(path, text, source)).collect();
    none(&faults);
}

/// A decision that the index does not list is not found.
#[test]
fn every_decision_is_in_the_index() {
    let index = document("docs/decisions/README.md");
    let files = files();
    let pages = files.iter().filter_map(|path| path.strip_prefix("docs/decisions/"));
    let missing: Vec<_> = pages.filter(|page| *page != "README.md" && !index.contains(&format!("]({page})"))).collect();
    assert!(missing.is_empty(), "docs/decisions/README.md lacks {missing:?}");
}

/// Each rule finds the fault in a sample that has it, and none in one that has not.
mod the_rules_themselves {
    use super::*;

    fn set(files: &[&str]) -> BTreeSet<String> {
        files.iter().map(|file| (*file).to_owned()).collect()
    }

    #[test]
    fn crates_and_modules_are_named_both_ways() {
        let source =
            "//! | [`c`] | in the head |\npub mod a;\nmod b;\npub mod c;\n#[cfg(test)]\n#[path = \"t\"]\nmod tests;\n";
        let package = || Package { directory: "userspace/core".to_owned(), source: source.to_owned() };
        assert_eq!(package().modules(), ["a", "b", "c"]);
        let check = |text: &str, expected: &[&str]| assert_eq!(unnamed(text, &[package()]), expected);
        check("`core` has `a` and `b::door`", &[]);
        check("`core` has `a`", &["neither ARCHITECTURE.md nor the head of its crate names `core::b`"]);
        check("`a` `b` `c`", &["ARCHITECTURE.md does not name the crate `core`"]);
        assert_eq!(gone("| `a` | x |\n", &[package()]), Vec::<String>::new());
        assert_eq!(gone("| `d` | x |\n", &[package()]), ["ARCHITECTURE.md has a row of `d`, no module"]);
    }

    #[test]
    fn names_are_looked_for_in_their_files() {
        let source = |name: &str| (name == "a.rs").then(|| "fn here() {}".to_owned());
        let check = |text: &str, expected: &[&str]| assert_eq!(misplaced_names("d.md", text, source), expected);
        check("`here` in `a.rs`, `A::here` in\n   `a.rs`, `gone` in `b.rs`, `gone` of `a.rs`, `a.rs` in `a.rs`", &[]);
        check("`x` and `gone` in `a.rs`", &["d.md: `a.rs` has no `gone`"]);
        check("```\n`gone` in `a.rs`\n```\n", &[]);
    }

    #[test]
    fn files_are_looked_for() {
        let files = set(&["userspace/src/plan/table.rs", "tests/tests/agent/ea.rs", "docs/a.md"]);
        let check = |text: &str, expected: &[&str]| assert_eq!(missing_files("d.md", text, &files), expected);
        check("`plan/table.rs`, `table.rs::fn`, `userspace/src/plan/`, `e*.rs`, `/etc/x.toml`, `a b.rs`, `x/y`", &[]);
        check("`able.rs`", &["d.md: there is no file `able.rs`"]);
        check("`plans/` and `f_*.rs`", &["d.md: there is no file `plans/`", "d.md: there is no file `f_*.rs`"]);
        check("```\n`gone.rs`\n```\n", &[]);
    }
}
