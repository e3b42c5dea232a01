//! How a session that this worker does not host becomes one that it does.
//!
//! First all servers are asked what they know ([`ballot::survey`]); then, if the session is free, all are asked for it under an
//! epoch above all others ([`ballot::claimed`]). Each server takes a claim only if no other owner has a lease there, and none
//! has a higher epoch. It holds if a quorum has taken it.

use std::{
    sync::{Arc, PoisonError, atomic::Ordering::Relaxed},
    time::Duration,
};

use bytes::Bytes;
use futures_util::future::join_all;
use tokio::time::{sleep, timeout};
use tracing::debug;
use zerottl_core::{model::WriteMode, session_id::SessionId};

use crate::{
    ballot::{self, Answers, Claim, ClaimFault, Ownership, Survey},
    clock,
    entry::{Entry, Phase},
    fault::SessionFault,
    inner::{Hint, StoreInner},
    lease::{Moment, quorum},
    remote::ClaimCall,
    reply::Reply,
    version::{Epoch, Version},
    worker::LeaseHolder,
};

/// Claims of one session in a row, at most.
const ATTEMPTS: u32 = 6;
/// The pause before another, at most; a random part of it, so that two who claim at once do not meet again.
const PAUSE: Duration = Duration::from_millis(20);

/// A claim that is to be made.
struct Bid {
    epoch: Epoch,
    /// The server whose data is wanted with it.
    wanted: Option<usize>,
    /// An owner that is known to have died.
    dead: String,
    /// The lease has to go on since then.
    started: Moment,
}

impl StoreInner {
    /// Makes this worker the host of a session.
    pub(crate) async fn claim(self: &Arc<Self>, id: SessionId, hint: Hint) -> Result<Arc<Entry>, SessionFault> {
        let lock = {
            let mut claiming = self.claiming.lock().unwrap_or_else(PoisonError::into_inner);
            // Those that nobody waits for any more.
            if claiming.len() > 1024 {
                claiming.retain(|_, lock| Arc::strong_count(lock) > 1);
            }
            Arc::clone(claiming.entry(id).or_default())
        };
        let _one = lock.lock().await;
        // Another request may have done it meanwhile.
        if let Some(entry) = self.ready(id, hint)? {
            return Ok(entry);
        }
        let existing = self.entry(id).filter(|entry| entry.state().phase == Phase::Hosted);
        if existing.is_none() && self.len() >= self.config.sessions_max {
            self.heartbeats.repair.notify_one();
            return Err(SessionFault::TooMany(self.config.sessions_max));
        }
        if self.remotes.is_empty() {
            // Nobody else can have it. Its epoch is above what its client has seen, which may be from before a restart.
            let version = Version { epoch: hint.epoch.next(self.claimant()), number: 0 };
            if let Some(entry) = existing {
                entry.state().renew(version.epoch, clock::now());
                return Ok(entry);
            }
            let places = (0..self.queues.len()).collect();
            return Ok(self.hosts(Entry::new(id, version, None, places, clock::now()), false));
        }
        if !self.leases().holds(clock::now()) && !self.lease().await {
            return match existing {
                // Nobody can be asked, and what is promised does not depend on it.
                Some(entry) if self.config.write == WriteMode::Async || self.is_alone(clock::now()) => Ok(entry),
                _ => Err(self.no_quorum()),
            };
        }
        self.bid(id, hint, existing).await
    }

    async fn bid(
        self: &Arc<Self>,
        id: SessionId,
        hint: Hint,
        existing: Option<Arc<Entry>>,
    ) -> Result<Arc<Entry>, SessionFault> {
        let (mut dead, mut floor) = (String::new(), hint.epoch);
        for attempt in 0..ATTEMPTS {
            if attempt > 0 {
                sleep(PAUSE.mul_f64(rand::random::<f64>() * f64::from(attempt))).await;
            }
            let started = clock::now();
            let answers = self.inspect_all(id).await;
            let (above, best) = match ballot::survey(&answers, &self.worker.token, &dead) {
                Ok(Survey::Own { epoch, best }) => match &existing {
                    Some(entry) if entry.state().epoch == epoch && epoch >= hint.epoch => {
                        entry.state().confirmed = started;
                        return Ok(Arc::clone(entry));
                    }
                    _ => (epoch, best),
                },
                Ok(Survey::Free { above, best }) => (above, best),
                Err(SessionFault::Elsewhere { worker }) => {
                    let holder = LeaseHolder::read(&worker).filter(LeaseHolder::has_died);
                    match holder {
                        Some(holder) if dead != holder.token => {
                            dead = holder.token;
                            continue;
                        }
                        _ => {
                            match &existing {
                                Some(entry) => self.lose(entry),
                                // What is left of a claim that did not hold may keep the other away.
                                None if ballot::is_owner_anywhere(&answers, &self.worker.token) => {
                                    self.release_all(id).await;
                                }
                                None => {}
                            }
                            return Err(SessionFault::Elsewhere { worker });
                        }
                    }
                }
                Err(SessionFault::Ended) => {
                    if let Some(entry) = &existing {
                        self.lose(entry);
                    }
                    if let Some(above) = ballot::unaware(&answers) {
                        self.spread_end(id, above.next(self.claimant()));
                    }
                    return Err(SessionFault::Ended);
                }
                Err(fault) => return Err(fault),
            };
            floor = floor.max(above);
            let bid = Bid { epoch: floor.next(self.claimant()), wanted: best, dead: dead.clone(), started };
            match self.try_bid(id, &bid, existing.as_ref()).await {
                Ok(entry) => return Ok(entry),
                Err(fault) => {
                    debug!(session = %id, ?fault, "a claim does not hold");
                    // Whatever was taken of it must not keep others away. One that is hosted here is this worker's all the same.
                    if existing.is_none() {
                        self.release_all(id).await;
                    }
                    match fault {
                        ClaimFault::Outbid(epoch) => floor = floor.max(epoch),
                        ClaimFault::Fault(SessionFault::Elsewhere { .. }) => {}
                        ClaimFault::Fault(fault) => return Err(fault),
                    }
                }
            }
        }
        Err(SessionFault::Contended)
    }

