//! Signed zones (RFC 4033 to 4035): every answer that a zone can ever give is signed beforehand.
//!
//! | module | does |
//! |---|---|
//! | [`chain`] | the names that a zone has data of, in canonical order, and their types |
//! | `statement` | everything that is signed at a name, in the order of its signatures |
//! | [`zone`] | a zone's signatures, in cohorts |
//! | [`links`] | a zone and its signatures for another place that answers |
//! | [`mirror`] | places besides its own that a zone's signatures are answered from |
//! | [`bundled`] | what is signed elsewhere, and answered here |
//! | `prove` | a reply with its signatures and proofs |
//!
//! A name that the plan answers has a signature for each address of each Site that it may come to. What the plan answers
//! now does not matter here, so a change of health changes nothing.

pub mod bundled;
pub mod chain;
pub mod links;
pub mod mirror;
mod prove;
mod statement;
pub mod zone;

pub use bundled::{TakeError, UnsignedNames, ZoneToSign};
pub(crate) use chain::is_of_keys;
pub(crate) use prove::{own as own_records, sign as sign_reply};
pub use zone::{SignError, SignedZone};

/// The signatures of each zone; none of those that are not signed. Zones behind the end are not.
pub type AllSigned = [Option<std::sync::Arc<SignedZone>>];
