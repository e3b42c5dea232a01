//! Why the agent does not start, or ends by itself, or keeps its configuration.

use std::io;

use thiserror::Error;

use super::tasks::TaskEnded;
use zerottl_config::ConfigError;
use zerottl_core::{minimums::Undershoot, model::AdminListen};
use zerottl_dns::dnssec::{SignError, TakeError};
use zerottl_fleet::FleetError;
use zerottl_hooks::HookSetupError;
use zerottl_host::state;
use zerottl_inputs::http_check::ProbeError;
use zerottl_kernel::{LoadError, attachments::AttachmentError, pins::PinError};
use zerottl_sign::KeyError;

/// The reason why the agent does not start, or ends by itself, or keeps its configuration.
#[derive(Debug, Error)]
pub enum AgentError {
    /// A served address.
    #[error("front.addresses: {0}")]
    Bind(#[source] io::Error),
    /// The admin interface.
    #[error("admin.listen: cannot listen on {0}: {1}")]
    Admin(AdminListen, #[source] io::Error),
    /// The program or its maps.
    #[error(transparent)]
    Load(LoadError),
    /// An interface.
    #[error("front.interfaces: {0}")]
    Attach(#[source] AttachmentError),
    /// The pins of what outlives the agent.
    #[error("agent.pins: {0}")]
    Pin(#[source] PinError),
    /// The probes' own setup.
    #[error(transparent)]
    Probe(ProbeError),
    /// A hook's own setup.
    #[error(transparent)]
    Hook(HookSetupError),
    /// Interfaces' MACs cannot be read.
    #[error("reading the interfaces' MAC addresses failed: {0}")]
    Macs(#[source] io::Error),
    /// The configuration, with its faults.
    #[error("{}", .0.render(false))]
    Config(#[source] ConfigError),
    /// A configuration that would take from a pool more than its minimum allows.
    #[error("{0}: lower the minimum in the configuration if this is meant")]
    Minimum(Undershoot),
    /// Another agent has the state directory.
    #[error("[state] `directory`: {0}")]
    State(#[source] state::lock::Owned),
    /// The keys of a signed zone.
    #[error("dnssec: {0}")]
    Keys(#[source] KeyError),
    /// A signed zone.
    #[error("dnssec: {0}")]
    Sign(#[source] SignError),
    /// The bundle of a signed zone.
    #[error("dnssec: {0}")]
    Bundle(#[source] TakeError),
    /// The fleet's client.
    #[error("[fleet]: {0}")]
    Fleet(#[source] FleetError),
    /// A setting that a reload cannot change.
    #[error("{0} is not as it was: a reload cannot change it, restart the agent")]
    Restart(&'static str),
    /// A panic, in its own words.
    #[error("a fault of zerottl itself, please report it: {0}")]
    Panic(String),
    /// A part ended that must not.
    #[error("stopped because {0}")]
    Ended(#[source] TaskEnded),
}

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
