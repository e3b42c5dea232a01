//! How problems are shown, and that no text at all makes the reader or the renderer panic.

use proptest::prelude::*;

use super::*;

const TWO_FAULTS: &str = r#"[site.boston]
wieght = 2
name = "boston.app.com"
"#;

fn refused(text: &str) -> ConfigError {
    parse("zerottl.toml", text, &examples()).expect_err("refused")
}

#[test]
fn shown_with_the_lines_of_the_file() {
    let error = refused(&changed("name = \"boston.app.com\"", "name = \"Geneva.App.com\""));
    let expected = r#"  × zerottl.toml: 1 error

Error: 
  × [site.geneva]: geneva.app.com is the name of [site.boston] already
    ╭─[zerottl.toml:28:8]
 21 │ [site.boston]
 22 │ name = "Geneva.App.com"
    ·        ────────┬───────
    ·                ╰── first here
 23 │ addresses = ["192.0.2.10"]
 24 │ probe = { kind = "http" }
 25 │ weight = 2
 26 │ 
 27 │ [site.geneva]
 28 │ name = "geneva.app.com"
    ·        ────────┬───────
    ·                ╰── again
 29 │ addresses = ["198.51.100.10"]
    ╰────
  help: give each Pool, Group and Site a name of its own
"#;
    assert_eq!(error.render(false), expected);
    assert!(error.render(true).contains("\u{1b}["), "colours are there when asked for");
}

/// The default handler of a `fn main() -> miette::Result<()>`, without a terminal.
#[test]
fn shown_by_miettes_own_handler() {
    let report = miette::Report::new(refused(TWO_FAULTS));
    let shown = format!("{report:?}");
    assert!(shown.contains("unknown key `wieght`") && shown.contains("did you mean `weight`?"), "{shown}");
    assert!(!shown.contains('\u{1b}'), "no colours without a terminal: {shown:?}");
}

/// Everything wrong is said at once, in the file's order.
#[test]
fn all_faults_in_one_pass() {
    let text = changed("[\"203.0.113.53\"]", "[\"0.0.0.0\"]").replace("weight = 2", "weight = 0\nfoo = 1");
    let text = text.replace("\"geneva\", \"boston\"]\nttl = 0", "\"geneva\", \"boston\"]\nttl = 100000");
    let places: Vec<_> = refused(&text).problems().iter().filter_map(Problem::place).collect();
    assert_eq!(places, [(3, 14), (15, 7), (25, 10), (26, 1)]);
}

#[test]
fn a_view_for_programs() {
    let error = refused(&changed("weight = 2", "wieght = 2"));
    assert_eq!(error.to_string(), "zerottl.toml: 1 error");
    let expected = serde_json::json!([{
        "severity": "error",
        "file": "zerottl.toml",
        "line": 25,
        "column": 1,
        "message": "[site.boston]: unknown key `wieght`",
        "help": "did you mean `weight`?",
    }]);
    assert_eq!(error.to_json(), expected);
}

/// Columns count characters, not bytes.
#[test]
fn columns_count_characters() {
    let text = changed("weight = 2", "probe.host = \"ü\"\nweight = 2");
    assert!(refused(&text).plain().contains("not TOML"), "an inline table takes no more keys");
    let text = changed("kind = \"http\"", "expect_body = \"öö\", kind = \"icmp\"");
    assert_eq!(refused(&text).problems()[0].place(), Some((24, 38)));
}

#[test]
fn a_file_that_cannot_be_read() {
    let error = load(Path::new("no/such/zerottl.toml")).expect_err("refused");
    let expected = "no/such/zerottl.toml: error: cannot read the configuration: No such file or directory (os error 2) \
                    (give the path of a readable TOML file)";
    assert_eq!(error.plain(), expected);
    assert!(error.render(false).contains("cannot read the configuration"));
    assert!(error.to_json()[0]["line"].is_null());
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("latin1.toml");
    fs::write(&path, b"[front]\n# \xe9\n").expect("written");
    assert!(load(&path).expect_err("refused").plain().contains("it is not UTF-8 at byte 10"));
}

