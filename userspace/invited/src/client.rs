//! An application server's end of a channel.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use bytes::BytesMut;
use http::{Response, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{
    sync::Notify,
    time::{sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{info, warn};

pub use crate::http::AskError;
use crate::{
    http::{Connection, whole},
    message::{INVITE_PATH, InviteEvent, InviteSignal, InviteWelcome, LINE_MAX},
};

/// Sessions that are named to another worker, at most: the latest.
const SESSIONS_MAX: usize = 100_000;
/// How long a connection and a welcome may take.
const LIMIT: Duration = Duration::from_secs(5);
/// Between two attempts, when no worker takes the invitation.
const AGAIN: Duration = Duration::from_millis(200);
/// Workers that are known, at most.
const WORKERS_MAX: usize = 64;
/// How long a worker may take over a session.
const TAKEOVER: Duration = Duration::from_mins(1);

/// The offer of an application server, and to whom it is made.
#[derive(Clone, Debug)]
pub struct Invitation {
    /// Where workers take invitations, `http://HOST:PORT`: the first that answers. Each names the others.
    pub workers: Vec<String>,
    /// This application server's name.
    pub name: String,
    /// Where it is asked, `http://HOST:PORT`.
    pub url: String,
    /// Requests that it takes at a time.
    pub credits: u32,
    /// The token that workers ask for.
    pub token: Option<String>,
}

/// An application server that has invited workers. Dropped, it invites no more.
#[derive(Debug)]
pub struct InvitedServer {
    shared: Arc<Shared>,
    _cancel: DropGuard,
}

#[derive(Debug)]
struct Shared {
    invitation: Invitation,
    state: Mutex<ServerState>,
    /// Something is to be said.
    news: Notify,
}

#[derive(Debug, Default)]
struct ServerState {
    workers: Vec<String>,
    /// The worker that has the channel.
    current: Option<String>,
    ready: u32,
    sessions: HashSet<String>,
    /// In the order in which they came.
    order: VecDeque<String>,
}

/// The reason why a channel has ended.
#[derive(Debug, thiserror::Error)]
enum ChannelError {
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("the worker has closed the channel")]
    Closed,
    #[error("the worker closes the channel: {0}")]
    Bye(String),
    #[error("no beat of the worker for {0:?}")]
    Stalled(Duration),
    #[error("a line of the worker is too long")]
    TooLong,
}

impl InvitedServer {
    /// Invites workers, from now on. Inside a tokio runtime.
    #[must_use]
    pub fn start(invitation: Invitation) -> Self {
        let state = ServerState { workers: invitation.workers.clone(), ..ServerState::default() };
        let shared = Arc::new(Shared { invitation, state: Mutex::new(state), news: Notify::new() });
        let cancel = CancellationToken::new();
        let running = Arc::clone(&shared);
        tokio::spawn(cancel.clone().run_until_cancelled_owned(async move { running.run().await }));
        Self { shared, _cancel: cancel.drop_guard() }
    }

    /// Notes that a request was answered: the next may come. `session` is what its `X-Zerottl-Session` said.
    pub fn answered(&self, session: Option<&str>) {
        {
            let mut state = self.shared.state();
            state.ready = state.ready.saturating_add(1);
            if let Some(session) = session {
                state.note(session);
            }
        }
        self.shared.news.notify_one();
    }

    /// Notes that a session is over: no worker is to take it over any more.
    pub fn ended(&self, session: &str) {
        self.shared.state().sessions.remove(session);
    }

    /// Returns the worker that has the channel.
    #[must_use]
    pub fn worker(&self) -> Option<String> {
        self.shared.state().current.clone()
    }
}

impl ServerState {
    fn note(&mut self, session: &str) {
        if self.sessions.insert(session.to_owned()) {
            self.order.push_back(session.to_owned());
        }
        while self.order.len() > SESSIONS_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.sessions.remove(&oldest);
            }
        }
    }

    fn learn(&mut self, welcome: &InviteWelcome) {
        for worker in &welcome.workers {
            if !self.workers.contains(&worker.url) && self.workers.len() < WORKERS_MAX {
                self.workers.push(worker.url.clone());
            }
        }
    }
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, ServerState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a channel at one worker after another.
    async fn run(&self) {
        let mut turn = 0_usize;
        loop {
            let worker = {
                let state = self.state();
                let count = state.workers.len().max(1);
                state.workers.get(turn % count).cloned()
            };
            let Some(worker) = worker else { return };
            let Err(why) = self.channel(&worker).await;
            let was_open = self.state().current.take().is_some();
            if was_open {
                warn!(worker, %why, "the worker has stopped: another one goes on");
            } else {
                sleep(AGAIN).await;
            }
            turn += 1;
        }
    }

    /// Keeps a channel at a worker until it ends.
    async fn channel(&self, worker: &str) -> Result<std::convert::Infallible, ChannelError> {
        let token = self.invitation.token.as_deref();
        let mut connection = Connection::open(worker, token, LIMIT).await?;
        let Invitation { name, url, credits, .. } = &self.invitation;
        let path = format!("{INVITE_PATH}?name={name}&url={url}");
        let response = timeout(LIMIT, connection.post(&path, Vec::new())).await.map_err(|_| AskError::Late)??;
        let mut lines = Lines { response, buffer: BytesMut::new() };
        let first = timeout(LIMIT, lines.next()).await.map_err(|_| AskError::Late)??;
        let InviteEvent::Welcome(welcome) = first else { return Err(ChannelError::Closed) };
        let sessions: Vec<String> = {
            let mut state = self.state();
            state.learn(&welcome);
            state.current = Some(worker.to_owned());
            // Not with the channel: what comes is to find the worker known.
            state.ready = *credits;
            state.sessions.iter().cloned().collect()
        };
        info!(worker, channel = welcome.channel, "a worker is invited");
        let path = format!("{INVITE_PATH}/{}", welcome.channel);
        tokio::select! {
            ended = lines.watch(Duration::from_millis(welcome.stall_ms)) => ended,
            ended = self.speak(worker, &path, Duration::from_millis(welcome.beat_ms)) => ended,
            ended = self.name(worker, &path, sessions) => ended,
        }
    }

    /// Says again and again that this server lives, and how many requests it takes.
    async fn speak(&self, worker: &str, path: &str, beat: Duration) -> Result<std::convert::Infallible, ChannelError> {
        let mut connection = Connection::open(worker, self.invitation.token.as_deref(), LIMIT).await?;
        loop {
            let ready = std::mem::take(&mut self.state().ready);
            let signal = match ready {
                0 => InviteSignal { beat: Some(true), ..InviteSignal::default() },
                ready => InviteSignal { ready: Some(ready), ..InviteSignal::default() },
            };
            say(&mut connection, path, &signal, LIMIT).await?;
            if self.state().ready == 0 {
                // None the sooner than something is to be said; a beat otherwise.
                let _ = timeout(beat, self.news.notified()).await;
            }
        }
    }

    /// Names the sessions that a worker before this one had.
    async fn name(
        &self,
        worker: &str,
        path: &str,
        sessions: Vec<String>,
    ) -> Result<std::convert::Infallible, ChannelError> {
        let mut connection = None;
        for session in sessions {
            let mut open = match connection.take() {
                Some(open) => open,
                None => Connection::open(worker, self.invitation.token.as_deref(), LIMIT).await?,
            };
            let signal = InviteSignal { session: Some(session.clone()), ..InviteSignal::default() };
            match say(&mut open, path, &signal, TAKEOVER).await {
                Ok(()) => {}
                Err(AskError::Status(status, _)) if status == StatusCode::NOT_FOUND => {
                    return Err(ChannelError::Closed);
                }
                Err(AskError::Status(status, why)) => {
                    info!(worker, session, %status, why, "a session does not go on at this worker");
                    if matches!(status, StatusCode::GONE | StatusCode::CONFLICT) {
                        self.state().sessions.remove(&session);
                    }
                }
                Err(why) => return Err(why.into()),
            }
            connection = Some(open);
        }
        std::future::pending().await
    }
}

