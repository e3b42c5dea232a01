//! `web.session`: the cookie, the session servers, how much is kept and how it is acknowledged.

use std::{
    collections::HashSet,
    net::Ipv6Addr,
    ops::{Range, RangeInclusive},
    time::Duration,
};

use toml::Spanned;

use super::{
    files::{file, key_file, looked_at},
    values::{authority, cookie_name},
};
use crate::{
    raw,
    readers::{duration, each, whole_seconds},
    values::{Fault, Reader, written},
};
use zerottl_core::model::{
    SESSION_SERVERS_MAX, SESSION_SIZE_MAX, SameSite, SessionConfig, SessionServerConfig, WriteMode,
};
use zerottl_host::{key_file::read_password, trust::trust_anchors};

const LIFETIME: RangeInclusive<Duration> = Duration::from_secs(10)..=Duration::from_hours(30 * 24);
const COPIES: RangeInclusive<i64> = 0..=SESSION_SERVERS_MAX.cast_signed() as i64;
/// Copies that one worker and one session server may be lost with.
const COPIES_USUAL: usize = 2;
/// With fewer servers none is left to take the place of one that is away, or no majority.
const ACK_ALL_SERVERS: usize = 3;
const LEASE: RangeInclusive<Duration> = Duration::from_millis(500)..=Duration::from_mins(1);
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(10)..=Duration::from_secs(10);
/// A session is copied as a whole with each change.
const SIZE: RangeInclusive<i64> = 1..=SESSION_SIZE_MAX.cast_signed() as i64;
const SESSIONS: RangeInclusive<i64> = 1..=10_000_000;
/// Redis's port.
const PORT: u16 = 6379;
const DOMAIN_MAX: usize = 64;

pub(super) fn session(reader: &mut Reader<'_>, raw: &Spanned<raw::Session>) -> SessionConfig {
    let default = SessionConfig::default();
    let reader = &mut reader.inside("session", raw.span());
    let raw = raw.get_ref();
    let errors = reader.report.errors();
    let cookie = raw.cookie.as_ref().and_then(|text| reader.parsed(text, cookie_name));
    let same_sites = [("lax", SameSite::Lax), ("strict", SameSite::Strict), ("none", SameSite::None)];
    let writes = [("async", WriteMode::Async), ("ack-one", WriteMode::AckOne), ("ack-all", WriteMode::AckAll)];
    let servers = servers(reader, raw);
    let lease = duration(reader, "lease", &raw.lease, default.lease, LEASE).unwrap_or(default.lease);
    // The default gives way to a shorter lease.
    let timeout = default.timeout.min(lease / 4);
    let config = SessionConfig {
        cookie: cookie.unwrap_or(default.cookie),
        lifetime: whole_seconds(reader, "lifetime", &raw.lifetime, default.lifetime, LIFETIME),
        key: key_file(reader, &raw.key),
        same_site: reader.choice("same_site", &raw.same_site, &same_sites, default.same_site),
        servers_password: looked_at(reader, "servers_password", &raw.servers_password, read_password),
        servers_ca: looked_at(reader, "servers_ca", &raw.servers_ca, trust_anchors),
        copies: reader.number("copies", &raw.copies, COPIES, "copies of each session", servers.len().min(COPIES_USUAL)),
        write: reader.choice("write", &raw.write, &writes, default.write),
        lease,
        timeout: duration(reader, "timeout", &raw.timeout, timeout, TIMEOUT).unwrap_or(timeout),
        journal: file(reader, "journal", &raw.journal),
        size_max: reader.number("size_max", &raw.size_max, SIZE, "bytes", default.size_max),
        sessions_max: reader.number("sessions_max", &raw.sessions_max, SESSIONS, "sessions", default.sessions_max),
        servers,
    };
    if raw.servers.is_none() && !reader.report.is_spoiled(&reader.section, "servers") {
        report_idle_keys(reader, raw);
    }
    // With errors, values were left out that these would miss.
    if reader.report.errors() == errors && !reader.report.is_spoiled(&reader.section, "servers") {
        together(reader, raw, &config);
    }
    config
}

