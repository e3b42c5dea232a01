//! Tables of the documents that are made of the source: packet reasons of `reasons!`, metrics of `metrics!`.
//!
//! `cargo xtask docs --from-source` writes them between the markers of their pages; a test holds them to the source.

use std::{fs, path::Path};

/// The line after a table.
const END: &str = "<!-- end of the table -->\n";
/// Every table.
const TABLES: [Table; 4] = [
    Table {
        page: "docs/operate/packets.md",
        sources: &["xdp-ebpf/src/reason.rs"],
        list: "reasons",
        head: "| reason | action | meaning |\n|---|---|---|\n",
        row: |of| format!("| `{}` | {} | {} |\n", of.name, of.kind.to_lowercase(), of.text),
    },
    Table {
        page: "docs/operate/metrics.md",
        sources: &["userspace/zerottl/src/admin/metrics/list.rs"],
        list: "metrics",
        head: METRICS_HEAD,
        row: |of| metric_row("zerottl", of),
    },
    Table {
        page: "docs/operate/metrics.md",
        sources: &[
            "userspace/site/src/metrics.rs",
            "userspace/proxy/src/metrics.rs",
            "userspace/proxy/src/session_metrics.rs",
        ],
        list: "metrics",
        head: METRICS_HEAD,
        row: |of| metric_row("zerottl_site", of),
    },
    Table {
        page: "docs/operate/metrics.md",
        sources: &["userspace/director/src/metrics.rs"],
        list: "metrics",
        head: METRICS_HEAD,
        row: |of| metric_row("zerottl_director", of),
    },
];
const METRICS_HEAD: &str = "| metric | type | labels | meaning |\n|---|---|---|---|\n";

/// A table, and the macro that declares its rows.
struct Table {
    page: &'static str,
    sources: &'static [&'static str],
    list: &'static str,
    head: &'static str,
    row: fn(&Declared<'_>) -> String,
}

/// One line of a macro that declares, with the documentation before it: `Name = Kind "name",` or
/// `NAME = kind "name" [label, …],`.
#[derive(Debug, PartialEq, Eq)]
struct Declared<'a> {
    kind: &'a str,
    name: &'a str,
    labels: &'a str,
    text: String,
}

/// Writes the tables into their pages.
pub fn write(root: &Path) -> Result<(), String> {
    for table in &TABLES {
        let page = read(root, table.page)?;
        fs::write(root.join(table.page), table.renewed(root, &page)?)
            .map_err(|why| format!("{}: {why}", table.page))?;
    }
    Ok(())
}

fn read(root: &Path, path: &str) -> Result<String, String> {
    fs::read_to_string(root.join(path)).map_err(|error| format!("{path}: {error}"))
}

impl Table {
    /// Returns the page with the table as the source has it now.
    fn renewed(&self, root: &Path, page: &str) -> Result<String, String> {
        let mut table = self.head.to_owned();
        for source in self.sources {
            table.extend(declared(&read(root, source)?, self.list).iter().map(self.row));
        }
        between(page, &self.begin(), &table).ok_or_else(|| format!("{} has no markers {:?}", self.page, self.begin()))
    }

    /// The line before the table.
    fn begin(&self) -> String {
        format!("<!-- `cargo xtask docs --from-source` makes this table of {} -->\n", self.sources.join(" and "))
    }
}

/// Returns the page with another text between a line and the next [`END`].
fn between(page: &str, begin: &str, text: &str) -> Option<String> {
    let (before, rest) = page.split_once(begin)?;
    let (_, after) = rest.split_once(END)?;
    Some([before, begin, text, END, after].concat())
}

