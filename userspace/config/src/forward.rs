//! `[forward."…"]`.

use std::{collections::HashMap, net::SocketAddr, ops::RangeInclusive, time::Duration};

use toml::Spanned;

use super::{
    front::{Zones, warn_of_port},
    raw,
    readers::{again, duration},
    report::{Once, Reporter},
    tables::section,
    values::{self, Reader},
};
use zerottl_core::model::{Forward, Name};

/// Forward names, at most: each is an entry in the kernel's table of names.
const FORWARDS_MAX: usize = 4096;
/// Upstreams of one forward name, at most.
const UPSTREAMS_MAX: usize = 8;
/// Prefixes in `clients`, at most: each query of a forward name is held against all of them.
const CLIENTS_MAX: usize = 1024;
/// A second is more than any healthy server takes; ten are as long as a client waits.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_secs(10);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(1);
const ATTEMPTS: RangeInclusive<i64> = 1..=5;

pub(super) fn forwards(
    report: &mut Reporter,
    raw: &raw::Named<raw::Forward>,
    zones: &Zones,
    listen: &[SocketAddr],
) -> Vec<Forward> {
    let mut once = Once::new();
    let mut forwards = Vec::new();
    for (key, section_raw) in &raw.0 {
        let mut reader = Reader { report, section: section(&["forward", key.get_ref()]), header: key.span() };
        let name = reader.parsed(key, values::name).unwrap_or_else(values::no_name);
        if !name.is_root()
            && let Some(first) = once.see(name.clone(), key.span())
        {
            again(&mut reader, key.span(), first, &format!("forward name `{name}`"));
        }
        if forwards.len() == FORWARDS_MAX {
            reader
                .error(key.span(), format!("more than {FORWARDS_MAX} forward names"))
                .label("one too many")
                .help("forward a name above them");
        }
        forwards.push(read(&mut reader, name, section_raw, listen));
    }
    check_zones(report, raw, &forwards, zones);
    forwards
}

/// Reports forward names at or above a zone's apex: what a zone has there, and below, is not another's to answer.
fn check_zones(report: &mut Reporter, raw: &raw::Named<raw::Forward>, forwards: &[Forward], zones: &Zones) {
    let places: HashMap<&[u8], &Spanned<String>> =
        forwards.iter().zip(&raw.0).map(|(forward, (key, _))| (forward.name.as_slice(), key)).collect();
    for apex in zones.list.iter().map(|zone| &zone.apex) {
        for (depth, suffix) in apex.iter_suffixes().filter(|suffix| !suffix.is_root()).enumerate() {
            let Some(key) = places.get(suffix.as_slice()) else { continue };
            let place = if depth == 0 { "the apex of" } else { "above" };
            let header = section(&["forward", key.get_ref()]);
            report
                .error(key.span(), format!("{header}: {suffix} is {place} zone {apex}, which is answered here"))
                .label("hides the zone")
                .help(format!("forward names below {apex}, or outside it"));
        }
    }
}

fn read(reader: &mut Reader<'_>, name: Name, raw: &raw::Forward, listen: &[SocketAddr]) -> Forward {
    if raw.clients.is_none() {
        // Whoever forgets it would run an open relay.
        reader.missing("clients", "[\"10.0.0.0/8\"]");
    }
    Forward {
        name,
        upstreams: upstreams(reader, raw, listen),
        timeout: duration(reader, "timeout", &raw.timeout, TIMEOUT_DEFAULT, TIMEOUT).unwrap_or(TIMEOUT_DEFAULT),
        attempts: reader.number("attempts", &raw.attempts, ATTEMPTS, "", 2),
        clients: reader.prefixes("clients", &raw.clients, CLIENTS_MAX),
    }
}

fn upstreams(reader: &mut Reader<'_>, raw: &raw::Forward, listen: &[SocketAddr]) -> Vec<SocketAddr> {
    if raw.upstreams.is_none() {
        reader.missing("upstreams", "[\"192.0.2.53\"]");
    }
    let mut once = Once::new();
    let mut upstreams = Vec::new();
    for text in reader.list("upstreams", &raw.upstreams).unwrap_or_default() {
        let Some(address) = reader.parsed(text, values::listen_address) else { continue };
        warn_of_port(reader, text);
        if let Some(first) = once.see(address, text.span()) {
            again(reader, text.span(), first, &format!("upstream {address}"));
            continue;
        }
        if listen.contains(&address) {
            reader
                .error(text.span(), format!("upstream {address} is in front.addresses"))
                .label("this server")
                .help("name another server: a query would go round in circles");
        }
        upstreams.push(address);
        if upstreams.len() == UPSTREAMS_MAX + 1 {
            reader
                .error(text.span(), format!("more than {UPSTREAMS_MAX} upstreams"))
                .label("one too many")
                .help("name fewer");
        }
    }
    upstreams
}
