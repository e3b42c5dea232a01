//! Sessions under load while machines die: what clients have seen, and whether it could have been so with one copy of each
//! session that nobody ever lost.
//!
//! Each change of a session is made of the state before it by compare and swap, and says its depth: the number of changes since
//! the first. Then a history is linearizable if no two of the states that were seen or acknowledged have the same depth, and
//! if nobody who begins after another has ended sees a lesser depth than the other.

use std::{
    collections::BTreeMap,
    fmt,
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use serde_json::json;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};
use zerottl_core::session_id::SessionId;

/// A client's view of a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session had no data.
    Empty,
    /// It had this state: depth, and the number of the change that made it.
    Read(u64, u64),
    /// The change was acknowledged.
    Written(u64, u64),
    /// It had changed since.
    Changed,
    /// It had ended.
    Ended,
    /// Its end was acknowledged.
    Ending,
    /// It cannot be told: with the state that was to be written.
    Unknown(Option<(u64, u64)>),
    /// It was refused without having been tried.
    Refused,
}

/// One request.
#[derive(Clone, Debug)]
pub struct SessionEvent {
    /// When it was begun and when it had ended, since the start of the run.
    pub begun: Duration,
    /// When it had ended.
    pub ended: Duration,
    /// The worker that was asked.
    pub worker: SocketAddr,
    /// The outcome.
    pub outcome: Outcome,
}

impl fmt::Display for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begun, ended, worker, outcome } = self;
        write!(f, "{:.4} {:.4} {worker} {outcome:?}", begun.as_secs_f64(), ended.as_secs_f64())
    }
}

/// Checks the history of one session. Returns what could not have been so.
#[must_use]
pub fn violation(history: &[SessionEvent]) -> Option<String> {
    let mut events: Vec<&SessionEvent> = history.iter().collect();
    events.sort_by_key(|event| event.ended);
    // States that somebody has seen, or been told to have made.
    let mut of_depth: BTreeMap<u64, u64> = BTreeMap::new();
    for event in &events {
        let (Outcome::Read(depth, change) | Outcome::Written(depth, change)) = event.outcome else { continue };
        let other = of_depth.insert(depth, change).filter(|other| *other != change);
        if let Some(other) = other {
            return Some(format!("changes {other} and {change} were both made of the same state: {event}"));
        }
    }
    // For each request, the highest depth that somebody had seen before it was begun.
    let mut by_begin = events.clone();
    by_begin.sort_by_key(|event| event.begun);
    let (mut done, mut highest, mut over) = (0, None, None);
    for event in by_begin {
        while done < events.len() && events[done].ended <= event.begun {
            match events[done].outcome {
                Outcome::Read(depth, _) | Outcome::Written(depth, _) => highest = highest.max(Some(depth)),
                Outcome::Ended | Outcome::Ending => over = Some(events[done]),
                _ => {}
            }
            done += 1;
        }
        let seen = match event.outcome {
            Outcome::Read(depth, _) | Outcome::Written(depth, _) => Some(depth),
            Outcome::Empty => None,
            _ => continue,
        };
        if let Some(over) = over {
            return Some(format!("it had ended ({over}), and was there again: {event}"));
        }
        if seen < highest {
            return Some(format!("depth {highest:?} had been seen before: {event}"));
        }
    }
    None
}

/// The load of one run.
#[derive(Debug)]
pub struct SessionLoad {
    workers: Vec<SocketAddr>,
    sessions: Vec<(SessionId, Mutex<Vec<SessionEvent>>)>,
    start: Instant,
    changes: AtomicU64,
    stop: AtomicBool,
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

    /// Returns the histories of the sessions that could not have been so, with why.
    pub fn violations(&self) -> Vec<(SessionId, String, Vec<SessionEvent>)> {
        let checked = self.sessions.iter().filter_map(|(id, history)| {
            let history = history.lock().unwrap_or_else(PoisonError::into_inner).clone();
            violation(&history).map(|why| (*id, why, history))
        });
        checked.collect()
    }

    /// Returns how many sessions have data for certain: a change of theirs was acknowledged, and they were not ended.
    #[must_use]
    pub fn with_data(&self) -> u64 {
        let has_data = |history: &Vec<SessionEvent>| {
            let has = |is: fn(&Outcome) -> bool| history.iter().any(|event| is(&event.outcome));
            let ends = |outcome: &Outcome| matches!(outcome, Outcome::Ended | Outcome::Ending | Outcome::Unknown(None));
            has(|outcome| matches!(outcome, Outcome::Written(..))) && !has(ends)
        };
        let histories = self.sessions.iter().map(|(_, history)| history.lock().unwrap_or_else(PoisonError::into_inner));
        histories.filter(|history| has_data(history)).count() as u64
    }

    /// Returns all histories.
    #[must_use]
    pub fn histories(&self) -> Vec<Vec<SessionEvent>> {
        self.sessions
            .iter()
            .map(|(_, history)| history.lock().unwrap_or_else(PoisonError::into_inner).clone())
            .collect()
    }

