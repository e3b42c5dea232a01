//! The operator's overrides: who set what for which Site, when, why and until when; and what makes a request for one fit.
//!
//! An override lapses by the monotonic clock: a step of the wall clock moves nothing. Across restarts
//! [`SavedState`](crate::saved_state::SavedState) keeps how much of it is left.

use std::{
    fmt,
    ops::RangeInclusive,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::{minimums::Undershoot, status::AdminState};

/// Characters of a reason, at most.
const REASON_MAX: usize = 500;
/// Characters of a name of who says so, at most.
const BY_MAX: usize = 100;
/// The shortest and the longest time that an override may last.
pub const LASTS: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(24 * 366);

/// An override that is in force: what somebody has said of a Site, and still holds.
#[derive(Clone, Debug, PartialEq)]
pub struct Override<T> {
    /// The state or the weight.
    pub value: T,
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

/// The value of an override.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OverrideValue {
    /// A state; [`AdminState::Ready`] takes back any other, and ends a hold-down.
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

/// A request for an override of some Sites.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OverrideRequest {
    /// Of which Sites, in the operator's words; whoever hands the request on finds them.
    pub target: String,
    /// The state or the weight.
    pub value: OverrideValue,
    /// The name of who says so.
    pub by: String,
    /// Why.
    pub reason: Option<String>,
    /// For how long; none is until something else is said.
    pub lasts: Option<Duration>,
    /// Whether it is to be done against a pool's minimum too.
    pub force: bool,
    /// When it was made, as wall-clock time, milliseconds since 1970: to be shown, never to be counted with.
    pub at_wall_ms: u64,
}

/// The reason why a request was not carried out.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum OverrideError {
    /// Nothing is called that.
    #[error("there is no Site, group or pool `{0}`")]
    NoSuch(String),
    /// The request itself is at fault.
    #[error(transparent)]
    Invalid(#[from] InvalidRequest),
    /// Pools would have less than their minimum.
    #[error("refused: {0}; with force it is done all the same")]
    BelowMinimum(Undershoot),
    /// The agent is stopping, or has just taken another configuration.
    #[error("the agent is stopping, or has just been reloaded: ask again")]
    Stopping,
}

/// The fault of a request.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum InvalidRequest {
    /// The reason cannot be shown.
    #[error("the reason is over {REASON_MAX} characters or has control characters")]
    Reason,
    /// The name of who says so cannot be shown.
    #[error("the name is over {BY_MAX} characters or has control characters")]
    By,
    /// The weight is out of range.
    #[error("the weight is {0}: give 1 to 65535; `drain` keeps new clients away")]
    Weight(u32),
    /// The duration is out of range.
    #[error("a duration is {:?} to 366 days", LASTS.start())]
    Lasts,
    /// A request that takes an override back has a duration.
    #[error("an override that is taken back cannot have a duration")]
    NothingToLast,
    /// The target is no pattern.
    #[error("`{0}` is not a glob: {1}")]
    Pattern(String, &'static str),
}

/// Returns the reason made fit to be shown, or what is wrong in it or in the name of who says so.
fn checked_words(by: &str, reason: Option<String>) -> Result<Option<String>, InvalidRequest> {
    let fits = |text: &str, max: usize| text.chars().count() <= max && !text.chars().any(char::is_control);
    let reason = reason.map(|reason| reason.trim().to_owned()).filter(|reason| !reason.is_empty());
    if reason.as_ref().is_some_and(|reason| !fits(reason, REASON_MAX)) {
        return Err(InvalidRequest::Reason);
    }
    if fits(by, BY_MAX) { Ok(reason) } else { Err(InvalidRequest::By) }
}

/// Returns the reason of a statement of health made fit to be shown, or what is wrong in it, in the name of who states it
/// or in how long it lasts.
pub fn checked_statement(
    by: &str,
    reason: Option<String>,
    lasts: Option<Duration>,
) -> Result<Option<String>, InvalidRequest> {
    if lasts.is_some_and(|lasts| !LASTS.contains(&lasts)) {
        return Err(InvalidRequest::Lasts);
    }
    checked_words(by, reason)
}

/// Returns the request with its texts made fit to be shown, or what is wrong in it.
pub fn checked(mut request: OverrideRequest) -> Result<OverrideRequest, InvalidRequest> {
    request.reason = checked_words(&request.by, request.reason.take())?;
    if let OverrideValue::Weight(Some(weight)) = request.value
        && !(1..=65_535).contains(&weight)
    {
        return Err(InvalidRequest::Weight(weight));
    }
    if let Some(lasts) = request.lasts {
        if !LASTS.contains(&lasts) {
            return Err(InvalidRequest::Lasts);
        }
        if matches!(request.value, OverrideValue::State(AdminState::Ready) | OverrideValue::Weight(None)) {
            return Err(InvalidRequest::NothingToLast);
        }
    }
    Ok(request)
}
