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
    absent::{at_once, host_briefly},
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
        if !remote.is_up() {
            continue;
        }
        let has_room = inner.len() < inner.config.sessions_max / 10 * 9;
        let usable = inner.usable();
        let asked = remote.orphans(BATCH, &inner.worker.token).await;
        let Ok((living, orphans, owned)) = asked else { continue };
        // Each takes its part: the one that comes first for a session.
        let first = |id: SessionId| living.iter().max_by_key(|worker| weight(id, worker));
        let own = |id: &SessionId| first(*id).is_some_and(|worker| *worker == inner.worker.token);
        let ids = |list: &[String]| list.iter().filter_map(|id| id.parse().ok()).collect::<Vec<SessionId>>();
        // Its own ones that it has lost sight of, too: a claim that failed, or memory that was full.
        let owned = if has_room { ids(&owned) } else { Vec::new() };
        let ids: Vec<SessionId> = ids(&orphans).into_iter().filter(own).chain(owned).collect();
        let limit = if has_room { AT_ONCE } else { at_once(&inner) };
        let claims = stream::iter(ids).for_each_concurrent(limit, |id| {
            let inner = Arc::clone(&inner);
            let usable = &usable;
            async move {
                if inner.entry(id).is_some() {
                    return;
                }
                let claimed = if has_room {
                    inner.claim(id, Hint::default()).await.map(drop)
                } else {
                    host_briefly(&inner, id, usable).await
                };
                // Somebody else was faster, or it waits for the next look.
                if claimed.is_ok() {
                    inner.counts.adoptions.fetch_add(1, Relaxed);
                }
            }
        });
        claims.await;
    }
}
