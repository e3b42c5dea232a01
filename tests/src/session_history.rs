//! Requests for one session as clients have seen them, and whether it could have been so with one copy of the session that nobody
//! ever lost: whether the history is linearizable. `stateright` finds out; here is what a session is, and how a long history is
//! cut into parts that are short enough.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    fmt::{self, Write as _},
    net::SocketAddr,
    time::Duration,
};

use stateright::semantics::{ConsistencyTester as _, LinearizabilityTester, SequentialSpec};

/// Requests after which a history is cut, if it can be.
const PART_LEN: usize = 16;
/// Requests that have been checked and are kept, for people.
const PAST_LEN: usize = 100;

/// A request. Each change has a number of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionAct {
    /// For the session's data.
    Read,
    /// To write a change if the session still is as another one made it, or has no data.
    Write {
        /// The change before; none for no data.
        of: Option<u64>,
        /// The number of this one.
        change: u64,
    },
    /// To end it.
    End,
}

/// A client's view of a session after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The session had no data.
    Empty,
    /// It was as this change had made it.
    Read(u64),
    /// The change was acknowledged.
    Written,
    /// It had changed since.
    Changed,
    /// It had ended.
    Ended,
    /// Its end was acknowledged.
    Ending,
    /// It may have been done or not, or will be.
    Unknown,
    /// It was refused without having been tried.
    Refused,
}

/// One request.
#[derive(Clone, Copy, Debug)]
pub struct SessionEvent {
    /// When it was begun, since the start of the run.
    pub begun: Duration,
    /// When it had ended.
    pub ended: Duration,
    /// The worker that was asked.
    pub worker: SocketAddr,
    /// The request.
    pub act: SessionAct,
    /// The outcome.
    pub outcome: Outcome,
}

impl fmt::Display for SessionEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { begun, ended, worker, act, outcome } = self;
        write!(f, "{:.4} {:.4} {worker} {act:?} {outcome:?}", begun.as_secs_f64(), ended.as_secs_f64())
    }
}

impl SessionEvent {
    fn is_known(&self) -> bool {
        !matches!(self.outcome, Outcome::Unknown | Outcome::Refused)
    }

    /// Whether another request shows that this one, whose outcome is not known, was done.
    fn is_shown_by(&self, other: &Self) -> bool {
        match self.act {
            SessionAct::Read => false,
            SessionAct::Write { change, .. } => {
                other.outcome == Outcome::Read(change)
                    || matches!(other.act, SessionAct::Write { of, .. } if of == Some(change))
            }
            SessionAct::End => other.outcome == Outcome::Ended,
        }
    }

    /// Returns what the session is after this request, if nobody else asked at the same time; none if it does not tell.
    fn tells(&self) -> Option<SessionModel> {
        match (self.act, self.outcome) {
            (_, Outcome::Empty) => Some(SessionModel::Empty),
            (_, Outcome::Read(change)) | (SessionAct::Write { change, .. }, Outcome::Written) => {
                Some(SessionModel::Is(change))
            }
            (_, Outcome::Ended | Outcome::Ending) => Some(SessionModel::Ended),
            _ => None,
        }
    }
}

/// A session of which there is one copy that is never lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum SessionModel {
    #[default]
    Empty,
    /// As this change has made it.
    Is(u64),
    Ended,
}

impl SequentialSpec for SessionModel {
    type Op = SessionAct;
    type Ret = Outcome;

    fn invoke(&mut self, act: &SessionAct) -> Outcome {
        match (*act, *self) {
            (SessionAct::End, _) => {
                *self = Self::Ended;
                Outcome::Ending
            }
            (_, Self::Ended) => Outcome::Ended,
            (SessionAct::Read, Self::Empty) => Outcome::Empty,
            (SessionAct::Read, Self::Is(change)) => Outcome::Read(change),
            (SessionAct::Write { of: None, change }, Self::Empty) => {
                *self = Self::Is(change);
                Outcome::Written
            }
            (SessionAct::Write { of: Some(of), change }, Self::Is(is)) if of == is => {
                *self = Self::Is(change);
                Outcome::Written
            }
            (SessionAct::Write { .. }, _) => Outcome::Changed,
        }
    }

    fn is_valid_step(&mut self, act: &SessionAct, outcome: &Outcome) -> bool {
        match (act, outcome, &self) {
            // A change may be refused for one whose outcome nobody knows, and which nobody has seen.
            (SessionAct::Write { .. }, Outcome::Changed, Self::Empty | Self::Is(_))
            | (SessionAct::End, Outcome::Ended, Self::Ended) => true,
            _ => self.invoke(act) == *outcome,
        }
    }
}

