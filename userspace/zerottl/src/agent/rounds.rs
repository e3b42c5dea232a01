//! The loop that turns what is known into plans, and looks after what changes without one.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use aya::maps::{MapData, RingBuf};
use tokio::{
    sync::{broadcast, mpsc, watch},
    time::MissedTickBehavior,
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, error, info, warn};
use xdp_ebpf::layout::VLAN_PAIRS_MAX;

use super::{
    assessment_log,
    counts::{AgentCounters, RoundCounters},
    events,
    fleet::{FleetRounds, FleetWord},
    news,
    supervisor::notify,
};
use crate::{
    control::{
        overrides::{OverrideApplied, PendingOverride},
        target,
    },
    observe::publication::Publication,
};
use zerottl_core::{
    assess::{Assessor, LoadInputs, remarks::Remarks},
    model::{Model, SiteId, Vlan},
    overrides::{Override, OverrideError, OverrideRequest, OverrideValue},
    plan::{Before, Plan, Planner},
    site_load::SiteLoad,
    status::{Assessment, Verdicts},
};
use zerottl_dns::{self as dns, view::View};
use zerottl_fleet::Fleet;
use zerottl_hooks::Hooks;
use zerottl_host::state::writer::WriteSchedule;
use zerottl_inputs::{load::LoadStore, probe::Reports};
use zerottl_kernel::{
    attach::{macs, macs_of},
    publish::Publisher,
    trace, vlans,
};

/// A planning round: how often everything is assessed anew when no verdict changes, the program is told the time, and
/// tracing is looked after.
pub(crate) const ROUND: Duration = Duration::from_millis(100);
/// Shares move by no more than this much time allows, however late a round is.
const STEP_MAX: Duration = Duration::from_secs(1);
/// MACs are read anew once in this many rounds.
const MAC_ROUNDS: u32 = 2;
/// Traced packets handed on per round; beyond that the sample is thinned.
const TRACE_LINES: usize = 1_000;

/// All that a round needs, of one configuration.
pub struct Rounds {
    /// Makes a status of what is known; locked for a round, and by a reload that goes on from it.
    pub assessor: Arc<Mutex<Assessor>>,
    /// The Sites' reports of their load.
    pub load_store: LoadStore,
    /// The counters of both paths, by whose answers they are debited.
    pub counters: Arc<AgentCounters>,
    /// When shares last moved.
    pub planned: Instant,
    /// Makes a plan of a status.
    pub planner: Planner,
    /// Where the socket path finds the plan.
    pub view: Arc<View>,
    /// The reports of the probes.
    pub reports: Reports,
    /// The verdicts of the probes.
    pub verdicts: watch::Receiver<Verdicts>,
    /// The assessment that the newest plan was made from.
    pub assessed: watch::Sender<Assessment>,
    /// The remarks of the newest assessment, for people.
    pub remarked: watch::Sender<Arc<Remarks>>,
    /// Requests of operators.
    pub asked: mpsc::Receiver<PendingOverride>,
    /// The times at which what a restart should know is handed over to be written.
    pub schedule: WriteSchedule,
    /// When it was published.
    pub published: watch::Sender<Option<Publication>>,
    /// Where the kernel finds it; none with `xdp = "off"`.
    pub publisher: Option<Publisher>,
    /// Traced packets.
    pub events: Option<RingBuf<MapData>>,
    /// The channel to their readers.
    pub trace: broadcast::Sender<Arc<str>>,
    /// The counters of the work done.
    pub work: Arc<RoundCounters>,
    /// The other fronts.
    pub fleet: Option<FleetRounds>,
    /// Where events are told outside of the agent.
    pub hooks: Arc<Hooks>,
}

/// State that changes from round to round without being part of a plan.
struct Upkeep {
    /// One packet in this many is traced; 0 while nobody listens.
    one_in: u32,
    /// Whether the newest reading of MACs went well.
    macs_known: bool,
    /// The VLANs found last; none before the first look, and after one that failed.
    vlans: Option<Vec<Vlan>>,
    /// When the supervisor is told next that rounds go on; none where it does not watch.
    watchdog: Option<(Duration, Instant)>,
}

