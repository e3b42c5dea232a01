//! The shared view of the fronts, as this one knows it: a fold of the engine's keys. Pure, but for the lock around it.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant, SystemTime},
};

use zerottl_core::{
    model::Model,
    overrides::OverrideRequest,
    saved_state::ms,
    site_load::Report,
    statements::HealthStatement,
    status::{Health, Verdicts},
};

use crate::{
    keys::{Key, VotePlace},
    values::{
        self, ANSWERS_LEN_MAX, Ack, Answers, LearnedReport, MadeSecret, Presence, ToldStatement, VALUE_LEN_MAX, Words,
    },
};

/// Fronts of a fleet, at most.
const FRONTS_MAX: usize = 256;
/// Sites with words, at most, and addresses that one front votes on.
const WORDS_MAX: usize = 1_000_000;
const VOTES_MAX: usize = 2_000_000;
/// Faults that are kept to be shown.
const FAULTS_MAX: usize = 100;

/// The words on a Site, and where they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredWords {
    /// The words.
    pub words: Words,
    /// The revision of its key.
    pub revision: i64,
    /// When it came, if it came while this front was watching: then no clock but this front's counts.
    pub seen: Option<Instant>,
}

/// Another front, or this one, as it says it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FrontReport {
    /// As it presents itself; none where only other keys of it are there.
    pub presence: Option<Presence>,
    /// The words that it has taken over.
    pub ack: Ack,
}

/// Whether the engine is reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EngineLink {
    /// Not yet.
    Starting,
    /// By this node.
    Connected(String),
    /// Not, since when, and why.
    Away(Instant, String),
    /// It is, but another front bears this one's name: nothing is written.
    Displaced,
}

/// The shared view.
#[derive(Debug)]
pub(crate) struct SharedView {
    /// This front's name.
    own: String,
    pub link: EngineLink,
    /// When the engine was last heard of.
    pub heard: Option<Instant>,
    /// The revision up to which everything is known.
    pub revision: i64,
    pub words: BTreeMap<String, StoredWords>,
    /// Counts changes of words.
    pub word_changes: u64,
    /// The secret that cookies are to be made with, and the revision of its key.
    pub made: Option<(i64, MadeSecret)>,
    pub fronts: BTreeMap<String, FrontReport>,
    votes: BTreeMap<String, HashMap<VotePlace, bool>>,
    /// By front: counts changes of its votes.
    changes: BTreeMap<String, u64>,
    changed: u64,
    /// By Site: answers that the other fronts have given, as far as they said so.
    pub answers: HashMap<String, u64>,
    last_answers: HashMap<String, u64>,
    /// By Site: reports that others have learned and that are not taken over yet, and when they were made.
    pub reports: HashMap<String, (Instant, Report)>,
    /// Statements of health that are not taken over yet.
    pub statements: HashMap<VotePlace, HealthStatement>,
    /// By key: why its value is ignored.
    pub faults: BTreeMap<String, String>,
    /// Values that were ignored.
    pub faulty: u64,
}

impl SharedView {
    /// Nothing known yet, to the front of this name.
    pub fn new(own: String) -> Self {
        Self {
            own,
            link: EngineLink::Starting,
            heard: None,
            revision: 0,
            words: BTreeMap::new(),
            word_changes: 0,
            made: None,
            fronts: BTreeMap::new(),
            votes: BTreeMap::new(),
            changes: BTreeMap::new(),
            changed: 0,
            answers: HashMap::new(),
            last_answers: HashMap::new(),
            reports: HashMap::new(),
            statements: HashMap::new(),
            faults: BTreeMap::new(),
            faulty: 0,
        }
    }

    /// Begins anew with what the engine has: what is not put again by [`Self::put`] before [`Self::end_snapshot`] is gone.
    pub fn begin_snapshot(&mut self) -> Snapshot {
        self.faults.clear();
        self.made = None;
        Snapshot {
            words: std::mem::take(&mut self.words),
            fronts: std::mem::take(&mut self.fronts),
            votes: std::mem::take(&mut self.votes),
        }
    }

