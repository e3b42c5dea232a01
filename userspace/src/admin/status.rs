//! `zerottl status` and `/v1/status`: everything at one moment.

use std::{
    collections::BTreeMap,
    fmt::Write,
    net::{IpAddr, SocketAddr},
};

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::{
    Attach, Snapshot, decided_by,
    forwards::{self, ForwardPage, UpstreamPage},
    health_word, kind_word,
    load::{self, LoadPage},
    shares::{Counter, Shares},
    standing::{self, HoldPage, OrderPage, Standings},
    text,
};
use crate::{
    model::{Family, Model, NameId, SiteId},
    plan::{Basis, Choice},
    status::{Health, Status, Word},
};

/// The page. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct StatusPage {
    /// The agent's version.
    pub version: String,
    /// Since the agent's start, seconds.
    pub uptime_s: f64,
    /// Where and what is answered.
    pub front: FrontPage,
    /// The newest plan.
    pub plan: PlanPage,
    /// In the configuration's order.
    pub sites: Vec<SitePage>,
    /// Pool, Group and Site Names, in the configuration's order.
    pub names: Vec<NamePage>,
    /// Packets seen by the XDP program, by reason.
    pub reasons: BTreeMap<String, ReasonPage>,
    /// The socket path's counts.
    pub socket: SocketPage,
    /// Alarms, refusals, what a death would do, where the state is kept.
    #[serde(flatten)]
    pub standings: Standings,
    /// What planning has done.
    #[serde(default)]
    pub work: WorkPage,
}

/// `work` of [`StatusPage`]: what the planning rounds have done since the agent's start. What they cost hangs on the
/// configuration and on how often something changes, not on how much has failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WorkPage {
    /// Rounds: everything assessed anew.
    pub rounds: u64,
    /// Rounds that made a plan, because something had changed.
    pub plans: u64,
    /// Bytes of plans written into the program's maps.
    pub written_bytes: u64,
    /// CPU time of rounds, planning and publishing included, seconds.
    pub cpu_s: f64,
}

/// `socket` of [`StatusPage`]: counts since the agent's start, and one of this moment.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SocketPage {
    /// Queries received, by transport: `udp`, `tcp`.
    pub queries: BTreeMap<String, u64>,
    /// Answers made, by rcode.
    pub answers: BTreeMap<String, u64>,
    /// What else befell: `dropped`, `truncated`, `send-errors`, `tcp-refused`, `tcp-timed-out`.
    pub events: BTreeMap<String, u64>,
    /// TCP connections open now.
    pub tcp_open: u64,
    /// Forward names, in the configuration's order.
    #[serde(default)]
    pub forwards: Vec<ForwardPage>,
    /// The servers that their queries go to, by address.
    #[serde(default)]
    pub upstreams: Vec<UpstreamPage>,
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
    pub attach: Vec<Attach>,
}

/// `plan` of [`StatusPage`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct PlanPage {
    /// Counts publications.
    pub generation: u64,
    /// Since it was published, seconds; none before the first.
    pub age_s: Option<f64>,
    /// From the cause to answers, milliseconds.
    pub publish_ms: Option<f64>,
    /// Names and types (two each), by what they are answered from: see [`FamilyPage::from`].
    pub choices: BTreeMap<String, u64>,
}

/// One Site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SitePage {
    /// The operator's word for it.
    pub key: String,
    /// The Site Name.
    pub name: String,
    /// Whether any of its addresses counts as up.
    pub up: bool,
    /// In one word: see [`STATES`].
    pub state: String,
    /// Configured weight.
    pub weight: u32,
    /// The weight in force: the configured one, or the operator's.
    #[serde(default)]
    pub weight_now: u32,
    /// Whether it is up and nothing bars it.
    #[serde(default)]
    pub eligible: bool,
    /// The operator's word; none is `ready`.
    #[serde(default)]
    pub word: Option<OrderPage>,
    /// The operator's weight, if it is not the configured one.
    #[serde(default)]
    pub weight_order: Option<OrderPage>,
    /// Its hold-down.
    #[serde(default)]
    pub hold: Option<HoldPage>,
    /// In order of preference.
    pub addresses: Vec<AddressPage>,
    /// What it says of its load; none unless it is asked, or tells.
    #[serde(default)]
    pub load: Option<LoadPage>,
}

