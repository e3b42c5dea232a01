//! Health that is stated from outside, by the admin interface and by a file, with an expiry. Pure.
//!
//! Each address has a place for the newest statement of each source; of those that have not expired the newest counts. Where
//! statements are all that is known of a Site, they are its verdict, and once they have expired `when_expired` says what
//! is. Where probes look at it, only `down` counts, and only until it expires: either says so.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{
    event::AssessorEvent,
    remarks::{StatementRemark, StatementRemarks},
};
use crate::{
    model::{Model, SiteId, WhenExpired},
    saved_state::{SavedState, SavedStatement, ms},
    statements::{FileReading, HealthStatement, StatementSource},
    status::{Health, Verdicts},
};

/// Events of one look, at most: a file may state the health of every Site at once.
const EVENTS_MAX: usize = 32;

/// Statements by Site and address, each with its place for each source.
type Places = BTreeMap<(usize, usize), BTreeMap<StatementSource, Arc<HealthStatement>>>;

/// All that was stated and still counts, of one model.
#[derive(Clone, Debug, Default)]
pub struct HealthStatements {
    places: Places,
    /// Sites of which statements are all that is known.
    external: BTreeMap<usize, WhenExpired>,
    /// By Site and address: what counts, as of the newest look.
    counts: Arc<StatementRemarks>,
    revision: u64,
}

impl HealthStatements {
    /// Takes over what `memory`, which is `age` old at `now`, says of the model's addresses.
    #[must_use]
    pub fn new(model: &Model, memory: &SavedState, age: Option<Duration>, now: Instant) -> Self {
        let mut all = Self { external: external(model), ..Self::default() };
        let old = age.unwrap_or_default();
        for (id, site) in model.sites.iter().enumerate() {
            let Some(memory) = memory.sites.get(&site.key) else { continue };
            for saved in &memory.stated {
                let of = site.addresses.iter().position(|address| address.answer == saved.address);
                if let Some(index) = of {
                    let statement = recall(saved, old, now);
                    all.places.entry((id, index)).or_default().insert(statement.source, statement.into());
                }
            }
        }
        all
    }

    /// Creates those of another model: what was stated of an address of a Site stays, if the Site still has it.
    #[must_use]
    pub fn carried(&self, from: &Model, to: &Model) -> Self {
        let keys: HashMap<&str, usize> = to.sites.iter().zip(0..).map(|(site, id)| (site.key.as_str(), id)).collect();
        let moved = |(site, address): &(usize, usize)| {
            let before = &from.sites[*site];
            let id = *keys.get(before.key.as_str())?;
            let answer = before.addresses[*address].answer;
            Some((id, to.sites[id].addresses.iter().position(|address| address.answer == answer)?))
        };
        let places = self.places.iter().filter_map(|(at, of)| Some((moved(at)?, of.clone()))).collect();
        let counts: StatementRemarks =
            self.counts.iter().filter_map(|(at, of)| Some((moved(at)?, of.clone()))).collect();
        Self { places, external: external(to), counts: counts.into(), revision: self.revision + 1 }
    }

    /// Takes in a statement of an address that was made at another front, unless a newer one is known.
    pub fn state_from_afar(&mut self, site: SiteId, address: usize, statement: HealthStatement) {
        let known = self.places.get(&(site.0, address)).and_then(|places| places.get(&statement.source));
        if known.is_none_or(|known| known.at < statement.at) {
            self.state(site, &[address], statement);
        }
    }

    /// Takes in a statement of some addresses of a Site.
    pub fn state(&mut self, site: SiteId, addresses: &[usize], statement: HealthStatement) {
        let statement = Arc::new(statement);
        for address in addresses {
            let places = self.places.entry((site.0, *address)).or_default();
            let before = places.insert(statement.source, Arc::clone(&statement));
            // Who only says again what was said is written down when it is time to.
            self.revision += u64::from(before.is_none_or(|before| before.up != statement.up));
        }
    }

    /// Takes in what a file says now: whatever it said before and no longer says is over.
    pub fn read_file(&mut self, now: Instant, reading: &FileReading) {
        let before: BTreeMap<(usize, usize), bool> = self.of_file().collect();
        for places in self.places.values_mut() {
            places.remove(&StatementSource::File);
        }
        let at = now.checked_sub(reading.age).unwrap_or(now);
        for said in &reading.statements {
            let left = said.lasts.map(|lasts| lasts.saturating_sub(reading.age));
            let statement = Arc::new(HealthStatement {
                source: StatementSource::File,
                up: said.up,
                by: format!("{}:{}", reading.name, said.line),
                reason: None,
                at,
                at_wall_ms: reading.at_wall_ms,
                until: left.and_then(|left| now.checked_add(left)),
            });
            for address in &said.addresses {
                let places = self.places.entry((said.site.0, *address)).or_default();
                places.insert(StatementSource::File, Arc::clone(&statement));
            }
        }
        self.places.retain(|_, places| !places.is_empty());
        if !before.into_iter().eq(self.of_file()) {
            self.revision += 1;
        }
    }

    fn of_file(&self) -> impl Iterator<Item = ((usize, usize), bool)> {
        let of = |places: &BTreeMap<_, Arc<HealthStatement>>| places.get(&StatementSource::File).map(|said| said.up);
        self.places.iter().filter_map(move |(at, places)| Some((*at, of(places)?)))
    }

