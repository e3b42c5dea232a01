//! The record types that the packet code knows.

/// TYPE A.
pub(crate) const TYPE_A: u16 = 1;
/// TYPE AAAA.
pub(crate) const TYPE_AAAA: u16 = 28;
/// TYPE SOA.
pub(crate) const TYPE_SOA: u16 = 6;
/// TYPE HTTPS.
pub(crate) const TYPE_HTTPS: u16 = 65;
/// TYPE OPT.
pub(crate) const TYPE_OPT: u16 = 41;
/// RRSIG.
pub(crate) const TYPE_RRSIG: u16 = 46;
/// NSEC.
pub(crate) const TYPE_NSEC: u16 = 47;