/// One address of a Site.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct AddressPage {
    /// What is answered.
    #[schema(value_type = String)]
    pub answer: IpAddr,
    /// What is probed.
    #[schema(value_type = String)]
    pub probe: IpAddr,
    /// `up`, `down`, `unknown`, or `unprobed`, which counts as up.
    pub health: String,
    /// Whether it may be answered: `unknown` counts as `initial` says.
    pub live: bool,
    /// Whether its health is what was known before the restart, for want of a verdict since.
    #[serde(default)]
    pub recalled: bool,
    /// In this health for, seconds.
    pub since_s: f64,
    /// Since the newest attempt began, seconds.
    pub last_attempt_s: Option<f64>,
    /// Why the newest attempt failed; none if it succeeded.
    pub last_error: Option<String>,
    /// The newest success took, milliseconds.
    pub latency_ms: Option<f64>,
    /// Attempts begun.
    pub attempts: u64,
    /// Attempts that failed.
    pub failures: u64,
    /// Attempts that this machine could not make.
    pub not_tried: u64,
    /// Times the checker itself failed and was restarted.
    pub restarts: u64,
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

/// What a name answers for one type.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct FamilyPage {
    /// `table`, `nodata` or `servfail`.
    pub choice: String,
    /// `live` Sites; live ones of which some would be barred but for the pool's `minimum`; live ones of which all are
    /// `held` back or `drained`; all Sites, by `up-threshold` or `fail-open`; `nodata` or `servfail`.
    pub from: String,
    /// Of each Site in the table.
    #[schema(value_type = BTreeMap<String, f64>)]
    pub shares: Shares,
}

/// How often a reason was met.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ReasonPage {
    /// `answer`, `drop` or `pass`.
    pub action: String,
    /// Packets.
    pub count: u64,
}

/// The words for a Site's state, the one that counts first: the operator's `maint`; `down`; the operator's `drain`; `held`
/// back because it has been flapping; `unknown`, which counts as `initial` says; `up`.
pub const STATES: [&str; 6] = ["maint", "down", "drain", "held", "unknown", "up"];

/// One of [`STATES`].
#[must_use]
pub fn site_state(model: &Model, status: &Status, site: SiteId) -> &'static str {
    let standing = &status.sites[site.0];
    let known = status.health[site.0].iter().any(|health| *health != Health::Unknown);
    match standing.word {
        Word::Maint => "maint",
        _ if known && !status.site_is_up(model, site) => "down",
        Word::Drain => "drain",
        Word::Ready if standing.held => "held",
        Word::Ready if !known => "unknown",
        Word::Ready => "up",
    }
}

/// The word for what a choice is answered from.
fn from_word(choice: &Choice) -> &'static str {
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
pub(super) fn choice_word(choice: &Choice) -> &'static str {
    match choice {
        Choice::Table(_) => "table",
        Choice::NoData => "nodata",
        Choice::Servfail => "servfail",
    }
}

impl StatusPage {
    /// The page of a moment.
    #[must_use]
    pub fn new(snapshot: &Snapshot) -> Self {
        Self { names: names(snapshot), ..Self::without_names(snapshot) }
    }

    /// The same with `names` empty, which is much less work where there are many.
    #[must_use]
    pub fn without_names(snapshot: &Snapshot) -> Self {
        let front = &snapshot.model.front;
        let roles = [(front.roles.load_balance, "load-balance"), (front.roles.failover, "failover")];
        let reason = |(name, action, count): &(&str, &str, u64)| {
            ((*name).to_owned(), ReasonPage { action: (*action).to_owned(), count: *count })
        };
        Self {
            version: env!("CARGO_PKG_VERSION").into(),
            uptime_s: snapshot.age_s(snapshot.started),
            front: FrontPage {
                listen: front.listen.clone(),
                roles: roles.iter().filter(|(has, _)| *has).map(|(_, word)| (*word).to_owned()).collect(),
                attach: snapshot.attach.clone(),
            },
            plan: PlanPage {
                generation: snapshot.plan.generation,
                age_s: snapshot.publication.map(|publication| snapshot.age_s(publication.at)),
                publish_ms: snapshot.publication.map(|publication| publication.took.as_secs_f64() * 1e3),
                choices: choices(snapshot),
            },
            sites: (0..snapshot.model.sites.len()).map(|index| site(snapshot, SiteId(index))).collect(),
            names: Vec::new(),
            reasons: snapshot.reasons.iter().map(reason).collect(),
            socket: snapshot.socket.clone(),
            work: snapshot.work,
            standings: Standings::new(snapshot),
        }
    }

