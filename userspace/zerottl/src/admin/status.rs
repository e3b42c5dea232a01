//! `zerottl status` and `/v1/status`: everything at one moment.

use std::{
    collections::{BTreeMap, HashMap},
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;
use xdp_ebpf::reason::Reason;

use super::{
    fleet::{self, FleetPage, VotePage},
    health::{self, StatementPage},
    hooks::HookPage,
    load::{self, LoadPage},
    notices::{self, FailbackPage, HoldPage, Notices, OverridePage},
};
use crate::observe::{
    counters::{PlanningCounts, SocketCounts},
    labels::{choice_word, decided_by, from_word, health_word, kind_word, site_state},
    shares::{ShareCounter, SiteShares},
    signing::SignedZoneState,
    snapshot::Snapshot,
};
use zerottl_core::{
    model::{Family, Model, Name, NameId, NameKind, SiteId},
    plan::{Basis, Choice},
    status::{AdminState, Health},
};
use zerottl_kernel::attachments::AttachmentState;

/// The page, bounded whatever the configuration: what it leaves out is counted. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusPage {
    /// The agent's version.
    pub version: String,
    /// Seconds since the agent's start.
    pub uptime_s: f64,
    /// Where and what is answered.
    pub front: FrontPage,
    /// The newest plan.
    pub plan: PlanPage,
    /// In the configuration's order.
    pub sites: Vec<SitePage>,
    /// Pool, Group and Site Names, in the configuration's order; where there are more than 10,000, those not answered as
    /// usual first.
    pub names: Vec<NamePage>,
    /// Names that are left out for their number; `?name=` shows any one.
    #[serde(default)]
    pub names_omitted: u64,
    /// Packets seen by the XDP program, by reason.
    pub reasons: BTreeMap<String, ReasonPage>,
    /// The socket path's counts.
    pub socket: SocketCounts,
    /// Alarms, refusals, the effects of a Site's death, and the state file.
    #[serde(flatten)]
    pub notices: Notices,
    /// The signed zones.
    #[serde(default)]
    pub signed: Vec<SignedZonePage>,
    /// The fleet; none where this front is alone.
    #[serde(default)]
    pub fleet: Option<FleetPage>,
    /// Counters of planning.
    #[serde(default)]
    pub work: PlanningCounts,
    /// Where events are told outside of the agent.
    #[serde(default)]
    pub hooks: Vec<HookPage>,
}

/// The XDP program on one interface; one of [`FrontPage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Attach)]
pub struct AttachmentPage {
    /// The interface.
    pub interface: String,
    /// `native`, `generic`, or `off` while the program is not there.
    pub mode: String,
    /// Why it is not what was asked for, such as an interface that has gone; empty if it is.
    pub note: String,
}

impl AttachmentPage {
    fn new(state: &AttachmentState) -> Self {
        let AttachmentState { interface, mode, note } = state;
        Self { interface: interface.clone(), mode: (*mode).to_owned(), note: note.clone() }
    }
}

/// `front` of [`StatusPage`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FrontPage {
    /// Addresses and ports served.
    #[schema(value_type = Vec<String>)]
    pub listen: Vec<SocketAddr>,
    /// `load-balance`, `failover`.
    pub roles: Vec<String>,
    /// One per interface.
    pub attach: Vec<AttachmentPage>,
    /// Warnings where `[front]` does not fit this machine, or about an interface.
    #[serde(default)]
    pub warnings: Vec<String>,
}

/// A signed zone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
#[serde(default)]
pub struct SignedZonePage {
    /// Its name.
    pub zone: String,
    /// Its keys, as `algorithm/tag`.
    pub keys: Vec<String>,
    /// How many signatures it has.
    pub signatures: u64,
    /// Seconds until the first of them expires, or the last of a bundle's, to the minute; negative once it has.
    pub expires_s: f64,
    /// Whether they are from a bundle.
    pub from_bundle: bool,
}

impl SignedZonePage {
    fn new(state: &SignedZoneState) -> Self {
        Self {
            zone: state.zone.clone(),
            keys: state.keys.clone(),
            signatures: state.signatures as u64,
            expires_s: f64::from(state.left_min) * 60.0,
            from_bundle: state.is_bundle,
        }
    }

