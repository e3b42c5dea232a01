//! `[site.KEY]`: names, addresses, probes. Which pool and groups a Site is in comes later, from those.

use std::{
    net::IpAddr,
    ops::{Range, RangeInclusive},
};

use toml::Spanned;

use super::{
    front::Zones,
    load_source, raw,
    readers::{HttpKeys, TIMEOUT, http, timing},
    report::Reporter,
    safety,
    tables::section,
    values::{self, Reader, site_name},
};
use zerottl_core::model::{
    HttpProbe, Initial, Name, PoolId, Probe, ProbeKind, Site, SiteAddress, SiteOrder, WhenExpired,
};

/// Endpoints of a plan, at most: a slot names one in 16 bits.
const ENDPOINTS_MAX: usize = 65_535;
const WEIGHT: RangeInclusive<i64> = 1..=65_535;
/// Verdicts in a row.
const ROW: RangeInclusive<i64> = 1..=100;

pub(super) fn sites(report: &mut Reporter, raw: &raw::Named<raw::Site>, zones: &Zones) -> Vec<Site> {
    let mut endpoints = 0;
    let sites = raw.0.iter().map(|(key, raw)| {
        let mut reader = Reader { report, section: section(&["site", key.get_ref()]), header: key.span() };
        let site = site(&mut reader, key.get_ref(), raw, zones);
        let before = endpoints;
        endpoints += site.addresses.len();
        if before <= ENDPOINTS_MAX && endpoints > ENDPOINTS_MAX {
            reader
                .error(key.span(), format!("more than {ENDPOINTS_MAX} Site addresses in all"))
                .help("split the Sites over several instances");
        }
        site
    });
    sites.collect()
}

fn site(reader: &mut Reader<'_>, key: &str, raw: &raw::Site, zones: &Zones) -> Site {
    if raw.name.is_none() {
        reader.missing("name", &format!("\"{}.app.com\"", key.to_ascii_lowercase()));
    }
    let name = raw.name.as_ref().and_then(|text| Some((reader.parsed(text, site_name)?, text.span())));
    let zone = name.as_ref().map(|(name, span)| zones.of(reader, name, span.clone()));
    let name = name.map_or_else(values::no_name, |(name, _)| name);
    let weight = raw.weight.as_ref();
    if let Some(zero) = weight.filter(|w| *w.get_ref() == 0) {
        reader
            .error(zero.span(), "`weight` is 0, so the Site would never be chosen")
            .help("give 1 to 65535; to keep a Site out, take it out of its pool's and groups' `sites`");
    }
    let weight =
        if weight.is_some_and(|w| *w.get_ref() == 0) { 1 } else { reader.number("weight", &raw.weight, WEIGHT, "", 1) };
    Site {
        key: key.to_owned(),
        zone: zone.unwrap_or(zerottl_core::model::ZoneId(0)),
        pool: PoolId(0),
        addresses: addresses(reader, raw),
        weight,
        capacity: safety::capacity(reader, raw),
        damping: safety::damping(reader, raw),
        failback: safety::failback(reader, &raw.failback).unwrap_or_default(),
        depends_on: Vec::new(),
        load: load_source::load(reader, raw, &name),
        probe: probe(reader, raw, &name),
        initial: reader.choice("initial", &raw.initial, &[("up", Initial::Up), ("down", Initial::Down)], Initial::Up),
        primary: None,
        failover: SiteOrder::default(),
        name,
    }
}

fn addresses(reader: &mut Reader<'_>, raw: &raw::Site) -> Vec<SiteAddress> {
    if raw.addresses.is_none() {
        reader.missing("addresses", "[\"192.0.2.10\"]");
    }
    let mut addresses = Vec::new();
    for entry in reader.list("addresses", &raw.addresses).unwrap_or_default() {
        match entry.get_ref() {
            raw::Address::Plain(text) => {
                let text = Spanned::new(entry.span(), text.clone());
                addresses.extend(address(reader, &text).map(|ip| SiteAddress { answer: ip, probe: ip }));
            }
            raw::Address::Table(table) => {
                let answer = table.answer.as_ref();
                if answer.is_none() {
                    let inner = format!("{}.addresses]", reader.section.trim_end_matches(']'));
                    reader.report.missing(&inner, "answer", entry.span(), "\"192.0.2.10\"");
                }
                let answer = answer.map(|text| address(reader, text));
                let probe = table.probe.as_ref().map(|text| reader.parsed(text, values::address));
                if let Some(Some(answer)) = answer {
                    addresses.push(SiteAddress { answer, probe: probe.flatten().unwrap_or(answer) });
                }
            }
        }
    }
    addresses
}

/// An answered address.
fn address(reader: &mut Reader<'_>, text: &Spanned<String>) -> Option<IpAddr> {
    let ip = reader.parsed(text, values::address)?;
    if ip.is_loopback() {
        reader
            .warn(text.span(), format!("{ip} is a loopback address"))
            .help("a client that is answered this asks itself; give the Site's own address");
    }
    Some(ip)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Tcp,
    External,
}