/// Keys that mean nothing without servers are a misunderstanding, so errors.
fn report_idle_keys(reader: &mut Reader<'_>, raw: &raw::Session) {
    let span = |text: &raw::Text| text.as_ref().map(Spanned::span);
    let keys = [
        ("servers_password", span(&raw.servers_password)),
        ("servers_ca", span(&raw.servers_ca)),
        ("copies", raw.copies.as_ref().map(Spanned::span)),
        // A journal acknowledges as well.
        ("write", span(&raw.write).filter(|_| raw.journal.is_none())),
        ("lease", span(&raw.lease)),
        ("timeout", span(&raw.timeout)),
    ];
    for (key, span) in keys {
        if let Some(span) = span {
            reader
                .error(span, format!("`{key}` means nothing without `servers`"))
                .help("take it out, or name session servers");
        }
    }
}

fn servers(reader: &mut Reader<'_>, raw: &raw::Session) -> Vec<SessionServerConfig> {
    let list = reader.list("servers", &raw.servers).unwrap_or_default();
    let servers = each(reader, list, ("session servers", SESSION_SERVERS_MAX), |reader, entry| {
        let server = server(reader, entry)?;
        let name = server.name.clone();
        Some((server, name))
    });
    servers.into_iter().map(Spanned::into_inner).collect()
}

fn server(reader: &mut Reader<'_>, entry: &Spanned<raw::SessionServer>) -> Option<SessionServerConfig> {
    let table = match entry.get_ref() {
        raw::SessionServer::Plain(url) => return reader.parsed(&Spanned::new(entry.span(), url.clone()), parse_server),
        raw::SessionServer::Table(table) => table,
    };
    let reader = &mut reader.inside("servers", entry.span());
    let Some(url) = &table.url else {
        reader.missing("url", "\"redis://10.0.0.1:6379\"");
        return None;
    };
    let mut server = reader.parsed(url, parse_server)?;
    if let Some(text) = &table.domain {
        let domain = text.get_ref();
        if domain.is_empty() || domain.len() > DOMAIN_MAX || domain.chars().any(char::is_control) {
            reader
                .error(text.span(), format!("`domain` {domain:?} is no name"))
                .help(format!("give 1 to {DOMAIN_MAX} bytes, the same for all servers that fail together: \"rack-b\""));
        }
        server.domain.clone_from(domain);
    }
    Some(server)
}

