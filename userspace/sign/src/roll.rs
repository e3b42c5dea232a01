//! The exchange of a zone's keys, by the state machine of a library ([`KeySet`](domain::dnssec::sign::keys::keyset)).
//!
//! | step | what happens | it ends |
//! |---|---|---|
//! | 1 | the new key stands in the DNSKEY set, and a KSK or CSK signs that set beside the old one | once that is served |
//! | 2 | wait: until no cache has the DNSKEY set without the new key | TTL of DNSKEY later |
//! | 3 | ZSK, CSK: everything is signed by the new key. KSK, CSK: CDS names the new key, and the parent replaces its DS | once all is signed, and somebody has reported the parent |
//! | 4 | wait: until no cache has a signature, or a DS, of the old key | the longest TTL of the zone, or that of the parent's DS, later |
//! | 5 | the old key leaves the DNSKEY set, and its files are removed | once that is served |
//!
//! At every time a resolver with any mixture of what it may have kept can validate. Time is passed in, so that tests go
//! through days; the library looks at the clock as well, and is content with times that are long past.

use std::{fmt, path::Path, sync::Arc, time::Duration};

use domain::{
    base::iana::SecurityAlgorithm,
    dnssec::sign::keys::keyset::{self, Action, KeySet, KeyType, RollState, RollType, UnixTime},
};

use super::{
    key::{self, KeyAlgorithm, KeyError, SigningKey},
    keyring::{self, KeyRole, Keyring, KeyringLock, time},
    zone_keys::{self, KeyDuties, ZoneKeys},
};
use zerottl_core::model::{self, DnssecConfig};

/// Why a roll does not go on.
#[derive(Debug, thiserror::Error)]
pub enum RollError {
    /// A key or its file.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The keys are not the agent's.
    #[error(
        "the keys of the zone {0} are named in its configuration (`keys`), so they are yours to exchange: name the new \
         one beside the old one first"
    )]
    Configured(model::Name),
    /// The keys are on another host.
    #[error(
        "the keys of the zone {0} are not here, it is answered from a bundle: run this on the host that signs, and say with \
         `--state` where the keys are there"
    )]
    Elsewhere(model::Name),
    /// There are none yet.
    #[error("the zone {0} has no keys in the state directory yet: the agent makes them when it starts")]
    Missing(model::Name),
    /// The zone's keys are of another kind.
    #[error("the keys of the zone {zone} are {has}: {help}")]
    Role {
        /// The zone.
        zone: model::Name,
        /// How its keys are divided.
        has: &'static str,
        /// A remedy.
        help: &'static str,
    },
    /// One roll at a time.
    #[error("keys of the zone {0} are being rolled already: see `zerottl dnssec status {0}`")]
    UnderWay(model::Name),
    /// There is no roll.
    #[error("no key of the zone {0} is being rolled: begin with `zerottl dnssec roll {0}`")]
    NotUnderWay(model::Name),
    /// The step is a wait.
    #[error("the keys of the zone {zone} have to wait until {}: before that, caches may have what is to go", time(*until))]
    NotYet {
        /// The zone.
        zone: model::Name,
        /// Its end, seconds since 1970.
        until: u64,
    },
    /// The parent is not to have the new DS yet, or no more.
    #[error(
        "step {step} of the roll in the zone {zone} does not wait for the parent: see `zerottl dnssec status {zone}`"
    )]
    NotParent {
        /// The zone.
        zone: model::Name,
        /// Its number.
        step: u8,
    },
    /// The parent has to have the new DS first.
    #[error("the zone {0} waits for its parent: `zerottl dnssec ds-seen {0}` says that it has the new DS")]
    Parent(model::Name),
    /// The library refuses.
    #[error("the keys of the zone {zone} cannot be rolled: {error}")]
    Library {
        /// The zone.
        zone: model::Name,
        /// Its reason.
        error: keyset::Error,
    },
}

/// Seconds beyond a TTL that are waited: what was answered in the second before a change, or while a configuration was
/// taking over from another, is kept for so much longer.
pub const MARGIN: u32 = 5;

/// For how long others keep what they have learnt, seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RollTtls {
    /// Of the DNSKEY set.
    pub keys: u32,
    /// The longest of the zone.
    pub longest: u32,
    /// Of the DS set at the parent.
    pub parent: u32,
}

