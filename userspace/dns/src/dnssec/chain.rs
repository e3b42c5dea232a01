//! The names that a signed zone has data of, in canonical order (RFC 4034 section 4).
//!
//! | name | its types in the NSEC | signed |
//! |---|---|---|
//! | with records | theirs | each set |
//! | Pool, Group, Site Name | and A, AAAA, HTTPS where it has that | each answer that it can give |
//! | delegation, forward name, apex of a zone within | NS, and DS if it has | DS |
//! | empty non-terminal | no link of its own (RFC 4035 section 2.3) | |
//!
//! The types are all that may ever be there: an NSEC says of the gap behind it that nothing is there, and whoever keeps
//! it may also take it for what its own name has. NODATA of a type that is away only now is said by another NSEC of that
//! name, which lacks that type alone.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use domain::{
    base::{CanonicalOrd, Name, Rtype},
    rdata::{A, Aaaa, dnssec::Nsec},
};

use crate::{
    svcb,
    zone::{Data, Node, RrSet, Zones},
};
use zerottl_core::{
    model::{self, DynamicType, LastResort, Model, NameId, NameKind, SiteId},
    plan::bindings_of_site,
};
use zerottl_sign::{bitmap::bitmap, canonical};

/// A name of the chain.
#[derive(Debug)]
pub(super) struct Link {
    /// Sorts as the name does.
    pub order: Box<[u8]>,
    /// The name as the zone spells it.
    pub owner: model::Name,
    /// All types that may ever be here, RRSIG and NSEC among them.
    pub types: Box<[Rtype]>,
    /// How many of the node's sets are signed here, one by one: those of [`signed_sets`].
    pub sets: usize,
    /// The answers that the plan may give.
    pub alternatives: Option<Arc<Alternatives>>,
    /// Whether the name is another zone's, another server's or a delegation.
    pub is_cut: bool,
    /// Its cohort.
    pub cohort: u8,
    /// Its first signature in the cohort.
    pub first: u32,
}

/// Everything that the plan may ever answer at some names.
#[derive(Debug)]
pub(super) struct Alternatives {
    /// Seconds.
    pub ttl: u32,
    /// By [`DynamicType::index`]: the data of each answer, in canonical order.
    of: [Box<[Data]>; 3],
}

impl Alternatives {
    /// The data of each answer of a type.
    pub fn of(&self, of: DynamicType) -> &[Data] {
        &self.of[of.index()]
    }

    /// The position of an answer among those of its type.
    pub fn find(&self, of: DynamicType, data: &Data) -> Option<usize> {
        self.of(of).binary_search_by(|own| own.canonical_cmp(data)).ok()
    }
}

/// Cohorts of a zone.
pub const COHORTS: usize = 16;

/// Alternatives that names of the same Sites and TTL share; those with HTTPS records, which are a pool's, only within one.
type Interned = HashMap<(Option<model::PoolId>, u32, Vec<SiteId>), Arc<Alternatives>>;

/// The chain of a zone.
#[derive(Debug)]
pub struct Chain {
    /// The zone's name, who signs.
    pub(super) apex: model::Name,
    /// Seconds that proofs live: as the SOA of a negative answer (RFC 9077 section 3).
    pub(super) proof_ttl: u32,
    /// In canonical order.
    pub(super) links: Box<[Link]>,
}

impl Chain {
    /// The chain of one of the zones.
    #[must_use]
    pub fn new(zones: &Zones, id: model::ZoneId, model: &Model) -> Self {
        let zone = zones.zone(id);
        let (apex, proof_ttl) = (zone.apex().clone(), zone.soa().ttl);
        Self { apex, proof_ttl, links: links(zones, id, model) }
    }

    /// The link of a name that has one.
    pub(super) fn link(&self, name: &Name<[u8]>) -> Option<usize> {
        let key = canonical::key(name);
        self.links.binary_search_by(|link| link.order.cmp(&key)).ok()
    }

    /// The last link that is not after a name: of a name that is missing, the one whose NSEC denies it.
    pub(super) fn before(&self, name: &Name<[u8]>) -> usize {
        self.before_key(&canonical::key(name))
    }

    /// As [`before`](Self::before), by the name's key. The apex comes before all names of the zone.
    pub(super) fn before_key(&self, key: &[u8]) -> usize {
        self.links.partition_point(|link| *link.order <= *key).saturating_sub(1)
    }

    /// The NSEC of a link, with all its types or without one.
    pub(super) fn nsec(&self, at: usize, without: Option<Rtype>) -> Data {
        let next = self.links.get(at + 1).unwrap_or(&self.links[0]);
        let types = self.links[at].types.iter().copied().filter(|rtype| Some(*rtype) != without);
        Nsec::new(next.owner.clone(), bitmap(types)).into()
    }
}

/// Whether only keys that the parent vouches for sign sets of a type.
pub(crate) fn is_of_keys(rtype: Rtype) -> bool {
    matches!(rtype, Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY)
}

