//! An event, and its text for others.

use std::time::SystemTime;

use bytes::Bytes;
use serde_json::{Map, Value};
use time::OffsetDateTime;

use zerottl_core::model::EventKind;

/// Characters of an event's sentence, at most.
const TEXT_MAX: usize = 1_000;

/// Something that has happened.
#[derive(Clone, Debug, PartialEq)]
pub struct HookEvent {
    /// The kind, by which hooks choose.
    pub kind: EventKind,
    /// The Site that it is about; none where it is about none, or several.
    pub site: Option<String>,
    /// The event as a sentence.
    pub text: String,
    /// More of it, by name: lower-case letters and underscores.
    pub details: Vec<(&'static str, Value)>,
}

impl HookEvent {
    /// Makes one that is about no Site and has no details.
    #[must_use]
    pub fn new(kind: EventKind, text: impl Into<String>) -> Self {
        Self { kind, site: None, text: text.into(), details: Vec::new() }
    }

    /// Names its Site.
    #[must_use]
    pub fn of_site(self, site: impl Into<String>) -> Self {
        Self { site: Some(site.into()), ..self }
    }

    /// Adds a detail.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: impl Into<Value>) -> Self {
        self.details.push((name, value.into()));
        self
    }
}

/// An event with its id and its moment, as hooks get it.
#[derive(Debug)]
pub(crate) struct Message {
    pub kind: EventKind,
    /// The id, the same at every attempt and for every hook.
    pub id: String,
    /// The JSON object.
    pub body: Bytes,
    /// Its fields and details for a command's environment.
    pub variables: Vec<(String, String)>,
}

impl Message {
    pub fn new(event: HookEvent, front: &str, at: SystemTime) -> Self {
        let HookEvent { kind, site, mut text, details } = event;
        if let Some((end, _)) = text.char_indices().nth(TEXT_MAX) {
            text.truncate(end);
        }
        let id = format!("evt_{:032x}", rand::random::<u128>());
        let fields = [
            ("id", Some(id.clone())),
            ("event", Some(kind.word().to_owned())),
            ("time", Some(rfc3339(at))),
            ("front", Some(front.to_owned())),
            ("site", site),
            ("text", Some(text)),
        ];
        let mut body = Map::new();
        let mut variables = Vec::new();
        for (name, value) in fields {
            if let Some(value) = &value {
                variables.push((variable(name), value.clone()));
            }
            body.insert(name.to_owned(), value.map_or(Value::Null, Value::String));
        }
        let mut more = Map::new();
        for (name, value) in details {
            let plain = value.as_str().map_or_else(|| value.to_string(), ToOwned::to_owned);
            // No variable can hold a zero byte.
            variables.push((variable(name), plain.replace('\0', "")));
            more.insert(name.to_owned(), value);
        }
        body.insert("details".to_owned(), Value::Object(more));
        Self { kind, id, body: Value::Object(body).to_string().into(), variables }
    }
}

fn variable(name: &str) -> String {
    format!("ZEROTTL_{}", name.to_ascii_uppercase())
}

/// `2026-11-30T07:00:00.123Z`
fn rfc3339(at: SystemTime) -> String {
    let at = OffsetDateTime::from(at);
    let (year, month, day) = (at.year(), u8::from(at.month()), at.day());
    let (hour, minute, second, ms) = (at.hour(), at.minute(), at.second(), at.millisecond());
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{ms:03}Z")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn an_event_is_the_same_as_json_and_as_variables() {
        let at = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_007);
        let event = HookEvent::new(EventKind::SiteDown, "Site boston is down").of_site("boston").with("sites_up", 2);
        let message = Message::new(event, "ns1", at);
        let body: Value = serde_json::from_slice(&message.body).expect("JSON");
        let expected = serde_json::json!({
            "id": message.id, "event": "site-down", "time": "2023-11-14T22:13:20.007Z", "front": "ns1", "site": "boston",
            "text": "Site boston is down", "details": { "sites_up": 2 }
        });
        assert_eq!(body, expected);
        let has = |name: &str, value: &str| message.variables.contains(&(name.to_owned(), value.to_owned()));
        assert!(has("ZEROTTL_EVENT", "site-down") && has("ZEROTTL_SITE", "boston") && has("ZEROTTL_SITES_UP", "2"));
        assert!(has("ZEROTTL_ID", &message.id) && message.id.len() == 36);
    }

    #[test]
    fn an_event_is_bounded_and_one_about_no_site_says_so() {
        let event = HookEvent::new(EventKind::CutOff, "\u{e9}".repeat(5_000)).with("who", "a\0b");
        let message = Message::new(event, "ns1", SystemTime::UNIX_EPOCH);
        let body: Value = serde_json::from_slice(&message.body).expect("JSON");
        assert_eq!(body["site"], Value::Null);
        assert_eq!(body["text"].as_str().map(|text| text.chars().count()), Some(TEXT_MAX));
        assert!(message.variables.iter().all(|(name, value)| name != "ZEROTTL_SITE" && !value.contains('\0')));
    }
}
