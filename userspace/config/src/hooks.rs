//! `[hook.NAME]`.

use std::{
    fs,
    io::{self, Read as _},
    ops::{Range, RangeInclusive},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use base64::prelude::{BASE64_STANDARD, Engine as _};
use toml::Spanned;

use super::{
    raw,
    readers::{HttpKeys, again, duration, http_of, readable, request_path},
    report::{Once, Reporter},
    tables::section,
    values::{Fault, Reader},
    web::authority,
};
use zerottl_core::model::{EventKind, HookConfig, HookKey, HookTarget};

/// Hooks, at most: each event is held against all of them.
const HOOKS_MAX: usize = 32;
/// Words of a command, at most.
const WORDS_MAX: usize = 64;
/// Longer than a minute nobody waits for a server, and no script should take.
const TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(100)..=Duration::from_mins(1);
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(5);
const ATTEMPTS: RangeInclusive<i64> = 1..=100;
const QUEUE: RangeInclusive<i64> = 1..=100_000;
/// Bytes of a key: more than HMAC-SHA256 can make use of is no error.
const KEY_LEN: RangeInclusive<usize> = 16..=1024;
/// Keys of a file, at most: the new one and the one before.
const KEYS_MAX: usize = 2;
/// Bytes of a file of keys, at most.
const KEYS_LEN_MAX: u64 = 1 << 16;

pub(super) fn hooks(report: &mut Reporter, raw: &raw::Named<raw::Hook>) -> Vec<HookConfig> {
    let mut hooks = Vec::new();
    for (key, raw) in &raw.0 {
        let mut reader = Reader { report, section: section(&["hook", key.get_ref()]), header: key.span() };
        reader.parsed(key, name);
        if hooks.len() == HOOKS_MAX {
            reader.error(key.span(), format!("more than {HOOKS_MAX} hooks")).label("one too many").help("name fewer");
        }
        hooks.extend(hook(&mut reader, key.get_ref(), raw));
    }
    hooks
}

/// A name that metrics and the log have.
fn name(text: &str) -> Result<(), Fault> {
    let is_good =
        (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if is_good {
        return Ok(());
    }
    Err(Fault::new(format!("`{text}` cannot be the name of a hook"), "give 1 to 64 letters, digits, -, _ and ."))
}

fn hook(reader: &mut Reader<'_>, name: &str, raw: &raw::Hook) -> Option<HookConfig> {
    let events = events(reader, raw);
    let keys = raw.secret_file.as_ref().map_or_else(Vec::new, |path| keys(reader, path));
    let timeout = duration(reader, "timeout", &raw.timeout, TIMEOUT_DEFAULT, TIMEOUT).unwrap_or(TIMEOUT_DEFAULT);
    let attempts = reader.number("attempts", &raw.attempts, ATTEMPTS, "", 10);
    let queue = reader.number("queue", &raw.queue, QUEUE, "events", 1_000);
    let target = match (&raw.url, &raw.command) {
        (Some(url), None) => self::url(reader, raw, url)?,
        (None, Some(command)) => self::command(reader, raw, command)?,
        (Some(url), Some(command)) => {
            reader
                .error(command.span(), "`url` and `command` exclude each other")
                .also(url.span(), "the url")
                .help("take one of them out, or make two hooks");
            return None;
        }
        (None, None) => {
            reader.missing("url", "\"https://hooks.example.com/zerottl\"");
            return None;
        }
    };
    Some(HookConfig { name: name.to_owned(), target, events, keys, timeout, attempts, queue })
}

fn events(reader: &mut Reader<'_>, raw: &raw::Hook) -> Vec<EventKind> {
    if raw.events.is_none() {
        return EventKind::ALL.iter().map(|(_, kind)| *kind).collect();
    }
    let mut once = Once::new();
    let mut events = Vec::new();
    for word in reader.list("events", &raw.events).unwrap_or_default() {
        let Some(kind) = reader.word("events", word, EventKind::ALL) else { continue };
        if let Some(first) = once.see(kind, word.span()) {
            again(reader, word.span(), first, &format!("event `{}`", kind.word()));
            continue;
        }
        events.push(kind);
    }
    events
}

/// Its path may be a secret, so no message repeats it.
fn url(reader: &mut Reader<'_>, raw: &raw::Hook, url: &Spanned<String>) -> Option<HookTarget> {
    let parts = reader.parsed(url, parse_url)?;
    let keys = HttpKeys {
        path: &None,
        default_path: "/",
        host: &None,
        verify: &raw.verify,
        ca: &raw.ca,
        server_name: &None,
        certificate: &None,
        key: &None,
    };
    if !parts.https {
        idle(reader, &[("verify", raw.verify.as_ref().map(Spanned::span)), ("ca", span(&raw.ca))], "an http:// URL");
    }
    let mut request = http_of(reader, &keys, parts.https, &parts.host);
    request.path = parts.path;
    Some(HookTarget::Url { server: parts.server, port: parts.port, request })
}

fn span(text: &raw::Text) -> Option<Range<usize>> {
    text.as_ref().map(Spanned::span)
}

/// Keys that the target has no use for are a misunderstanding, so errors.
fn idle(reader: &mut Reader<'_>, keys: &[(&str, Option<Range<usize>>)], what: &str) {
    for (key, span) in keys {
        if let Some(span) = span {
            reader.error(span.clone(), format!("`{key}` means nothing to {what}")).help("take it out");
        }
    }
}

struct UrlParts {
    https: bool,
    /// As a Host header has it.
    host: String,
    /// As a resolver takes it.
    server: String,
    port: u16,
    path: String,
}

fn parse_url(text: &str) -> Result<UrlParts, Fault> {
    let form = "give \"https://hooks.example.com/zerottl\" or \"http://[::1]:8080/\"";
    let fault = |what: &str| Err(Fault::new(format!("the URL {what}"), form));
    let Some((scheme, rest)) = text.split_once("://") else { return fault("has no scheme") };
    let https = match scheme.to_ascii_lowercase().as_str() {
        "http" => false,
        "https" => true,
        _ => return fault("is neither http:// nor https://"),
    };
    let (place, path) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    if place.contains('@') {
        return Err(Fault::new("the URL has a user", "take it out: a receiver knows its sender by `secret_file`"));
    }
    let default = if https { 443 } else { 80 };
    let (host, port) = match authority(place, default) {
        Ok(found) => found,
        Err(what) => return fault(what),
    };
    let Ok(path) = request_path(if path.is_empty() { "/" } else { path }) else {
        return fault("has a path with a space, a # or a letter that is not ASCII");
    };
    let server = host.trim_start_matches('[').trim_end_matches(']').to_owned();
    let host = if port == default { host } else { format!("{host}:{port}") };
    Ok(UrlParts { https, host, server, port, path })
}

fn command(reader: &mut Reader<'_>, raw: &raw::Hook, command: &Spanned<Vec<Spanned<String>>>) -> Option<HookTarget> {
    let keys = [
        ("secret_file", span(&raw.secret_file)),
        ("verify", raw.verify.as_ref().map(Spanned::span)),
        ("ca", span(&raw.ca)),
    ];
    idle(reader, &keys, "a command");
    let words = reader.list("command", &raw.command)?;
    if words.len() > WORDS_MAX {
        reader.error(command.span(), format!("more than {WORDS_MAX} words")).help("write a script");
    }
    let program = words.first()?;
    let path = PathBuf::from(program.get_ref());
    if !path.is_absolute() {
        reader
            .error(program.span(), format!("`{}` is not an absolute path", program.get_ref()))
            .help("name the program by its whole path, such as [\"/etc/zerottl/route.sh\"]");
    } else if !is_program(&path) {
        reader
            .warn(program.span(), format!("`{}` is no program that can be run", path.display()))
            .help("put it there before the agent starts, with `chmod +x`");
    }
    if let Some(word) = words.iter().find(|word| word.get_ref().contains('\0')) {
        reader.error(word.span(), "a word with a zero byte").help("take it out");
    }
    Some(HookTarget::Command(words.iter().map(|word| word.get_ref().clone()).collect()))
}

fn is_program(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// The file's keys; what is wrong with it is reported without ever showing a line of it.
fn keys(reader: &mut Reader<'_>, path: &Spanned<String>) -> Vec<HookKey> {
    let Some(full) = readable(reader, "secret_file", path) else { return Vec::new() };
    match read_keys(&full) {
        Ok(keys) => keys,
        Err(what) => {
            reader.error(path.span(), format!("`secret_file` `{}`: {what}", path.get_ref())).help(
                "one secret a line, the newest first, at most two: \"whsec_\" and base64, or 16 to 1024 bytes of text",
            );
            Vec::new()
        }
    }
}

/// The reason why a file gives no keys.
#[derive(Debug, thiserror::Error)]
enum KeysError {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("line {0} is not base64")]
    NotBase64(usize),
    #[error("line {0} is a key of {1} bytes")]
    Length(usize, usize),
    #[error("there is no secret in it")]
    None,
    #[error("more than {KEYS_MAX} secrets")]
    TooMany,
}

fn read_keys(path: &Path) -> Result<Vec<HookKey>, KeysError> {
    let mut text = String::new();
    fs::File::open(path)?.take(KEYS_LEN_MAX).read_to_string(&mut text)?;
    let mut keys = Vec::new();
    for (number, line) in (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty()) {
        let line = line.trim();
        let key = match line.strip_prefix("whsec_") {
            Some(coded) => BASE64_STANDARD.decode(coded).map_err(|_| KeysError::NotBase64(number))?,
            None => line.as_bytes().to_vec(),
        };
        if !KEY_LEN.contains(&key.len()) {
            return Err(KeysError::Length(number, key.len()));
        }
        keys.push(HookKey(key.into()));
    }
    match keys.len() {
        0 => Err(KeysError::None),
        1..=KEYS_MAX => Ok(keys),
        _ => Err(KeysError::TooMany),
    }
}
