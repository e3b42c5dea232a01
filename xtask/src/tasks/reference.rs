//! docs/configure/reference.md: every section and key of `examples/reference.toml`, with its comment as text.
//!
//! `cargo xtask docs --from-source` writes the page; a test holds it to the file.

use std::{fs, path::Path};

const SOURCE: &str = "examples/reference.toml";
const PAGE: &str = "docs/configure/reference.md";
const HEAD: &str = "\
# Reference of the configuration file

Every section and key, with default, unit and range. The page is for looking things up; the chapters of
[Configuration](README.md) and [The Site](../site/README.md) explain what the keys are for. `cargo xtask docs` makes it from
[`examples/reference.toml`](../../examples/reference.toml), as `zerottl man` makes `zerottl.toml(5)`.
";

/// Writes the page.
pub fn write(root: &Path) -> Result<(), String> {
    let source = fs::read_to_string(root.join(SOURCE)).map_err(|error| format!("{SOURCE}: {error}"))?;
    fs::write(root.join(PAGE), page(&source)).map_err(|error| format!("{PAGE}: {error}"))
}

/// Returns the page for a file in which each comment stands before the section or the keys that it is about.
fn page(toml: &str) -> String {
    let mut page = HEAD.to_owned();
    let (mut comment, mut keys) = (Vec::new(), Vec::new());
    for line in toml.lines().chain([""]) {
        let is_key = line.starts_with(|first: char| first.is_ascii_lowercase());
        if !keys.is_empty() && !is_key {
            add_keys(&mut page, &keys, &comment);
            (keys, comment) = (Vec::new(), Vec::new());
        }
        if let Some(text) = line.strip_prefix('#') {
            comment.push(text.trim());
        } else if is_key {
            keys.push(line.trim_end());
        } else if line.starts_with('[') {
            add(&mut page, &format!("## `{}`", line.trim_end()));
            add(&mut page, &comment.join("\n"));
            comment.clear();
        } else if !comment.is_empty() {
            add(&mut page, &comment.join("\n"));
            comment.clear();
        }
    }
    page
}

/// Adds keys that share a comment, as an entry of a list.
fn add_keys(page: &mut String, keys: &[&str], comment: &[&str]) {
    let keys: Vec<String> = keys.iter().map(|key| format!("`{key}`")).collect();
    // Two spaces before the end of a line break the line there.
    let mut entry = format!("- {}", keys.join("  \n  "));
    if !comment.is_empty() {
        entry += "  \n  ";
        entry += &comment.join("\n  ");
    }
    add(page, &entry);
}

/// Adds a paragraph, if it has a text.
fn add(page: &mut String, text: &str) {
    if !text.is_empty() {
        page.push('\n');
        page.push_str(text);
        page.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str, expected: &str) {
        assert_eq!(page(toml).strip_prefix(HEAD), Some(expected));
    }

    #[test]
    fn sections_keys_and_comments_become_text() {
        check("# Of all.\n\n[a]\n", "\nOf all.\n\n## `[a]`\n");
        check("# What it is,\n# in two lines.\n[a]\n", "\n## `[a]`\n\nWhat it is,\nin two lines.\n");
        check("# One\n# key.\nkey = 1\n", "\n- `key = 1`  \n  One\n  key.\n");
        check(
            "# Two keys.\none = 1\ntwo = 2\n# Third.\nthree = 3\n",
            "\n- `one = 1`  \n  `two = 2`  \n  Two keys.\n\n- `three = 3`  \n  Third.\n",
        );
        check("key = 1\n", "\n- `key = 1`\n");
    }

    #[test]
    fn the_page_is_that_of_the_file() {
        let root = crate::cargo::root().unwrap();
        let expected = page(&fs::read_to_string(root.join(SOURCE)).unwrap());
        let committed = fs::read_to_string(root.join(PAGE)).unwrap_or_default();
        super::super::assert_is_current(PAGE, &committed, &expected);
    }
}