/// A file with very many faults is refused in bounded words.
#[test]
fn very_many_faults_are_cut_short() {
    let sites: Vec<_> = (0..5_000).map(|i| format!("\"nosuch{i}\"")).collect();
    let error = refused(&changed("sites = [\"geneva\", \"boston\"]", &format!("sites = [{}]", sites.join(", "))));
    assert_eq!(error.problems().len(), 5_000);
    assert_eq!(error.plain().lines().count(), 51);
    assert!(error.plain().ends_with("… and 4950 more"));
    assert!(error.render(false).contains("… and 4950 more"));
}

/// A list that a generator wrote as one line: the piece around the fault is shown. The renderer's formatting widths end at
/// 65,535 columns, and a tab counts for several.
#[test]
fn a_fault_far_to_the_right_is_shown_by_the_piece_around_it() {
    let list = |before: &str| changed("sites = [\"geneva\", \"boston\"]", &format!("sites = [{before}\"nosuch\"]"));
    let good = "\"geneva\", ";
    for (what, before) in [
        ("just beyond a width", good.repeat(65_536 / good.len() + 1)),
        ("far beyond it", good.repeat(100_000)),
        ("tabs", "\t".repeat(20_000)),
        ("letters of several bytes, in names nobody has", "\"öööööööö\", ".repeat(10_000)),
        ("lines of their own, and the fault beside a long one", format!("{}\n", good.repeat(10_000))),
        ("carriage returns", format!("{}\r\n{}", good.repeat(10_000), " ".repeat(70_000))),
    ] {
        let error = refused(&list(&before));
        let shown = error.render(false);
        assert!(shown.lines().all(|line| line.chars().count() <= 200), "{what}: long lines");
        assert!(error.problems().iter().any(|problem| problem.message().contains("nosuch")), "{what}");
        let fault = error.problems().iter().find(|problem| problem.message().contains("nosuch")).expect("seen above");
        let (line, column) = fault.place().expect("a place");
        let shown = fault.render(false);
        assert!(shown.contains(&format!("[zerottl.toml:{line}:{column}]")), "{what}: {shown}");
        assert!(shown.contains("\"nosuch\"]") && shown.contains("here"), "{what}: {shown}");
    }
}

/// Not only lists: whatever is reported, as an error or a warning, in whatever form.
#[test]
fn every_fault_can_be_shown_anywhere() {
    let pad = " ".repeat(70_000);
    for text in [
        "weight =PAD0",
        "PADwieght = 2",
        "weight = 2PAD2",
        "probe = { PAD kind = \"icmp\" }",
        "addresses = [PAD\"::1\", PAD\"::1\"]",
    ] {
        let text = changed("weight = 2", &text.replace("PAD", &pad));
        let error = refused(&text);
        assert!(!error.render(false).is_empty() && !error.plain().is_empty());
        assert!(error.render(true).len() < 20_000 && format!("{:?}", miette::Report::new(error)).len() < 20_000);
    }
    let (key, value) = ("k".repeat(100_000), "v".repeat(100_000));
    let error = refused(&changed("weight = 2", &format!("{key} = 2\nname = \"{value}\"")));
    assert!(error.plain().len() < 10_000 && error.render(false).len() < 20_000, "{}", error.plain().len());
}

/// Nor does a file with an oddity at each of very many Sites take minutes, or fill the log.
#[test]
fn very_many_warnings_are_cut_short() {
    let keys = (0..5_000).map(|i| format!("\"s{i}\"")).collect::<Vec<_>>().join(", ");
    let site = |i: u32| {
        let address = std::net::Ipv4Addr::from_bits(0x0a00_0001 + i);
        format!("[site.s{i}]\nname = \"s{i}.app.com\"\naddresses = [\"{address}\"]\n")
    };
    let sites: String = (0..5_000).map(site).collect();
    let text = changed("sites = [\"geneva\", \"boston\"]", &format!("sites = [\"geneva\", \"boston\", {keys}]"));
    let warnings = parse("zerottl.toml", &format!("{text}{sites}"), &examples()).expect("valid").warnings;
    assert_eq!(warnings.len(), 51);
    let last = warnings[50].message();
    // 5,000 of these Sites, and what is odd about the others.
    assert!(last.starts_with("and 495") && last.ends_with(" more warnings, which show once there are fewer"), "{last}");
    assert!(warnings.iter().all(|warning| !warning.render(false).is_empty() && !warning.line().is_empty()));
}

