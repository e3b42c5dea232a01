//! Signatures that are made ahead on a host with the keys ([`ZoneToSign`]), and taken from a bundle on one without.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    thread::{self, available_parallelism},
};

use domain::base::Rtype;

use super::{
    chain::{COHORTS, Chain},
    zone::{KEY_TYPES, SignError, SignedZone, key_data, key_ttl},
};
use crate::zone::{Data, Zone, Zones};
use zerottl_core::model::{self, Model};
use zerottl_sign::{
    SetSignature, Validity, ZoneBundle, ZoneKeys,
    bundle::{BundleError, BundlePeriod, KeySetSignature, PeriodSignatures},
    signature::RecordSet,
    store::SetDigest,
};

/// Links that are signed before others learn how far it is.
const STRETCH: usize = 64;
/// Names that are listed, at most.
const NAMES_MAX: usize = 10;
/// Sets of a name that are listed, at most.
const SETS_MAX: usize = 4;

/// Everything that a zone can ever answer, to be signed for one period after the other.
#[derive(Debug)]
pub struct ZoneToSign<'a> {
    zone: &'a Zone,
    chain: Chain,
    /// The digest of each set, ascending, and the set's position in the order of the chain.
    order: Vec<(SetDigest, u32)>,
}

/// Names of which a bundle lacks signatures.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UnsignedNames {
    /// The first of them, each with what it lacks: `app.com (A 192.0.2.7)`.
    pub first: Vec<String>,
    /// How many there are.
    pub count: usize,
}

/// Why a bundle's signatures cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// The bundle.
    #[error(transparent)]
    Bundle(#[from] BundleError),
    /// It lacks signatures.
    #[error(transparent)]
    Sign(#[from] SignError),
    /// It lacks signatures that the configuration needs.
    #[error(
        "the bundle {} does not sign what the zone {zone} can answer by this configuration: {names}; it is answered once a \
         new bundle is there, made from this configuration with `zerottl sign`",
        file.display()
    )]
    Unsigned {
        /// Its path.
        file: PathBuf,
        /// The zone.
        zone: model::Name,
        /// Of which names.
        names: UnsignedNames,
    },
}

impl<'a> ZoneToSign<'a> {
    /// That of a zone that is marked as signed.
    #[must_use]
    pub fn new(zones: &'a Zones, id: model::ZoneId, model: &Model) -> Self {
        let (zone, chain) = (zones.zone(id), Chain::new(zones, id, model));
        let sets = (0..chain.links.len()).flat_map(|at| chain.statements(zone, at));
        let mut order: Vec<_> = sets.zip(0..).map(|(statement, at)| (statement.set().digest(), at)).collect();
        order.sort_unstable();
        Self { zone, chain, order }
    }

    /// How many signatures it needs, but for the key sets.
    #[must_use]
    pub fn signatures(&self) -> usize {
        self.order.len()
    }

    /// The digests of its sets, ascending.
    pub fn digests(&self) -> impl Iterator<Item = &SetDigest> {
        self.order.iter().map(|(digest, _)| digest)
    }

