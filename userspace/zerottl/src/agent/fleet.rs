//! The planning round's part in a fleet: votes counted with this front's own, words of others, answers of others.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::{mpsc, watch},
    task::{JoinError, JoinHandle},
};
use tracing::{info, warn};
use zerottl_config::secret_fingerprint;
use zerottl_core::{
    model::{CookieSecrets, EventKind, FleetConfig, FleetEngine, Model, SiteId},
    overrides::{OverrideRequest, OverrideValue},
    rendezvous::is_chosen,
    statements::HealthStatement,
    status::{Health, Verdicts},
};
use zerottl_fleet::{Fleet, FleetError, Presence, VoteTally};
use zerottl_hooks::{HookEvent, Hooks};
use zerottl_inputs::{load::LoadStore, probe::ProbeDuty};

use crate::{control::commands::AgentCommand, observe::fleet::FleetVotes};

/// How often answers are told to the others: a burst that one of them does not know of yet is as long.
const TELL: Duration = Duration::from_millis(100);
/// How often refused words are tried again.
const TRY_AGAIN: Duration = Duration::from_secs(1);
/// A reload is asked for again where it is not done in so long: the file may have a fault.
const RELOADED_WITHIN: Duration = Duration::from_secs(10);

/// Said once a front is cut off, and once it is so no longer.
const CUT_OFF: &str = "this front sees most Sites otherwise than all others: it is cut off, and holds by what they see";
const REJOINED: &str = "this front sees the Sites as the others do again: its votes count";

/// A fleet in which this agent is, and what of the configuration it was started with.
pub(crate) struct Membership {
    config: FleetConfig,
    pub fleet: Fleet,
}

impl Membership {
    /// Joins the fleet of a model: stays in the one there is if it is as before.
    pub fn of(model: &Model, before: Option<&Self>) -> Result<Option<Joined>, FleetError> {
        // By a file there is nobody to meet.
        let is_by_etcd = |config: &&FleetConfig| matches!(config.engine, FleetEngine::Etcd(_));
        let Some(config) = model.fleet.as_ref().filter(is_by_etcd) else { return Ok(None) };
        if let Some(before) =
            before.filter(|before| before.config.front == config.front && before.config.engine == config.engine)
        {
            let membership = Self { config: config.clone(), fleet: before.fleet.clone() };
            return Ok(Some(Joined { membership, client: None }));
        }
        let (fleet, client) = Fleet::start(config)?;
        let membership = Self { config: config.clone(), fleet };
        Ok(Some(Joined { membership, client: Some(client) }))
    }
}

/// A membership, and the client of a fleet that was not there before.
pub(crate) struct Joined {
    pub membership: Membership,
    pub client: Option<JoinHandle<()>>,
}

/// Runs a fleet's client until it ends, which is no end of the agent's.
pub(crate) async fn keep(
    task: JoinHandle<()>,
    all: tokio_util::sync::CancellationToken,
) -> Result<&'static str, JoinError> {
    task.await?;
    all.cancelled().await;
    Ok("the fleet")
}

/// The fleet, as the rounds of one configuration need it.
pub(crate) struct FleetRounds {
    fleet: Fleet,
    model: Arc<Model>,
    digest: String,
    tally: VoteTally,
    /// The verdicts that were told last.
    told: Option<Verdicts>,
    changes: watch::Receiver<u64>,
    is_cut_off: bool,
    /// When answers were last told, and what they were, by Site.
    counted: (Instant, Vec<u64>),
    tried: Instant,
    votes: watch::Sender<Arc<FleetVotes>>,
    hooks: Arc<Hooks>,
    sharing: Option<Sharing>,
    loads: LoadStore,
    /// The others with whom asking for loads is shared now; none before the first round.
    asked_with: Option<Vec<String>>,
    positions: HashMap<String, SiteId>,
    /// Fingerprints of the secrets of cookies, the one that makes them first.
    secrets: Vec<String>,
    commands: mpsc::Sender<AgentCommand>,
    /// When a reload was asked for, which makes another of these.
    asked_to_reload: Option<Instant>,
}

/// Fingerprints of the secrets that a configuration shares with others, the one that makes cookies first.
fn fingerprints(model: &Model) -> Vec<String> {
    let shared = model.edns.cookies.iter().filter(|cookies| cookies.is_shared);
    shared.flat_map(CookieSecrets::all).map(secret_fingerprint).collect()
}

/// Makes cookies by the secret that the fleet makes them with, where a configuration accepts it.
pub(crate) fn follow_secret(model: &mut Model, membership: Option<&Membership>) {
    let Some(made) = membership.and_then(|membership| membership.fleet.made_secret()) else { return };
    let Some(cookies) = model.edns.cookies.filter(|cookies| cookies.is_shared) else { return };
    model.edns.cookies = cookies.making(|secret| secret_fingerprint(secret) == made.fingerprint).or(Some(cookies));
}

