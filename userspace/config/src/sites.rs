//! `[site.KEY]`: names, addresses. Which pool and groups a Site is in comes later, from those.

use std::{net::IpAddr, ops::RangeInclusive};

use toml::Spanned;

use super::{
    front::Zones,
    load_source, probe, raw,
    report::Reporter,
    safety,
    tables::section,
    values::{self, Reader, site_name},
};
use zerottl_core::model::{Initial, PoolId, Site, SiteAddress, SiteOrder};

/// Endpoints of a plan, at most: a slot names one in 16 bits.
const ENDPOINTS_MAX: usize = 65_535;
const WEIGHT: RangeInclusive<i64> = 1..=65_535;

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
    let probes = probe::probes(reader, raw, &name);
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
        min_healthy: probe::min_healthy(reader, raw, probes.len()),
        probes,
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