    /// The page for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut page = String::new();
        let age = self.plan.age_s.map_or("not yet published".into(), |age| format!("published {} ago", text::age(age)));
        let listen: Vec<String> = self.front.listen.iter().map(ToString::to_string).collect();
        let _ = writeln!(
            page,
            "zerottl {}, up {}; plan {}, {age}\nanswers on {}; roles: {}",
            text::printable(&self.version),
            text::age(self.uptime_s),
            self.plan.generation,
            listen.join(", "),
            text::printable(&self.front.roles.join(", ")),
        );
        for attach in &self.front.attach {
            let note = if attach.note.is_empty() { String::new() } else { format!(" ({})", attach.note) };
            let _ = writeln!(page, "{}", text::printable(&format!("{}: {}{note}", attach.interface, attach.mode)));
        }
        let standings = self.standings.to_text();
        if !standings.is_empty() {
            let _ = write!(page, "\n{standings}");
        }
        let rows: Vec<_> = self.sites.iter().flat_map(site_rows).collect();
        let header = ["SITE", "STATE", "WEIGHT", "ADDRESS", "HEALTH", "SINCE", "TRIED", "LATENCY", "ERROR"];
        let _ = write!(page, "\n{}", text::table(&header, &rows));
        for site in &self.sites {
            let orders = site.word.iter().chain(&site.weight_order).map(|order| {
                let what = if order.what.starts_with(|c: char| c.is_ascii_digit()) { "weight " } else { "" };
                format!("{what}{}", order.words())
            });
            for words in orders.chain(site.hold.as_ref().map(HoldPage::words)) {
                let _ = writeln!(page, "{}: {words}", text::printable(&site.key));
            }
        }
        let rows: Vec<_> = self.sites.iter().filter_map(|site| Some(site.load.as_ref()?.row(&site.key))).collect();
        if !rows.is_empty() {
            let _ = write!(page, "\n{}", text::table(&LoadPage::HEADER, &rows));
        }
        let rows: Vec<_> = self.names.iter().map(name_row).collect();
        let _ = write!(page, "\n{}", text::table(&["NAME", "KIND", "BY", "A", "AAAA"], &rows));
        let forwards = forwards::to_text(&self.socket.forwards, &self.socket.upstreams);
        if !forwards.is_empty() {
            let _ = write!(page, "\n{forwards}");
        }
        let counts = self.reasons.iter().map(|(name, reason)| (name.as_str(), reason.action.as_str(), reason.count));
        let rows = counts
            .filter(|(.., count)| *count > 0)
            .map(|(name, action, count)| vec![name.to_owned(), action.to_owned(), count.to_string()]);
        let rows: Vec<_> = rows.chain(self.socket.rows()).collect();
        if !rows.is_empty() {
            let _ = write!(page, "\n{}", text::table(&["REASON", "ACTION", "COUNT"], &rows));
        }
        page
    }
}

