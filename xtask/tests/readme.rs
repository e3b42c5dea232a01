//! The README and the chapters against the source that they describe, and against each other.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// Bytes that the README may have: one page is read, more is not.
const README_MAX: usize = 8192;

/// The checkout where it is now; the one at compile time is another once the checkout has been moved.
fn root() -> PathBuf {
    Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_owned()
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap()
}

/// Every Markdown file below `folder`, by its path from there.
fn markdown(folder: &Path) -> Vec<String> {
    let (mut found, mut open) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(directory) = open.pop() {
        for entry in fs::read_dir(&directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                open.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                found.push(path.strip_prefix(folder).unwrap().display().to_string());
            }
        }
    }
    found.sort();
    found
}

#[test]
fn the_readme_is_one_page() {
    let bytes = read("README.md").len();
    assert!(bytes <= README_MAX, "README.md has {bytes} bytes, over {README_MAX}: move something into a chapter");
}

/// mdBook renders only the chapters that the summary lists, and readers find only these.
#[test]
fn the_summary_lists_every_chapter_once() {
    let summary = read("docs/SUMMARY.md");
    let mut listed: Vec<&str> = summary.split("](").skip(1).filter_map(|rest| Some(rest.split_once(')')?.0)).collect();
    listed.sort_unstable();
    assert!(listed.windows(2).all(|pair| pair[0] != pair[1]), "a chapter is listed twice: {listed:?}");
    let chapters = markdown(&root().join("docs"));
    let missing: Vec<_> =
        chapters.iter().filter(|chapter| *chapter != "SUMMARY.md" && !listed.contains(&chapter.as_str())).collect();
    assert!(missing.is_empty(), "docs/SUMMARY.md does not list {missing:?}");
}

/// The lines of a summary that mdBook does not read as we do. It knows titles, chapters before the first list, and lists that
/// go one level deeper at a time.
fn summary_faults(summary: &str) -> Vec<String> {
    let mut faults = Vec::new();
    let mut before = None;
    for line in summary.lines().filter(|line| !line.is_empty()) {
        let text = line.trim_start();
        let (depth, odd) = ((line.len() - text.len()) / 2, (line.len() - text.len()) % 2);
        let is_link = |text: &str| text.starts_with('[') && text.ends_with(".md)") && text.matches("](").count() == 1;
        let is_right = if line.starts_with("# ") {
            true
        } else if let Some(item) = text.strip_prefix("- ") {
            let depth_max = before.replace(depth).map_or(0, |before: usize| before + 1);
            is_link(item) && odd == 0 && depth <= depth_max
        } else {
            is_link(line) && before.is_none()
        };
        if !is_right {
            faults.push(line.to_owned());
        }
    }
    faults
}

#[test]
fn the_summary_is_one_that_mdbook_reads() {
    assert_eq!(summary_faults(&read("docs/SUMMARY.md")), Vec::<String>::new());
    let check = |summary: &str, expected: &[&str]| assert_eq!(summary_faults(summary), expected, "{summary}");
    check("# S\n\n[a](a.md)\n\n# P\n\n- [b](b.md)\n  - [c](c/d.md)\n- [e](e.md)\n", &[]);
    check("- [b](b.md)\n[a](a.md)\n", &["[a](a.md)"]);
    check("- [b](b.md)\n    - [c](c.md)\n", &["    - [c](c.md)"]);
    check("Some text\n- [a](a.html)\n", &["Some text", "- [a](a.html)"]);
}

/// The lines of a document's TOML block that begins with `[front]`, without comments and repeated spaces.
fn configuration(document: &str) -> Vec<String> {
    let (_, block) = document.split_once("```toml\n[front]\n").expect("a configuration");
    code_lines(block.split("```").next().unwrap_or_default())
}

fn code_lines(toml: &str) -> Vec<String> {
    let lines = toml.lines().map(|line| line.split(" #").next().unwrap_or(line));
    lines.map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).filter(|line| !line.is_empty()).collect()
}

/// The example file is checked by tests of the configuration; the documents show a part of it.
#[test]
fn the_configuration_shown_is_that_of_the_example() {
    let example = code_lines(&read("examples/appendix-a.toml"));
    for document in ["README.md", "docs/configure/README.md"] {
        let shown = configuration(&read(document));
        assert!(shown.len() > 15, "{document}: {shown:?}");
        let other: Vec<_> = shown.iter().filter(|line| !example.contains(line)).collect();
        assert!(other.is_empty(), "{document} shows what is not in examples/appendix-a.toml: {other:#?}");
    }
}
