//! `[[director.server]]`.

use std::{collections::BTreeMap, ops::Range, ops::RangeInclusive, time::Duration};

use toml::Spanned;

use crate::{
    raw,
    readers::{again, given_duration, request_path, timing},
    report::Once,
    values::{Fault, Reader},
};
use zerottl_core::model::{PROCESSES_MAX, ServerCheck, ServerCommand, ServerConfig};

/// Bytes of a name, at most: it is a label of metrics, and a part of a cgroup's name.
const NAME_LEN_MAX: usize = 32;
/// Entries of `command`, at most, and variables of `environment`.
const ARGUMENTS_MAX: usize = 256;
const VARIABLES_MAX: usize = 64;
const WEIGHT: RangeInclusive<i64> = 1..=1000;
const CONNECTIONS: RangeInclusive<i64> = 1..=1_000_000;
/// Below it a loop that is well would look hung; above it a check finds it sooner.
const HANG_AFTER: RangeInclusive<Duration> = Duration::from_millis(50)..=Duration::from_mins(1);
const FAILURES: RangeInclusive<i64> = 1..=100;
/// The highest CPU, as the kernel's usual set of CPUs has 1024.
const CPU_MAX: u32 = 1023;
/// The kernel's own number for no user is the last one.
const USER_MAX: u32 = u32::MAX - 1;
/// Characters of a user's name, at most (`useradd`).
const USER_LEN_MAX: usize = 32;
/// With less, no program gets as far as its first line.
const MEMORY: RangeInclusive<u64> = 1 << 20..=16 << 40;
/// Variables of the contract between director and server.
const CONTRACT: [&str; 4] = ["LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES", "ZEROTTL_SERVER"];

/// A server, and where the file says so.
pub(super) struct ServerPart {
    pub config: ServerConfig,
    pub at: Range<usize>,
    pub count_at: Option<Range<usize>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Command,
    Site,
}

/// The servers of one table.
pub(super) fn servers(reader: &mut Reader<'_>, list: &[Spanned<raw::Server>], has_web: bool) -> Vec<ServerPart> {
    let mut once = Once::new();
    let mut servers: Vec<ServerPart> = Vec::new();
    let mut processes = 0_u32;
    for raw in list {
        let server = server(&mut reader.inside("server", raw.span()), raw.get_ref(), has_web);
        let at = raw.get_ref().name.as_ref().map_or(raw.span(), Spanned::span);
        let name = &server.name;
        let reader = &mut reader.inside("server", raw.span());
        if !name.is_empty()
            && let Some(first) = once.see(name.clone(), at.clone())
        {
            again(reader, at.clone(), first, &format!("server `{name}`"));
        }
        let before = processes;
        processes = processes.saturating_add(server.count);
        let count_at = raw.get_ref().count.as_ref().map(Spanned::span);
        if before <= PROCESSES_MAX && processes > PROCESSES_MAX {
            let at = count_at.clone().unwrap_or_else(|| at.clone());
            reader
                .error(at, format!("{processes} processes with those of the servers before it"))
                .label("too many")
                .help(format!("have at most {PROCESSES_MAX} in all, of all servers together"));
        }
        servers.push(ServerPart { config: server, at, count_at });
    }
    process_names(reader, &servers);
    servers
}

/// Reports servers with the name of another's process: an order to it could mean either.
fn process_names(reader: &mut Reader<'_>, servers: &[ServerPart]) {
    let by_name: BTreeMap<&str, &ServerPart> =
        servers.iter().map(|server| (server.config.name.as_str(), server)).collect();
    for server in servers {
        let name = &server.config.name;
        let Some((stem, number)) = name.rsplit_once('-') else { continue };
        let Some(other) = by_name.get(stem).filter(|_| !number.starts_with('0')) else { continue };
        if number.parse().is_ok_and(|number: u32| (1..=other.config.count).contains(&number)) {
            reader
                .inside("server", server.at.clone())
                .error(server.at.clone(), format!("`{name}` is what a process of server `{stem}` is called"))
                .also(other.at.clone(), "the other server")
                .help("give it another name");
        }
    }
}

