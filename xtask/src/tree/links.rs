//! Links of the Markdown documents.
//!
//! Links within the repository must lead somewhere; those to other hosts are held to their form only, as nothing here may
//! depend on the network.

use std::collections::{BTreeMap, BTreeSet};

use super::Tree;

/// A link of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Link {
    /// The line, from 1.
    pub line: usize,
    /// The target as it is written.
    pub target: String,
}

/// Blanks fenced blocks and code spans, and keeps every line.
#[must_use]
pub fn without_code(markdown: &str) -> String {
    let mut prose = String::with_capacity(markdown.len());
    let mut fence: Option<&str> = None;
    for line in markdown.split_inclusive('\n') {
        let start = line.trim_start().trim_start_matches("> ");
        let marks = ["```", "~~~"].into_iter().find(|marks| start.starts_with(marks));
        match (fence, marks) {
            (None, None) => prose.push_str(line),
            (None, Some(_)) => (fence, prose) = (marks, prose + "\n"),
            (Some(open), _) => {
                fence = fence.filter(|_| marks != Some(open));
                prose.push('\n');
            }
        }
    }
    blank_spans(&prose)
}

/// Replaces the text between runs of backticks of one length by spaces.
fn blank_spans(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('`') {
        let run = rest[at..].len() - rest[at..].trim_start_matches('`').len();
        let (before, after) = (&rest[..at], &rest[at + run..]);
        out.push_str(before);
        // A span ends within its paragraph.
        let paragraph = after.find("\n\n").unwrap_or(after.len());
        let end = closing(&after[..paragraph], run);
        let Some(end) = end else {
            rest = after;
            continue;
        };
        out.extend(after[..end].chars().map(|c| if c == '\n' { '\n' } else { ' ' }));
        rest = &after[end + run..];
    }
    out + rest
}

/// Where a run of exactly `length` backticks begins.
fn closing(text: &str, length: usize) -> Option<usize> {
    let mut at = 0;
    while let Some(found) = text[at..].find('`') {
        let start = at + found;
        let run = text[start..].len() - text[start..].trim_start_matches('`').len();
        if run == length {
            return Some(start);
        }
        at = start + run;
    }
    None
}

/// The links of a document: in brackets, by definition, in HTML, and bare.
#[must_use]
pub fn links(markdown: &str) -> Vec<Link> {
    let prose = without_code(markdown);
    let mut found = Vec::new();
    let mut add = |at: usize, target: &str| {
        let line = prose[..at].matches('\n').count() + 1;
        found.push(Link { line, target: target.trim_matches(['<', '>']).to_owned() });
    };
    for (at, _) in prose.match_indices("](") {
        let inside = &prose[at + 2..];
        add(at, inside[..bracket_end(inside)].split_whitespace().next().unwrap_or_default());
    }
    for (at, line) in lines_at(&prose) {
        if let Some((_, rest)) = line.strip_prefix('[').and_then(|rest| rest.split_once("]: ")) {
            add(at, rest.split_whitespace().next().unwrap_or_default());
        }
    }
    for attribute in [" src=\"", " href=\"", " srcset=\""] {
        for (at, _) in prose.match_indices(attribute) {
            add(at, prose[at + attribute.len()..].split('"').next().unwrap_or_default());
        }
    }
    for scheme in ["http://", "https://"] {
        for (at, _) in prose.match_indices(scheme) {
            let is_bare = !prose[..at].ends_with(['(', '"']) && !prose[..at].ends_with("]: ");
            if is_bare {
                let rest = &prose[at..];
                let end = rest.find(|c: char| c.is_whitespace() || "<>()|\"".contains(c)).unwrap_or(rest.len());
                add(at, rest[..end].trim_end_matches(['.', ',', ';', ':']));
            }
        }
    }
    found.sort_by_key(|link| link.line);
    found
}

fn lines_at(text: &str) -> impl Iterator<Item = (usize, &str)> {
    let mut at = 0;
    text.split_inclusive('\n').map(move |line| {
        let start = at;
        at += line.len();
        (start, line.trim_end())
    })
}

