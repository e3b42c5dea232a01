//! Lists of what is known and may only shrink.
//!
//! A rule that the tree does not keep yet holds a record of where it does not. More than the record is a fault; so is less,
//! until the record says so: what has been won is not lost again. `cargo xtask figures --record` writes the records anew,
//! and the commit shows which way they went.

use std::{collections::BTreeMap, fmt::Write as _};

use super::{
    Tree,
    circles::{Circle, circles},
    doc_words, type_names,
};

/// Circles of files and of top modules, one a line.
pub const CIRCLES: &str = "xtask/tests/known_circles.txt";
/// Names of public types, with how many bear each.
pub const TYPE_NAMES: &str = "xtask/tests/known_type_names.txt";
/// Packages, with how many of their doc comments begin with a word of [`doc_words::HEADLESS`].
pub const DOC_WORDS: &str = "xtask/tests/known_doc_words.txt";
/// Documents over their limit, with their size in KiB.
pub const SIZES: &str = "xtask/tests/known_sizes.txt";

/// Documents with the most bytes that each may have.
pub const SIZES_MAX: [(&str, usize); 2] = [("README.md", 8192), ("ARCHITECTURE.md", 12_288)];

const BYTES_PER_KIB: usize = 1024;

/// Counts by what they count.
pub type Counts = BTreeMap<String, usize>;

/// Reads lines of a name and a count; `#` begins a comment.
#[must_use]
pub fn read_counts(text: &str) -> Counts {
    let lines = lines(text).filter_map(|line| line.rsplit_once(' '));
    lines.filter_map(|(name, count)| Some((name.to_owned(), count.parse().ok()?))).collect()
}

/// The lines of a record that are no comment.
pub fn lines(text: &str) -> impl Iterator<Item = &str> {
    text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'))
}

/// The faults of counts that may only shrink.
#[must_use]
pub fn grown(known: &Counts, found: &Counts) -> Vec<String> {
    let mut faults = Vec::new();
    for name in known.keys().chain(found.keys().filter(|name| !known.contains_key(*name))) {
        let count = |counts: &Counts| counts.get(name).copied().unwrap_or(0);
        let (was, is) = (count(known), count(found));
        if is > was {
            faults.push(format!("{name}: {is}, and no more than {was} may be"));
        } else if is < was {
            faults.push(format!("{name}: {is}, better than the {was} on record: run `cargo xtask figures --record`"));
        }
    }
    faults
}

/// The faults of circles that may only shrink, given the lines on record.
#[must_use]
pub fn grown_circles(known: &[&str], found: &[Circle]) -> Vec<String> {
    let mut faults = Vec::new();
    let is_part = |circle: &Circle, line: &str| {
        let members: Vec<&str> = line.split_whitespace().collect();
        circle.members.iter().all(|member| members.contains(&member.as_str()))
    };
    for circle in found.iter().filter(|circle| !known.contains(&circle.line().as_str())) {
        if known.iter().any(|line| is_part(circle, line)) {
            faults.push(format!("smaller than on record: run `cargo xtask figures --record`: {circle}"));
        } else {
            faults.push(format!("new {circle}"));
        }
    }
    let is_there = |line: &&&str| found.iter().any(|circle| circle.line() == **line || is_part(circle, line));
    let gone = known.iter().filter(|line| !is_there(line));
    faults.extend(gone.map(|line| format!("gone: run `cargo xtask figures --record`: {line}")));
    faults
}

/// How many types bear each name that more than one bears.
#[must_use]
pub fn count_names(tree: &Tree) -> Counts {
    type_names::shared_names(tree).into_iter().map(|(name, files)| (name, files.len())).collect()
}

/// How many doc comments of each package begin without a head.
#[must_use]
pub fn count_headless(tree: &Tree) -> Counts {
    let all = doc_words::by_package(tree).into_iter();
    let counts = all.map(|(folder, words)| (folder, usize::try_from(words.headless).unwrap_or(usize::MAX)));
    counts.filter(|(_, count)| *count > 0).collect()
}

/// The documents over their limit, in KiB rounded up.
#[must_use]
pub fn count_kib(tree: &Tree) -> Counts {
    let over = SIZES_MAX.iter().filter_map(|(name, bytes_max)| {
        let bytes = tree.texts.get(*name)?.len();
        (bytes > *bytes_max).then(|| ((*name).to_owned(), bytes.div_ceil(BYTES_PER_KIB)))
    });
    over.collect()
}

