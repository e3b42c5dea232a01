//! Bundles: the signatures of zones for periods ahead, made where the keys are and answered where they are not.
//!
//! ```text
//! "zerottl bundle 1\n"
//! zone:    digest 16 x count, ascending
//! period:  signature 64 x count, in the order of the digests | key sets: (digest 16 | tag 2 | signature 64) x count
//! …
//! contents: zones, keys, periods and where their sections are, JSON
//! length of the contents 8 | SHA-256 of all before 32                                        each number big-endian
//! ```
//!
//! A period begins before the one before it is over, so that signatures of neither are over while they are answered. What
//! is in memory is one period's; the file stays open, so that the next one is of the same bundle, whatever has been put in
//! the file's place. Each section has a sum of its own: one that has been written over is seen.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    str::FromStr as _,
    sync::Arc,
    time::Duration,
};

use domain::{
    base::{Record, Ttl, iana::Class},
    crypto::{common::DigestType, ring::DigestBuilder},
    dnssec::common::{display_as_bind, parse_from_bind},
};
use serde::{Deserialize, Serialize};

use super::{
    key::{KeyError, SIGNATURE_LEN, SetSignature, SigningKey},
    keyring::time,
    store::{DIGEST_LEN, SUM_LEN, SetDigest, sum},
    validity::Validity,
    zone_keys::{KeyDuties, ZoneKeys},
};
use zerottl_core::model;

mod writer;

pub use writer::BundleWriter;

const MAGIC: &[u8] = b"zerottl bundle 1\n";
/// Bytes behind the contents: their length, and the sum of all.
const END_LEN: usize = 8 + SUM_LEN;
/// Bytes of the contents, at most.
const CONTENTS_LEN_MAX: u64 = 256 << 20;
/// Bytes of a signature of a key set, with the digest of that set and the tag of the key.
const KEY_SIGNATURE_LEN: usize = DIGEST_LEN + 2 + SIGNATURE_LEN;
/// Bytes that are read at a time.
const BLOCK_LEN: usize = 1 << 20;

/// Why a bundle cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BundleError {
    /// The file.
    #[error("the bundle {}: {error}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// It is damaged, or something else.
    #[error("{} is no bundle, or not a whole one: it is damaged, cut off, or another file; copy it anew", .0.display())]
    Damaged(PathBuf),
    /// A zone is not in it.
    #[error(
        "the bundle {} has nothing of the zone {zone}, only of {has}: sign that as well, with `zerottl sign`",
        file.display()
    )]
    Zone {
        /// Its path.
        file: PathBuf,
        /// The zone.
        zone: String,
        /// Zones that it has.
        has: String,
    },
    /// The keys in it cannot be used.
    #[error("the bundle {}: {error}", file.display())]
    Keys {
        /// Its path.
        file: PathBuf,
        /// The reason.
        error: KeyError,
    },
    /// All its signatures have expired.
    #[error(
        "the bundle {} of the zone {zone} is over since {}, and resolvers believe none of its signatures: make a new one \
         with `zerottl sign`, and put it there",
        file.display(),
        time(*end)
    )]
    Over {
        /// Its path.
        file: PathBuf,
        /// The zone.
        zone: String,
        /// Its end, seconds since 1970.
        end: u64,
    },
    /// None of its signatures is good yet.
    #[error(
        "the bundle {} of the zone {zone} begins on {}, and the clock here is at {}: set the clock, here or where the \
         bundle was made, or wait",
        file.display(),
        time(*begin),
        time(*now)
    )]
    Early {
        /// Its path.
        file: PathBuf,
        /// The zone.
        zone: String,
        /// Its begin, seconds since 1970.
        begin: u64,
        /// The time here.
        now: u64,
    },
}

/// A part of the file.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
struct Section {
    /// Its first byte.
    at: u64,
    /// Its bytes.
    len: u64,
    sum: [u8; SUM_LEN],
}

/// The contents.
#[derive(Debug, Deserialize, Serialize)]
struct Contents {
    zones: Vec<ZoneContents>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct ZoneContents {
    zone: String,
    serial: u32,
    keys: Vec<KeyContents>,
    digests: Section,
    periods: Vec<PeriodContents>,
}

#[derive(Clone, Debug, Deserialize, Serialize)]
struct KeyContents {
    /// A line of a zone file.
    dnskey: String,
    duties: KeyDuties,
}

#[derive(Clone, Copy, Debug, Deserialize, Serialize)]
struct PeriodContents {
    period: BundlePeriod,
    signatures: Section,
    key_sets: Section,
}

/// A time in which the signatures of one validity are answered.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, Serialize)]
pub struct BundlePeriod {
    /// From when on they are answered, seconds since 1970; they are good a little before that.
    pub begin: u64,
    /// The last second at which they are good.
    pub end: u64,
}

impl BundlePeriod {
    /// The periods that cover a time from `now`, each of some `validity` and followed by the next after `renew`.
    #[must_use]
    pub fn covering(now: u64, span: Duration, validity: Duration, renew: Duration) -> Vec<Self> {
        let of = |begin: u64| Self { begin, end: begin + validity.as_secs() };
        let end = now + span.as_secs();
        let step = renew.as_secs().max(1) as usize;
        let mut periods: Vec<_> = (now..end).step_by(step).map(of).take_while(|one| one.end < end).collect();
        periods.push(of(now + periods.len() as u64 * step as u64));
        periods
    }

