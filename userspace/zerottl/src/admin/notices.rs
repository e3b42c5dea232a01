//! Everything that bears on the Sites besides their health, as pages show it: overrides, hold-downs, alarms, what one
//! death would do.

use std::fmt::Write;

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{fleet::FleetPage, text};
use crate::observe::snapshot::Snapshot;
use zerottl_core::{
    model::{Model, PoolId, SiteId},
    overrides::Override,
    plan::n_minus_one::{self, Loss, WorstLosses},
};

/// Losses on the page, at most.
const LOSSES_MAX: usize = 1_000;

/// An override in force.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = OrderPage)]
pub struct OverridePage {
    /// `drain`, `maint`, or a weight.
    pub what: String,
    /// The name of whoever set it, and from where.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// Seconds since it was set.
    pub age_s: f64,
    /// When it was set by the wall clock, milliseconds since 1970.
    pub at_ms: u64,
    /// Seconds until it ends; none is without an end.
    pub left_s: Option<f64>,
    /// Whether it was forced against a pool's minimum.
    pub forced: bool,
}

/// A Site that keeps flapping.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct HoldPage {
    /// Seconds until it is answered again if it stays up.
    pub left_s: f64,
    /// Its failures in a row.
    pub failures: u32,
    /// Whether it is answered all the same, for its pool's minimum.
    pub overridden: bool,
}

/// A Site that has gone down and does not come back by itself (`failback = "manual"`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FailbackPage {
    /// Seconds since it went down.
    pub age_s: f64,
    /// Whether it is answered all the same, for its pool's minimum.
    pub overridden: bool,
}

/// A condition that needs attention.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct AlarmPage {
    /// Of a pool: `below-minimum`, `overridden`. Of the program on its interfaces: `program-off`, `program-taken-off`,
    /// `program-replaced`, `pins-lost`, `pins-removed`. Of the file of `[health]`: `health-file`, `health-file-lines`.
    /// `program-replaced`, `pins-lost`, `pins-removed`. Of the fleet: `fleet-away`, `fleet-name`, `fleet-cut-off`, `fleet-value`,
    /// `fleet-drift`, `fleet-refused`, `fleet-secret`.
    pub kind: String,
    /// The Pool Name; empty where it is about no pool, or counts those of a kind that are too many to be named.
    pub pool: String,
    /// In a sentence.
    pub message: String,
}

/// The newest request that was refused for a pool's minimum.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct RefusalPage {
    /// Seconds since then.
    pub age_s: f64,
    /// The request, who made it, and why it was refused.
    pub message: String,
}

/// The effect that the death of a Site would have: N−1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct LossPage {
    /// The Pool Name.
    pub pool: String,
    /// The key of the Site that dies.
    pub dies: String,
    /// The key of the one that its Site Name takes its clients to.
    pub takes: String,
    /// The part of its capacity that the load of that one reaches immediately: 1 is full.
    pub at_once: f64,
    /// The key of the fullest once the load is spread over the pool.
    pub fullest: String,
    /// How full that one is then.
    pub spread: f64,
    /// The effect as a sentence.
    pub message: String,
}

/// The state file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct StatePage {
    /// The directory.
    pub directory: String,
    /// Why the newest state could not be saved; none if it was.
    pub error: Option<String>,
}

/// The parts of the status page that are made here. Fields are only ever added.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[schema(as = Standings)]
#[serde(default)]
pub struct Notices {
    /// Conditions that need attention now.
    pub alarms: Vec<AlarmPage>,
    /// The newest refusal, for ten minutes.
    pub refusal: Option<RefusalPage>,
    /// Requests refused for a pool's minimum since the start.
    pub refusals: u64,
    /// The effects that the death of each Site would have, where its capacity is known; of more than 1,000 the worst.
    pub losses: Vec<LossPage>,
    /// How many more there are.
    pub losses_omitted: u64,
    /// The place where overrides and health are saved for a restart.
    pub state: StatePage,
}

impl Notices {
    /// Collects those of a moment.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        let remarks = &snapshot.remarks;
        let alarm = |alarm: &zerottl_core::alarms::Alarm| AlarmPage {
            kind: alarm.kind().into(),
            pool: alarm.pool().into(),
            message: alarm.to_string(),
        };
        // Of the program and of signed zones: no pool's.
        let general =
            |kind: &str, message: &str| AlarmPage { kind: kind.into(), pool: String::new(), message: message.into() };
        let context = &snapshot.context;
        let of_program = context.alarms.iter().map(|alarm| general(alarm.kind, &alarm.message));
        let of_signing = context.signing_alarms.iter().map(|alarm| general(alarm.kind, &alarm.message));
        let file = snapshot.health_file.alarms();
        let of_file = file.iter().map(|(kind, message)| general(kind, message));
        let of_fleet = FleetPage::new(snapshot).map(|fleet| fleet.alarms()).unwrap_or_default();
        let of_fleet = of_fleet.iter().map(|(kind, message)| general(kind, message));
        let WorstLosses { losses, omitted } = n_minus_one::worst(&snapshot.model, &snapshot.status, LOSSES_MAX);
        let refusal = remarks
            .refusal
            .as_ref()
            .map(|refusal| RefusalPage { age_s: snapshot.age_s(refusal.at), message: refusal.text.clone() });
        Self {
            alarms: remarks
                .alarms
                .iter()
                .map(alarm)
                .chain(of_program)
                .chain(of_signing)
                .chain(of_file)
                .chain(of_fleet)
                .collect(),
            refusal,
            refusals: remarks.refusals,
            losses: losses.iter().map(|(pool, loss)| LossPage::new(&snapshot.model, *pool, loss)).collect(),
            losses_omitted: omitted as u64,
            state: StatePage {
                directory: snapshot.model.state.display().to_string(),
                error: snapshot.write_status.error.clone(),
            },
        }
    }

    /// Lines for a terminal; empty where there is nothing to say.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = String::new();
        for alarm in &self.alarms {
            let _ = writeln!(page, "ALARM: {}", text::printable(&alarm.message));
        }
        if let Some(refusal) = &self.refusal {
            let _ = writeln!(page, "{} ago: {}", text::age(refusal.age_s), text::printable(&refusal.message));
        }
        if let Some(error) = &self.state.error {
            let words = format!("the state is not saved in {}: {error}", self.state.directory);
            let _ = writeln!(page, "{}", text::printable(&words));
        }
        for loss in &self.losses {
            let _ = writeln!(page, "{}", text::printable(&loss.message));
        }
        page
    }
}