/// How far a roll is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RollStep {
    /// 1: the new key is to be served in the DNSKEY set.
    Publish,
    /// 2: a wait, until some time in seconds since 1970.
    Spread(u64),
    /// 3: what is named is still to be done.
    Replace {
        /// Whether signatures by the new key are missing.
        signatures: bool,
        /// Whether the parent's new DS is.
        parent: bool,
    },
    /// 4: a wait, until some time in seconds since 1970.
    Expire(u64),
    /// 5: the old key is to be served no more.
    Withdraw,
}

impl fmt::Display for RollStep {
    /// Its number, and what is done.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of 5: ", self.number())?;
        match *self {
            Self::Publish => f.write_str("the new key goes into the DNSKEY set"),
            Self::Spread(until) => write!(f, "until {}, caches learn of the new key", time(until)),
            Self::Replace { signatures: true, .. } => f.write_str("the new key signs the zone"),
            Self::Replace { parent: true, .. } => f.write_str("the parent replaces its DS"),
            Self::Replace { .. } => f.write_str("the new key has taken over"),
            Self::Expire(until) => write!(f, "until {}, caches forget what the old key vouches for", time(until)),
            Self::Withdraw => f.write_str("the old key goes out of the DNSKEY set"),
        }
    }
}

impl RollStep {
    /// Its place among the five.
    #[must_use]
    pub fn number(self) -> u8 {
        match self {
            Self::Publish => 1,
            Self::Spread(_) => 2,
            Self::Replace { .. } => 3,
            Self::Expire(_) => 4,
            Self::Withdraw => 5,
        }
    }
}

/// One key, without its secret.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RolledKey {
    /// Its tag.
    pub tag: u16,
    /// Its algorithm.
    pub algorithm: SecurityAlgorithm,
    /// The part it was made for.
    pub role: KeyRole,
    /// Its work now.
    pub duties: KeyDuties,
    /// Whether it is on its way out.
    pub is_old: bool,
}

/// The keys of a zone that are known by themselves alone, without their past.
#[must_use]
pub fn list(keys: &ZoneKeys) -> Vec<RolledKey> {
    let is_split = keys.all().iter().any(|key| !key.is_sep());
    let of = |(key, duties): (&Arc<SigningKey>, KeyDuties)| {
        let role = match (key.is_sep(), is_split) {
            (false, _) => KeyRole::Zsk,
            (true, true) => KeyRole::Ksk,
            (true, false) => KeyRole::Csk,
        };
        RolledKey { tag: key.tag(), algorithm: key.algorithm(), role, duties, is_old: false }
    };
    keys.duties().map(of).collect()
}

/// A zone's keys in the state directory, and the right to change them.
pub fn hold(zone: &model::Name, config: &DnssecConfig, state: &Path) -> Result<(Keyring, KeyringLock), RollError> {
    if config.bundle.is_some() {
        return Err(RollError::Elsewhere(zone.clone()));
    }
    if !config.keys.is_empty() {
        return Err(RollError::Configured(zone.clone()));
    }
    let missing = || RollError::Missing(zone.clone());
    if !zone_keys::folder(zone, state).exists() {
        return Err(missing());
    }
    let lock = keyring::lock(zone, state)?;
    let keyring = Keyring::read(zone, state)?.ok_or_else(missing)?;
    Ok((keyring, lock))
}

impl Keyring {
    /// Each key, those on their way out first.
    #[must_use]
    pub fn list(&self) -> Vec<RolledKey> {
        let of = |key: &keyset::Key| {
            let (role, is_old) = role_of(&key.keytype())?;
            let duties = keyring::duties(&key.keytype());
            Some(RolledKey { tag: key.key_tag(), algorithm: key.algorithm(), role, duties, is_old })
        };
        let mut list: Vec<_> = self.set.keys().values().filter_map(of).collect();
        list.sort_by_key(|key| (!key.is_old, key.role == KeyRole::Zsk, key.tag));
        list
    }

