//! How long files, functions and crates are.

use std::collections::BTreeMap;

use super::{
    Tree, split_tests,
    tokens::{Token, group, tokens},
};

/// The longest function that needs no second look.
pub const FUNCTION_LINES_MAX: usize = 70;

/// The lines of each function with a body, from `fn` to its closing brace.
pub fn functions(text: &str) -> Vec<usize> {
    let tokens = tokens(text);
    let mut found = Vec::new();
    for (at, token) in tokens.iter().enumerate().filter(|(_, token)| token.text == "fn") {
        // `fn(A) -> B` is a type.
        if !tokens.get(at + 1).is_some_and(Token::is_ident) {
            continue;
        }
        let mut body = at + 2;
        while let Some(next) = tokens.get(body).filter(|next| !matches!(next.text, "{" | ";" | "}")) {
            body += if matches!(next.text, "(" | "[") { group(&tokens[body..]) } else { 1 };
        }
        if tokens.get(body).is_some_and(|next| next.text == "{") {
            let end = body + group(&tokens[body..]) - 1;
            found.push(tokens[end.min(tokens.len() - 1)].line - token.line + 1);
        }
    }
    found
}

/// The value below which `percent` of a hundred lie; 0 of none.
pub fn percentile(values: &mut [usize], percent: usize) -> usize {
    values.sort_unstable();
    let at = (values.len() * percent / 100).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or_default()
}

/// The lines of each package's `src` outside of tests, by its folder.
#[must_use]
pub fn crates(tree: &Tree) -> BTreeMap<&str, usize> {
    let mut all = BTreeMap::new();
    for (path, text) in tree.ending(".rs") {
        let Some(folder) = tree.package_of(path) else { continue };
        if path.strip_prefix(folder).is_some_and(|rest| rest.starts_with("/src/")) {
            *all.entry(folder).or_default() += split_tests(path, text).0.lines().count();
        }
    }
    all
}

/// How many test programs link the library: the files directly in `tests/`, and folders there with a `main.rs`, of every
/// package in `userspace/` and of those that depend on one.
#[must_use]
pub fn linking_tests(tree: &Tree) -> usize {
    let packages = tree.packages();
    let is_library = |folder: &str| folder == "userspace" || folder.starts_with("userspace/");
    let libraries: Vec<_> =
        packages.iter().filter(|package| is_library(package.folder)).map(super::Package::name).collect();
    let links = packages
        .iter()
        .filter(|package| is_library(package.folder) || libraries.iter().any(|library| package.depends_on(library)));
    let programs = links.map(|package| {
        let tests = format!("{}/tests/", package.folder);
        let is_program = |rest: &str| rest.matches('/').count() == usize::from(rest.ends_with("/main.rs"));
        tree.ending(".rs").filter(|(path, _)| path.strip_prefix(&tests).is_some_and(is_program)).count()
    });
    programs.sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_are_measured_with_their_signature() {
        let text = "fn a(x: [u8; 2]) -> fn(B) {\n  let c = || { 1 };\n}\ntrait T { fn d(); fn e() {} }\nfn\nf\n() where A: B {}";
        assert_eq!(functions(text), [3, 1, 3]);
        assert_eq!(functions("fn outer() {\n fn inner() {\n }\n}"), [4, 2]);
    }

    #[test]
    fn percentiles_are_values_that_occur() {
        assert_eq!(percentile(&mut [], 50), 0);
        assert_eq!(percentile(&mut [3, 1, 2], 50), 2);
        let mut hundred: Vec<usize> = (1..=100).collect();
        assert_eq!((percentile(&mut hundred, 90), percentile(&mut hundred, 100)), (91, 100));
    }

    fn tree() -> Tree {
        let library = "[package]\nname = \"core\"\n";
        let user = "[package]\nname = \"t\"\n[dependencies]\ncore.workspace = true\n";
        let files = [
            ("userspace/core/Cargo.toml", library),
            ("userspace/core/src/lib.rs", "a\nb\n"),
            ("userspace/core/src/x/y.rs", "c\n#[cfg(test)]\nmod tests {}\n"),
            ("userspace/core/src/x/tests.rs", "d\n"),
            ("userspace/core/tests/one.rs", ""),
            ("userspace/core/tests/one/part.rs", ""),
            ("t/Cargo.toml", user),
            ("t/src/lib.rs", "d\n"),
            ("t/tests/two/main.rs", ""),
            ("other/Cargo.toml", "[package]\nname = \"o\"\n"),
            ("other/tests/three.rs", ""),
        ];
        Tree { texts: files.map(|(path, text)| (path.to_owned(), text.to_owned())).into(), ..Tree::default() }
    }

    #[test]
    fn crates_are_their_src() {
        assert_eq!(crates(&tree()), BTreeMap::from([("t", 1), ("userspace/core", 3)]));
    }

    #[test]
    fn test_programs_that_link_the_library_are_counted() {
        assert_eq!(linking_tests(&tree()), 2);
    }
}
