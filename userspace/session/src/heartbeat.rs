//! The lease at each server: renewed several times in its life. This is also how it is seen that a server is down, that it is back,
//! and that it has lost what it had.

use std::{
    sync::{Arc, atomic::Ordering::Relaxed},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tracing::{info, warn};

use crate::{
    clock::{self, milliseconds},
    heartbeats::{NEW, OLD},
    inner::StoreInner,
    remote::{LeaseCall, RemoteFault},
    reply::Reply,
};

/// Renewals in the life of a lease.
const BEATS: u32 = 4;
/// From one try to reach a server to the next.
const RETRY: Duration = Duration::from_millis(200);

impl StoreInner {
    /// Renews the lease at all servers, and waits until a quorum has granted it, or enough have answered to know that none will.
    pub(crate) async fn lease(&self) -> bool {
        let begun = milliseconds(clock::now());
        if begun.saturating_sub(self.heartbeats.in_vain.load(Relaxed)) < u64::try_from(RETRY.as_millis()).unwrap_or(0) {
            return false;
        }
        self.heartbeats.kick.iter().take(self.remotes.len()).for_each(Notify::notify_one);
        let granted = async {
            loop {
                let beaten = self.heartbeats.beaten.notified();
                tokio::pin!(beaten);
                beaten.as_mut().enable();
                if self.leases().holds(clock::now()) {
                    return true;
                }
                if self.heartbeats.tried.iter().take(self.remotes.len()).all(|tried| tried.load(Relaxed) >= begun) {
                    return false;
                }
                beaten.await;
            }
        };
        let granted = timeout(self.config.timeout * 2, granted).await.unwrap_or(false);
        if !granted {
            self.heartbeats.in_vain.store(milliseconds(clock::now()), Relaxed);
        }
        granted
    }
}

/// Keeps the lease at one server, until it is dropped.
pub(crate) async fn run(inner: Arc<StoreInner>, at: usize) {
    let remote = &inner.remotes[at];
    let mut was_up = true;
    loop {
        let begun = clock::now();
        let pause = match beat(&inner, at).await {
            Ok(()) => {
                if !was_up {
                    info!(server = remote.name, "session server reached");
                }
                was_up = true;
                inner.config.lease / BEATS
            }
            Err(fault) => {
                remote.fail(&fault);
                inner.heartbeats.refused[at].store(milliseconds(begun), Relaxed);
                inner.heartbeats.first_seen(at, OLD);
                if was_up {
                    warn!(server = remote.name, %fault, "session server not reached");
                    inner.heartbeats.repair.notify_one();
                }
                was_up = false;
                RETRY
            }
        };
        inner.heartbeats.tried[at].store(milliseconds(begun), Relaxed);
        inner.heartbeats.beaten.notify_waiters();
        let _ = timeout(pause, inner.heartbeats.kick[at].notified()).await;
    }
}

/// Renews the lease at one server once; connects first if need be.
async fn beat(inner: &Arc<StoreInner>, at: usize) -> Result<(), RemoteFault> {
    let (remote, heartbeats) = (&inner.remotes[at], &inner.heartbeats);
    let (mut connection, is_new, run) = if let Some(connection) = remote.connection() {
        (connection, false, remote.run_id())
    } else {
        let (connection, may_be_new, run) = remote.connect().await?;
        heartbeats.first_seen(at, if may_be_new { NEW } else { OLD });
        (connection, true, run)
    };
    let waits = async {
        loop {
            if let Some(all_new) = heartbeats.is_all_new() {
                return all_new;
            }
            sleep(Duration::from_millis(5)).await;
        }
    };
    let all_new = timeout(inner.config.timeout, waits).await.unwrap_or(false) && remote.last_incarnation().is_none();
    let asked = clock::now();
    let candidate = format!("{:032x}", rand::random::<u128>());
    let lease = LeaseCall {
        owner: &inner.worker.token,
        run: &run,
        value: &inner.worker.lease,
        life: inner.config.lease,
        incarnation: &candidate,
        all_new,
        copies: remote.is_copying(),
    };
    let Reply::Lease { incarnation, kept, newcomer } = remote.renew(&mut connection, &lease).await? else {
        return Err(RemoteFault::Down);
    };
    let has_lost = remote.last_incarnation().is_some_and(|last| *last != *incarnation);
    if has_lost {
        warn!(server = remote.name, "session server started anew: what it held is copied to it again");
        remote.has_lost_all();
        inner.leases().lost(at);
        for entry in inner.all() {
            entry.state().unacknowledge(at);
        }
    }
    if is_new {
        for peril in remote.perils(&mut connection).await {
            warn!(server = remote.name, "session server: {peril}");
        }
    }
    if is_new || has_lost {
        remote.joined(connection, &incarnation, &run);
    }
    let was_newcomer = remote.set_newcomer(newcomer);
    inner.leases().granted(at, asked, inner.config.lease, kept && !has_lost, clock::now());
    if is_new || has_lost || was_newcomer && !newcomer {
        heartbeats.repair.notify_one();
    }
    Ok(())
}
