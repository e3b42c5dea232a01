//! Copies that are made again after a server has died or come back, from the memory of those who host the sessions; and what is
//! forgotten here because its time is over, or because there is too much.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::{sleep, timeout};
use tracing::info;
use zerottl_core::model::WriteMode;

use crate::{
    clock,
    entry::{Entry, Phase},
    inner::StoreInner,
    journal,
};

/// From one look to the next, if nothing has happened.
const LOOK: Duration = Duration::from_secs(1);
/// From one glance at which servers are up to the next.
const GLANCE: Duration = Duration::from_millis(50);
/// Sessions that are given other servers at a time.
const AT_ONCE: usize = 16;
/// Steps of a second in which sessions are copied again.
const STEPS: u32 = 20;

/// Repairs, until it is dropped.
pub(crate) async fn run(inner: Arc<StoreInner>) {
    let mut before = inner.usable();
    let mut looked = clock::now();
    loop {
        let asked = timeout(GLANCE, inner.heartbeats.repair.notified()).await.is_ok();
        let usable = inner.usable();
        if asked || usable != before || clock::now().saturating_sub(looked) >= LOOK {
            forget(&inner);
            look(&inner, &usable).await;
            (before, looked) = (usable, clock::now());
        }
    }
}

/// Looks at all sessions: gives each the servers that it ought to have, and sends those what they lack.
async fn look(inner: &Arc<StoreInner>, usable: &[bool]) {
    let entries = inner.all();
    // Those that had lost all when this began have it again when it ends.
    let empty: Vec<bool> = inner.remotes.iter().map(|remote| remote.lacks_hosted()).collect();
    let tasks: Vec<Task> = entries.iter().filter_map(|entry| Task::of(inner, entry, usable, &empty)).collect();
    let step = (inner.config.repair_rate / STEPS).max(1) as usize;
    let told = tasks.len() > step;
    if told {
        info!(sessions = tasks.len(), "copying sessions again");
    }
    let mut tasks = tasks.into_iter().peekable();
    while tasks.peek().is_some() {
        let some: Vec<Task> = tasks.by_ref().take(step).collect();
        stream::iter(some).for_each_concurrent(AT_ONCE, |task| task.done(inner)).await;
        if tasks.peek().is_some() {
            sleep(Duration::from_secs(1) / STEPS).await;
        }
    }
    if told {
        info!("copied sessions again");
    }
    for (remote, _) in inner.remotes.iter().zip(empty).filter(|(_, empty)| *empty) {
        remote.set_lacks_hosted(false);
    }
}

/// A session that needs something.
pub(crate) struct Task {
    entry: Arc<Entry>,
    /// The servers that it ought to have, if they are others than it has.
    desired: Option<Vec<usize>>,
    /// Servers that have lost all, and had it.
    empty: Vec<usize>,
}

impl Task {
    /// Finds out what a session needs; none if nothing.
    pub(crate) fn of(inner: &StoreInner, entry: &Arc<Entry>, usable: &[bool], empty: &[bool]) -> Option<Self> {
        let (copies, phase, behind) = {
            let state = entry.state();
            (state.copies.clone(), state.phase, state.is_behind())
        };
        if phase == Phase::Lost {
            return None;
        }
        let chosen = |usable: &dyn Fn(usize) -> bool| inner.placement.choose(entry.id, inner.config.copies, usable);
        let desired = Some(chosen(&|at| usable[at]));
        let desired = desired.filter(|desired| phase == Phase::Hosted && *desired != copies && !desired.is_empty());
        let empty: Vec<usize> = if empty.contains(&true) {
            chosen(&|_| true).into_iter().filter(|at| empty[*at]).collect()
        } else {
            Vec::new()
        };
        let needs = desired.is_some() || behind || !empty.is_empty();
        needs.then(|| Self { entry: Arc::clone(entry), desired, empty })
    }

    /// Gives it what it needs.
    pub(crate) async fn done(self, inner: &Arc<StoreInner>) {
        if let Some(desired) = self.desired {
            inner.counts.repairs.fetch_add(1, Relaxed);
            if inner.config.write == WriteMode::AckAll {
                inner.replace(&self.entry, desired).await;
            } else {
                self.entry.state().copies = desired;
                self.entry.wake();
            }
        }
        inner.spread(&self.entry);
        for server in self.empty {
            inner.enqueue(&self.entry, server);
        }
    }
}

/// Forgets what is over, and the least recently used where there are too many.
fn forget(inner: &StoreInner) {
    let (now, life) = (clock::now(), inner.config.life);
    let mut entries = inner.all();
    entries.retain(|entry| {
        let stays = {
            let state = entry.state();
            state.phase != Phase::Lost && now.saturating_sub(state.used) < life
        };
        if !stays {
            drop_entry(inner, entry);
        }
        stays
    });
    // A tenth of the places is made free at a time.
    let max = inner.config.sessions_max / 10 * 9;
    // What has no copies elsewhere would be lost.
    if entries.len() < inner.config.sessions_max / 20 * 19 || inner.config.copies == 0 {
        return;
    }
    let surplus = entries.len() - max;
    let used = |entry: &Arc<Entry>| entry.state().used;
    entries.sort_by_key(used);
    // Of those without data there is nothing to lose.
    let may_go = |entry: &&Arc<Entry>| {
        let state = entry.state();
        state.phase == Phase::Hosted && !state.is_behind()
    };
    for entry in entries.iter().filter(may_go).take(surplus) {
        inner.counts.evictions.fetch_add(1, Relaxed);
        drop_entry(inner, entry);
    }
}

fn drop_entry(inner: &StoreInner, entry: &Arc<Entry>) {
    entry.state().phase = Phase::Lost;
    if inner.journal.is_some() {
        // Before another one of the session can be.
        inner.enqueue(entry, journal::PLACE);
    }
    inner.remove(entry);
    entry.wake();
}
