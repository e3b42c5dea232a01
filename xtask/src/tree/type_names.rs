//! Public types, and the names that two of them share.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Tree, is_test_file,
    tokens::{tokens, without_tests},
};

const KINDS: [&str; 5] = ["struct", "enum", "trait", "type", "union"];

/// The names of types that a file makes public outside of its tests, a name as often as it is defined. Only `pub` counts,
/// not `pub(crate)`.
#[must_use]
pub fn public_types(text: &str) -> Vec<String> {
    let tokens = without_tests(&tokens(text));
    let mut found = Vec::new();
    for (at, _) in tokens.iter().enumerate().filter(|(_, token)| token.text == "pub") {
        let text = |after: usize| tokens.get(at + after).filter(|next| next.is_ident()).map(|next| next.text);
        let kind = if text(1) == Some("unsafe") { 2 } else { 1 };
        if let (Some(true), Some(name)) = (text(kind).map(|kind| KINDS.contains(&kind)), text(kind + 1)) {
            found.push(name.to_owned());
        }
    }
    found
}

/// The names that two public types or more bear, with the files that define them.
///
/// Names that end in `Raw` are mirrors of another type by purpose. Names that end in `Error` may be borne once in each
/// package: a package's errors are named after what failed, and are read beside the package's name.
#[must_use]
pub fn shared_names(tree: &Tree) -> BTreeMap<String, Vec<String>> {
    let mut all: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in tree.ending(".rs").filter(|(path, _)| !is_test_file(path) && !path.contains("/examples/")) {
        for name in public_types(text) {
            all.entry(name).or_default().push(path.to_owned());
        }
    }
    all.retain(|name, files| {
        let packages: BTreeSet<_> = files.iter().map(|file| tree.package_of(file)).collect();
        let is_error_of_each = name.ends_with("Error") && packages.len() == files.len();
        files.len() > 1 && !name.ends_with("Raw") && !is_error_of_each
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_types_are_told_from_other_items() {
        let text = "pub struct A<T>(T); pub(crate) struct B; struct C { pub d: D } pub fn e() {} pub enum F {} pub unsafe trait G {}
                    impl H for A { type I = J; } pub type K = L; pub const M: N = 1; #[cfg(test)] mod t { pub struct O; }";
        assert_eq!(public_types(text), ["A", "F", "G", "K"]);
    }

    fn check(files: &[(&str, &str)], expected: &[&str]) {
        let manifests = ["a/Cargo.toml", "b/Cargo.toml"].map(|path| (path, "[package]"));
        let texts = files.iter().chain(&manifests).map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        let tree = Tree { texts: texts.collect(), ..Tree::default() };
        assert_eq!(shared_names(&tree).into_keys().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_name_is_borne_once() {
        check(&[("a/src/x.rs", "pub struct S;"), ("b/src/x.rs", "pub enum S {}")], &["S"]);
        check(&[("a/src/x.rs", "pub struct S;"), ("a/src/tests.rs", "pub struct S;")], &[]);
        check(&[("a/src/x.rs", "pub struct SRaw;"), ("a/src/y.rs", "pub struct SRaw;")], &[]);
    }

    #[test]
    fn each_package_has_its_own_error() {
        let error = "pub struct LoadError;";
        check(&[("a/src/x.rs", error), ("b/src/x.rs", error)], &[]);
        check(&[("a/src/x.rs", error), ("a/src/y.rs", error)], &["LoadError"]);
    }
}