    /// Ends what was begun. Returns words that an engine has lost which is not the one that it was: its revisions have gone back, as
    /// where its data was lost, or is an old copy.
    pub fn end_snapshot(&mut self, before: Snapshot, revision: i64) -> Vec<(u64, OverrideRequest)> {
        let mut lost = Vec::new();
        if revision < self.revision {
            for (site, old) in before.words.iter().filter(|(site, _)| !self.words.contains_key(*site)) {
                let age = |_| old.seen.map_or(Duration::ZERO, |seen| seen.elapsed());
                lost.extend(old.words.requests(site, age));
            }
        }
        self.word_changes += 1;
        // A word that has not changed came when it came.
        for (site, old) in before.words {
            if let Some(new) = self.words.get_mut(&site)
                && new.revision == old.revision
            {
                new.seen = old.seen;
            }
        }
        for front in before.votes.keys().chain(self.votes.keys()).chain(before.fronts.keys()) {
            self.changed += 1;
            self.changes.insert(front.clone(), self.changed);
        }
        self.changes.retain(|front, _| self.votes.contains_key(front) || self.fronts.contains_key(front));
        self.revision = revision;
        lost
    }

    /// Takes in a key; `value` is none for one that is too long to be read. `seen` where it has just been put.
    pub fn put(&mut self, text: &str, value: Option<&[u8]>, revision: i64, seen: Option<Instant>) {
        let why = match self.try_put(text, value, revision, seen) {
            Ok(()) => return drop(self.faults.remove(text)),
            Err(why) => why,
        };
        self.faulty += 1;
        if self.faults.len() < FAULTS_MAX || self.faults.contains_key(text) {
            tracing::warn!(key = text, why, "a value of the fleet is ignored");
            self.faults.insert(text.chars().take(200).collect(), why.to_owned());
        }
    }

