//! `[agent]`.

use std::{
    ops::RangeInclusive,
    path::{Component, PathBuf},
    time::Duration,
};

use toml::Spanned;

use super::{raw, readers::duration, report::Reporter, values::Reader};
use zerottl_core::model::{Life, OnStale, OnStop};

/// Below it a busy machine's plan would look stale; above it nobody would notice.
const MAX_PLAN_AGE: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

pub(super) fn agent(report: &mut Reporter, raw: Option<&Spanned<raw::Agent>>) -> Life {
    let Some(raw) = raw else { return Life::default() };
    let mut reader = Reader { report, section: "[agent]".into(), header: raw.span() };
    let raw = raw.get_ref();
    let on_stale = [("keep", OnStale::Keep), ("servfail", OnStale::Servfail), ("fail-open", OnStale::FailOpen)];
    let max_plan_age = raw
        .max_plan_age
        .as_ref()
        .and_then(|_| duration(&mut reader, "max_plan_age", &raw.max_plan_age, Duration::default(), MAX_PLAN_AGE));
    if let (None, Some(word)) = (&raw.max_plan_age, &raw.on_stale) {
        reader
            .error(word.span(), "`on_stale` without `max_plan_age`")
            .help("say from which age on a plan is stale, such as max_plan_age = \"30s\"");
    }
    Life {
        pins: pins(&mut reader, &raw.pins, Life::default().pins),
        on_stop: reader.choice(
            "on_stop",
            &raw.on_stop,
            &[("detach", OnStop::Detach), ("keep", OnStop::Keep)],
            OnStop::Detach,
        ),
        max_plan_age,
        on_stale: reader.choice("on_stale", &raw.on_stale, &on_stale, OnStale::Keep),
        watch: raw.watch.as_ref().is_some_and(|on| *on.get_ref()),
    }
}

/// A folder on a bpffs. Relative paths would be of this file's directory, which is none.
pub(super) fn pins(reader: &mut Reader<'_>, raw: &raw::Text, default: PathBuf) -> PathBuf {
    let Some(text) = raw else { return default };
    let path = PathBuf::from(text.get_ref());
    let has_dot = path.iter().any(|part| part.to_string_lossy().contains('.'));
    if path.is_absolute() && !has_dot && path.components().any(|part| matches!(part, Component::Normal(_))) {
        return path;
    }
    reader
        .error(text.span(), format!("`{}` cannot be a folder for pins", text.get_ref()))
        .help(format!("give an absolute path on a bpffs, without dots, such as \"{}\"", default.display()));
    default
}