    /// `app.com: 214 signatures by ECDSAP256SHA256/56426, from a bundle, good for 13 d 2 h`.
    #[must_use]
    pub(super) fn words(&self) -> String {
        let hours = (self.expires_s / 3600.0).floor();
        let left = if hours < 0.0 {
            "expired".into()
        } else {
            format!("good for {:.0} d {:.0} h", (hours / 24.0).floor(), hours % 24.0)
        };
        let from = if self.from_bundle { "from a bundle, " } else { "" };
        format!("{}: {} signatures by {}, {from}{left}", self.zone, self.signatures, self.keys.join(", "))
    }
}

/// `plan` of [`StatusPage`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanPage {
    /// Counts publications.
    pub generation: u64,
    /// Seconds since it was published; none before the first.
    pub age_s: Option<f64>,
    /// Milliseconds from the cause to answers.
    pub publish_ms: Option<f64>,
    /// Names and types (two each), by what they are answered from: see [`FamilyPage::from`].
    pub choices: BTreeMap<String, u64>,
}

/// One Site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SitePage {
    /// The Site's key in the configuration.
    pub key: String,
    /// The Site Name.
    pub name: String,
    /// Whether any of its addresses counts as up.
    pub up: bool,
    /// The state in one word, of `observe::labels::STATES`.
    pub state: String,
    /// Pool and Group Names that list it, as many as there is room for.
    #[serde(default)]
    pub member_of: Vec<String>,
    /// How many more list it.
    #[serde(default)]
    pub member_of_omitted: u64,
    /// Answers with its addresses since the configuration was loaded, in the kernel and by the sockets; those of an address
    /// that another Site has, too, count for both.
    #[serde(default)]
    pub answers: u64,
    /// Why it is not fully in service: the operator's override, its own report, its probes' errors, a hold-down; none if it is.
    #[serde(default)]
    pub reason: Option<String>,
    /// Configured weight.
    pub weight: u32,
    /// The weight in force: the configured one, or that of an override.
    #[serde(default)]
    pub weight_now: u32,
    /// Whether it is up and nothing excludes it.
    #[serde(default)]
    pub eligible: bool,
    /// The operator's override of its state; none is `ready`.
    #[serde(default)]
    pub word: Option<OverridePage>,
    /// The operator's override of its weight; none is the configured weight.
    #[serde(default)]
    pub weight_order: Option<OverridePage>,
    /// Its hold-down.
    #[serde(default)]
    pub hold: Option<HoldPage>,
    /// Its staying out until somebody says `ready` of it; none unless it has gone down and `failback` is `manual`.
    #[serde(default)]
    pub failback: Option<FailbackPage>,
    /// The key of a Site that it depends on and that is down; none unless there is one.
    #[serde(default)]
    pub needs: Option<String>,
    /// In order of preference.
    pub addresses: Vec<AddressPage>,
    /// Its load as it reports it; none unless it is asked, or sends reports.
    #[serde(default)]
    pub load: Option<LoadPage>,
}

/// One address of a Site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AddressPage {
    /// The address that is answered.
    #[schema(value_type = String)]
    pub answer: IpAddr,
    /// The address that is probed.
    #[schema(value_type = String)]
    pub probe: IpAddr,
    /// `up`, `down`, `unknown`, or `unprobed`, which counts as up.
    pub health: String,
    /// Whether it may be answered: `unknown` counts as `initial` says.
    pub live: bool,
    /// Whether its health is what was known before the restart, for want of a verdict since.
    #[serde(default)]
    pub recalled: bool,
    /// Seconds that it has been in this health.
    pub since_s: f64,
    /// Seconds since the newest attempt began.
    pub last_attempt_s: Option<f64>,
    /// The statement of its health from outside that counts; none unless there is one.
    #[serde(default)]
    pub stated: Option<StatementPage>,
    /// Why the newest attempt failed; none if it succeeded.
    pub last_error: Option<String>,
    /// Milliseconds that the newest successful attempt took.
    pub latency_ms: Option<f64>,
    /// Attempts begun.
    pub attempts: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Attempts that this machine could not make.
    pub not_tried: u64,
    /// Restarts of the checker after it failed.
    pub restarts: u64,
    /// The verdicts of the fleet's fronts on it; empty where this one is alone.
    #[serde(default)]
    pub votes: Vec<VotePage>,
}

