//! The figures by which the shape of the house is judged.

use std::fmt;

use super::{
    Tree,
    circles::{Circle, circles},
    doc_words,
    lengths::{FUNCTION_LINES_MAX, crates, functions, linking_tests, percentile},
    split_tests,
    type_names::shared_names,
};

/// The measures of one tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// Names that more than one public type bears, and the types that bear them.
    pub shared_names: (usize, usize),
    /// Doc comments that begin with a word of [`doc_words::HEADLESS`], and all.
    pub doc_words: (u64, u64),
    /// Circles among top modules, and among files.
    pub circles: (usize, usize),
    /// Files in the largest circle.
    pub largest_circle: usize,
    /// The largest crate's folder and lines outside of tests.
    pub largest_crate: (String, usize),
    /// Test programs that link the library.
    pub linking_tests: usize,
    /// Bytes of README.md and ARCHITECTURE.md.
    pub documents: (usize, usize),
    /// Lines of a file: median, 90th of a hundred, longest.
    pub files: [usize; 3],
    /// Functions outside of tests that are longer than [`FUNCTION_LINES_MAX`], and all.
    pub functions: (usize, usize),
}

impl Figures {
    /// Measures a tree.
    pub fn of(tree: &Tree) -> Self {
        let names = shared_names(tree);
        let words = doc_words::by_package(tree);
        let (of_files, of_modules): (Vec<Circle>, Vec<Circle>) =
            circles(tree).into_iter().partition(Circle::is_of_files);
        let largest = crates(tree).into_iter().max_by_key(|(_, lines)| *lines).unwrap_or_default();
        let bytes = |name: &str| tree.texts.get(name).map_or(0, String::len);
        let mut files: Vec<usize> = tree.ending(".rs").map(|(_, text)| text.lines().count()).collect();
        let shipped = tree.ending(".rs").map(|(path, text)| split_tests(path, text).0);
        let functions: Vec<usize> = shipped.flat_map(functions).collect();
        Self {
            shared_names: (names.len(), names.values().map(Vec::len).sum()),
            doc_words: (words.values().map(|words| words.headless).sum(), words.values().map(|words| words.all).sum()),
            circles: (of_modules.len(), of_files.len()),
            largest_circle: of_files.iter().map(|circle| circle.members.len()).max().unwrap_or(0),
            largest_crate: (largest.0.to_owned(), largest.1),
            linking_tests: linking_tests(tree),
            documents: (bytes("README.md"), bytes("ARCHITECTURE.md")),
            files: [50, 90, 100].map(|percent| percentile(&mut files, percent)),
            functions: (functions.iter().filter(|lines| **lines > FUNCTION_LINES_MAX).count(), functions.len()),
        }
    }

    /// Rows of what is measured, its value and the aim.
    fn rows(&self) -> [(&'static str, String, &'static str); 8] {
        let kilobytes = |bytes: usize| format!("{}.{} kB", bytes / 1000, bytes % 1000 / 100);
        let [median, ninetieth, longest] = self.files;
        [
            (
                "public type names borne by two types or more",
                format!("{} names, {} types", self.shared_names.0, self.shared_names.1),
                "0",
            ),
            (
                "doc comments that begin with \"What\", \"Who\", \"The same\"",
                format!("{} of {}", self.doc_words.0, self.doc_words.1),
                "0",
            ),
            (
                "import circles among top modules / files",
                format!("{} / {} (the largest of {} files)", self.circles.0, self.circles.1, self.largest_circle),
                "0 / 0",
            ),
            (
                "lines of the largest crate, without tests",
                format!("{} ({})", self.largest_crate.1, self.largest_crate.0),
                "under 10000",
            ),
            ("test programs that link the library", self.linking_tests.to_string(), "about 4"),
            (
                "README / architecture text",
                format!("{} / {}", kilobytes(self.documents.0), kilobytes(self.documents.1)),
                "8 kB / 12 kB",
            ),
            ("median, 90th, longest file", format!("{median}, {ninetieth}, {longest}"), "keep"),
            ("functions over 70 lines, without tests", format!("{} of {}", self.functions.0, self.functions.1), "keep"),
        ]
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "| | now | aim |\n|---|---|---|")?;
        self.rows().iter().try_for_each(|(what, now, aim)| writeln!(f, "| {what} | {now} | {aim} |"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_of_the_tree_that_is_given() {
        let long = format!("/// Who\npub struct S;\nfn f() {{\n{}}}\n", "\n".repeat(FUNCTION_LINES_MAX));
        let files = [
            ("README.md", "x"),
            ("userspace/Cargo.toml", "[package]\nname = \"z\"\n"),
            ("userspace/src/lib.rs", "mod a;\nmod b;\n"),
            ("userspace/src/a.rs", "pub struct S(crate::b::B);\nfn g() {}\n"),
            ("userspace/src/b.rs", "/// Is it.\npub struct B(crate::a::A);\n"),
            ("userspace/tests/t.rs", "fn t() {}\n"),
            ("xtask/Cargo.toml", "[package]\n"),
            ("xtask/src/lib.rs", long.as_str()),
        ];
        let texts = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        let figures = Figures::of(&Tree { texts, ..Tree::default() });
        let expected = Figures {
            shared_names: (1, 2),
            doc_words: (1, 2),
            circles: (1, 1),
            largest_circle: 2,
            largest_crate: ("xtask".to_owned(), 74),
            linking_tests: 1,
            documents: (1, 0),
            files: [2, 74, 74],
            functions: (1, 2),
        };
        assert_eq!(figures, expected);
        let table = figures.to_string();
        assert!(
            table.contains("| import circles among top modules / files | 1 / 1 (the largest of 2 files) | 0 / 0 |\n"),
            "{table}"
        );
    }
}