    async fn try_bid(
        self: &Arc<Self>,
        id: SessionId,
        bid: &Bid,
        existing: Option<&Arc<Entry>>,
    ) -> Result<Arc<Entry>, ClaimFault> {
        let answers = self.claim_all(id, bid, "").await;
        let strict = self.config.write == WriteMode::AckAll;
        let default_set = self.placement.choose(id, self.config.copies, |_| true);
        let is_member = |set: &str, at: usize| set.split(',').any(|name| name == self.remotes[at].name);
        let had_owner = answers
            .iter()
            .flatten()
            .any(|reply| matches!(reply, Reply::Claimed { copy, .. } if copy.written > Epoch::default()));
        let Claim { set, last, mut data, read_from } = ballot::claimed(answers, strict, &default_set, is_member)?;
        let own = existing.map(|entry| entry.state().version());
        let last_version = last.as_ref().map(|(_, copy)| Version { epoch: copy.written, number: copy.number });
        let keeps = own.filter(|version| last_version.is_none_or(|last| last <= *version));
        if !self.leases().holds_since(bid.started, clock::now()) {
            return Err(ClaimFault::Fault(self.no_quorum()));
        }
        if let (Some(_), Some(entry)) = (keeps, existing) {
            // What is here is what is there, or newer: nobody else has written since.
            entry.state().renew(bid.epoch, bid.started);
            entry.wake();
            self.spread(entry);
            return Ok(Arc::clone(entry));
        }
        if let Some(at) = read_from {
            let read = self.remotes[at].data(id).await.ok().flatten();
            data = Some(read.ok_or(ClaimFault::Fault(SessionFault::NoCopy))?);
            if !self.leases().holds_since(bid.started, clock::now()) {
                return Err(ClaimFault::Fault(self.no_quorum()));
            }
        }
        let (number, content) = (last_version.map_or(0, |last| last.number), data.map(Bytes::from));
        let recorded = set.filter(|_| strict).map(|set| self.places(&set)).filter(|places| !places.is_empty());
        let copies = recorded.unwrap_or_else(|| {
            let usable = |at: usize| strict || self.remotes[at].is_up();
            self.placement.choose(id, self.config.copies, usable)
        });
        let version = Version { epoch: bid.epoch, number };
        let entry = Entry::new(id, version, content, copies, bid.started);
        if let Some(existing) = existing {
            // Whoever waits for it goes on with the new one.
            self.lose(existing);
        }
        Ok(self.hosts(entry, had_owner && existing.is_none()))
    }

    /// Takes an entry in, and sends its copies.
    fn hosts(self: &Arc<Self>, entry: Entry, moved: bool) -> Arc<Entry> {
        self.counts.claims.fetch_add(1, Relaxed);
        if moved {
            self.counts.moves.fetch_add(1, Relaxed);
        }
        let entry = Arc::new(entry);
        self.insert(Arc::clone(&entry));
        if entry.state().data.is_some() {
            self.spread(&entry);
        }
        entry
    }

    /// Tells all servers that a session has ended: whoever ended it may have died before it told them all.
    fn spread_end(&self, id: SessionId, epoch: Epoch) {
        let now = clock::now();
        let entry = Arc::new(Entry::new(id, Version { epoch, number: 0 }, None, Vec::new(), now));
        entry.state().end((0..self.queues.len()).collect(), now);
        self.insert(Arc::clone(&entry));
        self.spread(&entry);
    }

    /// Gives a session up at all servers, which is not hosted here, and is not being claimed.
    pub(crate) async fn release_all(&self, id: SessionId) {
        join_all(self.remotes.iter().map(|remote| remote.release(id, &self.worker.token))).await;
    }