    /// Makes verdicts of statements, or changes verdicts by them.
    pub fn apply(&mut self, model: &Model, now: Instant, health: &mut Verdicts, events: &mut Vec<AssessorEvent>) {
        for site in self.external.keys() {
            health[*site].fill(Health::Unknown);
        }
        let mut counts = StatementRemarks::new();
        let (external, before) = (&self.external, self.places.len());
        self.places.retain(|(site, address), places| {
            let when_expired = external.get(site).copied();
            if when_expired.is_none() {
                places.retain(|_, said| said.is_in_force(now));
            }
            let in_force = places.values().filter(|said| said.is_in_force(now));
            let newest = in_force.max_by_key(|said| said.at);
            let is_expired = newest.is_none();
            let Some(said) = newest.or_else(|| places.values().max_by_key(|said| said.at)) else { return false };
            let probed = &mut health[*site][*address];
            let up = match when_expired {
                Some(WhenExpired::Up) if is_expired => true,
                Some(WhenExpired::Down) if is_expired => false,
                _ => said.up,
            };
            let decides = when_expired.is_some() || !up;
            let verdict = match (decides, up) {
                (false, _) => *probed,
                (true, true) => Health::Up,
                (true, false) => Health::Down,
            };
            *probed = verdict;
            let at = (*site, *address);
            let same = self.counts.get(&at).filter(|before| before.health == verdict);
            let (statement, since) = (Arc::clone(said), same.map_or(now, |before| before.since));
            counts.insert(at, StatementRemark { statement, is_expired, decides, health: verdict, since });
            true
        });
        self.revision += u64::from(self.places.len() != before);
        if counts != *self.counts {
            tell(model, &self.counts, &counts, events);
            self.counts = Arc::new(counts);
        }
    }

    /// For people.
    #[must_use]
    pub fn remarks(&self) -> Arc<StatementRemarks> {
        Arc::clone(&self.counts)
    }

    /// Goes up with everything that a restart should know at once.
    #[must_use]
    pub fn revision(&self) -> u64 {
        self.revision
    }

    /// Adds what a restart should know.
    pub fn save(&self, model: &Model, now: Instant, state: &mut SavedState) {
        for ((site, address), places) in &self.places {
            let site = &model.sites[*site];
            let saved = places.values().map(|said| remember(said, site.addresses[*address].answer, now));
            state.sites.entry(site.key.clone()).or_default().stated.extend(saved);
        }
    }
}

fn external(model: &Model) -> BTreeMap<usize, WhenExpired> {
    model.sites.iter().enumerate().filter_map(|(id, site)| Some((id, site.when_expired()?))).collect()
}

/// Notes what has come to count and what has ceased to.
fn tell(model: &Model, before: &StatementRemarks, now: &StatementRemarks, events: &mut Vec<AssessorEvent>) {
    let name = |(site, address): (usize, usize)| {
        let site = &model.sites[site];
        (site.key.clone(), site.addresses[address].answer)
    };
    let begun = now.iter().filter_map(|(at, remark)| {
        let old = before.get(at);
        let ((site, address), said) = (name(*at), &remark.statement);
        let was_up = old.is_none_or(|old| old.statement.up);
        if remark.is_expired {
            let is_new = old.is_some_and(|old| !old.is_expired);
            return is_new.then_some(AssessorEvent::StatementExpired { site, address, up: said.up });
        }
        let is_new = said.up != was_up || (old.is_none() && remark.decides && !said.up);
        is_new.then(|| AssessorEvent::Stated {
            site,
            address,
            up: said.up,
            by: said.by.clone(),
            reason: said.reason.clone(),
        })
    });
    let gone = before.iter().filter(|(at, remark)| !remark.statement.up && !now.contains_key(at));
    let gone = gone.map(|(at, remark)| {
        let (site, address) = name(*at);
        AssessorEvent::StatementExpired { site, address, up: remark.statement.up }
    });
    events.extend(begun.chain(gone).take(EVENTS_MAX));
}

fn remember(said: &HealthStatement, address: std::net::IpAddr, now: Instant) -> SavedStatement {
    SavedStatement {
        address,
        from_file: said.source == StatementSource::File,
        up: said.up,
        by: said.by.clone(),
        reason: said.reason.clone(),
        age_ms: ms(now.saturating_duration_since(said.at)),
        at_wall_ms: said.at_wall_ms,
        left_ms: said.until.map(|until| ms(until.saturating_duration_since(now))),
    }
}

/// The statement again, from a file that is `old` as of `now`. One that has expired is kept: where statements are all that
/// is known, it still says what was stated last.
fn recall(saved: &SavedStatement, old: Duration, now: Instant) -> HealthStatement {
    let left = saved.left_ms.map(|left_ms| Duration::from_millis(left_ms).saturating_sub(old));
    let age = old.saturating_add(Duration::from_millis(saved.age_ms));
    HealthStatement {
        source: if saved.from_file { StatementSource::File } else { StatementSource::Interface },
        up: saved.up,
        by: saved.by.clone(),
        reason: saved.reason.clone(),
        at: now.checked_sub(age).unwrap_or(now),
        at_wall_ms: saved.at_wall_ms,
        until: left.and_then(|left| now.checked_add(left)),
    }
}

#[cfg(test)]
mod tests;
