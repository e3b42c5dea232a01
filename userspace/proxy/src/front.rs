//! The stand-alone server and proxy.
//!
//! ```text
//! listen ─> serve ─────────────> the service: operation 500 around Proxy ──> backend
//!           TLS, HTTP, bounds,    any tower service                          health, idle connections
//!           one Host per request
//! ```
//!
//! | module | concern |
//! |---|---|
//! | `listen` | sockets, and who may connect |
//! | `tls` | certificates by server name, read anew as a whole |
//! | `serve` | connections: TLS, HTTP/1.1, HTTP/2, and how they end |
//! | `conn_state` | the state that a connection and its requests share |
//! | `conn_timeouts` | how long a connection may wait, in both directions |
//! | `h2_stream_timeouts` | how long a stream of HTTP/2 may wait for its client |
//! | `normalize` | requests in one form, or refused; pure |
//! | `proxy` | requests to one of the backends |
//! | `headers` | the parts of a head that are passed on, and what is added; pure |
//! | `backend` | the choice of a backend, its health, idle connections to it |
//! | `invited` | application servers that have said that they are ready |
//! | `screen` | whether a request may pass, by the word of another server |
//! | `health` | whether a backend is asked, by its probes and its requests; pure |
//! | `cause` | why an answer did not come, in words |
//! | `upstream_conn` | one connection to a backend |
//! | `request_body`, `response_body` | bodies within bounds of size and time |
//! | `upload` | a client's body, and what becomes of it when the answer comes first |
//! | `timer` | one timer for many deadlines |
//! | `tunnel` | upgraded connections (WebSocket) |
//! | [`counters`] | events, counted for the metrics |
//! | `access` | the access log: what its lines say |
//! | `log_limit` | lines that repeat, from many requests at a time |
//! | `lines` | lines on their way to a file, which nobody waits for |

mod access;
mod backend;
mod cause;
mod conn_state;
mod conn_timeouts;
pub(crate) mod counters;
mod h2_stream_timeouts;
mod headers;
mod health;
mod invited;
mod lines;
mod listen;
mod log_limit;
mod normalize;
mod proxy;
mod request_body;
mod response_body;
mod screen;
mod serve;
mod timer;
mod tls;
mod tunnel;
mod upload;
mod upstream_conn;

pub(crate) use self::{
    access::{AccessLogError, AccessLogWriter},
    counters::{FrontCounters, FrontRefusal, ScreenResult},
    listen::{Arrivals, BindError, Bound, ListenError, bind},
    proxy::Proxy,
    response_body::ProxyBody,
    serve::serve,
    tls::Certificates,
    upload::ClientBody,
};

pub(crate) use zerottl_site::layer::Peer;

#[cfg(test)]
mod tests;
