//! Sessions of this worker that are not in its memory, as there were too many: when a session server is lost they are copied again,
//! too. Each that has too few copies is hosted for a moment, and goes again once it is copied. As long as the servers stay as they
//! are, nobody looks.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};
use tracing::info;
use zerottl_core::{model::WriteMode, session_id::SessionId};

use crate::{
    ballot::{self, Standing},
    clock, copier,
    entry::{Entry, Phase},
    fault::SessionFault,
    inner::{Hint, StoreInner},
    lease::Moment,
    remote::CopyCall,
    repair::Task,
    reply::Reply,
    version::{Epoch, Version},
};

/// From one glance at which servers count to the next.
const GLANCE: Duration = Duration::from_millis(100);
/// The pause before another walk, if one has not reached its end.
const PAUSE: Duration = Duration::from_secs(1);
/// Sessions of a page, about.
const PAGE: usize = 250;
/// An end is that much less than a session: so many times as many are told in a second.
const ENDS_FASTER: u32 = 10;
/// Sessions that are looked at at a time, at most.
const AT_ONCE: usize = 16;

/// Looks after them, until it is dropped.
pub(crate) async fn run(inner: Arc<StoreInner>) {
    let mut before = inner.usable();
    while !inner.remotes.is_empty() && inner.config.copies > 0 {
        sleep(GLANCE).await;
        let servers = ServersNow::of(&inner);
        if servers.usable == before && !servers.empty.contains(&true) {
            continue;
        }
        let outcome = walk(&inner, &servers).await;
        if outcome.copied > 0 {
            info!(sessions = outcome.copied, "copied sessions again that are not in memory");
        }
        // That does not wait for claims: too few servers may count for these until it counts.
        let filled = inner.remotes.iter().enumerate().filter(|(at, _)| outcome.unfilled == 0 && servers.empty[*at]);
        for (at, remote) in filled {
            // Lost once more meanwhile, it has to be filled once more.
            if remote.counts.restarts.load(Relaxed) == servers.restarts[at] {
                remote.set_lacks_absent(false);
            }
        }
        if outcome.failed + outcome.unfilled == 0 {
            before = servers.usable;
        } else {
            sleep(PAUSE).await;
        }
    }
}

/// The servers as they are when a walk begins.
struct ServersNow {
    /// Those that are to hold copies.
    usable: Vec<bool>,
    /// Those that have lost all.
    empty: Vec<bool>,
    restarts: Vec<u64>,
}

impl ServersNow {
    fn of(inner: &StoreInner) -> Self {
        Self {
            restarts: inner.remotes.iter().map(|remote| remote.counts.restarts.load(Relaxed)).collect(),
            empty: inner.remotes.iter().map(|remote| remote.lacks_absent()).collect(),
            usable: inner.usable(),
        }
    }
}

/// Sessions of a walk, or of one look.
#[derive(Clone, Copy, Debug, Default)]
struct Outcome {
    /// Those that were copied again.
    copied: usize,
    /// Those that could not be.
    failed: usize,
    /// Those that a server which has lost all could not be given.
    unfilled: usize,
}

impl Outcome {
    fn with(self, other: Self) -> Self {
        Self {
            copied: self.copied + other.copied,
            failed: self.failed + other.failed,
            unfilled: self.unfilled + other.unfilled,
        }
    }
}

/// Tells servers that have lost all which sessions have ended, whoever ended them: nobody hosts those.
async fn tell_ends(inner: &Arc<StoreInner>, servers: &ServersNow) -> Outcome {
    let mut outcome = Outcome::default();
    let told = || inner.remotes.iter().zip(&servers.empty).filter(|(_, empty)| **empty).map(|(remote, _)| remote);
    let knowing = inner.remotes.iter().zip(&servers.empty).filter(|(remote, empty)| !**empty && remote.is_up());
    for (remote, _) in knowing.filter(|_| servers.empty.contains(&true)) {
        let mut cursor = 0;
        loop {
            let Ok((next, ends)) = remote.ends(cursor, PAGE).await else {
                outcome.unfilled += 1;
                break;
            };
            let call = |(id, epoch, left): &(String, u64, u64)| {
                let version = Version { epoch: Epoch(*epoch), number: 0 };
                Some(CopyCall { id: id.parse().ok()?, version, data: None, life: Duration::from_millis(*left) })
            };
            let calls: Vec<CopyCall> = ends.iter().filter_map(call).collect();
            for empty in told().filter(|_| !calls.is_empty()) {
                let told = empty.keep("", &calls).await.unwrap_or_default();
                let kept = told.iter().filter(|reply| matches!(reply, Ok(Reply::Kept { .. }))).count();
                outcome.unfilled += calls.len() - kept;
            }
            if next == 0 {
                break;
            }
            cursor = next;
            sleep(Duration::from_secs(PAGE as u64) / inner.config.repair_rate.max(1) / ENDS_FASTER).await;
        }
    }
    outcome
}

