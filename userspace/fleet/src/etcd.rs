//! The etcd backend: a lease, a snapshot, a watch, and this front's own changes, by one node after the other.
//!
//! A session with a node lasts until something of it fails or is not answered in time; then the next node is tried. What the
//! engine says is folded into the shared view; what this front has to tell is compared with what it has written under its lease,
//! and the difference is written. So a lease that was lost, a node that hangs and a restart all come to the same: begin anew.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{MissedTickBehavior, sleep},
};
use tokio_util::sync::CancellationToken;
use zerottl_core::{model::EtcdConfig, overrides::OverrideRequest};

use crate::{
    gateway::{EventKind, Gateway, GatewayError, KeyValue, Nodes, Swapped, WatchLine},
    inner::{FleetError, Inner},
    keys::Key,
    own::Written,
    shared::EngineLink,
    values::{MadeSecret, Words},
};

/// Between two tries, once every node was tried.
const PAUSE: Duration = Duration::from_millis(500);
/// Lines of a watch that wait to be folded.
const LINES: usize = 64;
/// Sites whose words one transaction changes, at most: each takes three operations of etcd's 128.
const SITES: usize = 40;
/// A word is tried so often where others are faster.
const SWAPS: usize = 10;
/// For an ended front to give up its lease.
const LEAVING: Duration = Duration::from_secs(1);

/// etcd, as this front uses it.
pub(crate) struct Etcd {
    pub nodes: Arc<Nodes>,
    lease: Duration,
    /// The node that answered last, by which what is said is told first.
    nearest: AtomicUsize,
}

impl Etcd {
    pub fn new(config: &EtcdConfig) -> Result<Self, FleetError> {
        Ok(Self { nodes: Arc::new(Nodes::new(config)?), lease: config.lease, nearest: AtomicUsize::new(0) })
    }

    /// Keeps the shared view, and what this front tells, until it is stopped.
    pub async fn run(&self, fleet: &Inner, stop: &CancellationToken) {
        let mut turn = 0;
        let mut lease = None;
        loop {
            let number = turn % self.nodes.endpoints.len();
            let at = self.nodes.endpoints[number];
            let why = tokio::select! {
                () = stop.cancelled() => break,
                why = self.session(fleet, number, &mut lease) => why,
            };
            fleet.away(&format!("{at}: {why}"));
            turn += 1;
            if turn.is_multiple_of(self.nodes.endpoints.len()) {
                tokio::select! {
                    () = stop.cancelled() => break,
                    () = sleep(PAUSE) => {}
                }
            }
        }
        if let Some(lease) = lease {
            let revoked = async {
                let at = self.nodes.endpoints[turn % self.nodes.endpoints.len()];
                Gateway::connect(&self.nodes, at).await?.revoke(lease).await
            };
            // Where that fails the lease ends by itself.
            drop(tokio::time::timeout(LEAVING, revoked).await);
        }
    }

    /// A session with one node; returns why it ended.
    async fn session(&self, fleet: &Inner, number: usize, lease: &mut Option<i64>) -> GatewayError {
        match self.try_session(fleet, number, lease).await {
            Ok(never) => match never {},
            Err(why) => why,
        }
    }

