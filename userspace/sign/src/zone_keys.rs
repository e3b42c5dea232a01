//! The keys of a zone.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use domain::{
    base::{
        ToName,
        iana::{DigestAlgorithm, SecurityAlgorithm},
        rdata::ComposeRecordData,
    },
    crypto::common::DigestType,
    crypto::ring::DigestBuilder,
    rdata::{Cdnskey, Cds, Dnskey, Ds},
};
use serde::{Deserialize, Serialize};

use zerottl_core::model;

use super::key::{KeyError, SigningKey};

/// The folder of keys within the state directory.
const FOLDER: &str = "keys";

/// The keys of one zone, in force together.
#[derive(Clone, Debug)]
pub struct ZoneKeys {
    /// Which stand in the DNSKEY set, ordered by their tags.
    all: Vec<Arc<SigningKey>>,
    /// Of these, which sign the key sets.
    entry: Vec<Arc<SigningKey>>,
    /// Of these, which signs everything but the key sets.
    zone: Arc<SigningKey>,
    /// Of these, which the parent's DS set is to name.
    delegated: Vec<Arc<SigningKey>>,
}

/// The work that a key has in its zone.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_excessive_bools, reason = "each comes and goes on its own while keys are rolled")]
pub struct KeyDuties {
    /// Whether it stands in the DNSKEY set.
    pub is_published: bool,
    /// Whether it signs the key sets.
    pub signs_keys: bool,
    /// Whether it signs everything else.
    pub signs_zone: bool,
    /// Whether the parent's DS set is to name it.
    pub is_at_parent: bool,
}

impl KeyDuties {
    /// Those of a key that is in use: a KSK's, a ZSK's or, with both, a CSK's.
    #[must_use]
    pub fn in_use(signs_keys: bool, signs_zone: bool) -> Self {
        Self { is_published: true, signs_keys, signs_zone, is_at_parent: signs_keys }
    }
}

impl ZoneKeys {
    /// The keys of some files, all in use: where there are ZSKs, they sign the data; a CSK is a KSK without them.
    pub fn of_files(zone: &model::Name, files: &[PathBuf]) -> Result<Self, KeyError> {
        let keys = files.iter().map(|file| SigningKey::read(zone, file)).collect::<Result<Vec<_>, _>>()?;
        let has_zsk = keys.iter().any(|key| !key.is_sep());
        let in_use = |key: SigningKey| {
            let duties = KeyDuties::in_use(key.is_sep(), !(has_zsk && key.is_sep()));
            (Arc::new(key), duties)
        };
        Self::new(zone, keys.into_iter().map(in_use).collect())
    }

    /// Of keys in any order, with their duties.
    pub fn new(zone: &model::Name, mut keys: Vec<(Arc<SigningKey>, KeyDuties)>) -> Result<Self, KeyError> {
        keys.sort_by_key(|(key, _)| key.tag());
        keys.dedup_by_key(|(key, _)| key.tag());
        let with = |has: fn(&KeyDuties) -> bool| -> Vec<_> {
            let having = keys.iter().filter(|(_, duties)| duties.is_published && has(duties));
            having.map(|(key, _)| Arc::clone(key)).collect()
        };
        let missing = |what, help| KeyError::Missing { zone: zone.to_string(), what, help };
        let entry = with(|duties| duties.signs_keys);
        if entry.is_empty() {
            return Err(missing("the DNSKEY set", "name a KSK or a CSK as well, whose flags are 257"));
        }
        let signer = with(|duties| duties.signs_zone).into_iter().next();
        let signer = signer.ok_or_else(|| missing("the zone's data", "name a ZSK or a CSK"))?;
        Ok(Self { all: with(|_| true), entry, zone: signer, delegated: with(|duties| duties.is_at_parent) })
    }