/// One dynamic name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct NamePage {
    /// The name.
    pub name: String,
    /// `pool`, `group` or `site`.
    pub kind: String,
    /// Whether this machine answers it; otherwise it refers to those that do.
    pub served: bool,
    /// The policy, or `failover` for a Site Name.
    pub policy: String,
    /// Type A.
    pub a: FamilyPage,
    /// Type AAAA.
    pub aaaa: FamilyPage,
}

/// The answers of a name for one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FamilyPage {
    /// `table`, `nodata` or `servfail`.
    pub choice: String,
    /// `live` Sites; live ones of which some would be excluded but for the pool's `minimum`; live ones of which all are
    /// `held` back or `drained`; all Sites, by `up-threshold` or `fail-open`; `nodata` or `servfail`.
    pub from: String,
    /// Of each Site in the table.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub shares: SiteShares,
}

/// How often a reason was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonPage {
    /// `answer`, `drop` or `pass`.
    pub action: String,
    /// Packets.
    pub count: u64,
}

/// Names on the page, at most.
pub const NAMES_MAX: usize = 10_000;
/// Shares of all its names, at most; a name with which there would be more is left out, as are all after it.
const SHARES_MAX: usize = 500_000;
/// Names in the lists of all Sites, at most; where there are more, each Site lists its part of so many.
const MEMBERS_MAX: usize = 100_000;
/// Addresses of a Site whose errors stand in its reason, at most.
const REASONS_MAX: usize = 8;

impl StatusPage {
    /// Signed answers that were truncated as their client network had had its bytes; none where no zone is signed.
    #[must_use]
    pub(super) fn signed_truncated(&self) -> Option<u64> {
        let in_kernel = self.reasons.get(Reason::AnswerSignedBytes.name()).map_or(0, |reason| reason.count);
        let by_socket = self.socket.events.get("signed-bytes").copied().unwrap_or(0);
        (!self.signed.is_empty()).then_some(in_kernel + by_socket)
    }

    /// The page of a moment.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        let model = &*snapshot.model;
        let names = names(snapshot, &chosen(snapshot));
        let names_omitted = (model.names.len() - names.len()) as u64;
        let page = Self { names, names_omitted, ..Self::without_names(snapshot) };
        page.with_members(model, member_room(model), |_| true)
    }

    /// The page of a moment with one name alone: in `names`, and in the lists of the Sites.
    #[must_use]
    pub fn of_name(snapshot: &Snapshot, name: &Name) -> Self {
        let model = &*snapshot.model;
        let id = model.names.iter().position(|entry| entry.name == *name).map(NameId);
        let names = names(snapshot, id.as_slice());
        let page = Self { names, ..Self::without_names(snapshot) };
        page.with_members(model, 1, |other| Some(other) == id)
    }

    /// Creates the page with no name anywhere, which is much less work where there are many.
    #[must_use]
    pub(crate) fn without_names(snapshot: &Snapshot) -> Self {
        let front = &snapshot.model.front;
        let roles = [(front.roles.load_balance, "load-balance"), (front.roles.failover, "failover")];
        let reason = |(name, action, count): &(&str, &str, u64)| {
            ((*name).to_owned(), ReasonPage { action: (*action).to_owned(), count: *count })
        };
        let answers = answers(snapshot);
        let site = |index: usize| {
            let of = |address: &zerottl_core::model::SiteAddress| answers.get(&address.answer).copied().unwrap_or(0);
            let mut page = site(snapshot, SiteId(index));
            page.answers = snapshot.model.sites[index].addresses.iter().map(of).sum();
            page
        };
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: snapshot.age_s(snapshot.started),
            front: FrontPage {
                listen: front.listen.clone(),
                roles: roles.iter().filter(|(has, _)| *has).map(|(_, word)| (*word).to_owned()).collect(),
                attach: snapshot.context.attachments.iter().map(AttachmentPage::new).collect(),
                warnings: snapshot.context.warnings.clone(),
            },
            plan: PlanPage {
                generation: snapshot.plan.generation,
                age_s: snapshot.publication.map(|publication| snapshot.age_s(publication.at)),
                publish_ms: snapshot.publication.map(|publication| publication.took.as_secs_f64() * 1e3),
                choices: choices(snapshot),
            },
            sites: (0..snapshot.model.sites.len()).map(site).collect(),
            names: Vec::new(),
            names_omitted: 0,
            reasons: snapshot.reasons.iter().map(reason).collect(),
            socket: snapshot.socket.clone(),
            work: snapshot.work,
            hooks: snapshot.hooks.iter().map(HookPage::new).collect(),
            notices: Notices::new(snapshot),
            signed: snapshot.context.signed.iter().map(SignedZonePage::new).collect(),
            fleet: FleetPage::new(snapshot),
        }
    }
}

