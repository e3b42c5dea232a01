//! `[zone."…"] dnssec`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::Spanned;

use super::{
    raw,
    readers::{duration, readable},
    values::{Reader, written},
};
use zerottl_core::model::{DnssecConfig, Name, Roles, ZoneAlgorithm};
use zerottl_sign::SigningKey;

/// How long signatures are good: a resolver whose clock is off by an hour takes the shortest ones, too.
const VALIDITY: RangeInclusive<Duration> = Duration::from_hours(6)..=Duration::from_hours(24 * 90);
/// How often they are made anew.
const RENEW: RangeInclusive<Duration> = Duration::from_hours(1)..=Duration::from_hours(24 * 30);
/// TTLs that a parent may give its DS sets.
const PARENT_TTL: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 30);
/// Keys of one zone, at most: each makes every DNSKEY answer longer.
const KEYS_MAX: usize = 8;

/// How a zone is signed; none where it is not.
pub(super) fn dnssec(zone: &mut Reader<'_>, apex: &Name, raw: Option<&Spanned<raw::Dnssec>>) -> Option<DnssecConfig> {
    let spanned = raw?;
    let raw = match spanned.get_ref() {
        raw::Dnssec::Switch(false) => return None,
        raw::Dnssec::Switch(true) => return Some(DnssecConfig::default()),
        raw::Dnssec::Table(table) => table,
    };
    let default = DnssecConfig::default();
    let mut reader = zone.inside("dnssec", spanned.span());
    let reader = &mut reader;
    let algorithms = [("ecdsap256sha256", ZoneAlgorithm::EcdsaP256Sha256), ("ed25519", ZoneAlgorithm::Ed25519)];
    let algorithm = raw.algorithm.as_ref().and_then(|text| reader.word("algorithm", text, &algorithms));
    let validity = duration(reader, "validity", &raw.validity, default.validity, VALIDITY).unwrap_or(default.validity);
    let renew = duration(reader, "renew", &raw.renew, default.renew.min(validity / 4), RENEW).unwrap_or(default.renew);
    // What is renewed has to live until the next renewal, and through one that fails.
    if renew > validity / 2 {
        let at = raw.renew.as_ref().or(raw.validity.as_ref()).map_or(reader.header.clone(), Spanned::span);
        reader
            .error(at, format!("`renew` {} is over half of `validity` {}", written(renew), written(validity)))
            .help(format!("give a `renew` of at most {}, or a longer `validity`", written(validity / 2)));
    }
    let most = validity.saturating_sub(renew);
    let alarm_default = most / 2;
    let alarm = duration(
        reader,
        "signature_alarm",
        &raw.signature_alarm,
        alarm_default,
        Duration::from_hours(1)..=*VALIDITY.end(),
    );
    let signature_alarm = alarm.unwrap_or(alarm_default);
    // A bundle lasts for longer than its signatures.
    let is_bounded = raw.bundle.is_none();
    if let Some(text) = raw.signature_alarm.as_ref().filter(|_| is_bounded && signature_alarm >= most) {
        reader
            .error(text.span(), format!("`signature_alarm` is {}, and every signature comes to that", text.get_ref()))
            .help(format!("give less than {}: `validity` less `renew`", written(most)));
    }
    let parent_ttl = duration(reader, "parent_ttl", &raw.parent_ttl, default.parent_ttl, PARENT_TTL);
    let split_keys = raw.split_keys.as_ref().is_some_and(|split| *split.get_ref());
    let bundle = raw.bundle.as_ref().map(|text| bundle(reader, raw, text));
    let keys = if bundle.is_some() { Vec::new() } else { keys(reader, apex, &raw.keys) };
    if let Some(text) = raw.algorithm.as_ref().filter(|_| !keys.is_empty()) {
        reader
            .warn(text.span(), "`algorithm` has no use beside `keys`, which have their own")
            .help("take one of the two out");
    }
    Some(DnssecConfig {
        algorithm: algorithm.unwrap_or(default.algorithm),
        split_keys,
        keys,
        bundle,
        validity,
        renew,
        signature_alarm,
        parent_ttl: parent_ttl.unwrap_or(default.parent_ttl),
    })
}

/// The path of a bundle. It need not be there: the host that makes it reads the same file.
fn bundle(reader: &mut Reader<'_>, raw: &raw::DnssecTable, text: &Spanned<String>) -> PathBuf {
    let of_keys = [
        ("algorithm", raw.algorithm.as_ref().map(Spanned::span)),
        ("split_keys", raw.split_keys.as_ref().map(Spanned::span)),
        ("keys", raw.keys.as_ref().map(Spanned::span)),
    ];
    for (key, span) in of_keys.into_iter().filter_map(|(key, span)| Some((key, span?))) {
        reader
            .error(span, format!("`{key}` beside `bundle`, which has the signatures of keys on another host"))
            .help(format!("take `{key}` out; or `bundle`, if the keys are to be here"))
            .also(text.span(), "the bundle");
    }
    let file = reader.report.base_dir().join(text.get_ref());
    reader.report.files.push(file.clone());
    file
}

fn keys(reader: &mut Reader<'_>, apex: &Name, list: &raw::List<String>) -> Vec<PathBuf> {
    let mut keys = Vec::new();
    // None is as good as no list.
    for text in list.as_ref().map_or(&[][..], |list| &list.get_ref()[..]) {
        let Some(file) = readable(reader, "keys", text) else { continue };
        // As the agent does.
        if let Err(error) = SigningKey::read(apex, &file) {
            reader
                .error(text.span(), error.to_string())
                .help("name the `.key` file of a key of this zone, with its `.private` file beside it");
        }
        if keys.len() == KEYS_MAX {
            reader.error(text.span(), format!("more than {KEYS_MAX} keys")).label("one too many").help("name fewer");
        }
        keys.push(file);
    }
    keys
}

/// Refuses signed zones where this machine does not answer all of their names: its signatures would say that what
/// another machine answers is no delegation, which a referral to it makes it.
pub(super) fn check_roles(reader: &mut Reader<'_>, raw: Option<&Spanned<raw::Dnssec>>, roles: Roles) {
    if let Some(spanned) = raw.filter(|_| !(roles.load_balance && roles.failover)) {
        reader
            .error(spanned.span(), "a signed zone needs a machine with both roles")
            .label("signed here")
            .help("give `[front]` both roles, or take `dnssec` out");
    }
}
