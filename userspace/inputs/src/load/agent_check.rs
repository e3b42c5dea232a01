//! The grammar of `HAProxy`'s agent check: what a Site says of itself in words.
//!
//! One line of words, separated by spaces, tabs or commas; `#` begins a comment. Words combine, and what a word does not
//! speak of stays as it was.
//!
//! | word | means |
//! |---|---|
//! | `75%`, `75` | this part of its weight, 0 to 1000; 0 is no new clients |
//! | `ready`, `drain`, `maint` | the administrator's state: as probes and load say, no new clients, as if it were down |
//! | `up`, `down`, `fail`, `stopped` | the condition: the latter three count as down |
//! | `maxconn:100` | how many connections it takes; shown |
//!
//! As in `HAProxy`, the administrator's state, the condition and the weight are three things, of which each stays until a
//! word of its own kind replaces it: `up` ends no `drain`, `ready` brings nobody back who is `down`, and `50%` does
//! neither. Of several words of one kind in a line the last counts; one that is not known is shown as an error, and the
//! others count. What follows `#` is shown beside the Site.
//!
//! One thing differs from `HAProxy`: a bare number counts as a percentage, since a Site that says `0` wants no clients.

use std::sync::Arc;

use super::report::{BadReport, Report, bad, quoted};
use zerottl_core::{site_load::ReportedCondition, status::AdminState};

/// Bytes of a line, at most.
pub const LINE_MAX: usize = 1024;
/// The most of its weight that a Site may ask for, percent.
const PERCENT_MAX: u32 = 1000;

/// Characters of a Site's own words that are kept, at most.
const NOTE_MAX: usize = 200;

/// Reads one line; what follows it is not looked at.
pub fn line(bytes: &[u8]) -> Result<Report, BadReport> {
    let end = bytes.iter().position(|byte| matches!(byte, b'\n' | b'\r' | 0)).unwrap_or(bytes.len());
    if end > LINE_MAX {
        return bad(format!("an agent-check line of more than {LINE_MAX} bytes"));
    }
    let Ok(text) = std::str::from_utf8(&bytes[..end]) else { return bad("an agent-check line that is not UTF-8") };
    let mut report = Report::default();
    let (text, note) = text.split_once('#').unwrap_or((text, ""));
    let mut slips =
        text.split([' ', '\t', ',']).filter(|word| !word.is_empty()).filter_map(|word| read(word, &mut report));
    let slip = slips.next();
    slips.for_each(drop);
    if report == Report::default() {
        return Err(slip.unwrap_or_else(|| BadReport("an agent-check line without a word".into())));
    }
    let note: String = note.trim().chars().filter(|c| !c.is_control()).take(NOTE_MAX).collect();
    report.note = (!note.is_empty()).then(|| note.into());
    report.slip = slip.map(|slip| Arc::from(slip.0));
    Ok(report)
}

/// Takes in one word, or says why not.
fn read(word: &str, report: &mut Report) -> Option<BadReport> {
    let unknown = || Some(BadReport(format!("{} is no word of the agent check", quoted(word))));
    if let Some(number) = word.strip_prefix("maxconn:") {
        let Some(number) = digits(number) else { return unknown() };
        report.maxconn = Some(number);
        return None;
    }
    if word.starts_with(|first: char| first.is_ascii_digit()) {
        let percent = digits(word.strip_suffix('%').unwrap_or(word)).and_then(|percent| u32::try_from(percent).ok());
        let Some(percent) = percent.filter(|percent| *percent <= PERCENT_MAX) else {
            return Some(BadReport(format!("{} is no percentage of 0 to {PERCENT_MAX}", quoted(word))));
        };
        report.factor = Some(f64::from(percent) / 100.0);
        return None;
    }
    match word.to_ascii_lowercase().as_str() {
        "ready" => report.admin_state = Some(AdminState::Ready),
        "drain" => report.admin_state = Some(AdminState::Drain),
        "maint" => report.admin_state = Some(AdminState::Maint),
        "up" => report.condition = Some(ReportedCondition::Up),
        "down" => report.condition = Some(ReportedCondition::Down),
        "fail" => report.condition = Some(ReportedCondition::Fail),
        "stopped" => report.condition = Some(ReportedCondition::Stopped),
        _ => return unknown(),
    }
    None
}

/// Digits alone: no sign, and not so many that they are no number.
fn digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
