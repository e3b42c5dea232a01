//! Copies that are made again after a server has died or come back, from the memory of those who host the sessions; and what is
//! forgotten here because its time is over, or because there is too much.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::time::{sleep, timeout};
use tracing::info;
use zerottl_core::model::WriteMode;

use crate::{
    clock,
    entry::{Entry, Phase},
    inner::StoreInner,
};

/// From one look to the next, if nothing has happened.
const LOOK: Duration = Duration::from_secs(1);
/// From one glance at which servers are up to the next.
const GLANCE: Duration = Duration::from_millis(50);
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
    let step = (inner.config.repair_rate / STEPS).max(1) as usize;
    let (mut repaired, mut told) = (0, false);
    // Those that had lost all when this began have it again when it ends.
    let empty: Vec<bool> = inner.remotes.iter().map(|remote| remote.is_copying()).collect();
    for entry in &entries {
        let (copies, phase, behind) = {
            let state = entry.state();
            (state.copies.clone(), state.phase, state.data.is_some() && !state.is_copied())
        };
        let mut worked = false;
        if phase == Phase::Hosted {
            let desired = inner.placement.choose(entry.id, inner.config.copies, |at| usable[at]);
            if desired != copies && !desired.is_empty() {
                worked = true;
                inner.counts.repairs.fetch_add(1, Relaxed);
                if inner.config.write == WriteMode::AckAll {
                    inner.replace(entry, desired).await;
                } else {
                    entry.state().copies = desired;
                    entry.wake();
                }
            }
        }
        if phase != Phase::Lost && (behind || worked || phase == Phase::Ended) {
            worked |= behind;
            inner.spread(entry);
        }
        repaired += usize::from(worked);
        if worked && repaired % step == 0 {
            if !told {
                info!(sessions = entries.len(), "copying sessions again");
            }
            told = true;
            sleep(Duration::from_secs(1) / STEPS).await;
        }
    }
    if told {
        info!(sessions = repaired, "copied sessions again");
    }
    for (remote, _) in inner.remotes.iter().zip(empty).filter(|(_, empty)| *empty) {
        remote.set_copying(false);
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
    let is_copied = |entry: &&Arc<Entry>| {
        let state = entry.state();
        state.phase == Phase::Hosted && state.is_copied()
    };
    for entry in entries.iter().filter(is_copied).take(surplus) {
        inner.counts.evictions.fetch_add(1, Relaxed);
        drop_entry(inner, entry);
    }
}

fn drop_entry(inner: &StoreInner, entry: &Arc<Entry>) {
    entry.state().phase = Phase::Lost;
    inner.remove(entry);
    entry.wake();
}
