//! Circles among the files and the top modules of each crate.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use super::{
    Tree,
    modules::{Modules, Ties, roots},
};

/// Parts of one crate each of which needs all of the others.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Circle {
    /// The files, or the top modules as `FOLDER/src::NAME`.
    pub members: BTreeSet<String>,
    /// The names that tie one to another.
    pub ties: Ties,
}

impl Circle {
    /// The circle's line in the list of known ones.
    pub fn line(&self) -> String {
        self.members.iter().map(String::as_str).collect::<Vec<_>>().join(" ")
    }

    /// Whether this is one of files, not of top modules.
    #[must_use]
    pub fn is_of_files(&self) -> bool {
        self.members.iter().all(|member| !member.contains("::"))
    }
}

impl fmt::Display for Circle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "circle of {}:", self.members.len())?;
        for ((from, to), names) in &self.ties {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            writeln!(f, "  {from} -> {to}: {}", names.join(", "))?;
        }
        Ok(())
    }
}

/// The circles of every crate.
#[must_use]
pub fn circles(tree: &Tree) -> Vec<Circle> {
    let mut found = BTreeSet::new();
    for package in tree.packages() {
        for root in roots(tree, package) {
            let modules = Modules::read(tree, &root);
            let ties = modules.ties();
            found.extend(knots(&by_top_module(&modules, &root, &ties)));
            found.extend(knots(&ties));
        }
    }
    found.into_iter().collect()
}

/// The ties of top modules; the root file is one of its own.
fn by_top_module(modules: &Modules, root: &str, ties: &Ties) -> Ties {
    let files = modules.files();
    let crate_name = root.trim_end_matches("/lib.rs").trim_end_matches(".rs");
    let top = |file: &str| {
        let path = files.get(file).copied().unwrap_or_default();
        format!("{crate_name}::{}", path.first().map_or("crate", String::as_str))
    };
    let mut found = Ties::new();
    for ((from, to), names) in ties {
        let (from, to) = (top(from), top(to));
        if from != to {
            found.entry((from, to)).or_default().extend(names.iter().cloned());
        }
    }
    found
}

/// The strongly connected parts with more than one member.
#[must_use]
pub fn knots(ties: &Ties) -> Vec<Circle> {
    let mut next: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (from, to) in ties.keys() {
        next.entry(from).or_default().insert(to);
    }
    let reached: BTreeMap<&str, BTreeSet<&str>> = next.keys().map(|from| (*from, reachable(&next, from))).collect();
    let both_ways = |a: &str, b: &str| {
        let leads = |from: &str, to: &str| reached.get(from).is_some_and(|all| all.contains(to));
        leads(a, b) && leads(b, a)
    };
    let mut found: Vec<Circle> = Vec::new();
    for start in next.keys().filter(|start| both_ways(start, start)) {
        if found.iter().any(|circle| circle.members.contains(*start)) {
            continue;
        }
        let members: BTreeSet<String> =
            next.keys().filter(|other| both_ways(start, other)).map(|&s| s.to_owned()).collect();
        let inside = ties.iter().filter(|((from, to), _)| members.contains(from) && members.contains(to));
        let ties = inside.map(|(ends, names)| (ends.clone(), names.clone())).collect();
        found.push(Circle { members, ties });
    }
    found
}

fn reachable<'a>(next: &BTreeMap<&'a str, BTreeSet<&'a str>>, from: &str) -> BTreeSet<&'a str> {
    let mut seen = BTreeSet::new();
    let mut open: Vec<&str> = next.get(from).into_iter().flatten().copied().collect();
    while let Some(at) = open.pop() {
        if seen.insert(at) {
            open.extend(next.get(at).into_iter().flatten());
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ties: &[(&str, &str)], expected: &[&str]) {
        let tie =
            |(from, to): &(&str, &str)| (((*from).to_owned(), (*to).to_owned()), BTreeSet::from(["n".to_owned()]));
        let found = knots(&ties.iter().map(tie).collect());
        assert_eq!(found.iter().map(Circle::line).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn circles_are_found_and_chains_are_none() {
        check(&[("a", "b"), ("b", "c")], &[]);
        check(&[("a", "b"), ("b", "a")], &["a b"]);
        check(&[("a", "b"), ("b", "c"), ("c", "a"), ("x", "a"), ("c", "y")], &["a b c"]);
        check(&[("a", "b"), ("b", "a"), ("b", "c"), ("c", "d"), ("d", "c")], &["a b", "c d"]);
    }

    #[test]
    fn top_modules_have_circles_that_files_have_not() {
        let files = [
            ("p/Cargo.toml", "[package]"),
            ("p/src/lib.rs", "mod a; mod b;"),
            ("p/src/a/mod.rs", "mod x; mod y;"),
            ("p/src/a/x.rs", "use crate::b::B;"),
            ("p/src/a/y.rs", "pub struct Y;"),
            ("p/src/b.rs", "use crate::a::y::Y; pub struct B(Y);"),
        ];
        let texts = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        let found = circles(&Tree { texts, ..Tree::default() });
        assert_eq!(found.iter().map(Circle::line).collect::<Vec<_>>(), ["p/src::a p/src::b"]);
        let text = "circle of 2:\n  p/src::a -> p/src::b: B\n  p/src::b -> p/src::a: Y\n";
        assert!(!found[0].is_of_files() && found[0].to_string() == text, "{}", found[0]);
    }
}
