//! The body of a response: a JSON object, or a line of the agent-check grammar, so that a Site that says `0` or `drain`
//! is understood in either form.

use super::{
    agent_check,
    report::{BadReport, REPORT_MAX, Report, bad, json},
};

/// Reads a body of either form.
pub fn read(bytes: &[u8]) -> Result<Report, BadReport> {
    if bytes.len() > REPORT_MAX {
        return bad(format!("a report of more than {REPORT_MAX} bytes"));
    }
    if bytes.trim_ascii_start().first() == Some(&b'{') { json(bytes) } else { agent_check::line(bytes) }
}
