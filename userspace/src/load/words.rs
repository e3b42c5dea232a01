//! The grammar of `HAProxy`'s agent check: what a Site says of itself in words.
//!
//! One line of words, separated by spaces, tabs or commas; `#` begins a comment. Words combine, and what a word does not
//! speak of stays as it was.
//!
//! | word | means |
//! |---|---|
//! | `75%`, `75` | this part of its weight, 0 to 1000; 0 is no new clients |
//! | `ready`, `up` | as probes and load say |
//! | `drain` | no new clients |
//! | `maint`, `down`, `fail`, `stopped` | as if it were down |
//! | `maxconn:100` | how many connections it takes; shown |
//!
//! Two things differ from `HAProxy`: a bare number counts as a percentage, since a Site that says `0` wants no clients;
//! and an unknown word makes the whole line an error, so that a slip is seen.

use super::report::{BadReport, Report, bad, quoted};
use crate::status::Word;

/// Bytes of a line, at most.
pub const LINE_MAX: usize = 1024;
/// The most of its weight that a Site may ask for, percent.
const PERCENT_MAX: u32 = 1000;

/// Reads one line; what follows it is not looked at.
pub fn line(bytes: &[u8]) -> Result<Report, BadReport> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0)).unwrap_or(bytes.len());
    if end > LINE_MAX {
        return bad(format!("an agent-check line of more than {LINE_MAX} bytes"));
    }
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return bad("an agent-check line that is not UTF-8") };
    let mut report = Report::default();
    let text = text.split('#').next().unwrap_or_default();
    for word in text.split([' ', '\t', ',']).filter(|word| !word.is_empty()) {
        read(word, &mut report)?;
    }
    if report == Report::default() {
        return bad("an agent-check line without a word");
    }
    Ok(report)
}

fn read(word: &str, report: &mut Report) -> Result<(), BadReport> {
    let unknown = || bad(format!("{} is no word of the agent check", quoted(word)));
    if let Some(number) = word.strip_prefix("maxconn:") {
        let Some(number) = digits(number) else { return unknown() };
        report.maxconn = Some(number);
        return Ok(());
    }
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        let percent = digits(word.strip_suffix('%').unwrap_or(word)).and_then(|percent| u32::try_from(percent).ok());
        let Some(percent) = percent.filter(|percent| *percent <= PERCENT_MAX) else {
            return bad(format!("{} is no percentage of 0 to {PERCENT_MAX}", quoted(word)));
        };
        report.factor = Some(f64::from(percent) / 100.0);
        return Ok(());
    }
    let said = match word.to_ascii_lowercase().as_str() {
        "ready" | "up" => Word::Ready,
        "drain" => Word::Drain,
        "maint" | "down" | "fail" | "stopped" => Word::Maint,
        _ => return unknown(),
    };
    // Of words that contradict each other, the one that sends fewer clients.
    report.word = report.word.max(Some(said));
    Ok(())
}

/// Digits alone: no sign, and not so many that they are no number.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
