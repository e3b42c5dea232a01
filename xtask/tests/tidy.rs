//! The house rules that no compiler lint covers. Each is a pure function from a text to its faults, tested on a sample
//! that breaks it, then applied to the repository.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::{BTreeMap, BTreeSet},
    env, fs,
    path::{Path, PathBuf},
    sync::LazyLock,
};

use xtask::tree::split_tests;

const PACKAGES: [&str; 5] = ["xdp-ebpf", "userspace", "xtask", "tests", "benches"];
const LINES_MAX: usize = 600;
/// Longer files, with the reason each is one file.
const LONG_FILES: &[(&str, &str)] = &[];
/// Where `unsafe` is allowed: the rooms that face the kernel. Tests and benches enter namespaces and are free. An application
/// server's crate cannot use the kernel's, which builds BPF programs: it has one file for descriptors and a mapping.
const UNSAFE_ROOMS: [&str; 5] =
    ["xdp-ebpf/", "userspace/kernel/src", "userspace/server/src/raw.rs", "tests/", "benches/"];

/// The rows of the requirements that are in force.
const REQUIREMENTS: &str = "
    S4-2A S4-2B S4-2C S4-4A S4-4B S4-4C
    S4-3A-305 S4-3A-310 S4-3A-315 S4-3A-320 S4-3A-325 S4-3A-330 S4-3A-330R S4-3A-330N S4-3A-335
    S4-3A-ALLDOWN
    S4-3B-355 S4-3B-360 S4-3B-365 S4-3B-370 S4-3B-375 S4-3B-380 S4-3B-BACK S4-DNS-STATUS
    S4-A-SITE S4-A-POOL S4-A-GROUP S4-A-OVERLAP S4-A-ORDER S4-A-FONS S4-A-LBNS S4-A-NAMES
    S4-C1 S4-C2 S4-C3 S4-C4 S4-C5 S4-C6 S4-C7 S4-C8 S4-C9 S4-C10
    S4-5A-BIND S4-5A-REPEAT S4-5A-505 S4-5A-540 S4-5B-588 S4-5B-DEFER S4-4C-FLAG S4-B-FORM
    S4-5A-GATE S4-5A-510 S4-5A-515 S4-5A-520 S4-5A-522 S4-5A-525 S4-5A-530 S4-5A-535 S4-5A-545 S4-5A-NOGROUPS S4-5A-TERM
    S4-5B-550 S4-5B-555 S4-5B-560 S4-5B-565 S4-5B-567 S4-5B-570 S4-5B-575 S4-5B-580 S4-5B-585 S4-5B-590 S4-5B-595 S4-5B-BYPASS
    S4-B-1 S4-B-2 S4-B-3 S4-B-DIFF S4-C11 S4-C12 S4-C13 S4-C14 S4-C26 S4-C27 S4-C28 S4-C29 S4-C30 S4-C31
    S4-C32 S4-C33
    S4-C15 S4-C16 S4-C17 S4-C18 S4-C19 S4-C20 S4-C21 S4-C22 S4-C23 S4-C24 S4-C25
    S2-1A S2-1B S2-1C S2-2 S2-3A S2-3B S2-3C S2-3X S2-4 S2-5 S2-6 S2-7 S2-8 S2-9 S2-X-DSTATE
    S0-1 S0-2 S0-3 S0-4 S0-5 S0-6 S0-7 S0-8 S0-9 S0-10 S0-11 S0-12 S0-13 S0-14 S0-15 S0-16 S0-17 S0-18 S0-19 S0-22 S0-X-FENCE
    S1-1A S1-1B S1-2 S1-3 S1-4 S1-5 S1-7 S1-8 S1-9 S1-10 S1-11 S1-12 S1-13 S1-14 S1-16 S1-18 S1-20 S1-21
    S1-X-ACK S1-X-STALE S1-X-BOTH S1-X-CONC
    D-POS D-NODATA D-NX D-TRAP D-DO D-STATIC D-RESIGN D-CLOCK D-DEAD D-KEYS D-BUNDLE D-AMP
    F-FILE F-WORD F-OWN F-VOTE F-CUT F-AWAY F-LOAD F-SECRET F-PROBE F-HOOK F-DRIFT";

/// The checkout, where cargo says that it lies now.
fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> =
        LazyLock::new(|| Path::new(&env::var_os("CARGO_MANIFEST_DIR").unwrap()).parent().unwrap().to_owned());
    &ROOT
}