/// Whether requests, of which those with a known outcome and those without, could have been so from this state on.
fn is_linearizable(from: SessionModel, known: &[SessionEvent], unknown: &[SessionEvent]) -> bool {
    // At one instant it is begun before another one has ended: as if they were at once.
    let mut times: Vec<(Duration, bool, usize)> = Vec::new();
    for (at, event) in known.iter().enumerate() {
        times.extend([(event.begun, false, at), (event.ended, true, at)]);
    }
    times.extend(unknown.iter().enumerate().map(|(at, event)| (event.begun, false, known.len() + at)));
    times.sort_unstable();
    let mut tester = LinearizabilityTester::new(from);
    let (mut free, mut clients): (BTreeSet<usize>, BTreeMap<usize, usize>) =
        ((0..times.len()).collect(), BTreeMap::new());
    for (_, has_ended, at) in times {
        if has_ended {
            let Some(client) = clients.remove(&at) else { return false };
            free.insert(client);
            if tester.on_return(client, known[at].outcome).is_err() {
                return false;
            }
        } else {
            // Each has its own as long as it is under way; those whose outcome is not known are so for ever.
            let Some(client) = free.pop_first() else { return false };
            clients.insert(at, client);
            let act = known.get(at).unwrap_or_else(|| &unknown[at - known.len()]).act;
            if tester.on_invoke(client, act).is_err() {
                return false;
            }
        }
    }
    tester.is_consistent()
}

/// Writes requests, one in a line.
fn lines<'a>(events: impl Iterator<Item = &'a SessionEvent>) -> String {
    events.fold(String::new(), |mut text, event| {
        let _ = writeln!(text, "  {event}");
        text
    })
}

/// The requests for one session.
#[derive(Clone, Debug, Default)]
pub struct SessionHistory {
    /// The session before the requests that have not been checked.
    from: SessionModel,
    events: Vec<SessionEvent>,
    /// Some of those that have been.
    past: VecDeque<SessionEvent>,
    /// All of those that have been.
    checked: usize,
}

impl SessionHistory {
    /// Adds a request that has ended.
    pub fn push(&mut self, event: SessionEvent) {
        self.events.push(event);
    }

    /// How many requests there have been.
    #[must_use]
    pub fn count(&self) -> usize {
        self.checked + self.events.len()
    }

    /// Whether the session has data for certain: it has had some, and nobody has tried to end it.
    #[must_use]
    pub fn has_data(&self) -> bool {
        let mut told = self.events.iter().filter_map(SessionEvent::tells).chain([self.from]);
        let tried_to_end = self.events.iter().any(|event| event.act == SessionAct::End);
        self.from != SessionModel::Ended && !tried_to_end && told.any(|told| matches!(told, SessionModel::Is(_)))
    }

    /// Returns the last requests, one in a line.
    #[must_use]
    pub fn lines(&self) -> String {
        lines(self.past.iter().chain(&self.events))
    }

    /// Checks what has not been checked; no request may be under way. Returns the part that could not have been so.
    pub fn check(&mut self) -> Result<(), String> {
        self.events.sort_by_key(|event| event.begun);
        let known: Vec<SessionEvent> = self.events.iter().copied().filter(SessionEvent::is_known).collect();
        // What nobody has seen may not have been done.
        let is_shown = |event: &&SessionEvent| known.iter().any(|other| event.is_shown_by(other));
        let mut unknown: Vec<SessionEvent> =
            self.events.iter().filter(|event| event.outcome == Outcome::Unknown).filter(is_shown).copied().collect();
        let (mut from, mut start, mut latest) = (self.from, 0, Duration::ZERO);
        for (at, event) in known.iter().enumerate() {
            let is_alone = event.begun > latest && known.get(at + 1).is_none_or(|next| next.begun > event.ended);
            latest = latest.max(event.ended);
            let is_last = at + 1 == known.len();
            let told = event.tells().filter(|_| is_alone && (is_last || at - start >= PART_LEN));
            if told.is_none() && !is_last {
                continue;
            }
            let part = &known[start..=at];
            let begun: Vec<SessionEvent> =
                unknown.iter().filter(|unknown| unknown.begun < event.ended).copied().collect();
            if !is_linearizable(from, part, &begun) {
                return Err(format!("from {from:?} on:\n{}", lines(part.iter().chain(&begun))));
            }
            if let Some(told) = told {
                (from, start) = (told, at + 1);
                unknown.retain(|unknown| !part.iter().any(|known| unknown.is_shown_by(known)));
            }
        }
        self.forget(from, &known[..start]);
        Ok(())
    }

