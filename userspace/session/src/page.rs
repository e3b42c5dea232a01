//! The state of a worker's sessions, for people and metrics.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};
use zerottl_core::{model::WriteMode, session_id::SessionId};

use crate::{clock, entry::Phase, lease::Moment, store::SessionStore};

/// The state of a worker's sessions.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StorePage {
    /// The worker, another after each start.
    pub worker: String,
    /// `async`, `ack-one` or `ack-all`.
    pub write: String,
    /// Copies that each session is to have.
    pub copies: usize,
    /// Whether enough session servers have granted it a lease.
    pub has_lease: bool,
    /// Sessions in memory that it hosts.
    pub hosted: u64,
    /// Bytes of their data.
    pub bytes: u64,
    /// Sessions that have ended and are remembered as such.
    pub ended: u64,
    /// Sessions whose newest state has fewer copies than it is to have.
    pub under_replicated: u64,
    /// Since when the oldest change waits to be copied, seconds.
    pub lag_s: f64,
    /// Sessions that it has claimed since it was started, new ones included.
    pub claims: u64,
    /// Those of them that another worker had hosted.
    pub moves: u64,
    /// Those of them that nobody had asked for since their worker died.
    pub adoptions: u64,
    /// Sessions that another worker has claimed from it.
    pub lost: u64,
    /// Sessions that were ended here.
    pub ends: u64,
    /// Sessions that left its memory, as there were too many.
    pub evictions: u64,
    /// Sessions whose copies were given to other servers.
    pub repairs: u64,
    /// The session servers.
    pub servers: Vec<SessionServerPage>,
    /// The file that keeps sessions over a restart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub journal: Option<JournalPage>,
}

/// The state of a journal.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JournalPage {
    /// The file.
    pub file: String,
    /// Sessions that were written to it since the worker was started.
    pub written: u64,
    /// Commits that they were written by.
    pub commits: u64,
    /// Why it cannot be written, if so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

/// The state of a session server, as a worker sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionServerPage {
    /// Host and port.
    pub name: String,
    /// `up`, `new` (it has lost what it had, and does not count yet) or `down`.
    pub state: String,
    /// Why it is down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
    /// Sessions of this worker whose newest state it has.
    pub copies: u64,
    /// Sessions of this worker that it is to have, and lacks or has an older state of.
    pub behind: u64,
    /// Copies that it has kept since the worker was started.
    pub writes: u64,
    /// Data that was read from it.
    pub reads: u64,
    /// Claims that it was asked for.
    pub claims: u64,
    /// Copies that it has refused, as another worker owns the session.
    pub fenced: u64,
    /// Requests that failed.
    pub failures: u64,
    /// Times that it was found started anew, and empty.
    pub restarts: u64,
}

/// The state of one session, as its worker has it; or, from another worker, as the session servers have it.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SessionPage {
    /// Its ID.
    pub session: String,
    /// The worker that hosts it, or did last; empty if none is known.
    pub worker: String,
    /// The place where that worker is reached, if it is another one and says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<String>,
    /// `hosted` by the worker that was asked, `elsewhere` by another, `free` for whoever is asked for it next, or `ended`.
    pub state: String,
    /// The epoch of that worker's ownership.
    pub epoch: u64,
    /// The number of its state: how often it was changed.
    pub number: u64,
    /// Its tag, if it has data and is hosted by the worker that was asked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Bytes of its data, if it is hosted there.
    pub bytes: usize,
    /// The servers that are to have it, in their order, and whether each has its newest state; if it is not hosted there, those
    /// that have any state of it.
    pub copies: Vec<CopyPage>,
}

/// A copy of a session.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CopyPage {
    /// The server.
    pub server: String,
    /// Whether it has the newest state.
    pub has_newest: bool,
}

fn seconds(now: Moment, since: Moment) -> f64 {
    now.saturating_sub(since).as_secs_f64()
}

/// The mode as it is written.
#[must_use]
pub fn write_word(mode: WriteMode) -> &'static str {
    match mode {
        WriteMode::Async => "async",
        WriteMode::AckOne => "ack-one",
        WriteMode::AckAll => "ack-all",
    }
}

impl SessionStore {
    /// Makes the page of this moment; looks at each session.
    #[must_use]
    pub fn page(&self) -> StorePage {
        let (inner, now) = (&self.0, clock::now());
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let servers = inner.remotes.iter().map(|remote| {
            let (counts, is_up) = (&remote.counts, remote.is_up());
            let state = if !is_up {
                "down"
            } else if remote.is_newcomer() {
                "new"
            } else {
                "up"
            };
            SessionServerPage {
                name: remote.name.clone(),
                state: state.to_owned(),
                why: remote.why().filter(|_| !is_up),
                writes: read(&counts.writes),
                reads: read(&counts.reads),
                claims: read(&counts.claims),
                fenced: read(&counts.fenced),
                failures: read(&counts.failures),
                restarts: read(&counts.restarts),
                ..SessionServerPage::default()
            }
        });
        let counts = &inner.counts;
        let mut page = StorePage {
            worker: inner.worker.token.clone(),
            write: write_word(inner.config.write).to_owned(),
            copies: inner.config.copies,
            has_lease: inner.leases().holds(now),
            claims: read(&counts.claims),
            moves: read(&counts.moves),
            adoptions: read(&counts.adoptions),
            lost: read(&counts.lost),
            ends: read(&counts.ends),
            evictions: read(&counts.evictions),
            repairs: read(&counts.repairs),
            servers: servers.collect(),
            journal: inner.journal.as_ref().map(|journal| JournalPage {
                file: journal.path().to_string_lossy().into_owned(),
                written: read(&journal.written),
                commits: read(&journal.commits),
                why: journal.why(),
            }),
            ..StorePage::default()
        };
        for entry in inner.all() {
            let state = entry.state();
            match state.phase {
                Phase::Lost => continue,
                Phase::Ended => {
                    page.ended += 1;
                    continue;
                }
                Phase::Hosted => page.hosted += 1,
            }
            let Some(data) = &state.data else { continue };
            page.bytes += data.len() as u64;
            for (at, server) in page.servers.iter_mut().enumerate() {
                let has = state.is_acked(at, state.number);
                server.copies += u64::from(has);
                server.behind += u64::from(!has && state.copies.contains(&at));
            }
            let copies = inner.config.copies.min(inner.remotes.len());
            if state.acks(state.number) < copies {
                page.under_replicated += 1;
                page.lag_s = page.lag_s.max(state.behind_since.map_or(0.0, |since| seconds(now, since)));
            }
        }
        page
    }

    /// Says how one session stands; none if it is not in this worker's memory.
    #[must_use]
    pub fn explain(&self, id: SessionId) -> Option<SessionPage> {
        let entry = self.0.entry(id)?;
        let state = entry.state();
        let word = match state.phase {
            Phase::Hosted => "hosted",
            Phase::Ended => "ended",
            Phase::Lost => return None,
        };
        let copies = state.copies.iter().map(|at| {
            let server = self.0.remotes.get(*at).map_or_else(|| "journal".to_owned(), |remote| remote.name.clone());
            CopyPage { server, has_newest: state.is_acked(*at, state.number) }
        });
        Some(SessionPage {
            session: id.to_string(),
            worker: self.0.worker.token.clone(),
            reach: None,
            state: word.to_owned(),
            epoch: state.epoch.0,
            number: state.number,
            tag: state.tag().map(|tag| tag.to_string()),
            bytes: state.data.as_ref().map_or(0, bytes::Bytes::len),
            copies: copies.collect(),
        })
    }
}
