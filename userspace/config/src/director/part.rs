//! One table's own: what `[director]` or `[director.SITE]` gives, each value by itself.

use std::{net::SocketAddr, ops::Range, ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::Spanned;

use super::server::{ServerPart, servers};
use crate::{
    admin::SOCKET_LEN_MAX,
    agent::pins,
    places::admin,
    raw,
    readers::{duration, each, given_duration},
    values::{Fault, Reader, unicast, written},
};
use zerottl_core::model::{BusyAnswer, ConnectionPolicy, Director, LISTEN_MAX, RestartConfig, WaitingConfig};

/// Each one that waits holds a descriptor.
const WAITING: RangeInclusive<i64> = 0..=65_536;
const WAITING_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
const AFFINITY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);
const DRAIN_TIMEOUT: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
const SLOW_START: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
const DELAY: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_hours(1);
const BUDGET: RangeInclusive<i64> = 0..=1000;
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24);

/// The keys that a table gives; none where it does not say.
pub(super) struct DirectorPart {
    /// `[director]` or `[director.SITE]`, and where it stands.
    pub header: (String, Range<usize>),
    pub listen: Option<Vec<Spanned<SocketAddr>>>,
    pub policy: Option<ConnectionPolicy>,
    pub affinity: Option<Duration>,
    pub waiting: Option<WaitingConfig>,
    pub drain_timeout: Option<Duration>,
    pub slow_start: Option<Duration>,
    pub restart: Option<RestartConfig>,
    /// None within is nowhere.
    pub admin: Option<Spanned<Option<SocketAddr>>>,
    pub control: Option<Spanned<PathBuf>>,
    pub pins: Option<Spanned<PathBuf>>,
    pub servers: Option<Vec<ServerPart>>,
}

impl DirectorPart {
    pub(super) fn read(reader: &mut Reader<'_>, raw: &raw::DirectorKeys, has_web: bool) -> Self {
        let policies = [
            ("weighted-round-robin", ConnectionPolicy::WeightedRoundRobin),
            ("least-connections", ConnectionPolicy::LeastConnections),
        ];
        Self {
            header: (reader.section.clone(), reader.header.clone()),
            listen: raw.listen.as_ref().map(|_| listen(reader, &raw.listen)),
            policy: raw.policy.as_ref().and_then(|word| reader.word("policy", word, &policies)),
            affinity: given_duration(reader, "affinity", &raw.affinity, AFFINITY),
            waiting: raw.waiting.as_ref().map(|raw| waiting(reader, raw)),
            drain_timeout: given_duration(reader, "drain_timeout", &raw.drain_timeout, DRAIN_TIMEOUT),
            slow_start: given_duration(reader, "slow_start", &raw.slow_start, SLOW_START),
            restart: raw.restart.as_ref().map(|raw| restart(reader, raw)),
            admin: raw.admin.as_ref().and_then(|text| admin(reader, text)),
            control: raw.control.as_ref().and_then(|text| {
                let path = reader.parsed(text, control)?;
                Some(Spanned::new(text.span(), path))
            }),
            pins: raw
                .pins
                .as_ref()
                .map(|text| Spanned::new(text.span(), pins(reader, &raw.pins, Director::default_pins()))),
            servers: raw.server.as_ref().map(|list| servers(reader, list.get_ref(), has_web)),
        }
    }
}

fn listen(reader: &mut Reader<'_>, raw: &raw::List<String>) -> Vec<Spanned<SocketAddr>> {
    let list = reader.list("listen", raw).unwrap_or_default();
    each(reader, list, ("places to listen on", LISTEN_MAX), |reader, text| {
        let place = reader.parsed(text, address_and_port)?;
        Some((place, place.to_string()))
    })
}

/// An address of this machine, or a wildcard, and a port. No port goes without saying.
fn address_and_port(text: &str) -> Result<SocketAddr, Fault> {
    let help = "give both, such as \"192.0.2.10:8080\", \"[2001:db8::10]:8080\", \"0.0.0.0:8080\" or \"[::]:8080\"";
    let Ok(place) = text.parse::<SocketAddr>() else {
        return Err(Fault::new(format!("`{text}` is not an address and a port"), help));
    };
    if place.port() == 0 {
        return Err(Fault::new(format!("`{text}` has port 0"), help));
    }
    if !place.ip().is_unspecified() {
        unicast(place.ip())?;
    }
    Ok(place)
}

fn waiting(reader: &mut Reader<'_>, raw: &Spanned<raw::Waiting>) -> WaitingConfig {
    let default = WaitingConfig::default();
    let reader = &mut reader.inside("waiting", raw.span());
    let raw = raw.get_ref();
    let answers = [("http", BusyAnswer::Http), ("close", BusyAnswer::Close)];
    WaitingConfig {
        max: reader.number("max", &raw.max, WAITING, "connections; 0 is nobody waits", default.max),
        timeout: duration(reader, "timeout", &raw.timeout, default.timeout, WAITING_TIMEOUT).unwrap_or(default.timeout),
        answer: reader.choice("answer", &raw.answer, &answers, default.answer),
    }
}

fn restart(reader: &mut Reader<'_>, raw: &Spanned<raw::Restart>) -> RestartConfig {
    let default = RestartConfig::default();
    let reader = &mut reader.inside("restart", raw.span());
    let raw = raw.get_ref();
    // What is given moves the default of the other out of its way.
    let (first, longest) = (
        given_duration(reader, "delay", &raw.delay, DELAY),
        given_duration(reader, "delay_max", &raw.delay_max, DELAY),
    );
    let delay = first.unwrap_or_else(|| longest.unwrap_or(default.delay).min(default.delay));
    let delay_max = longest.unwrap_or_else(|| delay.max(default.delay_max));
    if let (Some(text), true) = (&raw.delay_max, delay_max < delay) {
        let problem = reader
            .error(text.span(), format!("`delay_max` {} is below `delay` {}", written(delay_max), written(delay)));
        problem.help("give the first delay, and then the longest: it doubles from one to the other");
    }
    RestartConfig {
        delay,
        delay_max,
        budget: reader.number("budget", &raw.budget, BUDGET, "restarts; 0 is none", default.budget),
        window: duration(reader, "window", &raw.window, default.window, WINDOW).unwrap_or(default.window),
    }
}

/// The path of a Unix socket.
fn control(text: &str) -> Result<PathBuf, Fault> {
    let path = PathBuf::from(text);
    if !path.is_absolute() || path.file_name().is_none() || text.ends_with('/') || text.contains('\0') {
        return Err(Fault::new(
            format!("`{text}` cannot be the path of `control`"),
            format!("give the absolute path of a socket, such as \"{}\"", Director::default_control().display()),
        ));
    }
    if text.len() > SOCKET_LEN_MAX {
        return Err(Fault::new(
            format!("the path of `control` has {} bytes", text.len()),
            format!("Linux takes at most {SOCKET_LEN_MAX}"),
        ));
    }
    Ok(path)
}
