//! The operator's words and weights: who said what of which Site, when, why and until when.
//!
//! | module | what it is |
//! |---|---|
//! | this | orders, and how one is asked for |
//! | [`target`] | which Sites are meant: a key, a group, a pool, a glob |
//! | [`record`] | what one assessment has to know of those before: orders, flaps, what a restart remembers; pure |
//!
//! An order lapses by the monotonic clock: a step of the wall clock moves nothing. Across restarts
//! [`state`](zerottl_host::state) keeps how much of it is left.

pub mod record;
pub mod target;

use std::{fmt, time::Duration, time::Instant};

use tokio::sync::{mpsc, oneshot};

use zerottl_core::{
    minimums::{Alarm, Shortfall},
    status::AdminState,
};

/// Characters of a reason, at most.
pub const REASON_MAX: usize = 500;
/// Characters of a name of who says so, at most.
pub const BY_MAX: usize = 100;
/// The shortest and the longest an order may last.
pub const LASTS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 366);
/// Orders that wait for the next planning round, at most.
const WAITING_MAX: usize = 64;

/// An override that is in force: what somebody has said of a Site, and still holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Override<T> {
    /// The word or the weight.
    pub what: T,
    /// The name of who said so, as given by the client, and from where.
    pub by: String,
    /// Why, in the operator's words.
    pub reason: Option<String>,
    /// When.
    pub at: Instant,
    /// That moment as wall-clock time, milliseconds since 1970: to be shown, never to be counted with.
    pub at_wall_ms: u64,
    /// When it lapses by itself; none is never.
    pub until: Option<Instant>,
    /// Whether it was said against the pool's minimum.
    pub forced: bool,
}

/// The override that is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum What {
    /// A word; [`AdminState::Ready`] takes back any other, and ends a hold-down.
    Word(AdminState),
    /// A weight, 1 to 65,535, or the configured one.
    Weight(Option<u32>),
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Word(word) => f.write_str(word.as_str()),
            Self::Weight(Some(weight)) => write!(f, "weight {weight}"),
            Self::Weight(None) => f.write_str("configured weight"),
        }
    }
}

/// A word or a weight for some Sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Of which Sites, as in [`target::find`].
    pub target: String,
    /// The word or the weight.
    pub what: What,
    /// The name of who says so.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// For how long; none is until something else is said.
    pub lasts: Option<Duration>,
    /// Whether it is to be done against a pool's minimum too.
    pub force: bool,
}

/// The outcome of a request that was carried out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideApplied {
    /// Keys of the Sites that it was said of.
    pub sites: Vec<String>,
    /// The plan that has it.
    pub generation: u64,
    /// The [`SavedState`](zerottl_core::saved_state::SavedState) that has it.
    pub memory: u64,
}

/// Why something was not done.
#[derive(Clone, Debug, PartialEq)]
pub enum Refused {
    /// Nothing is called that.
    NoSuch(String),
    /// The request itself is at fault.
    Invalid(String),
    /// Pools would have less than their minimum.
    BelowMinimum(Vec<Shortfall>),
    /// The agent is stopping, or has just taken another configuration.
    Stopping,
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoSuch(what) => write!(f, "there is no Site, group or pool `{what}`"),
            Self::Invalid(why) => f.write_str(why),
            Self::BelowMinimum(shortfalls) => {
                let all: Vec<_> = shortfalls.iter().map(ToString::to_string).collect();
                write!(f, "refused: {}; with force it is done all the same", all.join("; "))
            }
            Self::Stopping => f.write_str("the agent is stopping, or has just been reloaded: ask again"),
        }
    }
}

impl std::error::Error for Refused {}

/// The newest request that was refused for a pool's minimum.
#[derive(Clone, Debug, PartialEq)]
pub struct Refusal {
    /// When.
    pub at: Instant,
    /// The request, and why it was not carried out, in words.
    pub words: String,
}

/// A Site that is held back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Until when, if it stays up.
    pub until: Instant,
    /// Its failures in a row.
    pub failures: u32,
}

/// The remarks for people that the assessor makes besides its [`Assessment`](zerottl_core::status::Assessment).
/// Positions are the model's.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Remarks {
    /// Words in force, by Site.
    pub words: std::collections::BTreeMap<usize, Override<AdminState>>,
    /// Weights in force that are not the configured ones, by Site.
    pub weights: std::collections::BTreeMap<usize, Override<u32>>,
    /// Sites held back, by Site; also those answered all the same.
    pub holds: std::collections::BTreeMap<usize, Hold>,
    /// Addresses whose health is what was known before the restart, as (Site, address).
    pub recalled: Vec<(usize, usize)>,
    /// The alarms that should be looked at.
    pub alarms: std::sync::Arc<[Alarm]>,
    /// The newest refusal.
    pub refusal: Option<Refusal>,
    /// Requests refused since the start.
    pub refusals: u64,
}

/// A request, and where its outcome is awaited.
pub type PendingOverride = (Request, oneshot::Sender<Result<OverrideApplied, Refused>>);

/// Where requests are handed in; cheap to clone.
#[derive(Clone, Debug)]
pub struct OverrideHandle(mpsc::Sender<PendingOverride>);

impl OverrideHandle {
    /// A desk, and where its requests come out.
    #[must_use]
    pub fn new() -> (Self, mpsc::Receiver<PendingOverride>) {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        (Self(sender), receiver)
    }

    /// Hands in a request; returns once answers are made by it.
    pub async fn ask(&self, request: Request) -> Result<OverrideApplied, Refused> {
        let (answer, done) = oneshot::channel();
        self.0.send((request, answer)).await.map_err(|_| Refused::Stopping)?;
        done.await.unwrap_or(Err(Refused::Stopping))
    }
}

/// The request with what is wrong in it told, or its texts made fit to be shown.
pub fn checked(mut request: Request) -> Result<Request, Refused> {
    let invalid = |why: String| Err(Refused::Invalid(why));
    let fits = |text: &str, max: usize| text.chars().count() <= max && !text.chars().any(char::is_control);
    if let Some(reason) = request.reason.take() {
        let reason = reason.trim();
        if !fits(reason, REASON_MAX) {
            return invalid(format!("the reason is over {REASON_MAX} characters or has control characters"));
        }
        request.reason = (!reason.is_empty()).then(|| reason.to_owned());
    }
    if !fits(&request.by, BY_MAX) {
        return invalid(format!("the name is over {BY_MAX} characters or has control characters"));
    }
    if let What::Weight(Some(weight)) = request.what
        && !(1..=65_535).contains(&weight)
    {
        return invalid(format!("the weight is {weight}: give 1 to 65535; `drain` keeps new clients away"));
    }
    if let Some(lasts) = request.lasts {
        if !LASTS.contains(&lasts) {
            return invalid(format!("a duration is {:?} to 366 days", LASTS.start()));
        }
        if matches!(request.what, What::Word(AdminState::Ready) | What::Weight(None)) {
            return invalid("what takes an order back cannot have a duration".into());
        }
    }
    Ok(request)
}
