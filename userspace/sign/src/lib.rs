//! DNSSEC: keys, signatures and their times, and the order of names (RFC 4033 to 4035).
//!
//! | module | does |
//! |---|---|
//! | [`key`] | one key: made, read from and written to the files of `dnssec-keygen` and `ldns-keygen` |
//! | [`zone_keys`] | the keys of a zone: DNSKEY, DS, CDS, CDNSKEY, and which of them signs |
//! | [`keyring`] | the keys in the state directory, and how they change |
//! | [`roll`] | the exchange of a key, step by step |
//! | [`signature`] | a set of records into the bytes that are signed, and the RRSIG |
//! | [`store`] | signatures that are kept in the state directory |
//! | [`bundle`] | signatures for periods ahead, in a file for hosts without the keys |
//! | [`validity`] | from when to when signatures are good, and when they are made anew |
//! | `disk` | files of the state directory, of the owner that it has |
//! | [`canonical`] | names in canonical order (pure) |
//! | [`bitmap`] | the types of an NSEC (pure) |
//!
//! Keys, algorithms and their formats are `domain`'s and `ring`'s; nothing here computes with secrets.

#![forbid(unsafe_code)]

pub mod bitmap;
pub mod bundle;
pub mod canonical;
mod disk;
pub mod key;
pub mod keyring;
pub mod roll;
pub mod signature;
pub mod store;
pub mod validity;
pub mod zone_keys;

pub use bundle::{Bundle, ZoneBundle};
pub use key::{KeyAlgorithm, KeyError, SIGNATURE_LEN, SetSignature, SigningKey};
pub use keyring::{KeyRole, Keyring};
pub use signature::RecordSet;
pub use validity::Validity;
pub use zone_keys::ZoneKeys;
