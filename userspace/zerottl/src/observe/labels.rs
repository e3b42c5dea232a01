//! Labels: the words that pages, metrics and log lines have in common.

use zerottl_core::{
    model::{Model, NameKind, Policy, Site, SiteId},
    plan::{Basis, Choice},
    status::{AdminState, Assessment, Health},
};

/// The words for a Site's state, the one that counts first: the operator's `maint`; `down`, by its probes or as it
/// says itself; `drain`, by the operator or by itself; `held` back because it has been flapping; `unknown`, which
/// counts as `initial` says; `up`.
pub(crate) const STATES: [&str; 6] = ["maint", "down", "drain", "held", "unknown", "up"];

/// One of [`STATES`].
#[must_use]
pub(crate) fn site_state(model: &Model, status: &Assessment, site: SiteId) -> &'static str {
    let state = &status.sites[site.0];
    let known = status.health[site.0].iter().any(|health| *health != Health::Unknown);
    match state.admin_state {
        AdminState::Maint => "maint",
        _ if state.needs.is_some() => "down",
        _ if (known || state.self_report.admin_state == AdminState::Maint) && !status.site_is_up(model, site) => "down",
        _ if state.admin_state_in_force() == AdminState::Drain => "drain",
        AdminState::Drain => "drain",
        AdminState::Ready if state.held => "held",
        AdminState::Ready if !known => "unknown",
        AdminState::Ready => "up",
    }
}

/// The words for what names are answered from.
pub(crate) const BASES: [&str; 8] =
    ["live", "minimum", "held", "drained", "up-threshold", "fail-open", "nodata", "servfail"];

/// The word for what a choice is answered from, one of [`BASES`].
#[must_use]
pub(crate) fn from_word(choice: &Choice) -> &'static str {
    match choice {
        Choice::Table(table) => match table.basis {
            Basis::Live => "live",
            Basis::UpThreshold => "up-threshold",
            Basis::FailOpen => "fail-open",
            Basis::Minimum => "minimum",
            Basis::Held => "held",
            Basis::Drained => "drained",
        },
        Choice::NoData | Choice::Servfail => choice_word(choice),
    }
}

/// The word for a choice.
#[must_use]
pub(crate) fn choice_word(choice: &Choice) -> &'static str {
    match choice {
        Choice::Table(_) => "table",
        Choice::NoData => "nodata",
        Choice::Servfail => "servfail",
    }
}

/// `pool`, `group` or `site`, as in the configuration.
#[must_use]
pub(crate) fn kind_word(kind: NameKind) -> &'static str {
    match kind {
        NameKind::Pool(_) => "pool",
        NameKind::Group(_) => "group",
        NameKind::Site(_) => "site",
    }
}

/// The policy as in the configuration.
#[must_use]
pub(crate) fn policy_word(policy: Policy) -> &'static str {
    match policy {
        Policy::WeightedRoundRobin => "weighted-round-robin",
        Policy::WeightedRandom => "weighted-random",
        Policy::Sticky => "sticky",
        Policy::LeastLoad => "least-load",
    }
}

/// Returns what decides a name's answer: its policy, or for a Site Name the failover order.
#[must_use]
pub(crate) fn decided_by(model: &Model, kind: NameKind) -> &'static str {
    match kind {
        NameKind::Pool(id) => policy_word(model.pools[id.0].policy),
        NameKind::Group(id) => policy_word(model.groups[id.0].policy),
        NameKind::Site(_) => "failover",
    }
}

/// The word for an address's health in pages.
#[must_use]
pub(crate) fn health_word(site: &Site, health: Health) -> &'static str {
    match health {
        // Somebody may state it to be down.
        _ if !site.is_probed() && health != Health::Down => "unprobed",
        Health::Unknown => "unknown",
        Health::Up => "up",
        Health::Down => "down",
    }
}
