//! A zone's signatures.
//!
//! They lie in cohorts: names of one cohort are signed together, with one validity, and a cohort is replaced whole, so that
//! no answer mixes a signature with another's times.

use std::{
    borrow::Cow,
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use arc_swap::ArcSwap;
use domain::base::{Name, Rtype};
use tracing::info;

use zerottl_core::model::{self, DnssecConfig, Model};
use zerottl_sign::{SetSignature, SigningKey, Validity, ZoneBundle, ZoneKeys, signature::RecordSet, store::KeptCohort};

use super::{
    chain::{COHORTS, Chain, is_of_keys},
    mirror::{CohortMirror, CohortSignatures},
    statement::{Part, Statement},
};
use crate::{
    reply::{Owner, Rr},
    zone::{Data, FoldedName, RrSet, Zone, Zones},
};

/// How often it is told how far a zone is that is signed at once.
const PROGRESS: Duration = Duration::from_secs(2);
/// The types of the sets of keys.
pub(super) const KEY_TYPES: [Rtype; 3] = [Rtype::DNSKEY, Rtype::CDNSKEY, Rtype::CDS];

/// A zone's chain and signatures.
#[derive(Debug)]
pub struct SignedZone {
    pub(super) chain: Chain,
    keys: ArcSwap<ZoneKeys>,
    /// Seconds that the key sets live: as the NS set.
    key_ttl: u32,
    cohorts: Box<[ArcSwap<Cohort>]>,
    key_sets: ArcSwap<KeySets>,
    /// Held while cohorts change, so that they come there in the order in which they are made.
    pub(super) mirrors: Mutex<Vec<Box<dyn CohortMirror>>>,
    /// Where the signatures are from, if they are not made here.
    pub(super) bundle: Option<Arc<ZoneBundle>>,
}

/// Signatures that are made, and made anew, together.
#[derive(Debug)]
struct Cohort {
    validity: Validity,
    key: Arc<SigningKey>,
    /// By link of this cohort, then by part.
    signatures: Box<[SetSignature]>,
}

/// DNSKEY, CDS and CDNSKEY, with the signatures of those keys that the parent vouches for. They change while a key is
/// rolled, without a reload, so the zone's own sets of these types are empty.
#[derive(Debug)]
struct KeySets {
    validity: Validity,
    of: Vec<KeySet>,
}

/// One of them.
#[derive(Debug)]
struct KeySet {
    rtype: Rtype,
    data: Vec<Data>,
    signatures: Vec<KeySignature>,
}

/// A signature, and the key that made it.
type KeySignature = (Arc<SigningKey>, SetSignature);

/// Why a zone is not signed.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// The system.
    #[error("the zone {0} cannot be signed: the system gives no random numbers")]
    Randomness(model::Name),
    /// The signatures are made elsewhere, and one is not among them.
    #[error("the zone {0} cannot be signed: its bundle lacks a signature")]
    Bundle(model::Name),
}

impl Zones {
    /// Makes a zone a signed one, with the types of its keys' records; their data is with the signatures.
    pub fn mark_signed(&mut self, id: model::ZoneId) {
        let zone = &mut self.list[id.0];
        zone.is_signed = true;
        let ttl = key_ttl(zone);
        let apex = zone.nodes.get_mut(FoldedName::new(zone.apex.for_slice()).wire());
        if let Some(apex) = apex {
            apex.sets.retain(|set| !is_of_keys(set.rtype));
            apex.sets.extend(KEY_TYPES.map(|rtype| RrSet { rtype, ttl, data: Vec::new() }));
        }
    }
}

impl Zone {
    /// The longest TTL of the zone and that of its key sets, seconds: for so long others keep what is answered now.
    #[must_use]
    pub fn ttls(&self, model: &Model) -> (u32, u32) {
        let sets = self.nodes().flat_map(|node| &node.sets).map(|set| set.ttl);
        let answers = model.pools.iter().map(|pool| pool.ttl);
        (sets.chain(answers).fold(self.soa.ttl, u32::max), key_ttl(self))
    }
}

/// The TTL of a zone's keys' records: as that of its NS set.
pub(super) fn key_ttl(zone: &Zone) -> u32 {
    zone.node(zone.apex.for_slice()).and_then(|apex| apex.set(Rtype::NS)).map_or(zone.soa.ttl, |set| set.ttl)
}

/// The data of one of the sets of keys.
pub(super) fn key_data(rtype: Rtype, keys: &ZoneKeys, apex: &model::Name) -> Vec<Data> {
    match rtype {
        Rtype::DNSKEY => keys.dnskeys().map(Data::from).collect(),
        Rtype::CDNSKEY => keys.cdnskeys().map(Data::from).collect(),
        _ => keys.cds(apex).map(Data::from).collect(),
    }
}

