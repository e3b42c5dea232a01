//! `[fleet]`, and `quorum` of pools.

use std::{net::SocketAddr, ops::RangeInclusive, path::PathBuf, time::Duration};

use rustls_pki_types::ServerName;
use toml::Spanned;

use super::{
    parts::Parts,
    places::place,
    raw,
    readers::{each, identity, readable, whole_seconds},
    report::Reporter,
    values::{Fault, Reader},
};
use zerottl_core::model::{EtcdConfig, EtcdTls, FleetConfig, FleetEngine, Model, Quorum};
use zerottl_host::key_file::read_password;

/// The port of etcd's clients.
const ETCD: u16 = 2379;
/// Nodes named, at most.
const ENDPOINTS_MAX: usize = 16;
/// Bytes of a front's name, at most: it is a part of keys, and a label of metrics.
const FRONT_LEN_MAX: usize = 64;
/// Bytes of the beginning of keys, at most.
const PREFIX_LEN_MAX: usize = 128;
const PREFIX: &str = "zerottl/";
/// Below it a busy machine would look dead; above it a dead one's votes count for long.
const LEASE: RangeInclusive<Duration> = Duration::from_secs(2)..=Duration::from_mins(5);
const LEASE_DEFAULT: Duration = Duration::from_secs(10);

const PROBERS: RangeInclusive<i64> = 1..=64;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Etcd,
    File,
}

/// The sections that each front has for itself.
const OWN: [&str; 5] = ["fleet", "front", "admin", "agent", "state"];

/// Reads it; `whole` is all of the file, and its parts.
pub(super) fn fleet(
    report: &mut Reporter,
    raw: Option<&Spanned<raw::Fleet>>,
    whole: (&str, &Parts),
) -> Option<FleetConfig> {
    let raw = raw?;
    let mut reader = Reader { report, section: "[fleet]".into(), header: raw.span() };
    let (reader, raw) = (&mut reader, raw.get_ref());
    for (key, value, example) in [("kind", &raw.kind, "\"etcd\""), ("front", &raw.front, "\"ns1\"")] {
        if value.is_none() {
            reader.missing(key, example);
        }
    }
    let front = raw.front.as_ref().and_then(|text| reader.parsed(text, front_name));
    let kind =
        raw.kind.as_ref().and_then(|word| reader.word("kind", word, &[("etcd", Kind::Etcd), ("file", Kind::File)]))?;
    let engine = match kind {
        Kind::Etcd => FleetEngine::Etcd(etcd(reader, raw)),
        Kind::File => FleetEngine::File(file(reader, raw)),
    };
    out_of_place(reader, raw, kind);
    let shared = reader.choice("probes", &raw.probes, &[("own", false), ("shared", true)], false);
    if let Some(value) = raw.probers.as_ref().filter(|_| !shared) {
        reader
            .error(value.span(), "`probers` without `probes = \"shared\"`")
            .help("take it out, or add probes = \"shared\"");
    }
    let probers = shared.then(|| reader.number("probers", &raw.probers, PROBERS, "fronts", 2));
    Some(FleetConfig { front: front.unwrap_or_default(), engine, digest: digest(whole), probers })
}

/// A digest of what all fronts should have alike, whatever the order of its tables and how it is laid out: of pools, of which
/// there may be a million, the sum of each one's own, so that no tree of all of them is held.
fn digest((text, parts): (&str, &Parts)) -> String {
    let (mut pools, mut rest) = (0_u64, Vec::new());
    for part in parts.all() {
        let mut table: toml::Table = toml::from_str(&part.text(text)).unwrap_or_default();
        for key in OWN {
            table.remove(key);
        }
        if let Some(toml::Value::Table(sections)) = table.remove("pool") {
            pools = sections.iter().map(|pool| hash(&format!("{pool:?}"))).fold(pools, u64::wrapping_add);
        }
        // Parts of pools have nothing else.
        if !table.is_empty() {
            rest.push(table);
        }
    }
    format!("{:016x}", hash(&format!("{pools} {rest:?}")))
}

/// The first bytes of a SHA-256.
fn hash(text: &str) -> u64 {
    let digest = ring::digest::digest(&ring::digest::SHA256, text.as_bytes());
    u64::from_be_bytes(std::array::from_fn(|at| digest.as_ref()[at]))
}