fn server(reader: &mut Reader<'_>, raw: &raw::Server, has_web: bool) -> ServerConfig {
    if raw.name.is_none() {
        reader.missing("name", "\"app\"");
    }
    let kinds = [("command", Kind::Command), ("site", Kind::Site)];
    let kind = match &raw.kind {
        None => Some(Kind::Command),
        Some(word) => reader.word("kind", word, &kinds),
    };
    let config = ServerConfig {
        name: raw.name.as_ref().and_then(|text| reader.parsed(text, name)).unwrap_or_default(),
        command: command(reader, raw, kind),
        count: reader.number("count", &raw.count, 1..=PROCESSES_MAX.into(), "processes", 1),
        weight: reader.number("weight", &raw.weight, WEIGHT, "", 1),
        standby: raw.standby.as_ref().is_some_and(|on| *on.get_ref()),
        max_connections: raw
            .max_connections
            .as_ref()
            .map(|_| reader.number("max_connections", &raw.max_connections, CONNECTIONS, "connections", 1)),
        handover: raw.handover.as_ref().is_some_and(|on| *on.get_ref()),
        hang_after: given_duration(reader, "hang_after", &raw.hang_after, HANG_AFTER),
        check: raw.check.as_ref().map(|raw| check(reader, raw)),
        user: user(reader, raw),
        cpus: cpus(reader, &raw.cpus),
        memory_max: raw.memory_max.as_ref().and_then(|value| memory(reader, value)),
        environment: environment(reader, raw),
    };
    if kind == Some(Kind::Site) {
        with_web(reader, raw, has_web);
    }
    config
}

/// Reports a front that there is nothing to serve for.
fn with_web(reader: &mut Reader<'_>, raw: &raw::Server, has_web: bool) {
    let at = raw.kind.as_ref().map_or(reader.header.clone(), Spanned::span);
    if !has_web {
        reader
            .error(at, "kind site is the Site's front, and there is no [web]")
            .help("add [web], or run a program of your own by `command`");
    }
}

