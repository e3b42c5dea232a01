//! The keys of a zone in the state directory, over time.
//!
//! ```text
//! keys/<zone>/K<zone>+<algorithm>+<tag>.key, .private     each key
//! keys/<zone>/keyset.json                                 each key's work, and the roll that is under way
//! ```
//!
//! A folder with keys and without `keyset.json`, as an older release or a person's hands have left it, is taken as keys
//! that are all in use; the file is written when something changes. Who changes something holds the folder's lock.

use std::{
    fs::{self, File},
    io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, UNIX_EPOCH},
};

use domain::{
    base::{Name, ToName as _},
    dnssec::sign::keys::keyset::{Available, KeySet, KeyState, KeyType, UnixTime},
};
use serde::{Deserialize, Serialize};

use super::{
    disk,
    key::{self, KeyAlgorithm, KeyError, SigningKey},
    zone_keys::{self, KeyDuties, ZoneKeys},
};
use zerottl_core::model::{self, DnssecConfig};

/// The name of the file beside the keys.
const FILE: &str = "keyset.json";
/// The form of that file. The key set in it is in the form of the library, which a later one may read otherwise.
const VERSION: u32 = 1;

/// A zone's keys and how far their roll is.
#[derive(Clone)]
pub struct Keyring {
    pub(crate) zone: model::Name,
    pub(crate) folder: PathBuf,
    pub(crate) set: KeySet,
    pub(crate) reports: Reports,
}

/// The parts of a roll's step that are known to be done, in seconds since 1970; none of them outlives its step.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
pub(crate) struct Reports {
    /// Since when everything is signed by the new key.
    pub signatures: Option<u64>,
    /// Since when the parent has the new DS.
    pub parent: Option<u64>,
}

/// The content of the file.
#[derive(Deserialize, Serialize)]
struct Kept {
    version: u32,
    keys: KeySet,
    reports: Reports,
}

/// The right to change a zone's keys, until it is dropped.
#[derive(Debug)]
pub struct KeyringLock {
    _folder: File,
}

/// The state of the file, which differs once somebody has written it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyringVersion(Option<(u64, i64, i64)>);

/// The part that a key has been made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// It signs the key sets and everything else.
    Csk,
    /// It signs the key sets, and the parent's DS names it.
    Ksk,
    /// It signs everything but the key sets.
    Zsk,
}

impl KeyRole {
    /// Its usual abbreviation.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Csk => "CSK",
            Self::Ksk => "KSK",
            Self::Zsk => "ZSK",
        }
    }

    pub(crate) fn is_sep(self) -> bool {
        self != Self::Zsk
    }
}

/// Opens a zone's keys: those that its configuration names, or those in the state directory, where they are made if there
/// are none.
pub fn open(zone: &model::Name, config: &DnssecConfig, state: &Path) -> Result<ZoneKeys, KeyError> {
    if !config.keys.is_empty() {
        return ZoneKeys::of_files(zone, &config.keys);
    }
    let folder = zone_keys::folder(zone, state);
    fs::create_dir_all(&folder).map_err(|error| KeyError::File { file: folder.clone(), error })?;
    let lock = lock(zone, state)?;
    if let Some(keyring) = Keyring::read(zone, state)? {
        return keyring.keys();
    }
    let mut keyring = Keyring::empty(zone, folder);
    let roles: &[KeyRole] = if config.split_keys { &[KeyRole::Ksk, KeyRole::Zsk] } else { &[KeyRole::Csk] };
    for role in roles {
        let file = keyring.generate(*role, config.algorithm.into(), &UnixTime::now())?;
        keyring.put_in_use(&file, *role);
    }
    keyring.write(&lock)?;
    keyring.keys()
}

/// The keys that there are, without making any; none where there is none.
pub fn look(zone: &model::Name, config: &DnssecConfig, state: &Path) -> Result<Option<ZoneKeys>, KeyError> {
    if !config.keys.is_empty() {
        return ZoneKeys::of_files(zone, &config.keys).map(Some);
    }
    Keyring::read(zone, state)?.map(|keyring| keyring.keys()).transpose()
}

/// Waits for the right to change a zone's keys. Its folder has to be there.
pub fn lock(zone: &model::Name, state: &Path) -> Result<KeyringLock, KeyError> {
    let folder = zone_keys::folder(zone, state);
    let locked = File::open(&folder).and_then(|file| file.lock().map(|()| file));
    let file = locked.map_err(|error| KeyError::File { file: folder, error })?;
    Ok(KeyringLock { _folder: file })
}

impl KeyringVersion {
    /// That of now.
    #[must_use]
    pub fn of(zone: &model::Name, state: &Path) -> Self {
        let meta = fs::metadata(zone_keys::folder(zone, state).join(FILE)).ok();
        Self(meta.map(|meta| (meta.ino(), meta.mtime(), meta.mtime_nsec())))
    }
}

impl Keyring {
    fn empty(zone: &model::Name, folder: PathBuf) -> Self {
        let name: Name<Vec<u8>> = zone.to_name();
        Self { zone: zone.clone(), folder, set: KeySet::new(name), reports: Reports::default() }
    }

