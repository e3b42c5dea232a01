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

use zerottl_core::model::{self, DnssecConfig};

use super::key::{KeyError, SigningKey};

/// The folder of keys within the state directory.
const FOLDER: &str = "keys";

/// The keys of one zone, in force together.
#[derive(Clone, Debug)]
pub struct ZoneKeys {
    /// Which stand in the DNSKEY set, ordered by their tags.
    all: Vec<Arc<SigningKey>>,
    /// Of these, which signs everything but the key sets.
    zone: Arc<SigningKey>,
}

impl ZoneKeys {
    /// Reads a zone's keys: those that its configuration names, or those in the state directory, where one is made if
    /// there is none.
    pub fn open(zone: &model::Name, config: &DnssecConfig, state: &Path) -> Result<Self, KeyError> {
        let files = if config.keys.is_empty() { kept(zone, state)? } else { config.keys.clone() };
        if files.is_empty() {
            return Self::generate(zone, config, state);
        }
        let keys = files.iter().map(|file| SigningKey::read(zone, file).map(Arc::new)).collect::<Result<_, _>>()?;
        Self::new(zone, keys)
    }

    /// The keys that there are, without making any; none where there is none.
    pub fn look(zone: &model::Name, config: &DnssecConfig, state: &Path) -> Result<Option<Self>, KeyError> {
        let files = if config.keys.is_empty() { kept(zone, state)? } else { config.keys.clone() };
        if files.is_empty() { Ok(None) } else { Self::open(zone, config, state).map(Some) }
    }

    fn generate(zone: &model::Name, config: &DnssecConfig, state: &Path) -> Result<Self, KeyError> {
        let folder = folder(zone, state);
        fs::create_dir_all(&folder).map_err(|error| KeyError::File { file: folder.clone(), error })?;
        let algorithm = config.algorithm.into();
        let mut keys = Vec::new();
        // A CSK, or a KSK and then a ZSK.
        let roles: &[bool] = if config.split_keys { &[true, false] } else { &[true] };
        for is_sep in roles {
            let (key, files) = SigningKey::generate(zone, algorithm, *is_sep)?;
            files.write(&folder)?;
            keys.push(Arc::new(key));
        }
        Self::new(zone, keys)
    }

    /// Of keys in any order.
    fn new(zone: &model::Name, mut keys: Vec<Arc<SigningKey>>) -> Result<Self, KeyError> {
        keys.sort_by_key(|key| key.tag());
        keys.dedup_by_key(|key| key.tag());
        let missing = |what, help| KeyError::Missing { zone: zone.to_string(), what, help };
        if !keys.iter().any(|key| key.is_sep()) {
            return Err(missing("the DNSKEY set", "name a KSK or a CSK as well, whose flags are 257"));
        }
        // Where there are ZSKs, they sign the data; a CSK is a KSK without them.
        let signer = keys.iter().find(|key| !key.is_sep()).or(keys.first()).cloned();
        let zone = signer.ok_or_else(|| missing("the zone's data", "name a ZSK or a CSK"))?;
        Ok(Self { all: keys, zone })
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
        self.all.iter().filter(|key| key.is_sep())
    }

    /// The DNSKEY set.
    pub fn dnskeys(&self) -> impl Iterator<Item = Dnskey<Bytes>> {
        self.all.iter().map(|key| key.dnskey().clone())
    }

    /// The CDNSKEY set (RFC 7344).
    pub fn cdnskeys(&self) -> impl Iterator<Item = Cdnskey<Bytes>> {
        let keys = self.entry_points().map(|key| key.dnskey());
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
        self.entry_points().map(|key| {
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

/// The files of the keys in the state directory, those of their DNSKEYs.
fn kept(zone: &model::Name, state: &Path) -> Result<Vec<PathBuf>, KeyError> {
    let folder = folder(zone, state);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(KeyError::File { file: folder, error }),
    };
    let mut files = Vec::new();
    for entry in entries {
        let path = entry.map_err(|error| KeyError::File { file: folder.clone(), error })?.path();
        if path.extension().is_some_and(|ending| ending == "key") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}