/// Every file below `dir` with one of these extensions, by its path from the root.
fn files(dir: &Path, extensions: &[&str]) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut open: Vec<PathBuf> = vec![dir.to_owned()];
    while let Some(dir) = open.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy();
            if path.is_dir() {
                if name != "target" && name != ".git" && !name.starts_with("mutants.out") {
                    open.push(path);
                }
            } else if path.extension().is_some_and(|own| extensions.iter().any(|extension| own == *extension)) {
                let short = path.strip_prefix(root()).unwrap().display().to_string();
                found.insert(short, fs::read_to_string(&path).unwrap());
            }
        }
    }
    found
}

fn sources() -> BTreeMap<String, String> {
    PACKAGES.iter().flat_map(|package| files(&root().join(package), &["rs"])).collect()
}

/// Fails with every fault that `rule` finds.
fn apply(texts: &BTreeMap<String, String>, rule: impl Fn(&str, &str) -> Vec<String>) {
    assert!(!texts.is_empty(), "no file was looked at");
    let faults: Vec<String> = texts.iter().flat_map(|(path, text)| rule(path, text)).collect();
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// The lines that hold one of `needles` outside comments.
fn lines_with(path: &str, text: &str, needles: &[&str], fault: &str) -> Vec<String> {
    let code = text.lines().enumerate().filter(|(_, line)| !line.trim_start().starts_with("//"));
    code.filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)))
        .map(|(number, line)| format!("{path}:{}: {fault}: {}", number + 1, line.trim()))
        .collect()
}

// The needles below are written in two pieces so that this file does not hold them.

fn unwraps(path: &str, text: &str) -> Vec<String> {
    let shipped = (path.starts_with("userspace/") && path.contains("/src/")) || path.starts_with("xdp-ebpf/src");
    let code = if shipped { split_tests(path, text).0 } else { "" };
    lines_with(path, code, &[concat!(".unwr", "ap()")], "unwrap outside tests")
}

fn bare_allows(path: &str, text: &str) -> Vec<String> {
    let needles = [concat!("#[all", "ow("), concat!("#![all", "ow(")];
    lines_with(path, text, &needles, "use expect with a reason")
}

fn ignored_tests(path: &str, text: &str) -> Vec<String> {
    lines_with(path, text, &[concat!("#[ign", "ore")], "a test that nothing runs")
}

/// A path that is compiled in is another checkout's once this one has been moved or copied.
fn places_at_compile_time(path: &str, text: &str) -> Vec<String> {
    let needle = concat!("env!(\"CARGO_MANIFEST", "_DIR\")");
    lines_with(path, text, &[needle], "ask at run time where the checkout is")
}

fn stubs(path: &str, text: &str) -> Vec<String> {
    let needles = [concat!("tod", "o!("), concat!("unimple", "mented!("), concat!("TO", "DO"), concat!("FIX", "ME")];
    let lines = text.lines().enumerate().filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
    lines.map(|(number, line)| format!("{path}:{}: unfinished: {}", number + 1, line.trim())).collect()
}

fn stray_unsafe(path: &str, text: &str) -> Vec<String> {
    if UNSAFE_ROOMS.iter().any(|room| path.starts_with(room)) {
        return Vec::new();
    }
    let needles = [concat!("uns", "afe {"), concat!("uns", "afe fn"), concat!("uns", "afe impl")];
    lines_with(path, text, &needles, "only the kernel-facing rooms may")
}

fn long_file(path: &str, text: &str) -> Vec<String> {
    let lines = text.lines().count();
    let excused = LONG_FILES.iter().any(|(long, reason)| *long == path && !reason.is_empty());
    if lines > LINES_MAX && !excused {
        return vec![format!("{path}: {lines} lines, over {LINES_MAX}, with no reason in LONG_FILES")];
    }
    Vec::new()
}

fn machine_paths(path: &str, text: &str) -> Vec<String> {
    let needles = [concat!("/ro", "ot/"), concat!("/wo", "rk/"), concat!("/tmp/", "wt"), concat!("/home", "/")];
    let lines = text.lines().enumerate().filter(|(_, line)| needles.iter().any(|needle| line.contains(needle)));
    lines.map(|(number, line)| format!("{path}:{}: a path of one machine: {}", number + 1, line.trim())).collect()
}

/// Bytes of an ID's beginning, the design that it is of: `S4-`.
const DESIGN_LEN: usize = "S4-".len();