/// Reads what the macro `list` declares in a source.
fn declared<'a>(source: &'a str, list: &str) -> Vec<Declared<'a>> {
    let (_, lines) = source.split_once(&format!("\n{list}! {{\n")).unwrap_or_default();
    let (mut found, mut text) = (Vec::new(), Vec::new());
    for line in lines.lines().take_while(|line| *line != "}").map(str::trim) {
        if let Some(words) = line.strip_prefix("/// ") {
            text.push(words);
        } else if let Some((_, line)) = line.split_once(" = ") {
            let mut parts = line.split('"');
            let mut part = || parts.next().unwrap_or_default().trim_matches([' ', ',', '[', ']']);
            found.push(Declared { kind: part(), name: part(), labels: part(), text: text.join(" ") });
            text.clear();
        }
    }
    found
}

fn metric_row(prefix: &str, Declared { kind, name, labels, text }: &Declared<'_>) -> String {
    let total = if *kind == "counter" { "_total" } else { "" };
    format!("| `{prefix}_{name}{total}` | {kind} | {labels} | {text} |\n")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use xtask::tree::Tree;

    use super::*;

    #[test]
    fn the_tables_are_those_of_the_source() {
        let root = crate::cargo::root().unwrap();
        for table in &TABLES {
            let page = read(&root, table.page).unwrap();
            let expected = table.renewed(&root, &page).unwrap();
            super::super::assert_is_current(table.page, &page, &expected);
        }
    }

    /// A list that no table has, or a name that two have, would not be seen in the documents.
    #[test]
    fn every_list_is_in_a_table_and_every_name_is_there_once() {
        let tree = Tree::here().unwrap();
        let lists = ["reasons", "metrics"].map(|list| format!("\n{list}! {{\n"));
        let declaring = tree.ending(".rs").filter(|(_, text)| lists.iter().any(|list| text.contains(list)));
        let declaring: BTreeSet<&str> = declaring.map(|(path, _)| path).collect();
        assert_eq!(declaring, TABLES.iter().flat_map(|table| table.sources).copied().collect());

        let mut names = BTreeSet::new();
        for table in &TABLES {
            let all = table.sources.iter().flat_map(|source| declared(&tree.texts[*source], table.list));
            let rows: Vec<String> = all.map(|of| (table.row)(&of)).collect();
            assert!(rows.len() > 10, "{rows:?}");
            let columns = table.head.lines().next().unwrap_or_default().matches('|').count();
            for row in rows {
                assert_eq!(row.matches('|').count(), columns, "{row}");
                assert!(!row.contains(['"', '\\']), "OpenMetrics has these escaped in help: {row}");
                let name = row.split('`').nth(1).unwrap().to_owned();
                assert!(names.insert(name), "one name for two things: {row}");
            }
        }
    }

    #[test]
    fn declarations_are_read() {
        let line = |kind, name, labels, text: &str| Declared { kind, name, labels, text: text.to_owned() };
        let source =
            "x\nreasons! {\n    /// One\n    /// thing.\n    AnswerA = Answer \"answer-a\",\n}\n    B = C \"d\",\n";
        assert_eq!(declared(source, "reasons"), [line("Answer", "answer-a", "", "One thing.")]);
        let source =
            "x\nmetrics! {\n    /// One\n    A = counter \"a\" [b, c],\n\n    /// Two\n    D = gauge \"d\" [],\n}\n";
        let (one, two) = (line("counter", "a", "b, c", "One"), line("gauge", "d", "", "Two"));
        assert_eq!(metric_row("x", &one), "| `x_a_total` | counter | b, c | One |\n");
        assert_eq!(metric_row("x", &two), "| `x_d` | gauge |  | Two |\n");
        assert_eq!(declared(source, "metrics"), [one, two]);
        assert_eq!(declared(source, "reasons"), []);
    }

    #[test]
    fn a_table_is_renewed_between_its_markers() {
        let page = format!("a\nbegin\nold\n{END}b\n");
        assert_eq!(between(&page, "begin\n", "new\n"), Some(format!("a\nbegin\nnew\n{END}b\n")));
        assert_eq!(between(&page, "other\n", "new\n"), None);
        assert_eq!(between("a\nbegin\nold\n", "begin\n", "new\n"), None);
    }
}