fn example_texts() -> Vec<String> {
    let mut texts: Vec<_> = ["appendix-a.toml", "reference.toml", "balance-only.toml", "director.toml"]
        .iter()
        .map(|name| fs::read_to_string(examples().join(name)).expect("readable"))
        .collect();
    texts.push(BASE.to_owned());
    texts
}

/// Generates pieces that hit boundaries: TOML's own marks, numbers at the edges, names too long, letters of several
/// bytes.
fn piece() -> impl Strategy<Value = String> {
    prop_oneof![
        prop::sample::select(vec![
            "",
            "\"",
            "'",
            "[",
            "]",
            "[[",
            "{",
            "}",
            "=",
            ",",
            ".",
            "..",
            "\n",
            "\r",
            "#",
            "\\",
            "\\u0000",
            "\"\"\"",
            "ü",
            "\u{feff}",
            "0",
            "-1",
            "9223372036854775807",
            "18446744073709551616",
            "nan",
            "inf",
            "1e999",
            "1979-05-27",
            "true",
            "[]",
            "{}",
            "\"\"",
            "\".\"",
            "\"@\"",
            "\"::\"",
            "\"\\\\\"",
            "\"\\\\9\"",
            "\"\\\\999.app.com\"",
            "\"*.app.com\"",
            "\"99999999999999999999s\"",
            "[[[[[[[[",
            "\"app.com\"",
            "\"com\"",
            "geneva",
        ])
        .prop_map(str::to_owned),
        (1_usize..300).prop_map(|n| "a".repeat(n)),
        (1_usize..200).prop_map(|n| "a.".repeat(n)),
        // Beyond the widths of formatting.
        (1_usize..3).prop_map(|n| " ".repeat(40_000 * n)),
        ".{0,12}",
    ]
}

fn mutated() -> impl Strategy<Value = String> {
    let cuts = prop::collection::vec((any::<prop::sample::Index>(), 0_usize..40, piece()), 1..6);
    (prop::sample::select(example_texts()), cuts).prop_map(|(mut text, cuts)| {
        for (at, length, piece) in cuts {
            let start = text.floor_char_boundary(at.index(text.len() + 1));
            let end = text.floor_char_boundary((start + length).min(text.len())).max(start);
            text.replace_range(start..end, &piece);
        }
        text
    })
}

/// Values replaced whole, so that the text is still TOML and the checks behind the parser are met.
fn revalued() -> impl Strategy<Value = String> {
    let swaps = prop::collection::vec((any::<prop::sample::Index>(), piece()), 1..6);
    (prop::sample::select(example_texts()), swaps).prop_map(|(text, swaps)| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        for (at, piece) in swaps {
            let line = at.get(&lines).clone();
            let place = at.index(lines.len());
            if let Some((key, _)) = line.split_once('=').filter(|(key, _)| !key.contains('#')) {
                lines[place] = format!("{key}= {piece}");
            }
        }
        lines.join("\n")
    })
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in prop_oneof![mutated(), revalued(), ".{0,200}"]) {
        match parse("f", &text, &examples()) {
            Ok(loaded) => {
                for warning in &loaded.warnings {
                    prop_assert!(!warning.render(false).is_empty());
                }
            }
            Err(error) => {
                prop_assert!(!error.problems().is_empty());
                prop_assert!(!error.render(false).is_empty());
                prop_assert!(error.problems().iter().all(|p| p.place().is_some_and(|(line, column)| line >= 1 && column >= 1)));
            }
        }
    }
}