impl SignedZone {
    /// Signs a zone that is marked as signed, at `now`, with kept signatures as far as they are good.
    pub fn new(
        (zones, id): (&Zones, model::ZoneId),
        keys: Arc<ZoneKeys>,
        config: &DnssecConfig,
        model: &Model,
        kept: &[KeptCohort],
        now: u32,
    ) -> Result<Self, SignError> {
        let zone = zones.zone(id);
        let signed = Self::empty((zones, id), keys, model, Validity::new(now, config.validity));
        let mut told = Instant::now();
        for at in 0..COHORTS {
            if told.elapsed() > PROGRESS {
                info!(zone = %zone.apex(), "signing: {at} of {COHORTS} parts are done");
                told = Instant::now();
            }
            match kept.get(at).filter(|kept| signed.is_good(kept, config, now)) {
                Some(kept) => {
                    signed.sign_cohort(zone, at, kept.validity, |set| kept.signatures.get(&set.digest()).copied())?;
                }
                None => signed.renew(zone, at, Validity::new(now, staggered(config, at)))?,
            }
        }
        signed.renew_key_sets(Validity::new(now, config.validity))?;
        Ok(signed)
    }

    /// One without any signatures yet.
    pub(super) fn empty(
        (zones, id): (&Zones, model::ZoneId),
        keys: Arc<ZoneKeys>,
        model: &Model,
        validity: Validity,
    ) -> Self {
        let empty = |_| {
            let key = Arc::clone(keys.zone_key());
            ArcSwap::from_pointee(Cohort { validity, key, signatures: Box::default() })
        };
        let cohorts = (0..COHORTS).map(empty).collect();
        let key_sets = ArcSwap::from_pointee(KeySets { validity, of: Vec::new() });
        let (chain, keys) = (Chain::new(zones, id, model), ArcSwap::new(keys));
        Self {
            chain,
            keys,
            key_ttl: key_ttl(zones.zone(id)),
            cohorts,
            key_sets,
            mirrors: Mutex::default(),
            bundle: None,
        }
    }

    /// Whether kept signatures are gone on with: what is due is made anew. Those of the future are kept, too: a clock that is
    /// behind would make signatures that are over already, and the agent tells of it.
    fn is_good(&self, kept: &KeptCohort, config: &DnssecConfig, now: u32) -> bool {
        let seconds = |span: Duration| span.as_secs().cast_signed();
        let fitting = seconds(config.validity.saturating_sub(config.renew))..=seconds(config.validity);
        let is_ahead = kept.validity.inception.wrapping_sub(now).cast_signed() > 0;
        let is_fresh = kept.validity.holds(now) && fitting.contains(&kept.validity.left(now));
        kept.tag == self.keys.load().zone_key().tag() && (is_fresh || is_ahead)
    }

    /// Signs a cohort anew, which is then used from the next answer on.
    pub fn renew(&self, zone: &Zone, cohort: usize, validity: Validity) -> Result<(), SignError> {
        self.sign_cohort(zone, cohort, validity, |_| None)
    }