    /// Keeps only what a later check needs.
    fn forget(&mut self, from: SessionModel, checked: &[SessionEvent]) {
        let Some(last) = checked.last() else { return };
        let is_needed = |event: &SessionEvent| match event.outcome {
            Outcome::Unknown => event.act != SessionAct::Read && !checked.iter().any(|known| event.is_shown_by(known)),
            _ => event.begun > last.begun,
        };
        let (needed, past): (Vec<_>, Vec<_>) = self.events.drain(..).partition(is_needed);
        self.checked += past.len();
        self.past.extend(past);
        self.past.drain(..self.past.len().saturating_sub(PAST_LEN));
        (self.events, self.from) = (needed, from);
    }
}

#[cfg(test)]
mod tests {
    use super::{
        Outcome::{Changed, Empty, Ended, Ending, Read, Refused, Unknown, Written},
        SessionAct, SessionEvent, SessionHistory,
    };
    use std::{net::SocketAddr, time::Duration};

    const READ: SessionAct = SessionAct::Read;
    const END: SessionAct = SessionAct::End;

    fn write(of: u64, change: u64) -> SessionAct {
        SessionAct::Write { of: (of > 0).then_some(of), change }
    }

    fn event(begun: u64, ended: u64, act: SessionAct, outcome: super::Outcome) -> SessionEvent {
        let (begun, ended) = (Duration::from_millis(begun), Duration::from_millis(ended));
        SessionEvent { begun, ended, worker: SocketAddr::from(([10, 8, 0, 10], 1)), act, outcome }
    }

    fn good() -> Vec<SessionEvent> {
        vec![
            event(1, 2, READ, Empty),
            event(3, 6, write(0, 7), Written),
            // At once with the change: either state.
            event(4, 8, READ, Empty),
            event(4, 5, READ, Read(7)),
            event(9, 10, write(0, 6), Changed),
            // Nobody knows; then it is seen.
            event(11, 12, write(7, 8), Unknown),
            event(13, 14, READ, Read(7)),
            event(15, 16, READ, Refused),
            event(17, 18, READ, Read(8)),
            event(19, 20, write(8, 9), Unknown),
            event(21, 22, END, Ending),
            event(23, 24, READ, Ended),
        ]
    }

    fn checked(events: &[SessionEvent], pieces: usize) -> Result<SessionHistory, String> {
        let mut history = SessionHistory::default();
        for piece in events.chunks(pieces) {
            for event in piece {
                history.push(*event);
            }
            history.check()?;
        }
        assert_eq!(history.count(), events.len());
        Ok(history)
    }

    #[test]
    fn what_could_have_been_so_is_told_from_what_could_not() {
        let good = good();
        checked(&good, 100).unwrap();
        let bad = |more: SessionEvent| {
            let mut all = good.clone();
            all.push(more);
            assert!(checked(&all, 100).is_err(), "{more}");
        };
        bad(event(7, 8, READ, Empty));
        bad(event(19, 20, READ, Read(7)));
        bad(event(11, 12, write(0, 10), Written));
        // Two of the same state.
        bad(event(13, 14, write(7, 10), Written));
        bad(event(19, 20, READ, Read(6)));
        bad(event(25, 26, READ, Read(9)));
        bad(event(25, 26, READ, Empty));
        bad(event(25, 26, write(8, 10), Changed));
    }

    /// A history that comes in pieces is judged as all of it at once.
    #[test]
    fn a_history_is_checked_piece_by_piece() {
        let mut all = good()[..9].to_vec();
        for number in 0..100 {
            let at = 100 + number * 10;
            all.push(event(at, at + 1, write(8 + number, 9 + number), Written));
            all.push(event(at + 2, at + 3, READ, Read(9 + number)));
        }
        let pieces = [7, 40, 400].map(|pieces| checked(&all, pieces).unwrap());
        assert!(pieces.iter().all(SessionHistory::has_data));
        for mut history in pieces {
            history.push(event(2000, 2001, READ, Read(107)));
            assert!(history.check().is_err());
        }
        // One that was under way all the time.
        let mut history = checked(&good()[..5], 100).unwrap();
        history.push(event(11, 12, write(7, 8), Unknown));
        history.push(event(13, 14, READ, Read(7)));
        history.check().unwrap();
        history.push(event(15, 16, READ, Read(7)));
        history.check().unwrap();
        history.push(event(17, 18, READ, Read(8)));
        history.check().unwrap();
        history.push(event(19, 20, READ, Read(7)));
        assert!(history.check().is_err());
    }
}
