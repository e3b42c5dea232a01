//! An application server that invites workers of zerottl (`docs/site/invitation.md`), in Rust.
//!
//! ```text
//! GET /            counts the requests of a session, whose data the worker keeps
//! GET /sleep?ms=N  an answer after N milliseconds
//!
//! invited NAME HOST:PORT CREDITS http://WORKER…
//! ```
//!
//! If the workers ask for a token, it is in the environment's `INVITE_TOKEN`.

use std::{env, error::Error, io, sync::Arc, time::Duration};

use axum::{
    Router,
    extract::State,
    http::{HeaderMap, StatusCode, Uri},
};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{TcpListener, TcpStream},
    time::sleep,
};
use zerottl_invited::{Invitation, InvitedServer};

/// The state that all requests share.
struct App {
    name: String,
    token: Option<String>,
    invited: InvitedServer,
}

/// A request's credit. It goes back when the request ends, be it that nobody waits for the answer any more.
struct Credit {
    app: Arc<App>,
    session: Option<String>,
}

impl Drop for Credit {
    fn drop(&mut self) {
        self.app.invited.answered(self.session.as_deref());
    }
}

/// An answer of a worker.
struct Answer {
    status: u16,
    head: String,
    body: String,
}

impl App {
    /// Adds one to the session's data, which is a number; again, if somebody else has changed it meanwhile.
    async fn count(&self, session: &str) -> io::Result<u64> {
        loop {
            // Between two workers there is none for a moment.
            let Some(worker) = self.invited.worker() else {
                sleep(Duration::from_millis(10)).await;
                continue;
            };
            let known = self.ask(&worker, "GET", session, "", "").await?;
            let (count, condition) = match (known.status, known.field("etag")) {
                (200, Some(tag)) => (known.body.parse().unwrap_or(0) + 1, format!("If-Match: {tag}\r\n")),
                (404, _) => (1, "If-None-Match: *\r\n".to_owned()),
                (status, _) => return Err(io::Error::other(format!("{status} {}", known.body))),
            };
            let kept = self.ask(&worker, "PUT", session, &condition, &count.to_string()).await?;
            match kept.status {
                200 | 201 | 204 => return Ok(count),
                412 => {}
                status => return Err(io::Error::other(format!("{status} {}", kept.body))),
            }
        }
    }

    /// Asks a worker about a session's data.
    async fn ask(&self, worker: &str, method: &str, session: &str, fields: &str, body: &str) -> io::Result<Answer> {
        let place = worker.strip_prefix("http://").unwrap_or(worker);
        let token = self.token.as_ref().map_or(String::new(), |token| format!("Authorization: Bearer {token}\r\n"));
        let mut stream = TcpStream::connect(place).await?;
        let request = format!(
            "{method} /v1/session/{session} HTTP/1.1\r\nHost: {place}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n{token}{fields}Connection: close\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await?;
        let mut text = String::new();
        stream.read_to_string(&mut text).await?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or(io::ErrorKind::UnexpectedEof)?;
        let status = head.get(9..12).and_then(|digits| digits.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
    }
}

impl Answer {
    fn field(&self, name: &str) -> Option<&str> {
        let mut fields = self.head.lines().filter_map(|line| line.split_once(": "));
        fields.find(|(field, _)| field.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

async fn answer(State(app): State<Arc<App>>, target: Uri, headers: HeaderMap) -> (StatusCode, String) {
    let session = headers.get("x-zerottl-session").and_then(|id| id.to_str().ok()).map(str::to_owned);
    // Its drop is what says that the next request may come.
    let credit = Credit { app: Arc::clone(&app), session };
    if target.path() == "/sleep" {
        let milliseconds = target.query().and_then(|query| query.strip_prefix("ms=")).and_then(|ms| ms.parse().ok());
        sleep(Duration::from_millis(milliseconds.unwrap_or(0))).await;
        return (StatusCode::OK, format!("{} -\n", app.name));
    }
    match &credit.session {
        None => (StatusCode::OK, format!("{} -\n", app.name)),
        Some(session) => match app.count(session).await {
            Ok(count) => (StatusCode::OK, format!("{} {count}\n", app.name)),
            // Its worker stopped: whether the data were kept is not known.
            Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{} {why}\n", app.name)),
        },
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let [name, listen, credits, workers @ ..] = &arguments[..] else {
        return Err("invited NAME HOST:PORT CREDITS http://WORKER…".into());
    };
    // First: what the invitation brings finds an open door.
    let listener = TcpListener::bind(listen).await?;
    let token = env::var("INVITE_TOKEN").ok();
    let invited = InvitedServer::start(Invitation {
        workers: workers.to_vec(),
        name: name.clone(),
        url: format!("http://{listen}"),
        credits: credits.parse()?,
        token: token.clone(),
    });
    let app = App { name: name.clone(), token, invited };
    axum::serve(listener, Router::new().fallback(answer).with_state(Arc::new(app))).await?;
    Ok(())
}