    /// Signs of a cohort what is not known to have a signature of the same validity.
    pub(super) fn sign_cohort(
        &self,
        zone: &Zone,
        cohort: usize,
        validity: Validity,
        known: impl Fn(&RecordSet<'_>) -> Option<SetSignature>,
    ) -> Result<(), SignError> {
        let key = Arc::clone(self.keys.load().zone_key());
        let mut signatures = Vec::new();
        for at in 0..self.chain.links.len() {
            if usize::from(self.chain.links[at].cohort) != cohort {
                continue;
            }
            for statement in self.chain.statements(zone, at) {
                let set = statement.set();
                let signature = known(&set).or_else(|| set.sign(&self.chain.apex, &key, validity));
                signatures.push(signature.ok_or_else(|| self.unsigned())?);
            }
        }
        let mut mirrors = self.mirrors.lock().unwrap_or_else(PoisonError::into_inner);
        self.cohorts[cohort].store(Arc::new(Cohort { validity, key, signatures: signatures.into() }));
        for mirror in &mut *mirrors {
            self.with_cohort(cohort, |signatures| mirror.put(cohort, signatures));
        }
        Ok(())
    }

    /// Shows the signatures of a cohort as they are now.
    pub(super) fn with_cohort(&self, cohort: usize, show: impl FnOnce(CohortSignatures<'_>)) {
        let cohort = self.cohorts[cohort].load();
        let (tag, algorithm) = (cohort.key.tag(), cohort.key.algorithm().to_int());
        show(CohortSignatures { validity: cohort.validity, tag, algorithm, lines: &cohort.signatures });
    }

    fn unsigned(&self) -> SignError {
        let apex = self.chain.apex.clone();
        if self.bundle.is_some() { SignError::Bundle(apex) } else { SignError::Randomness(apex) }
    }

    /// Signs the sets of keys anew.
    pub fn renew_key_sets(&self, validity: Validity) -> Result<(), SignError> {
        self.set_keys(self.keys(), validity)
    }

    /// Puts keys in the place of those before: their sets are answered, signed, from the next answer on, and the cohorts
    /// that are signed from then on are signed by them.
    pub fn set_keys(&self, keys: Arc<ZoneKeys>, validity: Validity) -> Result<(), SignError> {
        let apex = &self.chain.apex;
        self.put_keys(keys, validity, |set, key| set.sign(apex, key, validity))
    }

    /// Puts keys in the place of those before, whose sets have the signatures that are given.
    pub(super) fn put_keys(
        &self,
        keys: Arc<ZoneKeys>,
        validity: Validity,
        sign: impl Fn(&RecordSet<'_>, &SigningKey) -> Option<SetSignature>,
    ) -> Result<(), SignError> {
        let mut of = Vec::new();
        for rtype in KEY_TYPES {
            let data = key_data(rtype, &keys, &self.chain.apex);
            let mut signatures = Vec::new();
            for key in keys.entry_points() {
                let signature = sign(&self.key_set(rtype, &data), key);
                signatures.push((Arc::clone(key), signature.ok_or_else(|| self.unsigned())?));
            }
            of.push(KeySet { rtype, data, signatures });
        }
        self.key_sets.store(Arc::new(KeySets { validity, of }));
        self.keys.store(keys);
        Ok(())
    }

    fn key_set<'a>(&'a self, rtype: Rtype, data: &'a [Data]) -> RecordSet<'a> {
        RecordSet { owner: self.chain.apex.for_slice(), rtype, ttl: self.key_ttl, data }
    }

    /// A cohort that is signed by another key than the one that signs the zone now.
    #[must_use]
    pub fn cohort_of_other_key(&self) -> Option<usize> {
        let tag = self.keys.load().zone_key().tag();
        self.cohorts.iter().position(|cohort| cohort.load().key.tag() != tag)
    }

    /// The signatures of the cohorts, to be kept; those of the key sets are few, and made anew.
    #[must_use]
    pub fn kept(&self, zone: &Zone) -> Vec<KeptCohort> {
        let all: Vec<_> = self.cohorts.iter().map(ArcSwap::load_full).collect();
        let empty = |cohort: &Arc<Cohort>| KeptCohort {
            tag: cohort.key.tag(),
            validity: cohort.validity,
            signatures: HashMap::with_capacity(cohort.signatures.len()),
        };
        let mut kept: Vec<_> = all.iter().map(empty).collect();
        for (at, link) in self.chain.links.iter().enumerate() {
            let (cohort, kept) = (&all[usize::from(link.cohort)], &mut kept[usize::from(link.cohort)]);
            let signatures = cohort.signatures.iter().skip(link.first as usize);
            let digests = self.chain.statements(zone, at).map(|statement| statement.set().digest());
            kept.signatures.extend(digests.zip(signatures.copied()));
        }
        kept
    }

    /// The validity of each cohort, then that of the key sets.
    pub fn validities(&self) -> impl Iterator<Item = Validity> {
        let cohorts = self.cohorts.iter().map(|cohort| cohort.load().validity);
        cohorts.chain([self.key_sets.load().validity])
    }

    /// The validity of the key sets.
    pub(super) fn key_validity(&self) -> Validity {
        self.key_sets.load().validity
    }

    /// How many signatures it has.
    #[must_use]
    pub fn signatures(&self) -> usize {
        let keys: usize = self.key_sets.load().of.iter().map(|set| set.signatures.len()).sum();
        self.cohorts.iter().map(|cohort| cohort.load().signatures.len()).sum::<usize>() + keys
    }

    /// The cohort of a name that is signed.
    #[must_use]
    pub fn cohort_of(&self, name: &Name<[u8]>) -> Option<usize> {
        self.chain.link(name).map(|at| usize::from(self.chain.links[at].cohort))
    }

    /// Its keys.
    #[must_use]
    pub fn keys(&self) -> Arc<ZoneKeys> {
        self.keys.load_full()
    }

    /// The key sets, and all signatures and NSECs, of a zone whose names the plan does not answer.
    pub(crate) fn records<'a>(&'a self, zone: &'a Zone) -> impl Iterator<Item = Rr<'a>> {
        let of_keys = self.key_records(None, &Owner::Known(self.chain.apex.for_slice()), true);
        let of_links = (0..self.chain.links.len()).flat_map(move |at| {
            let link = &self.chain.links[at];
            let owner = || Owner::Known(link.owner.for_slice());
            let nsec = Rr { owner: owner(), ttl: self.chain.proof_ttl, data: Cow::Owned(self.chain.nsec(at, None)) };
            let rrsigs = link.parts().filter_map(move |part| {
                let statement = self.chain.statement(zone, at, part)?;
                self.rrsig((at, part), &statement, owner(), statement.ttl)
            });
            [nsec].into_iter().chain(rrsigs)
        });
        of_links.chain(of_keys)
    }

    /// The RRSIG of a part of a link, under an owner: the link's own, or a name that a wildcard stands for.
    pub(super) fn rrsig<'a>(
        &self,
        (at, part): (usize, Part),
        statement: &Statement<'_>,
        owner: Owner<'a>,
        ttl: u32,
    ) -> Option<Rr<'a>> {
        let link = &self.chain.links[at];
        let cohort = self.cohorts[usize::from(link.cohort)].load();
        let signature = cohort.signatures.get(link.first as usize + link.position(part)?)?;
        let rrsig = statement.set().rrsig(&self.chain.apex, &cohort.key, cohort.validity, signature);
        Some(Rr { owner, ttl, data: Cow::Owned(rrsig.into()) })
    }

    /// One of the key sets, or all, each followed by its signatures where they are wanted: all of one moment.
    pub(crate) fn key_records<'a>(&self, rtype: Option<Rtype>, owner: &Owner<'a>, signed: bool) -> Vec<Rr<'a>> {
        let (apex, sets) = (&self.chain.apex, self.key_sets.load());
        let rr = |data| Rr { owner: owner.clone(), ttl: self.key_ttl, data: Cow::Owned(data) };
        let mut records = Vec::new();
        for set in sets.of.iter().filter(|set| rtype.is_none_or(|rtype| set.rtype == rtype)) {
            records.extend(set.data.iter().cloned().map(rr));
            let of = self.key_set(set.rtype, &set.data);
            let rrsig = |(key, signature): &KeySignature| of.rrsig(apex, key, sets.validity, signature);
            records.extend(set.signatures.iter().filter(|_| signed).map(rrsig).map(Data::from).map(rr));
        }
        records
    }
}