    /// That of the signatures.
    #[must_use]
    pub fn validity(self) -> Validity {
        Validity::new(self.begin as u32, Duration::from_secs(self.end - self.begin))
    }
}

/// A signature of a key set: there is one of each key that signs these.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeySetSignature {
    /// The set.
    pub digest: SetDigest,
    /// The key's tag.
    pub tag: u16,
    /// The signature.
    pub signature: SetSignature,
}

/// A file whose sections are read when they are needed.
#[derive(Debug)]
struct BundleFile {
    path: PathBuf,
    file: File,
}

/// A bundle whose sum is right.
#[derive(Debug)]
pub struct Bundle {
    file: Arc<BundleFile>,
    contents: Contents,
}

/// The part of a bundle that is one zone's.
#[derive(Debug)]
pub struct ZoneBundle {
    file: Arc<BundleFile>,
    zone: String,
    keys: Arc<ZoneKeys>,
    serial: u32,
    digests: Section,
    periods: Vec<PeriodContents>,
}

/// The signatures of one period.
#[derive(Debug)]
pub struct PeriodSignatures {
    /// Its times.
    pub period: BundlePeriod,
    digests: Vec<SetDigest>,
    signatures: Vec<SetSignature>,
    key_sets: Vec<KeySetSignature>,
}

impl Bundle {
    /// Opens a bundle, and looks whether it is whole.
    pub fn open(path: &Path) -> Result<Self, BundleError> {
        let error = |error| BundleError::File { file: path.to_owned(), error };
        let damaged = || BundleError::Damaged(path.to_owned());
        // The kind first: opening a FIFO would wait for its other end.
        if !fs::metadata(path).map_err(error)?.is_file() {
            return Err(damaged());
        }
        let file = File::open(path).map_err(error)?;
        let file_len = file.metadata().map_err(error)?.len();
        let contents_end = file_len.checked_sub(END_LEN as u64).ok_or_else(damaged)?;
        let (mut magic, mut end) = ([0; MAGIC.len()], [0; END_LEN]);
        file.read_exact_at(&mut end, contents_end).map_err(error)?;
        let (len, expected) = end.split_at(8);
        let is_whole = sum_of(&file, file_len - SUM_LEN as u64).map_err(error)? == expected;
        if !is_whole || file.read_exact_at(&mut magic, 0).is_err() || magic != MAGIC {
            return Err(damaged());
        }
        let len = u64::from_be_bytes(len.try_into().map_err(|_| damaged())?);
        let at = contents_end.checked_sub(len).filter(|_| len <= CONTENTS_LEN_MAX).ok_or_else(damaged)?;
        let mut text = vec![0; len as usize];
        file.read_exact_at(&mut text, at).map_err(error)?;
        let contents = serde_json::from_slice(&text).map_err(|_| damaged())?;
        Ok(Self { file: Arc::new(BundleFile { path: path.to_owned(), file }), contents })
    }

    /// The part of a zone.
    pub fn zone(&self, zone: &model::Name) -> Result<ZoneBundle, BundleError> {
        let file = || self.file.path.clone();
        let is_it = |one: &&ZoneContents| model::Name::from_str(&one.zone).is_ok_and(|name| name == *zone);
        let Some(found) = self.contents.zones.iter().find(is_it) else {
            let has: Vec<_> = self.contents.zones.iter().take(8).map(|one| one.zone.as_str()).collect();
            return Err(BundleError::Zone { file: file(), zone: zone.to_string(), has: has.join(", ") });
        };
        let key = |of: &KeyContents| {
            let record = parse_from_bind(&of.dnskey).ok()?;
            let key = SigningKey::without_secret(record.into_data())?;
            Some((Arc::new(key), of.duties))
        };
        let keys = found.keys.iter().map(key).collect::<Option<Vec<_>>>();
        let keys = keys.filter(|_| !found.periods.is_empty()).ok_or_else(|| BundleError::Damaged(file()))?;
        let keys = ZoneKeys::new(zone, keys).map_err(|error| BundleError::Keys { file: file(), error })?;
        Ok(ZoneBundle {
            file: Arc::clone(&self.file),
            zone: zone.to_string(),
            keys: Arc::new(keys),
            serial: found.serial,
            digests: found.digests,
            periods: found.periods.clone(),
        })
    }
}

impl ZoneBundle {
    /// The zone's keys, without their secrets.
    #[must_use]
    pub fn keys(&self) -> &Arc<ZoneKeys> {
        &self.keys
    }

    /// The serial of the SOA that was signed.
    #[must_use]
    pub fn serial(&self) -> u32 {
        self.serial
    }

