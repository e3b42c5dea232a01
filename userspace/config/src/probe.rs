//! `probe` of a Site.

use std::ops::{Range, RangeInclusive};

use toml::Spanned;

use super::{
    raw,
    readers::{HttpKeys, TIMEOUT, host, http, timing, tls},
    values::{Fault, Reader},
};
use zerottl_core::model::{GrpcProbe, HttpProbe, Name, Probe, ProbeKind, WhenExpired};

/// Verdicts in a row.
const ROW: RangeInclusive<i64> = 1..=100;
/// Probes of an address, at most: each is a task, and a connection now and then.
const PROBES_MAX: usize = 8;
/// Bytes of the name of a gRPC service, at most.
const SERVICE_LEN_MAX: usize = 255;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Http,
    Https,
    Tcp,
    Grpc,
    External,
}

const KINDS: [(&str, Kind); 5] = [
    ("http", Kind::Http),
    ("https", Kind::Https),
    ("tcp", Kind::Tcp),
    ("grpc", Kind::Grpc),
    ("external", Kind::External),
];

/// Reads how a Site is probed, by one probe or several; none where it is not, or the file says it wrong.
pub(super) fn probes(site: &mut Reader<'_>, raw: &raw::Site, name: &Name) -> Vec<Probe> {
    let Some(raw) = raw.probe.as_ref() else {
        if !site.report.is_spoiled(&site.section, "probe") {
            site.warn(site.header.clone(), "no `probe`, so it always counts as up")
                .label("never probed")
                .help("add a probe, such as `probe = { kind = \"http\", path = \"/health\" }`");
        }
        return Vec::new();
    };
    let list = match raw.get_ref() {
        raw::Probes::One(one) => return probe(&mut site.inside("probe", raw.span()), one, name).into_iter().collect(),
        raw::Probes::Several(list) => list,
    };
    if list.is_empty() {
        site.error(raw.span(), "`probe` is empty").help("name at least one");
    }
    if let Some(beyond) = list.get(PROBES_MAX) {
        site.error(beyond.span(), format!("more than {PROBES_MAX} probes")).label("one too many").help("name fewer");
    }
    let one = |raw: &Spanned<raw::Probe>| {
        let reader = &mut site.inside("probe", raw.span());
        let probe = probe(reader, raw.get_ref(), name)?;
        if list.len() > 1 && matches!(probe.kind, ProbeKind::External(_)) {
            let at = raw.get_ref().kind.as_ref().map_or(raw.span(), Spanned::span);
            reader
                .error(at, "kind external is not one of several probes")
                .help("take it out: what is stated to be down is down beside probes, too");
        }
        Some(probe)
    };
    list.iter().filter_map(one).collect()
}

/// Reads how many of a Site's probes must find an address well; all of them unless given.
pub(super) fn min_healthy(site: &mut Reader<'_>, raw: &raw::Site, count: usize) -> usize {
    let of = match raw.probe.as_ref().map(Spanned::get_ref) {
        Some(raw::Probes::Several(list)) if list.len() > 1 => list.len(),
        _ => {
            if let Some(value) = &raw.min_healthy {
                let help = format!("take it out, or write [[{}.probe]] for each probe", site_path(&site.section));
                site.error(value.span(), "`min_healthy` means nothing without several probes").help(help);
            }
            return count;
        }
    };
    let range = 1..=i64::try_from(of).unwrap_or(i64::MAX);
    site.number("min_healthy", &raw.min_healthy, range, "of the probes", of)
}

/// Takes the brackets off a section.
fn site_path(section: &str) -> &str {
    section.trim_matches(['[', ']'])
}

fn probe(reader: &mut Reader<'_>, raw: &raw::Probe, name: &Name) -> Option<Probe> {
    let Some(word) = raw.kind.as_ref() else {
        reader.missing("kind", "\"http\"");
        return None;
    };
    let kind = reader.word("kind", word, &KINDS)?;
    report_idle_keys(reader, raw, kind, word.get_ref());
    match kind {
        Kind::Tcp if raw.port.is_none() => reader.missing("port", "443"),
        Kind::Grpc if raw.port.is_none() => reader.missing("port", "50051"),
        _ => {}
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
        Kind::Grpc => ProbeKind::Grpc(grpc_probe(reader, raw, name)),
    };
    Some(Probe { kind, port, interval, timeout, rise, fall })
}