    /// The role whose key is being rolled, and how far that is.
    #[must_use]
    pub fn under_way(&self) -> Option<(KeyRole, RollStep)> {
        let (kind, state) = self.set.rollstates().iter().next()?;
        let role = match kind {
            RollType::ZskRoll | RollType::ZskDoubleSignatureRoll => KeyRole::Zsk,
            RollType::KskRoll | RollType::KskDoubleDsRoll => KeyRole::Ksk,
            RollType::CskRoll | RollType::AlgorithmRoll => KeyRole::Csk,
        };
        let step = match state {
            RollState::Propagation1 => RollStep::Publish,
            RollState::CacheExpire1(ttl) => RollStep::Spread(self.seen_by_all() + u64::from(*ttl)),
            RollState::Propagation2 => RollStep::Replace {
                signatures: self.asks_for(*kind, Action::ReportRrsigPropagated) && self.reports.signatures.is_none(),
                parent: self.asks_for(*kind, Action::ReportDsPropagated) && self.reports.parent.is_none(),
            },
            RollState::CacheExpire2(ttl) => RollStep::Expire(self.seen_by_all() + u64::from(*ttl)),
            RollState::Done => RollStep::Withdraw,
        };
        Some((role, step))
    }

    fn asks_for(&self, roll: RollType, action: Action) -> bool {
        self.set.actions(roll).contains(&action)
    }

    /// The last time at which some work of a key in use has been seen.
    fn seen_by_all(&self) -> u64 {
        let keys = self.set.keys().values().map(keyset::Key::timestamps);
        let times = keys.flat_map(|times| [times.visible(), times.ds_visible(), times.rrsig_visible()]);
        times.flatten().map(|time| Duration::from(time).as_secs()).max().unwrap_or_default()
    }

    /// Begins to exchange the keys of a role: makes the new one, of the algorithm of the old.
    pub fn roll(&mut self, role: Option<KeyRole>, now: u64, lock: &KeyringLock) -> Result<KeyRole, RollError> {
        if self.under_way().is_some() {
            return Err(RollError::UnderWay(self.zone.clone()));
        }
        let role = self.role(role)?;
        // What is in use is written first: a key that is found without that would be taken as in use.
        self.write(lock)?;
        let old = self.current(role);
        let mut algorithms = old.iter().filter_map(|name| KeyAlgorithm::of(self.set.keys().get(name)?.algorithm()));
        let algorithm = algorithms.next().ok_or_else(|| RollError::Missing(self.zone.clone()))?;
        let new = self.generate(role, algorithm, &time(now))?;
        let old: Vec<_> = old.iter().map(String::as_str).collect();
        let begun = self.set.start_roll(of_role(role), &old, &[&new]);
        if let Err(error) = begun {
            key::remove(&self.folder.join(&new))?;
            return Err(self.refused(error));
        }
        self.reports = keyring::Reports::default();
        self.write(lock)?;
        Ok(role)
    }

    /// The role to be rolled, by how the zone's keys are divided.
    fn role(&self, wanted: Option<KeyRole>) -> Result<KeyRole, RollError> {
        let is_split = self.list().iter().any(|key| key.role == KeyRole::Zsk);
        let error = |has, help| Err(RollError::Role { zone: self.zone.clone(), has, help });
        match (is_split, wanted) {
            (false, None | Some(KeyRole::Csk)) => Ok(KeyRole::Csk),
            (false, Some(_)) => error("one for both (CSK)", "leave out `--ksk` and `--zsk`"),
            (true, Some(role)) if role != KeyRole::Csk => Ok(role),
            (true, _) => error("a KSK and a ZSK", "say which is to be rolled, `--ksk` or `--zsk`"),
        }
    }

    fn refused(&self, error: keyset::Error) -> RollError {
        RollError::Library { zone: self.zone.clone(), error }
    }

    /// Says that all servers of the parent have the new DS.
    pub fn ds_seen(&mut self, now: u64, lock: &KeyringLock) -> Result<(), RollError> {
        let (_, step) = self.under_way().ok_or_else(|| RollError::NotUnderWay(self.zone.clone()))?;
        if !matches!(step, RollStep::Replace { parent: true, .. }) {
            return Err(RollError::NotParent { zone: self.zone.clone(), step: step.number() });
        }
        self.reports.parent = Some(now);
        Ok(self.write(lock)?)
    }