/// The pools and groups of a model, each with its Sites.
fn lists(model: &Model) -> impl Iterator<Item = (NameId, &[SiteId])> {
    let lists = model.names.iter().enumerate().filter(|(_, entry)| !matches!(entry.kind, NameKind::Site(_)));
    lists.map(|(index, entry)| (NameId(index), model.sites_of(entry.kind)))
}

/// How many names each Site has room for: all, unless that is too many.
fn member_room(model: &Model) -> usize {
    let all: usize = lists(model).map(|(_, sites)| sites.len()).sum();
    if all <= MEMBERS_MAX { usize::MAX } else { (MEMBERS_MAX / model.sites.len().max(1)).max(1) }
}

impl StatusPage {
    /// Writes into each Site which of these pools and groups list it, as many as it has room for.
    fn with_members(mut self, model: &Model, room: usize, is_listed: impl Fn(NameId) -> bool) -> Self {
        for (id, sites) in lists(model).filter(|(id, _)| is_listed(*id)) {
            for site in sites {
                let page = &mut self.sites[site.0];
                if page.member_of.len() < room {
                    page.member_of.push(model.names[id.0].name.to_string());
                } else {
                    page.member_of_omitted += 1;
                }
            }
        }
        self
    }
}

/// How often each address was answered.
fn answers(snapshot: &Snapshot) -> HashMap<IpAddr, u64> {
    snapshot.plan.endpoints.iter().copied().zip(snapshot.answers.iter().copied()).collect()
}

fn choices(snapshot: &Snapshot) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for index in 0..snapshot.model.names.len() {
        for family in Family::ALL {
            *counts.entry(from_word(snapshot.plan.choice(NameId(index), family))).or_default() += 1;
        }
    }
    counts.into_iter().map(|(word, count)| (word.to_owned(), count)).collect()
}

fn site(snapshot: &Snapshot, id: SiteId) -> SitePage {
    let (model, status) = (&snapshot.model, &snapshot.status);
    let site = &model.sites[id.0];
    let address = |(index, address): (usize, &zerottl_core::model::SiteAddress)| {
        let report = &snapshot.detail[id.0][index];
        let remark = snapshot.remarks.statements.get(&(id.0, index)).filter(|remark| remark.decides);
        AddressPage {
            answer: address.answer,
            probe: address.probe,
            health: health_word(site, status.health[id.0][index]).into(),
            live: status.address_is_live(model, id, index),
            recalled: snapshot.remarks.recalled.contains(&(id.0, index)),
            since_s: snapshot.age_s(remark.map_or(report.since, |remark| remark.since)),
            stated: health::page_of(snapshot, id, index),
            last_attempt_s: report.last_attempt.map(|at| snapshot.age_s(at)),
            last_error: report.last_error.clone(),
            latency_ms: report.last_latency.map(|latency| latency.as_secs_f64() * 1e3),
            attempts: report.attempts,
            failures: report.failures,
            not_tried: report.not_tried,
            restarts: report.restarts,
            votes: fleet::votes(snapshot, id, index),
        }
    };
    SitePage {
        key: site.key.clone(),
        name: site.name.to_string(),
        up: status.site_is_up(model, id),
        state: site_state(model, status, id).into(),
        member_of: Vec::new(),
        member_of_omitted: 0,
        answers: 0,
        reason: reason(snapshot, id),
        weight: site.weight,
        weight_now: status.sites[id.0].weight,
        eligible: status.is_eligible(model, id),
        word: notices::admin_state(snapshot, id),
        weight_order: notices::weight(snapshot, id),
        hold: notices::hold(snapshot, id),
        failback: notices::failback(snapshot, id),
        needs: status.sites[id.0].needs.map(|needs| model.sites[needs.0].key.clone()),
        addresses: site.addresses.iter().enumerate().map(address).collect(),
        load: load::page_of(snapshot, id),
    }
}