/// Whether a gRPC probe speaks TLS.
fn is_secure(raw: &raw::Probe) -> bool {
    raw.tls.as_ref().is_some_and(|tls| *tls.get_ref())
}

/// Keys that the probe's kind has no use for are a misunderstanding, so errors.
fn report_idle_keys(reader: &mut Reader<'_>, raw: &raw::Probe, kind: Kind, word: &str) {
    let text = |text: &raw::Text| text.as_ref().map(Spanned::span);
    let number = |number: &raw::Number| number.as_ref().map(Spanned::span);
    let switch = |switch: &raw::Switch| switch.as_ref().map(Spanned::span);
    let is_get = matches!(kind, Kind::Http | Kind::Https);
    let (is_grpc, is_external) = (kind == Kind::Grpc, kind == Kind::External);
    let attempt = (!is_external, "make the kind http, https, tcp or grpc");
    let stated = (is_external, "make the kind external");
    let get = (is_get, "make the kind http or https");
    let request = (is_get || is_grpc, "make the kind http, https or grpc");
    let call = (is_grpc, "make the kind grpc");
    let secure = match kind {
        Kind::Grpc => (is_secure(raw), "say `tls = true`"),
        _ => (kind == Kind::Https, "make the kind https"),
    };
    let keys: [(_, &str, Option<Range<usize>>); 17] = [
        (attempt, "port", number(&raw.port)),
        (attempt, "interval", text(&raw.interval)),
        (attempt, "timeout", text(&raw.timeout)),
        (attempt, "rise", number(&raw.rise)),
        (attempt, "fall", number(&raw.fall)),
        (stated, "when_expired", text(&raw.when_expired)),
        (get, "path", text(&raw.path)),
        (request, "host", text(&raw.host)),
        (get, "expect_status", raw.expect_status.as_ref().map(Spanned::span)),
        (get, "expect_body", text(&raw.expect_body)),
        (call, "service", text(&raw.service)),
        (call, "tls", switch(&raw.tls)),
        (secure, "verify", switch(&raw.verify)),
        (secure, "ca", text(&raw.ca)),
        (secure, "server_name", text(&raw.server_name)),
        (secure, "certificate", text(&raw.certificate)),
        (secure, "key", text(&raw.key)),
    ];
    for ((is_of_use, otherwise), key, span) in keys {
        if let Some(span) = span.filter(|_| !is_of_use) {
            let without = if is_grpc && otherwise.starts_with("say") { " without TLS" } else { "" };
            reader
                .error(span, format!("`{key}` means nothing to kind {word}{without}"))
                .help(format!("take it out, or {otherwise}"));
        }
    }
}

fn http_keys(raw: &raw::Probe) -> HttpKeys<'_> {
    HttpKeys {
        path: &raw.path,
        default_path: "/",
        host: &raw.host,
        verify: &raw.verify,
        ca: &raw.ca,
        server_name: &raw.server_name,
        certificate: &raw.certificate,
        key: &raw.key,
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
    let http = http(reader, &http_keys(raw), https, name);
    HttpProbe { expect_status: statuses.unwrap_or_else(|| vec![200]), expect_body, ..http }
}

fn grpc_probe(reader: &mut Reader<'_>, raw: &raw::Probe, name: &Name) -> GrpcProbe {
    let service = raw.service.as_ref().and_then(|text| reader.parsed(text, service));
    let host = host(reader, &raw.host, name);
    let tls = is_secure(raw).then(|| tls(reader, &http_keys(raw), &host));
    GrpcProbe { service: service.unwrap_or_default(), host, tls }
}

/// A service's name; the empty one stands for the whole server.
fn service(text: &str) -> Result<String, Fault> {
    if text.len() <= SERVICE_LEN_MAX && text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{}` is not the name of a service", text.escape_debug()),
        format!(
            "give up to {SERVICE_LEN_MAX} printable ASCII characters, such as \"shop.v1.Cart\", or \"\" for the whole server"
        ),
    ))
}
