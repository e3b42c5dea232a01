//! `[zone."…"] dnssec`.

use std::{path::PathBuf, time::Duration};

/// How a zone is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnssecConfig {
    /// The algorithm of keys that are made here.
    pub algorithm: ZoneAlgorithm,
    /// Whether keys that are made here are a KSK and a ZSK, and not one for both (a CSK).
    pub split_keys: bool,
    /// Files of DNSKEYs, with their secrets beside them; where there are none, the state directory's are used.
    pub keys: Vec<PathBuf>,
    /// The file with signatures that are made on another host, which has the keys.
    pub bundle: Option<PathBuf>,
    /// How long a signature is good from when it is made.
    pub validity: Duration,
    /// How long a signature is used until the next one is made.
    pub renew: Duration,
    /// With how much time left a signature is an alarm.
    pub signature_alarm: Duration,
    /// TTL of the DS set at the parent: for so long others keep the DS of a key that is rolled.
    pub parent_ttl: Duration,
}

impl Default for DnssecConfig {
    /// The file's own defaults.
    fn default() -> Self {
        Self {
            algorithm: ZoneAlgorithm::EcdsaP256Sha256,
            split_keys: false,
            keys: Vec::new(),
            bundle: None,
            validity: Duration::from_hours(96),
            renew: Duration::from_hours(24),
            signature_alarm: Duration::from_hours(36),
            parent_ttl: Duration::from_hours(24),
        }
    }
}

/// `dnssec.algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ZoneAlgorithm {
    /// 13 (RFC 6605).
    EcdsaP256Sha256,
    /// 15 (RFC 8080).
    Ed25519,
}
