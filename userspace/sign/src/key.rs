//! One key, and its two files.
//!
//! `dnssec-keygen` and `ldns-keygen` write `K<zone>+<algorithm>+<tag>.key`, a DNSKEY record, and `….private`, the secret;
//! so does this.

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
};

use bytes::Bytes;
use domain::{
    base::{
        Record, Ttl,
        iana::{Class, SecurityAlgorithm},
    },
    crypto::sign::{GenerateParams, KeyPair, SecretKeyBytes, SignRaw as _, generate},
    dnssec::common::{display_as_bind, parse_from_bind},
    rdata::Dnskey,
};

use zerottl_core::model;

use super::disk;

/// Bytes of a signature: of ECDSA P-256 (RFC 6605 section 4) and Ed25519 (RFC 8080 section 4) alike.
pub const SIGNATURE_LEN: usize = 64;

/// The signature's own bytes.
pub type SetSignature = [u8; SIGNATURE_LEN];

/// ZONE, and SEP: of a key that the parent's DS names (RFC 4034 section 2.1.1).
const FLAGS_SEP: u16 = 257;
/// ZONE alone.
const FLAGS_ZONE: u16 = 256;
/// Bytes of a key file, at most.
const FILE_LEN_MAX: u64 = 64 << 10;

/// The algorithms whose signatures are made here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyAlgorithm {
    /// ECDSA P-256 with SHA-256: 13 (RFC 6605).
    EcdsaP256,
    /// Ed25519: 15 (RFC 8080).
    Ed25519,
}

impl KeyAlgorithm {
    fn parameters(self) -> GenerateParams {
        match self {
            Self::EcdsaP256 => GenerateParams::EcdsaP256Sha256,
            Self::Ed25519 => GenerateParams::Ed25519,
        }
    }

    /// That of a number, if it is one of ours.
    #[must_use]
    pub fn of(number: SecurityAlgorithm) -> Option<Self> {
        [Self::EcdsaP256, Self::Ed25519].into_iter().find(|one| one.number() == number)
    }

    /// Its number (RFC 8624).
    #[must_use]
    pub fn number(self) -> SecurityAlgorithm {
        self.parameters().algorithm()
    }
}

impl From<model::ZoneAlgorithm> for KeyAlgorithm {
    fn from(algorithm: model::ZoneAlgorithm) -> Self {
        match algorithm {
            model::ZoneAlgorithm::EcdsaP256Sha256 => Self::EcdsaP256,
            model::ZoneAlgorithm::Ed25519 => Self::Ed25519,
        }
    }
}

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// A file cannot be read or written.
    #[error("{}: {error}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// A file is no key's.
    #[error("{} is not a key file as dnssec-keygen or ldns-keygen write it: {reason}", file.display())]
    Format {
        /// Its path.
        file: PathBuf,
        /// Which part of it cannot be read.
        reason: &'static str,
    },
    /// The two files of a key do not belong together, or its algorithm is not one of ours.
    #[error(
        "the key {} cannot be used: its two files do not belong together, or its algorithm is neither 13 \
         (ECDSAP256SHA256) nor 15 (ED25519)",
        .0.display()
    )]
    Mismatch(PathBuf),
    /// It is another zone's.
    #[error("the key {} is one of the zone {of}, not of {zone}", file.display())]
    OtherZone {
        /// The file of its DNSKEY.
        file: PathBuf,
        /// The zone in the file.
        of: String,
        /// The zone it is used for.
        zone: String,
    },
    /// A zone has files of keys none of which signs what is asked of it.
    #[error("the keys of the zone {zone} have none that signs {what}: {help}")]
    Missing {
        /// The zone.
        zone: String,
        /// Of which records.
        what: &'static str,
        /// A remedy.
        help: &'static str,
    },
    /// The file of a zone's keys over time is damaged, or of another version.
    #[error(
        "{} is not the state of a zone's keys: {error}; restore it, or take it away, so that all keys beside it are \
         taken as in use",
        file.display()
    )]
    State {
        /// Its path.
        file: PathBuf,
        /// Where it cannot be read.
        error: serde_json::Error,
    },
    /// The system gives no randomness.
    #[error("a key cannot be made: the system gives no random numbers")]
    NoRandomness,
}

/// A key, with its secret unless that is on another host.
pub struct SigningKey {
    /// None of a key that is known by its DNSKEY alone.
    pair: Option<KeyPair>,
    dnskey: Dnskey<Bytes>,
    tag: u16,
}

impl fmt::Debug for SigningKey {
    /// Without the secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("dnskey", &self.dnskey).field("tag", &self.tag).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Makes one, and the texts of its two files: DNSKEY, secret.
    pub fn generate(zone: &model::Name, algorithm: KeyAlgorithm, is_sep: bool) -> Result<(Self, KeyFiles), KeyError> {
        let flags = if is_sep { FLAGS_SEP } else { FLAGS_ZONE };
        let (secret, dnskey) = generate(&algorithm.parameters(), flags).map_err(|_| KeyError::NoRandomness)?;
        let dnskey: Dnskey<Bytes> = dnskey.convert();
        let record = Record::new(zone.clone(), Class::IN, Ttl::from_secs(0), dnskey.clone());
        let stem = stem(zone, &dnskey);
        let files = KeyFiles {
            public: display_as_bind(&record).to_string(),
            secret: secret.display_as_bind().to_string(),
            stem: stem.clone(),
        };
        Ok((Self::new(&secret, dnskey, Path::new(&stem))?, files))
    }