fn name(text: &str) -> Result<String, Fault> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    if begins && text.len() <= NAME_LEN_MAX && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{text}` cannot be a server's name"),
        format!("give 1 to {NAME_LEN_MAX} letters, digits, - and _, the first a letter or digit, such as \"app\""),
    ))
}

fn command(reader: &mut Reader<'_>, raw: &raw::Server, kind: Option<Kind>) -> ServerCommand {
    if kind == Some(Kind::Site) {
        if let Some(list) = &raw.command {
            reader
                .error(list.span(), "`command` means nothing to kind site")
                .help("take it out: `zerottl site` is started with this file");
        }
        return ServerCommand::Site;
    }
    if raw.command.is_none() && kind.is_some() {
        reader.missing("command", "[\"/usr/local/bin/app\"]");
    }
    let list = reader.list("command", &raw.command).unwrap_or_default();
    if let Some(one_too_many) = list.get(ARGUMENTS_MAX) {
        reader
            .error(one_too_many.span(), format!("more than {ARGUMENTS_MAX} entries in `command`"))
            .label("one too many")
            .help("give a file to the program, or start it by a script");
    }
    if let Some(text) = list.iter().find(|text| text.get_ref().contains('\0')) {
        reader.error(text.span(), "`command` has a zero byte").help("take it out: no argument can have one");
    } else if let Some(program) = list.first().filter(|text| !text.get_ref().starts_with('/')) {
        reader
            .error(program.span(), format!("program `{}` is not an absolute path", program.get_ref()))
            .help("give the whole path, such as \"/usr/local/bin/app\": it is not searched for");
    }
    ServerCommand::Program(list.iter().map(|text| text.get_ref().clone()).collect())
}

fn check(reader: &mut Reader<'_>, raw: &Spanned<raw::Check>) -> ServerCheck {
    let default = ServerCheck::default();
    let reader = &mut reader.inside("check", raw.span());
    let raw = raw.get_ref();
    let (interval, timeout) = timing(reader, (&raw.interval, &raw.timeout), default.timeout);
    let path = raw.path.as_ref().and_then(|text| reader.parsed(text, request_path));
    let failures = reader.number("failures", &raw.failures, FAILURES, "", default.failures);
    ServerCheck { path, interval, timeout, failures }
}

/// A user's name, or a number.
fn user(reader: &mut Reader<'_>, raw: &raw::Server) -> Option<String> {
    let value = raw.user.as_ref()?;
    let text = match value.get_ref() {
        raw::NumberOrText::Number(number) => number.to_string(),
        raw::NumberOrText::Text(text) => text.clone(),
    };
    let is_number = text.bytes().all(|b| b.is_ascii_digit()) && text.parse().is_ok_and(|id: u32| id <= USER_MAX);
    let begins = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'_');
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
    if is_number || begins && text.len() <= USER_LEN_MAX && text.bytes().all(good) {
        return Some(text);
    }
    reader
        .error(value.span(), format!("`{text}` cannot be a user"))
        .help(format!("give a name, such as \"www-data\", or a number up to {USER_MAX}"));
    None
}

/// CPUs, in order; numbers and ranges, each once.
fn cpus(reader: &mut Reader<'_>, raw: &raw::List<raw::NumberOrText>) -> Vec<u32> {
    let mut once = Once::new();
    for entry in reader.list("cpus", raw).unwrap_or_default() {
        let Some(range) = cpu_range(entry.get_ref()) else {
            let shown = match entry.get_ref() {
                raw::NumberOrText::Number(number) => number.to_string(),
                raw::NumberOrText::Text(text) => text.clone(),
            };
            reader
                .error(entry.span(), format!("`{shown}` is not a CPU, nor a range of some"))
                .help(format!("give a number, or a text such as \"0-3\", from 0 to {CPU_MAX}"));
            continue;
        };
        for cpu in range {
            if let Some(first) = once.see(cpu, entry.span()) {
                again(reader, entry.span(), first, &format!("CPU {cpu}"));
                break;
            }
        }
    }
    let mut cpus: Vec<u32> = once.into_things().collect();
    cpus.sort_unstable();
    cpus
}

/// `3`, `"3"` or `"0-3"`.
fn cpu_range(value: &raw::NumberOrText) -> Option<RangeInclusive<u32>> {
    // `parse` would take a sign.
    let number = |text: &str| text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse::<u32>().ok())?;
    let (from, to) = match value {
        raw::NumberOrText::Number(number) => (u32::try_from(*number).ok()?, u32::try_from(*number).ok()?),
        raw::NumberOrText::Text(text) => match text.split_once('-') {
            Some((from, to)) => (number(from)?, number(to)?),
            None => (number(text)?, number(text)?),
        },
    };
    (from <= to && to <= CPU_MAX).then_some(from..=to)
}

/// Bytes, or a whole number with K, M, G or T, which are powers of 1024.
fn memory(reader: &mut Reader<'_>, value: &Spanned<raw::NumberOrText>) -> Option<u64> {
    let (bytes, shown) = match value.get_ref() {
        raw::NumberOrText::Number(number) => (u64::try_from(*number).ok(), number.to_string()),
        raw::NumberOrText::Text(text) => (bytes(text), format!("`{text}`")),
    };
    let message = match bytes {
        Some(bytes) if MEMORY.contains(&bytes) => return Some(bytes),
        None if shown.starts_with('`') => format!("`memory_max` is {shown}, not an amount of memory"),
        _ => format!("`memory_max` is {shown}, out of range"),
    };
    reader.error(value.span(), message).help(
        "give \"1M\" to \"16T\", with the unit K, M, G or T, or a number of bytes; without the key there is no limit",
    );
    None
}

fn bytes(text: &str) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit {
        "" => 0,
        "K" => 10,
        "M" => 20,
        "G" => 30,
        "T" => 40,
        _ => return None,
    };
    number.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// Variables, in order of their names.
fn environment(reader: &mut Reader<'_>, raw: &raw::Server) -> Vec<(String, String)> {
    let Some(table) = &raw.environment else { return Vec::new() };
    let reader = &mut reader.inside("environment", table.span());
    let entries = &table.get_ref().0;
    if let Some((key, _)) = entries.get(VARIABLES_MAX) {
        reader
            .error(key.span(), format!("more than {VARIABLES_MAX} variables"))
            .label("one too many")
            .help("give a file to the program");
    }
    let mut variables = BTreeMap::new();
    for (key, value) in entries {
        let name = key.get_ref();
        if CONTRACT.contains(&name.as_str()) {
            reader
                .error(key.span(), format!("`{name}` is the director's to set"))
                .help(format!("take it out: {} tell each process what it gets", CONTRACT.join(", ")));
        } else if name.is_empty() || name.contains(['=', '\0']) {
            reader
                .error(key.span(), format!("{name:?} cannot be a variable's name"))
                .help("give letters, digits and _, such as APP_MODE");
        }
        if value.get_ref().contains('\0') {
            reader.error(value.span(), format!("the value of `{name}` has a zero byte")).help("take it out");
        }
        variables.insert(name.clone(), value.get_ref().clone());
    }
    variables.into_iter().collect()
}