    /// Reads and changes sessions at random, until it is stopped. Connections are made by `connect`.
    pub async fn client<C>(self: Arc<Self>, connect: C)
    where
        C: AsyncFn(SocketAddr) -> std::io::Result<TcpStream>,
    {
        let mut connections: BTreeMap<SocketAddr, TcpStream> = BTreeMap::new();
        while !self.stop.load(Relaxed) {
            let (id, history) = &self.sessions[rand::random::<u32>() as usize % self.sessions.len()];
            let ends = rand::random::<u32>() % 1000 < self.ends;
            if ends {
                let event = self.ask(&connect, &mut connections, *id, "DELETE", None).await;
                history.lock().unwrap_or_else(PoisonError::into_inner).push(event.0);
                continue;
            }
            let (event, tag) = self.ask(&connect, &mut connections, *id, "GET", None).await;
            let depth = match event.outcome {
                Outcome::Read(depth, _) => Some(depth + 1),
                Outcome::Empty => Some(1),
                _ => None,
            };
            let refused = matches!(event.outcome, Outcome::Refused | Outcome::Unknown(_));
            history.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            if let Some(depth) = depth {
                let change = self.changes.fetch_add(1, Relaxed);
                let write = Some((depth, change, tag));
                let (event, _) = self.ask(&connect, &mut connections, *id, "PUT", write).await;
                history.lock().unwrap_or_else(PoisonError::into_inner).push(event);
            } else if refused {
                sleep(Duration::from_millis(5)).await;
            }
        }
    }

    async fn ask<C>(
        &self,
        connect: &C,
        connections: &mut BTreeMap<SocketAddr, TcpStream>,
        id: SessionId,
        method: &str,
        write: Option<(u64, u64, Option<String>)>,
    ) -> (SessionEvent, Option<String>)
    where
        C: AsyncFn(SocketAddr) -> std::io::Result<TcpStream>,
    {
        let worker = self.workers[rand::random::<u32>() as usize % self.workers.len()];
        let state = write.as_ref().map(|(depth, change, _)| (*depth, *change));
        let body = state.map_or_else(String::new, |(depth, change)| json!([depth, change]).to_string());
        let condition = match &write {
            Some((_, _, Some(tag))) => format!("If-Match: {tag}\r\n"),
            Some((_, _, None)) => "If-None-Match: *\r\n".to_owned(),
            None => String::new(),
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
            Some(None) => Outcome::Unknown(state),
            Some(Some(answer)) => answer.outcome(method, state),
        };
        let failed = matches!(outcome, Outcome::Refused | Outcome::Unknown(_));
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
        (SessionEvent { begun, ended, worker, outcome }, tag)
    }
}

/// An answer as far as it matters.
struct Answer {
    status: u16,
    tag: Option<String>,
    body: String,
}

impl Answer {
    fn outcome(&self, method: &str, state: Option<(u64, u64)>) -> Outcome {
        match (self.status, method) {
            (200, "GET") => match serde_json::from_str::<(u64, u64)>(&self.body) {
                Ok((depth, change)) => Outcome::Read(depth, change),
                Err(error) => panic!("{error}: {}", self.body),
            },
            (404, "GET") => Outcome::Empty,
            (410, _) => Outcome::Ended,
            (204, "DELETE") => Outcome::Ending,
            (204, _) => state.map_or(Outcome::Unknown(None), |(depth, change)| Outcome::Written(depth, change)),
            (412, _) => Outcome::Changed,
            (503, _) if self.body.contains("unacknowledged") => Outcome::Unknown(state),
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

#[cfg(test)]
mod tests {
    use super::*;

    fn event(begun: u64, ended: u64, outcome: Outcome) -> SessionEvent {
        let (begun, ended) = (Duration::from_millis(begun), Duration::from_millis(ended));
        SessionEvent { begun, ended, worker: SocketAddr::from(([10, 8, 0, 10], 1)), outcome }
    }

    #[test]
    fn what_could_have_been_so_is_told_from_what_could_not() {
        use Outcome::{Changed, Empty, Ended, Ending, Read, Unknown, Written};
        let good = [
            event(0, 1, Empty),
            event(1, 3, Written(1, 7)),
            // At once with the change: either state.
            event(2, 4, Empty),
            event(2, 3, Read(1, 7)),
            event(4, 5, Changed),
            // Nobody knows; then it is seen.
            event(5, 6, Unknown(Some((2, 8)))),
            event(7, 8, Read(1, 7)),
            event(9, 10, Read(2, 8)),
            event(11, 12, Ending),
            event(13, 14, Ended),
        ];
        assert_eq!(violation(&good), None);
        let is_bad = |more: SessionEvent, what: &str| {
            let history: Vec<_> = good.iter().cloned().chain([more]).collect();
            let why = violation(&history).unwrap_or_default();
            assert!(why.contains(what), "{what}: {why}");
        };
        is_bad(event(6, 7, Empty), "had been seen before");
        is_bad(event(10, 11, Read(1, 7)), "had been seen before");
        is_bad(event(8, 9, Written(2, 9)), "of the same state");
        is_bad(event(15, 16, Read(2, 8)), "it had ended");
        is_bad(event(15, 16, Empty), "it had ended");
    }
}
