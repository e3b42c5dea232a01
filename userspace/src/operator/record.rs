//! What one assessment has to know of those before it: orders, flaps, and what a restart remembers. Pure.

use std::{
    collections::{BTreeMap, HashMap},
    time::{Duration, Instant, SystemTime},
};

use super::{Hold, Order, Refusal, Refused, Remarks, Request, What, target};
use crate::{
    damping::{Flaps, Proven},
    model::{Model, SiteId},
    safety,
    state::{FlapMemory, HealthMemory, Memory, OrderMemory, SiteMemory},
    status::{Health, Status, Verdicts, Word},
};

/// Health that is older than this when a restart reads it counts for nothing.
pub const HEALTH_AGE_MAX: Duration = Duration::from_mins(2);
/// A refusal is shown for this long.
const REFUSAL_SHOWN: Duration = Duration::from_mins(10);

/// Orders, flaps and recalled health, by Site of one model.
#[derive(Clone, Debug)]
pub struct Record {
    words: BTreeMap<SiteId, Order<Word>>,
    weights: BTreeMap<SiteId, Order<u32>>,
    flaps: Vec<Flaps>,
    /// By Site and address: what was known before the restart, and as of when. Forgotten once the probes know better.
    recalled: Vec<Vec<Option<(Health, Instant)>>>,
    holds: BTreeMap<SiteId, Hold>,
    refusal: Option<Refusal>,
    refusals: u64,
    /// Counts what a restart must know at once.
    revision: u64,
}

impl Record {
    /// What `memory`, which is `age` old at `now`, says of the model's Sites. Where its age is not known its orders hold as
    /// if no time had passed, and its health counts for nothing.
    #[must_use]
    pub fn new(model: &Model, memory: &Memory, age: Option<Duration>, now: Instant) -> Self {
        let old = age.unwrap_or_default();
        let mut record = Self {
            words: BTreeMap::new(),
            weights: BTreeMap::new(),
            flaps: vec![Flaps::default(); model.sites.len()],
            recalled: model.sites.iter().map(|site| vec![None; site.addresses.len()]).collect(),
            holds: BTreeMap::new(),
            refusal: None,
            refusals: 0,
            revision: 0,
        };
        // Since the machine's start at most; where that is too short, all ages are as old as can be told.
        let ago = |age_ms: u64| now.checked_sub(old.saturating_add(Duration::from_millis(age_ms)));
        for (id, site) in model.sites.iter().enumerate() {
            let Some(memory) = memory.sites.get(&site.key) else { continue };
            record.words.extend(memory.word.as_ref().and_then(|word| Some((SiteId(id), word.recall(old, now)?))));
            record
                .weights
                .extend(memory.weight.as_ref().and_then(|weight| Some((SiteId(id), weight.recall(old, now)?))));
            if let Some(flaps) = memory.flaps {
                let up_since = flaps.up_ms.map(|up_ms| ago(up_ms).unwrap_or(now));
                record.flaps[id] = Flaps { in_a_row: flaps.in_a_row, up_since };
            }
            let probed = age.is_some() && site.probe.is_some();
            for (index, address) in site.addresses.iter().enumerate().filter(|_| probed) {
                let Some(health) = memory.health.get(&address.answer) else { continue };
                let age = old.saturating_add(Duration::from_millis(health.age_ms));
                if age <= HEALTH_AGE_MAX
                    && let Some(at) = now.checked_sub(age)
                {
                    let verdict = if health.up { Health::Up } else { Health::Down };
                    record.recalled[id][index] = Some((verdict, at));
                }
            }
        }
        record
    }

    /// The verdicts, and for addresses without one what was known before the restart.
    #[must_use]
    pub fn recall(&mut self, now: Instant, verdicts: &Verdicts) -> Verdicts {
        let mut health = verdicts.clone();
        for (site, of_site) in self.recalled.iter_mut().enumerate() {
            for (address, slot) in of_site.iter_mut().enumerate() {
                let Some((recalled, at)) = *slot else { continue };
                if health[site][address] == Health::Unknown && now.saturating_duration_since(at) <= HEALTH_AGE_MAX {
                    health[site][address] = recalled;
                } else {
                    *slot = None;
                }
            }
        }
        health
    }

