//! Plain text for terminals.

use std::fmt::Write;

/// Columns as wide as their widest cell, two spaces between them, no trailing spaces.
#[must_use]
pub fn table(header: &[&str], rows: &[Vec<String>]) -> String {
    let header: Vec<String> = header.iter().map(ToString::to_string).collect();
    let rows: Vec<Vec<String>> =
        std::iter::once(&header).chain(rows).map(|row| row.iter().map(|cell| printable(cell)).collect()).collect();
    let width = |column: usize| rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count()).max();
    let widths: Vec<usize> = (0..header.len()).map(|column| width(column).unwrap_or(0)).collect();
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(&widths) {
            let _ = write!(line, "{cell:width$}  ");
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// Formats a table no wider than a terminal of `columns`: the widest columns are cut as far as need be, and end in `…`.
#[must_use]
pub fn fitted(header: &[&str], rows: &[Vec<String>], columns: Option<usize>) -> String {
    /// Width that a column keeps.
    const LEAST: usize = 6;
    let Some(columns) = columns else { return table(header, rows) };
    let cells = |column: usize| rows.iter().filter_map(move |row| row.get(column)).map(|cell| cell.chars().count());
    let mut widths: Vec<usize> = header
        .iter()
        .enumerate()
        .map(|(column, head)| cells(column).chain([head.chars().count()]).max().unwrap_or(0))
        .collect();
    let mut surplus = (widths.iter().sum::<usize>() + 2 * widths.len().saturating_sub(1)).saturating_sub(columns);
    while surplus > 0 {
        let Some(widest) = widths.iter_mut().max().filter(|width| **width > LEAST) else { break };
        *widest -= 1;
        surplus -= 1;
    }
    let cut = |(cell, width): (&String, &usize)| {
        if cell.chars().count() <= *width {
            return cell.clone();
        }
        let kept: String = cell.chars().take(width.saturating_sub(1)).collect();
        format!("{}…", kept.trim_end())
    };
    let rows: Vec<Vec<String>> = rows.iter().map(|row| row.iter().zip(&widths).map(cut).collect()).collect();
    let text = table(header, &rows);
    if surplus == 0 {
        return text;
    }
    // A terminal too narrow for even that.
    text.lines().map(|line| line.chars().take(columns).chain(['\n']).collect::<String>()).collect()
}

/// Lines broken between words so that none is wider than a terminal of `columns`; what goes on is indented.
#[must_use]
pub fn wrapped(text: &str, columns: Option<usize>) -> String {
    let Some(columns) = columns else { return text.to_owned() };
    let options = textwrap::Options::new(columns.max(20)).subsequent_indent("  ");
    text.lines().flat_map(|line| textwrap::wrap(line, &options)).flat_map(|line| [line, "\n".into()]).collect()
}

/// The text without what could move a terminal's cursor.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

/// An age in its largest unit: `7s`, `12m`, `3h`, `5d`.
#[expect(clippy::cast_sign_loss, reason = "clamped to 0 and above")]
#[must_use]
pub fn age(seconds: f64) -> String {
    let seconds = seconds.max(0.0) as u64;
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3600 => format!("{}m", seconds / 60),
        3600..86_400 => format!("{}h", seconds / 3600),
        _ => format!("{}d", seconds / 86_400),
    }
}

/// Formats what is left of a time, rounded up to its second largest unit: `7s`, `12m`, `2h`, `1h30m`, `5d`.
#[expect(clippy::cast_sign_loss, reason = "clamped to 0 and above")]
#[must_use]
pub fn left(seconds: f64) -> String {
    let two = |whole: u64, unit: &str, part: u64, of: &str| match part {
        0 => format!("{whole}{unit}"),
        part => format!("{whole}{unit}{part}{of}"),
    };
    let seconds = seconds.max(0.0).ceil() as u64;
    match (seconds, seconds.div_ceil(60), seconds.div_ceil(3600)) {
        (0..60, ..) => format!("{seconds}s"),
        (_, minutes @ 0..60, _) => format!("{minutes}m"),
        (_, minutes @ 60..1440, _) => two(minutes / 60, "h", minutes % 60, "m"),
        (.., hours) => two(hours / 24, "d", hours % 24, "h"),
    }
}

/// A fraction in percent with one decimal: `33.3%`.
#[must_use]
pub fn percent(fraction: f64) -> String {
    format!("{:.1}%", fraction * 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn table_is_aligned_and_harmless() {
        let rows = [vec!["a\x1b[2J".into(), "1".into(), String::new()], vec!["boston".into(), "é".into(), "x".into()]];
        assert_eq!(table(&["SITE", "UP", "NOTE"], &rows), "SITE    UP  NOTE\na\u{fffd}[2J   1\nboston  é   x\n");
    }

    /// Whatever the terminal, no line is wider, and what is cut says so.
    #[test]
    fn nothing_is_wider_than_the_terminal() {
        let row = |name: &str| vec![name.into(), "up".into(), "connect: connection refused by somebody".into()];
        let rows = [row("boston"), row(&"a-rather-long-name.".repeat(20))];
        let header = ["SITE", "UP", "ERROR"];
        for columns in [10, 20, 40, 80, 120] {
            let text = fitted(&header, &rows, Some(columns));
            assert!(text.lines().all(|line| line.chars().count() <= columns), "{columns}:\n{text}");
            let words = wrapped(
                "ALARM: pool app.com has 3 Sites that may be answered, below its minimum of 4\nshort\n",
                Some(columns),
            );
            assert!(words.lines().all(|line| line.chars().count() <= columns.max(20)), "{columns}:\n{words}");
        }
        let text = fitted(&header, &rows, Some(60));
        assert!(text.starts_with("SITE ") && text.contains("boston  ") && text.contains('…'), "{text}");
        assert_eq!(fitted(&header, &rows[..1], Some(60)), table(&header, &rows[..1]), "what fits is not cut");
        assert_eq!(fitted(&header, &rows, None), table(&header, &rows));
        assert_eq!(wrapped("one two three four five six", Some(20)), "one two three four\n  five six\n");
    }

    #[test]
    fn ages_and_shares_are_short() {
        let ages = [0.9, 59.9, 60.0, 3599.0, 3600.0, 86_399.0, 86_400.0, -1.0].map(age);
        assert_eq!(ages, ["0s", "59s", "1m", "59m", "1h", "23h", "1d", "0s"]);
        // An order for two hours has two hours left, not one.
        let lefts =
            [0.0, 0.2, 7.0, 59.1, 60.0, 61.0, 3599.0, 7199.98, 7200.0, 5400.0, 5401.0, 86_399.5, 90_000.0].map(left);
        let expect = ["0s", "1s", "7s", "1m", "1m", "2m", "1h", "2h", "2h", "1h30m", "1h31m", "1d", "1d1h"];
        assert_eq!(lefts, expect);
        assert_eq!([1.0, 1.0 / 3.0, 0.0].map(percent), ["100.0%", "33.3%", "0.0%"]);
    }
}