impl Rounds {
    /// Goes round until cancelled.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut round = tokio::time::interval(ROUND);
        round.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut upkeep = Upkeep { one_in: 0, macs_known: true, vlans: Some(Vec::new()), watchdog: watchdog() };
        let mut rounds: u32 = 0;
        tell_forced(self.planner.model(), None, &self.view.plan());
        loop {
            tokio::select! {
                () = cancel.cancelled() => {
                    self.save(Instant::now());
                    return;
                }
                Some((request, answer)) = self.asked.recv() => {
                    // Nobody waiting any more is no error.
                    drop(answer.send(self.set_override(&request)));
                }
                changed = self.verdicts.changed() => {
                    if changed.is_err() {
                        // The probes have ended; so will we, or something is badly wrong.
                        if !cancel.is_cancelled() {
                            error!("the probes have stopped: answers stay as they are");
                        }
                        return;
                    }
                    Arc::clone(&self.work).round(|| self.round());
                }
                () = news_of(&mut self.fleet) => {
                    self.take_words();
                    Arc::clone(&self.work).round(|| self.round());
                }
                _ = round.tick() => {
                    self.take_words();
                    Arc::clone(&self.work).round(|| self.round());
                    if let Some(publisher) = &mut self.publisher {
                        publisher.set_clock(dns::now());
                        // Only now: a round that hangs confirms nothing.
                        publisher.confirm();
                        publisher.prepare(&self.view.plan());
                    }
                    if rounds.is_multiple_of(MAC_ROUNDS) {
                        self.refresh_macs(&mut upkeep);
                        self.refresh_vlans(&mut upkeep);
                    }
                    rounds = rounds.wrapping_add(1);
                    self.forward_trace(&mut upkeep);
                    upkeep.tell_supervisor();
                }
            }
        }
    }

    /// Assesses everything, and publishes a plan if that changes anything.
    fn round(&mut self) {
        let since = Instant::now();
        if let Some(fleet) = &mut self.fleet {
            fleet.share_loads();
            let mut assessor = self.assessor.lock().unwrap_or_else(PoisonError::into_inner);
            // Whoever comes after it takes them.
            if !assessor.has_left() {
                for (site, address, statement) in fleet.statements() {
                    assessor.state_from_afar(site, address, statement);
                }
            }
        }
        // Counting answers goes through every address on every CPU: only where something is debited by them.
        let (entries, mut answers) = if self.load_store.is_used() {
            (self.load_store.read(), self.planner.answers_of_sites(&self.counters.answers()))
        } else {
            Default::default()
        };
        let mut verdicts = self.verdicts.borrow_and_update().clone();
        if let Some(fleet) = &mut self.fleet {
            verdicts = fleet.verdicts(&verdicts, self.view.plan().generation);
            if !answers.is_empty() {
                answers = fleet.answers(answers, since);
            }
        }
        let loads = LoadInputs { entries: &entries, answers: &answers };
        let status = self.assessor().assess(since, &verdicts, loads);
        let elapsed = since.saturating_duration_since(std::mem::replace(&mut self.planned, since)).min(STEP_MAX);
        let before = self.view.plan();
        let alike = |by_load| status.decides_as(&self.assessed.borrow(), by_load);
        let (is_moved, is_event) = (before.shares.moving || !alike(self.planner.goes_by_load()), !alike(false));
        if is_moved {
            // Compiling a large plan takes milliseconds: let other tasks go on meanwhile.
            tokio::task::block_in_place(|| self.move_on(&status, &before, elapsed, is_event, since));
        }
        // Figures that move nothing are there to be seen all the same.
        let is_new = *self.assessed.borrow() != status;
        let (remarks, revision, happened) = {
            let mut assessor = self.assessor();
            (assessor.remarks(since, &status, is_new), assessor.revision(), assessor.take_events())
        };
        events::of_assessment(&self.hooks, &happened);
        assessment_log::write(happened);
        self.remarked.send_if_modified(|newest| {
            let is_new = **newest != remarks;
            if is_new {
                *newest = Arc::new(remarks);
            }
            is_new
        });
        if is_new {
            self.tell_of_sites(&status, &entries);
            self.assessed.send_replace(status);
        }
        if self.schedule.is_due(since, is_event, revision) {
            self.save(since);
        }
    }

    /// Makes the plan that follows `before`, and publishes it if it answers otherwise or something has happened.
    fn move_on(&mut self, status: &Assessment, before: &Plan, elapsed: Duration, is_event: bool, since: Instant) {
        let generation = before.generation + 1;
        let from = Before { shares: &before.shares, plan: Some(before), elapsed };
        let mut plan = self.planner.follow(status, generation, Some(from));
        if !is_event && plan.answers_as(before) {
            // Only what the next plan moves from is new.
            plan.generation = before.generation;
            return self.view.publish(plan);
        }
        self.publish(plan);
        let took = since.elapsed();
        self.published.send_modify(|publication| Publication::record(publication, Instant::now(), took));
        if is_event {
            // Answers are made by it already: nobody waits for words.
            let (model, plan) = (self.planner.model(), self.view.plan());
            let changes = news::of_plan(model, before, &plan);
            let changes = if changes.is_empty() { "no answer changes".into() } else { changes };
            info!(generation, took_us = took.as_micros(), "plan published: {changes}");
            tell_forced(model, Some(before), &plan);
        } else {
            // Loads move shares all the time.
            debug!(generation, took_us = took.as_micros(), "shares moved");
        }
    }

    /// Says which Sites went up or down, or want clients no longer or again, and why.
    fn tell_of_sites(&self, status: &Assessment, entries: &[SiteLoad]) {
        let remarks = Arc::clone(&self.remarked.borrow());
        let detail =
            |site: SiteId, address| news::with_statement(self.reports.get(site, address), &remarks, (site.0, address));
        let before = self.assessed.borrow();
        events::of_sites(&self.hooks, self.planner.model(), (&before, status), entries, detail);
        let (lines, more) = news::of_sites(self.planner.model(), (&before, status), entries, detail);
        for news::SiteNews { site, is_bad, text } in lines {
            if is_bad {
                warn!(site, "Site {site} {text}");
            } else {
                info!(site, "Site {site} {text}");
            }
        }
        if more > 0 {
            warn!(more, "more Sites have changed");
        }
    }

    /// Takes in an operator's request; answers are made by it when this returns.
    fn set_override(&mut self, request: &OverrideRequest) -> Result<OverrideApplied, OverrideError> {
        // What is refused is measured by what holds now.
        self.round();
        let now = Instant::now();
        let said = self.apply_override(now, request);
        match &said {
            Ok(sites) => info!(
                what = %request.value, ?sites, by = request.by, reason = request.reason, lasts = ?request.lasts,
                force = request.force, "said by the operator"
            ),
            Err(refused) => {
                warn!(what = %request.value, sites = request.target, by = request.by, "not done: {refused}");
            }
        }
        self.round();
        let sites = said?;
        events::of_override(&self.hooks, request, &sites);
        let word = self.fleet.as_ref().map(|fleet| {
            let id = Fleet::id();
            fleet.took(id, &sites, request, None);
            id
        });
        Ok(OverrideApplied { sites, generation: self.view.plan().generation, saved: self.save(now), word })
    }

    /// Takes over what other fronts were told, as far as this one's own minimums allow.
    fn take_words(&mut self) {
        let now = Instant::now();
        let words = self.fleet.as_mut().map(|fleet| fleet.words(now)).unwrap_or_default();
        if words.is_empty() {
            return;
        }
        // What is refused is measured by what holds now.
        self.round();
        for word in words {
            self.take_word(now, &word);
            self.round();
        }
        if let Some(fleet) = &self.fleet {
            fleet.acknowledge();
        }
        self.save(now);
    }

    fn take_word(&mut self, now: Instant, word: &FleetWord) {
        let Some(fleet) = &self.fleet else { return };
        let model = Arc::clone(self.planner.model());
        let ids = |keys: &[String]| -> Vec<SiteId> {
            let found = keys.iter().filter_map(|key| model.sites.iter().position(|site| site.key == *key));
            found.map(SiteId).collect()
        };
        let remarks = Arc::clone(&self.remarked.borrow());
        let (older, sites): (Vec<String>, Vec<String>) = word
            .sites
            .iter()
            .cloned()
            .partition(|site| newer_here(&remarks, &ids(std::slice::from_ref(site)), &word.request));
        // What was said here while the engine was away, and after it.
        for site in older {
            let site = &[site][..];
            fleet.took(word.id, site, &word.request, None);
            if let Some(mut request) = ids(site).first().and_then(|id| said_here(&remarks, *id, &word.request, now)) {
                request.by = fleet.by(&request.by);
                fleet.tell_later(Fleet::id(), site, &request);
            }
        }
        let said = {
            let mut assessor = self.assessor();
            if assessor.has_left() {
                return;
            }
            assessor.set_override(now, &word.request, &ids(&sites), &self.assessed.borrow())
        };
        let OverrideRequest { value, by, reason, .. } = &word.request;
        match said {
            Ok(_) => {
                fleet.took(word.id, &sites, &word.request, None);
                info!(what = %value, ?sites, by, reason, "said by the fleet");
                events::of_override(&self.hooks, &word.request, &sites);
            }
            Err(refused) => {
                let refused = refused.to_string();
                if fleet.is_new_refusal(word, &sites) {
                    warn!(what = %value, ?sites, by, "the fleet's word is not done here: {refused}");
                }
                fleet.took(word.id, &sites, &word.request, Some(&refused));
            }
        }
    }

    /// Hands a request to the assessor, with the Sites that its target means.
    fn apply_override(&mut self, now: Instant, request: &OverrideRequest) -> Result<Vec<String>, OverrideError> {
        let mut assessor = self.assessor();
        if assessor.has_left() {
            // Whoever asks again asks the other configuration, which may have other Sites.
            return Err(OverrideError::Stopping);
        }
        let sites = target::find(self.planner.model(), &request.target)?;
        assessor.set_override(now, request, &sites, &self.assessed.borrow())
    }

    /// Has what a restart should know written.
    fn save(&mut self, now: Instant) -> u64 {
        let verdicts = self.verdicts.borrow().clone();
        let (state, revision) = {
            let assessor = self.assessor();
            if assessor.has_left() {
                // Another configuration's rounds keep what there is.
                return 0;
            }
            (assessor.saved_state(now, &verdicts), assessor.revision())
        };
        self.schedule.write(state, now, revision)
    }

    fn assessor(&self) -> MutexGuard<'_, Assessor> {
        // Every change leaves it whole, so one cut short by a panic is still good to read.
        self.assessor.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn publish(&mut self, plan: Plan) {
        let mut written = 0;
        if let Some(publisher) = &mut self.publisher {
            publisher.publish(&plan);
            written = publisher.take_written();
        }
        self.work.plan(written);
        self.view.publish(plan);
    }

    /// An interface's MAC can be changed while it is up; until this notices, its queries take the socket path.
    fn refresh_macs(&mut self, upkeep: &mut Upkeep) {
        let Some(publisher) = &mut self.publisher else { return };
        let read = macs();
        match &read {
            Ok(macs) => publisher.set_macs(&macs_of(&self.planner.model().front.interfaces, macs)),
            Err(error) if upkeep.macs_known => warn!("reading the interfaces' MAC addresses failed: {error}"),
            // Told already.
            Err(_) => {}
        }
        upkeep.macs_known = read.is_ok();
    }

    /// VLAN interfaces come and go; until this notices, queries in a new one take the socket path.
    fn refresh_vlans(&mut self, upkeep: &mut Upkeep) {
        let Some(publisher) = &mut self.publisher else { return };
        match vlans::of(&self.planner.model().front) {
            Ok(vlans) if upkeep.vlans.as_ref() == Some(&vlans) => {}
            Ok(vlans) => {
                let words: Vec<_> = vlans.iter().map(ToString::to_string).collect();
                info!(vlans = words.join(" "), "the program answers in these VLANs, besides frames without a tag");
                let pairs = vlans.iter().filter(|vlan| vlan.inner.is_some()).count();
                if pairs > VLAN_PAIRS_MAX {
                    warn!(
                        "{pairs} VLANs within VLANs; the program knows {VLAN_PAIRS_MAX}, others take the socket path"
                    );
                }
                publisher.set_vlans(&vlans);
                upkeep.vlans = Some(vlans);
            }
            Err(error) => {
                // Told once; what was known stays.
                if upkeep.vlans.take().is_some() {
                    warn!("reading the host's VLANs failed: {error}");
                }
            }
        }
    }

    /// Hands traced packets to whoever listens, and thins the sample so that it stays readable and cheap.
    fn forward_trace(&mut self, upkeep: &mut Upkeep) {
        let (Some(publisher), Some(events)) = (&mut self.publisher, &mut self.events) else { return };
        let lines = trace::drain(events, TRACE_LINES);
        let one_in = match (self.trace.receiver_count(), lines.len()) {
            (0, _) => 0,
            (_, TRACE_LINES..) => upkeep.one_in.max(1).saturating_mul(2).min(1 << 20),
            (_, few) if few < TRACE_LINES / 4 => (upkeep.one_in / 2).max(1),
            _ => upkeep.one_in.max(1),
        };
        if one_in != upkeep.one_in {
            publisher.set_trace(one_in);
            upkeep.one_in = one_in;
        }
        for line in &lines {
            match serde_json::to_string(line) {
                // Nobody listening any more is no error.
                Ok(line) => drop(self.trace.send(line.into())),
                Err(error) => warn!("a traced packet could not be written: {error}"),
            }
        }
    }
}

