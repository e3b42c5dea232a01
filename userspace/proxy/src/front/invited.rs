//! Application servers that have said that they are ready: a request goes to one of them by a credit that it has given.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, interval};
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{backend::Backend, counters::BackendCounters, log_limit::SharedLogLimit};
use zerottl_core::model::WebLimits;
use zerottl_invitation::{AskedSession, Channel, Grant, InvitationGate, api::authority};
use zerottl_site::session::SessionRef;

/// Between two looks at idle connections.
const SWEEP: Duration = Duration::from_secs(5);

/// Application servers by their channels.
#[derive(Debug)]
pub(super) struct Invited {
    gate: InvitationGate,
    servers: Arc<Mutex<HashMap<Channel, Arc<Backend>>>>,
    connect_timeout: Duration,
    nobody_log: SharedLogLimit,
}

impl Invited {
    /// Takes servers of a gate, until `cancel`. Inside a tokio runtime.
    pub(super) fn start(gate: InvitationGate, limits: &WebLimits, cancel: &CancellationToken) -> Self {
        let servers: Arc<Mutex<HashMap<Channel, Arc<Backend>>>> = Arc::default();
        let (swept, asked) = (Arc::clone(&servers), gate.clone());
        let sweep = async move {
            let mut ticks = interval(SWEEP);
            loop {
                ticks.tick().await;
                let mut servers = swept.lock().unwrap_or_else(PoisonError::into_inner);
                servers.retain(|channel, _| asked.is_open(*channel));
                servers.values().for_each(|server| server.sweep(Instant::now()));
            }
        };
        tokio::spawn(cancel.clone().run_until_cancelled_owned(sweep));
        Self { gate, servers, connect_timeout: limits.connect_timeout, nobody_log: SharedLogLimit::new() }
    }

    /// Waits for a server that is ready, other than those that the request has been to. One of its credits is gone then.
    pub(super) async fn choose(&self, tried: &[usize], session: Option<&SessionRef>) -> Option<Arc<Backend>> {
        let avoid = tried.iter().map(|tried| Channel(*tried as u64)).collect();
        // No worker hosts one without an epoch.
        let session = session.map(|session| AskedSession { id: session.id, is_new: session.epoch == 0 });
        match self.gate.acquire(session, avoid).await {
            Ok(grant) => {
                let backend = self.backend(&grant);
                grant.sent();
                Some(backend)
            }
            Err(why) => {
                if tried.is_empty()
                    && let Some(unsaid) = self.nobody_log.admit(Instant::now())
                {
                    warn!(%why, status = 503, unsaid, "a request reaches no application server");
                }
                None
            }
        }
    }

    fn backend(&self, grant: &Grant) -> Arc<Backend> {
        let mut servers = self.servers.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || {
            let position = usize::try_from(grant.channel.0).unwrap_or(usize::MAX);
            let counted = Arc::new(BackendCounters::new(&grant.url));
            let authority = authority(&grant.url).unwrap_or_default();
            Arc::new(Backend::unwatched(&authority, position, counted, self.connect_timeout))
        };
        Arc::clone(servers.entry(grant.channel).or_insert_with(made))
    }
}