/// Warns of keys of the other kind.
fn out_of_place(reader: &mut Reader<'_>, raw: &raw::Fleet, kind: Kind) {
    let texts = [
        ("file", Kind::File, &raw.file),
        ("prefix", Kind::Etcd, &raw.prefix),
        ("lease", Kind::Etcd, &raw.lease),
        ("ca", Kind::Etcd, &raw.ca),
        ("server_name", Kind::Etcd, &raw.server_name),
        ("certificate", Kind::Etcd, &raw.certificate),
        ("key", Kind::Etcd, &raw.key),
        ("user", Kind::Etcd, &raw.user),
        ("password_file", Kind::Etcd, &raw.password_file),
        ("probes", Kind::Etcd, &raw.probes),
    ];
    let texts = texts.into_iter().filter_map(|(key, of, value)| Some((key, of, value.as_ref()?.span())));
    let list = raw.endpoints.as_ref().map(|list| ("endpoints", Kind::Etcd, list.span()));
    for (key, _, span) in texts.chain(list).filter(|(_, of, _)| *of != kind) {
        let name = if kind == Kind::Etcd { "etcd" } else { "file" };
        reader.warn(span, format!("`{key}` means nothing to kind {name}")).help("take it out");
    }
}

/// The file may come later: whoever brings it is no part of this machine.
fn file(reader: &mut Reader<'_>, raw: &raw::Fleet) -> PathBuf {
    let Some(text) = &raw.file else {
        reader.missing("file", "\"fleet.states\"");
        return PathBuf::new();
    };
    if text.get_ref().is_empty() || text.get_ref().contains('\0') {
        reader.error(text.span(), "`file` is not a path").help("give a file, such as \"fleet.states\"");
    }
    reader.report.base_dir().join(text.get_ref())
}

fn front_name(text: &str) -> Result<String, Fault> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if !text.is_empty() && text.len() <= FRONT_LEN_MAX && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{text}` cannot be a front's name"),
        format!("give 1 to {FRONT_LEN_MAX} letters, digits, -, _ and dots, such as \"ns1\""),
    ))
}

fn etcd(reader: &mut Reader<'_>, raw: &raw::Fleet) -> EtcdConfig {
    if raw.endpoints.is_none() {
        reader.missing("endpoints", "[\"http://192.0.2.21:2379\"]");
    }
    let list = reader.list("endpoints", &raw.endpoints).unwrap_or_default();
    let mut secure = None;
    let endpoints = each(reader, list, ("endpoints", ENDPOINTS_MAX), |reader, text| {
        let (is_secure, at) = reader.parsed(text, endpoint)?;
        if *secure.get_or_insert(is_secure) != is_secure {
            reader.error(text.span(), "http and https side by side").help(
                "give all endpoints the same scheme: what one is told in the clear, TLS to the others hides no more",
            );
        }
        Some((at, at.to_string()))
    });
    let is_secure = secure == Some(true);
    for (key, value) in
        [("ca", &raw.ca), ("server_name", &raw.server_name), ("certificate", &raw.certificate), ("key", &raw.key)]
    {
        if let Some(text) = value.as_ref().filter(|_| secure == Some(false)) {
            reader.error(text.span(), format!("`{key}` has no use with http endpoints")).help("give https endpoints");
        }
    }
    EtcdConfig {
        endpoints: endpoints.into_iter().map(Spanned::into_inner).collect(),
        tls: is_secure.then(|| tls(reader, raw)),
        user: user(reader, raw, is_secure),
        prefix: raw.prefix.as_ref().and_then(|text| reader.parsed(text, prefix)).unwrap_or_else(|| PREFIX.into()),
        lease: whole_seconds(reader, "lease", &raw.lease, LEASE_DEFAULT, LEASE),
    }
}

/// A node, and whether it is asked over TLS.
fn endpoint(text: &str) -> Result<(bool, SocketAddr), Fault> {
    let (is_secure, rest) = match text.split_once("://") {
        Some(("http", rest)) => (false, rest),
        Some(("https", rest)) => (true, rest),
        _ => {
            let help = "give the scheme and an address, such as \"https://192.0.2.21:2379\"";
            return Err(Fault::new(format!("`{text}` is not an endpoint"), help));
        }
    };
    let bare = rest.strip_suffix('/').unwrap_or(rest);
    let unbracketed = bare.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(bare);
    Ok((is_secure, place(unbracketed, ETCD)?))
}

fn prefix(text: &str) -> Result<String, Fault> {
    if !text.is_empty()
        && text.len() <= PREFIX_LEN_MAX
        && text.ends_with('/')
        && text.bytes().all(|b| b.is_ascii_graphic())
    {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{text}` cannot be the beginning of keys"),
        format!("give up to {PREFIX_LEN_MAX} printable ASCII characters that end with /, such as \"{PREFIX}\""),
    ))
}