/// Whether a text begins with the beginning of a requirement ID, whatever the design's number.
fn is_of_a_design(text: &str) -> bool {
    match text.as_bytes() {
        [b'S', digit, b'-', ..] => digit.is_ascii_digit(),
        // Beyond the seeds: signed answers and fleets, a word each.
        [b'D' | b'F', b'-', first, second, ..] => first.is_ascii_uppercase() && second.is_ascii_uppercase(),
        _ => false,
    }
}

/// The requirement IDs in a text: `S4-3A-305`, and `S4-3B-355/360` for two of them.
fn ids(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for (at, _) in text.match_indices(['S', 'D', 'F']) {
        let rest = &text[at..];
        if !is_of_a_design(rest) || text[..at].ends_with(|before: char| before.is_ascii_alphanumeric() || before == '-')
        {
            continue;
        }
        let length = rest.find(|c: char| !(c.is_ascii_uppercase() || c.is_ascii_digit() || c == '-'));
        let id = rest[..length.unwrap_or(rest.len())].trim_end_matches('-');
        found.insert(id.to_owned());
        let Some((stem, _)) = id.rsplit_once('-') else { continue };
        let mut rest = &rest[id.len()..];
        while let Some(next) = rest.strip_prefix('/') {
            let digits = next.find(|c: char| !c.is_ascii_digit()).unwrap_or(next.len());
            if digits == 0 {
                break;
            }
            found.insert(format!("{stem}-{}", &next[..digits]));
            rest = &next[digits..];
        }
    }
    // The prefix alone, or a range's stem, is no row.
    found.retain(|id| id.len() > DESIGN_LEN);
    found
}

/// A row of docs/requirements.md's tables `| ID | test | change that breaks it |` and `| invariant | test | … |`.
struct Row {
    names: String,
    ids: BTreeSet<String>,
    tests: Vec<String>,
    breaks: String,
}

fn rows(document: &str) -> Vec<Row> {
    let invariant =
        |line: &&str| line.strip_prefix("| ").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()));
    let of_a_design = |line: &&str| {
        let cell = line.strip_prefix("| `").or_else(|| line.strip_prefix("| "));
        cell.is_some_and(is_of_a_design)
    };
    let row = |line: &&str| of_a_design(line) || invariant(line);
    let lines = document.lines().filter(row);
    lines
        .map(|line| {
            let cells: Vec<&str> = line.trim().trim_matches('|').split(" | ").map(str::trim).collect();
            let cell = |index: usize| cells.get(index).copied().unwrap_or_default();
            // Every second piece between backticks is code; a test is named by path or by its function alone.
            let tests = cell(1).split('`').skip(1).step_by(2);
            let tests = tests.map(|test| test.rsplit("::").next().unwrap_or(test).to_owned()).collect();
            Row { names: cell(0).to_owned(), ids: ids(cell(0)), tests, breaks: cell(2).to_owned() }
        })
        .collect()
}

/// The disagreements between the table, the rows in force and the tests' own words.
fn requirement_faults(required: &str, document: &str, tests: &str) -> Vec<String> {
    let (rows, tagged, required) = (rows(document), ids(tests), ids(required));
    let listed: BTreeSet<String> = rows.iter().flat_map(|row| row.ids.clone()).collect();
    let mut faults = Vec::new();
    faults.extend(required.difference(&listed).map(|id| format!("{id}: not in docs/requirements.md")));
    faults.extend(listed.difference(&tagged).map(|id| format!("{id}: in the table, but no test carries it")));
    faults.extend(tagged.difference(&listed).map(|id| format!("{id}: a test carries it, but it is not in the table")));
    for row in rows {
        let names = row.names;
        if row.tests.is_empty() {
            faults.push(format!("{names}: the table names no test"));
        }
        if row.breaks.is_empty() {
            faults.push(format!("{names}: the table names no change that breaks it"));
        }
        let absent = row.tests.iter().filter(|test| !tests.contains(&format!("fn {test}(")));
        faults.extend(absent.map(|test| format!("{names}: there is no test `{test}`")));
    }
    faults
}