/// Where the bracket that is open before `text` closes.
fn bracket_end(text: &str) -> usize {
    let mut depth = 0_u32;
    let end = text.find(|c| {
        match c {
            '(' => depth += 1,
            ')' if depth == 0 => return true,
            ')' => depth -= 1,
            _ => {}
        }
        false
    });
    end.unwrap_or(text.len())
}

/// References `[text][name]` to a name that nothing defines.
fn undefined(markdown: &str) -> Vec<Link> {
    let prose = without_code(markdown);
    let defined = |name: &str| {
        let start = format!("[{}]: ", name.to_lowercase());
        prose.lines().any(|line| line.to_lowercase().starts_with(&start))
    };
    let references = prose.match_indices("][").filter_map(|(at, _)| {
        let name = prose[at + 2..].split(']').next().filter(|name| !name.is_empty() && !defined(name))?;
        Some(Link { line: prose[..at].matches('\n').count() + 1, target: name.to_owned() })
    });
    references.collect()
}

/// The anchors of a document: its headings by GitHub's rule, and what HTML names.
pub fn anchors(markdown: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut times: BTreeMap<String, u32> = BTreeMap::new();
    // Headings keep their code spans, so the fenced blocks alone are looked past.
    let prose = without_code(markdown);
    for (line, blanked) in markdown.lines().zip(prose.lines()) {
        let level = blanked.len() - blanked.trim_start_matches('#').len();
        if (1..=6).contains(&level) && blanked[level..].starts_with(' ') {
            let slug = slug(line[level..].trim().trim_end_matches('#').trim_end());
            let seen = times.entry(slug.clone()).or_insert(0);
            found.insert(if *seen == 0 { slug } else { format!("{slug}-{seen}") });
            *seen += 1;
        }
    }
    for attribute in [" id=\"", " name=\""] {
        let named = prose.split(attribute).skip(1).filter_map(|rest| rest.split('"').next());
        found.extend(named.map(str::to_owned));
    }
    found
}

/// A heading's anchor: lower case, without punctuation, `-` for each space.
fn slug(heading: &str) -> String {
    let kept = without_links(heading).to_lowercase();
    let kept = kept.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).collect()
}

/// A heading's text with links replaced by their text.
fn without_links(text: &str) -> String {
    let mut out = String::new();
    let mut rest = text;
    while let Some(at) = rest.find("](") {
        out.push_str(&rest[..at]);
        let inside = &rest[at + 2..];
        rest = inside.get(bracket_end(inside) + 1..).unwrap_or_default();
    }
    out + rest
}

/// Links that lead nowhere, as `file:line: fault`.
#[must_use]
pub fn faults(tree: &Tree) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in tree.ending(".md") {
        for Link { line, target } in links(text) {
            if let Some(fault) = fault(tree, path, &target) {
                found.push(format!("{path}:{line}: {target}: {fault}"));
            }
        }
        let undefined = undefined(text).into_iter();
        found.extend(undefined.map(|Link { line, target }| format!("{path}:{line}: [{target}] is not defined")));
    }
    found
}

fn fault(tree: &Tree, document: &str, target: &str) -> Option<String> {
    if let Some((scheme, rest)) = target.split_once(':').filter(|(scheme, _)| !scheme.contains(['/', '#', '.'])) {
        return external_fault(scheme, rest).map(str::to_owned);
    }
    let (path, anchor) = target.split_once('#').map_or((target, None), |(path, anchor)| (path, Some(anchor)));
    let Some(place) = resolved(document, path) else { return Some("leaves the repository".to_owned()) };
    let is_there = place.is_empty() || tree.places.contains(&place) || tree.texts.contains_key(&place);
    if !is_there {
        return Some(format!("there is no {place}"));
    }
    let anchor = anchor?;
    let text = tree.texts.get(&place).map(String::as_str);
    let is_known = if place.rsplit_once('.').is_some_and(|(_, extension)| extension == "md") {
        text.is_some_and(|text| anchors(text).contains(anchor))
    } else {
        text.is_some_and(|text| has_lines(text, anchor))
    };
    (!is_known).then(|| format!("{place} has no anchor #{anchor}"))
}

/// Whether `L10` or `L10-L20` are lines of a file.
fn has_lines(text: &str, anchor: &str) -> bool {
    let lines = text.lines().count();
    let is_line = |part: &str| {
        let number = part.strip_prefix('L').and_then(|number| number.parse::<usize>().ok());
        number.is_some_and(|number| (1..=lines).contains(&number))
    };
    anchor.split('-').all(is_line)
}