fn tls(reader: &mut Reader<'_>, raw: &raw::Fleet) -> EtcdTls {
    let server_name = raw.server_name.as_ref().and_then(|text| {
        if ServerName::try_from(text.get_ref().as_str()).is_ok() {
            return Some(text.get_ref().clone());
        }
        reader
            .error(text.span(), format!("`{}` cannot be the name on a certificate", text.get_ref()))
            .help("give a host name or an address");
        None
    });
    let ca = raw.ca.as_ref().and_then(|path| readable(reader, "ca", path));
    EtcdTls { server_name, ca, identity: identity(reader, &raw.certificate, &raw.key) }
}

fn user(reader: &mut Reader<'_>, raw: &raw::Fleet, is_secure: bool) -> Option<(String, String)> {
    if let (Some(one), None) | (None, Some(one)) = (&raw.user, &raw.password_file) {
        reader.error(one.span(), "`user` and `password_file` go together").help("give both, or none of them");
    }
    let (user, file) = (raw.user.as_ref()?, raw.password_file.as_ref()?);
    if !is_secure {
        reader.warn(file.span(), "the password goes to etcd in the clear").help("give https endpoints");
    }
    let path = readable(reader, "password_file", file)?;
    match read_password(&path) {
        Ok(word) => Some((user.get_ref().clone(), word)),
        Err(why) => {
            reader
                .error(file.span(), format!("`password_file` `{}`: {why}", file.get_ref()))
                .help("one line with the password of etcd's user");
            None
        }
    }
}

/// `quorum` of a pool.
pub(super) fn quorum(reader: &mut Reader<'_>, raw: &raw::Text) -> Quorum {
    raw.as_ref().and_then(|text| reader.parsed(text, quorum_of)).unwrap_or_default()
}

fn quorum_of(text: &str) -> Result<Quorum, Fault> {
    let percent = || text.strip_suffix('%')?.parse::<u8>().ok().filter(|percent| (1..=100).contains(percent));
    match text {
        "any" => Ok(Quorum::ANY),
        "half" => Ok(Quorum::HALF),
        _ => percent().map(Quorum).ok_or_else(|| {
            Fault::new(
                format!("`{text}` is not a quorum"),
                "give \"any\", \"half\", or a part of the fronts, such as \"20%\"",
            )
        }),
    }
}

/// Reports Sites that two pools want to be up by different quorums, and quorums without a fleet.
pub(super) fn check(report: &mut Reporter, file: &raw::File, model: &Model) {
    if let (Some(health), Some(FleetEngine::File(_))) = (&file.health, model.fleet.as_ref().map(|fleet| &fleet.engine))
    {
        let mut reader = Reader { report, section: "[health]".into(), header: health.span() };
        reader
            .error(health.span(), "the fleet's file states health, too")
            .help("take [health] out, and state it in [fleet] `file`");
    }
    let mut first: Vec<Option<(usize, Quorum)>> = vec![None; model.sites.len()];
    for (index, (pool, head)) in model.pools.iter().zip(&file.pool_heads).enumerate() {
        let (key, raw) = (&head.key, head.keys());
        let at = raw.quorum.as_ref().map_or(key.span(), Spanned::span);
        let section = format!("[pool.\"{}\"]", key.get_ref());
        if let Some(value) = raw.quorum.as_ref().filter(|_| file.fleet.is_none()) {
            let mut reader = Reader { report, section: section.clone(), header: key.span() };
            reader.warn(value.span(), "`quorum` has no use without [fleet]").help("add [fleet], or take it out");
        }
        for site in &pool.sites {
            let Some(slot) = first.get_mut(site.0) else { continue };
            let (other, quorum) = *slot.get_or_insert((index, pool.quorum));
            if quorum != pool.quorum {
                let (site, other) = (&model.sites[site.0].key, &file.pool_heads[other].key);
                let mut reader = Reader { report, section, header: key.span() };
                reader
                    .error(
                        at,
                        format!("Site {site} is up by `quorum` {} here and by {quorum} in another pool", pool.quorum),
                    )
                    .also(other.span(), "the other pool")
                    .help("give both the same: a Site is up or not for all of them");
                break;
            }
        }
    }
}
