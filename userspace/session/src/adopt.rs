//! Sessions that nobody hosts and nobody has asked for since, because their worker has died or has lost sight of them: the workers
//! that live share them, so that each has a host who copies it again when a session server dies, too.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use futures_util::{StreamExt as _, stream};
use tokio::time::sleep;
use zerottl_core::session_id::SessionId;

use crate::{
    inner::{Hint, StoreInner},
    placement::weight,
};

/// From one look for orphans to the next.
const LOOK: Duration = Duration::from_millis(500);
/// Sessions of one look, at most.
const BATCH: usize = 500;
/// Claims at a time.
const AT_ONCE: usize = 32;

/// Adopts, until it is dropped.
pub(crate) async fn run(inner: Arc<StoreInner>) {
    let mut at = 0;
    loop {
        sleep(LOOK).await;
        let Some(remote) = inner.remotes.get(at % inner.remotes.len().max(1)) else { return };
        at += 1;
        let room = inner.config.sessions_max / 10 * 9;
        if !remote.is_up() || inner.len() >= room {
            continue;
        }
        let asked = remote.orphans(BATCH, &inner.worker.token).await;
        let Ok((living, orphans, owned)) = asked else { continue };
        // Each takes its part: the one that comes first for a session.
        let first = |id: SessionId| living.iter().max_by_key(|worker| weight(id, worker));
        let own = |id: &SessionId| first(*id).is_some_and(|worker| *worker == inner.worker.token);
        let ids = |list: &[String]| list.iter().filter_map(|id| id.parse().ok()).collect::<Vec<SessionId>>();
        // Its own ones that it has lost sight of, too: a claim that failed, or memory that was full.
        let ids: Vec<SessionId> = ids(&orphans).into_iter().filter(own).chain(ids(&owned)).collect();
        let claims = stream::iter(ids).for_each_concurrent(AT_ONCE, |id| {
            let inner = Arc::clone(&inner);
            async move {
                // Somebody else was faster, or it waits for the next look.
                if inner.entry(id).is_none() && inner.claim(id, Hint::default()).await.is_ok() {
                    inner.counts.adoptions.fetch_add(1, Relaxed);
                }
            }
        });
        claims.await;
    }
}
