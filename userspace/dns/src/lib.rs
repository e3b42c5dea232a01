//! The socket path: UDP and TCP on the served addresses, for whatever the kernel passes up.
//!
//! | module    | does |
//! |-----------|------|
//! | [`zone`]  | the zones' data as trees of names, and the look-up (pure) |
//! | [`master`] | master files into records |
//! | `fault` | what is wrong with a zone's data |
//! | `rewrite` | a master file's text into entries and tokens (pure) |
//! | `text_form` | a record's data from its text (pure) |
//! | `generate` | `$GENERATE` (pure) |
//! | [`load`]  | records and the model into [`zone::Zones`] |
//! | [`follow`] | zones after those before them: serials (pure) |
//! | [`query`] | a message into a [`query::QueryMessage`] (pure) |
//! | [`options`] | EDNS options, read and written (pure) |
//! | [`cookies`] | what a COOKIE option is answered with (pure) |
//! | [`chaos`] | class CH (pure) |
//! | [`reply`] | the contents of an answer |
//! | [`dnssec`] | the signatures and proofs of signed zones |
//! | [`mod@resolve`] | a question into the records that answer it (pure but for the plan's cursors) |
//! | [`forward`] | names whose questions other servers answer |
//! | [`mod@respond`] | a message into its answer, within its limits and its client's rate (pure but for the plan's cursors and the rates) |
//! | [`transport`] | how a message came, and from whom |
//! | [`service`] | the answer to a message, whatever socket it came by: counted, forwarded, transferred |
//! | [`server`] | the sockets, and UDP |
//! | [`tcp`] | TCP connections and their limits |
//! | [`transfer`] | whole zones (pure) |
//! | [`svcb`] | the parameters of HTTPS records (pure) |
//! | [`client`] | who asks, as far as an answer may depend on it |
//! | [`view`] | what the socket path answers from: model, newest plan, cursors and rates of its own |
//! | [`counters`] | what the sockets count |
//!
//! | RFC | state |
//! |-----|-------|
//! | 1034, 1035, 2181, 2308, 3596, 4343, 4592, 6604, 8020 | answers, negative answers, names, wildcards, CNAME chains |
//! | 1995, 5936 | AXFR of static zones, to whom it is allowed; IXFR answered by the whole zone, or the SOA alone |
//! | 3597 | unknown types |
//! | 4033 to 4035, 6840 | signed zones: every answer, with NSEC proofs |
//! | 6605, 8080 | keys of algorithms 13 and 15 |
//! | 7344, 8078 | CDS and CDNSKEY at the apex |
//! | 8198, 9077 | proofs that may be kept and used again: the types that may ever be there, and their TTL |
//! | 4892 | version.bind, id.server and their like in class CH, where configured |
//! | 5001 | NSID, where configured |
//! | 5452 | forwarded queries: ID, port, question, source and bailiwick checked |
//! | 6672 | DNAME from records files, with CNAMEs made of it |
//! | 6891 | EDNS(0): size, version, DO, options |
//! | 7766, 9210 | TCP: pipelining, half-close, limits |
//! | 7828 | edns-tcp-keepalive: how long a connection may be idle, to whom asks over TCP |
//! | 7871 | client subnet: client nets, sticky, honest scope |
//! | 7873, 9018 | cookies |
//! | 8482 | ANY: one `RRset`, HINFO at dynamic names |
//! | 8906, 9619 | unknown opcodes, types, flags, options; QDCOUNT |
//! | 8945 | TSIG: every key is unknown (NOTAUTH, BADKEY) |
//! | 9460 | HTTPS of dynamic names, with the chosen Site's hints; SVCB and HTTPS from records files |
//! | 9471 | glue of referrals, or TC |
//! | 9715 | no fragments: 1,232 bytes at most, and TC |
//!
//! What is proven of each, and by which test, is in `docs/rfc.md`.

#![forbid(unsafe_code)]

pub mod chaos;
pub mod client;
pub mod cookies;
pub mod counters;
pub mod dnssec;
mod fault;
pub mod follow;
pub mod forward;
mod generate;
pub mod load;
pub mod master;
pub mod options;
pub mod query;
pub mod reply;
pub mod resolve;
pub mod respond;
mod rewrite;
pub mod server;
pub mod service;
pub mod svcb;
pub mod tcp;
mod text_form;
pub mod transfer;
pub mod transport;
pub mod view;
pub mod zone;

pub use counters::DnsCounters;
pub use fault::{Faults, ZoneError};
pub use respond::respond;
pub use rewrite::ttl_seconds;

pub use forward::CONCURRENT_MAX as FORWARDS_MAX;
pub use server::Sockets;
pub use service::{DnsService, Served, now};
pub use tcp::{CONNECTIONS_MAX, TcpAdmission};
pub use transport::Transport;
pub use zone::Zones;

#[cfg(test)]
mod tests;
