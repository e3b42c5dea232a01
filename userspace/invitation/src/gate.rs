//! The book with its clock and its waiting requests.

use std::{
    collections::HashMap,
    fmt,
    pin::Pin,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    task::{Context, Poll},
    time::{Duration, Instant},
};

use bytes::Bytes;
use futures_util::Stream;
use tokio::{
    sync::{mpsc, oneshot},
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};
use zerottl_core::{model::InviteConfig, session_id::SessionId};
use zerottl_invited::message::{InviteEvent, InviteSignal, InviteWelcome, OtherWorker, SignalAnswer};

use crate::{
    book::{AskedSession, BookEvent, BookLimits, CHANNELS_MAX, Channel, ChannelEnd, CreditAnswer, InvitationBook},
    page::InvitePage,
    takeover::{SessionFetcher, TakeoverError, take_over},
};

/// Lines of a channel that wait to be taken.
const LINES_MAX: usize = 16;
/// Sessions that are taken over at a time, at most.
const TAKEOVERS_MAX: usize = 256;
/// Bounds of the time between two looks at what has become due.
const LOOK: [Duration; 2] = [Duration::from_millis(10), Duration::from_millis(100)];

/// The invitations of a worker. Clones are the same.
#[derive(Clone)]
pub struct InvitationGate(Arc<GateInner>);

struct GateInner {
    welcome: InviteWelcome,
    beat: Duration,
    fetcher: Option<Arc<dyn SessionFetcher>>,
    takeovers: tokio::sync::Semaphore,
    taken_over: AtomicU64,
    not_taken_over: AtomicU64,
    state: Mutex<GateState>,
}

struct GateState {
    book: InvitationBook,
    waiting: HashMap<u64, oneshot::Sender<Grant>>,
    lines: HashMap<Channel, mpsc::Sender<Bytes>>,
}

/// A channel that cannot be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OpenError {
    /// As many are open as may be.
    #[error("{CHANNELS_MAX} application servers have a channel here, which is as many as may")]
    Full,
}

/// A signal that changes nothing, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignalError {
    /// There is no such channel.
    #[error("there is no such channel: open one by POST /v1/invite")]
    NoChannel,
    /// The session's ID is none.
    #[error(transparent)]
    Session(#[from] zerottl_core::session_id::SessionIdError),
    /// Sessions are not kept here.
    #[error("this worker keeps no sessions' data: [web.session] names no servers and no journal")]
    NoSessions,
    /// As many sessions are taken over as may be.
    #[error("{TAKEOVERS_MAX} sessions are taken over at this moment, which is as many as may")]
    Busy,
    /// The session cannot be taken over.
    #[error(transparent)]
    Takeover(#[from] TakeoverError),
}

/// The reason why a request goes to no application server.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoGrant {
    /// As many wait as may.
    #[error("as many requests wait for an application server as may")]
    Full,
    /// None was ready in time.
    #[error("no application server was ready in time")]
    Late,
}

/// A credit of an application server, for one request. It goes back unless the request is sent.
pub struct Grant {
    gate: InvitationGate,
    /// The server's channel.
    pub channel: Channel,
    /// The server's name.
    pub name: Arc<str>,
    /// Where it is asked.
    pub url: Arc<str>,
    is_sent: bool,
}

impl Grant {
    /// Notes that a request is sent to the server.
    pub fn sent(mut self) {
        self.is_sent = true;
    }
}

impl fmt::Debug for Grant {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Grant").field("channel", &self.channel).field("name", &self.name).finish_non_exhaustive()
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if !self.is_sent {
            self.gate.change(|book, now| book.give_back(self.channel, now));
        }
    }
}

/// The worker's lines of a channel. The channel ends with them.
pub struct ChannelLines {
    gate: InvitationGate,
    channel: Channel,
    lines: mpsc::Receiver<Bytes>,
}

impl fmt::Debug for ChannelLines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ChannelLines").field("channel", &self.channel).finish_non_exhaustive()
    }
}

impl Stream for ChannelLines {
    type Item = Result<Bytes, std::convert::Infallible>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.lines.poll_recv(cx).map(|line| line.map(Ok))
    }
}

impl Drop for ChannelLines {
    fn drop(&mut self) {
        self.gate.change(|book, now| book.close(self.channel, ChannelEnd::Left, now));
    }
}

/// A request that waits: forgotten when nobody waits any more.
struct Waiting<'a> {
    gate: &'a InvitationGate,
    number: u64,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.waiting.remove(&self.number);
        state.book.forget(self.number);
    }
}