const KINDS: [(&str, Kind); 4] =
    [("http", Kind::Http), ("https", Kind::Https), ("tcp", Kind::Tcp), ("external", Kind::External)];

fn probe(site: &mut Reader<'_>, raw: &raw::Site, name: &Name) -> Option<Probe> {
    let Some(raw) = raw.probe.as_ref() else {
        if !site.report.is_spoiled(&site.section, "probe") {
            site.warn(site.header.clone(), "no `probe`, so it always counts as up")
                .label("never probed")
                .help("add a probe, such as `probe = { kind = \"http\", path = \"/health\" }`");
        }
        return None;
    };
    let reader = &mut site.inside("probe", raw.span());
    let raw = raw.get_ref();
    let Some(word) = raw.kind.as_ref() else {
        reader.missing("kind", "\"http\"");
        return None;
    };
    let kind = reader.word("kind", word, &KINDS)?;
    report_idle_keys(reader, raw, kind, word.get_ref());
    if kind == Kind::Tcp && raw.port.is_none() {
        reader.missing("port", "443");
    }
    let default_port: u16 = if kind == Kind::Https { 443 } else { 80 };
    let port = reader.number("port", &raw.port, 1..=65_535, "", default_port);
    let (interval, timeout) = timing(reader, (&raw.interval, &raw.timeout), TIMEOUT);
    let rise = reader.number("rise", &raw.rise, ROW, "", 2);
    let fall = reader.number("fall", &raw.fall, ROW, "", 3);
    let when_expired = [WhenExpired::Down, WhenExpired::Up, WhenExpired::Keep].map(|when| (when.as_str(), when));
    let when_expired = reader.choice("when_expired", &raw.when_expired, &when_expired, WhenExpired::Down);
    let kind = match kind {
        Kind::External => ProbeKind::External(when_expired),
        Kind::Tcp => ProbeKind::Tcp,
        Kind::Http | Kind::Https => ProbeKind::Http(http_probe(reader, raw, kind == Kind::Https, name)),
    };
    Some(Probe { kind, port, interval, timeout, rise, fall })
}

/// Keys that the probe's kind has no use for are a misunderstanding, so errors.
fn report_idle_keys(reader: &mut Reader<'_>, raw: &raw::Probe, kind: Kind, word: &str) {
    let span = |text: &raw::Text| text.as_ref().map(Spanned::span);
    let http: [(&str, Option<Range<usize>>); 4] = [
        ("path", span(&raw.path)),
        ("host", span(&raw.host)),
        ("expect_status", raw.expect_status.as_ref().map(Spanned::span)),
        ("expect_body", span(&raw.expect_body)),
    ];
    let tls: [(&str, Option<Range<usize>>); 3] = [
        ("verify", raw.verify.as_ref().map(Spanned::span)),
        ("ca", span(&raw.ca)),
        ("server_name", span(&raw.server_name)),
    ];
    let number = |number: &raw::Number| number.as_ref().map(Spanned::span);
    let attempt: [(&str, Option<Range<usize>>); 5] = [
        ("port", number(&raw.port)),
        ("interval", span(&raw.interval)),
        ("timeout", span(&raw.timeout)),
        ("rise", number(&raw.rise)),
        ("fall", number(&raw.fall)),
    ];
    let stated = [("when_expired", span(&raw.when_expired))];
    let is_get = matches!(kind, Kind::Http | Kind::Https);
    let idle_attempt = attempt.into_iter().filter(|_| kind == Kind::External).map(|k| (k, "http, https or tcp"));
    let idle_stated = stated.into_iter().filter(|_| kind != Kind::External).map(|k| (k, "external"));
    let idle_http = http.into_iter().filter(|_| !is_get).map(|k| (k, "http or https"));
    let idle_tls = tls.into_iter().filter(|_| kind != Kind::Https).map(|k| (k, "https"));
    for ((key, span), kinds) in idle_attempt.chain(idle_stated).chain(idle_http).chain(idle_tls) {
        if let Some(span) = span {
            reader
                .error(span, format!("`{key}` means nothing to kind {word}"))
                .help(format!("take it out, or make the kind {kinds}"));
        }
    }
}

fn http_probe(reader: &mut Reader<'_>, raw: &raw::Probe, https: bool, name: &Name) -> HttpProbe {
    let statuses = reader.list("expect_status", &raw.expect_status).map(|list| {
        let statuses =
            list.iter().map(|status| reader.number("expect_status", &Some(status.clone()), 100..=599, "", 200));
        statuses.collect()
    });
    let expect_body = raw.expect_body.as_ref().map(|text| {
        if text.get_ref().is_empty() {
            reader.error(text.span(), "`expect_body` is empty").help("give a text the body must hold, or take it out");
        }
        text.get_ref().clone()
    });
    let keys = HttpKeys {
        path: &raw.path,
        default_path: "/",
        host: &raw.host,
        verify: &raw.verify,
        ca: &raw.ca,
        server_name: &raw.server_name,
    };
    HttpProbe { expect_status: statuses.unwrap_or_else(|| vec![200]), expect_body, ..http(reader, &keys, https, name) }
}