/// The sets of a name that are signed one by one: at a delegation only DS (RFC 4035 section 2.2).
pub(super) fn signed_sets(node: &Node, is_cut: bool) -> impl Iterator<Item = &RrSet> {
    node.sets.iter().filter(move |set| if is_cut { set.rtype == Rtype::DS } else { !is_of_keys(set.rtype) })
}

fn links(zones: &Zones, id: model::ZoneId, model: &Model) -> Box<[Link]> {
    let zone = zones.zone(id);
    let apexes: HashSet<_> = zones.iter().map(|zone| zone.apex().clone()).filter(|apex| apex != zone.apex()).collect();
    let mut interned = Interned::new();
    let mut links: Vec<_> = zone
        .nodes()
        .filter_map(|node| {
            let is_inner = apexes.contains(&node.owner);
            // What a zone within this one, a delegation, a DNAME or a forward name hides is not this zone's to sign.
            let is_hidden = !is_inner && !zones.is_of(zone, node.owner.for_slice()) || zone.hides(node);
            if is_hidden { None } else { link(node, is_inner, model, &mut interned) }
        })
        .collect();
    links.sort_by(|a, b| a.order.cmp(&b.order));
    let mut next = [0; COHORTS];
    for link in &mut links {
        let first = &mut next[usize::from(link.cohort)];
        link.first = *first;
        *first += link.len() as u32;
    }
    links.into()
}

fn link(node: &Node, is_inner: bool, model: &Model, interned: &mut Interned) -> Option<Link> {
    let is_cut = node.is_cut || node.is_forward || is_inner;
    let alternatives = node.dynamic.map(|dynamic| alternatives(dynamic.id, model, interned));
    let sets = signed_sets(node, is_cut).count();
    let mut types: Vec<_> = if is_cut {
        vec![Rtype::NS].into_iter().chain(node.set(Rtype::DS).map(|set| set.rtype)).collect()
    } else {
        node.sets.iter().map(|set| set.rtype).collect()
    };
    if let Some(alternatives) = &alternatives {
        // Addresses of a family may come with the next configuration; HTTPS is there or not.
        types.extend([Rtype::A, Rtype::AAAA]);
        types.extend((!alternatives.of(DynamicType::Https).is_empty()).then_some(Rtype::HTTPS));
    }
    if types.is_empty() {
        return None;
    }
    types.extend([Rtype::RRSIG, Rtype::NSEC]);
    types.sort_by_key(|rtype| rtype.to_int());
    types.dedup();
    let order = canonical::key(node.owner.for_slice());
    // A name stays in its cohort from one start to the next.
    let cohort = (crc32fast::hash(&order) % COHORTS as u32) as u8;
    let owner = node.owner.clone();
    Some(Link { order, owner, types: types.into(), sets, alternatives, is_cut, cohort, first: 0 })
}

fn alternatives(name: NameId, model: &Model, interned: &mut Interned) -> Arc<Alternatives> {
    let kind = model.names[name.0].kind;
    let pool = model.pool_id_of(kind);
    let config = model.pool_of(kind);
    let mut sites: Vec<SiteId> = model.sites_of(kind).to_vec();
    // Where a Pool Name's clients have groups of their own, and a Site Name its last resort.
    let whole = match kind {
        NameKind::Pool(_) => true,
        NameKind::Site(_) => config.last_resort == LastResort::Pool,
        NameKind::Group(_) => false,
    };
    if whole {
        sites.extend(config.sites.iter().copied());
    }
    sites.sort_unstable();
    sites.dedup();
    let of_pool = config.https.is_some().then_some(pool);
    let known = interned.entry((of_pool, config.ttl, sites)).or_insert_with_key(|(_, _, sites)| {
        let addresses = || sites.iter().flat_map(|site| &model.sites[site.0].addresses).map(|address| address.answer);
        let v4 = addresses().filter_map(|a| if let IpAddr::V4(a) = a { Some(A::new(a).into()) } else { None });
        let v6 = addresses().filter_map(|a| if let IpAddr::V6(a) = a { Some(Aaaa::new(a).into()) } else { None });
        let bindings = sites.iter().filter(|_| config.https.is_some());
        let bindings = bindings.flat_map(|site| bindings_of_site(pool, &model.sites[site.0]));
        let https = bindings.map(|binding| svcb::https(binding, model).into());
        Arc::new(Alternatives { ttl: config.ttl, of: [sorted(v4), sorted(v6), sorted(https)] })
    });
    Arc::clone(known)
}

/// Each once, in canonical order.
fn sorted(data: impl Iterator<Item = Data>) -> Box<[Data]> {
    let mut sorted: Vec<Data> = data.collect();
    sorted.sort_by(CanonicalOrd::canonical_cmp);
    sorted.dedup();
    sorted.into()
}
