//! Sessions for applications in any language: `GET`, `PUT` and `DELETE /v1/session/ID`, and what people ask for.
//!
//! | request | what it does |
//! |---|---|
//! | `GET /v1/session/ID` | the session's data, with its `ETag`; 404 without data |
//! | `PUT /v1/session/ID` | keeps the body as its data; `If-Match: ETAG`, `If-Match: *` or `If-None-Match: *` make it depend on what is there (412) |
//! | `DELETE /v1/session/ID` | ends the session for good (logout); from then on it is 410 |
//! | `GET /v1/session/ID/explain` | who hosts it, its epoch, number and copies: [`SessionPage`](crate::page::SessionPage); 404 if nobody knows it |
//! | `POST /v1/session/ID/release` | from another worker: this one copies the session and gives it up |
//! | `GET /v1/sessions` | the state of all of this worker's: [`StorePage`](crate::page::StorePage) |
//!
//! Any worker may be asked: one that does not host the session asks the one that does, or becomes its host. What cannot be told
//! is 503 with `{"error": WORD, "message": SENTENCE}`; the word is `unacknowledged` where a change may have been kept or lost.

use std::time::Duration;

use axum::{
    Json, Router,
    body::Body,
    extract::{Path, State},
    response::{IntoResponse, Response},
    routing::{get, post},
};
use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Request, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_MATCH, IF_NONE_MATCH, RETRY_AFTER},
};
use http_body_util::{BodyExt as _, Full, Limited};
use serde_json::json;
use tokio::time::{Instant, sleep};
use zerottl_core::session_id::{SessionId, SessionIdError};

use crate::{
    fault::SessionFault,
    handoff::{ReleaseFault, WORKER},
    inner::Hint,
    relay::{RelayFault, relay},
    store::{SessionStore, WriteCondition},
    version::Tag,
    worker::LeaseHolder,
};

/// A request that another worker has passed on.
const RELAYED: HeaderName = HeaderName::from_static("x-zerottl-relayed");
/// The pause before a worker that ought to host a session is asked again.
const PAUSE: Duration = Duration::from_millis(25);

/// Makes the routes.
pub fn routes<S: Clone + Send + Sync + 'static>(store: SessionStore) -> Router<S> {
    Router::new()
        .route("/v1/session/{id}", get(data).put(data).delete(data))
        .route("/v1/session/{id}/explain", get(explain))
        .route("/v1/session/{id}/release", post(release))
        .route("/v1/sessions", get(page))
        .with_state(store)
}

/// A refusal, as other interfaces say it.
fn refusal(status: StatusCode, error: &str, message: &str) -> Response {
    let mut response = (status, Json(json!({ "error": error, "message": message }))).into_response();
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if status == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
    }
    response
}

/// Reads the ID of a path.
#[expect(clippy::result_large_err, reason = "it is the answer")]
fn session(id: &str) -> Result<SessionId, Response> {
    id.parse().map_err(|error: SessionIdError| refusal(StatusCode::BAD_REQUEST, "invalid", &error.to_string()))
}

fn refused(fault: &SessionFault) -> Response {
    let (status, word) = match fault {
        SessionFault::Ended => (StatusCode::GONE, "ended"),
        SessionFault::Changed => (StatusCode::PRECONDITION_FAILED, "changed"),
        SessionFault::TooLarge { .. } => (StatusCode::PAYLOAD_TOO_LARGE, "too_large"),
        SessionFault::TooMany(_) => (StatusCode::SERVICE_UNAVAILABLE, "too_many"),
        SessionFault::Unacknowledged | SessionFault::Fenced => (StatusCode::SERVICE_UNAVAILABLE, "unacknowledged"),
        SessionFault::Elsewhere { .. } => (StatusCode::MISDIRECTED_REQUEST, "elsewhere"),
        SessionFault::NoQuorum { .. } => (StatusCode::SERVICE_UNAVAILABLE, "no_quorum"),
        SessionFault::NoCopy => (StatusCode::SERVICE_UNAVAILABLE, "no_copy"),
        SessionFault::Contended => (StatusCode::SERVICE_UNAVAILABLE, "contended"),
    };
    refusal(status, word, &fault.to_string())
}

/// Reads the condition of a change.
fn condition(headers: &HeaderMap) -> Result<WriteCondition, &'static str> {
    let one = |name: HeaderName| -> Result<Option<&str>, &'static str> {
        let mut values = headers.get_all(&name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => value.to_str().map(|value| Some(value.trim())).map_err(|_| "that is no ETag"),
            _ => Err("give one ETag"),
        }
    };
    let tag = |text: &str| {
        let inner = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"'));
        inner.and_then(|inner| inner.parse::<Tag>().ok())
    };
    match (one(IF_MATCH)?, one(IF_NONE_MATCH)?) {
        (None, None) => Ok(WriteCondition::Any),
        (Some("*"), None) => Ok(WriteCondition::Present),
        (None, Some("*")) => Ok(WriteCondition::Empty),
        // One that no state of any session has: it matches none.
        (Some(text), None) => {
            Ok(tag(text).map_or(WriteCondition::Is(Tag { number: 0, digest: 0 }), WriteCondition::Is))
        }
        _ => Err("give If-Match with an ETag or *, or If-None-Match with *"),
    }
}

