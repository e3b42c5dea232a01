//! The words of a fleet's file, and what has become of them.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use crate::control::overrides::OverrideHandle;
use tracing::warn;
use zerottl_core::{
    overrides::{OverrideRequest, OverrideValue},
    statements::FileReading,
    status::AdminState,
};

/// State or weight of a Site.
type Slot = (String, bool);

/// A word as the file has it.
#[derive(Clone, Debug, PartialEq)]
struct Wanted {
    value: OverrideValue,
    /// When it lapses; none is never.
    until: Option<Instant>,
    by: String,
    at_wall_ms: u64,
}

/// The words that the file has, and those that are in force by it.
#[derive(Debug, Default)]
pub(super) struct FileWords {
    wanted: BTreeMap<Slot, Wanted>,
    said: BTreeMap<Slot, Wanted>,
    refused: BTreeMap<Slot, String>,
}

impl FileWords {
    /// Takes in the file as it was read at `now`.
    pub fn read(&mut self, reading: &FileReading, now: Instant) {
        let wanted = reading.words.iter().filter_map(|word| {
            let left = match word.lasts {
                // Too short to be a word of its own.
                Some(lasts) => Some(lasts.checked_sub(reading.age).filter(|left| *left >= Duration::from_secs(1))?),
                None => None,
            };
            let wanted = Wanted {
                value: word.value,
                until: left.map(|left| now + left),
                by: format!("{}, line {}", reading.name, word.line),
                at_wall_ms: reading.at_wall_ms,
            };
            Some(((word.site.clone(), matches!(word.value, OverrideValue::State(_))), wanted))
        });
        self.wanted = wanted.collect();
    }

    /// Says what is new in the file, and takes back what it has no longer; returns why words are refused. Those are tried again each time.
    pub async fn apply(&mut self, overrides: &OverrideHandle) -> Vec<String> {
        let now = Instant::now();
        let is_new = |(slot, wanted): &(&Slot, &Wanted)| {
            let lapsed = wanted.until.is_some_and(|until| until <= now + Duration::from_secs(1));
            !lapsed && self.said.get(*slot).is_none_or(|said| said.value != wanted.value || said.until != wanted.until)
        };
        let new: Vec<(Slot, Wanted)> =
            self.wanted.iter().filter(is_new).map(|(slot, wanted)| (slot.clone(), wanted.clone())).collect();
        let gone: Vec<Slot> = self.said.keys().filter(|slot| !self.wanted.contains_key(*slot)).cloned().collect();
        for slot in gone {
            let Some(said) = self.said.remove(&slot) else { continue };
            let is_lapsed = said.until.is_some_and(|until| until <= now);
            let back = match said.value {
                OverrideValue::State(AdminState::Ready) => continue,
                OverrideValue::State(_) => OverrideValue::State(AdminState::Ready),
                OverrideValue::Weight(_) => OverrideValue::Weight(None),
            };
            if !is_lapsed {
                // A Site that is there no longer needs nothing.
                drop(overrides.ask(request(&slot.0, back, &said, None)).await);
            }
        }
        self.refused.retain(|slot, _| self.wanted.contains_key(slot));
        for (slot, wanted) in new {
            let lasts = wanted.until.map(|until| until.saturating_duration_since(now));
            match overrides.ask(request(&slot.0, wanted.value, &wanted, lasts)).await {
                Ok(_) => {
                    self.refused.remove(&slot);
                    self.said.insert(slot, wanted);
                }
                Err(why) => {
                    let why = format!("{}: {} of {}: {why}", wanted.by, wanted.value, slot.0);
                    if self.refused.insert(slot, why.clone()).as_ref() != Some(&why) {
                        warn!("not done: {why}");
                    }
                }
            }
        }
        self.refused.values().cloned().collect()
    }
}

fn request(site: &str, value: OverrideValue, wanted: &Wanted, lasts: Option<Duration>) -> OverrideRequest {
    OverrideRequest {
        target: site.to_owned(),
        value,
        by: wanted.by.clone(),
        reason: None,
        lasts,
        force: false,
        at_wall_ms: wanted.at_wall_ms,
    }
}
