//! Reports that Sites send to the admin interface: `POST /v1/load`.
//!
//! One object, or a list of them: a [report](super::report) with the Site's key as `site`.
//!
//! ```json
//! [{ "site": "boston", "current": 412, "capacity": 1000 }, { "site": "chicago", "current": 3, "capacity": 500 }]
//! ```

use std::{collections::HashMap, time::Instant};

use serde::Deserialize;

use super::{
    report::{BadReport, Json, Report, quoted},
    store::LoadStore,
};
use zerottl_core::model::{LoadKind, Model, SiteId};

/// Bytes of a push, at most.
pub const PUSH_MAX: usize = 1024 * 1024;
/// Reports in one push, at most.
pub(crate) const REPORTS_MAX: usize = 10_000;

#[derive(Debug, Deserialize)]
struct Named {
    site: String,
    #[serde(flatten)]
    report: Json,
}

/// Why a push is not taken; nothing of it is.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// It is no JSON of this form.
    #[error("not a load report with its site, nor a list of them: {0}")]
    Form(#[from] serde_json::Error),
    /// More than `REPORTS_MAX`.
    #[error("more than {REPORTS_MAX} reports")]
    TooMany,
    /// No Site has this key.
    #[error("there is no Site {}", quoted(.0))]
    NoSuchSite(String),
    /// The Site's load is not pushed, by its configuration.
    #[error("Site `{0}` has no `load = {{ kind = \"push\" }}`")]
    NotPushed(String),
    /// A Site's figures are at fault.
    #[error("Site `{0}`: {1}")]
    Report(String, #[source] BadReport),
}

/// Reads a push; the reports are as many as it has, each of a Site whose load is pushed.
pub fn read(model: &Model, body: &[u8]) -> Result<Vec<(SiteId, Report)>, PushError> {
    let list: Vec<Named> = match body.trim_ascii_start().first() {
        Some(b'[') => serde_json::from_slice(body)?,
        _ => vec![serde_json::from_slice(body)?],
    };
    if list.len() > REPORTS_MAX {
        return Err(PushError::TooMany);
    }
    let keys: HashMap<&str, SiteId> =
        model.sites.iter().enumerate().map(|(i, site)| (site.key.as_str(), SiteId(i))).collect();
    let mut reports = Vec::with_capacity(list.len());
    for Named { site, report } in list {
        let Some(id) = keys.get(site.as_str()) else { return Err(PushError::NoSuchSite(site)) };
        let source = model.sites[id.0].load.as_ref().filter(|source| matches!(source.kind, LoadKind::Push));
        let Some(source) = source else { return Err(PushError::NotPushed(site)) };
        let report = report.report().and_then(|report| super::report::load(&report, source).map(|_| report));
        reports.push((*id, report.map_err(|why| PushError::Report(site, why))?));
    }
    Ok(reports)
}

/// Takes a push, all of it or nothing; how many reports it had.
pub fn push(loads: &LoadStore, model: &Model, now: Instant, body: &[u8]) -> Result<usize, PushError> {
    let reports = read(model, body)?;
    let count = reports.len();
    for (site, report) in reports {
        loads.report(site, now, Ok(report));
    }
    Ok(count)
}
