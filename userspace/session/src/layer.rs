//! Sessions for an application in Rust, as a tower layer around it.
//!
//! ```no_run
//! use axum::{Extension, Router, routing::post};
//! use zerottl_session::{SessionData, SessionLayer, SessionStore};
//! # use http::Extensions;
//! # use zerottl_core::session_id::SessionId;
//! # struct SessionRef;
//! # impl SessionRef { fn find(_: &Extensions) -> Option<(SessionId, u64)> { None } }
//!
//! async fn add(Extension(session): Extension<SessionData>, item: String) -> String {
//!     // One step: no request of the session that is made at once gets between.
//!     session.update(|data| {
//!         let cart = data.entry("cart".to_owned()).or_insert_with(|| serde_json::json!([]));
//!         if let Some(cart) = cart.as_array_mut() {
//!             cart.push(item.into());
//!         }
//!         cart.to_string()
//!     })
//! }
//!
//! fn application(store: SessionStore) -> Router {
//!     // `SessionRef` is zerottl-site's, whose `OperationLayer` goes around this and says which session a request has.
//!     Router::new().route("/add", post(add)).layer(SessionLayer::new(store, SessionRef::find))
//! }
//! ```
//!
//! A session that another living worker hosts is asked of it: it copies the session and gives it up, and this one claims it. So
//! a session that is used at two workers in turn wanders; the director, which sends a session's requests to its owner, saves that.
//!
//! **No update is lost**: requests of a session that are made at once at one worker share one map, and what they have changed is
//! written on the condition that the store still has what was read. If it has not, as another worker has changed the session
//! meanwhile, the response is 503, and what the request has changed is not kept. It is 503 as well where the store cannot tell
//! whether a change was kept; and 410 where something was changed after the session's end.

use std::{
    collections::HashMap,
    fmt,
    future::Future,
    pin::Pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError, Weak},
    task::{Context, Poll},
};

use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{
    Extensions, HeaderValue, Request, StatusCode,
    header::{CACHE_CONTROL, RETRY_AFTER},
};
use tower_layer::Layer;
use tower_service::Service;
use zerottl_core::session_id::SessionId;

use crate::{
    data::{Saved, SessionData, SessionMap, SharedData},
    fault::SessionFault,
    inner::Hint,
    store::{SessionState, SessionStore, WriteCondition},
    version::{Epoch, Tag},
};

/// Sessions with requests under way, above which those are forgotten that have none any more.
const SHARED_FEW: usize = 256;

/// Finds the session of a request in its extensions: the ID, and the highest epoch that its client has seen.
pub type FindSession = fn(&Extensions) -> Option<(SessionId, u64)>;

/// Puts [`SessionData`] into requests that have a session, and keeps what has changed of it.
#[derive(Clone)]
pub struct SessionLayer(Arc<LayerInner>);

struct LayerInner {
    store: SessionStore,
    find: FindSession,
    /// The data of sessions with requests under way.
    shared: Mutex<HashMap<SessionId, Weak<SharedData>>>,
}

impl fmt::Debug for SessionLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SessionLayer").field(&self.0.store).finish()
    }
}

impl SessionLayer {
    /// Makes the layer over a store.
    #[must_use]
    pub fn new(store: SessionStore, find: FindSession) -> Self {
        Self(Arc::new(LayerInner { store, find, shared: Mutex::default() }))
    }
}

impl<S> Layer<S> for SessionLayer {
    type Service = SessionService<S>;

    fn layer(&self, inner: S) -> SessionService<S> {
        SessionService { layer: self.clone(), inner }
    }
}

/// A service whose requests have their sessions' data.
#[derive(Clone, Debug)]
pub struct SessionService<S> {
    layer: SessionLayer,
    inner: S,
}

