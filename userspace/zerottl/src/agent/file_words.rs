//! Words of a fleet's file, held against those that are in force.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::sync::watch;
use tracing::warn;
use zerottl_core::{
    assess::remarks::Remarks,
    model::Model,
    overrides::{OverrideRequest, OverrideValue},
    statements::FileReading,
    status::AdminState,
};

use crate::control::overrides::OverrideHandle;

/// Ends that lie as close together are the same: a file's age is known by the wall clock.
const SAME_END: Duration = Duration::from_secs(2);
/// The shortest time for which something is said.
const SHORTEST: Duration = Duration::from_secs(1);

/// How often refused words are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(10);

/// State (true) or weight of a Site.
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

impl Wanted {
    fn is_as(&self, value: OverrideValue, until: Option<Instant>) -> bool {
        let apart = |a: Instant, b: Instant| a.saturating_duration_since(b).max(b.saturating_duration_since(a));
        let is_same_end = match (self.until, until) {
            (Some(a), Some(b)) => apart(a, b) < SAME_END,
            (a, b) => a == b,
        };
        self.value == value && is_same_end
    }
}

/// Words of the file, and what has become of them.
pub(super) struct FileWords {
    overrides: OverrideHandle,
    /// Words in force, by whomever they were said.
    remarks: watch::Receiver<Arc<Remarks>>,
    model: Arc<Model>,
    /// None before the file was read for the first time.
    wanted: Option<BTreeMap<Slot, Wanted>>,
    /// Those that were done since. Where another is in force now, somebody has said it after.
    done: BTreeMap<Slot, Wanted>,
    refused: BTreeMap<Slot, String>,
    /// The beginning of `by` of all words of the file.
    by: String,
    is_whole: bool,
    /// When refused words were tried last.
    tried: Option<Instant>,
}

impl FileWords {
    pub fn new(overrides: OverrideHandle, remarks: watch::Receiver<Arc<Remarks>>, model: Arc<Model>) -> Self {
        Self {
            overrides,
            remarks,
            model,
            wanted: None,
            done: BTreeMap::new(),
            refused: BTreeMap::new(),
            by: String::new(),
            is_whole: false,
            tried: None,
        }
    }

    /// Takes in the file as it was read at `now`.
    ///
    /// While a line is at fault nobody knows whose word it was, or whether the rest is still to come: then no word is taken back.
    pub fn read(&mut self, reading: &FileReading, is_whole: bool, now: Instant) {
        self.by = format!("{}, line ", reading.name);
        self.is_whole = is_whole;
        // A Site that there is not is a fault of its line.
        let of_sites = reading.words.iter().filter(|word| self.model.known_site(&word.site).is_ok());
        let wanted = of_sites.filter_map(|word| {
            let left = match word.lasts {
                Some(lasts) => Some(lasts.checked_sub(reading.age).filter(|left| *left >= SHORTEST)?),
                None => None,
            };
            let wanted = Wanted {
                value: word.value,
                until: left.map(|left| now + left),
                by: format!("{}{}", self.by, word.line),
                at_wall_ms: reading.at_wall_ms,
            };
            Some(((word.site.clone(), matches!(word.value, OverrideValue::State(_))), wanted))
        });
        let wanted: BTreeMap<Slot, Wanted> = wanted.collect();
        if self.wanted.is_none() {
            // A start is no reason to end a hold-down, or what was said by hand.
            let takes_back = |word: &Wanted| word.value == OverrideValue::State(AdminState::Ready);
            self.done.extend(
                wanted.iter().filter(|(_, word)| takes_back(word)).map(|(slot, word)| (slot.clone(), word.clone())),
            );
        }
        self.wanted = Some(wanted);
    }

    /// Says what the file has, and takes back what is in force by it and it has no longer; returns why words are refused. Those are
    /// tried again now and then.
    pub async fn apply(&mut self) -> Vec<String> {
        let Some(wanted) = self.wanted.clone() else { return Vec::new() };
        let now = Instant::now();
        let in_force = self.in_force();
        let has_line_gone = |slot: &Slot| self.is_whole && !wanted.contains_key(slot);
        for (slot, (value, _)) in in_force.iter().filter(|(slot, _)| has_line_gone(slot)) {
            let back = match value {
                OverrideValue::State(_) => OverrideValue::State(AdminState::Ready),
                OverrideValue::Weight(_) => OverrideValue::Weight(None),
            };
            // Of a Site that is gone there is nothing to take back.
            let by = self.by.trim_end_matches(", line ");
            drop(self.overrides.ask(request(&slot.0, back, by, 0, None)).await);
        }
        self.done.retain(|slot, _| wanted.contains_key(slot));
        self.refused.retain(|slot, _| wanted.contains_key(slot));
        let again = self.tried.is_none_or(|at| now.saturating_duration_since(at) >= TRY_AGAIN);
        if again {
            self.tried = Some(now);
        }
        for (slot, word) in wanted {
            let is_over = word.until.is_some_and(|until| until < now + SHORTEST);
            let is_in_force = in_force.get(&slot).is_some_and(|(value, until)| word.is_as(*value, *until));
            // Another of the file's own is one from before a restart.
            let is_done = !in_force.contains_key(&slot)
                && self.done.get(&slot).is_some_and(|done| word.is_as(done.value, done.until));
            if is_over || is_in_force || is_done {
                self.refused.remove(&slot);
                if is_in_force {
                    self.done.insert(slot, word);
                }
                continue;
            }
            if !again && self.refused.contains_key(&slot) {
                continue;
            }
            let lasts = word.until.map(|until| until.saturating_duration_since(now));
            match self.overrides.ask(request(&slot.0, word.value, &word.by, word.at_wall_ms, lasts)).await {
                Ok(_) => {
                    self.refused.remove(&slot);
                    self.done.insert(slot, word);
                }
                Err(why) => {
                    let why = format!("{}: {} of {}: {why}", word.by, word.value, slot.0);
                    if self.refused.insert(slot, why.clone()).as_ref() != Some(&why) {
                        warn!("not done: {why}");
                    }
                }
            }
        }
        self.refused.values().cloned().collect()
    }

    /// Words and weights that are in force by the file, also from before a restart, and until when.
    fn in_force(&self) -> BTreeMap<Slot, (OverrideValue, Option<Instant>)> {
        let remarks = self.remarks.borrow().clone();
        let site = |index: &usize| self.model.sites[*index].key.clone();
        let states = remarks.states.iter().filter(|(_, word)| word.by.starts_with(&self.by));
        let states = states.map(|(index, word)| ((site(index), true), (OverrideValue::State(word.value), word.until)));
        let weights = remarks.weights.iter().filter(|(_, word)| word.by.starts_with(&self.by));
        let weights =
            weights.map(|(index, word)| ((site(index), false), (OverrideValue::Weight(Some(word.value)), word.until)));
        states.chain(weights).collect()
    }
}

fn request(site: &str, value: OverrideValue, by: &str, at_wall_ms: u64, lasts: Option<Duration>) -> OverrideRequest {
    OverrideRequest { target: site.to_owned(), value, by: by.to_owned(), reason: None, lasts, force: false, at_wall_ms }
}