    /// Reads what the state directory has of a zone's keys; none where there are none.
    pub fn read(zone: &model::Name, state: &Path) -> Result<Option<Self>, KeyError> {
        let folder = zone_keys::folder(zone, state);
        let file = folder.join(FILE);
        let mut keyring = Self::empty(zone, folder);
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            Err(missing) if missing.kind() == io::ErrorKind::NotFound => return keyring.adopt(),
            Err(error) => return Err(KeyError::File { file, error }),
        };
        let kept = serde_json::from_str(&text).and_then(|kept: Kept| match kept.version {
            VERSION => Ok(kept),
            other => Err(serde::de::Error::custom(format!("its version is {other}, and {VERSION} is known"))),
        });
        let kept = kept.map_err(|error| KeyError::State { file, error })?;
        (keyring.set, keyring.reports) = (kept.keys, kept.reports);
        Ok(Some(keyring))
    }

    /// Takes all keys of the folder as in use.
    fn adopt(mut self) -> Result<Option<Self>, KeyError> {
        let files = zone_keys::files(&self.folder)?;
        let read = |file: &PathBuf| Ok((name_of(file), SigningKey::read(&self.zone, file)?));
        let keys = files.iter().map(read).collect::<Result<Vec<_>, KeyError>>()?;
        let has_zsk = keys.iter().any(|(_, key)| !key.is_sep());
        for (name, key) in &keys {
            let role = match (key.is_sep(), has_zsk) {
                (false, _) => KeyRole::Zsk,
                (true, true) => KeyRole::Ksk,
                (true, false) => KeyRole::Csk,
            };
            // Two of the same tag could not be told apart; the first of them is used.
            if self.add(name, role, key, &UnixTime::now()) {
                self.put_in_use(name, role);
            }
        }
        Ok((!keys.is_empty()).then_some(self))
    }

    /// Writes it, whole or not at all.
    pub fn write(&self, _lock: &KeyringLock) -> Result<(), KeyError> {
        let file = self.folder.join(FILE);
        let kept = Kept { version: VERSION, keys: self.set.clone(), reports: self.reports };
        let text =
            serde_json::to_string_pretty(&kept).map_err(|error| KeyError::State { file: file.clone(), error })?;
        disk::replace(&file, text.as_bytes()).map_err(|error| KeyError::File { file, error })
    }

    /// The keys that are in force now, with their secrets.
    pub fn keys(&self) -> Result<ZoneKeys, KeyError> {
        let mut keys = Vec::new();
        for (name, key) in self.set.keys() {
            let duties = duties(&key.keytype());
            if duties.is_published {
                keys.push((Arc::new(SigningKey::read(&self.zone, &self.folder.join(name))?), duties));
            }
        }
        ZoneKeys::new(&self.zone, keys)
    }

    /// Makes a key and its files, without any work yet; returns its name.
    pub(crate) fn generate(
        &mut self,
        role: KeyRole,
        algorithm: KeyAlgorithm,
        now: &UnixTime,
    ) -> Result<String, KeyError> {
        loop {
            let (key, files) = SigningKey::generate(&self.zone, algorithm, role.is_sep())?;
            let name = files.name("key");
            // The tags of a zone's keys differ.
            if self.add(&name, role, &key, now) {
                files.write(&self.folder)?;
                return Ok(name);
            }
        }
    }

    /// Adds a key without any work; false where there is one of its tag.
    fn add(&mut self, name: &str, role: KeyRole, key: &SigningKey, now: &UnixTime) -> bool {
        let secret = Some(format!("{}.private", name.strip_suffix(".key").unwrap_or(name)));
        let add = match role {
            KeyRole::Csk => KeySet::add_key_csk,
            KeyRole::Ksk => KeySet::add_key_ksk,
            KeyRole::Zsk => KeySet::add_key_zsk,
        };
        let of = (key.algorithm(), key.tag());
        add(&mut self.set, name.to_owned(), secret, of.0, of.1, now.clone(), Available::Available).is_ok()
    }

    /// Gives a key that has been added all work of its role, as one that everybody has always known.
    fn put_in_use(&mut self, name: &str, role: KeyRole) {
        let (set, always) = (&mut self.set, time(0));
        let mut done = set.set_present(name, true).and_then(|()| set.set_signer(name, true));
        if role.is_sep() {
            done = done.and_then(|()| set.set_at_parent(name, true));
        }
        let done = done
            .and_then(|()| set.set_visible(name, always.clone()))
            .and_then(|()| set.set_ds_visible(name, always.clone()))
            .and_then(|()| set.set_rrsig_visible(name, always));
        done.expect("the key has just been added with this role");
    }

    /// Forgets the keys that have no work left, and removes their files.
    pub(crate) fn clear(&mut self, lock: &KeyringLock) -> Result<(), KeyError> {
        let names: Vec<_> = self.set.keys().keys().cloned().collect();
        // Only those without work can be deleted.
        let gone: Vec<_> = names.into_iter().filter(|name| self.set.delete_key(name).is_ok()).collect();
        self.write(lock)?;
        gone.iter().try_for_each(|name| key::remove(&self.folder.join(name)))
    }
}

/// The duties of a key in the library's words.
pub(crate) fn duties(of: &KeyType) -> KeyDuties {
    let either = |keys: &KeyState, zone: &KeyState| KeyDuties {
        is_published: keys.present() || zone.present(),
        signs_keys: keys.signer(),
        signs_zone: zone.signer(),
        is_at_parent: keys.at_parent(),
    };
    let none = KeyState::default();
    match of {
        KeyType::Csk(keys, zone) => either(keys, zone),
        KeyType::Ksk(keys) => either(keys, &none),
        KeyType::Zsk(zone) => either(&none, zone),
        KeyType::Include(key) => KeyDuties { is_published: key.present(), ..KeyDuties::default() },
    }
}

/// A time in the library's form, which is shown as a date.
///
/// # Panics
/// Never: that of any time behind 1970 is one.
#[must_use]
pub fn time(seconds: u64) -> UnixTime {
    UnixTime::try_from(UNIX_EPOCH + Duration::from_secs(seconds)).expect("a time behind 1970")
}

fn name_of(file: &Path) -> String {
    file.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned())
}