/// Sends a signal.
async fn say(connection: &mut Connection, path: &str, signal: &InviteSignal, limit: Duration) -> Result<(), AskError> {
    let body = serde_json::to_vec(signal)?;
    let answered = async { whole(connection.post(path, body).await?).await };
    timeout(limit, answered).await.map_err(|_| AskError::Late)?.map(drop)
}

/// The worker's lines.
struct Lines {
    response: Response<Incoming>,
    buffer: BytesMut,
}

impl Lines {
    /// Reads the next one.
    async fn next(&mut self) -> Result<InviteEvent, ChannelError> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let line = self.buffer.split_to(end + 1);
                return serde_json::from_slice(&line).map_err(|error| AskError::from(error).into());
            }
            if self.buffer.len() > LINE_MAX {
                return Err(ChannelError::TooLong);
            }
            let frame = self.response.frame().await.ok_or(ChannelError::Closed)?.map_err(AskError::from)?;
            if let Some(bytes) = frame.data_ref() {
                self.buffer.extend_from_slice(bytes);
            }
        }
    }

    /// Watches the worker until it stops, or says nothing for so long.
    async fn watch(&mut self, stall: Duration) -> Result<std::convert::Infallible, ChannelError> {
        loop {
            match timeout(stall, self.next()).await.map_err(|_| ChannelError::Stalled(stall))?? {
                InviteEvent::Bye { why } => return Err(ChannelError::Bye(why)),
                InviteEvent::Welcome(_) | InviteEvent::Beat => {}
            }
        }
    }
}