impl<S, B> Service<Request<B>> for SessionService<S>
where
    S: Service<Request<B>> + Clone + Send + 'static,
    S::Response: IntoResponse,
    S::Future: Send,
    B: Send + 'static,
{
    type Response = Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        // The one that is ready is used.
        let next = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, next);
        let layer = Arc::clone(&self.layer.0);
        Box::pin(async move {
            let Some((id, epoch)) = (layer.find)(request.extensions()) else {
                return Ok(inner.call(request).await?.into_response());
            };
            let hint = Hint { epoch: Epoch(epoch) };
            let data = match layer.open(id, hint).await {
                Ok(data) => data,
                Err(fault) => return Ok(refused(&fault)),
            };
            let in_use = layer.store.uses(id);
            request.extensions_mut().insert(data.clone());
            let response = inner.call(request).await?.into_response();
            let saved = layer.save(&data, hint).await;
            drop(in_use);
            Ok(saved.map_or_else(|fault| refused(&fault), |()| response))
        })
    }
}

/// Why a session's data cannot be had or kept.
#[derive(Debug, thiserror::Error)]
enum LayerFault {
    #[error(transparent)]
    Store(#[from] SessionFault),
    #[error("the session's data is no JSON object: {0}")]
    Misshapen(#[from] serde_json::Error),
}

fn refused(fault: &LayerFault) -> Response {
    let status = match fault {
        LayerFault::Store(SessionFault::Ended) => StatusCode::GONE,
        LayerFault::Store(SessionFault::TooLarge { .. }) => StatusCode::PAYLOAD_TOO_LARGE,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    };
    let mut response = (status, format!("{fault}\n")).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// A request to the store.
enum Step {
    Read,
    Write(WriteCondition, Bytes),
    End,
}

impl LayerInner {
    fn shared(&self) -> MutexGuard<'_, HashMap<SessionId, Weak<SharedData>>> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the data that requests of a session share.
    fn share(&self, id: SessionId) -> Arc<SharedData> {
        let mut all = self.shared();
        if let Some(shared) = all.get(&id).and_then(Weak::upgrade) {
            return shared;
        }
        if all.len() >= SHARED_FEW && all.len() == all.capacity() {
            all.retain(|_, shared| shared.strong_count() > 0);
        }
        let shared = Arc::new(SharedData::new(id));
        all.insert(id, Arc::downgrade(&shared));
        shared
    }

    /// Has the next request begin anew: the store has something else.
    fn forget(&self, shared: &Arc<SharedData>, saved: &mut Saved) {
        saved.is_stale = true;
        let mut all = self.shared();
        if all.get(&shared.id).is_some_and(|found| std::ptr::eq(found.as_ptr(), Arc::as_ptr(shared))) {
            all.remove(&shared.id);
        }
    }

    /// Returns a session's data for a request.
    async fn open(&self, id: SessionId, hint: Hint) -> Result<SessionData, LayerFault> {
        loop {
            let shared = self.share(id);
            let mut saved = shared.saved.lock().await;
            if saved.is_stale || saved.has_ended && !shared.ends() {
                self.forget(&shared, &mut saved);
                continue;
            }
            let state = match self.ask(id, hint, &Step::Read).await {
                Ok((state, _)) => state,
                Err(SessionFault::Ended) => {
                    let data = SessionData(Arc::clone(&shared));
                    data.end();
                    (saved.has_ended, saved.digest) = (true, shared.replace(SessionMap::new())?);
                    return Ok(data);
                }
                Err(fault) => return Err(fault.into()),
            };
            let tag = state.as_ref().map(|state| state.tag);
            if saved.is_read && saved.tag != tag && shared.written()?.1 != saved.digest {
                // Changes that are not written yet cannot be any more: their requests are told.
                self.forget(&shared, &mut saved);
                continue;
            }
            if !saved.is_read || saved.tag != tag {
                let map = state.map_or_else(|| Ok(SessionMap::new()), |state| serde_json::from_slice(&state.data))?;
                saved.digest = shared.replace(map)?;
                (saved.tag, saved.is_read) = (tag, true);
            }
            drop(saved);
            return Ok(SessionData(shared));
        }
    }

    /// Keeps what has changed since it was read or written last.
    async fn save(&self, data: &SessionData, hint: Hint) -> Result<(), LayerFault> {
        let shared = &data.0;
        let mut saved = shared.saved.lock().await;
        if shared.ends() && !saved.has_ended {
            self.ask(shared.id, hint, &Step::End).await?;
            (saved.has_ended, saved.digest) = (true, shared.replace(SessionMap::new())?);
            return Ok(());
        }
        let (bytes, digest) = shared.written()?;
        if digest == saved.digest {
            return Ok(());
        }
        if saved.has_ended {
            return Err(SessionFault::Ended.into());
        }
        if saved.is_stale {
            return Err(SessionFault::Changed.into());
        }
        let condition = saved.tag.map_or(WriteCondition::Empty, WriteCondition::Is);
        match self.ask(shared.id, hint, &Step::Write(condition, bytes)).await {
            Ok((_, tag)) => {
                (saved.tag, saved.digest) = (tag, digest);
                Ok(())
            }
            Err(fault) => {
                self.forget(shared, &mut saved);
                Err(fault.into())
            }
        }
    }

    /// Asks the store; takes the session over from another worker first if need be.
    async fn ask(
        &self,
        id: SessionId,
        hint: Hint,
        step: &Step,
    ) -> Result<(Option<SessionState>, Option<Tag>), SessionFault> {
        let store = &self.store;
        match step {
            Step::Read => {
                let state = store.with_takeover(id, || store.read(id, hint)).await?;
                Ok((state, None))
            }
            Step::Write(condition, bytes) => {
                let tag = store.with_takeover(id, || store.write(id, hint, *condition, bytes.clone())).await?;
                Ok((None, Some(tag)))
            }
            Step::End => store.with_takeover(id, || store.end(id, hint)).await.map(|()| (None, None)),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use axum::{Extension, Router, body::Body, routing::post};
    use http_body_util::BodyExt as _;
    use serde_json::json;
    use tokio::sync::Barrier;
    use tokio_util::sync::CancellationToken;
    use zerottl_core::model::WriteMode;

    use crate::{inner::StoreConfig, worker::Worker};

    use super::*;

    const ID: SessionId = SessionId([7; 16]);

    fn store() -> SessionStore {
        let config = StoreConfig {
            site: "boston".to_owned(),
            servers: Vec::new(),
            copies: 0,
            write: WriteMode::AckOne,
            life: Duration::from_mins(10),
            lease: Duration::from_secs(2),
            timeout: Duration::from_millis(500),
            size_max: 4096,
            sessions_max: 100,
            repair_rate: 1000,
        };
        SessionStore::start(config, Worker::new("w", "", None).unwrap(), &CancellationToken::new()).unwrap()
    }

    fn application(store: &SessionStore, gate: &Arc<Barrier>) -> Router {
        let (inside, outside) = (Arc::clone(gate), Arc::clone(gate));
        let number = |map: &SessionMap| map.get("n").and_then(serde_json::Value::as_u64).unwrap_or(0);
        let count = async move |Extension(session): Extension<SessionData>| {
            inside.wait().await;
            session.update(|map| map.insert("n".to_owned(), json!(number(map) + 1)));
            "counted"
        };
        let slow = async move |Extension(session): Extension<SessionData>| {
            session.insert("slow", true).unwrap();
            outside.wait().await;
            outside.wait().await;
        };
        Router::new()
            .route("/count", post(count))
            .route("/slow", post(slow))
            .route(
                "/look",
                post(async |Extension(session): Extension<SessionData>| session.update(|map| json!(map).to_string())),
            )
            .route(
                "/same",
                post(async |Extension(session): Extension<SessionData>| {
                    session.insert("n", session.get::<u64>("n").unwrap()).unwrap();
                }),
            )
            .route(
                "/large",
                post(async |Extension(session): Extension<SessionData>| session.insert("l", "l".repeat(5000)).unwrap()),
            )
            .route("/end", post(async |Extension(session): Extension<SessionData>| session.end()))
            .layer(SessionLayer::new(store.clone(), |extensions| extensions.get().copied()))
    }

    async fn ask(application: &Router, path: &'static str) -> (u16, String) {
        let mut request = Request::post(path).body(Body::empty()).unwrap();
        request.extensions_mut().insert((ID, 0_u64));
        let response = application.clone().call(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn kept(store: &SessionStore) -> (u64, serde_json::Value) {
        let state = store.read(ID, Hint::default()).await.unwrap().unwrap();
        (state.tag.number, serde_json::from_slice(&state.data).unwrap())
    }

    /// S1-X-CONC: requests of a session that are made at once lose no update, and what has not changed is not written.
    #[tokio::test(flavor = "multi_thread")]
    async fn s1_x_conc_requests_made_at_once_share_the_data() {
        let (store, gate) = (store(), Arc::new(Barrier::new(20)));
        let application = application(&store, &gate);
        for round in 1..=3 {
            let asked = (0..20).map(|_| {
                let application = application.clone();
                tokio::spawn(async move { ask(&application, "/count").await })
            });
            for asked in asked.collect::<Vec<_>>() {
                assert_eq!(asked.await.unwrap().0, 200);
            }
            assert_eq!(kept(&store).await.1, json!({ "n": 20 * round }));
        }
        let before = kept(&store).await;
        assert_eq!(ask(&application, "/look").await.1, "{\"n\":60}");
        assert_eq!(ask(&application, "/same").await.0, 200);
        assert_eq!(kept(&store).await, before, "not written");
    }

    /// S1-X-CONC: what was made of a state that somebody else has changed meanwhile is refused, and the next goes on from there.
    #[tokio::test(flavor = "multi_thread")]
    async fn s1_x_conc_what_was_changed_elsewhere_is_not_overwritten() {
        let (store, gate) = (store(), Arc::new(Barrier::new(2)));
        let application = application(&store, &gate);
        let slow = {
            let application = application.clone();
            tokio::spawn(async move { ask(&application, "/slow").await })
        };
        gate.wait().await;
        store.write(ID, Hint::default(), WriteCondition::Any, Bytes::from("{\"n\": 5}")).await.unwrap();
        assert_eq!(
            ask(&application, "/look").await,
            (200, "{\"n\":5}".to_owned()),
            "a request that begins now sees it"
        );
        gate.wait().await;
        let (status, why) = slow.await.unwrap();
        assert_eq!((status, &*why), (503, "the session has changed since\n"));
        assert_eq!(kept(&store).await.1, json!({ "n": 5 }));
        // Nobody has looked meanwhile: the store itself refuses it.
        let slow = {
            let application = application.clone();
            tokio::spawn(async move { ask(&application, "/slow").await })
        };
        gate.wait().await;
        store.write(ID, Hint::default(), WriteCondition::Any, Bytes::from("{\"n\":6}")).await.unwrap();
        gate.wait().await;
        assert_eq!(slow.await.unwrap().0, 503);
        assert_eq!(ask(&application, "/look").await.1, "{\"n\":6}");
        let (status, why) = ask(&application, "/large").await;
        assert!(status == 413 && why.contains("may have 4096 bytes"), "{why}");
        assert_eq!(ask(&application, "/look").await.1, "{\"n\":6}");
        store.write(ID, Hint::default(), WriteCondition::Any, Bytes::from("cart")).await.unwrap();
        let (status, why) = ask(&application, "/look").await;
        assert!(status == 503 && why.starts_with("the session's data is no JSON object"), "{why}");
    }

    /// S1-X-CONC: after a logout nothing is kept, of requests that were under way either.
    #[tokio::test(flavor = "multi_thread")]
    async fn s1_x_conc_a_logout_is_final_for_requests_under_way() {
        let (store, gate) = (store(), Arc::new(Barrier::new(2)));
        let application = application(&store, &gate);
        let slow = {
            let application = application.clone();
            tokio::spawn(async move { ask(&application, "/slow").await })
        };
        gate.wait().await;
        assert_eq!(ask(&application, "/end").await.0, 200);
        assert_eq!(store.read(ID, Hint::default()).await, Err(SessionFault::Ended));
        gate.wait().await;
        assert_eq!(slow.await.unwrap().0, 200, "its change was cleared by the end, and it has made none since");
        assert_eq!(ask(&application, "/look").await, (200, "{}".to_owned()));
        let (status, why) = ask(&application, "/large").await;
        assert_eq!((status, &*why), (410, "the session has ended\n"));
    }
}
