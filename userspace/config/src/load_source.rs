//! `load` of a Site, and the knobs of a pool that make shares of loads.

use std::{ops::RangeInclusive, time::Duration};

use toml::Spanned;

use super::{
    raw,
    readers::{HttpKeys, TIMEOUT, duration, http, timing},
    values::{Reader, written},
};
use zerottl_core::model::{LoadKind, LoadSource, Name, Poll, Steering, WhenStale};

/// How old a figure may be.
const STALE_AFTER: RangeInclusive<Duration> = Duration::from_millis(200)..=Duration::from_hours(24);
/// Where figures lie: far from where a sum or a quotient of two of them could be no number.
pub(super) const FIGURE: RangeInclusive<f64> = 1e-6..=1e15;
const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    AgentCheck,
    ProbeHeader,
    Push,
}

const KINDS: [(&str, Kind); 5] = [
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("agent-check", Kind::AgentCheck),
    ("probe-header", Kind::ProbeHeader),
    ("push", Kind::Push),
];

const WHEN_STALE: [(&str, WhenStale); 3] =
    [("hold", WhenStale::Hold), ("equal", WhenStale::Equal), ("drain", WhenStale::Drain)];

/// Where a Site's load comes from; none where the file does not say, or says it wrong.
pub(super) fn load(site: &mut Reader<'_>, raw: &raw::Site, name: &Name) -> Option<LoadSource> {
    let by_http = |probe: &raw::Probe| {
        probe.kind.as_ref().is_some_and(|kind| matches!(kind.get_ref().as_str(), "http" | "https"))
    };
    let probed_by_http = raw.probe.as_ref().is_some_and(|probes| match probes.get_ref() {
        raw::Probes::One(probe) => by_http(probe),
        raw::Probes::Several(list) => list.iter().any(|probe| by_http(probe.get_ref())),
    });
    let raw = raw.load.as_ref()?;
    let reader = &mut site.inside("load", raw.span());
    let (raw, header) = (raw.get_ref(), raw.span());
    let Some(word) = raw.kind.as_ref() else {
        reader.missing("kind", "\"http\"");
        return None;
    };
    let kind = reader.word("kind", word, &KINDS)?;
    report_idle_keys(reader, raw, kind, word.get_ref());
    if kind == Kind::ProbeHeader && !probed_by_http {
        reader
            .error(word.span(), "the Site's probe has no response whose header could say its load")
            .help("make the probe's kind http or https, or choose another kind here");
    }
    let target = figure(reader, "target", &raw.target);
    let capacity = figure(reader, "capacity", &raw.capacity);
    if let (Some(value), Some(target), Some(capacity)) = (&raw.target, target, capacity)
        && target > capacity
    {
        reader
            .error(value.span(), format!("`target` {target} is above `capacity` {capacity}"))
            .help("give a target of at most the capacity");
    }
    // Utilisations, which the header carries, are full at 1.
    let capacity = capacity.or((kind == Kind::ProbeHeader).then_some(1.0));
    let per_answer = reader.fraction(
        "load_per_answer",
        &raw.load_per_answer,
        0.0..=*FIGURE.end(),
        "in the unit of the Site's reports; it is learned unless given",
    );
    let (kind, poll) = source(reader, raw, kind, name);
    Some(LoadSource {
        kind,
        stale_after: stale_after(reader, raw, header, poll),
        when_stale: reader.choice("when_stale", &raw.when_stale, &WHEN_STALE, WhenStale::Hold),
        per_answer,
        target,
        capacity,
    })
}

fn figure(reader: &mut Reader<'_>, key: &str, value: &raw::Fraction) -> Option<f64> {
    reader.fraction(key, value, FIGURE, "in the unit of the Site's reports")
}

/// How figures come, and how often they are asked for where they are.
fn source(reader: &mut Reader<'_>, raw: &raw::Load, kind: Kind, name: &Name) -> (LoadKind, Option<Poll>) {
    if matches!(kind, Kind::ProbeHeader | Kind::Push) {
        return (if kind == Kind::Push { LoadKind::Push } else { LoadKind::ProbeHeader }, None);
    }
    if kind == Kind::AgentCheck && raw.port.is_none() {
        reader.missing("port", "9999");
    }
    let default_port: u16 = if kind == Kind::Https { 443 } else { 80 };
    let port = reader.number("port", &raw.port, 1..=65_535, "", default_port);
    let (interval, timeout) = timing(reader, (&raw.interval, &raw.timeout), TIMEOUT);
    let poll = Poll { port, interval, timeout };
    if kind == Kind::AgentCheck {
        return (LoadKind::AgentCheck(poll), Some(poll));
    }
    let keys = HttpKeys {
        path: &raw.path,
        default_path: "/load",
        host: &raw.host,
        verify: &raw.verify,
        ca: &raw.ca,
        server_name: &raw.server_name,
        certificate: &raw.certificate,
        key: &raw.key,
    };
    let kind = LoadKind::Http(poll, http(reader, &keys, kind == Kind::Https, name));
    (kind, Some(poll))
}

