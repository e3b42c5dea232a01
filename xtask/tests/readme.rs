//! The README's tables against the source they describe.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{fs, path::Path};

fn read(path: &str) -> String {
    // The place now; the one at compile time is another once the checkout has been moved.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").unwrap();
    fs::read_to_string(Path::new(&package).parent().unwrap().join(path)).unwrap()
}

/// The README's row of each reason in `reason.rs`: the sentence is the variant's doc comment.
fn reason_rows(source: &str) -> Vec<String> {
    let (_, list) = source.split_once("\nreasons! {").unwrap_or_default();
    let (mut rows, mut sentence) = (Vec::new(), Vec::new());
    for line in list.lines().map(str::trim) {
        if let Some(words) = line.strip_prefix("/// ") {
            sentence.push(words);
        } else if let Some((action, name)) = line.split_once(" = ").and_then(|(_, rest)| rest.split_once(' ')) {
            let name = name.trim_matches(['"', ',']);
            rows.push(format!("| `{name}` | {} | {} |", action.to_lowercase(), sentence.join(" ")));
            sentence.clear();
        }
    }
    rows
}

/// The metrics that `metrics.rs` names, each before its help: `("name", "Help"`.
fn metrics(source: &str) -> Vec<&str> {
    let pairs = source.split("(\"").skip(1).filter_map(|rest| rest.split_once("\", "));
    let named = pairs.filter(|(name, rest)| {
        let word = name.chars().all(|c| c.is_ascii_lowercase() || c == '_');
        word && (rest.starts_with('"') || rest.starts_with("help)"))
    });
    named.map(|(name, _)| name).collect()
}

#[test]
fn every_reason_is_in_the_readme_as_it_is_in_the_source() {
    let readme = read("README.md");
    let rows = reason_rows(&read("xdp-ebpf/src/reason.rs"));
    assert!(rows.len() > 30, "{rows:?}");
    let missing: Vec<_> = rows.iter().filter(|row| !readme.lines().any(|line| line == *row)).collect();
    assert!(missing.is_empty(), "README.md lacks\n{missing:#?}");
    let shown = readme.lines().filter(|line| ["answer", "drop", "pass", "abort"].iter().any(|a| is_row(line, a)));
    assert_eq!(shown.count(), rows.len(), "README.md has rows of reasons that are no more");
}

fn is_row(line: &str, action: &str) -> bool {
    line.starts_with("| `") && line.split(" | ").nth(1) == Some(action)
}

#[test]
fn every_metric_is_in_the_readme() {
    let readme = read("README.md");
    let site = ["userspace/site/src/metrics.rs", "userspace/zerottl/src/proxy/metrics.rs"].map(read).concat();
    let agent = read("userspace/zerottl/src/admin/metrics.rs");
    let named =
        |source, prefix: &str| metrics(source).iter().map(|name| format!("{prefix}_{name}")).collect::<Vec<_>>();
    let (agent, site) = (named(&agent, "zerottl"), named(&site, "zerottl_site"));
    assert!(agent.len() > 15 && site.len() > 15, "{agent:?} {site:?}");
    assert!(site.iter().all(|name| !agent.contains(name)), "one name for two things");
    let metrics = [agent, site].concat();
    let missing: Vec<_> = metrics.iter().filter(|name| !readme.contains(&format!("| `{name}"))).collect();
    assert!(missing.is_empty(), "README.md lacks {missing:?}");
    let shown = readme.lines().filter(|line| line.starts_with("| `zerottl_")).count();
    assert_eq!(shown, metrics.len(), "README.md has metrics that are no more");
}

#[test]
fn the_readers_of_the_source_read() {
    let source = "x\nreasons! {\n    /// One\n    /// thing.\n    AnswerA = Answer \"answer-a\",\n}";
    assert_eq!(reason_rows(source), ["| `answer-a` | answer | One thing. |"]);
    let source = "family(e, (\"up\", \"Help\"), x)?; single(e, (\"age\", help), y); vec![(\"label\", z.clone())]";
    assert_eq!(metrics(source), ["up", "age"]);
}