    /// Its file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.file.path
    }

    /// Its periods, in their order.
    #[must_use]
    pub fn periods(&self) -> impl ExactSizeIterator<Item = BundlePeriod> + DoubleEndedIterator {
        self.periods.iter().map(|one| one.period)
    }

    /// The last second at which signatures of it are good, in seconds since 1970.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.periods().map(|period| period.end).max().unwrap_or_default()
    }

    /// The position of the period whose signatures are answered at a time.
    pub fn at(&self, now: u64) -> Result<usize, BundleError> {
        let (file, zone) = (|| self.file.path.clone(), || self.zone.clone());
        if now > self.end() {
            return Err(BundleError::Over { file: file(), zone: zone(), end: self.end() });
        }
        let first = self.periods().next();
        // A clock that is a little behind finds the first one good.
        let is_early = first.filter(|first| first.validity().inception.wrapping_sub(now as u32).cast_signed() > 0);
        match is_early {
            Some(first) => Err(BundleError::Early { file: file(), zone: zone(), begin: first.begin, now }),
            None => Ok(self.periods().rposition(|period| period.begin <= now).unwrap_or_default()),
        }
    }

    /// The digests of all that is signed but for the key sets, ascending.
    pub fn digests(&self) -> Result<Vec<SetDigest>, BundleError> {
        self.read(self.digests)
    }

    /// The signatures of a period, by its position.
    pub fn signatures(&self, at: usize) -> Result<PeriodSignatures, BundleError> {
        let damaged = || BundleError::Damaged(self.file.path.clone());
        let of = self.periods.get(at).ok_or_else(damaged)?;
        let (digests, signatures) = (self.digests()?, self.read(of.signatures)?);
        let key_sets = self.read::<KEY_SIGNATURE_LEN>(of.key_sets)?.iter().map(KeySetSignature::read).collect();
        if digests.len() != signatures.len() {
            return Err(damaged());
        }
        Ok(PeriodSignatures { period: of.period, digests, signatures, key_sets })
    }

    /// A section, in pieces of one length.
    fn read<const N: usize>(&self, section: Section) -> Result<Vec<[u8; N]>, BundleError> {
        let BundleFile { path, file } = &*self.file;
        let (damaged, error) =
            (|| BundleError::Damaged(path.clone()), |error| BundleError::File { file: path.clone(), error });
        let len = file.metadata().map_err(error)?.len();
        if section.at.checked_add(section.len).is_none_or(|end| end > len) {
            return Err(damaged());
        }
        let mut pieces = vec![[0; N]; section.len as usize / N];
        let bytes = pieces.as_flattened_mut();
        file.read_exact_at(bytes, section.at).map_err(error)?;
        if bytes.len() as u64 == section.len && sum(bytes) == section.sum { Ok(pieces) } else { Err(damaged()) }
    }
}

impl PeriodSignatures {
    /// The signature of a set of records, but for the key sets.
    #[must_use]
    pub fn find(&self, digest: &SetDigest) -> Option<SetSignature> {
        self.digests.binary_search(digest).ok().map(|at| self.signatures[at])
    }

    /// The signature of a key set by a key.
    #[must_use]
    pub fn find_of_keys(&self, digest: &SetDigest, tag: u16) -> Option<SetSignature> {
        let found = self.key_sets.iter().find(|one| one.digest == *digest && one.tag == tag);
        found.map(|one| one.signature)
    }
}

impl KeySetSignature {
    fn read(bytes: &[u8; KEY_SIGNATURE_LEN]) -> Self {
        let (mut digest, mut tag, mut signature) = ([0; DIGEST_LEN], [0; 2], [0; SIGNATURE_LEN]);
        digest.copy_from_slice(&bytes[..DIGEST_LEN]);
        tag.copy_from_slice(&bytes[DIGEST_LEN..DIGEST_LEN + 2]);
        signature.copy_from_slice(&bytes[DIGEST_LEN + 2..]);
        Self { digest, tag: u16::from_be_bytes(tag), signature }
    }

    fn bytes(&self) -> Vec<u8> {
        [&self.digest[..], &self.tag.to_be_bytes(), &self.signature].concat()
    }
}

fn key_contents(zone: &model::Name, keys: &ZoneKeys) -> Vec<KeyContents> {
    let of = |(key, duties): (&Arc<SigningKey>, KeyDuties)| {
        let record = Record::new(zone.clone(), Class::IN, Ttl::from_secs(0), key.dnskey().clone());
        KeyContents { dnskey: display_as_bind(&record).to_string(), duties }
    };
    keys.duties().map(of).collect()
}

/// The SHA-256 of the first bytes of a file.
fn sum_of(file: &File, len: u64) -> io::Result<[u8; SUM_LEN]> {
    let mut builder = DigestBuilder::new(DigestType::Sha256);
    let mut block = vec![0; BLOCK_LEN];
    let mut at = 0;
    while at < len {
        let block = &mut block[..BLOCK_LEN.min((len - at) as usize)];
        file.read_exact_at(block, at)?;
        builder.update(block);
        at += block.len() as u64;
    }
    Ok(finished(builder))
}

fn finished(builder: DigestBuilder) -> [u8; SUM_LEN] {
    let mut sum = [0; SUM_LEN];
    sum.copy_from_slice(builder.finish().as_ref());
    sum
}

#[cfg(test)]
mod tests;
