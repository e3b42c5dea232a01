//! A session on its way from a worker that lives to another one that is asked for it: the host copies what is not yet, gives the
//! session up, and the other one claims it.

use std::{future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use futures_util::future::join_all;
use http::{HeaderName, HeaderValue, Method, Request, header::CONTENT_TYPE};
use http_body_util::Full;
use tokio::time::{Instant, sleep};
use zerottl_core::session_id::SessionId;

use crate::{
    entry::{Entry, Phase},
    fault::SessionFault,
    inner::StoreInner,
    relay::relay,
    store::SessionStore,
    worker::LeaseHolder,
};

/// The token of the worker that asks for a session.
pub(crate) const WORKER: HeaderName = HeaderName::from_static("x-zerottl-worker");
/// From one look at a session that is still used to the next.
const LOOK: Duration = Duration::from_millis(2);
/// The pause before a session is tried again that another worker has, at most.
const PAUSE: Duration = Duration::from_millis(10);
/// Bytes of an answer.
const ANSWER_MAX: usize = 4096;

/// Why a session is not given up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReleaseFault {
    /// Whoever asks is no worker that lives.
    #[error("a session is given up to another worker of the Site alone, which has a lease")]
    NoWorker,
    /// Its newest state has not been copied in time.
    #[error("the session's newest state has no copies from which another worker could go on")]
    Uncopied,
}

/// A session that is being used for a request: it is not given up before that has ended, if that does not take too long.
#[derive(Debug)]
pub(crate) struct InUse(Arc<Entry>);

impl Drop for InUse {
    fn drop(&mut self) {
        self.0.leave();
    }
}

impl SessionStore {
    /// Notes that a session is being used, if it is hosted here.
    pub(crate) fn uses(&self, id: SessionId) -> Option<InUse> {
        let entry = self.0.entry(id)?;
        entry.enter();
        Some(InUse(entry))
    }

    /// Gives a session up, which the worker `to` then claims. Nothing is lost by it: its newest state has been copied.
    pub async fn release(&self, id: SessionId, to: &str) -> Result<(), ReleaseFault> {
        let inner = &self.0;
        if to.is_empty() || to == inner.worker.token || !inner.has_lease(to).await {
            return Err(ReleaseFault::NoWorker);
        }
        if let Some(entry) = inner.entry(id) {
            inner.hand_off(&entry).await?;
        }
        inner.release_all(id).await;
        Ok(())
    }

    /// Does something with a session; takes it over first if another worker hosts it, as often as it takes for a while.
    pub async fn with_takeover<T, F>(
        &self,
        id: SessionId,
        step: impl Fn() -> F + Send + Sync,
    ) -> Result<T, SessionFault>
    where
        T: Send,
        F: Future<Output = Result<T, SessionFault>> + Send,
    {
        let deadline = Instant::now() + self.patience();
        loop {
            match step().await {
                Err(SessionFault::Elsewhere { worker }) if Instant::now() < deadline => {
                    if self.ask_for(id, &worker).await {
                        continue;
                    }
                }
                Err(SessionFault::Contended) if Instant::now() < deadline => {}
                other => return other,
            }
            sleep(PAUSE.mul_f64(rand::random())).await;
        }
    }

    /// Asks the worker that hosts a session to give it up. Whether it has.
    async fn ask_for(&self, id: SessionId, host: &str) -> bool {
        let Some(holder) = LeaseHolder::read(host).filter(|holder| !holder.reach.is_empty()) else { return false };
        let mut request = Request::new(Full::new(Bytes::from_static(b"{}")));
        *request.method_mut() = Method::POST;
        let (Ok(target), Ok(own)) =
            (format!("/v1/session/{id}/release").parse(), HeaderValue::from_str(&self.0.worker.token))
        else {
            return false;
        };
        *request.uri_mut() = target;
        request.headers_mut().insert(WORKER, own);
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let answer = relay(&holder.reach, request, ANSWER_MAX, self.0.config.timeout * 3).await;
        answer.is_ok_and(|answer| answer.status().is_success())
    }
}

impl StoreInner {
    /// Whether a worker has a lease at a session server.
    async fn has_lease(&self, worker: &str) -> bool {
        let asked = join_all(self.remotes.iter().map(|remote| remote.has_lease(worker))).await;
        asked.into_iter().any(|answer| answer.unwrap_or(false))
    }

    async fn hand_off(self: &Arc<Self>, entry: &Arc<Entry>) -> Result<(), ReleaseFault> {
        let deadline = Instant::now() + self.config.timeout;
        while entry.is_used() && Instant::now() < deadline {
            sleep(LOOK).await;
        }
        let deadline = Instant::now() + self.config.timeout;
        loop {
            {
                let mut state = entry.state();
                // An end is everybody's, and the servers know it.
                if state.phase != Phase::Hosted {
                    return Ok(());
                }
                if state.data.is_none() || !state.copies.is_empty() && state.is_copied() {
                    state.phase = Phase::Lost;
                    break;
                }
            }
            if Instant::now() >= deadline {
                return Err(ReleaseFault::Uncopied);
            }
            self.spread(entry);
            sleep(LOOK).await;
        }
        self.remove(entry);
        entry.wake();
        Ok(())
    }
}
