//! Reports: what a Site says at one moment.
//!
//! ```json
//! { "current": 412, "target": 800, "capacity": 1000, "sessions": 390, "at": 1763725200.5 }
//! ```
//!
//! Only `current` is needed. Figures are in a unit of the Site's choosing; other keys are not looked at.

use std::fmt;

use serde::Deserialize;

use zerottl_core::{model::LoadSource, site_load::FIGURE_MIN, status::Load};

pub use zerottl_core::site_load::{FIGURE_MAX, Report};

/// Bytes of a report, at most.
pub(crate) const REPORT_MAX: usize = 16 * 1024;
/// Characters of a report that are quoted.
const QUOTED_MAX: usize = 64;

/// Why a report is not taken, as a sentence.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct BadReport(pub(super) String);

impl BadReport {
    /// Adds the address that it came from.
    #[must_use]
    pub fn at(self, address: impl fmt::Display) -> Self {
        Self(format!("{address}: {}", self.0))
    }
}

pub(super) fn bad<T>(why: impl Into<String>) -> Result<T, BadReport> {
    Err(BadReport(why.into()))
}

/// A piece of what was received, fit for a log.
pub(super) fn quoted(text: &str) -> String {
    let short: String = text.chars().take(QUOTED_MAX).collect();
    let more = if short.len() < text.len() { "…" } else { "" };
    format!("{short:?}{more}")
}

/// The JSON form, as serde reads it.
#[derive(Debug, Deserialize)]
pub(super) struct Json {
    current: f64,
    target: Option<f64>,
    capacity: Option<f64>,
    sessions: Option<f64>,
    at: Option<f64>,
}

impl Json {
    /// A report, if every figure is one.
    pub(super) fn report(&self) -> Result<Report, BadReport> {
        let within = |key: &str, value: Option<f64>, least: f64| match value {
            Some(value) if !(least..=FIGURE_MAX).contains(&value) => {
                bad(format!("`{key}` is {value}: it must be {least} to {FIGURE_MAX}"))
            }
            value => Ok(value),
        };
        Ok(Report {
            current: within("current", Some(self.current), 0.0)?,
            target: within("target", self.target, FIGURE_MIN)?,
            capacity: within("capacity", self.capacity, FIGURE_MIN)?,
            sessions: within("sessions", self.sessions, 0.0)?,
            at: within("at", self.at, 0.0)?,
            ..Report::default()
        })
    }
}

/// A JSON report.
pub fn json(text: &[u8]) -> Result<Report, BadReport> {
    match serde_json::from_slice::<Json>(text) {
        Ok(json) => json.report(),
        Err(error) => bad(format!("not a load report: {error}")),
    }
}

/// The figures that count, of a report and of what the configuration says where it is silent; none without `current`.
pub fn load(report: &Report, source: &LoadSource) -> Result<Option<Load>, BadReport> {
    let Some(current) = report.current else { return Ok(None) };
    let Some(capacity) = report.capacity.or(source.capacity) else {
        return bad("the report names no `capacity`, and neither does the Site's `load`");
    };
    let target = match (report.target, source.target) {
        (Some(target), _) if target > capacity => {
            return bad(format!("`target` {target} is above `capacity` {capacity}"));
        }
        (Some(target), _) => target,
        // The configured target is for a usual capacity; the Site may have less today.
        (None, configured) => configured.map_or(capacity, |target| target.min(capacity)),
    };
    Ok(Some(Load { current, target, capacity }))
}