/// All cohorts at one moment.
#[cfg(test)]
pub(crate) struct AllCohorts(Vec<Arc<Cohort>>);

#[cfg(test)]
impl SignedZone {
    /// Everything that is signed, each set with its signature.
    pub(crate) fn all_sets<'a>(&'a self, zone: &'a Zone) -> Vec<Vec<Rr<'a>>> {
        let of_links = (0..self.chain.links.len()).flat_map(|at| {
            let link = &self.chain.links[at];
            link.parts().map(move |part| {
                let owner = || Owner::Known(link.owner.for_slice());
                let statement = self.chain.statement(zone, at, part).expect("each part is there");
                let ttl = statement.ttl;
                let rrsig = self.rrsig((at, part), &statement, owner(), ttl);
                let data = statement.data.into_owned().into_iter();
                let records = data.map(|data| Rr { owner: owner(), ttl, data: Cow::Owned(data) });
                records.chain(rrsig).collect()
            })
        });
        let apex = Owner::Known(self.chain.apex.for_slice());
        let of_keys = KEY_TYPES.map(|rtype| self.key_records(Some(rtype), &apex, true));
        of_links.chain(of_keys).collect()
    }

    /// The cohorts as they are now.
    pub(crate) fn all_cohorts(&self) -> AllCohorts {
        AllCohorts(self.cohorts.iter().map(ArcSwap::load_full).collect())
    }

    /// Puts cohorts back that were there once.
    pub(crate) fn put_cohorts(&self, all: &AllCohorts) {
        self.cohorts.iter().zip(&all.0).for_each(|(at, cohort)| at.store(Arc::clone(cohort)));
    }

    /// The names of the chain, in its order.
    pub(crate) fn chain(&self) -> impl Iterator<Item = model::Name> {
        self.chain.links.iter().map(|link| link.owner.clone())
    }

    /// The ends of the gap that a name lies in.
    pub(crate) fn gap(&self, name: &Name<[u8]>) -> (&model::Name, &model::Name) {
        let at = self.chain.before(name);
        let next = self.chain.links.get(at + 1).unwrap_or(&self.chain.links[0]);
        (&self.chain.links[at].owner, &next.owner)
    }
}

/// How long the first signatures of a cohort are good, so that cohorts are made anew one after the other.
#[must_use]
pub fn staggered(config: &DnssecConfig, cohort: usize) -> Duration {
    config.validity.saturating_sub(config.renew * cohort as u32 / COHORTS as u32)
}
