//! The application servers' words, over HTTP. Who may ask is the server's matter.
//!
//! | request | what |
//! |---|---|
//! | `POST /v1/invite?name=…&url=…&credits=…` | opens a channel; the answer is its lines, without an end |
//! | `POST /v1/invite/CHANNEL` | a signal: `{"ready": 2}`, `{"beat": true}`, `{"session": "ID"}` |
//! | `GET /v1/invite` | the state of all channels |

use axum::{
    Json, Router,
    body::Body,
    extract::{DefaultBodyLimit, Path, Query, State},
    response::{IntoResponse, Response},
    routing::post,
};
use http::{
    HeaderValue, StatusCode, Uri,
    header::{CACHE_CONTROL, CONTENT_TYPE},
};
use serde::Deserialize;
use serde_json::json;
use zerottl_invited::message::{INVITE_PATH, InviteSignal, MESSAGE_MAX};

use crate::{
    book::{CREDITS_MAX, Channel},
    gate::{InvitationGate, OpenError, SignalError},
    page::InvitePage,
    takeover::TakeoverError,
};

/// Characters of a server's name, at most.
const NAME_MAX: usize = 64;
/// Characters of a server's URL, at most.
const URL_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Opening {
    name: String,
    url: String,
    #[serde(default)]
    credits: u32,
}

/// An invitation that is not understood, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
enum OpeningError {
    #[error("`name` must have 1 to {NAME_MAX} letters, digits, - . and _")]
    Name,
    #[error("`url` must be http://HOST:PORT, without a path: requests are sent there in plain HTTP/1.1")]
    Url,
    #[error("`credits` must be at most {CREDITS_MAX}")]
    Credits,
}

impl Opening {
    /// Returns the URL without a slash at its end.
    fn check(&self) -> Result<&str, OpeningError> {
        let is_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
        if !(1..=NAME_MAX).contains(&self.name.len()) || !self.name.bytes().all(is_name) {
            return Err(OpeningError::Name);
        }
        if self.credits > CREDITS_MAX {
            return Err(OpeningError::Credits);
        }
        authority(&self.url).map(|_| self.url.trim_end_matches('/')).ok_or(OpeningError::Url)
    }
}

/// Returns host and port of `http://HOST:PORT`.
#[must_use]
pub fn authority(url: &str) -> Option<String> {
    let parsed: Uri = url.parse().ok().filter(|_| url.len() <= URL_MAX)?;
    let plain = parsed.scheme_str() == Some("http") && matches!(parsed.path(), "" | "/") && parsed.query().is_none();
    let authority = parsed.authority().filter(|authority| plain && !authority.as_str().contains('@'))?;
    let port = authority.port().map_or(Some(80), |port| port.as_str().parse().ok().filter(|port: &u16| *port > 0))?;
    (!authority.host().is_empty() && !authority.as_str().ends_with(':')).then(|| format!("{}:{port}", authority.host()))
}

/// Makes the routes.
pub fn router(gate: InvitationGate) -> Router {
    Router::new()
        .route(INVITE_PATH, post(open).get(state))
        .route(&format!("{INVITE_PATH}/{{channel}}"), post(signal))
        .layer(DefaultBodyLimit::max(MESSAGE_MAX))
        .with_state(gate)
}

fn refuse(status: StatusCode, error: &str, message: &str) -> Response {
    (status, Json(json!({ "error": error, "message": message }))).into_response()
}

async fn open(State(gate): State<InvitationGate>, opening: Query<Opening>) -> Response {
    let url = match opening.check() {
        Ok(url) => url,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, "invalid", &why.to_string()),
    };
    match gate.open(&opening.name, url, opening.credits) {
        Ok(lines) => {
            let mut response = Response::new(Body::from_stream(lines));
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-ndjson"));
            headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
            response
        }
        Err(why @ OpenError::Full) => refuse(StatusCode::SERVICE_UNAVAILABLE, "full", &why.to_string()),
    }
}

async fn signal(
    State(gate): State<InvitationGate>,
    Path(channel): Path<String>,
    Json(signal): Json<InviteSignal>,
) -> Response {
    let Ok(channel) = channel.parse::<Channel>() else { return no_channel() };
    match gate.signal(channel, &signal).await {
        Ok(answer) => Json(answer).into_response(),
        Err(SignalError::NoChannel) => no_channel(),
        Err(why) => {
            let (status, error) = match &why {
                SignalError::Takeover(TakeoverError::Elsewhere(_)) => (StatusCode::CONFLICT, "elsewhere"),
                SignalError::Takeover(TakeoverError::Ended) => (StatusCode::GONE, "ended"),
                SignalError::Session(_) => (StatusCode::BAD_REQUEST, "invalid"),
                SignalError::NoSessions => (StatusCode::NOT_IMPLEMENTED, "no-sessions"),
                _ => (StatusCode::SERVICE_UNAVAILABLE, "unavailable"),
            };
            refuse(status, error, &why.to_string())
        }
    }
}

fn no_channel() -> Response {
    refuse(StatusCode::NOT_FOUND, "no-channel", &SignalError::NoChannel.to_string())
}

async fn state(State(gate): State<InvitationGate>) -> Json<InvitePage> {
    Json(gate.page())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_application_servers() {
        for (url, expect) in [
            ("http://10.0.0.9:9000", Some("10.0.0.9:9000")),
            ("http://10.0.0.9:9000/", Some("10.0.0.9:9000")),
            ("http://[2001:db8::1]:1", Some("[2001:db8::1]:1")),
            ("http://app1", Some("app1:80")),
            ("https://10.0.0.9:9000", None),
            ("http://10.0.0.9:9000/path", None),
            ("http://10.0.0.9:9000?a", None),
            ("http://user@10.0.0.9:9000", None),
            ("http://10.0.0.9:0", None),
            ("http://10.0.0.9:", None),
            ("http://:80", None),
            ("10.0.0.9:9000", None),
            ("", None),
        ] {
            assert_eq!(authority(url).as_deref(), expect, "{url}");
        }
    }
}