/// Every record as the tree has it now: file and text.
#[must_use]
pub fn records(tree: &Tree) -> [(&'static str, String); 4] {
    let circles: String = circles(tree).iter().map(|circle| circle.line() + "\n").collect();
    let counts = |counts: Counts| {
        counts.into_iter().fold(String::new(), |mut text, (name, count)| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name} {count}");
            text
        })
    };
    let record = |title: &str, body: String| {
        format!("# {title}\n# May only shrink; `cargo xtask figures --record` writes it.\n{body}")
    };
    [
        (CIRCLES, record("Files, or top modules, of which each needs all of the others: one circle a line.", circles)),
        (
            TYPE_NAMES,
            record("Names that more than one public type bears, and how many bear it.", counts(count_names(tree))),
        ),
        (
            DOC_WORDS,
            record(
                "Doc comments of each package that begin with `What`, `Who` or `The same`.",
                counts(count_headless(tree)),
            ),
        ),
        (SIZES, record("Documents that are larger than they may be, in KiB.", counts(count_kib(tree)))),
    ]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn check(known: &str, found: &str, expected: &[&str]) {
        assert_eq!(grown(&read_counts(known), &read_counts(found)), expected);
    }

    #[test]
    fn counts_may_only_shrink() {
        check("# a 5\na 2\n\nb c 1\n", "a 2\nb c 1", &[]);
        check("a 2", "a 3", &["a: 3, and no more than 2 may be"]);
        check("", "a 1", &["a: 1, and no more than 0 may be"]);
        check("a 2", "", &["a: 0, better than the 2 on record: run `cargo xtask figures --record`"]);
    }

    fn check_circles(known: &[&str], found: &[&str], expected: &[&str]) {
        let circle =
            |line: &&str| Circle { members: line.split(' ').map(str::to_owned).collect(), ties: BTreeMap::default() };
        let faults = grown_circles(known, &found.iter().map(circle).collect::<Vec<_>>());
        let first = |fault: &String| fault.split([' ', ':']).next().unwrap_or_default().to_owned();
        assert_eq!(faults.iter().map(first).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn circles_may_only_shrink() {
        check_circles(&["a b"], &["a b"], &[]);
        check_circles(&[], &["a b"], &["new"]);
        check_circles(&["a b"], &["a b c"], &["new", "gone"]);
        check_circles(&["a b c d"], &["a b", "c d"], &["smaller", "smaller"]);
        check_circles(&["a b", "c d"], &["c d"], &["gone"]);
    }

    #[test]
    fn documents_within_their_limit_are_not_on_record() {
        let texts =
            [("README.md", 8192), ("ARCHITECTURE.md", 12_289)].map(|(name, size)| (name.to_owned(), "x".repeat(size)));
        let tree = Tree { texts: texts.into(), places: BTreeSet::new() };
        assert_eq!(count_kib(&tree), Counts::from([("ARCHITECTURE.md".to_owned(), 13)]));
    }

    #[test]
    fn records_are_read_as_they_are_written() {
        let files = [
            ("p/Cargo.toml", "[package]"),
            ("p/src/lib.rs", "mod a; mod b;"),
            ("p/src/a.rs", "/// What\npub struct S(crate::b::B);"),
            ("p/src/b.rs", "/// Who\npub struct B; pub struct S(crate::a::S);"),
        ];
        let texts = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        let tree = Tree { texts, ..Tree::default() };
        let [(_, circles_text), (_, names), (_, words), (_, sizes)] = records(&tree);
        assert_eq!(grown_circles(&lines(&circles_text).collect::<Vec<_>>(), &circles(&tree)), Vec::<String>::new());
        assert_eq!(lines(&circles_text).count(), 2, "one of files, one of top modules");
        assert_eq!((read_counts(&names), read_counts(&words)), (count_names(&tree), count_headless(&tree)));
        assert_eq!((lines(&names).collect::<Vec<_>>(), lines(&words).collect::<Vec<_>>()), (vec!["S 2"], vec!["p 2"]));
        assert_eq!(lines(&sizes).count(), 0);
    }
}