    /// What orders and flaps make of a status that has its health.
    pub fn apply(&mut self, model: &Model, now: Instant, status: &mut Status) {
        self.lapse(model, now);
        for (site, order) in &self.words {
            status.sites[site.0].word = order.what;
        }
        for (site, order) in &self.weights {
            status.sites[site.0].weight = order.what;
        }
        let told = std::mem::take(&mut self.holds);
        for (id, site) in model.sites.iter().enumerate().filter(|(_, site)| site.probe.is_some()) {
            let flaps = &mut self.flaps[id];
            let before = flaps.in_a_row;
            flaps.observe(site.damping, proven(model, status, SiteId(id)), now);
            if flaps.in_a_row != before {
                self.revision += 1;
            }
            if let Some(until) = flaps.held_until(site.damping, now) {
                if told.get(&SiteId(id)).is_none_or(|hold| hold.failures != flaps.in_a_row) {
                    tracing::warn!(site = site.key, failures = flaps.in_a_row, "keeps flapping: held back");
                }
                status.sites[id].held = true;
                self.holds.insert(SiteId(id), Hold { until, failures: flaps.in_a_row });
            }
        }
    }

    /// Takes in a request that has been [checked](super::checked), unless it would take from a pool more than its minimum
    /// allows of what it has by `current`, the newest status. Returns the Sites' keys.
    pub fn say(
        &mut self,
        model: &Model,
        now: Instant,
        request: &Request,
        current: &Status,
    ) -> Result<Vec<String>, Refused> {
        let sites = target::find(model, &request.target)?;
        let mut forced = false;
        if let What::Word(word) = request.what {
            let mut after = current.clone();
            for site in &sites {
                after.sites[site.0].word = word;
            }
            let shortfalls = safety::refused((model, current), (model, &after));
            forced = !shortfalls.is_empty();
            if forced && !request.force {
                let refused = Refused::BelowMinimum(shortfalls);
                let words = format!("{} {} by {}: {refused}", word.as_str(), request.target, request.by);
                self.refusal = Some(Refusal { at: now, words });
                self.refusals += 1;
                return Err(refused);
            }
        }
        for site in &sites {
            match request.what {
                What::Word(Word::Ready) => {
                    self.words.remove(site);
                    self.flaps[site.0].in_a_row = 0;
                }
                What::Word(word) => drop(self.words.insert(*site, order(word, request, forced, now))),
                What::Weight(Some(weight)) => drop(self.weights.insert(*site, order(weight, request, forced, now))),
                What::Weight(None) => drop(self.weights.remove(site)),
            }
        }
        self.revision += 1;
        Ok(sites.iter().map(|site| model.sites[site.0].key.clone()).collect())
    }

    /// For people.
    #[must_use]
    pub fn remarks(&self, now: Instant, alarms: Vec<safety::Alarm>) -> Remarks {
        let recalled = self.recalled.iter().enumerate().flat_map(|(site, of_site)| {
            of_site.iter().enumerate().filter(|(_, slot)| slot.is_some()).map(move |(address, _)| (site, address))
        });
        let is_fresh = |refusal: &&Refusal| now.saturating_duration_since(refusal.at) < REFUSAL_SHOWN;
        Remarks {
            words: self.words.iter().map(|(site, order)| (site.0, order.clone())).collect(),
            weights: self.weights.iter().map(|(site, order)| (site.0, order.clone())).collect(),
            holds: self.holds.iter().map(|(site, hold)| (site.0, *hold)).collect(),
            recalled: recalled.collect(),
            alarms,
            refusal: self.refusal.as_ref().filter(is_fresh).cloned(),
            refusals: self.refusals,
        }
    }

