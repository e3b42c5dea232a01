//! `[[web.rule]]` and `[[web.class]]`: which requests are whose.

use std::ops::RangeInclusive;

use toml::Spanned;

use super::{
    names::Names,
    values::{cookie, header, host, path},
};
use crate::{
    raw,
    readers::again,
    report::Once,
    values::{Fault, Reader, name},
};
use zerottl_core::model::{Condition, GroupId, PriorityClass};

/// Rules, classes and the nets of each, at most: a request is held against all of them.
const RULES_MAX: usize = 64;
const CLIENTS_MAX: usize = 64;
/// Characters of a class's name, at most: it is a label of metrics.
const CLASS_LEN_MAX: usize = 32;
const SHARE: RangeInclusive<f64> = 0.01..=1.0;

/// The conditions that a rule and a class have in common.
struct When<'a> {
    clients: &'a raw::List<String>,
    header: &'a raw::Text,
    cookie: &'a raw::Text,
    path: &'a raw::Text,
    host: &'a raw::Text,
}

fn condition(reader: &mut Reader<'_>, raw: &When<'_>) -> Condition {
    Condition {
        clients: reader.prefixes("clients", raw.clients, CLIENTS_MAX),
        header: raw.header.as_ref().and_then(|text| reader.parsed(text, header)),
        cookie: raw.cookie.as_ref().and_then(|text| reader.parsed(text, cookie)),
        path: raw.path.as_ref().and_then(|text| reader.parsed(text, path)),
        host: raw.host.as_ref().and_then(|text| reader.parsed(text, host)).map(|(host, _)| host),
    }
}

/// Whether nothing is asked of a request.
fn is_any(raw: &When<'_>) -> bool {
    raw.clients.is_none() && [raw.header, raw.cookie, raw.path, raw.host].iter().all(|text| text.is_none())
}

/// The first that matches counts, so what follows one that always does is dead.
fn reject_dead<T>(reader: &mut Reader<'_>, what: &str, list: &[Spanned<T>], is_any: impl Fn(&T) -> bool) {
    let Some(at) = list.iter().position(|entry| is_any(entry.get_ref())) else { return };
    if let Some(next) = list.get(at + 1) {
        reader
            .error(next.span(), format!("this {what} never matches, as the one before it always does"))
            .also(list[at].span(), "matches every request")
            .help(format!("say which requests the {what} before is for, or put it last"));
    }
}

/// `[[web.rule]]`.
pub(super) fn rules(
    reader: &mut Reader<'_>,
    raw: &raw::List<raw::Rule>,
    names: &Names<'_>,
) -> Vec<(Spanned<GroupId>, Condition)> {
    let when = |rule: &raw::Rule| is_any(&rule_when(rule));
    let list = reader.list("rule", raw).unwrap_or_default();
    reject_dead(reader, "rule", list, when);
    too_many(reader, "rules", list);
    let mut rules = Vec::new();
    for rule in list {
        let reader = &mut reader.inside("rule", rule.span());
        let raw = rule.get_ref();
        let condition = condition(reader, &rule_when(raw));
        let Some(text) = &raw.group else {
            reader.missing("group", "\"europe.app.com\"");
            continue;
        };
        rules.extend(group(reader, text, names).map(|group| (Spanned::new(text.span(), group), condition)));
    }
    rules
}

fn rule_when(raw: &raw::Rule) -> When<'_> {
    When { clients: &raw.clients, header: &raw.header, cookie: &raw.cookie, path: &raw.path, host: &raw.host }
}

fn class_when(raw: &raw::Class) -> When<'_> {
    When { clients: &raw.clients, header: &raw.header, cookie: &raw.cookie, path: &raw.path, host: &raw.host }
}

fn too_many<T>(reader: &mut Reader<'_>, what: &str, list: &[Spanned<T>]) {
    if let Some(entry) = list.get(RULES_MAX) {
        reader
            .error(entry.span(), format!("more than {RULES_MAX} {what}"))
            .label("one too many")
            .help("have fewer: each request is held against them");
    }
}

fn group(reader: &mut Reader<'_>, text: &Spanned<String>, names: &Names<'_>) -> Option<GroupId> {
    let word = text.get_ref();
    let found = name(word).ok().and_then(|name| names.groups.get(&name).copied());
    let Some(id) = found else {
        // With a bad Group Name every reference to it would dangle.
        if names.groups_are_sound {
            let known: Vec<_> = names.groups.keys().map(ToString::to_string).collect();
            let help = match reader.report.did_you_mean(word, known.iter().map(String::as_str)) {
                Some(meant) => format!("did you mean \"{meant}\"?"),
                None => format!("add [group.\"{word}\"], or name one there is"),
            };
            reader.error(text.span(), format!("there is no group `{word}`")).label("no such group").help(help);
        }
        return None;
    };
    if names.is_pools_own(id) {
        reader
            .error(text.span(), format!("group {word} bears its pool's name and has all its Sites"))
            .help("name a group that is a part of its pool");
    }
    Some(id)
}

/// `[[web.class]]`.
pub(super) fn classes(reader: &mut Reader<'_>, raw: &raw::List<raw::Class>) -> Vec<PriorityClass> {
    let list = reader.list("class", raw).unwrap_or_default();
    reject_dead(reader, "class", list, |class| is_any(&class_when(class)));
    too_many(reader, "classes", list);
    let mut once = Once::new();
    let mut classes = Vec::new();
    for class in list {
        let reader = &mut reader.inside("class", class.span());
        let raw = class.get_ref();
        let when = condition(reader, &class_when(raw));
        let share = if raw.share.is_some() {
            reader.fraction("share", &raw.share, SHARE, "the part of each limit of `busy` that they may fill")
        } else {
            reader.missing("share", "0.5");
            None
        };
        let Some(text) = &raw.name else {
            reader.missing("name", "\"gold\"");
            continue;
        };
        let Some(name) = reader.parsed(text, class_name) else { continue };
        if let Some(first) = once.see(name.clone(), text.span()) {
            again(reader, text.span(), first, &format!("class `{name}`"));
        }
        classes.extend(share.map(|share| PriorityClass { name, when, share }));
    }
    classes
}

fn class_name(text: &str) -> Result<String, Fault> {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    if !text.is_empty() && text.len() <= CLASS_LEN_MAX && text.bytes().all(good) {
        return Ok(text.to_owned());
    }
    Err(Fault::new(
        format!("`{text}` cannot be a class's name"),
        format!("give 1 to {CLASS_LEN_MAX} letters, digits, - and _, such as \"gold\""),
    ))
}
