//! One check over the network: connecting, TLS, a GET or a call and what the answer says; for probes, for load reports and for
//! backends.
//!
//! | module       | what it is                                                     |
//! |--------------|----------------------------------------------------------------|
//! | [`get`]      | a GET, its status, and some text in its body, or the body      |
//! | `grpc`       | a call by the gRPC health protocol                             |
//! | [`conn`]     | the TCP connection                                             |
//! | [`tls`]      | whom to trust, loaded once, and the handshake                  |
//! | `metered`    | what a check takes from whom it asks, bounded                  |
//! | [`failure`]  | how far a check has come, and why it failed                    |
//! | `schedule`   | when checks start, pure                                        |

pub mod conn;
pub mod failure;
pub mod get;
pub(crate) mod grpc;
pub(crate) mod metered;
pub(crate) mod schedule;
pub mod tls;

pub use conn::connect;
pub use failure::{CheckStage, Failure, GrpcFailure, Progress, SetupError};
pub use get::Get;
pub use tls::{Configs, TrustAnyone};

/// Why probing, or asking for loads, cannot start.
#[derive(Debug, thiserror::Error)]
#[error("{part} of site `{site}`: {source}")]
pub struct ProbeError {
    /// The table of the Site's section that it is about: `probe` or `load`.
    pub part: &'static str,
    /// The Site's key.
    pub site: String,
    /// The fault.
    pub source: Box<SetupError>,
}