/// The command lines of `command` in a Markdown text: code spans and lines of code blocks that begin with it.
fn command_lines<'a>(markdown: &'a str, command: &str) -> Vec<&'a str> {
    let mut spans: Vec<&str> = Vec::new();
    let mut in_block = false;
    for line in markdown.lines() {
        if line.trim_start().starts_with("```") {
            in_block = !in_block;
        } else if in_block {
            spans.push(line.split(" #").next().unwrap_or(line));
        } else {
            spans.extend(line.split('`').skip(1).step_by(2));
        }
    }
    let call = |span: &'a str| {
        let span = span.trim().trim_start_matches("$ ").trim_start_matches("# ").trim_start_matches("sudo ");
        let span = span.strip_prefix("target/release/").or(span.strip_prefix("./target/release/")).unwrap_or(span);
        span.strip_prefix(command)?.strip_prefix(' ')
    };
    spans.into_iter().filter_map(call).collect()
}

/// The flags and subcommands that a document uses and the sources do not declare to clap.
fn unknown_words(markdown: &str, command: &str, sources: &str) -> Vec<String> {
    let mut faults = BTreeSet::new();
    for line in command_lines(markdown, command) {
        // What follows ` -- ` belongs to another program; it has its own turn if it is one of ours.
        let own = line.split(" -- ").next().unwrap_or(line);
        let words = own.split(|c: char| c.is_whitespace() || "[]|=\\,".contains(c)).filter(|word| !word.is_empty());
        for (index, word) in words.enumerate() {
            if let Some(flag) = word.strip_prefix("--").filter(|flag| !flag.is_empty()) {
                let field = format!("{}:", flag.replace('-', "_"));
                let declared = sources.contains(&field) || sources.contains(&format!("\"{flag}\""));
                if !declared && flag != "help" && flag != "version" {
                    faults.insert(format!("`{command}` has no flag --{flag}"));
                }
            } else if index == 0 && word.chars().all(|c| c.is_ascii_lowercase() || c == '-') {
                let variant: String = word.split('-').map(|part| part[..1].to_uppercase() + &part[1..]).collect();
                let ends = [",", " {", "(", " "];
                if !ends.iter().any(|end| sources.contains(&format!(" {variant}{end}"))) {
                    faults.insert(format!("`{command}` has no subcommand {word}"));
                }
            }
        }
    }
    faults.into_iter().collect()
}

/// Beginnings of paths in docs/rfc.md, and what each stands for.
const RFC_PLACES: [(&str, &str); 4] = [
    ("rows/", "xdp-ebpf/table/src/rows/"),
    ("dns/", "userspace/dns/src/"),
    ("agent/", "tests/tests/agent/"),
    ("kernel/", "tests/tests/kernel/"),
];

/// The lines of docs/rfc.md that name no test, or one that is not there. A test is a function of that file with a test's
/// attribute, or a part of the kernel table.
fn rfc_faults(document: &str, sources: &BTreeMap<String, String>) -> Vec<String> {
    let mut faults = Vec::new();
    for line in document.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| RFC ")) {
        let cells: Vec<&str> = line.trim_matches('|').split(" | ").map(str::trim).collect();
        let rfc = cells[0];
        let named: Vec<&str> = cells.get(4).into_iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
        if named.is_empty() {
            faults.push(format!("RFC {rfc}: no test"));
        }
        for name in named {
            let Some((path, function)) = name.split_once("::") else {
                faults.push(format!("RFC {rfc}: `{name}` is no file::function"));
                continue;
            };
            let place = RFC_PLACES.iter().find_map(|(short, long)| Some((*long, path.strip_prefix(short)?)));
            let path = place.map_or_else(|| path.to_owned(), |(long, rest)| format!("{long}{rest}"));
            let is_there = sources.get(&path).is_some_and(|text| {
                let at = text.find(&format!("fn {function}("));
                at.is_some_and(|at| path.starts_with(RFC_PLACES[0].1) || has_test_attribute(&text[..at]))
            });
            if !is_there {
                faults.push(format!("RFC {rfc}: there is no test `{path}::{function}`"));
            }
        }
    }
    faults
}

/// Whether the text ends right behind a test's attribute and what else may stand between it and `fn`.
fn has_test_attribute(before: &str) -> bool {
    let lines = before.lines().rev().skip(usize::from(!before.ends_with('\n')));
    let mut attributes = lines.map(str::trim).take_while(|line| line.starts_with('#') || line.starts_with("//"));
    attributes.any(|line| line == "#[test]" || line.starts_with("#[tokio::test"))
}

fn joined(texts: &BTreeMap<String, String>, prefix: &str) -> String {
    texts.iter().filter(|(path, _)| path.starts_with(prefix)).map(|(_, text)| text.as_str()).collect()
}