    /// Goes up with everything that a restart should know at once.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// What a restart, or another model, should know; `verdicts` are the probes' own.
    #[must_use]
    pub fn memory(&self, model: &Model, now: Instant, verdicts: &Verdicts) -> Memory {
        let since = |then: Instant| ms(now.saturating_duration_since(then));
        let site = |(id, site): (usize, &crate::model::Site)| {
            let health = site.addresses.iter().enumerate().filter_map(|(index, address)| {
                let (health, age_ms) = match (verdicts[id][index], self.recalled[id][index]) {
                    (Health::Unknown, Some((health, at))) => (health, since(at)),
                    (Health::Unknown, None) => return None,
                    (health, _) => (health, 0),
                };
                Some((address.answer, HealthMemory { up: health == Health::Up, age_ms }))
            });
            let flaps = self.flaps[id];
            let flaps = FlapMemory { in_a_row: flaps.in_a_row, up_ms: flaps.up_since.map(since) };
            let memory = SiteMemory {
                health: if site.probe.is_some() { health.collect() } else { BTreeMap::new() },
                word: self.words.get(&SiteId(id)).map(|order| OrderMemory::of(order, now)),
                weight: self.weights.get(&SiteId(id)).map(|order| OrderMemory::of(order, now)),
                flaps: (flaps.in_a_row > 0).then_some(flaps),
            };
            (memory != SiteMemory::default()).then(|| (site.key.clone(), memory))
        };
        Memory { sites: model.sites.iter().enumerate().filter_map(site).collect() }
    }

    /// The record for another model: what was said and known of a Site stays with its key, its health with its address.
    #[must_use]
    pub fn carried(&self, from: &Model, to: &Model, now: Instant, verdicts: &Verdicts) -> Self {
        let memory = self.memory(from, now, verdicts);
        let keys: HashMap<&str, ()> = to.sites.iter().map(|site| (site.key.as_str(), ())).collect();
        for (key, site) in &memory.sites {
            if (site.word.is_some() || site.weight.is_some()) && !keys.contains_key(key.as_str()) {
                tracing::warn!(site = key, "what was said of it is forgotten: there is no such Site any more");
            }
        }
        Self {
            refusal: self.refusal.clone(),
            refusals: self.refusals,
            revision: self.revision + 1,
            ..Self::new(to, &memory, Some(Duration::ZERO), now)
        }
    }

    fn lapse(&mut self, model: &Model, now: Instant) {
        let has_lapsed = |until: Option<Instant>| until.is_some_and(|until| until <= now);
        let told = |site: &SiteId, what: &str| {
            tracing::info!(site = model.sites[site.0].key, "{what} has lapsed");
        };
        let before = self.words.len() + self.weights.len();
        self.words.retain(|site, order| {
            let lapsed = has_lapsed(order.until);
            if lapsed {
                told(site, order.what.as_str());
            }
            !lapsed
        });
        self.weights.retain(|site, order| {
            let lapsed = has_lapsed(order.until);
            if lapsed {
                told(site, "the weight");
            }
            !lapsed
        });
        self.revision += u64::from(self.words.len() + self.weights.len() < before);
    }
}

/// What the probes have proven of a Site.
fn proven(model: &Model, status: &Status, site: SiteId) -> Proven {
    let health = &status.health[site.0];
    if health.contains(&Health::Up) {
        Proven::Up
    } else if health.contains(&Health::Down) && !status.site_is_up(model, site) {
        Proven::Down
    } else {
        Proven::Nothing
    }
}

fn order<T>(what: T, request: &Request, forced: bool, now: Instant) -> Order<T> {
    Order {
        what,
        by: request.by.clone(),
        reason: request.reason.clone(),
        at: now,
        at_wall_ms: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, ms),
        until: request.lasts.and_then(|lasts| now.checked_add(lasts)),
        forced,
    }
}

/// Whole milliseconds.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
