//! The knowledge about each Site at one moment: the planner's only changing input.

use std::{
    ops::{Index, IndexMut, Range},
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::model::{Initial, Model, Site, SiteId};

/// The verdict of an address's probe.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Health {
    /// No verdict yet; counts as `initial` says.
    #[default]
    Unknown,
    /// `rise` successes in a row.
    Up,
    /// `fall` failures in a row.
    Down,
}

/// The probes' verdicts, `[site][address]`, positions as in the model. They lie in one piece: every round copies them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdicts {
    all: Vec<Health>,
    /// By Site: where its addresses end.
    ends: Arc<[usize]>,
}

impl Verdicts {
    /// Of every Site.
    pub fn iter(&self) -> impl Iterator<Item = &[Health]> {
        (0..self.ends.len()).map(|site| &self[site])
    }

    /// Of every Site, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut [Health]> {
        let (mut rest, mut begin) = (&mut self.all[..], 0);
        self.ends.iter().map(move |end| {
            let (site, others) = std::mem::take(&mut rest).split_at_mut(end - begin);
            (rest, begin) = (others, *end);
            site
        })
    }

    fn range(&self, site: usize) -> Range<usize> {
        site.checked_sub(1).map_or(0, |before| self.ends[before])..self.ends[site]
    }
}

impl Index<usize> for Verdicts {
    type Output = [Health];

    fn index(&self, site: usize) -> &[Health] {
        &self.all[self.range(site)]
    }
}

impl IndexMut<usize> for Verdicts {
    fn index_mut(&mut self, site: usize) -> &mut [Health] {
        let range = self.range(site);
        &mut self.all[range]
    }
}

impl<Site: IntoIterator<Item = Health>> FromIterator<Site> for Verdicts {
    fn from_iter<Sites: IntoIterator<Item = Site>>(sites: Sites) -> Self {
        let mut all = Vec::new();
        let ends = sites.into_iter().map(|site| {
            all.extend(site);
            all.len()
        });
        let ends = ends.collect();
        Self { all, ends }
    }
}

/// The state that an operator sets a Site to, named as in `HAProxy`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "kebab-case")]
pub enum AdminState {
    /// As probes and load say.
    #[default]
    Ready,
    /// No new clients: Pool and Group Names do not answer it. Its Site Name does, for those it has.
    Drain,
    /// As if it were down, its Site Name included.
    Maint,
}

impl AdminState {
    /// From its text.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Ready, Self::Drain, Self::Maint].into_iter().find(|word| word.as_str() == text)
    }

    /// As in the file, in JSON and on the command line.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ready => "ready",
            Self::Drain => "drain",
            Self::Maint => "maint",
        }
    }
}

/// The load that a Site reports, in units of its own choosing.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Load {
    /// Now; debited answers included.
    pub current: f64,
    /// Where it should be at most in normal times; above 0.
    pub target: f64,
    /// Where it can take no more; at least `target`.
    pub capacity: f64,
}

/// The report of a Site about itself, besides the figures of its [`Load`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SelfReport {
    /// The admin state that it asks for itself, or `drain` where it has been silent for too long and that is to count
    /// so.
    pub admin_state: AdminState,
    /// Of its weight, what it wants; 1 unless it says so, and 0 is no new clients.
    pub factor: f64,
    /// Whether it has been silent for longer than `stale_after`.
    pub stale: bool,
    /// The amount that one answer adds to its load, as set or as learned so far.
    pub per_answer: f64,
    /// The amount that answers since its newest report add to its load.
    pub debit: f64,
    /// Sessions that it has.
    pub sessions: Option<f64>,
}

impl Default for SelfReport {
    fn default() -> Self {
        Self { admin_state: AdminState::Ready, factor: 1.0, stale: false, per_answer: 0.0, debit: 0.0, sessions: None }
    }
}

