//! The table of the chapter: a row for each scenario, of which a run replaces its own.

use std::{collections::BTreeMap, fmt::Write as _, io, time::Duration};

use super::scenario::{ChaosOutcome, Length, Scenario};

/// Lines of the chapter between which the table stands.
const MARKERS: [&str; 2] = ["<!-- chaos: the table begins -->", "<!-- chaos: the table ends -->"];
const HEAD: &str = "| scenario | what must hold | what was seen | took |\n|---|---|---|---|\n";

/// One scenario that was run.
#[derive(Debug)]
pub struct ChaosRow<'a> {
    /// The scenario.
    pub scenario: &'a Scenario,
    /// How it ended.
    pub outcome: ChaosOutcome,
    /// How long it took.
    pub took: Duration,
}

impl ChaosRow<'_> {
    /// Writes it as a row of the chapter's table.
    #[must_use]
    pub fn markdown(&self) -> String {
        let Self { scenario: Scenario { name, promise, .. }, outcome: ChaosOutcome { figure, held }, took } = self;
        let figure = figure.lines().next().unwrap_or_default().replace('|', "\\|");
        let verdict = if *held { "" } else { "**did not hold**: " };
        format!("| `{name}` | {promise} | {verdict}{figure} | {} |", time(*took))
    }
}

/// Writes a time as people say it.
#[must_use]
pub fn time(took: Duration) -> String {
    match took.as_secs() {
        0..120 => format!("{:.1} s", took.as_secs_f64()),
        seconds => format!("{} min", (seconds + 30) / 60),
    }
}

/// Writes what a run found, for programs.
#[must_use]
pub fn json(rows: &[ChaosRow<'_>], length: Length) -> String {
    let row = |row: &ChaosRow<'_>| {
        serde_json::json!({
            "name": row.scenario.name,
            "promise": row.scenario.promise,
            "figure": row.outcome.figure,
            "held": row.outcome.held,
            "seconds": row.took.as_secs_f64(),
        })
    };
    let rows: Vec<_> = rows.iter().map(row).collect();
    format!("{:#}\n", serde_json::json!({ "form": length.of("short", "long"), "scenarios": rows }))
}

/// Puts rows into a chapter's table, in the place of those of the same scenarios; the others stay, in the order of `names`. Rows
/// of scenarios that are no more go.
///
/// # Errors
/// If the chapter has no markers.
pub fn put_into(chapter: &str, rows: &[ChaosRow<'_>], names: &[&str]) -> io::Result<String> {
    let [begin, end] = MARKERS;
    let missing = || io::Error::other(format!("the chapter has no lines {begin} and {end}"));
    let (before, rest) = chapter.split_once(begin).ok_or_else(missing)?;
    let (table, after) = rest.split_once(end).ok_or_else(missing)?;
    let name = |row: &str| Some(row.strip_prefix("| `")?.split_once('`')?.0.to_owned());
    let mut all: BTreeMap<String, String> =
        table.lines().filter_map(|row| Some((name(row)?, row.to_owned()))).collect();
    all.extend(rows.iter().map(|row| (row.scenario.name.to_owned(), row.markdown())));
    let mut text = format!("{before}{begin}\n{HEAD}");
    for row in names.iter().filter_map(|name| all.get(*name)) {
        let _ = writeln!(text, "{row}");
    }
    Ok(text + end + after)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scenario(name: &'static str) -> Scenario {
        Scenario { name, promise: "it holds", alone: false, run: |_| ChaosOutcome::held("") }
    }

    #[test]
    fn a_run_replaces_its_own_rows() {
        let [two, three] = [scenario("two"), scenario("three")];
        let row = |scenario, outcome, seconds| ChaosRow { scenario, outcome, took: Duration::from_secs(seconds) };
        let chapter = format!("# Chaos\n\n{}\nold\n{}\n\nEnd.\n", MARKERS[0], MARKERS[1]);
        let names = ["one", "two", "three"];
        let first = [row(&three, ChaosOutcome::held("a | b"), 600), row(&two, ChaosOutcome::broken("7 lost"), 3)];
        let once = put_into(&chapter, &first, &names).expect("markers");
        let again = put_into(&once, &[row(&two, ChaosOutcome::held("0 lost"), 2)], &names).expect("markers");
        let expected = format!(
            "# Chaos\n\n{}\n{HEAD}| `two` | it holds | 0 lost | 2.0 s |\n| `three` | it holds | a \\| b | 10 min |\n{}\n\nEnd.\n",
            MARKERS[0], MARKERS[1]
        );
        assert!(once.contains("| `two` | it holds | **did not hold**: 7 lost | 3.0 s |"), "{once}");
        assert_eq!(again, expected);
        assert!(put_into("no markers", &[], &names).is_err());
    }
}
