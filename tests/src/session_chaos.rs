//! Sessions under load while machines die: clients that read and change them, each change made of the state before it by compare
//! and swap, and what they have seen.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{
            AtomicBool, AtomicU64, AtomicUsize,
            Ordering::{Relaxed, SeqCst},
        },
    },
    thread,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use zerottl_core::session_id::SessionId;

use crate::session_history::{Outcome, SessionAct, SessionEvent, SessionHistory};

/// A client's pause between two sessions, at most.
const PACE: Duration = Duration::from_millis(40);

/// The load of one run.
#[derive(Debug)]
pub struct SessionLoad {
    workers: Vec<SocketAddr>,
    sessions: Vec<(SessionId, Mutex<SessionHistory>)>,
    start: Instant,
    changes: AtomicU64,
    stop: AtomicBool,
    /// Clients wait.
    pause: AtomicBool,
    /// Clients that do not.
    busy: AtomicUsize,
    /// Requests that were answered.
    pub answered: AtomicU64,
    /// Requests that were not, or refused.
    pub failed: AtomicU64,
    /// Why, by the word of the refusal.
    reasons: Mutex<BTreeMap<String, u64>>,
    /// The parts of a thousand requests that end a session.
    ends: u32,
}

impl SessionLoad {
    /// Makes one on so many sessions.
    #[must_use]
    pub fn new(workers: Vec<SocketAddr>, sessions: usize, ends: u32) -> Arc<Self> {
        let session = |_| (SessionId(rand::random()), Mutex::default());
        Arc::new(Self {
            workers,
            sessions: (0..sessions).map(session).collect(),
            start: Instant::now(),
            changes: AtomicU64::new(1),
            stop: AtomicBool::new(false),
            pause: AtomicBool::new(false),
            busy: AtomicUsize::new(0),
            answered: AtomicU64::new(0),
            failed: AtomicU64::new(0),
            reasons: Mutex::default(),
            ends,
        })
    }

    /// Ends the clients.
    pub fn stop(&self) {
        self.stop.store(true, Relaxed);
    }