    fn try_put(
        &mut self,
        text: &str,
        value: Option<&[u8]>,
        revision: i64,
        seen: Option<Instant>,
    ) -> Result<(), &'static str> {
        const SHAPE: &str = "it is not what this version writes there";
        const LONG: &str = "it is too long";
        const MANY: &str = "there are too many of these";
        let key = Key::parse(text).ok_or("no key of a fleet")?;
        let value = value.ok_or(LONG)?;
        let max = if matches!(key, Key::Load(_)) { ANSWERS_LEN_MAX } else { VALUE_LEN_MAX };
        if value.len() > max {
            return Err(LONG);
        }
        match key {
            Key::Word(site) => {
                let words: Words = serde_json::from_slice(value).map_err(|_| SHAPE)?;
                if self.words.len() >= WORDS_MAX && !self.words.contains_key(&site) {
                    return Err(MANY);
                }
                self.words.insert(site, StoredWords { words, revision, seen });
                self.word_changes += 1;
            }
            Key::Vote(front, place) => {
                let vote = values::vote(value).ok_or(SHAPE)?;
                if self.votes.len() >= FRONTS_MAX && !self.votes.contains_key(&front) {
                    return Err(MANY);
                }
                let votes = self.votes.entry(front.clone()).or_default();
                if votes.len() >= VOTES_MAX && !votes.contains_key(&place) {
                    return Err(MANY);
                }
                if votes.insert(place, vote) != Some(vote) {
                    self.touch(front);
                }
            }
            Key::Load(front) => {
                let answers: Answers = serde_json::from_slice(value).map_err(|_| SHAPE)?;
                // Whoever begins to watch has no use for what was before.
                if front != self.own && seen.is_some() && self.last_answers.get(&front) != Some(&answers.seq) {
                    for (site, count) in answers.sites {
                        let sum = self.answers.entry(site).or_default();
                        *sum = sum.saturating_add(count);
                    }
                }
                self.last_answers.insert(front, answers.seq);
            }
            Key::Report(site) => {
                let learned: LearnedReport = serde_json::from_slice(value).map_err(|_| SHAPE)?;
                if !learned.report.is_sound() {
                    return Err(SHAPE);
                }
                let made = seen.or_else(|| {
                    let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms);
                    Instant::now().checked_sub(Duration::from_millis(wall.saturating_sub(learned.at_ms)))
                });
                if let Some(made) = made.filter(|_| learned.front != self.own && self.reports.len() < WORDS_MAX) {
                    self.reports.insert(site, (made, learned.report));
                }
            }
            Key::Health(place) => {
                let told: ToldStatement = serde_json::from_slice(value).map_err(|_| SHAPE)?;
                if self.statements.len() >= VOTES_MAX && !self.statements.contains_key(&place) {
                    return Err(MANY);
                }
                // Its own it has, unless it has lost its memory.
                if seen.is_none() || told.front != self.own {
                    self.statements.insert(place, told.statement(seen));
                }
            }
            Key::Secret => self.made = Some((revision, serde_json::from_slice(value).map_err(|_| SHAPE)?)),
            Key::Config(front) => {
                let presence: Presence = serde_json::from_slice(value).map_err(|_| SHAPE)?;
                let report = self.front(&front).ok_or(MANY)?;
                let was_cut = report.presence.as_ref().is_some_and(|before| before.cut_off);
                let turns = was_cut != presence.cut_off || report.presence.is_none();
                report.presence = Some(presence);
                if turns {
                    self.touch(front);
                }
            }
            Key::Ack(front) => {
                let ack: Ack = serde_json::from_slice(value).map_err(|_| SHAPE)?;
                self.front(&front).ok_or(MANY)?.ack = ack;
            }
        }
        Ok(())
    }

    fn front(&mut self, front: &str) -> Option<&mut FrontReport> {
        if self.fronts.len() >= FRONTS_MAX && !self.fronts.contains_key(front) {
            return None;
        }
        Some(self.fronts.entry(front.to_owned()).or_default())
    }

    fn touch(&mut self, front: String) {
        self.changed += 1;
        self.changes.insert(front, self.changed);
    }

    /// Takes a key away.
    pub fn delete(&mut self, text: &str) {
        self.faults.remove(text);
        match Key::parse(text) {
            Some(Key::Word(site)) => drop(self.words.remove(&site)),
            Some(Key::Vote(front, place)) => {
                let removed = self.votes.get_mut(&front).and_then(|votes| votes.remove(&place));
                if removed.is_some() {
                    self.touch(front);
                }
            }
            Some(Key::Load(front)) => drop(self.last_answers.remove(&front)),
            Some(Key::Secret) => self.made = None,
            Some(Key::Config(front)) => {
                self.fronts.remove(&front);
                self.touch(front);
            }
            // An ack goes with its front; a report is as old as it is, and a statement holds until it expires.
            None | Some(Key::Ack(_) | Key::Report(_) | Key::Health(_)) => {}
        }
    }

    /// The revision of the newest word; 0 where nothing is said.
    pub fn newest_word(&self) -> i64 {
        self.words.values().map(|stored| stored.revision).max().unwrap_or(0)
    }

    /// Whether others' votes count: the engine was heard of within `patience`.
    pub fn is_fresh(&self, now: Instant, patience: Duration) -> bool {
        self.heard.is_some_and(|heard| now.saturating_duration_since(heard) <= patience)
    }

    /// Which of the other fronts vote, by what they say, and how often that has changed: living ones that are not cut off.
    pub fn voters(&self) -> Vec<(&str, u64)> {
        let lives = |front: &str| {
            let presence = self.fronts.get(front).and_then(|report| report.presence.as_ref());
            front != self.own && presence.is_some_and(|presence| !presence.cut_off)
        };
        let fronts = self.votes.keys().filter(|front| lives(front));
        fronts.map(|front| (front.as_str(), self.changes.get(front).copied().unwrap_or(0))).collect()
    }

    /// The other fronts that live and are not cut off, in order of their names.
    pub fn others(&self) -> Vec<String> {
        let lives = |report: &FrontReport| report.presence.as_ref().is_some_and(|presence| !presence.cut_off);
        let others = self.fronts.iter().filter(|(front, report)| **front != self.own && lives(report));
        others.map(|(front, _)| front.clone()).collect()
    }

    /// The verdicts of one front, positions as in the model.
    pub fn verdicts(&self, front: &str, model: &Model, blank: &Verdicts) -> Verdicts {
        let mut verdicts = blank.clone();
        let Some(votes) = self.votes.get(front) else { return verdicts };
        for (site, of) in verdicts.iter_mut().zip(&model.sites) {
            for (verdict, address) in site.iter_mut().zip(&of.addresses) {
                let place = VotePlace { site: of.key.as_str().into(), address: address.answer };
                *verdict = match votes.get(&place) {
                    None => Health::Unknown,
                    Some(true) => Health::Up,
                    Some(false) => Health::Down,
                };
            }
        }
        verdicts
    }
}

/// The view before a snapshot of the engine.
pub(crate) struct Snapshot {
    words: BTreeMap<String, StoredWords>,
    fronts: BTreeMap<String, FrontReport>,
    votes: BTreeMap<String, HashMap<VotePlace, bool>>,
}
