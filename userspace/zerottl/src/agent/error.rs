//! Why the agent does not start, or ends by itself, or keeps its configuration.

use std::{error::Error, fmt, io};

use zerottl_core::{minimums::Shortfall, model::AdminListen};
use zerottl_host::state;
use zerottl_inputs::http_check::ProbeError;
use zerottl_kernel::{LoadError, attachments::AttachmentError, pins::PinError};

/// Why the agent does not start, or ends by itself, or keeps its configuration.
#[derive(Debug)]
pub enum AgentError {
    /// A served address.
    Bind(io::Error),
    /// The admin interface.
    Admin(AdminListen, io::Error),
    /// The program or its maps.
    Load(LoadError),
    /// An interface.
    Attach(AttachmentError),
    /// The pins of what outlives the agent.
    Pin(PinError),
    /// The probes' own setup.
    Probe(ProbeError),
    /// Interfaces' MACs cannot be read.
    Macs(io::Error),
    /// The configuration, as its faults are shown.
    Config(String),
    /// A configuration that would take from a pool more than its minimum allows.
    Minimum(Vec<Shortfall>),
    /// Another agent has the state directory.
    State(state::lock::Owned),
    /// A setting that a reload cannot change.
    Restart(&'static str),
    /// A panic.
    Fault(String),
    /// A part ended that must not.
    Ended(String),
}

impl fmt::Display for AgentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bind(error) => write!(f, "front.addresses: {error}"),
            Self::Admin(address, error) => write!(f, "admin.listen: cannot listen on {address}: {error}"),
            Self::Load(error) => error.fmt(f),
            Self::Attach(error) => write!(f, "front.interfaces: {error}"),
            Self::Pin(error) => write!(f, "agent.pins: {error}"),
            Self::Probe(error) => error.fmt(f),
            Self::Macs(error) => write!(f, "reading the interfaces' MAC addresses failed: {error}"),
            Self::Config(faults) => f.write_str(faults),
            Self::Minimum(shortfalls) => {
                let all: Vec<_> = shortfalls.iter().map(ToString::to_string).collect();
                write!(f, "{}: lower the minimum in the configuration if this is meant", all.join("; "))
            }
            Self::State(owned) => write!(f, "[state] `directory`: {owned}"),
            Self::Restart(key) => write!(f, "{key} is not as it was: a reload cannot change it, restart the agent"),
            Self::Fault(words) => write!(f, "a fault of zerottl itself, please report it: {words}"),
            Self::Ended(what) => write!(f, "stopped because {what}"),
        }
    }
}

impl Error for AgentError {}

impl From<AttachmentError> for AgentError {
    fn from(error: AttachmentError) -> Self {
        match error {
            AttachmentError::Pin(error) => Self::Pin(error),
            error => Self::Attach(error),
        }
    }
}

impl AgentError {
    /// Whether something else listens where this agent is to.
    pub(super) fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind(error) | Self::Admin(_, error) if error.kind() == io::ErrorKind::AddrInUse)
    }
}