/// `redis://user@host:port/database`, or `rediss://…`. What it holds is said only if it cannot be a password.
fn parse_server(text: &str) -> Result<SessionServerConfig, Fault> {
    let form = "give \"redis://10.0.0.1:6379\", \"redis://[2001:db8::1]\" or \"rediss://user@redis-1.internal:6380/1\"";
    let (scheme, rest) = text.split_once("://").unwrap_or(("", text));
    let (user, rest) = rest.rsplit_once('@').map_or((None, rest), |(user, rest)| (Some(user), rest));
    if user.is_some_and(|user| user.contains(':')) {
        return Err(Fault::new(
            "the URL of a session server has a password",
            "take it out, and name a file with it by `servers_password`: this file may be read by many",
        ));
    }
    let fault = |what: &str| Err(Fault::new(format!("session server `{text}` {what}"), form));
    let tls = match scheme.to_ascii_lowercase().as_str() {
        "redis" => false,
        "rediss" => true,
        "" => return fault("is not a URL"),
        _ => return fault("is neither a redis:// nor a rediss:// URL"),
    };
    if user
        .is_some_and(|user| user.is_empty() || !user.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._~".contains(&b)))
    {
        return fault("has a user of other than letters, digits, -, ., _ and ~");
    }
    if rest.contains(['?', '#']) {
        return fault("has more than a database at its end");
    }
    let (place, database) = rest.split_once('/').unwrap_or((rest, ""));
    // `parse` would take a sign.
    let is_number = database.bytes().all(|b| b.is_ascii_digit());
    let database = if database.is_empty() { "0" } else { database };
    let Some(database) = database.parse::<u16>().ok().filter(|_| is_number) else {
        return fault("has no database of 0 to 65535");
    };
    let (host, port) = match authority(place, PORT) {
        Ok(found) => found,
        Err(what) => return fault(what),
    };
    // One server has one name, however it is written.
    let v6 = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')?.parse::<Ipv6Addr>().ok());
    let domain = v6.map_or_else(|| host.trim_end_matches('.').to_owned(), |ip| ip.to_string());
    let name = if v6.is_some() { format!("[{domain}]:{port}") } else { format!("{domain}:{port}") };
    let (scheme, user) =
        (if tls { "rediss" } else { "redis" }, user.map(|user| format!("{user}@")).unwrap_or_default());
    Ok(SessionServerConfig { url: format!("{scheme}://{user}{name}/{database}"), name, domain, tls })
}

/// Checks what only shows with other keys.
fn together(reader: &mut Reader<'_>, raw: &raw::Session, config: &SessionConfig) {
    let span = |text: &raw::Text| text.as_ref().map(Spanned::span);
    let servers = raw.servers.as_ref().map(Spanned::span);
    let (keeps, at) = match (&servers, span(&raw.journal)) {
        (Some(servers), Some(journal)) => {
            reader
                .error(journal, "`journal` and `servers` exclude each other")
                .also(servers.clone(), "the servers")
                .help("take one of them out: a journal is for one machine without session servers");
            return;
        }
        (Some(servers), None) => ("servers", servers.clone()),
        (None, Some(journal)) => ("journal", journal),
        (None, None) => return,
    };
    if config.key.is_none() {
        reader
            .error(at.clone(), format!("`{keeps}` without a `key`"))
            .label("what it keeps would be nobody's")
            .help("name a `key` file: a cookie that was signed with a random key is not known after a restart");
    }
    if let Some(servers) = servers {
        of_servers(reader, raw, config, &servers);
    }
}

fn of_servers(reader: &mut Reader<'_>, raw: &raw::Session, config: &SessionConfig, servers: &Range<usize>) {
    let at = |text: &raw::Text| text.as_ref().map_or_else(|| servers.clone(), Spanned::span);
    if config.servers_password.is_none() && config.servers.iter().any(|server| server.url.contains('@')) {
        reader
            .error(servers.clone(), "a user of a session server has no password")
            .help("name a file with it by `servers_password`, or take the user out");
    }
    if config.servers_ca.is_some() && !config.servers.iter().any(|server| server.tls) {
        reader
            .error(at(&raw.servers_ca), "`servers_ca` means nothing without a rediss:// server")
            .help("take it out, or make the servers' URLs rediss://");
    }
    if config.timeout >= config.lease / 2 {
        let (timeout, lease) = (written(config.timeout), written(config.lease));
        let problem = reader.error(
            raw.timeout.as_ref().or(raw.lease.as_ref()).map_or_else(|| servers.clone(), Spanned::span),
            format!("`timeout` {timeout} is not below half of `lease` {lease}"),
        );
        problem.help(
            "give a shorter timeout, or a longer lease: a lease is renewed before it ends, and that may be tried twice",
        );
    }
    copies(reader, raw, config, servers);
    if config.write == WriteMode::AckAll && config.servers.len() < ACK_ALL_SERVERS {
        let count = config.servers.len();
        let message = format!("`write` is ack-all, with {count} session server{}", if count == 1 { "" } else { "s" });
        reader.warn(at(&raw.write), message).label("without a majority").help(format!(
            "name at least {ACK_ALL_SERVERS}: with fewer, changes go on with what is left, and workers that reach different servers could both own a session"
        ));
    }
}

fn copies(reader: &mut Reader<'_>, raw: &raw::Session, config: &SessionConfig, servers: &Range<usize>) {
    let at = raw.copies.as_ref().map_or_else(|| servers.clone(), Spanned::span);
    let (copies, count) = (config.copies, config.servers.len());
    let many = |count: usize| if count == 1 { "" } else { "s" };
    if copies > count {
        reader
            .error(at, format!("`copies` is {copies}, with {count} session server{}", many(count)))
            .also(servers.clone(), "the servers")
            .help(format!("give at most {count}, or name more servers: none has two copies of a session"));
        return;
    }
    if copies == 0 && config.write != WriteMode::Async {
        reader
            .error(at, "`copies` is 0, so that nobody acknowledges a change")
            .help("give at least 1, or take `write` out");
        return;
    }
    let domains: HashSet<_> = config.servers.iter().map(|server| &server.domain).collect();
    let (message, help) = if copies == 0 {
        let message = "`copies` is 0: each session ends with the worker that hosts it".to_owned();
        (message, "give at least 1, or take `servers` out")
    } else if copies < COPIES_USUAL.min(count) {
        let message = format!(
            "`copies` is {copies}, with {count} session servers: a session is lost if its worker and its one server die together"
        );
        (message, "give at least 2")
    } else if domains.len() < copies {
        let message = format!(
            "{copies} copies, and the session servers are of {} failure domain{}: what fails there takes more than one with it",
            domains.len(),
            many(domains.len())
        );
        (message, "name servers that do not fail together, or give each the `domain` that it is in")
    } else {
        return;
    };
    reader.warn(at, message).help(help);
}