    fn new(secret: &SecretKeyBytes, dnskey: Dnskey<Bytes>, file: &Path) -> Result<Self, KeyError> {
        let is_ours = KeyAlgorithm::of(dnskey.algorithm()).is_some();
        let pair = KeyPair::from_bytes(secret, &dnskey).ok().filter(|_| is_ours);
        let pair = pair.ok_or_else(|| KeyError::Mismatch(file.to_owned()))?;
        Ok(Self { tag: dnskey.key_tag(), pair: Some(pair), dnskey })
    }

    /// A key by its DNSKEY alone, which signs nothing here; none where its algorithm is not one of ours.
    #[must_use]
    pub fn without_secret(dnskey: Dnskey<Bytes>) -> Option<Self> {
        KeyAlgorithm::of(dnskey.algorithm())?;
        Some(Self { tag: dnskey.key_tag(), pair: None, dnskey })
    }

    /// Reads a key of a zone from its two files, of which one is named: `….key`, `….private`, or what both have in common.
    pub fn read(zone: &model::Name, file: &Path) -> Result<Self, KeyError> {
        let [public, private] = both(file);
        let text = read(&public)?;
        let format = |file: &Path, reason| KeyError::Format { file: file.to_owned(), reason };
        let record = parse_from_bind::<Bytes>(&text).map_err(|_| format(&public, "it has no single DNSKEY record"))?;
        if record.owner() != zone {
            let (of, zone) = (record.owner().to_string(), zone.to_string());
            return Err(KeyError::OtherZone { file: public, of, zone });
        }
        let secret = SecretKeyBytes::parse_from_bind(&read(&private)?);
        let secret = secret.map_err(|_| format(&private, "the secret cannot be read"))?;
        Self::new(&secret, record.into_data(), &public)
    }

    /// The signature of a message; none where the system gives no randomness, or the secret is on another host.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Option<SetSignature> {
        self.pair.as_ref()?.sign_raw(message).ok()?.as_ref().try_into().ok()
    }

    /// Its DNSKEY.
    #[must_use]
    pub fn dnskey(&self) -> &Dnskey<Bytes> {
        &self.dnskey
    }

    /// Its key tag (RFC 4034 appendix B).
    #[must_use]
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// Its algorithm's number.
    #[must_use]
    pub fn algorithm(&self) -> SecurityAlgorithm {
        self.dnskey.algorithm()
    }

    /// Whether the parent's DS names it: a KSK, or a CSK.
    #[must_use]
    pub fn is_sep(&self) -> bool {
        self.dnskey.is_secure_entry_point()
    }
}

/// The texts of a key's two files.
pub struct KeyFiles {
    /// Of `….key`.
    public: String,
    /// Of `….private`.
    secret: String,
    stem: String,
}

impl KeyFiles {
    /// Writes both to a folder, the secret first and for its owner alone; returns the path of the DNSKEY's.
    pub fn write(&self, folder: &Path) -> Result<PathBuf, KeyError> {
        let write = |ending: &str, text: &str, mode| {
            let file = folder.join(self.name(ending));
            disk::create(&file, text, mode).map_err(|error| KeyError::File { file: file.clone(), error })?;
            Ok(file)
        };
        write("private", &self.secret, 0o600)?;
        write("key", &self.public, 0o644)
    }

    /// The name of one of them: that ending in `key` or in `private`.
    pub(crate) fn name(&self, ending: &str) -> String {
        format!("{}.{ending}", self.stem)
    }
}

/// Removes both files of a key, of which one is named, the secret first; what is not there is no error.
pub(crate) fn remove(file: &Path) -> Result<(), KeyError> {
    let [public, private] = both(file);
    for file in [private, public] {
        match fs::remove_file(&file) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(KeyError::File { file, error }),
            _ => {}
        }
    }
    Ok(())
}

fn read(file: &Path) -> Result<String, KeyError> {
    let error = |error| KeyError::File { file: file.to_owned(), error };
    if fs::metadata(file).map_err(error)?.len() > FILE_LEN_MAX {
        return Err(KeyError::Format { file: file.to_owned(), reason: "it is far too long" });
    }
    fs::read_to_string(file).map_err(error)
}

/// As `dnssec-keygen` names them. Bytes that have no business in a file's name are written as in a zone file, a slash too.
fn stem(zone: &model::Name, dnskey: &Dnskey<Bytes>) -> String {
    let zone = zone.fmt_with_dot().to_string().to_ascii_lowercase().replace('/', "\\047");
    format!("K{zone}+{:03}+{:05}", dnskey.algorithm().to_int(), dnskey.key_tag())
}

/// DNSKEY and secret of a key of which one file is named, or what both have in common. A stem has dots of its own.
fn both(file: &Path) -> [PathBuf; 2] {
    let text = file.as_os_str().to_string_lossy();
    let stem = text.strip_suffix(".key").or(text.strip_suffix(".private")).unwrap_or(&text);
    [format!("{stem}.key").into(), format!("{stem}.private").into()]
}