/// Looks at all sessions of this worker that any server knows of.
async fn walk(inner: &Arc<StoreInner>, servers: &ServersNow) -> Outcome {
    let mut outcome = tell_ends(inner, servers).await;
    for (remote, _) in inner.remotes.iter().zip(&servers.usable).filter(|(_, usable)| **usable) {
        let mut cursor = 0;
        loop {
            let page = remote.owned(&inner.worker.token, cursor, PAGE).await;
            let Ok((next, ids)) = page else {
                return outcome.with(Outcome { failed: 1, unfilled: 1, copied: 0 });
            };
            let absent = |id: &SessionId| inner.entry(*id).is_none();
            let ids: Vec<SessionId> = ids.iter().filter_map(|id| id.parse().ok()).filter(absent).collect();
            let least = Duration::from_secs(ids.len() as u64) / inner.config.repair_rate.max(1);
            let begun = clock::now();
            let looks = stream::iter(ids).map(|id| look(inner, id, servers)).buffer_unordered(at_once(inner));
            outcome = looks.fold(outcome, |sum, one| async move { sum.with(one) }).await;
            sleep(least.saturating_sub(clock::now().saturating_sub(begun))).await;
            if next == 0 {
                break;
            }
            cursor = next;
        }
    }
    outcome
}

/// Sessions that are hosted briefly at a time: what is always free takes them.
pub(crate) fn at_once(inner: &StoreInner) -> usize {
    (inner.config.sessions_max / 20).clamp(1, AT_ONCE)
}

/// Copies one session again if it has too few copies.
async fn look(inner: &Arc<StoreInner>, id: SessionId, servers: &ServersNow) -> Outcome {
    let mut outcome = Outcome::default();
    let stands = async || ballot::standing(&inner.inspect_all(id).await, &inner.worker.token);
    let Some(mut standing) = stands().await else { return outcome };
    if lacks_copies(inner, id, &standing, &servers.usable) {
        match host_briefly(inner, id, &servers.usable).await {
            Ok(()) => outcome.copied = 1,
            // Another's by now, or nobody has what was the last: there is nothing to copy.
            Err(SessionFault::Elsewhere { .. } | SessionFault::Ended | SessionFault::NoCopy) => return outcome,
            Err(_) => outcome.failed = 1,
        }
        match stands().await {
            Some(now) => standing = now,
            None => return outcome,
        }
    }
    let home = inner.placement.choose(id, inner.config.copies, |_| true);
    for at in home.into_iter().filter(|at| servers.empty[*at]) {
        outcome.unfilled += usize::from(!fill(inner, id, at, &standing).await);
    }
    outcome
}

/// Whether a session has fewer copies than it ought to have.
fn lacks_copies(inner: &StoreInner, id: SessionId, standing: &Standing, usable: &[bool]) -> bool {
    let has = |at: usize| usable[at] && standing.holders.contains(&at);
    let copies = |usable: &dyn Fn(usize) -> bool| inner.placement.choose(id, inner.config.copies, usable);
    let count = (0..usable.len()).filter(|at| has(*at)).count();
    // Where the set counts, a copy outside of it is none.
    let is_member = |at: usize| match &standing.set {
        Some(set) => set.split(',').any(|name| name == inner.remotes[at].name),
        None => copies(&|_| true).contains(&at),
    };
    count < copies(&|at| usable[at]).len()
        || inner.config.write == WriteMode::AckAll && !(0..usable.len()).filter(|at| is_member(*at)).all(has)
}

/// Gives a session to a server that has lost all, and does not count before it has it. Whether that has been done, or need not be.
async fn fill(inner: &StoreInner, id: SessionId, at: usize, standing: &Standing) -> bool {
    let Some(from) = standing.holders.iter().find(|holder| inner.remotes[**holder].is_up()) else { return true };
    let Ok(data) = inner.remotes[*from].data(id).await else { return false };
    // Who hosts it by now copies it, and it may have changed.
    let Some(data) = data.filter(|_| inner.entry(id).is_none()) else { return true };
    let version = Version { epoch: standing.epoch, number: standing.number };
    let call = CopyCall { id, version, data: Some(data.into()), life: inner.config.life + copier::MARGIN };
    let kept = inner.remotes[at].keep(&inner.worker.token, &[call]).await;
    matches!(kept.as_deref(), Ok([Ok(Reply::Kept { .. } | Reply::Fenced | Reply::Ended)]))
}

/// Hosts a session until it has the copies that it ought to have; for longer if it is asked for meanwhile, or they cannot be made.
pub(crate) async fn host_briefly(inner: &Arc<StoreInner>, id: SessionId, usable: &[bool]) -> Result<(), SessionFault> {
    let entry = inner.claim(id, Hint::default()).await?;
    let used = entry.state().used;
    if let Some(task) = Task::of(inner, &entry, usable, &[]) {
        task.done(inner).await;
    }
    let copied = entry.when(|state| (!state.is_behind()).then_some(()));
    timeout(inner.config.timeout, copied).await.map_err(|_| SessionFault::Unacknowledged)?;
    leave(inner, &entry, used);
    Ok(())
}

/// Takes a session out of the memory again, if nobody has used it since `used`.
fn leave(inner: &StoreInner, entry: &Arc<Entry>, used: Moment) {
    let is_idle = {
        let mut state = entry.state();
        let is_idle = state.phase == Phase::Hosted && !state.is_behind() && state.used == used && !entry.is_used();
        if is_idle {
            state.phase = Phase::Lost;
        }
        is_idle
    };
    if is_idle {
        inner.remove(entry);
        entry.wake();
    }
}
