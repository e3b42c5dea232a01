//! First words of doc comments.

use std::collections::BTreeMap;

use super::Tree;

/// Beginnings that leave the sentence without a head: no verb for a function, no noun for a type.
pub const HEADLESS: [&str; 3] = ["What", "Who", "The same"];

/// Doc comments, and how many of them begin with one of [`HEADLESS`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DocWords {
    /// All of them.
    pub all: u64,
    /// Those that begin so.
    pub headless: u64,
}

/// Counts the doc comments of a file. Lines of one kind that follow each other are one comment.
pub fn doc_words(text: &str) -> DocWords {
    let mut found = DocWords::default();
    let mut before = "";
    for line in text.lines().map(str::trim_start) {
        let kind = ["///", "//!"].into_iter().find(|kind| line.starts_with(kind) && !line.starts_with("////"));
        if let Some(kind) = kind.filter(|kind| *kind != before) {
            let words = line[kind.len()..].trim_start();
            let begins =
                |head: &&str| words.strip_prefix(*head).is_some_and(|rest| !rest.starts_with(char::is_alphanumeric));
            found.all += 1;
            found.headless += u64::from(HEADLESS.iter().any(begins));
        }
        before = kind.unwrap_or_default();
    }
    found
}

/// The counts of each package, by its folder.
#[must_use]
pub fn by_package(tree: &Tree) -> BTreeMap<String, DocWords> {
    let mut all: BTreeMap<String, DocWords> = BTreeMap::new();
    for (path, text) in tree.ending(".rs") {
        let found = doc_words(text);
        let sum = all.entry(tree.package_of(path).unwrap_or(".").to_owned()).or_default();
        sum.all += found.all;
        sum.headless += found.headless;
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, all: u64, headless: u64) {
        assert_eq!(doc_words(text), DocWords { all, headless }, "{text}");
    }

    #[test]
    fn first_words_are_counted_once_a_comment() {
        check("/// What it is.\n/// Who knows.\nfn a() {}\n    /// Who asks.\n    b: B,", 2, 2);
        check("//! The same again.\n//!\n//! What.\n\nuse a;\n/// Returns it.", 2, 1);
        check("/// Whatever\n/// x\n//// What\n// Who\nx // What", 1, 0);
        check("/// What's there.\n//! Who", 2, 2);
    }

    #[test]
    fn packages_are_summed() {
        let files = [("a/Cargo.toml", ""), ("a/src/x.rs", "/// What"), ("a/y.rs", "/// Gives"), ("z.rs", "/// Who")];
        let texts = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        let found = by_package(&Tree { texts, ..Tree::default() });
        assert_eq!(found["a"], DocWords { all: 2, headless: 1 });
        assert_eq!(found["."], DocWords { all: 1, headless: 1 });
    }
}