/// The state of a Site, besides its probes' verdicts.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct SiteState {
    /// The admin state that the operator has set.
    pub admin_state: AdminState,
    /// Whether it has been flapping and is held back until it is steady, or has gone down and stays out until `ready`.
    pub held: bool,
    /// A Site that it depends on and that is down; it counts as down for that.
    pub needs: Option<SiteId>,
    /// Whether a cause that came by itself would exclude it, and was lifted for its pool's minimum.
    pub overridden: bool,
    /// The weight in force: the configured one, or that of an override.
    pub weight: u32,
    /// Of its weight, what it gets while it starts slowly; over 0, up to 1.
    pub ramp: f64,
    /// Its load; none where it says nothing that counts.
    pub load: Option<Load>,
    /// The rest of its report of itself.
    pub self_report: SelfReport,
}

impl SiteState {
    /// The stronger of the operator's admin state and the Site's own; one that wants nothing of its weight counts as
    /// `drain`.
    #[must_use]
    pub fn admin_state_in_force(&self) -> AdminState {
        let none = if self.self_report.factor > 0.0 { AdminState::Ready } else { AdminState::Drain };
        self.admin_state.max(self.self_report.admin_state).max(none)
    }

    /// Of its weight, what it is to get by its own report and while it starts slowly; 0 is no new clients.
    #[must_use]
    pub fn wanted(&self) -> f64 {
        if self.self_report.admin_state == AdminState::Ready { self.ramp * self.self_report.factor } else { 0.0 }
    }
}

/// One moment's knowledge: the planner's only changing input. `assess` makes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Assessment {
    /// The probes' verdicts.
    pub health: Verdicts,
    /// By Site, positions as in the model.
    pub sites: Vec<SiteState>,
}

impl Assessment {
    /// Nothing known yet. A Site without a probe is up.
    #[must_use]
    pub fn unknown(model: &Model) -> Self {
        let health = model.sites.iter().map(|site| {
            let first = if site.is_probed() { Health::Unknown } else { Health::Up };
            std::iter::repeat_n(first, site.addresses.len())
        });
        Self::of(model, health.collect())
    }

    /// These verdicts, and nothing else known yet.
    #[must_use]
    pub fn of(model: &Model, health: Verdicts) -> Self {
        let fresh = |site: &Site| SiteState {
            admin_state: AdminState::Ready,
            held: false,
            needs: None,
            overridden: false,
            weight: site.weight,
            ramp: 1.0,
            load: None,
            self_report: SelfReport::default(),
        };
        Self { health, sites: model.sites.iter().map(fresh).collect() }
    }

    /// Whether both decide alike: without regard to what is only shown and, unless names go `by_load`, to loads.
    #[must_use]
    pub fn decides_as(&self, other: &Self, by_load: bool) -> bool {
        let shown = |site: &SiteState| {
            let load = site.load.filter(|_| by_load);
            let self_report = SelfReport {
                admin_state: site.self_report.admin_state,
                factor: site.self_report.factor,
                ..SelfReport::default()
            };
            SiteState { load, self_report, ..*site }
        };
        self.health == other.health && self.sites.iter().map(shown).eq(other.sites.iter().map(shown))
    }

    /// Whether one address of a Site may be answered.
    #[must_use]
    pub fn address_is_live(&self, model: &Model, site: SiteId, address: usize) -> bool {
        let state = &self.sites[site.0];
        // A Site that says it is down is believed.
        if state.needs.is_some() || state.self_report.admin_state == AdminState::Maint {
            return false;
        }
        match self.health[site.0][address] {
            Health::Up => true,
            Health::Down => false,
            Health::Unknown => model.sites[site.0].initial == Initial::Up,
        }
    }

    /// A Site is a unit: up if any of its addresses is.
    #[must_use]
    pub fn site_is_up(&self, model: &Model, site: SiteId) -> bool {
        (0..self.health[site.0].len()).any(|a| self.address_is_live(model, site, a))
    }
}