    /// Returns how many requests were refused for which reason since this was asked last.
    pub fn reasons(&self) -> BTreeMap<String, u64> {
        std::mem::take(&mut self.reasons.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Returns, of the sessions that could not have been so, why and their last requests. No request is under way meanwhile.
    pub fn violations(&self) -> Vec<(SessionId, String, String)> {
        self.pause.store(true, SeqCst);
        while self.busy.load(SeqCst) > 0 {
            thread::sleep(Duration::from_millis(5));
        }
        let checked = self.sessions.iter().filter_map(|(id, history)| {
            let mut history = history.lock().unwrap_or_else(PoisonError::into_inner);
            history.check().err().map(|why| (*id, why, history.lines()))
        });
        let violations = checked.collect();
        self.pause.store(false, SeqCst);
        violations
    }

    /// Returns how many sessions have data for certain.
    #[must_use]
    pub fn with_data(&self) -> u64 {
        let histories = self.sessions.iter().map(|(_, history)| history.lock().unwrap_or_else(PoisonError::into_inner));
        histories.filter(|history| history.has_data()).count() as u64
    }

    /// Returns the sessions.
    pub fn ids(&self) -> impl Iterator<Item = SessionId> {
        self.sessions.iter().map(|(id, _)| *id)
    }

    /// Returns how many requests there have been.
    #[must_use]
    pub fn requests(&self) -> usize {
        let histories = self.sessions.iter().map(|(_, history)| history.lock().unwrap_or_else(PoisonError::into_inner));
        histories.map(|history| history.count()).sum()
    }

    /// Reads and changes sessions at random, until it is stopped. Connections are made by `connect`.
    pub async fn client<C>(self: Arc<Self>, connect: C)
    where
        C: AsyncFn(SocketAddr) -> std::io::Result<TcpStream>,
    {
        let mut connections: BTreeMap<SocketAddr, TcpStream> = BTreeMap::new();
        while !self.stop.load(Relaxed) {
            self.busy.fetch_add(1, SeqCst);
            if !self.pause.load(SeqCst) {
                self.once(&connect, &mut connections).await;
            }
            self.busy.fetch_sub(1, SeqCst);
            // Enough that each session is asked for all the time, and so little that the machine's own speed is not what is tried.
            sleep(PACE.mul_f64(rand::random())).await;
        }
    }

    /// Reads a session and changes it, or ends it.
    async fn once<C>(&self, connect: &C, connections: &mut BTreeMap<SocketAddr, TcpStream>)
    where
        C: AsyncFn(SocketAddr) -> std::io::Result<TcpStream>,
    {
        let (id, history) = &self.sessions[rand::random::<u32>() as usize % self.sessions.len()];
        let keep = |event: SessionEvent| history.lock().unwrap_or_else(PoisonError::into_inner).push(event);
        if rand::random::<u32>() % 1000 < self.ends {
            keep(self.ask(connect, connections, *id, SessionAct::End, None).await.0);
            return;
        }
        let (event, tag) = self.ask(connect, connections, *id, SessionAct::Read, None).await;
        keep(event);
        let of = match event.outcome {
            Outcome::Read(change) => Some(change),
            Outcome::Empty => None,
            Outcome::Ended => return,
            _ => {
                sleep(Duration::from_millis(5)).await;
                return;
            }
        };
        let change = SessionAct::Write { of, change: self.changes.fetch_add(1, Relaxed) };
        keep(self.ask(connect, connections, *id, change, tag).await.0);
    }

    async fn ask<C>(
        &self,
        connect: &C,
        connections: &mut BTreeMap<SocketAddr, TcpStream>,
        id: SessionId,
        act: SessionAct,
        tag: Option<String>,
    ) -> (SessionEvent, Option<String>)
    where
        C: AsyncFn(SocketAddr) -> std::io::Result<TcpStream>,
    {
        let worker = self.workers[rand::random::<u32>() as usize % self.workers.len()];
        let (method, condition, body) = match (act, tag) {
            (SessionAct::Read, _) => ("GET", String::new(), String::new()),
            (SessionAct::End, _) => ("DELETE", String::new(), String::new()),
            (SessionAct::Write { change, .. }, Some(tag)) => {
                ("PUT", format!("If-Match: {tag}\r\n"), change.to_string())
            }
            (SessionAct::Write { change, .. }, None) => ("PUT", "If-None-Match: *\r\n".to_owned(), change.to_string()),
        };
        let request = format!(
            "{method} /v1/session/{id} HTTP/1.1\r\nHost: {worker}\r\n{condition}Content-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let begun = self.start.elapsed();
        let exchanged = async {
            let mut stream = match connections.remove(&worker) {
                Some(stream) => stream,
                None => timeout(Duration::from_millis(500), connect(worker)).await.ok()?.ok()?,
            };
            // From here on it may have been done.
            let answer =
                timeout(Duration::from_secs(8), exchange(&mut stream, &request)).await.ok().and_then(Result::ok);
            if answer.is_some() {
                connections.insert(worker, stream);
            }
            Some(answer)
        };
        let answer = exchanged.await;
        let ended = self.start.elapsed();
        let outcome = match &answer {
            None => Outcome::Refused,
            Some(None) => Outcome::Unknown,
            Some(Some(answer)) => answer.outcome(act),
        };
        let failed = matches!(outcome, Outcome::Refused | Outcome::Unknown);
        if failed {
            let reason = match &answer {
                None => "not connected",
                Some(None) => "no answer",
                Some(Some(answer)) => answer.body.split('"').nth(3).unwrap_or("?"),
            };
            let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
            *reasons.entry(reason.to_owned()).or_default() += 1;
        }
        if failed { &self.failed } else { &self.answered }.fetch_add(1, Relaxed);
        let tag = answer.flatten().and_then(|answer| answer.tag);
        (SessionEvent { begun, ended, worker, act, outcome }, tag)
    }
}

/// An answer as far as it matters.
struct Answer {
    status: u16,
    tag: Option<String>,
    body: String,
}

impl Answer {
    fn outcome(&self, act: SessionAct) -> Outcome {
        match (self.status, act) {
            (200, SessionAct::Read) => match self.body.parse() {
                Ok(change) => Outcome::Read(change),
                Err(error) => panic!("{error}: {}", self.body),
            },
            (404, SessionAct::Read) => Outcome::Empty,
            (410, _) => Outcome::Ended,
            (204, SessionAct::End) => Outcome::Ending,
            (204, SessionAct::Write { .. }) => Outcome::Written,
            (412, _) => Outcome::Changed,
            (503, _) if self.body.contains("unacknowledged") => Outcome::Unknown,
            (503, _) => Outcome::Refused,
            (status, _) => panic!("{status}: {}", self.body),
        }
    }
}

/// One request and its answer, whose body has a length.
async fn exchange(stream: &mut TcpStream, request: &str) -> std::io::Result<Answer> {
    stream.write_all(request.as_bytes()).await?;
    let mut bytes = Vec::new();
    let fault = |what: &str| std::io::Error::other(what.to_owned());
    loop {
        let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = end {
            let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
            let field = |name: &str| {
                let line = head.lines().find(|line| line.to_ascii_lowercase().starts_with(name))?;
                line.split_once(':').map(|(_, value)| value.trim().to_owned())
            };
            let length = field("content-length:").map_or(Ok(0), |length| length.parse::<usize>());
            let length = length.map_err(std::io::Error::other)?;
            if bytes.len() >= end + 4 + length {
                let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
                let body = String::from_utf8_lossy(&bytes[end + 4..end + 4 + length]).into_owned();
                return Ok(Answer { status: status.ok_or_else(|| fault("no status"))?, tag: field("etag:"), body });
            }
        }
        if stream.read_buf(&mut bytes).await? == 0 {
            return Err(fault("closed"));
        }
    }
}
