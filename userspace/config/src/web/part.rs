//! One table's own: what `[web]` or `[web.SITE]` gives, each value by itself.

use std::{
    net::{IpAddr, SocketAddr},
    ops::{Range, RangeInclusive},
    path::PathBuf,
    time::Duration,
};

use ipnet::IpNet;
use toml::Spanned;

use super::{
    files::{file, key_file},
    invite::{Invite, invite},
    names::Names,
    rules::{classes, rules},
    session::session,
    values::{agent, backend, cookie_name, host, passed, screen},
};
use crate::{
    places::{admin, places},
    raw,
    readers::{TIMEOUT, duration, each, request_path, timing, whole_seconds},
    values::{Reader, written},
};
use zerottl_core::model::{
    AccessFormat, Backend, BackendProbe, BusyConfig, Condition, FlagConfig, GroupId, MarkerConfig, MarkerMode, Name,
    Passed, Peers, PriorityClass, RedirectForm, Screen, SessionConfig, WebLimits,
};

const BACKENDS_MAX: usize = 64;
const ALIASES_MAX: usize = 64;
const PROXIES_MAX: usize = 64;
const PASS_MAX: usize = 64;

const HTTP: u16 = 80;
const HTTPS: u16 = 443;
/// Where agents listen by custom.
const AGENT: u16 = 8053;

const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
/// A client that needs longer from the redirect to the request was not sent by it.
const MARKER_LIFETIME: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const SKEW: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_mins(5);
const RETRY: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
/// Browsers keep no cookie for longer than 400 days.
const FLAG_LIFETIME: RangeInclusive<Duration> = Duration::from_mins(1)..=Duration::from_hours(400 * 24);
const IN_FLIGHT: RangeInclusive<i64> = 0..=1_000_000;
const SESSIONS: RangeInclusive<i64> = 0..=1_000_000_000;
/// Up to this, noise would be taken for load.
const LATENCY: RangeInclusive<f64> = 1.1..=100.0;
const RESUME: RangeInclusive<f64> = 0.01..=1.0;
const CLIENT_SHARE: RangeInclusive<f64> = 0.01..=1.0;
const CONNECTIONS: RangeInclusive<i64> = 1..=1_000_000;
/// hyper reads no head into less than 8 KiB.
const HEAD: RangeInclusive<i64> = 8192..=1_048_576;
const HEADERS: RangeInclusive<i64> = 8..=1000;
const BODY: RangeInclusive<i64> = 0..=1 << 50;
const STREAMS: RangeInclusive<i64> = 1..=10_000;
const HEAD_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(5);
const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(1);
const CONNECT_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_mins(1);
const LAME_DUCK: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(1);
const GRACE: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_hours(24);
/// A name in `Via` is short.
const VIA_MAX: usize = 64;
const RESPONSE_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);

/// The keys that a table gives; none where it does not say.
#[derive(Default)]
pub(super) struct Part {
    /// `[web]` or `[web.SITE]`, and where it stands.
    pub header: (String, Range<usize>),
    pub listen: Option<Vec<Spanned<SocketAddr>>>,
    /// None within is nowhere.
    pub admin: Option<Spanned<Option<SocketAddr>>>,
    pub tls: Option<Tls>,
    pub backends: Option<Vec<Spanned<Backend>>>,
    pub invite: Option<Invite>,
    pub screen: Option<Spanned<Screen>>,
    pub backend_probe: Option<BackendProbe>,
    pub access_log: Option<LogPlace>,
    pub access_log_format: Option<AccessFormat>,
    pub aliases: Option<Vec<Alias>>,
    pub overflow: Option<bool>,
    pub pass: Option<Vec<Passed>>,
    pub backend_host: Option<BackendHost>,
    pub clean_url: Option<bool>,
    pub redirect: Option<RedirectForm>,
    pub trusted_proxies: Option<Vec<IpNet>>,
    pub via: Option<String>,
    pub marker: Option<Spanned<MarkerConfig>>,
    pub busy: Option<BusyConfig>,
    pub session: Option<Spanned<SessionConfig>>,
    pub flag: Option<Spanned<FlagConfig>>,
    pub peers: Option<Peers>,
    pub limits: Option<WebLimits>,
    pub rules: Option<Vec<(Spanned<GroupId>, Condition)>>,
    pub classes: Option<Vec<PriorityClass>>,
}

