//! The Site: operation 500 of seed 004, Figs. 5A and 5B.
//!
//! DNS chooses a Site; the Site binds the client to it. A request without a session is decided on by a pure function of
//! what is known of it, and redirected, admitted, told that all Sites are busy, or refused; one with a session passes by.
//!
//! | module | what |
//! |---|---|
//! | [`host`] | authorities, normalised |
//! | [`name`] | whose name a request is under |
//! | `exempt` | what operation 500 leaves alone |
//! | [`topology`] | where a Site stands among the others: names and orders |
//! | [`refusal`] | why a request is refused |
//! | [`marker`] | what a redirect leaves in the URL for the next stage |
//! | [`decide`] | operation 500, stage by stage; pure |
//! | [`group`] | which group a request belongs to; pure |
//! | [`clients`] | clients by their nets, and what part of a limit one of them may fill |
//! | [`overload`] | whether the Site is too busy for one more session |
//! | [`waiting_room`] | when whom is turned away may return, and the key that lets them go first |
//! | [`session`] | what a session is |
//! | [`cookies`] | cookies, read and written |
//! | [`peers`] | which other Sites are up |
//! | `forwarded` | what proxies say of a client, and who is believed |
//! | `seen` | what is known of a request |
//! | [`trail`] | what is found out about a request on its way, for whoever logs it |
//! | `buckets` | counts that forget |
//! | [`admission`] | all of these at run time: from a request to what is done with it |
//! | [`respond`] | decisions as responses |
//! | [`layer`] | the same around any tower service |
//! | [`explain`] | what would become of a request, for people |
//! | [`metrics`] | what ended how often at which stage |
//! | [`ext_auth`] | operation 500 for other servers that ask: nginx, HAProxy, Caddy, Traefik, Envoy |
#![forbid(unsafe_code)]

pub mod admission;
mod buckets;
pub mod clients;
pub mod cookies;
pub mod decide;
mod exempt;
pub mod explain;
pub mod ext_auth;
#[cfg(test)]
mod fixture;
pub mod forwarded;
pub mod group;
pub mod host;
pub mod layer;
pub mod marker;
pub mod metrics;
pub mod name;
pub mod overload;
pub mod peers;
pub mod refusal;
pub mod respond;
mod seen;
pub mod session;
pub mod topology;
pub mod trail;
pub mod waiting_room;
