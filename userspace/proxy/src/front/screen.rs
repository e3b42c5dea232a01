//! Whether a request may pass, by the word of another server, which is asked about it as nginx's `auth_request` does.

use std::{sync::Arc, time::Duration};

use http::{
    HeaderName, HeaderValue, Request, Response, StatusCode, Uri,
    header::{AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, COOKIE, HOST, USER_AGENT, WWW_AUTHENTICATE},
    request::Parts,
};
use http_body_util::{BodyExt as _, Limited};
use tokio::time::Instant;
use tracing::warn;

use super::{
    FrontCounters, ProxyBody, ScreenResult, backend::Backend, counters::BackendCounters, headers::SESSION,
    log_limit::SharedLogLimit, request_body::RequestBody,
};
use zerottl_core::model::{Screen, WebLimits};
use zerottl_site::forwarded;

/// How long the screen may take, at most.
const LIMIT: Duration = Duration::from_secs(5);
/// Bytes of an answer without meaning that are read, so that its connection can be used again.
const UNREAD_MAX: usize = 16 * 1024;
/// The request's own method and target.
const METHOD: HeaderName = HeaderName::from_static("x-original-method");
const TARGET: HeaderName = HeaderName::from_static("x-original-uri");

/// The server that is asked.
#[derive(Debug)]
pub(super) struct Screener {
    backend: Arc<Backend>,
    target: Uri,
    limit: Duration,
    failure_log: SharedLogLimit,
}

impl Screener {
    /// Makes one of the configuration.
    pub(super) fn new(screen: &Screen, limits: &WebLimits) -> Self {
        let counted = Arc::new(BackendCounters::new(&screen.at.url));
        let authority = &screen.at.authority;
        Self {
            backend: Arc::new(Backend::unwatched(authority, usize::MAX, counted, limits.connect_timeout)),
            target: screen.path.parse().unwrap_or_else(|_| Uri::from_static("/")),
            limit: limits.response_timeout.min(LIMIT),
            failure_log: SharedLogLimit::new(),
        }
    }

    pub(super) fn backend(&self) -> &Arc<Backend> {
        &self.backend
    }

    pub(super) fn limit(&self) -> Duration {
        self.limit
    }

    /// Makes the question about a request: a GET with its method, its target, and what says who asks. None if its target cannot be
    /// written.
    pub(super) fn question(&self, head: &Parts) -> Option<Request<RequestBody>> {
        let mut question = Request::new(RequestBody::none());
        *question.uri_mut() = self.target.clone();
        let headers = question.headers_mut();
        for name in [HOST, COOKIE, AUTHORIZATION, USER_AGENT, SESSION].iter().chain(&[
            forwarded::FOR,
            forwarded::PROTO,
            forwarded::HOST,
            forwarded::PORT,
        ]) {
            for value in head.headers.get_all(name) {
                headers.append(name, value.clone());
            }
        }
        if !headers.contains_key(HOST) {
            headers.insert(HOST, HeaderValue::from_str(self.backend.authority()).ok()?);
        }
        headers.insert(METHOD, HeaderValue::from_str(head.method.as_str()).ok()?);
        let target = head.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        headers.insert(TARGET, HeaderValue::from_str(target).ok()?);
        Some(question)
    }

    /// Says in the log that nothing passes, while that is so.
    pub(super) fn log(&self, result: ScreenResult) {
        if result == ScreenResult::Failed
            && let Some(unsaid) = self.failure_log.admit(Instant::now())
        {
            let screen = &self.backend.counted().url;
            warn!(
                screen,
                status = 503,
                unsaid,
                "the screen does not answer 2xx, 401 or 403 in time: a request does not pass"
            );
        }
    }
}

/// The fate of a request by the screen's answer.
#[derive(Debug)]
pub(super) enum Screening {
    /// It may pass.
    Passed,
    /// It is answered with this.
    Refused(Response<ProxyBody>),
    /// It is answered by 503.
    Failed,
}

impl Screening {
    /// Reads the screen's answer. Only 2xx lets a request pass.
    pub(super) async fn of(answer: Response<ProxyBody>) -> Self {
        let (head, body) = answer.into_parts();
        match head.status {
            status if status.is_success() => {
                // What it says is not for anybody.
                let _ = Limited::new(body, UNREAD_MAX).collect().await;
                Self::Passed
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                let mut refusal = Response::new(body);
                *refusal.status_mut() = head.status;
                for name in [CONTENT_TYPE, CONTENT_LENGTH, WWW_AUTHENTICATE] {
                    for value in head.headers.get_all(&name) {
                        refusal.headers_mut().append(&name, value.clone());
                    }
                }
                refusal.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
                Self::Refused(refusal)
            }
            _ => Self::Failed,
        }
    }

    /// Counts it, and returns the screen's own answer to a request that does not pass.
    pub(super) fn counted(self, counters: &FrontCounters) -> (ScreenResult, Option<Response<ProxyBody>>) {
        let (result, refusal) = match self {
            Self::Passed => (ScreenResult::Passed, None),
            Self::Refused(refusal) => (ScreenResult::Refused, Some(refusal)),
            Self::Failed => (ScreenResult::Failed, None),
        };
        counters.count_screened(result);
        (result, refusal)
    }
}