    /// Takes the step that is due, where what is served is what the keys are now; `is_signed` is whether everything is
    /// signed by the key that is to sign it. Returns whether there was one: then the keys may have changed.
    pub fn advance(
        &mut self,
        ttls: RollTtls,
        is_signed: bool,
        now: u64,
        lock: &KeyringLock,
    ) -> Result<bool, RollError> {
        let Some((role, step)) = self.under_way() else { return Ok(false) };
        let kind = of_role(role);
        let taken = match step {
            RollStep::Publish => self.set.propagation1_complete(kind, ttls.keys + MARGIN),
            RollStep::Spread(until) if now >= until => self.set.cache_expired1(kind),
            RollStep::Replace { signatures: true, .. } if is_signed => {
                self.reports.signatures = Some(now);
                self.write(lock)?;
                return Ok(true);
            }
            RollStep::Replace { signatures: false, parent: false } => {
                let ttl = |action, ttl| if self.asks_for(kind, action) { ttl } else { 0 };
                let signatures = ttl(Action::ReportRrsigPropagated, ttls.longest);
                let longest = signatures.max(ttl(Action::ReportDsPropagated, ttls.parent));
                self.set.propagation2_complete(kind, longest + MARGIN)
            }
            RollStep::Expire(until) if now >= until => self.set.cache_expired2(kind),
            RollStep::Withdraw => self.set.roll_done(kind),
            RollStep::Spread(_) | RollStep::Replace { .. } | RollStep::Expire(_) => return Ok(false),
        };
        match taken {
            Ok(_) => {}
            // The wall clock is behind the one that was passed.
            Err(keyset::Error::Wait(_)) => return Ok(false),
            Err(error) => return Err(self.refused(error)),
        }
        match step {
            RollStep::Publish => self.stamp(role, now, &[KeySet::set_visible]),
            RollStep::Replace { .. } => {
                self.reports = keyring::Reports::default();
                self.stamp(role, now, &[KeySet::set_ds_visible, KeySet::set_rrsig_visible]);
            }
            _ => {}
        }
        if step == RollStep::Withdraw {
            self.clear(lock)?;
        } else {
            self.write(lock)?;
        }
        Ok(true)
    }

    /// Takes the step that is due, as the word of somebody who knows that all servers of the zone answer with what the
    /// keys are now: for zones that no agent here answers.
    pub fn advance_by_hand(&mut self, ttls: RollTtls, now: u64, lock: &KeyringLock) -> Result<(), RollError> {
        let zone = || self.zone.clone();
        match self.under_way().map(|(_, step)| step) {
            None => return Err(RollError::NotUnderWay(zone())),
            Some(RollStep::Replace { signatures: false, parent: true }) => return Err(RollError::Parent(zone())),
            Some(RollStep::Spread(until) | RollStep::Expire(until)) if now < until => {
                return Err(RollError::NotYet { zone: zone(), until });
            }
            Some(_) => {}
        }
        self.advance(ttls, true, now, lock).map(drop)
    }

    /// The names of a role's keys that are not on their way out.
    fn current(&self, role: KeyRole) -> Vec<String> {
        let keys = self.set.keys().iter().filter(|(_, key)| role_of(&key.keytype()) == Some((role, false)));
        keys.map(|(name, _)| name.clone()).collect()
    }

    /// Puts the time that was passed in the place of the library's.
    fn stamp(&mut self, role: KeyRole, now: u64, setters: &[KeyStamp]) {
        for name in self.current(role) {
            for set in setters {
                // It has just been found.
                set(&mut self.set, &name, time(now)).ok();
            }
        }
    }
}

type KeyStamp = fn(&mut KeySet, &str, UnixTime) -> Result<(), keyset::Error>;

fn of_role(role: KeyRole) -> RollType {
    match role {
        KeyRole::Csk => RollType::CskRoll,
        KeyRole::Ksk => RollType::KskRoll,
        KeyRole::Zsk => RollType::ZskRoll,
    }
}

/// The role of a key, and whether it is on its way out.
fn role_of(key: &KeyType) -> Option<(KeyRole, bool)> {
    match key {
        KeyType::Csk(keys, _) => Some((KeyRole::Csk, keys.old())),
        KeyType::Ksk(keys) => Some((KeyRole::Ksk, keys.old())),
        KeyType::Zsk(zone) => Some((KeyRole::Zsk, zone.old())),
        KeyType::Include(_) => None,
    }
}

#[cfg(test)]
mod tests;
