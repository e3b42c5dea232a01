//! The checkout as text: its files, its packages, and measures of both.
//!
//! [`tokens`] reads Rust as far as the measures need it. No macro is expanded and no `cfg` but that of tests is looked at,
//! so a measure is an approximation by design; each says which.

pub mod circles;
pub mod dependencies;
pub mod doc_words;
pub mod figures;
pub mod lengths;
pub mod links;
pub mod modules;
pub mod records;
pub mod tokens;
pub mod type_names;

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs, io,
    path::{Path, PathBuf},
};

/// Folders that hold nothing written by hand.
const SKIPPED: [&str; 2] = ["target", ".git"];

/// Files by their paths from the root, with `/` between the parts.
pub type Texts = BTreeMap<String, String>;

/// The text files of a checkout that the measures read.
#[derive(Debug, Default)]
pub struct Tree {
    /// Sources, manifests, lock files and documents.
    pub texts: Texts,
    /// Every file and folder, for links.
    pub places: BTreeSet<String>,
}

impl Tree {
    /// Reads the checkout around cargo's package, or around the current directory.
    pub fn here() -> io::Result<Self> {
        let package = env::var_os("CARGO_MANIFEST_DIR").map(PathBuf::from);
        let starts = package.into_iter().chain(env::current_dir());
        let root = starts.into_iter().find_map(|start| root_above(&start));
        Self::read(&root.ok_or_else(|| io::Error::other("no checkout of zerottl here"))?)
    }

    /// Reads the checkout at `root`.
    pub fn read(root: &Path) -> io::Result<Self> {
        let mut tree = Self::default();
        let mut open = vec![root.to_owned()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(&folder)? {
                let entry = entry?;
                let (path, name) = (entry.path(), entry.file_name());
                let name = name.to_string_lossy();
                let is_dir = entry.file_type()?.is_dir();
                if is_dir && (SKIPPED.contains(&&*name) || name.starts_with("mutants.out")) {
                    continue;
                }
                let short = path.strip_prefix(root).map_err(io::Error::other)?.display().to_string();
                tree.places.insert(short.clone());
                if is_dir {
                    open.push(path);
                } else if [".rs", ".toml", ".md", ".lock"].iter().any(|end| name.ends_with(end)) {
                    tree.texts.insert(short, fs::read_to_string(&path)?);
                }
            }
        }
        Ok(tree)
    }

    /// The files whose names end so.
    pub fn ending<'a>(&'a self, end: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        let all = self.texts.iter().filter(move |(path, _)| path.ends_with(end));
        all.map(|(path, text)| (path.as_str(), text.as_str()))
    }

    /// The packages, by their folders.
    #[must_use]
    pub fn packages(&self) -> Vec<Package<'_>> {
        let manifests = self.ending("/Cargo.toml").filter(|(_, text)| text.contains("[package]"));
        manifests.map(|(path, text)| Package { folder: path.trim_end_matches("/Cargo.toml"), manifest: text }).collect()
    }

    /// The package that a file belongs to: the one with the deepest folder above it.
    #[must_use]
    pub fn package_of(&self, path: &str) -> Option<&str> {
        let above = Path::new(path).ancestors().skip(1);
        let mut manifests = above.map(|folder| folder.join("Cargo.toml").display().to_string());
        let (manifest, _) = manifests.find_map(|manifest| self.texts.get_key_value(&manifest))?;
        manifest.strip_suffix("/Cargo.toml")
    }
}

/// A package of the workspace.
#[derive(Clone, Copy, Debug)]
pub struct Package<'a> {
    /// The folder, from the root.
    pub folder: &'a str,
    /// The text of `Cargo.toml`.
    pub manifest: &'a str,
}

impl<'a> Package<'a> {
    /// The name, as dependents write it.
    #[must_use]
    pub fn name(&self) -> &'a str {
        self.manifest.lines().find_map(|line| line.strip_prefix("name = ")).map_or("", |name| name.trim_matches('"'))
    }

    /// Whether the manifest has a dependency of this name, for tests or otherwise.
    #[must_use]
    pub fn depends_on(&self, name: &str) -> bool {
        let mut in_dependencies = false;
        self.manifest.lines().any(|line| {
            if line.starts_with('[') {
                in_dependencies = line.ends_with("dependencies]");
            }
            let rest = line.strip_prefix(name).filter(|_| in_dependencies);
            rest.is_some_and(|rest| rest.starts_with('.') || rest.trim_start().starts_with('='))
        })
    }
}

/// The workspace's folder at or above `start`.
pub fn root_above(start: &Path) -> Option<PathBuf> {
    let is_root = |folder: &&Path| folder.join("Cargo.lock").is_file() && folder.join("xtask/Cargo.toml").is_file();
    start.ancestors().find(is_root).map(Path::to_owned)
}

/// Whether a whole file is tests.
#[must_use]
pub fn is_test_file(path: &str) -> bool {
    let file = path.rsplit('/').next().unwrap_or(path);
    path.contains("/tests/") || file == "tests.rs" || file.ends_with("_tests.rs") || file.starts_with("tests_")
}

/// A file's text before and from its test module, which stands last by custom.
#[must_use]
pub fn split_tests<'a>(path: &str, text: &'a str) -> (&'a str, &'a str) {
    if is_test_file(path) {
        return ("", text);
    }
    let at = text.find("#[cfg(test)]\nmod tests").or_else(|| text.find("#[cfg(test)]\n#[path"));
    text.split_at(at.unwrap_or(text.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> Tree {
        let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Tree { texts: texts.collect(), places: BTreeSet::new() }
    }

    #[test]
    fn a_file_belongs_to_the_package_around_it() {
        let tree = tree(&[
            ("Cargo.toml", "[workspace]"),
            ("a/Cargo.toml", "[package]\nname = \"one\"\n\n[dependencies]\ntwo.workspace = true\n"),
            ("a/b/Cargo.toml", "[package]\nname = \"two\"\n\n[lints]\none = true\n"),
        ]);
        let packages = tree.packages();
        assert_eq!(packages.iter().map(Package::name).collect::<Vec<_>>(), ["one", "two"]);
        assert_eq!(tree.package_of("a/b/src/x.rs"), Some("a/b"));
        assert_eq!(tree.package_of("a/src/x.rs"), Some("a"));
        assert_eq!(tree.package_of("c/x.rs"), None);
        assert!(packages[0].depends_on("two") && !packages[0].depends_on("tw") && !packages[1].depends_on("one"));
    }

    #[test]
    fn test_files_are_told_by_name_and_place() {
        for path in ["a/tests/b.rs", "tests/tests/e2e.rs", "a/src/tests.rs", "a/src/tests_b.rs", "a/src/b_tests.rs"] {
            assert!(is_test_file(path), "{path}");
        }
        assert!(!is_test_file("tests/src/lib.rs") && !is_test_file("a/src/testing.rs"));
    }

    #[test]
    fn tests_are_split_off() {
        let text = "a\n#[cfg(test)]\nmod tests {}\n";
        assert_eq!(split_tests("a/src/b.rs", text), ("a\n", "#[cfg(test)]\nmod tests {}\n"));
        assert_eq!(split_tests("a/src/tests.rs", text), ("", text));
        assert_eq!(split_tests("a/src/b.rs", "a\n"), ("a\n", ""));
    }

    #[test]
    fn this_checkout_has_its_packages() {
        let tree = Tree::here().unwrap();
        assert!(tree.packages().len() >= 4 && tree.package_of("xtask/src/lib.rs") == Some("xtask"));
        assert!(tree.places.contains("README.md") && tree.places.contains("xtask/tests"));
    }
}