impl fmt::Debug for InvitationGate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InvitationGate").field("worker", &self.0.welcome.worker).finish_non_exhaustive()
    }
}

impl InvitationGate {
    /// Starts to take invitations, until `cancel`. Inside a tokio runtime.
    #[must_use]
    pub fn start(
        config: &InviteConfig,
        worker: &str,
        fetcher: Option<Arc<dyn SessionFetcher>>,
        cancel: CancellationToken,
    ) -> Self {
        let other =
            |url: &zerottl_core::model::Backend| OtherWorker { name: url.authority.clone(), url: url.url.clone() };
        let workers: Vec<_> = config.workers.iter().map(other).collect();
        // Without another worker, nobody else has a session that is not known.
        let hold = if workers.is_empty() { Duration::ZERO } else { config.stall.min(config.patience / 2) };
        let limits = BookLimits { stall: config.stall, waiting: config.waiting, patience: config.patience, hold };
        let milliseconds = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let gate = Self(Arc::new(GateInner {
            welcome: InviteWelcome {
                channel: String::new(),
                worker: worker.to_owned(),
                beat_ms: milliseconds(config.beat),
                stall_ms: milliseconds(config.stall),
                workers,
            },
            beat: config.beat,
            fetcher,
            takeovers: tokio::sync::Semaphore::new(TAKEOVERS_MAX),
            taken_over: AtomicU64::new(0),
            not_taken_over: AtomicU64::new(0),
            state: Mutex::new(GateState {
                book: InvitationBook::new(limits),
                waiting: HashMap::new(),
                lines: HashMap::new(),
            }),
        }));
        let looking = gate.clone();
        tokio::spawn(async move {
            cancel.run_until_cancelled_owned(looking.clone().look()).await;
            // They go on at another worker before this one is gone.
            looking.change(InvitationBook::close_all);
        });
        gate
    }

    /// Opens a channel of an application server. Returns its lines, the first of which is the welcome.
    pub fn open(&self, name: &str, url: &str, credits: u32) -> Result<ChannelLines, OpenError> {
        let (channel, (give, lines)) = (Channel(rand::random()), mpsc::channel(LINES_MAX));
        let welcome = InviteWelcome { channel: channel.to_string(), ..self.0.welcome.clone() };
        let _ = give.try_send(line(&InviteEvent::Welcome(welcome)));
        let is_open = self.change_state(|state, now| {
            let is_open = state.book.open(channel, (name, url), credits, now);
            is_open.then(|| state.lines.insert(channel, give)).is_some()
        });
        if !is_open {
            return Err(OpenError::Full);
        }
        info!(server = name, url, %channel, credits, "an application server invites");
        Ok(ChannelLines { gate: self.clone(), channel, lines })
    }

    /// Does what an application server says. A session that it names is here when this returns.
    pub async fn signal(&self, channel: Channel, signal: &InviteSignal) -> Result<SignalAnswer, SignalError> {
        // Its credits count at once: a request of the session waits for it.
        let credits = self.change(|book, now| book.ready(channel, signal.ready.unwrap_or(0), now));
        let mut answer = SignalAnswer { credits: credits.ok_or(SignalError::NoChannel)?, session: None };
        if let Some(id) = &signal.session {
            let taken = self.take_over(channel, id.parse()?).await;
            match &taken {
                Ok(_) => _ = self.0.taken_over.fetch_add(1, Relaxed),
                // A server that is not told of a session's end names it all the same: nothing is lost.
                Err(SignalError::Takeover(TakeoverError::Ended)) => {}
                Err(_) => _ = self.0.not_taken_over.fetch_add(1, Relaxed),
            }
            answer.session = Some(taken?);
        }
        Ok(answer)
    }

    async fn take_over(
        &self,
        channel: Channel,
        id: SessionId,
    ) -> Result<zerottl_invited::message::SessionTaken, SignalError> {
        let fetcher = self.0.fetcher.as_deref().ok_or(SignalError::NoSessions)?;
        let _place = self.0.takeovers.try_acquire().map_err(|_| SignalError::Busy)?;
        let taken = take_over(fetcher, id).await?;
        if !self.change(|book, now| book.place(channel, id, now)) {
            return Err(SignalError::NoChannel);
        }
        info!(session = %id, %channel, bytes = taken.bytes, "a session goes on here: its application server named it");
        Ok(taken)
    }