    /// Gives an entry up: it is another's.
    fn lose(&self, entry: &Arc<Entry>) {
        entry.state().phase = Phase::Lost;
        self.remove(entry);
        entry.wake();
    }

    /// Returns the fault that says how few servers answer.
    pub(crate) fn no_quorum(&self) -> SessionFault {
        let answered = self.remotes.iter().filter(|remote| remote.is_up() && !remote.is_newcomer()).count();
        let servers = self.remotes.len();
        SessionFault::NoQuorum { answered, servers, quorum: quorum(servers) }
    }

    fn claimant(&self) -> u16 {
        self.worker.claimant()
    }

    /// Returns the servers of a set that is written as names.
    fn places(&self, set: &str) -> Vec<usize> {
        let place = |name: &str| self.remotes.iter().position(|remote| remote.name == name);
        set.split(',').filter_map(place).collect()
    }

    /// Asks all servers what they know of a session.
    pub(crate) async fn inspect_all(&self, id: SessionId) -> Answers {
        join_all(self.remotes.iter().map(|remote| async move { remote.inspect(id).await.ok() })).await
    }

    async fn claim_all(&self, id: SessionId, bid: &Bid, set: &str) -> Answers {
        let ask = |(at, remote): (usize, &Arc<crate::remote::Remote>)| {
            let remote = Arc::clone(remote);
            let call = ClaimCall {
                epoch: bid.epoch,
                owner: &self.worker.token,
                dead: &bid.dead,
                life: self.config.life,
                wants_data: bid.wanted == Some(at),
                set,
            };
            async move { remote.claim(id, &call).await.ok() }
        };
        join_all(self.remotes.iter().enumerate().map(ask)).await
    }

    /// A server has refused a copy: finds out whether the session can still be this worker's, and if so says so to all servers.
    pub(crate) async fn reassert(self: &Arc<Self>, entry: &Arc<Entry>, refused: Epoch) {
        // It may be this worker itself that makes another epoch just now.
        let _one = entry.replacing.lock().await;
        let started = clock::now();
        let (epoch, phase) = {
            let state = entry.state();
            (state.epoch, state.phase)
        };
        if epoch != refused || phase == Phase::Lost {
            return;
        }
        let answers = self.inspect_all(entry.id).await;
        match ballot::ownership(&answers, &self.worker.token, epoch, phase == Phase::Ended) {
            Ownership::Unknown => {}
            Ownership::Owner { above } => {
                let bid = Bid { epoch: above.next(self.claimant()), wanted: None, dead: String::new(), started };
                // If it does not hold, the repair tries again.
                if self.reclaim(entry, &bid, "").await {
                    self.spread(entry);
                }
            }
            Ownership::Lost if phase == Phase::Ended => {}
            Ownership::Lost => {
                self.counts.lost.fetch_add(1, Relaxed);
                self.lose(entry);
            }
        }
    }

    /// Claims a session of this worker's own under a higher epoch. Whether that holds: not if it is another's by now.
    async fn reclaim(&self, entry: &Arc<Entry>, bid: &Bid, set: &str) -> bool {
        let answers = self.claim_all(entry.id, bid, set).await;
        let taken = answers.iter().flatten().filter(|reply| matches!(reply, Reply::Claimed { .. })).count();
        if taken < quorum(self.remotes.len()) {
            return false;
        }
        entry.state().renew(bid.epoch, bid.started);
        true
    }

    /// Gives a session another set of servers, where all of a set have to acknowledge: they have its state before they are
    /// recorded, and a quorum knows of them before those that it had before need not acknowledge any more.
    pub(crate) async fn replace(self: &Arc<Self>, entry: &Arc<Entry>, desired: Vec<usize>) {
        let _one = entry.replacing.lock().await;
        if entry.state().copies == desired {
            return;
        }
        let started = clock::now();
        // From here on a change is acknowledged only by those before and by those to come: whichever set is recorded when this
        // worker dies, each of it has all that was acknowledged.
        entry.state().joining.clone_from(&desired);
        self.spread(entry);
        let all = entry.when(|state| {
            let has_all = state.data.is_none() || desired.iter().all(|at| state.is_acked(*at, state.number));
            (state.phase != Phase::Hosted || has_all).then_some(())
        });
        if timeout(self.config.timeout, all).await.is_err() {
            return;
        }
        let (epoch, phase) = {
            let state = entry.state();
            (state.epoch, state.phase)
        };
        if phase != Phase::Hosted {
            return;
        }
        let names: Vec<&str> = desired.iter().map(|at| &*self.remotes[*at].name).collect();
        let bid = Bid { epoch: epoch.next(self.claimant()), wanted: None, dead: String::new(), started };
        if self.reclaim(entry, &bid, &names.join(",")).await {
            let mut state = entry.state();
            (state.copies, state.joining) = (desired, Vec::new());
            drop(state);
            entry.wake();
            self.spread(entry);
        }
    }
}
