//! The stand-alone server and proxy.
//!
//! ```text
//! listen ─> serve ─────────────> the service: operation 500 around Proxy ──> backend
//!           TLS, HTTP, bounds,    any tower service                          health, kept connections
//!           one Host per request
//! ```
//!
//! | module | what |
//! |---|---|
//! | [`listen`] | sockets, and who may connect |
//! | [`tls`] | certificates by server name, read anew as a whole |
//! | [`mod@serve`] | connections: TLS, HTTP/1.1, HTTP/2, and how they end |
//! | `conn_timeouts` | how long a connection may wait, in both directions |
//! | `h2_stream_timeouts` | the same for HTTP/2's streams |
//! | `normalize` | requests in one form, or refused; pure |
//! | [`proxy`] | requests to one of the backends |
//! | `headers` | what of a head is passed on, and what is added; pure |
//! | [`backend`] | which backend, whether it is healthy, connections kept to it |
//! | `health` | whether a backend is asked, by its probes and its requests; pure |
//! | `cause` | why an answer did not come, in words |
//! | `upstream_conn` | one connection to a backend |
//! | `body` | bodies within bounds of size and time |
//! | `upload` | a request's body, and what becomes of it when the answer comes first |
//! | `tunnel` | what an upgraded connection (WebSocket) becomes |
//! | [`counters`] | what happened how often |
//! | `access` | the access log: what its lines say |
//! | `lines` | lines on their way to a file, which nobody waits for |
mod access;
pub mod backend;
mod body;
mod cause;
mod conn_timeouts;
pub mod counters;
mod h2_stream_timeouts;
mod headers;
mod health;
mod lines;
pub mod listen;
mod normalize;
pub mod proxy;
pub mod serve;
pub mod tls;
mod tunnel;
mod upload;
mod upstream_conn;

pub use self::{
    access::AccessLog,
    body::ProxyBody,
    counters::{Counters, Refused},
    listen::{Bound, bind},
    proxy::Proxy,
    serve::serve,
    tls::Certificates,
    upload::ClientBody,
};

pub use zerottl_site::layer::Peer;

#[cfg(test)]
mod tests;
