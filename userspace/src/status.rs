//! What is known about each Site at one moment: the planner's only changing input.

use crate::model::{Initial, Model, SiteId};

/// What an address's probe says.
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

/// One moment's knowledge: per Site, per address of the model, its health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    /// `health[site][address]`, positions as in the model.
    pub health: Vec<Vec<Health>>,
}

impl Status {
    /// Nothing known yet. A Site without a probe is up.
    #[must_use]
    pub fn unknown(model: &Model) -> Self {
        let health = model.sites.iter().map(|site| {
            let first = if site.probe.is_some() { Health::Unknown } else { Health::Up };
            vec![first; site.addresses.len()]
        });
        Self { health: health.collect() }
    }

    /// Whether one address of a Site may be answered.
    #[must_use]
    pub fn address_is_live(&self, model: &Model, site: SiteId, address: usize) -> bool {
        match self.health[site.0][address] {
            Health::Up => true,
            Health::Down => false,
            Health::Unknown => model.sites[site.0].initial == Initial::Up,
        }
    }

    /// A Site is a unit: up if any of its addresses is.
    #[must_use]
    pub fn site_is_up(&self, model: &Model, site: SiteId) -> bool {
        (0..model.sites[site.0].addresses.len()).any(|a| self.address_is_live(model, site, a))
    }
}