    /// Signs everything but the key sets, on all processors; the signatures in the order of the digests. It is told how
    /// many have come since it was told last.
    pub fn sign(
        &self,
        keys: &ZoneKeys,
        validity: Validity,
        told: &(dyn Fn(u64) + Sync),
    ) -> Result<Vec<SetSignature>, SignError> {
        let workers = available_parallelism().map_or(1, usize::from);
        let links = self.chain.links.len();
        let part = links.div_ceil(workers).max(1);
        let of_part = |first: usize| -> Option<Vec<SetSignature>> {
            let mut signatures = Vec::new();
            let end = (first + part).min(links);
            for stretch in (first..end).step_by(STRETCH) {
                let before = signatures.len();
                for at in stretch..(stretch + STRETCH).min(end) {
                    for statement in self.chain.statements(self.zone, at) {
                        signatures.push(statement.set().sign(&self.chain.apex, keys.zone_key(), validity)?);
                    }
                }
                told((signatures.len() - before) as u64);
            }
            Some(signatures)
        };
        let parts: Vec<_> = thread::scope(|scope| {
            let running: Vec<_> = (0..links).step_by(part).map(|first| scope.spawn(move || of_part(first))).collect();
            // A panic of one is one of all.
            running.into_iter().map(|one| one.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        let all = parts.into_iter().collect::<Option<Vec<_>>>().map(|parts| parts.concat());
        let all = all.ok_or_else(|| SignError::Randomness(self.chain.apex.clone()))?;
        Ok(self.order.iter().map(|(_, at)| all[*at as usize]).collect())
    }

    /// Signs the key sets.
    pub fn sign_keys(&self, keys: &ZoneKeys, validity: Validity) -> Result<Vec<KeySetSignature>, SignError> {
        let apex = &self.chain.apex;
        let mut signatures = Vec::new();
        for rtype in KEY_TYPES {
            let data = key_data(rtype, keys, apex);
            let set = RecordSet { owner: apex.for_slice(), rtype, ttl: key_ttl(self.zone), data: &data };
            for key in keys.entry_points() {
                let signature = set.sign(apex, key, validity);
                let signature = signature.ok_or_else(|| SignError::Randomness(apex.clone()))?;
                signatures.push(KeySetSignature { digest: set.digest(), tag: key.tag(), signature });
            }
        }
        Ok(signatures)
    }
}

impl SignedZone {
    /// A zone that is marked as signed, with the signatures that its bundle has for a time.
    pub fn of_bundle(
        (zones, id): (&Zones, model::ZoneId),
        bundle: Arc<ZoneBundle>,
        model: &Model,
        now: u64,
    ) -> Result<Self, TakeError> {
        let period = bundle.signatures(bundle.at(now)?)?;
        let mut signed = Self::empty((zones, id), Arc::clone(bundle.keys()), model, period.period.validity());
        let names = lacking(zones.zone(id), &signed.chain, bundle.keys(), &period);
        if names.count > 0 {
            let (file, zone) = (bundle.path().to_owned(), signed.chain.apex.clone());
            return Err(TakeError::Unsigned { file, zone, names });
        }
        signed.bundle = Some(bundle);
        signed.take(zones.zone(id), &period)?;
        Ok(signed)
    }

    /// The bundle that its signatures are from.
    #[must_use]
    pub fn bundle(&self) -> Option<&Arc<ZoneBundle>> {
        self.bundle.as_ref()
    }

    /// Takes the signatures of the period that a time lies in, if that is one after the period of now; returns it then.
    pub fn follow_bundle(&self, zone: &Zone, now: u64) -> Result<Option<BundlePeriod>, TakeError> {
        let Some(bundle) = &self.bundle else { return Ok(None) };
        let at = bundle.at(now)?;
        let is_next = |period: &BundlePeriod| {
            let own = self.key_validity().expiration;
            period.validity().expiration.wrapping_sub(own).cast_signed() > 0
        };
        let Some(next) = bundle.periods().nth(at).filter(is_next) else { return Ok(None) };
        self.take(zone, &bundle.signatures(at)?)?;
        Ok(Some(next))
    }

    /// Answers with the signatures of a period from now on. The key sets are last: they tell which period it is.
    fn take(&self, zone: &Zone, period: &PeriodSignatures) -> Result<(), SignError> {
        let validity = period.period.validity();
        for cohort in 0..COHORTS {
            self.sign_cohort(zone, cohort, validity, |set| period.find(&set.digest()))?;
        }
        self.put_keys(self.keys(), validity, |set, key| period.find_of_keys(&set.digest(), key.tag()))
    }

    /// Seconds until the signatures that there are for ahead have expired: of a bundle until its end, as long as it is
    /// followed.
    #[must_use]
    pub fn lasts(&self, now: u64, patience: u64) -> Option<i64> {
        let answered = self.validities().map(|validity| validity.left(now as u32)).min();
        let Some(bundle) = &self.bundle else { return answered };
        let due = bundle.periods().rfind(|period| period.begin + patience <= now);
        let is_followed = due.is_none_or(|due| due.validity().left(now as u32) <= self.key_validity().left(now as u32));
        if is_followed { Some(bundle.end().cast_signed() - now.cast_signed()) } else { answered }
    }
}

/// The names of which a period lacks signatures.
fn lacking(zone: &Zone, chain: &Chain, keys: &ZoneKeys, period: &PeriodSignatures) -> UnsignedNames {
    let mut names = UnsignedNames::default();
    for (at, link) in chain.links.iter().enumerate() {
        let mut missing = Vec::new();
        for statement in chain.statements(zone, at) {
            if period.find(&statement.set().digest()).is_none() {
                missing.push(words(statement.set().rtype, &statement.data));
            }
        }
        // The apex.
        if at == 0 {
            missing.extend(missing_keys(zone, chain, keys, period));
        }
        names.add(&link.owner, missing);
    }
    names
}

fn missing_keys(zone: &Zone, chain: &Chain, keys: &ZoneKeys, period: &PeriodSignatures) -> Vec<String> {
    let is_there = |rtype: &Rtype| {
        let data = key_data(*rtype, keys, &chain.apex);
        let set = RecordSet { owner: chain.apex.for_slice(), rtype: *rtype, ttl: key_ttl(zone), data: &data };
        let digest = set.digest();
        keys.entry_points().all(|key| period.find_of_keys(&digest, key.tag()).is_some())
    };
    KEY_TYPES.iter().filter(|rtype| !is_there(rtype)).map(ToString::to_string).collect()
}

/// A set in words: with its address, of which a name that the plan answers has many.
fn words(rtype: Rtype, data: &[Data]) -> String {
    match data {
        [address @ (Data::A(_) | Data::Aaaa(_))] => format!("{rtype} {address}"),
        _ => rtype.to_string(),
    }
}

impl UnsignedNames {
    fn add(&mut self, name: &model::Name, mut missing: Vec<String>) {
        if missing.is_empty() {
            return;
        }
        self.count += 1;
        missing.dedup();
        if self.first.len() < NAMES_MAX {
            let more = missing.len().saturating_sub(SETS_MAX);
            missing.truncate(SETS_MAX);
            if more > 0 {
                missing.push(format!("{more} more"));
            }
            self.first.push(format!("{name} ({})", missing.join(", ")));
        }
    }
}

impl fmt::Display for UnsignedNames {
    /// The first ones, and how many more there are.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.first.join(", "))?;
        match self.count - self.first.len() {
            0 => Ok(()),
            1 => f.write_str(" and 1 more name"),
            more => write!(f, " and {more} more names"),
        }
    }
}
