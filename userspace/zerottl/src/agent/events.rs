//! Events of the agent as hooks get them.

use serde_json::Value;

use super::news;
use zerottl_core::{
    alarms::Turn,
    assess::event::AssessorEvent,
    model::{EventKind, Model, SiteId},
    overrides::OverrideRequest,
    site_load::SiteLoad,
    status::Assessment,
};
use zerottl_hooks::{HookEvent, Hooks};
use zerottl_inputs::probe::AddressReport;

/// Sites that an event lists, at most.
const SITES_MAX: usize = 100;
/// Sites of a round whose event says why, at most: what is wrong with ten thousand at once is not ten thousand things.
const REASONS_MAX: usize = 1_000;

/// The name by which hooks know this front: that in its fleet, else the machine's own.
pub(crate) fn front_name(model: &Model) -> String {
    if let Some(fleet) = &model.fleet {
        return fleet.front.clone();
    }
    rustix::system::uname().nodename().to_string_lossy().into_owned()
}

/// Tells which Sites went up or down.
pub(crate) fn of_sites(
    hooks: &Hooks,
    model: &Model,
    (before, after): (&Assessment, &Assessment),
    entries: &[SiteLoad],
    detail: impl Fn(SiteId, usize) -> AddressReport,
) {
    if !hooks.wants(EventKind::SiteUp) && !hooks.wants(EventKind::SiteDown) {
        return;
    }
    let up = |status: &Assessment, id| status.site_is_up(model, SiteId(id));
    let changed: Vec<usize> = (0..model.sites.len()).filter(|&id| up(before, id) != up(after, id)).collect();
    if changed.is_empty() {
        return;
    }
    let sites_up = (0..model.sites.len()).filter(|&id| up(after, id)).count();
    for (number, id) in changed.into_iter().enumerate() {
        let key = &model.sites[id].key;
        let is_up = up(after, id);
        let why = (!is_up && number < REASONS_MAX).then(|| news::why_down(model, after, id, entries, &detail));
        let text = match (is_up, &why) {
            (true, _) => format!("Site {key} is up"),
            (false, Some(why)) => format!("Site {key} is down: {why}"),
            (false, None) => format!("Site {key} is down"),
        };
        let kind = if is_up { EventKind::SiteUp } else { EventKind::SiteDown };
        let event = HookEvent::new(kind, text).of_site(key).with("name", model.sites[id].name.to_string());
        // As they are after the whole round, so that a script that looks for 0 acts once.
        hooks.send(event.with("sites_up", sites_up).with("sites", model.sites.len()).with("reason", why));
    }
}

/// Tells what happened in assessments.
pub(crate) fn of_assessment(hooks: &Hooks, events: &[AssessorEvent]) {
    for event in events {
        let (kind, site) = match event {
            AssessorEvent::Lapsed { site, .. } | AssessorEvent::Forgotten { site } => (EventKind::Word, Some(site)),
            AssessorEvent::HeldBack { site, .. } | AssessorEvent::StaysOut { site, .. } => {
                (EventKind::HeldBack, Some(site))
            }
            AssessorEvent::Alarm { turn: Turn::Over, .. } => (EventKind::AlarmOver, None),
            AssessorEvent::Alarm { .. } => (EventKind::Alarm, None),
            // Hooks are told what becomes of the Site.
            AssessorEvent::Stated { .. } | AssessorEvent::StatementExpired { .. } => continue,
        };
        let text = site.map_or_else(|| event.to_string(), |site| format!("Site {site}: {event}"));
        let mut told = HookEvent::new(kind, text);
        told.site = site.cloned();
        hooks.send(match event {
            AssessorEvent::Lapsed { what, .. } => told.with("word", *what).with("turn", "lapsed"),
            AssessorEvent::Forgotten { .. } => told.with("turn", "forgotten"),
            AssessorEvent::HeldBack { failures, .. } => told.with("failures", *failures),
            AssessorEvent::Alarm { turn, .. } => told.with("turn", turn_word(*turn)),
            AssessorEvent::StaysOut { .. } => told.with("until", "ready"),
            AssessorEvent::Stated { .. } | AssessorEvent::StatementExpired { .. } => told,
        });
    }
}

fn turn_word(turn: Turn) -> &'static str {
    match turn {
        Turn::Begun => "begun",
        Turn::Changed => "changed",
        Turn::Over => "over",
    }
}

/// Tells that an operator's request was carried out for these Sites.
pub(crate) fn of_override(hooks: &Hooks, request: &OverrideRequest, sites: &[String]) {
    let word = request.value.to_string();
    let text = format!("{word} said of {} by {}", request.target, request.by);
    let mut event = HookEvent::new(EventKind::Word, text);
    event.site = if let [site] = sites { Some(site.clone()) } else { None };
    let listed: Vec<Value> = sites.iter().take(SITES_MAX).map(|site| Value::from(site.as_str())).collect();
    let event = event.with("word", word).with("turn", "said").with("target", request.target.as_str());
    let event = event.with("affected", listed).with("affected_count", sites.len()).with("by", request.by.as_str());
    let event = event.with("reason", request.reason.as_deref());
    hooks.send(event.with("lasts_s", request.lasts.map(|lasts| lasts.as_secs())));
}

/// Tells which alarms of the machine have begun, and which are over. Each is a kind and a sentence.
pub(crate) fn of_alarms(hooks: &Hooks, before: &[(&'static str, String)], after: &[(&'static str, String)]) {
    let less = |some: &[(&'static str, String)], others: &[(&'static str, String)]| -> Vec<(&'static str, String)> {
        some.iter().filter(|alarm| !others.contains(alarm)).cloned().collect()
    };
    for (kind, message) in less(after, before) {
        let turn = if before.iter().any(|(known, _)| *known == kind) { Turn::Changed } else { Turn::Begun };
        let event = HookEvent::new(EventKind::Alarm, message).with("alarm", kind);
        hooks.send(event.with("turn", turn_word(turn)));
    }
    for (kind, message) in less(before, after) {
        if !after.iter().any(|(known, _)| *known == kind) {
            let event = HookEvent::new(EventKind::AlarmOver, format!("alarm over: {message}"));
            hooks.send(event.with("alarm", kind).with("turn", turn_word(Turn::Over)));
        }
    }
}