/// Where the access log goes.
#[derive(Clone)]
pub(super) enum LogPlace {
    Nowhere,
    Stdout,
    File(PathBuf),
}

/// By which name backends are asked.
#[derive(Clone, Copy, Default)]
pub(super) enum BackendHost {
    #[default]
    Keep,
    Site,
    Pool,
}

pub(super) struct Tls {
    /// The Site's own addresses unless given.
    pub listen: Option<Vec<Spanned<SocketAddr>>>,
    pub certificates: PathBuf,
    /// Where the folder is named.
    pub span: Range<usize>,
}

#[derive(Clone)]
pub(super) struct Alias {
    pub host: String,
    pub name: Name,
    pub span: Range<usize>,
}

impl Part {
    pub(super) fn read(reader: &mut Reader<'_>, raw: &raw::WebKeys, names: &Names<'_>) -> Self {
        let on = |switch: &raw::Switch| switch.as_ref().map(|on| *on.get_ref());
        let hosts = [("keep", BackendHost::Keep), ("site", BackendHost::Site), ("pool", BackendHost::Pool)];
        let redirects = [("status", RedirectForm::Status), ("meta", RedirectForm::Meta)];
        let formats =
            [("common", AccessFormat::Common), ("combined", AccessFormat::Combined), ("json", AccessFormat::Json)];
        Self {
            header: (reader.section.clone(), reader.header.clone()),
            listen: raw.listen.as_ref().map(|_| places(reader, &raw.listen, HTTP)),
            admin: raw.admin.as_ref().and_then(|text| admin(reader, text)),
            tls: raw.tls.as_ref().map(|raw| tls(reader, raw)),
            backends: raw.backends.as_ref().map(|_| backends(reader, &raw.backends)),
            invite: raw.invite.as_ref().and_then(|raw| invite(reader, raw)),
            screen: raw.screen.as_ref().and_then(|text| Some(Spanned::new(text.span(), reader.parsed(text, screen)?))),
            backend_probe: raw.backend_probe.as_ref().map(|raw| backend_probe(reader, raw)),
            access_log: raw.access_log.as_ref().and_then(|_| access_log(reader, &raw.access_log)),
            access_log_format: raw
                .access_log_format
                .as_ref()
                .and_then(|word| reader.word("access_log_format", word, &formats)),
            aliases: raw.aliases.as_ref().map(|_| aliases(reader, &raw.aliases, names)),
            overflow: on(&raw.overflow),
            pass: raw.pass.as_ref().map(|_| pass(reader, &raw.pass)),
            backend_host: raw.backend_host.as_ref().and_then(|word| reader.word("backend_host", word, &hosts)),
            clean_url: on(&raw.clean_url),
            redirect: raw.redirect.as_ref().and_then(|word| reader.word("redirect", word, &redirects)),
            trusted_proxies: raw.trusted_proxies.as_ref().map(|_| trusted_proxies(reader, &raw.trusted_proxies)),
            via: raw.via.as_ref().and_then(|text| via(reader, text)),
            marker: raw.marker.as_ref().map(|raw| Spanned::new(raw.span(), marker(reader, raw))),
            busy: raw.busy.as_ref().map(|raw| busy(reader, raw)),
            session: raw.session.as_ref().map(|raw| Spanned::new(raw.span(), session(reader, raw))),
            flag: raw.flag.as_ref().and_then(|raw| Some(Spanned::new(raw.span(), flag(reader, raw)?))),
            peers: raw.peers.as_ref().and_then(|raw| peers(reader, raw, names)),
            limits: raw.limits.as_ref().map(|raw| limits(reader, raw)),
            rules: raw.rule.as_ref().map(|_| rules(reader, &raw.rule, names)),
            classes: raw.class.as_ref().map(|_| classes(reader, &raw.class)),
        }
    }
}

fn tls(reader: &mut Reader<'_>, raw: &Spanned<raw::WebTls>) -> Tls {
    let reader = &mut reader.inside("tls", raw.span());
    let raw = raw.get_ref();
    if raw.certificates.is_none() {
        reader.missing("certificates", "\"certificates\"");
    }
    let listen = reader.list("listen", &raw.listen).is_some().then(|| places(reader, &raw.listen, HTTPS));
    let span = raw.certificates.as_ref().map_or(reader.header.clone(), Spanned::span);
    Tls { listen, certificates: file(reader, "certificates", &raw.certificates).unwrap_or_default(), span }
}