impl LossPage {
    fn new(model: &Model, pool: PoolId, loss: &Loss) -> Self {
        let key = |site: SiteId| model.sites[site.0].key.clone();
        Self {
            pool: model.pools[pool.0].name.to_string(),
            dies: key(loss.dies),
            takes: key(loss.takes),
            at_once: loss.at_once,
            fullest: key(loss.spread.0),
            spread: loss.spread.1,
            message: n_minus_one::sentence(model, loss),
        }
    }
}

fn override_page<T>(snapshot: &Snapshot, in_force: &Override<T>, what: String) -> OverridePage {
    OverridePage {
        what,
        by: in_force.by.clone(),
        reason: in_force.reason.clone(),
        age_s: snapshot.age_s(in_force.at),
        at_ms: in_force.at_wall_ms,
        left_s: in_force.until.map(|until| until.saturating_duration_since(snapshot.now).as_secs_f64()),
        forced: in_force.forced,
    }
}

/// The admin state that the operator has set a Site to.
pub(super) fn admin_state(snapshot: &Snapshot, site: SiteId) -> Option<OverridePage> {
    let of = snapshot.remarks.states.get(&site.0)?;
    Some(override_page(snapshot, of, of.value.as_str().into()))
}

/// The operator's weight for a Site.
pub(super) fn weight(snapshot: &Snapshot, site: SiteId) -> Option<OverridePage> {
    let of = snapshot.remarks.weights.get(&site.0)?;
    Some(override_page(snapshot, of, of.value.to_string()))
}

/// A Site's hold-down.
pub(super) fn hold(snapshot: &Snapshot, site: SiteId) -> Option<HoldPage> {
    let of = snapshot.remarks.holds.get(&site.0)?;
    Some(HoldPage {
        left_s: of.until.saturating_duration_since(snapshot.now).as_secs_f64(),
        failures: of.failures,
        overridden: snapshot.status.sites[site.0].overridden,
    })
}

impl OverridePage {
    /// `drain by alice (127.0.0.1) 5m ago, for 25m more: disks`.
    #[must_use]
    pub fn words(&self) -> String {
        let left = self.left_s.map_or(String::new(), |left| format!(", for {} more", text::left(left)));
        let forced = if self.forced { ", forced" } else { "" };
        let reason = self.reason.as_ref().map_or(String::new(), |reason| format!(": {reason}"));
        text::printable(&format!("{} by {} {} ago{left}{forced}{reason}", self.what, self.by, text::age(self.age_s)))
    }
}

/// A Site's staying out until somebody says `ready` of it.
pub(super) fn failback(snapshot: &Snapshot, site: SiteId) -> Option<FailbackPage> {
    let since = *snapshot.remarks.out.get(&site.0)?;
    let overridden = snapshot.status.sites[site.0].overridden;
    Some(FailbackPage { age_s: snapshot.age_s(since), overridden })
}

/// Why a Site is held back, in words: its hold-down, and its staying out until `ready`.
pub(super) fn held_back(snapshot: &Snapshot, site: SiteId) -> Vec<String> {
    let hold = hold(snapshot, site).map(|page| page.words());
    hold.into_iter().chain(failback(snapshot, site).map(|page| page.words())).collect()
}

/// The Site that a Site depends on and that is down, in words.
pub(super) fn needs(snapshot: &Snapshot, site: SiteId) -> Option<String> {
    let needs = snapshot.status.sites[site.0].needs?;
    Some(format!("it depends on {}, which is down", snapshot.model.sites[needs.0].key))
}

impl FailbackPage {
    /// `went down 5m ago, and stays out until somebody says ready of it`.
    #[must_use]
    pub fn words(&self) -> String {
        let in_spite = if self.overridden { "answered for the pool's minimum, though it " } else { "" };
        format!("{in_spite}went down {} ago, and stays out until somebody says ready of it", text::age(self.age_s))
    }
}

impl HoldPage {
    /// `held for 12s more after 3 failures in a row`.
    #[must_use]
    pub fn words(&self) -> String {
        let left = text::left(self.left_s);
        let in_spite = if self.overridden { "answered for the pool's minimum, though " } else { "" };
        format!("{in_spite}held for {left} more after {} failures in a row", self.failures)
    }
}