fn document(name: &str) -> String {
    fs::read_to_string(root().join(name)).unwrap_or_else(|_| panic!("{name} is missing, and with it what it must list"))
}

#[test]
fn no_unwrap_in_shipped_code() {
    apply(&sources(), unwraps);
}

#[test]
fn no_bare_allow() {
    apply(&sources(), bare_allows);
}

#[test]
fn no_test_is_ignored() {
    apply(&sources(), ignored_tests);
}

#[test]
fn no_place_at_compile_time() {
    apply(&sources(), places_at_compile_time);
}

#[test]
fn nothing_is_a_stub() {
    apply(&sources(), stubs);
}

#[test]
fn unsafe_only_faces_the_kernel() {
    apply(&sources(), stray_unsafe);
}

#[test]
fn files_are_short() {
    apply(&sources(), long_file);
    for (path, _) in LONG_FILES {
        let lines = fs::read_to_string(root().join(path)).map_or(0, |text| text.lines().count());
        assert!(lines > LINES_MAX, "{path} has {lines} lines: its entry in LONG_FILES is no longer needed");
    }
}

#[test]
fn no_path_of_one_machine() {
    apply(&files(root(), &["rs", "toml", "md", "sh", "zone", "service"]), machine_paths);
}

#[test]
fn every_requirement_has_its_test() {
    let tests: String = sources()
        .iter()
        .filter(|(path, _)| *path != "xtask/tests/tidy.rs")
        .map(|(path, text)| split_tests(path, text).1.to_owned())
        .collect();
    let faults = requirement_faults(REQUIREMENTS, &document("docs/requirements.md"), &tests);
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

#[test]
fn documents_name_real_commands() {
    let sources = sources();
    let mut texts = files(&root().join("docs"), &["md"]);
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md"] {
        texts.insert(name.to_owned(), document(name));
    }
    let mut faults = Vec::new();
    for (path, text) in &texts {
        for (command, prefix) in [("zerottl", "userspace/zerottl/src"), ("cargo xtask", "xtask/src")] {
            let unknown = unknown_words(text, command, &joined(&sources, prefix));
            faults.extend(unknown.into_iter().map(|fault| format!("{path}: {fault}")));
        }
    }
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// docs/rfc.md claims nothing that no test proves.
#[test]
fn every_rfc_has_its_tests() {
    let faults = rfc_faults(&document("docs/rfc.md"), &sources());
    assert!(faults.is_empty(), "\n{}\n", faults.join("\n"));
}

/// Each rule finds the fault in a sample that has it, and none in one that has not.
mod the_rules_themselves {
    use super::*;

    #[test]
    fn faults_of_code_are_found() {
        let source = "userspace/core/src/a.rs";
        let code = concat!("let a = b.unwr", "ap();\n");
        assert_eq!(unwraps(source, code).len(), 1);
        assert_eq!(unwraps("tests/tests/a.rs", code), Vec::<String>::new());
        assert_eq!(unwraps(source, &format!("#[cfg(test)]\nmod tests {{\n{code}}}")), Vec::<String>::new());
        assert_eq!(bare_allows(source, concat!("#[all", "ow(dead_code)]")).len(), 1);
        assert_eq!(bare_allows(source, "#[expect(dead_code, reason = \"r\")]"), Vec::<String>::new());
        let place = concat!("    Path::new(env!(\"CARGO_MANIFEST", "_DIR\"))");
        assert_eq!(places_at_compile_time(source, place).len(), 1);
        assert_eq!(ignored_tests(source, concat!("    #[ign", "ore = \"slow\"]")).len(), 1);
        assert_eq!(stubs(source, concat!("tod", "o!()\n// FIX", "ME later")).len(), 2);
        assert_eq!(stray_unsafe(source, concat!("uns", "afe { x }")).len(), 1);
        assert_eq!(stray_unsafe("userspace/kernel/src/maps.rs", concat!("uns", "afe { x }")), Vec::<String>::new());
        assert_eq!(long_file(source, &"x\n".repeat(LINES_MAX)), Vec::<String>::new());
        assert_eq!(long_file(source, &"x\n".repeat(LINES_MAX + 1)).len(), 1);
        assert_eq!(machine_paths("README.md", concat!("see /ro", "ot/x\nfine")).len(), 1);
    }

    #[test]
    fn ids_are_whole() {
        let found = ids(
            "/// S4-C1, S4-C10; S4-3B-355/360, S4-A-SITE and S2-1A; D-NX, F-WORD. S4-, XS4-C2, D-7, A-F-XY and F- are none",
        );
        assert_eq!(
            found.into_iter().collect::<Vec<_>>(),
            ["D-NX", "F-WORD", "S2-1A", "S4-3B-355", "S4-3B-360", "S4-A-SITE", "S4-C1", "S4-C10"]
        );
    }

    fn check_rows(document: &str, tests: &str, expected: &[&str]) {
        assert_eq!(requirement_faults("S4-2A S4-2B", document, tests), expected);
    }

    #[test]
    fn the_table_and_the_tests_agree_or_say_where_not() {
        let table = "| ID | test | change |\n|---|---|---|\n| S4-2A | `e2e::pool` | c |\n| S4-2B | `site` | c |\n";
        let tests = "/// S4-2A\nfn pool() {}\n/// S4-2B\nfn site() {}";
        check_rows(table, tests, &[]);
        check_rows("", "", &["S4-2A: not in docs/requirements.md", "S4-2B: not in docs/requirements.md"]);
        let untagged = "/// S4-2A\nfn pool() {}\nfn site() {}";
        check_rows(table, untagged, &["S4-2B: in the table, but no test carries it"]);
        let more = format!("{tests}\n/// S4-4A");
        check_rows(table, &more, &["S4-4A: a test carries it, but it is not in the table"]);
        let of_another_design = format!("{table}| S1-7 | `site` | c |\n");
        check_rows(&of_another_design, tests, &["S1-7: in the table, but no test carries it"]);
        let renamed = tests.replace("fn site", "fn sites");
        check_rows(table, &renamed, &["S4-2B: there is no test `site`"]);
        let bare = table.replace("| `site` | c |", "|  |  |");
        let faults = ["S4-2B: the table names no test", "S4-2B: the table names no change that breaks it"];
        check_rows(&bare, tests, &faults);
        let invariant = format!("{table}\n| invariant | test | change |\n|---|---|---|\n| 8 | `gone` | c |\n");
        check_rows(&invariant, tests, &["8: there is no test `gone`"]);
    }

    #[test]
    fn documents_are_held_to_the_command_line() {
        let sources =
            "enum Command { Run { config: PathBuf }, Status { #[arg(long = \"json\")] as_json: bool }, Drain(Site) }";
        let check =
            |markdown: &str, expected: &[&str]| assert_eq!(unknown_words(markdown, "zerottl", sources), expected);
        check("`zerottl run --config F`, and zerottl is `zerottl status [--json]`", &[]);
        check("```sh\nsudo target/release/zerottl drain boston # --not-a-flag\n```", &[]);
        check("`zerottl run --conf F`", &["`zerottl` has no flag --conf"]);
        check("```\nzerottl stop\n```", &["`zerottl` has no subcommand stop"]);
    }

    #[test]
    fn rfcs_are_held_to_their_tests() {
        let sources = BTreeMap::from([
            ("userspace/dns/src/a.rs".to_owned(), "#[test]\nfn any() {}\n\nfn help() {}\n".to_owned()),
            ("xdp-ebpf/table/src/rows/b.rs".to_owned(), "fn rows() -> Vec<Row> {}".to_owned()),
            ("tests/tests/agent/c.rs".to_owned(), "#[tokio::test]\nasync fn far() {}\n".to_owned()),
        ]);
        let check = |tests: &str, expected: &[&str]| {
            let line = format!("| RFC | subject | kernel | sockets | tests |\n|---|\n| 1 | s | no | yes | {tests} |\n");
            assert_eq!(rfc_faults(&line, &sources), expected);
        };
        check("`dns/a.rs::any`, `rows/b.rs::rows`, `agent/c.rs::far`, `userspace/dns/src/a.rs::any`", &[]);
        check("", &["RFC 1: no test"]);
        check("`any`", &["RFC 1: `any` is no file::function"]);
        check("`dns/a.rs::help`", &["RFC 1: there is no test `userspace/dns/src/a.rs::help`"]);
        check("`rows/b.rs::any`", &["RFC 1: there is no test `xdp-ebpf/table/src/rows/b.rs::any`"]);
        check("`agent/d.rs::far`", &["RFC 1: there is no test `tests/tests/agent/d.rs::far`"]);
    }
}
