//! Signatures that are kept: what a start or a reload goes on from without signing again.
//!
//! ```text
//! "zerottl signatures 1\n"
//! cohort: key tag 2 | inception 4 | expiration 4 | count 4 | count x (digest 16 | signature 64)      each number big-endian
//! …
//! SHA-256 of all before 32
//! ```
//!
//! A signature is found by the digest of what it signs, so that a file of another configuration gives those that still fit
//! and no others. Times stand once for a cohort: signatures of one cohort are good from the same second to the same second.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
};

use domain::crypto::{common::DigestType, ring::DigestBuilder};

use super::{
    disk,
    key::{SIGNATURE_LEN, SetSignature},
    validity::Validity,
    zone_keys,
};
use zerottl_core::model;

const MAGIC: &[u8] = b"zerottl signatures 1\n";
/// Bytes of a digest that are kept: two sets of records meet in them by no accident.
pub const DIGEST_LEN: usize = 16;
/// Bytes of a SHA-256.
pub(crate) const SUM_LEN: usize = 32;
/// Bytes of such a file, at most: some 40 million signatures.
const FILE_LEN_MAX: u64 = 3 << 30;

/// A set of records without the times and the key of its signature: the first bytes of a SHA-256.
pub type SetDigest = [u8; DIGEST_LEN];

/// Signatures with one validity, by one key.
#[derive(Clone, Debug)]
pub struct KeptCohort {
    /// The key's tag.
    pub tag: u16,
    /// Their times.
    pub validity: Validity,
    /// The signatures.
    pub signatures: HashMap<SetDigest, SetSignature>,
}

/// Why kept signatures cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum KeptError {
    /// The file.
    #[error("{}: {error}", file.display())]
    File {
        /// Its path.
        file: PathBuf,
        /// The system's reason.
        error: io::Error,
    },
    /// It is damaged, or something else.
    #[error("{} holds no signatures: it is damaged, or another file", .0.display())]
    Damaged(PathBuf),
}

/// The digest of some bytes.
#[must_use]
pub fn digest(bytes: &[u8]) -> SetDigest {
    let mut short = [0; DIGEST_LEN];
    short.copy_from_slice(&sum(bytes)[..DIGEST_LEN]);
    short
}

/// The SHA-256 of some bytes.
pub(crate) fn sum(bytes: &[u8]) -> [u8; SUM_LEN] {
    let mut builder = DigestBuilder::new(DigestType::Sha256);
    builder.update(bytes);
    let mut sum = [0; SUM_LEN];
    sum.copy_from_slice(builder.finish().as_ref());
    sum
}

/// The file of a zone's signatures in the state directory.
#[must_use]
pub fn file(zone: &model::Name, state: &Path) -> PathBuf {
    zone_keys::folder(zone, state).join("signatures")
}

/// Writes cohorts to a file, whole or not at all.
pub fn write(file: &Path, cohorts: &[KeptCohort]) -> Result<(), KeptError> {
    let mut bytes = MAGIC.to_vec();
    for cohort in cohorts {
        bytes.extend(cohort.tag.to_be_bytes());
        bytes.extend(cohort.validity.inception.to_be_bytes());
        bytes.extend(cohort.validity.expiration.to_be_bytes());
        bytes.extend((cohort.signatures.len() as u32).to_be_bytes());
        for (digest, signature) in &cohort.signatures {
            bytes.extend(digest);
            bytes.extend(signature);
        }
    }
    bytes.extend(sum(&bytes));
    // Its folder is not there where the zone's keys are the operator's own.
    let folder = file.parent().map_or(Ok(()), fs::create_dir_all);
    let written = folder.and_then(|()| disk::replace(file, &bytes));
    written.map_err(|error| KeptError::File { file: file.to_owned(), error })
}

/// Reads what [`write()`] wrote; nothing where there is no file.
pub fn read(file: &Path) -> Result<Vec<KeptCohort>, KeptError> {
    let error = |error| KeptError::File { file: file.to_owned(), error };
    let bytes = match fs::metadata(file) {
        Ok(meta) if meta.len() > FILE_LEN_MAX => return Err(KeptError::Damaged(file.to_owned())),
        Ok(_) => fs::read(file).map_err(error)?,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(other) => return Err(error(other)),
    };
    decode(&bytes).ok_or_else(|| KeptError::Damaged(file.to_owned()))
}

fn decode(bytes: &[u8]) -> Option<Vec<KeptCohort>> {
    let (content, expected) = bytes.split_last_chunk::<SUM_LEN>()?;
    if sum(content) != *expected {
        return None;
    }
    let mut rest = content.strip_prefix(MAGIC)?;
    let mut cohorts = Vec::new();
    while !rest.is_empty() {
        let (tag, inception, expiration, count);
        (tag, rest) = rest.split_first_chunk()?;
        (inception, rest) = rest.split_first_chunk()?;
        (expiration, rest) = rest.split_first_chunk()?;
        (count, rest) = rest.split_first_chunk()?;
        let mut signatures = HashMap::new();
        for _ in 0..u32::from_be_bytes(*count) {
            let (digest, signature);
            (digest, rest) = rest.split_first_chunk::<DIGEST_LEN>()?;
            (signature, rest) = rest.split_first_chunk::<SIGNATURE_LEN>()?;
            signatures.insert(*digest, *signature);
        }
        let validity =
            Validity { inception: u32::from_be_bytes(*inception), expiration: u32::from_be_bytes(*expiration) };
        cohorts.push(KeptCohort { tag: u16::from_be_bytes(*tag), validity, signatures });
    }
    Some(cohorts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_is_read_again_and_damage_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("keys").join("signatures");
        assert!(read(&file).expect("none").is_empty());
        let cohort = |tag, n: u8| KeptCohort {
            tag,
            validity: Validity { inception: 7, expiration: u32::MAX },
            signatures: (0..n).map(|at| (digest(&[at]), [at; SIGNATURE_LEN])).collect(),
        };
        write(&file, &[cohort(1, 3), cohort(2, 0), cohort(65_535, 200)]).expect("written");
        let again = read(&file).expect("read");
        let of = |at: usize| (again[at].tag, again[at].validity.expiration, again[at].signatures.len());
        assert_eq!((of(0), of(1), of(2)), ((1, u32::MAX, 3), (2, u32::MAX, 0), (65_535, u32::MAX, 200)));
        assert_eq!(again[2].signatures[&digest(&[199])], [199; SIGNATURE_LEN]);
        let whole = fs::read(&file).expect("bytes");
        for at in [0, 30, whole.len() - 1] {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            fs::write(&file, &bytes).expect("written");
            assert!(matches!(read(&file), Err(KeptError::Damaged(_))), "byte {at}");
        }
        for len in [0, 10, whole.len() - 1] {
            fs::write(&file, &whole[..len]).expect("written");
            assert!(matches!(read(&file), Err(KeptError::Damaged(_))), "{len} bytes");
        }
    }
}