    async fn try_session(
        &self,
        fleet: &Inner,
        number: usize,
        kept: &mut Option<i64>,
    ) -> Result<std::convert::Infallible, GatewayError> {
        let at = self.nodes.endpoints[number];
        let mut gateway = Gateway::connect(&self.nodes, at).await?;
        let lease = gateway.grant(self.lease.as_secs()).await?;
        *kept = Some(lease);
        fleet.presented.store(0, Relaxed);
        let mut all = Vec::new();
        let revision = gateway.all(|kv, is_whole| all.push((kv, is_whole))).await?;
        fleet.snapshot(|view| {
            for (kv, is_whole) in &all {
                let Some(key) = self.nodes.key_of(kv) else { continue };
                view.put(key, is_whole.then_some(&kv.value.0[..]), kv.mod_revision, None);
            }
            let is_displaced = fleet.displaced.load(Relaxed) && view.fronts.contains_key(&fleet.front);
            fleet.displaced.store(is_displaced, Relaxed);
            view.link = if is_displaced { EngineLink::Displaced } else { EngineLink::Connected(at.to_string()) };
            revision
        });
        drop(all);
        self.nearest.store(number, Relaxed);
        let (lines, mut watched) = mpsc::channel(LINES);
        let mut watching = JoinSet::new();
        let watch = Gateway::connect(&self.nodes, at).await?.watch(revision + 1).await?;
        watching.spawn(follow(watch, lines));
        let mut written = Written::default();
        let mut alive =
            tokio::time::interval((self.lease / 5).clamp(Duration::from_millis(400), Duration::from_secs(3)));
        let mut second = tokio::time::interval(Duration::from_secs(1));
        alive.set_missed_tick_behavior(MissedTickBehavior::Delay);
        second.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            // Also what could not be said while this session held: without a leader a word fails, and a lease may be kept.
            self.pending(fleet, &mut gateway).await?;
            tokio::select! {
                biased;
                line = watched.recv() => match line {
                    Some(line) => self.fold(fleet, &line?)?,
                    None => return Err(GatewayError::Refused("the watch has ended".into())),
                },
                _ = alive.tick() => {
                    if !gateway.keep_alive(lease).await? {
                        return Err(GatewayError::Refused("the lease has ended".into()));
                    }
                    fleet.heard();
                }
                _ = second.tick() => self.write(fleet, &mut gateway, lease, &mut written, true).await?,
                () = fleet.told.notified() => self.write(fleet, &mut gateway, lease, &mut written, false).await?,
            }
        }
    }

    /// Takes in what has changed. An error where this front's own keys have gone, which were another's of its name, or were lost with
    /// its lease: then it begins anew, and writes all of them.
    fn fold(&self, fleet: &Inner, line: &WatchLine) -> Result<(), GatewayError> {
        let now = Instant::now();
        let own = Key::Config(fleet.front.clone()).to_string();
        let of_own = line.events.iter().rfind(|event| self.nodes.key_of(&event.kv) == Some(own.as_str()));
        let of_own = of_own.map(|event| (event.kind, event.kv.mod_revision));
        let presented = fleet.presented.load(Relaxed);
        fleet.change(|view| {
            for event in &line.events {
                let Some(key) = self.nodes.key_of(&event.kv) else { continue };
                match event.kind {
                    EventKind::Put => view.put(key, Some(&event.kv.value.0), event.kv.mod_revision, Some(now)),
                    EventKind::Delete => view.delete(key),
                }
            }
            view.revision = view.revision.max(line.header.revision);
            view.heard = Some(now);
        });
        match of_own {
            // What was written before this front's own is from before it came.
            Some((EventKind::Put, revision)) if presented > 0 && revision > presented => fleet.look_for_namesake(),
            Some((EventKind::Put, _)) | None => {}
            Some((EventKind::Delete, _)) => {
                fleet.displaced.store(false, Relaxed);
                return Err(GatewayError::Refused("this front's keys are gone, and are written anew".into()));
            }
        }
        Ok(())
    }

    /// Writes one step of what this front has to tell, and comes back for the rest.
    async fn write(
        &self,
        fleet: &Inner,
        gateway: &mut Gateway,
        lease: i64,
        written: &mut Written,
        is_second: bool,
    ) -> Result<(), GatewayError> {
        if fleet.is_displaced() {
            return Ok(());
        }
        let step = written.step(&fleet.front, &fleet.own(), is_second);
        if step.changes.is_empty() {
            return Ok(());
        }
        let revision = gateway.change(&step.changes, lease).await?;
        if step.presence.is_some() {
            fleet.presented.store(revision, Relaxed);
        }
        fleet.writes.fetch_add(step.changes.len() as u64, Relaxed);
        written.done(step, &mut fleet.own());
        fleet.told.notify_one();
        Ok(())
    }

    /// Hands in the first of what was said while the engine was away, unless it is known or something newer has been said since, and
    /// comes back for the rest: the lease has to be renewed meanwhile.
    async fn pending(&self, fleet: &Inner, gateway: &mut Gateway) -> Result<(), GatewayError> {
        if let Some((id, sites, request)) = fleet.next_pending() {
            let sites: Vec<String> = sites.into_iter().filter(|site| !fleet.has_word(site, id, &request)).collect();
            self.swap_all(fleet, gateway, id, &sites, &request).await?;
            fleet.pending_done(id);
            fleet.told.notify_one();
        }
        Ok(())
    }

    /// The nodes, beginning with the one that answered last.
    fn nearest_first(&self) -> impl Iterator<Item = std::net::SocketAddr> {
        let (all, first) = (&self.nodes.endpoints, self.nearest.load(Relaxed));
        (0..all.len()).map(move |number| all[(first + number) % all.len()])
    }

    /// Says something of Sites, by any node; returns the revision that has it.
    pub async fn say(
        &self,
        fleet: &Inner,
        id: u64,
        sites: &[String],
        request: &OverrideRequest,
    ) -> Result<i64, FleetError> {
        let mut last = None;
        for at in self.nearest_first() {
            let said = async {
                let mut gateway = Gateway::connect(&self.nodes, at).await?;
                self.swap_all(fleet, &mut gateway, id, sites, request).await
            };
            match said.await {
                Ok(revision) => return Ok(revision),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or(FleetError::Away, FleetError::Gateway))
    }

    /// Says which secret cookies are to be made with, by any node.
    pub async fn make_secret(&self, fleet: &Inner, secret: &MadeSecret) -> Result<i64, FleetError> {
        let value = serde_json::to_vec(secret).unwrap_or_default();
        let mut last = None;
        for at in self.nearest_first() {
            let said = async {
                let mut gateway = Gateway::connect(&self.nodes, at).await?;
                let mut known = fleet.made_revision();
                for _ in 0..SWAPS {
                    match gateway.swap(&[(Key::Secret.to_string(), known, value.clone())]).await? {
                        Swapped::Done(revision) => return Ok(revision),
                        Swapped::Lost(there) => known = there.first().map_or(0, |kv| kv.mod_revision),
                    }
                }
                Err(GatewayError::Refused(format!("others were faster {SWAPS} times")))
            };
            match said.await {
                Ok(revision) => return Ok(revision),
                Err(error) => last = Some(error),
            }
        }
        Err(last.map_or(FleetError::Away, FleetError::Gateway))
    }

    /// Changes words by compare-and-swap on their revisions: who is faster is read, and said after.
    async fn swap_all(
        &self,
        fleet: &Inner,
        gateway: &mut Gateway,
        id: u64,
        sites: &[String],
        request: &OverrideRequest,
    ) -> Result<i64, GatewayError> {
        let mut newest = 0;
        for sites in sites.chunks(SITES) {
            let mut known: Vec<(i64, Words)> = sites.iter().map(|site| fleet.words_of(site)).collect();
            let mut tries = 0;
            loop {
                let puts: Vec<_> = sites
                    .iter()
                    .zip(&known)
                    .map(|(site, (revision, words))| {
                        let mut words = words.clone();
                        words.say(id, request);
                        (Key::Word(site.clone()).to_string(), *revision, serde_json::to_vec(&words).unwrap_or_default())
                    })
                    .collect();
                match gateway.swap(&puts).await? {
                    Swapped::Done(revision) => {
                        newest = newest.max(revision);
                        break;
                    }
                    Swapped::Lost(_) if tries == SWAPS => {
                        return Err(GatewayError::Refused(format!("others were faster {SWAPS} times")));
                    }
                    Swapped::Lost(there) => {
                        tries += 1;
                        known = sites.iter().map(|site| self.find(&there, site)).collect();
                    }
                }
            }
        }
        Ok(newest)
    }

    /// The words of a Site among keys that were read.
    fn find(&self, there: &[KeyValue], site: &str) -> (i64, Words) {
        let key = Key::Word(site.to_owned()).to_string();
        let kv = there.iter().find(|kv| self.nodes.key_of(kv) == Some(key.as_str()));
        // What does not parse is written over: it is nothing to anybody.
        kv.map_or_else(Default::default, |kv| {
            (kv.mod_revision, serde_json::from_slice(&kv.value.0).unwrap_or_default())
        })
    }
}

/// Hands on the lines of a watch until it ends.
async fn follow(mut watch: crate::gateway::Watch, lines: mpsc::Sender<Result<WatchLine, GatewayError>>) {
    loop {
        let line = match watch.next().await {
            Ok(None) => return,
            Ok(Some(line)) if line.canceled => Err(GatewayError::Refused("the watch was cancelled".into())),
            Ok(Some(line)) => Ok(line),
            Err(error) => Err(error),
        };
        let is_last = line.is_err();
        if lines.send(line).await.is_err() || is_last {
            return;
        }
    }
}
