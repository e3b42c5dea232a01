//! The causes that keep a live Site from being answered, and in which order they give way when nothing is left.
//!
//! | while there are Sites that are live and | Pool and Group Names answer | a Site Name answers |
//! |---|---|---|
//! | not excluded | those | itself if it is, or only drained; else the first of those |
//! | none of these, but held | those | the first of those |
//! | none of these, but drained | those | the first of those |
//! | none at all | by `all_down`, among those not in maint; among all if all are | the same |
//!
//! The machine's own caution (held) gives way before the operator's (drained), and `maint` never gives way to a
//! Site's being live: what is in maint counts as down.

use crate::{
    model::{Model, SiteId},
    status::{AdminState, Assessment, SiteState},
};

/// The cause that excludes a Site, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Exclusion {
    /// Nothing does.
    None,
    /// It keeps flapping and is held back until it has been steady, or has gone down and stays out until `ready`.
    Held,
    /// The operator's `drain`, or a cause that counts as one.
    Drained,
    /// The operator's `maint`.
    Maint,
}

impl SiteState {
    /// Returns the strongest cause that excludes the Site.
    #[must_use]
    pub fn exclusion(&self) -> Exclusion {
        match self.admin_state_in_force() {
            AdminState::Maint => Exclusion::Maint,
            AdminState::Drain => Exclusion::Drained,
            AdminState::Ready if self.held => Exclusion::Held,
            AdminState::Ready => Exclusion::None,
        }
    }
}

impl Assessment {
    /// Returns the strongest cause that excludes a Site.
    #[must_use]
    pub fn exclusion(&self, site: SiteId) -> Exclusion {
        self.sites[site.0].exclusion()
    }

    /// Whether a Site is up and nothing excludes it.
    #[must_use]
    pub fn is_eligible(&self, model: &Model, site: SiteId) -> bool {
        self.exclusion(site) == Exclusion::None && self.site_is_up(model, site)
    }
}