impl SocketPage {
    /// Counts that are not zero, as rows beside the kernel's reasons.
    fn rows(&self) -> impl Iterator<Item = Vec<String>> {
        let queries = self.queries.iter().map(|(transport, count)| (format!("{transport}-queries"), *count));
        let others = self.answers.iter().chain(&self.events).map(|(name, count)| (name.clone(), *count));
        let open = [("tcp-open".to_owned(), self.tcp_open)];
        let counts = queries.chain(others).chain(open).filter(|(_, count)| *count > 0);
        counts.map(|(name, count)| vec![name, "socket".into(), count.to_string()])
    }
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
    let address = |(index, address): (usize, &crate::model::SiteAddress)| {
        let report = &snapshot.detail[id.0][index];
        AddressPage {
            answer: address.answer,
            probe: address.probe,
            health: health_word(site, status.health[id.0][index]).into(),
            live: status.address_is_live(model, id, index),
            recalled: snapshot.remarks.recalled.contains(&(id.0, index)),
            since_s: snapshot.age_s(report.since),
            last_attempt_s: report.last_attempt.map(|at| snapshot.age_s(at)),
            last_error: report.last_error.clone(),
            latency_ms: report.last_latency.map(|latency| latency.as_secs_f64() * 1e3),
            attempts: report.attempts,
            failures: report.failures,
            not_tried: report.not_tried,
            restarts: report.restarts,
        }
    };
    SitePage {
        key: site.key.clone(),
        name: site.name.to_string(),
        up: status.site_is_up(model, id),
        state: site_state(model, status, id).into(),
        weight: site.weight,
        weight_now: status.sites[id.0].weight,
        eligible: status.is_eligible(model, id),
        word: standing::word(snapshot, id),
        weight_order: standing::weight(snapshot, id),
        hold: standing::hold(snapshot, id),
        addresses: site.addresses.iter().enumerate().map(address).collect(),
        load: load::page_of(snapshot, id),
    }
}

fn names(snapshot: &Snapshot) -> Vec<NamePage> {
    let (model, plan) = (&*snapshot.model, &*snapshot.plan);
    let mut counter = Counter::new(model, plan);
    let mut family = |name, family| FamilyPage {
        choice: choice_word(plan.choice(name, family)).into(),
        from: from_word(plan.choice(name, family)).into(),
        shares: counter.sites(name, family),
    };
    let page = |(index, entry): (usize, &crate::model::DynamicName)| NamePage {
        name: entry.name.to_string(),
        kind: kind_word(entry.kind).into(),
        served: entry.served,
        policy: decided_by(model, entry.kind).into(),
        a: family(NameId(index), Family::V4),
        aaaa: family(NameId(index), Family::V6),
    };
    model.names.iter().enumerate().map(page).collect()
}

/// Health and what bars it: `up`, `DOWN`, `up, drain`.
fn state_word(site: &SitePage) -> String {
    let health = if site.up { "up" } else { "DOWN" };
    match (&site.word, &site.hold) {
        (Some(order), _) => format!("{health}, {}", text::printable(&order.what)),
        (None, Some(hold)) if !hold.overridden => format!("{health}, held"),
        _ => health.into(),
    }
}

/// One row per address; what is the Site's stands on the first.
fn site_rows(site: &SitePage) -> Vec<Vec<String>> {
    let row = |(index, address): (usize, &AddressPage)| {
        let first = |cell: String| if index == 0 { cell } else { String::new() };
        let probed =
            if address.probe == address.answer { String::new() } else { format!(" (probes {})", address.probe) };
        vec![
            first(site.key.clone()),
            first(state_word(site)),
            first(if site.weight_now == site.weight {
                site.weight.to_string()
            } else {
                format!("{} (of {})", site.weight_now, site.weight)
            }),
            format!("{}{probed}", address.answer),
            if address.recalled { format!("{} (recalled)", address.health) } else { address.health.clone() },
            text::age(address.since_s),
            address.last_attempt_s.map_or("-".into(), text::age),
            address.latency_ms.map_or("-".into(), |latency| format!("{latency:.1}ms")),
            address.last_error.clone().unwrap_or_default(),
        ]
    };
    site.addresses.iter().enumerate().map(row).collect()
}

fn name_row(name: &NamePage) -> Vec<String> {
    let family = |family: &FamilyPage| {
        let shares = family.shares.iter().map(|(site, share)| format!("{site} {}", text::percent(*share)));
        let shares: Vec<String> = shares.collect();
        match (shares.is_empty(), family.from.as_str()) {
            (true, _) => family.choice.to_uppercase(),
            (false, "live") => shares.join(", "),
            (false, from) => format!("{} ({from})", shares.join(", ")),
        }
    };
    let by = if name.served { name.policy.clone() } else { "referral".into() };
    vec![name.name.clone(), name.kind.clone(), by, family(&name.a), family(&name.aaaa)]
}
