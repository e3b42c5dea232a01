//! Changes on their way to one server: those that come while a round trip is under way go together with the next, each session
//! once, by its newest state.

use std::{sync::Arc, sync::atomic::Ordering::Relaxed, time::Duration};

use tokio::{sync::mpsc, time::sleep};
use tracing::debug;
use zerottl_core::model::WriteMode;

use crate::{
    entry::{Entry, Phase},
    inner::StoreInner,
    remote::CopyCall,
    reply::Reply,
    version::Version,
};

/// Copies in one round trip, at most.
const BATCH: usize = 512;
/// How long the first of some changes waits for others where nobody waits for its copies: a round trip for each alone would cost
/// this process and the server more than all else.
const LINGER: Duration = Duration::from_millis(1);
/// The time that a copy lives longer than its session, so that clocks may differ.
pub(crate) const MARGIN: Duration = Duration::from_mins(1);

/// Sends what is put into the queue of one server, until the queue is closed.
pub(crate) async fn run(inner: Arc<StoreInner>, at: usize, mut queue: mpsc::Receiver<Arc<Entry>>) {
    let remote = &inner.remotes[at];
    let mut batch = Vec::with_capacity(BATCH);
    while queue.recv_many(&mut batch, BATCH).await > 0 {
        if inner.config.write == WriteMode::Async && batch.len() < BATCH {
            sleep(LINGER).await;
            batch.extend(std::iter::from_fn(|| queue.try_recv().ok()).take(BATCH - batch.len()));
        }
        let (entries, calls): (Vec<_>, Vec<_>) = batch
            .drain(..)
            .filter_map(|entry| {
                // Before the state is read: a change from now on comes into the queue again.
                entry.dequeued(at);
                let call = call(&inner, &entry)?;
                Some((entry, call))
            })
            .unzip();
        // Once it is back, the repair puts all into the queue that it lacks.
        if calls.is_empty() || !remote.is_up() {
            continue;
        }
        let Ok(replies) = remote.keep(&inner.worker.token, &calls).await else { continue };
        for ((entry, call), reply) in entries.iter().zip(&calls).zip(replies) {
            match reply {
                Ok(reply) => answered(&inner, at, entry, call.version, &reply),
                Err(fault) => remote.fail(&fault),
            }
        }
    }
}

/// Makes the copy of an entry's state; none if there is nothing to copy.
fn call(inner: &StoreInner, entry: &Entry) -> Option<CopyCall> {
    let state = entry.state();
    let data = match state.phase {
        Phase::Lost => return None,
        Phase::Ended => None,
        Phase::Hosted => Some(state.data.clone()?),
    };
    Some(CopyCall { id: entry.id, version: state.version(), data, life: inner.config.life + MARGIN })
}

fn answered(inner: &Arc<StoreInner>, at: usize, entry: &Arc<Entry>, sent: Version, reply: &Reply) {
    let remote = &inner.remotes[at];
    match reply {
        Reply::Kept { newcomer } => {
            remote.counts.writes.fetch_add(1, Relaxed);
            let again = {
                let mut state = entry.state();
                if !newcomer {
                    state.acknowledge(at, sent);
                }
                state.phase != Phase::Lost && state.version() > sent && state.holders().any(|server| server == at)
            };
            entry.wake();
            if again {
                inner.enqueue(entry, at);
            }
        }
        Reply::Fenced | Reply::Ended => {
            remote.counts.fenced.fetch_add(1, Relaxed);
            debug!(server = remote.name, session = %entry.id, ?reply, "a copy is refused");
            let (inner, entry) = (Arc::clone(inner), Arc::clone(entry));
            tokio::spawn(async move { inner.reassert(&entry, sent.epoch).await });
        }
        Reply::Incarnation(_) => remote.fail(&"it was started anew"),
        other => remote.fail(&format!("{other:?} is no answer to a copy")),
    }
}
