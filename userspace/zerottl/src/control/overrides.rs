//! The operator's overrides: who set what for which Site, when, why and until when.
//!
//! An override lapses by the monotonic clock: a step of the wall clock moves nothing. Across restarts
//! [`state`](zerottl_host::state) keeps how much of it is left.

use std::{fmt, ops::RangeInclusive, time::Duration, time::Instant};

use tokio::sync::{mpsc, oneshot};

use zerottl_core::{minimums::Shortfall, status::AdminState};

/// Characters of a reason, at most.
pub const REASON_MAX: usize = 500;
/// Characters of a name of who says so, at most.
pub const BY_MAX: usize = 100;
/// The shortest and the longest an order may last.
pub const LASTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 366);
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
pub enum OverrideValue {
    /// A word; [`AdminState::Ready`] takes back any other, and ends a hold-down.
    State(AdminState),
    /// A weight, 1 to 65,535, or the configured one.
    Weight(Option<u32>),
}

impl fmt::Display for OverrideValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::State(state) => f.write_str(state.as_str()),
            Self::Weight(Some(weight)) => write!(f, "weight {weight}"),
            Self::Weight(None) => f.write_str("configured weight"),
        }
    }
}

/// A word or a weight for some Sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideRequest {
    /// Of which Sites, as in [`target::find`](super::target::find).
    pub target: String,
    /// The word or the weight.
    pub what: OverrideValue,
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
pub enum OverrideError {
    /// Nothing is called that.
    NoSuch(String),
    /// The request itself is at fault.
    Invalid(String),
    /// Pools would have less than their minimum.
    BelowMinimum(Vec<Shortfall>),
    /// The agent is stopping, or has just taken another configuration.
    Stopping,
}

impl fmt::Display for OverrideError {
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

impl std::error::Error for OverrideError {}

/// A request, and where its outcome is awaited.
pub type PendingOverride = (OverrideRequest, oneshot::Sender<Result<OverrideApplied, OverrideError>>);

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
    pub async fn ask(&self, request: OverrideRequest) -> Result<OverrideApplied, OverrideError> {
        let (answer, done) = oneshot::channel();
        self.0.send((request, answer)).await.map_err(|_| OverrideError::Stopping)?;
        done.await.unwrap_or(Err(OverrideError::Stopping))
    }
}

/// The request with what is wrong in it told, or its texts made fit to be shown.
pub fn checked(mut request: OverrideRequest) -> Result<OverrideRequest, OverrideError> {
    let invalid = |why: String| Err(OverrideError::Invalid(why));
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
    if let OverrideValue::Weight(Some(weight)) = request.what
        && !(1..=65_535).contains(&weight)
    {
        return invalid(format!("the weight is {weight}: give 1 to 65535; `drain` keeps new clients away"));
    }
    if let Some(lasts) = request.lasts {
        if !LASTS.contains(&lasts) {
            return invalid(format!("a duration is {:?} to 366 days", LASTS.start()));
        }
        if matches!(request.what, OverrideValue::State(AdminState::Ready) | OverrideValue::Weight(None)) {
            return invalid("an override that is taken back cannot have a duration".into());
        }
    }
    Ok(request)
}