fn external_fault(scheme: &str, rest: &str) -> Option<&'static str> {
    match scheme {
        "http" | "https" => {
            let host = rest.strip_prefix("//").unwrap_or_default().split(['/', '?', '#']).next().unwrap_or_default();
            let is_host = host.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '[');
            let is_plain = !rest.contains(|c: char| c.is_whitespace() || "<>\"\\^`{|}".contains(c));
            (!(is_host && is_plain)).then_some("is no URL")
        }
        "mailto" => (!rest.contains('@')).then_some("is no address"),
        _ => Some("has an unknown scheme"),
    }
}

/// The path from the root that a link of `document` leads to; `None` outside of the repository.
fn resolved(document: &str, path: &str) -> Option<String> {
    if path.is_empty() {
        return Some(document.to_owned());
    }
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = document.split('/').collect();
    parts.pop();
    let path = path.replace("%20", " ");
    for part in path.trim_end_matches('/').split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            _ => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_links(markdown: &str, expected: &[&str]) {
        let found: Vec<String> =
            links(markdown).into_iter().map(|link| format!("{} {}", link.line, link.target)).collect();
        assert_eq!(found, expected, "{markdown}");
    }

    #[test]
    fn links_are_found_in_every_form() {
        check_links("a [b\nc](d.md#e \"title\") ![p](q(1).png)", &["2 d.md#e", "2 q(1).png"]);
        check_links("[x]: y.md 'z'\n<img alt=\"a\" src=\"b.svg\"> <a href=\"#c\">", &["1 y.md", "2 b.svg", "2 #c"]);
        check_links(
            "see https://a.example/b. And <http://c.example>, [t](https://d.example)",
            &["1 https://d.example", "1 http://c.example", "1 https://a.example/b"],
        );
    }

    #[test]
    fn code_has_no_links() {
        check_links("```\n[a](b)\n~~~\n```\n`[c](d)` ``e ` [f](g)`` [h](i)", &["5 i"]);
        check_links("a ` b [c](d)\n\ne ` f", &["1 d"]);
    }

    #[test]
    fn anchors_follow_github_s_rule() {
        let text = "# `zerottl site`: what's it?\n## A [b](c.md) – d_e\n## Twice\n## Twice\n```\n# code\n```\n<a id=\"own\"></a>\n#no";
        let expected = ["zerottl-site-whats-it", "a-b--d_e", "twice", "twice-1", "own"];
        assert_eq!(anchors(text), expected.map(str::to_owned).into());
    }

    fn check(target: &str, expected: Option<&str>) {
        let files = [("docs/a.md", "# One\n"), ("README.md", "# Two"), ("x/y.rs", "1\n2\n")];
        let texts = files.map(|(path, text)| (path.to_owned(), text.to_owned())).into();
        let tree = Tree { texts, places: ["docs", "x", "docs/p.svg"].map(str::to_owned).into() };
        assert_eq!(fault(&tree, "docs/a.md", target).as_deref(), expected, "{target}");
    }

    #[test]
    fn links_lead_somewhere() {
        for target in [
            "#one",
            "../README.md#two",
            "p.svg",
            "./p.svg",
            "../x/",
            "../x/y.rs#L2",
            "a.md",
            "..",
            "https://a.example/b?c#d",
        ] {
            check(target, None);
        }
        check("#two", Some("docs/a.md has no anchor #two"));
        check("../README.md#one", Some("README.md has no anchor #one"));
        check("README.md", Some("there is no docs/README.md"));
        check("../../x", Some("leaves the repository"));
        check("/x", Some("leaves the repository"));
        check("../x/y.rs#L3", Some("x/y.rs has no anchor #L3"));
        check("https:/a.example", Some("is no URL"));
        check("htps://a.example", Some("has an unknown scheme"));
    }

    #[test]
    fn references_are_defined() {
        let texts = [("a.md".to_owned(), "[b][c] [d][e]\n\n[E]: #f\n# f".to_owned())].into();
        assert_eq!(faults(&Tree { texts, ..Tree::default() }), ["a.md:1: [c] is not defined"]);
    }
}
