//! What zerottl learns of Sites: probes of their addresses, and what they say of their load.

#![forbid(unsafe_code)]

pub mod agent_client;
pub mod load;
pub mod probe;