fn backends(reader: &mut Reader<'_>, raw: &raw::List<String>) -> Vec<Spanned<Backend>> {
    let list = reader.list("backends", raw).unwrap_or_default();
    each(reader, list, ("backends", BACKENDS_MAX), |reader, text| {
        let backend = reader.parsed(text, |text| backend("backend", text))?;
        let shown = format!("http://{}", backend.authority);
        Some((backend, shown))
    })
}

fn backend_probe(reader: &mut Reader<'_>, raw: &Spanned<raw::BackendProbe>) -> BackendProbe {
    let reader = &mut reader.inside("backend_probe", raw.span());
    let raw = raw.get_ref();
    let (interval, timeout) = timing(reader, (&raw.interval, &raw.timeout), TIMEOUT);
    let path = raw.path.as_ref().and_then(|text| reader.parsed(text, request_path));
    BackendProbe { path, interval, timeout }
}

fn access_log(reader: &mut Reader<'_>, raw: &raw::Text) -> Option<LogPlace> {
    match raw.as_ref()?.get_ref().as_str() {
        "none" => Some(LogPlace::Nowhere),
        "stdout" => Some(LogPlace::Stdout),
        _ => file(reader, "access_log", raw).map(LogPlace::File),
    }
}

fn aliases(reader: &mut Reader<'_>, raw: &raw::List<String>, names: &Names<'_>) -> Vec<Alias> {
    let list = reader.list("aliases", raw).unwrap_or_default();
    let aliases = each(reader, list, ("aliases", ALIASES_MAX), |reader, text| {
        let (host, name) = reader.parsed(text, host)?;
        if let Some(kind) = names.all.get(&name) {
            reader
                .error(text.span(), format!("alias {host} is {kind} already"))
                .label("not another name")
                .help("take it out: Pool, Group and Site Names need not be listed");
        }
        Some(((host.clone(), name), host))
    });
    let aliases = aliases.into_iter().map(|alias| (alias.span(), alias.into_inner()));
    aliases.map(|(span, (host, name))| Alias { host, name, span }).collect()
}

fn pass(reader: &mut Reader<'_>, raw: &raw::List<String>) -> Vec<Passed> {
    let list = reader.list("pass", raw).unwrap_or_default();
    let entries = each(reader, list, ("entries in `pass`", PASS_MAX), |reader, text| {
        let (method, path) = reader.parsed(text, passed)?;
        Some(((method, path), text.get_ref().clone()))
    });
    entries.into_iter().map(Spanned::into_inner).map(|(method, path)| Passed { method, path }).collect()
}

fn trusted_proxies(reader: &mut Reader<'_>, raw: &raw::List<String>) -> Vec<IpNet> {
    let nets = reader.prefixes("trusted_proxies", raw, PROXIES_MAX);
    let texts = raw.as_ref().map_or(&[][..], |list| list.get_ref());
    if let Some((text, net)) = texts.iter().zip(&nets).find(|(_, net)| net.prefix_len() == 0) {
        reader
            .warn(text.span(), format!("`{net}` trusts everybody to say who they are"))
            .help("give the addresses of your own proxies alone: group rules trust what they say");
    }
    nets
}

