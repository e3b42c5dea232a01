//! Readers that several sections share: durations, timings, GETs over HTTP and TLS, files, entries that are listed twice.

use std::{
    fs, io,
    ops::{Range, RangeInclusive},
    path::{Path, PathBuf},
    time::Duration,
};

use rustls_pki_types::ServerName;
use toml::Spanned;

use super::{
    raw,
    report::Once,
    values::{self, Reader, written},
};
use zerottl_core::model::{HttpProbe, Name, ProbeTls};
use zerottl_host::trust::{self, IdentityError, TrustError};

/// How often something is asked.
const INTERVAL: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_hours(1);
/// The time until an attempt counts as failed, unless the file says or the section has one of its own.
pub(super) const TIMEOUT: Duration = Duration::from_millis(500);
/// The help where a file of certificates holds none.
const CERTIFICATE: &str = "give a PEM file with at least one BEGIN CERTIFICATE";
/// The shortest timeout.
const TIMEOUT_MIN: Duration = Duration::from_millis(10);

/// Reports an entry that is there already.
pub(super) fn again(reader: &mut Reader<'_>, span: Range<usize>, first: Range<usize>, what: &str) {
    reader.error(span, format!("{what} is listed twice")).label("again").also(first, "first here").help("take one out");
}

/// Entries of a list, each once and not too many.
pub(super) fn each<T, V: std::hash::Hash + Eq + Clone>(
    reader: &mut Reader<'_>,
    list: &[Spanned<T>],
    (what, max): (&str, usize),
    mut read: impl FnMut(&mut Reader<'_>, &Spanned<T>) -> Option<(V, String)>,
) -> Vec<Spanned<V>> {
    let mut once = Once::new();
    let mut values = Vec::new();
    for entry in list {
        let Some((value, shown)) = read(reader, entry) else { continue };
        if let Some(first) = once.see(shown.clone(), entry.span()) {
            again(reader, entry.span(), first, &format!("`{shown}`"));
            continue;
        }
        values.push(Spanned::new(entry.span(), value));
        if values.len() == max + 1 {
            reader.error(entry.span(), format!("more than {max} {what}")).label("one too many").help("name fewer");
        }
    }
    values
}

/// Reads an interval and a timeout, and reports a timeout that is longer than the interval.
pub(super) fn timing(
    reader: &mut Reader<'_>,
    (interval, timeout): (&raw::Text, &raw::Text),
    timeout_default: Duration,
) -> (Duration, Duration) {
    let (raw_interval, raw_timeout) = (interval, timeout);
    let interval = duration(reader, "interval", raw_interval, Duration::from_secs(1), INTERVAL);
    let timeout = duration(reader, "timeout", raw_timeout, timeout_default, TIMEOUT_MIN..=*INTERVAL.end());
    if let (Some(interval), Some(timeout)) = (interval, timeout)
        && timeout > interval
    {
        let (at, other) = match (raw_timeout, raw_interval) {
            (Some(timeout), interval) => (timeout.span(), interval.as_ref().map(Spanned::span)),
            (None, Some(interval)) => (interval.span(), None),
            (None, None) => (reader.header.clone(), None),
        };
        let (interval, timeout) = (written(interval), written(timeout));
        let problem = reader.error(at, format!("`interval` {interval} is below `timeout` {timeout}"));
        problem.help(format!("give a timeout of at most {interval}, or a longer interval"));
        if let Some(other) = other {
            problem.also(other, "the interval");
        }
    }
    (interval.unwrap_or_default(), timeout.unwrap_or_default())
}

/// A duration within a range; none where it is reported.
pub(super) fn duration(
    reader: &mut Reader<'_>,
    key: &str,
    value: &raw::Text,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Option<Duration> {
    let Some(text) = value else { return Some(default) };
    let message = match values::duration(text.get_ref()) {
        Some(duration) if range.contains(&duration) => return Some(duration),
        Some(_) => format!("`{key}` is {}, out of range", text.get_ref()),
        None => format!("`{key}` is `{}`, not a duration", text.get_ref()),
    };
    let (from, to) = (written(*range.start()), written(*range.end()));
    reader.error(text.span(), message).help(format!("give \"{from}\" to \"{to}\", with the unit ms, s, m or h"));
    None
}

/// A duration in whole seconds.
pub(super) fn whole_seconds(
    reader: &mut Reader<'_>,
    key: &str,
    value: &raw::Text,
    default: Duration,
    range: RangeInclusive<Duration>,
) -> Duration {
    let (from, to) = (written(*range.start()), written(*range.end()));
    let Some(duration) = duration(reader, key, value, default, range) else { return default };
    if duration.subsec_nanos() == 0 {
        return duration;
    }
    if let Some(text) = value {
        reader
            .error(text.span(), format!("`{key}` is {}, not whole seconds", text.get_ref()))
            .help(format!("give \"{from}\" to \"{to}\", with the unit s, m or h"));
    }
    default
}

/// A duration, if it is given.
pub(super) fn given_duration(
    reader: &mut Reader<'_>,
    key: &str,
    value: &raw::Text,
    range: RangeInclusive<Duration>,
) -> Option<Duration> {
    value.as_ref().and_then(|_| duration(reader, key, value, Duration::ZERO, range))
}

/// A path and a query for a GET.
pub(super) fn request_path(text: &str) -> Result<String, values::Fault> {
    let bad = |b: u8| b.is_ascii_whitespace() || b.is_ascii_control() || !b.is_ascii() || b == b'#';
    if text.starts_with('/') && !text.bytes().any(bad) {
        return Ok(text.to_owned());
    }
    Err(values::Fault::new(
        format!("`{text}` is not a path"),
        "give one that begins with / and has no space, such as \"/health?full=1\"",
    ))
}

/// The keys of a GET, whichever table they stand in.
pub(super) struct HttpKeys<'a> {
    pub path: &'a raw::Text,
    /// The path where none is given.
    pub default_path: &'static str,
    pub host: &'a raw::Text,
    pub verify: &'a raw::Switch,
    pub ca: &'a raw::Text,
    pub server_name: &'a raw::Text,
    pub certificate: &'a raw::Text,
    pub key: &'a raw::Text,
}

/// Reads where a GET goes, and how; it expects status 200.
pub(super) fn http(reader: &mut Reader<'_>, keys: &HttpKeys<'_>, https: bool, site_name: &Name) -> HttpProbe {
    let path = keys.path.as_ref().and_then(|text| reader.parsed(text, request_path));
    let host = host(reader, keys.host, site_name);
    HttpProbe { path: path.unwrap_or_else(|| keys.default_path.into()), ..http_of(reader, keys, https, &host) }
}

/// Reads whom a request names as the one that it is for; the Site unless given.
pub(super) fn host(reader: &mut Reader<'_>, raw: &raw::Text, site_name: &Name) -> String {
    let host = raw.as_ref().and_then(|text| {
        let bad = |b: u8| !b.is_ascii_graphic() || b"/\\@#?".contains(&b);
        if !text.get_ref().is_empty() && !text.get_ref().bytes().any(bad) {
            return Some(text.get_ref().clone());
        }
        reader
            .error(text.span(), format!("`{}` is not a host", text.get_ref()))
            .help("give a name or an address, with or without a port, such as \"www.app.com:8080\"");
        None
    });
    host.unwrap_or_else(|| site_name.to_string())
}

/// As [`http`], of a host that is known already, and with the default path.
pub(super) fn http_of(reader: &mut Reader<'_>, keys: &HttpKeys<'_>, https: bool, host: &str) -> HttpProbe {
    HttpProbe {
        path: keys.default_path.into(),
        host: host.to_owned(),
        expect_status: vec![200],
        expect_body: None,
        tls: https.then(|| tls(reader, keys, host)),
    }
}

/// Reads how TLS is spoken, to a host.
pub(super) fn tls(reader: &mut Reader<'_>, keys: &HttpKeys<'_>, host: &str) -> ProbeTls {
    let verify = keys.verify.as_ref().is_none_or(|v| *v.get_ref());
    if let Some(ca) = keys.ca.as_ref().filter(|_| !verify) {
        reader.warn(ca.span(), "`ca` has no use while `verify` is false").help("take one of the two out");
    }
    let server_name = keys.server_name.as_ref();
    let wanted = server_name.map_or_else(|| without_port(host).to_owned(), |text| text.get_ref().clone());
    // The root stands for a Site Name that was reported.
    if wanted != "." && ServerName::try_from(wanted.as_str()).is_err() {
        let at = server_name.or(keys.host.as_ref()).map_or(reader.header.clone(), Spanned::span);
        reader
            .error(at, format!("`{wanted}` cannot be the name on a certificate"))
            .help("set `server_name` to a host name or an address");
    }
    let ca = keys.ca.as_ref().and_then(|path| trust_anchors(reader, path));
    ProbeTls { server_name: wanted, verify, ca, identity: identity(reader, keys.certificate, keys.key).map(Box::new) }
}

/// The files of a certificate that is shown, and of its key.
pub(super) fn identity(
    reader: &mut Reader<'_>,
    certificate: &raw::Text,
    key: &raw::Text,
) -> Option<(PathBuf, PathBuf)> {
    if let (Some(one), None) | (None, Some(one)) = (certificate, key) {
        reader.error(one.span(), "`certificate` and `key` go together").help("give both, or none of them");
    }
    let (chain, private) = (certificate.as_ref()?, key.as_ref()?);
    let files = (readable(reader, "certificate", chain), readable(reader, "key", private));
    let files = files.0.zip(files.1)?;
    // As whoever uses it does.
    if let Err(error) = trust::identity(&files.0, &files.1) {
        let name = |text: &Spanned<String>| text.get_ref().clone();
        let (at, message, help) = match error {
            IdentityError::Chain { source, .. } => {
                (chain, format!("`{}` cannot be used: {source}", name(chain)), CERTIFICATE)
            }
            IdentityError::Empty(_) => (chain, format!("`{}` holds no certificate", name(chain)), CERTIFICATE),
            IdentityError::Key { source, .. } => {
                let help = "give a PEM file with a BEGIN PRIVATE KEY";
                (private, format!("`{}` cannot be used: {source}", name(private)), help)
            }
            IdentityError::Unusable { source, .. } => {
                let help =
                    "give the key that the certificate was made with, and the certificate before those of its issuers";
                (private, format!("`{}` is not the key of `{}`: {source}", name(private), name(chain)), help)
            }
        };
        reader.error(at.span(), message).help(help);
    }
    Some(files)
}

/// `host:port` and `[v6]:port` without the port.
fn without_port(host: &str) -> &str {
    if let Some(rest) = host.strip_prefix('[') {
        return rest.split(']').next().unwrap_or(rest);
    }
    match host.split_once(':') {
        Some((name, port)) if !port.contains(':') => name,
        _ => host,
    }
}

fn trust_anchors(reader: &mut Reader<'_>, path: &Spanned<String>) -> Option<PathBuf> {
    let file = readable(reader, "ca", path)?;
    // As whoever uses it does.
    if let Err(error) = trust::trust_anchors(&file) {
        let reason = match error {
            TrustError::Empty => error.to_string(),
            TrustError::Pem(_) | TrustError::Certificate(..) => format!("cannot be used: {error}"),
        };
        reader.error(path.span(), format!("`{}` {reason}", path.get_ref())).help(CERTIFICATE);
    }
    Some(file)
}

/// A file's path from the configuration's directory; reported unless it is a file that can be read.
pub(super) fn readable(reader: &mut Reader<'_>, key: &str, path: &Spanned<String>) -> Option<PathBuf> {
    let full = reader.report.base_dir().join(path.get_ref());
    reader.report.files.push(full.clone());
    match probe_file(&full) {
        Ok(()) => Some(full),
        Err(reason) => {
            reader
                .error(path.span(), format!("cannot read `{key}` file `{}`: {reason}", path.get_ref()))
                .help(format!("looked for {}; a relative path starts where this file is", full.display()));
            None
        }
    }
}

/// The reason why a path is not of a file that can be read.
#[derive(Debug, thiserror::Error)]
enum FileError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("it is not a file")]
    NotAFile,
}

fn probe_file(path: &Path) -> Result<(), FileError> {
    // The kind first: opening a FIFO would wait for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(FileError::NotAFile);
    }
    fs::File::open(path)?;
    Ok(())
}