/// Probing that several fronts share.
struct Sharing {
    probers: usize,
    duty: ProbeDuty,
    /// The others with whom it is shared now; none before the first round.
    others: Option<Vec<String>>,
}

/// The verdicts that are votes: a Site that is not probed is up to all, without one.
fn ballot(model: &Model, own: &Verdicts) -> Verdicts {
    let mut ballot = own.clone();
    let unprobed = ballot.iter_mut().zip(&model.sites).filter(|(_, site)| !site.is_probed());
    unprobed.for_each(|(votes, _)| votes.fill(Health::Unknown));
    ballot
}

/// Words that came together: what they are known by, what they ask for, and of which Sites.
pub(crate) struct FleetWord {
    pub id: u64,
    pub request: OverrideRequest,
    pub sites: Vec<String>,
}

impl FleetRounds {
    pub fn new(
        fleet: &Fleet,
        model: &Arc<Model>,
        votes: watch::Sender<Arc<FleetVotes>>,
        hooks: &Arc<Hooks>,
        duty: ProbeDuty,
        loads: LoadStore,
        commands: mpsc::Sender<AgentCommand>,
    ) -> Self {
        loads.tell();
        Self {
            fleet: fleet.clone(),
            model: Arc::clone(model),
            digest: model.fleet.as_ref().map(|config| config.digest.clone()).unwrap_or_default(),
            tally: VoteTally::new(model),
            told: None,
            changes: fleet.changes(),
            is_cut_off: false,
            counted: (Instant::now(), Vec::new()),
            tried: Instant::now(),
            votes,
            hooks: Arc::clone(hooks),
            loads,
            commands,
            asked_to_reload: None,
            secrets: fingerprints(model),
            asked_with: None,
            positions: model.sites.iter().zip(0..).map(|(site, id)| (site.key.clone(), SiteId(id))).collect(),
            sharing: model
                .fleet
                .as_ref()
                .and_then(|config| Some(Sharing { probers: config.probers?, duty, others: None })),
        }
    }

    /// Returns when the fleet has news. Cancel-safe.
    pub async fn changed(&mut self) {
        if self.changes.changed().await.is_err() {
            // The client is held by us, so this does not happen; a round goes on without it.
            std::future::pending::<()>().await;
        }
    }

    /// The verdicts by the quorums, of this front's own and the others'.
    pub fn verdicts(&mut self, own: &Verdicts, generation: u64) -> Verdicts {
        self.share();
        if self.told.as_ref() != Some(own) {
            self.told = Some(own.clone());
            self.fleet.vote(&self.model, &Arc::new(ballot(&self.model, own)));
        }
        let outcome = self.tally.decide(&self.fleet, own);
        let (verdicts, is_cut_off) = (outcome.verdicts.clone(), outcome.is_cut_off);
        if is_cut_off != self.is_cut_off {
            self.is_cut_off = is_cut_off;
            let kind = if is_cut_off {
                warn!("{CUT_OFF}");
                EventKind::CutOff
            } else {
                info!("{REJOINED}");
                EventKind::Rejoined
            };
            self.hooks.send(HookEvent::new(kind, if is_cut_off { CUT_OFF } else { REJOINED }));
        }
        self.fleet.present(Presence {
            digest: self.digest.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            secrets: self.secrets.clone(),
            generation,
            cut_off: is_cut_off,
            ..Presence::default()
        });
        self.follow_secret();
        self.votes.send_if_modified(|newest| {
            let is_new = !newest.is_of(own, &self.tally, is_cut_off);
            if is_new {
                *newest = Arc::new(FleetVotes::new(own, &self.tally, is_cut_off));
            }
            is_new
        });
        verdicts
    }

    /// Has the agent make cookies with the secret that the fleet makes them with, if it is among those accepted here.
    fn follow_secret(&mut self) {
        let Some(made) = self.fleet.made_secret() else { return };
        let is_other = self.secrets.iter().skip(1).any(|accepted| *accepted == made.fingerprint);
        if !is_other || self.asked_to_reload.is_some_and(|at| at.elapsed() < RELOADED_WITHIN) {
            return;
        }
        info!(fingerprint = made.fingerprint, by = made.by, "cookies are to be made with another secret");
        // Where there is too much to do it is asked again.
        if self.commands.try_send(AgentCommand::Reload(None)).is_ok() {
            self.asked_to_reload = Some(Instant::now());
        }
    }