/// Why a Site is not simply up and answered.
fn reason(snapshot: &Snapshot, id: SiteId) -> Option<String> {
    let (model, status) = (&snapshot.model, &snapshot.status);
    let said = notices::admin_state(snapshot, id).map(|page| page.words());
    let own = load::takes_itself_out(snapshot, id);
    let is_down = !status.site_is_up(model, id) && status.sites[id.0].self_report.admin_state != AdminState::Maint;
    // Where it is down for another Site's sake, health that is well is no reason.
    let is_at_fault = |index: usize| is_down && status.health[id.0][index] != Health::Up;
    let detail = model.sites[id.0].addresses.iter().zip(&snapshot.detail[id.0]).enumerate();
    let faults = detail.filter_map(|(index, (address, report))| {
        let stated = health::page_of(snapshot, id, index).filter(|page| page.decides).map(|page| page.words());
        let why = || report.last_error.clone().unwrap_or_else(|| "no verdict yet".into());
        is_at_fault(index).then(|| format!("{}: {}", address.answer, stated.unwrap_or_else(why)))
    });
    let held = notices::held_back(snapshot, id);
    let needs = notices::needs(snapshot, id);
    let all: Vec<String> =
        said.into_iter().chain(own).chain(needs).chain(faults.take(REASONS_MAX)).chain(held).collect();
    (!all.is_empty()).then(|| all.join("; "))
}

/// Chooses the names of the page: all; of too many, those not answered as usual first.
fn chosen(snapshot: &Snapshot) -> Vec<NameId> {
    let all = || (0..snapshot.model.names.len()).map(NameId);
    if all().len() <= NAMES_MAX {
        return all().collect();
    }
    let mut chosen: Vec<NameId> = all().filter(|id| !is_usual(snapshot, *id)).take(NAMES_MAX).collect();
    let room = NAMES_MAX - chosen.len();
    chosen.extend(all().filter(|id| is_usual(snapshot, *id)).take(room));
    chosen
}

/// Whether a name is answered from live Sites, a Site Name by its own Site.
fn is_usual(snapshot: &Snapshot, id: NameId) -> bool {
    let (model, plan) = (&*snapshot.model, &*snapshot.plan);
    let is_own = |endpoint: u16| match model.names[id.0].kind {
        NameKind::Site(site) => {
            let answered = plan.endpoints.get(usize::from(endpoint));
            model.sites[site.0].addresses.iter().any(|address| Some(&address.answer) == answered)
        }
        NameKind::Pool(_) | NameKind::Group(_) => true,
    };
    Family::ALL.into_iter().all(|family| match plan.choice(id, family) {
        Choice::Table(table) => table.basis == Basis::Live && table.slots.first().is_none_or(|slot| is_own(*slot)),
        Choice::NoData => true,
        Choice::Servfail => false,
    })
}

/// The pages of these names, as far as there is room for their shares.
fn names(snapshot: &Snapshot, chosen: &[NameId]) -> Vec<NamePage> {
    let (model, plan) = (&*snapshot.model, &*snapshot.plan);
    let mut counter = ShareCounter::new(model, plan);
    let mut family = |name, family| FamilyPage {
        choice: choice_word(plan.choice(name, family)).into(),
        from: from_word(plan.choice(name, family)).into(),
        shares: counter.sites(name, family),
    };
    let mut page = |id: &NameId| {
        let entry = &model.names[id.0];
        NamePage {
            name: entry.name.to_string(),
            kind: kind_word(entry.kind).into(),
            served: entry.served,
            policy: decided_by(model, entry.kind).into(),
            a: family(*id, Family::V4),
            aaaa: family(*id, Family::V6),
        }
    };
    let mut room = SHARES_MAX;
    let has_room = |page: &NamePage| {
        let shares = page.a.shares.len() + page.aaaa.shares.len();
        let has_room = shares <= room;
        room = room.saturating_sub(shares);
        has_room
    };
    chosen.iter().map(&mut page).take_while(has_room).collect()
}