/// A figure must outlive the wait for the next, or a Site in good order would be stale now and then.
fn stale_after(
    reader: &mut Reader<'_>,
    raw: &raw::Load,
    header: std::ops::Range<usize>,
    poll: Option<Poll>,
) -> Duration {
    let shortest = poll.map_or(Duration::ZERO, |poll| poll.interval + poll.timeout);
    let default = Duration::from_secs(10).max(shortest * 3);
    let Some(given) = duration(reader, "stale_after", &raw.stale_after, default, STALE_AFTER) else { return default };
    if given < shortest {
        let at = raw.stale_after.as_ref().map_or(header, Spanned::span);
        reader
            .error(at, format!("`stale_after` {} is shorter than one interval and one timeout", written(given)))
            .help(format!("give at least {}, or ask more often", written(shortest)));
    }
    given
}

/// Keys that the kind has no use for are a misunderstanding, so errors.
fn report_idle_keys(reader: &mut Reader<'_>, raw: &raw::Load, kind: Kind, word: &str) {
    let span = |text: &raw::Text| text.as_ref().map(Spanned::span);
    let (is_http, is_polled) = (matches!(kind, Kind::Http | Kind::Https), matches!(kind, Kind::AgentCheck));
    let is_polled = is_polled || is_http;
    // An agent check says a part of its weight, and no figure that these could complete.
    let has_figures = kind != Kind::AgentCheck;
    let fraction = |value: &raw::Fraction| value.as_ref().map(Spanned::span);
    let keys = [
        (is_polled, "port", raw.port.as_ref().map(Spanned::span)),
        (is_polled, "interval", span(&raw.interval)),
        (is_polled, "timeout", span(&raw.timeout)),
        (is_http, "path", span(&raw.path)),
        (is_http, "host", span(&raw.host)),
        (kind == Kind::Https, "verify", raw.verify.as_ref().map(Spanned::span)),
        (kind == Kind::Https, "ca", span(&raw.ca)),
        (kind == Kind::Https, "server_name", span(&raw.server_name)),
        (kind == Kind::Https, "certificate", span(&raw.certificate)),
        (kind == Kind::Https, "key", span(&raw.key)),
        (has_figures, "load_per_answer", fraction(&raw.load_per_answer)),
        (has_figures, "target", fraction(&raw.target)),
        (has_figures, "capacity", fraction(&raw.capacity)),
    ];
    for (used, key, span) in keys {
        if let Some(span) = span.filter(|_| !used) {
            reader.error(span, format!("`{key}` means nothing to kind {word}")).help("take it out");
        }
    }
}

/// The knobs of a pool.
pub(super) fn steering(reader: &mut Reader<'_>, raw: &raw::PoolKeys) -> Steering {
    let default = Steering::default();
    let mark = |reader: &mut Reader<'_>, key, value, help| reader.fraction(key, value, 0.01..=1.0, help);
    let low = mark(reader, "low_watermark", &raw.low_watermark, "the part of its target up to which a Site is free");
    let high =
        mark(reader, "high_watermark", &raw.high_watermark, "the part of its capacity from which a Site is full");
    let (low, high) = (low.unwrap_or(default.low_watermark), high.unwrap_or(default.high_watermark));
    if let Some(at) = raw.low_watermark.as_ref().or(raw.high_watermark.as_ref()).filter(|_| low >= high) {
        reader
            .error(at.span(), format!("`low_watermark` {low} is not below `high_watermark` {high}"))
            .help("leave room between the two: shares fall from the one to the other");
    }
    let balance_factor = raw.balance_factor.as_ref().filter(|value| *value.get_ref() != 0.0).and_then(|_| {
        reader.fraction("balance_factor", &raw.balance_factor, 1.0..=10.0, "times the mean utilisation, or 0 for off")
    });
    Steering {
        low_watermark: low,
        high_watermark: high,
        max_step: reader
            .fraction(
                "max_step",
                &raw.max_step,
                0.0..=1.0,
                "the part of its way that a share goes in a second; 0 is immediately",
            )
            .unwrap_or(default.max_step),
        trickle: reader
            .fraction("trickle", &raw.trickle, 0.0..=1.0, "what a full Site gets of its weight's share")
            .unwrap_or(default.trickle),
        slow_start: duration(reader, "slow_start", &raw.slow_start, default.slow_start, SLOW_START)
            .unwrap_or(default.slow_start),
        balance_factor: balance_factor.unwrap_or(default.balance_factor),
    }
}