    /// Takes up the probing of addresses that are this front's, of those that live now, and leaves the rest to the others.
    fn share(&mut self) {
        let Some(Sharing { probers, duty, others }) = &mut self.sharing else { return };
        let living = self.fleet.others();
        if others.as_ref() == Some(&living) {
            return;
        }
        let names: Vec<&str> = living.iter().map(String::as_str).collect();
        duty.assign(|site, address| {
            let of = &self.model.sites[site.0];
            is_chosen(self.fleet.front(), &names, *probers, &of.key, of.addresses[address].answer)
        });
        info!(others = ?living, probers, "the probing is shared anew");
        *others = Some(living);
    }

    /// Tells the others what this front has learned of loads, and takes over what they have; asks only those Sites that are its own to
    /// ask.
    pub fn share_loads(&mut self) {
        if !self.loads.is_used() {
            return;
        }
        let model = &self.model;
        let untold = self.loads.take_untold().into_iter();
        self.fleet.learned(untold.map(|(id, report)| (model.sites[id.0].key.clone(), report)));
        for (site, (made, report)) in self.fleet.take_reports() {
            if let Some(id) = self.positions.get(&site) {
                self.loads.report_from_afar(*id, made, report);
            }
        }
        let living = self.fleet.others();
        if self.asked_with.as_ref() == Some(&living) {
            return;
        }
        let names: Vec<&str> = living.iter().map(String::as_str).collect();
        self.loads.assign(|id| {
            let site = &model.sites[id.0];
            site.addresses.first().is_none_or(|first| is_chosen(self.fleet.front(), &names, 1, &site.key, first.answer))
        });
        self.asked_with = Some(living);
    }

    /// Statements of health that were made at the others.
    pub fn statements(&self) -> impl Iterator<Item = (SiteId, IpAddr, HealthStatement)> {
        let taken = self.fleet.take_statements().into_iter();
        taken.filter_map(|(site, address, statement)| Some((*self.positions.get(&*site)?, address, statement)))
    }

    /// This front's answers by Site with those of the others; its own are told to them.
    pub fn answers(&mut self, own: Vec<u64>, now: Instant) -> Vec<u64> {
        let (at, before) = &mut self.counted;
        if now.saturating_duration_since(*at) >= TELL {
            let given = self.model.sites.iter().zip(&own).enumerate().filter_map(|(index, (site, count))| {
                // A program that was loaded anew counts from 0.
                let given = count.saturating_sub(before.get(index).copied().unwrap_or(*count));
                (given > 0 && site.load.is_some()).then(|| (site.key.clone(), given))
            });
            self.fleet.answered(given);
            self.counted = (now, own.clone());
        }
        let others = self.fleet.answers(&self.model);
        own.into_iter().zip(others).map(|(own, others)| own.saturating_add(others)).collect()
    }

    /// Words that are not in force here and should be; those that were refused are tried again once a second.
    pub fn words(&mut self, now: Instant) -> Vec<FleetWord> {
        let again = now.saturating_duration_since(self.tried) >= TRY_AGAIN;
        if again {
            self.tried = now;
        }
        let Some(pending) = self.fleet.pending_words(again) else { return Vec::new() };
        let mut words: BTreeMap<(u64, bool), FleetWord> = BTreeMap::new();
        for word in pending {
            let is_state = matches!(word.request.value, OverrideValue::State(_));
            let group = words.entry((word.id, is_state)).or_insert_with(|| FleetWord {
                id: word.id,
                request: word.request,
                sites: Vec::new(),
            });
            group.sites.push(word.site);
        }
        if words.is_empty() {
            self.fleet.acknowledge();
        }
        // What was said first comes first.
        let mut words: Vec<_> = words.into_values().collect();
        words.sort_by_key(|word| word.request.at_wall_ms);
        words
    }

    /// Notes what has become of a word that was said here or came from the fleet.
    pub fn took(&self, id: u64, sites: &[String], request: &OverrideRequest, refused: Option<&str>) {
        self.fleet.took(id, sites, request.value, refused);
    }

    /// Tells the others that all of [`Self::words`] are dealt with.
    pub fn acknowledge(&self) {
        self.fleet.acknowledge();
    }

    /// Whether a word has not been refused here before.
    pub fn is_new_refusal(&self, word: &FleetWord, sites: &[String]) -> bool {
        !sites.iter().any(|site| self.fleet.has_refused(site, word.request.value, word.id))
    }

    /// The name of who has said something here, as the others are told it.
    pub fn by(&self, by: &str) -> String {
        let here = format!(" at {}", self.fleet.front());
        if by.contains(" at ") { by.to_owned() } else { format!("{by}{here}") }
    }

    /// Has the fleet told what is newer here.
    pub fn tell_later(&self, id: u64, sites: &[String], request: &OverrideRequest) {
        self.fleet.tell_later(id, sites, request);
    }
}