/// Returns when the fleet has news; never without one.
async fn news_of(fleet: &mut Option<FleetRounds>) {
    match fleet {
        Some(fleet) => fleet.changed().await,
        None => std::future::pending().await,
    }
}

/// Whether something newer of this kind has been said here of one of these Sites.
fn newer_here(remarks: &Remarks, sites: &[SiteId], request: &OverrideRequest) -> bool {
    sites.iter().any(|site| {
        let at = match request.value {
            OverrideValue::State(_) => remarks.states.get(&site.0).map(|said| said.at_wall_ms),
            OverrideValue::Weight(_) => remarks.weights.get(&site.0).map(|said| said.at_wall_ms),
        };
        at.is_some_and(|at| at > request.at_wall_ms)
    })
}

/// Makes the request again that something was said by here.
fn said_here(remarks: &Remarks, site: SiteId, like: &OverrideRequest, now: Instant) -> Option<OverrideRequest> {
    fn request<T>(said: &Override<T>, value: OverrideValue, like: &OverrideRequest, now: Instant) -> OverrideRequest {
        OverrideRequest {
            target: like.target.clone(),
            value,
            by: said.by.clone(),
            reason: said.reason.clone(),
            lasts: said.until.map(|until| until.saturating_duration_since(now)),
            force: said.forced,
            at_wall_ms: said.at_wall_ms,
        }
    }
    match like.value {
        OverrideValue::State(_) => {
            let said = remarks.states.get(&site.0)?;
            Some(request(said, OverrideValue::State(said.value), like, now))
        }
        OverrideValue::Weight(_) => {
            let said = remarks.weights.get(&site.0)?;
            Some(request(said, OverrideValue::Weight(Some(said.value)), like, now))
        }
    }
}

/// Says which names begin and end to be answered from Sites that are not known to be up.
fn tell_forced(model: &Model, before: Option<&Plan>, after: &Plan) {
    for (is_bad, text) in news::of_forced(model, before, after) {
        if is_bad {
            warn!("{text}");
        } else {
            info!("{text}");
        }
    }
}

/// How often the supervisor wants to hear of us (`sd_watchdog_enabled(3)`): twice as often as it must.
fn watchdog() -> Option<(Duration, Instant)> {
    let mut microseconds = 0;
    let is_on = sd_notify::watchdog_enabled(false, &mut microseconds) && microseconds > 0;
    is_on.then(|| (Duration::from_micros(microseconds / 2), Instant::now()))
}

impl Upkeep {
    fn tell_supervisor(&mut self) {
        if let Some((every, next)) = &mut self.watchdog
            && Instant::now() >= *next
        {
            notify(&[sd_notify::NotifyState::Watchdog]);
            *next = Instant::now() + *every;
        }
    }
}