    /// Waits for an application server's credit, of others than those at `avoid`.
    pub async fn acquire(&self, session: Option<AskedSession>, avoid: Vec<Channel>) -> Result<Grant, NoGrant> {
        let (number, granted) = {
            let mut state = self.state();
            match state.book.ask(session, avoid, Instant::now()) {
                CreditAnswer::Granted(channel) => return self.granted(&state.book, channel).ok_or(NoGrant::Late),
                CreditAnswer::Full => return Err(NoGrant::Full),
                CreditAnswer::Waits(number) => {
                    let (give, granted) = oneshot::channel();
                    state.waiting.insert(number, give);
                    (number, granted)
                }
            }
        };
        let _waiting = Waiting { gate: self, number };
        granted.await.map_err(|_| NoGrant::Late)
    }

    /// Whether a channel is open.
    #[must_use]
    pub fn is_open(&self, channel: Channel) -> bool {
        self.state().book.target(channel).is_some()
    }

    /// Says how things stand.
    #[must_use]
    pub fn page(&self) -> InvitePage {
        let page = self.state().book.page(Instant::now());
        let (takeovers, takeover_failures) = (self.0.taken_over.load(Relaxed), self.0.not_taken_over.load(Relaxed));
        InvitePage { takeovers, takeover_failures, ..page }
    }

    fn state(&self) -> std::sync::MutexGuard<'_, GateState> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn granted(&self, book: &InvitationBook, channel: Channel) -> Option<Grant> {
        let (name, url) = book.target(channel)?;
        Some(Grant { gate: self.clone(), channel, name, url, is_sent: false })
    }

    fn change<T>(&self, change: impl FnOnce(&mut InvitationBook, Instant) -> T) -> T {
        self.change_state(|state, now| change(&mut state.book, now))
    }

    /// Changes the book, and tells whoever is concerned.
    fn change_state<T>(&self, change: impl FnOnce(&mut GateState, Instant) -> T) -> T {
        let (result, told) = {
            let mut state = self.state();
            let result = change(&mut state, Instant::now());
            (result, self.tell(&mut state))
        };
        // A credit that nobody waits for any more goes back, which changes the book again.
        for (waiter, grant) in told {
            let _ = waiter.send(grant);
        }
        result
    }

    fn tell(&self, state: &mut GateState) -> Vec<(oneshot::Sender<Grant>, Grant)> {
        let mut told = Vec::new();
        for event in state.book.events() {
            match event {
                BookEvent::Granted { waiter, channel } => {
                    if let Some(grant) = self.granted(&state.book, channel)
                        && let Some(waiter) = state.waiting.remove(&waiter)
                    {
                        told.push((waiter, grant));
                    }
                }
                BookEvent::Expired { waiter } => drop(state.waiting.remove(&waiter)),
                BookEvent::Closed { channel, end } => {
                    let Some(lines) = state.lines.remove(&channel) else { continue };
                    let why = end.text();
                    let _ = lines.try_send(line(&InviteEvent::Bye { why: why.to_owned() }));
                    match end {
                        ChannelEnd::Left | ChannelEnd::Replaced | ChannelEnd::Stopping => info!(%channel, "{why}"),
                        ChannelEnd::Stalled | ChannelEnd::Unread => warn!(%channel, "{why}: it gets no more requests"),
                    }
                }
            }
        }
        told
    }

    /// Looks at what has become due, again and again, and sends beats.
    async fn look(self) {
        let mut looks = interval((self.0.beat / 4).clamp(LOOK[0], LOOK[1]));
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut beaten = Instant::now();
        let beat = line(&InviteEvent::Beat);
        loop {
            looks.tick().await;
            self.change(InvitationBook::tick);
            if beaten.elapsed() < self.0.beat {
                continue;
            }
            beaten = Instant::now();
            let unread: Vec<_> = {
                let state = self.state();
                let full = |lines: &mpsc::Sender<Bytes>| lines.try_send(beat.clone()).is_err();
                state.lines.iter().filter(|(_, lines)| full(lines)).map(|(channel, _)| *channel).collect()
            };
            for channel in unread {
                self.change(|book, now| book.close(channel, ChannelEnd::Unread, now));
            }
        }
    }
}

fn line(event: &InviteEvent) -> Bytes {
    let mut line = serde_json::to_vec(event).unwrap_or_default();
    line.push(b'\n');
    line.into()
}

#[cfg(test)]
mod tests;