    /// Whether others are the same keys with the same duties.
    #[must_use]
    pub fn is_same(&self, other: &Self) -> bool {
        let tags = |keys: &Self| {
            let of = |list: &[Arc<SigningKey>]| list.iter().map(|key| key.tag()).collect::<Vec<_>>();
            (of(&keys.all), of(&keys.entry), keys.zone.tag(), of(&keys.delegated))
        };
        tags(self) == tags(other)
    }

    /// The key that signs the zone's data.
    #[must_use]
    pub fn zone_key(&self) -> &Arc<SigningKey> {
        &self.zone
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<SigningKey>] {
        &self.all
    }

    /// The keys that sign the key sets: DNSKEY, CDS and CDNSKEY.
    pub fn entry_points(&self) -> impl Iterator<Item = &Arc<SigningKey>> {
        self.entry.iter()
    }

    /// Each with its duties.
    pub fn duties(&self) -> impl Iterator<Item = (&Arc<SigningKey>, KeyDuties)> {
        self.all.iter().map(|key| {
            let is_among = |list: &[Arc<SigningKey>]| list.iter().any(|one| one.tag() == key.tag());
            let duties = KeyDuties {
                is_published: true,
                signs_keys: is_among(&self.entry),
                signs_zone: self.zone.tag() == key.tag(),
                is_at_parent: is_among(&self.delegated),
            };
            (key, duties)
        })
    }

    /// The DNSKEY set.
    pub fn dnskeys(&self) -> impl Iterator<Item = Dnskey<Bytes>> {
        self.all.iter().map(|key| key.dnskey().clone())
    }

    /// The CDNSKEY set (RFC 7344).
    pub fn cdnskeys(&self) -> impl Iterator<Item = Cdnskey<Bytes>> {
        let keys = self.delegated.iter().map(|key| key.dnskey());
        keys.filter_map(|key| Cdnskey::new(key.flags(), key.protocol(), key.algorithm(), key.public_key().clone()).ok())
    }

    /// The DS set that the parent needs: SHA-256 (RFC 4509), as RFC 8624 section 3.3 asks.
    pub fn delegation_signers(&self, zone: &model::Name) -> impl Iterator<Item = Ds<Bytes>> {
        let of = |(tag, algorithm, digest)| Ds::new(tag, algorithm, DigestAlgorithm::SHA256, digest).ok();
        self.digests(zone).filter_map(of)
    }

    /// The CDS set (RFC 7344).
    pub fn cds(&self, zone: &model::Name) -> impl Iterator<Item = Cds<Bytes>> {
        let of = |(tag, algorithm, digest)| Cds::new(tag, algorithm, DigestAlgorithm::SHA256, digest).ok();
        self.digests(zone).filter_map(of)
    }

    fn digests(&self, zone: &model::Name) -> impl Iterator<Item = (u16, SecurityAlgorithm, Bytes)> {
        self.delegated.iter().map(|key| {
            let mut bytes = Vec::new();
            let Ok(()) = zone.compose_canonical(&mut bytes);
            let Ok(()) = key.dnskey().compose_canonical_rdata(&mut bytes);
            let mut digest = DigestBuilder::new(DigestType::Sha256);
            digest.update(&bytes);
            (key.tag(), key.algorithm(), Bytes::copy_from_slice(digest.finish().as_ref()))
        })
    }
}

/// The folder of a zone's keys in the state directory.
#[must_use]
pub fn folder(zone: &model::Name, state: &Path) -> PathBuf {
    let name = zone.fmt_with_dot().to_string().to_ascii_lowercase().replace('/', "\\047");
    // The root's would be the folder itself.
    state.join(FOLDER).join(if zone.is_root() { "root".to_owned() } else { name })
}

/// The files of the keys in a folder, those of their DNSKEYs.
pub(crate) fn files(folder: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let error = |error| KeyError::File { file: folder.to_owned(), error };
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(missing) if missing.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(other) => return Err(error(other)),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(error)?.path();
        if path.extension().is_some_and(|ending| ending == "key") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