fn marker(reader: &mut Reader<'_>, raw: &Spanned<raw::Marker>) -> MarkerConfig {
    #[derive(Clone, Copy)]
    enum Mode {
        Path,
        Query,
        Cookie,
    }
    let default = MarkerConfig::default();
    let reader = &mut reader.inside("marker", raw.span());
    let raw = raw.get_ref();
    let modes = [("path", Mode::Path), ("query", Mode::Query), ("cookie", Mode::Cookie)];
    let mode = match raw.mode.as_ref() {
        None => Some(Mode::Path),
        Some(word) => reader.word("mode", word, &modes),
    };
    let domain = raw.domain.as_ref().and_then(|text| reader.parsed(text, host));
    if let (Some(text), Some(Mode::Path | Mode::Query)) = (&raw.domain, mode) {
        reader
            .error(text.span(), "`domain` means nothing but to mode cookie")
            .help("take it out, or make the mode cookie");
    }
    let mode = match mode {
        Some(Mode::Query) => MarkerMode::Query,
        Some(Mode::Cookie) => {
            if raw.domain.is_none() {
                reader.missing("domain", "\"app.com\"");
            }
            MarkerMode::Cookie { domain: domain.map(|(host, _)| host).unwrap_or_default() }
        }
        Some(Mode::Path) | None => MarkerMode::Path,
    };
    let lifetime = Duration::from_secs(default.lifetime);
    let lifetime = whole_seconds(reader, "lifetime", &raw.lifetime, lifetime, MARKER_LIFETIME);
    let skew = whole_seconds(reader, "skew", &raw.skew, Duration::from_secs(default.skew).min(lifetime), SKEW);
    if let Some(text) = raw.skew.as_ref().filter(|_| skew > lifetime) {
        reader
            .error(text.span(), format!("`skew` {} is above `lifetime` {}", written(skew), written(lifetime)))
            .help("give at most the lifetime, and let the Sites' clocks be set by NTP");
    }
    let key = key_file(reader, &raw.key);
    MarkerConfig { mode, lifetime: lifetime.as_secs(), skew: skew.as_secs(), key }
}

fn busy(reader: &mut Reader<'_>, raw: &Spanned<raw::Busy>) -> BusyConfig {
    let default = BusyConfig::default();
    let reader = &mut reader.inside("busy", raw.span());
    let raw = raw.get_ref();
    let latency = raw
        .latency
        .as_ref()
        .filter(|value| *value.get_ref() != 0.0)
        .and_then(|_| reader.fraction("latency", &raw.latency, LATENCY, "times the usual latency, or 0 for never"));
    let status = raw.status.as_ref().map_or(default.status, |value| match value.get_ref() {
        503 => 503,
        200 => 200,
        other => {
            reader
                .error(value.span(), format!("`status` is {other}"))
                .help("give 503, or 200 for clients that must not be told of an error");
            default.status
        }
    });
    BusyConfig {
        in_flight: reader.number("in_flight", &raw.in_flight, IN_FLIGHT, "requests; 0 is never", default.in_flight),
        latency: latency.unwrap_or(default.latency),
        sessions: reader.number("sessions", &raw.sessions, SESSIONS, "sessions; 0 is never", default.sessions),
        resume: reader
            .fraction("resume", &raw.resume, RESUME, "the part of a limit to fall below")
            .unwrap_or(default.resume),
        status,
        retry: whole_seconds(reader, "retry", &raw.retry, default.retry, RETRY),
        client_share: reader
            .fraction("client_share", &raw.client_share, CLIENT_SHARE, "the part of a limit that one client may fill")
            .unwrap_or(default.client_share),
        client_prefix: (
            reader.number("client_prefix_v4", &raw.client_prefix_v4, 8..=32, "bits", default.client_prefix.0),
            reader.number("client_prefix_v6", &raw.client_prefix_v6, 16..=128, "bits", default.client_prefix.1),
        ),
    }
}

/// The prefix of cookie names for which browsers demand that there is no `Domain`.
const HOST_ONLY: &str = "__Host-";

fn flag(reader: &mut Reader<'_>, raw: &Spanned<raw::Flag>) -> Option<FlagConfig> {
    let reader = &mut reader.inside("flag", raw.span());
    let raw = raw.get_ref();
    let cookie = raw.cookie.as_ref().and_then(|text| {
        let name = reader.parsed(text, cookie_name)?;
        if name.get(..HOST_ONLY.len()).is_some_and(|start| start.eq_ignore_ascii_case(HOST_ONLY)) {
            reader
                .error(text.span(), format!("no browser takes a cookie `{name}` with a domain"))
                .help(format!("give it a name that does not begin with {HOST_ONLY}"));
        }
        Some(name)
    });
    if raw.domain.is_none() {
        reader.missing("domain", "\"app.com\"");
    }
    let domain = raw.domain.as_ref().and_then(|text| reader.parsed(text, host));
    let lifetime = whole_seconds(reader, "lifetime", &raw.lifetime, Duration::from_hours(720), FLAG_LIFETIME);
    Some(FlagConfig { cookie: cookie.unwrap_or_else(|| "ZGROUP".into()), domain: domain?.0, lifetime })
}

