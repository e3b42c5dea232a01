//! Inputs about Sites: probes of their addresses, and what they say of their load.
//!
//! | module | what it is |
//! |---|---|
//! | [`http_check`] | one check over the network: connecting, TLS, a GET |
//! | [`probe`] | attempts over the network, and the verdict on each address |
//! | [`load`] | reports of load, in each form, and the newest of each Site |
//! | [`agent_client`] | a client of an agent's admin interface |

#![forbid(unsafe_code)]

pub mod agent_client;
pub mod http_check;
pub mod load;
pub mod probe;
