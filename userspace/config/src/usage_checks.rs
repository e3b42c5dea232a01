//! Checks of what only shows when a sound model is used: shares of its tables, and its zones' records files.

use std::{collections::HashSet, path::Path};

use super::{
    raw,
    report::{Reporter, Severity},
    tables::section,
};
use zerottl_core::{
    model::{Family, Model, NameKind},
    plan,
};
use zerottl_dns::{ZoneError, Zones};
use zerottl_host::state;

/// Warns where weights are too far apart for a table.
pub(super) fn shares(report: &mut Reporter, file: &raw::File, model: &Model) {
    for uneven in plan::share_warnings(model) {
        let (kind, key, span) = match model.names[uneven.name.0].kind {
            NameKind::Pool(id) => {
                let key = &file.pool_heads[id.0].key;
                ("pool", &**key.get_ref(), key.span())
            }
            NameKind::Group(id) => {
                let key = &file.group.0[id.0].0;
                ("group", key.get_ref().as_str(), key.span())
            }
            NameKind::Site(_) => continue,
        };
        let rtype = if uneven.family == Family::V4 { "A" } else { "AAAA" };
        let message = format!(
            "{}: a Site's share of {rtype} answers is off by {:.1} %",
            section(&[kind, key]),
            uneven.error * 100.0
        );
        let slots = uneven.slots;
        report
            .warn(span, message)
            .label(format!("{slots} slots do not hold these weights"))
            .help("bring the `weight`s of its Sites closer together");
    }
}

/// Sites of the state directory that are told one by one.
const FORGOTTEN_MAX: usize = 20;

/// Warns of what a restart or reload by this file would forget: words, weights and hold-downs of Sites that it does not
/// have. Only for a file, beside which an agent may run.
pub(super) fn forgotten(report: &mut Reporter, file: &raw::File, model: &Model) {
    if report.changed.is_none() {
        return;
    }
    // What cannot be read is not this user's to read, or not there: the agent itself says so.
    let Ok((saved, _)) = state::writer::peek(&model.state) else { return };
    let known: HashSet<&str> = model.sites.iter().map(|site| site.key.as_str()).collect();
    let lost = saved.sites.iter().filter(|(key, _)| !known.contains(key.as_str()));
    let lost: Vec<_> = lost.filter_map(|(key, site)| Some((key, site.said()?))).collect();
    let directory = file.state.as_ref().and_then(|state| state.get_ref().directory.as_ref());
    let span = directory.map_or(0..0, toml::Spanned::span);
    for (key, said) in lost.iter().take(FORGOTTEN_MAX) {
        let meant = report.did_you_mean(key, known.iter().copied()).map(|meant| format!(", as for `{meant}`"));
        let meant = meant.unwrap_or_default();
        report
            .warn(span.clone(), format!("{said} of Site `{key}` is forgotten: the file has no such Site"))
            .label("kept here")
            .help(format!("a Site with another key is another one: set it again for that{meant}, or keep the key"));
    }
    if let Some(more) = lost.len().checked_sub(FORGOTTEN_MAX).filter(|more| *more > 0) {
        report.warn(span, format!("what was set for {more} more Sites is forgotten")).help("keep their keys");
    }
}

/// The zones as they are served; none where a records file is at fault, which is reported.
pub(super) fn zones(report: &mut Reporter, file: &raw::File, model: &Model) -> Option<Zones> {
    // The model's paths begin at the configuration's folder already.
    let read = Zones::read(model, Path::new(""), report.changed);
    for path in read.files {
        // Included ones are watched, too.
        if !report.files.contains(&path) {
            report.files.push(path);
        }
    }
    let faults = read.faults;
    for (all, more, severity, what) in [
        (&faults.errors, faults.more_errors, Severity::Error, "faults"),
        (&faults.warnings, faults.more_warnings, Severity::Warning, "odd records"),
    ] {
        for fault in all {
            zone_fault(report, file, severity, fault);
        }
        if more > 0 {
            let message = format!("and {more} more {what} in `records` files");
            let problem = report.at(severity, 0..0, message);
            problem.help("the first ones are told one by one");
        }
    }
    faults.errors.is_empty().then_some(read.zones)
}

fn zone_fault(report: &mut Reporter, file: &raw::File, severity: Severity, fault: &ZoneError) {
    if report.in_file(severity, fault).is_some() {
        return;
    }
    let zone = fault.zone.and_then(|zone| file.zone.0.get(zone.0));
    let span = zone.map_or(0..0, |(key, zone)| zone.records.as_ref().map_or(key.span(), toml::Spanned::span));
    let header = zone.map(|(key, _)| section(&["zone", key.get_ref()]));
    let header = header.map(|header| format!("{header}: ")).unwrap_or_default();
    let bare = ZoneError { help: None, ..fault.clone() };
    let problem = report.at(severity, span, format!("{header}{bare}"));
    if let Some(help) = &fault.help {
        problem.help(&**help);
    }
}