fn peers(reader: &mut Reader<'_>, raw: &Spanned<raw::Peers>, names: &Names<'_>) -> Option<Peers> {
    #[derive(Clone, Copy)]
    enum Word {
        Probe,
        None,
    }
    let table = match raw.get_ref() {
        raw::Peers::Word(word) => {
            let word = Spanned::new(raw.span(), word.clone());
            let words = [("probe", Word::Probe), ("none", Word::None)];
            return reader.word("peers", &word, &words).map(|word| match word {
                Word::Probe => Peers::Probe,
                Word::None => Peers::None,
            });
        }
        raw::Peers::Table(table) => table,
    };
    let reader = &mut reader.inside("peers", raw.span());
    let interval = duration(reader, "interval", &table.interval, Duration::from_secs(1), INTERVAL);
    let Some(text) = &table.agent else {
        reader.missing("agent", "\"203.0.113.53:8053\"");
        return None;
    };
    let at = reader.parsed(text, |text| agent(text, AGENT))?;
    if !at.ip().is_loopback() && names.model.admin.token.is_none() {
        reader
            .warn(text.span(), format!("an agent at {at} asks for a token, and [admin] has no `token_file`"))
            .help("name a file with the agent's token there, for agent and Site alike");
    }
    Some(Peers::Agent { at, interval: interval? })
}

fn limits(reader: &mut Reader<'_>, raw: &Spanned<raw::WebLimits>) -> WebLimits {
    let default = WebLimits::default();
    let reader = &mut reader.inside("limits", raw.span());
    let raw = raw.get_ref();
    let connections = reader.number("connections", &raw.connections, CONNECTIONS, "", default.connections);
    let per_client = default.connections_per_client.min(connections);
    let per_client = reader.number("connections_per_client", &raw.connections_per_client, CONNECTIONS, "", per_client);
    if let Some(value) = raw.connections_per_client.as_ref().filter(|_| per_client > connections) {
        reader
            .error(value.span(), format!("`connections_per_client` {per_client} is above `connections` {connections}"))
            .help("give at most as many");
    }
    let mut timeout = |key, value, default, range| duration(reader, key, value, default, range).unwrap_or(default);
    let head_timeout = timeout("head_timeout", &raw.head_timeout, default.head_timeout, HEAD_TIMEOUT);
    let idle_timeout = timeout("idle_timeout", &raw.idle_timeout, default.idle_timeout, IDLE_TIMEOUT);
    let connect_timeout = timeout("connect_timeout", &raw.connect_timeout, default.connect_timeout, CONNECT_TIMEOUT);
    let response_timeout =
        timeout("response_timeout", &raw.response_timeout, default.response_timeout, RESPONSE_TIMEOUT);
    let lame_duck = timeout("lame_duck", &raw.lame_duck, default.lame_duck, LAME_DUCK);
    let grace = timeout("grace", &raw.grace, default.grace, GRACE);
    let requests = &raw.requests_per_client;
    WebLimits {
        connections,
        connections_per_client: per_client,
        head: reader.number("head", &raw.head, HEAD, "bytes", default.head),
        headers: reader.number("headers", &raw.headers, HEADERS, "", default.headers),
        body: reader.number("body", &raw.body, BODY, "bytes; 0 is without a bound", default.body),
        head_timeout,
        idle_timeout,
        connect_timeout,
        response_timeout,
        streams: reader.number("streams", &raw.streams, STREAMS, "", default.streams),
        requests_per_client: reader.number(
            "requests_per_client",
            requests,
            CONNECTIONS,
            "",
            default.requests_per_client,
        ),
        lame_duck,
        grace,
    }
}

/// A pseudonym (RFC 9110 section 7.6.3): a token.
fn via(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<String> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    let value = text.get_ref();
    if value.len() <= VIA_MAX && value.bytes().all(is_token) {
        return Some(value.clone());
    }
    reader
        .error(text.span(), format!("`via` {value:?} is no name in a `Via` field"))
        .help(format!("give letters, digits and `-`, at most {VIA_MAX}, or \"\" for no such field"));
    None
}

/// The Site's own, for a list that is not given.
pub(super) fn own_places(addresses: &[IpAddr], tls: bool) -> Vec<SocketAddr> {
    let mut places: Vec<SocketAddr> = Vec::new();
    for &address in addresses {
        let place = SocketAddr::new(address, if tls { HTTPS } else { HTTP });
        if !places.contains(&place) {
            places.push(place);
        }
    }
    places
}