async fn data(State(store): State<SessionStore>, Path(id): Path<String>, request: Request<Body>) -> Response {
    let id = match session(&id) {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    let (head, body) = request.into_parts();
    let condition = match condition(&head.headers) {
        Ok(condition) => condition,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, "invalid", why),
    };
    let max = store.size_max();
    let Ok(body) = Limited::new(body, max + 1).collect().await.map(http_body_util::Collected::to_bytes) else {
        return refused(&SessionFault::TooLarge { size: max + 1, max });
    };
    let ask = Asked { id, method: head.method, condition, body };
    let is_relayed = head.headers.contains_key(RELAYED);
    let deadline = Instant::now() + store.patience();
    loop {
        let fault = match ask.of(&store).await {
            Ok(response) => return response,
            Err(fault) => fault,
        };
        let SessionFault::Elsewhere { worker } = &fault else { return refused(&fault) };
        if is_relayed {
            return refused(&fault);
        }
        if let Some(holder) = LeaseHolder::read(worker)
            && !holder.reach.is_empty()
        {
            match relay(&holder.reach, ask.request(&head.headers), max, store.patience()).await {
                // It hosts the session no more.
                Ok(response) if response.status() == StatusCode::MISDIRECTED_REQUEST => {}
                Ok(response) => return response.map(Body::new).into_response(),
                Err(RelayFault::Unsent) => {}
                Err(RelayFault::Unanswered) if ask.method == Method::GET => {}
                Err(RelayFault::Unanswered) => return refused(&SessionFault::Unacknowledged),
            }
        }
        if Instant::now() >= deadline {
            return refusal(StatusCode::SERVICE_UNAVAILABLE, "elsewhere", &fault.to_string());
        }
        sleep(PAUSE).await;
    }
}

/// A request for a session's data.
struct Asked {
    id: SessionId,
    method: Method,
    condition: WriteCondition,
    body: Bytes,
}

impl Asked {
    /// Asks this worker's store.
    async fn of(&self, store: &SessionStore) -> Result<Response, SessionFault> {
        let tagged = |tag: Tag, status: StatusCode, body: Bytes| {
            let mut response = Response::new(Body::from(body));
            *response.status_mut() = status;
            if let Ok(tag) = HeaderValue::from_str(&format!("\"{tag}\"")) {
                response.headers_mut().insert(ETAG, tag);
            }
            response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        };
        match self.method {
            Method::PUT => {
                let tag = store.write(self.id, Hint::default(), self.condition, self.body.clone()).await?;
                Ok(tagged(tag, StatusCode::NO_CONTENT, Bytes::new()))
            }
            Method::DELETE => {
                store.end(self.id, Hint::default()).await?;
                Ok(StatusCode::NO_CONTENT.into_response())
            }
            _ => match store.read(self.id, Hint::default()).await? {
                Some(held) => {
                    let mut response = tagged(held.tag, StatusCode::OK, held.data);
                    let kind = HeaderValue::from_static("application/octet-stream");
                    response.headers_mut().insert(CONTENT_TYPE, kind);
                    Ok(response)
                }
                None => Ok(refusal(StatusCode::NOT_FOUND, "not_found", "the session has no data")),
            },
        }
    }

    /// Makes the same request for another worker.
    fn request(&self, headers: &HeaderMap) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(self.body.clone()));
        *request.method_mut() = self.method.clone();
        if let Ok(target) = format!("/v1/session/{}", self.id).parse() {
            *request.uri_mut() = target;
        }
        for name in [IF_MATCH, IF_NONE_MATCH] {
            if let Some(value) = headers.get(&name) {
                request.headers_mut().insert(name, value.clone());
            }
        }
        // An admin interface takes no change that a web page could make.
        request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        request.headers_mut().insert(RELAYED, HeaderValue::from_static("1"));
        request
    }
}

async fn explain(State(store): State<SessionStore>, Path(id): Path<String>) -> Response {
    let id = match session(&id) {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    if let Some(page) = store.explain(id) {
        return Json(page).into_response();
    }
    match store.look_up(id).await {
        Ok(Some(page)) => Json(page).into_response(),
        Ok(None) => refusal(StatusCode::NOT_FOUND, "not_found", "no session server knows the session"),
        Err(fault) => refused(&fault),
    }
}

async fn release(State(store): State<SessionStore>, Path(id): Path<String>, headers: HeaderMap) -> Response {
    let id = match session(&id) {
        Ok(id) => id,
        Err(refusal) => return refusal,
    };
    let to = headers.get(WORKER).and_then(|value| value.to_str().ok()).unwrap_or_default();
    match store.release(id, to).await {
        Ok(()) => StatusCode::NO_CONTENT.into_response(),
        Err(fault @ ReleaseFault::NoWorker) => refusal(StatusCode::FORBIDDEN, "no_worker", &fault.to_string()),
        Err(fault @ ReleaseFault::Uncopied) => refusal(StatusCode::SERVICE_UNAVAILABLE, "uncopied", &fault.to_string()),
    }
}

async fn page(State(store): State<SessionStore>) -> Response {
    Json(store.page()).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_read() {
        let tag = Tag::new(3, b"cart");
        let text = format!("\"{tag}\"");
        for (name, value, expected) in [
            (IF_MATCH, "*", Ok(WriteCondition::Present)),
            (IF_NONE_MATCH, "*", Ok(WriteCondition::Empty)),
            (IF_MATCH, &*text, Ok(WriteCondition::Is(tag))),
            (IF_MATCH, "\"other\"", Ok(WriteCondition::Is(Tag { number: 0, digest: 0 }))),
            (IF_NONE_MATCH, &*text, Err("give If-Match with an ETag or *, or If-None-Match with *")),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(&name, HeaderValue::from_str(value).unwrap());
            assert_eq!(condition(&headers), expected, "{name}: {value}");
            headers.append(&name, HeaderValue::from_static("*"));
            assert_eq!(condition(&headers), Err("give one ETag"));
        }
        assert_eq!(condition(&HeaderMap::new()), Ok(WriteCondition::Any));
    }
}
