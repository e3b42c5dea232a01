//! The part of a plan that does not change with health: which names are one service, and what each service is made of.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use super::{Binding, GroupTarget, table};
use crate::model::{
    AllDown, DynamicType, Family, GroupId, LastResort, Model, NameId, NameKind, Policy, PoolId, PoolSettings, Site,
    SiteId, SiteOrder,
};

/// The key of a service: names with equal specs are one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Spec {
    pub kind: Kind,
    pub sites: SiteOrder,
    /// Position of a pool among those whose groups have client nets.
    pub nets: Option<usize>,
    /// Sites to fall back on once none of `sites` is eligible.
    pub last_resort: SiteOrder,
    pub policy: Policy,
    pub ttl: u32,
    /// Whose knobs it has, where it goes by load.
    pub steered: Option<PoolId>,
    /// Bits of an `f64`, so that a spec can be a key.
    pub up_threshold: u64,
    pub all_down: AllDown,
    pub sticky_prefix: (u8, u8),
    /// Whose HTTPS records it has.
    pub https: Option<PoolId>,
    /// By type: whether any configured Site has it.
    pub has: [bool; 3],
    /// By type, of all configured Sites.
    pub slots: [usize; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    LoadBalance,
    Failover,
}

impl Spec {
    /// A group as its pool's clients meet it: where none of its Sites has a live address, all of the pool's are asked.
    fn of_clients(model: &Model, group: GroupId) -> Self {
        let pool = model.groups[group.0].pool;
        let whole = Self::of(model, NameKind::Pool(pool));
        let own = Self::of(model, NameKind::Group(group));
        let slots = [0, 1, 2].map(|of| whole.slots[of].max(own.slots[of]));
        Self { last_resort: whole.sites, slots, has: whole.has, ..own }
    }

    pub fn of(model: &Model, name: NameKind) -> Self {
        let pool = model.pool_of(name);
        let sites = model.order_of(name).clone();
        let policy = model.policy_of(name);
        let kind = match name {
            NameKind::Pool(_) | NameKind::Group(_) => Kind::LoadBalance,
            NameKind::Site(_) => Kind::Failover,
        };
        let nets = match name {
            NameKind::Pool(id) => model.nets.pools().binary_search(&id).ok(),
            NameKind::Group(_) | NameKind::Site(_) => None,
        };
        let last_resort = match (kind, pool.last_resort) {
            (Kind::Failover, LastResort::Pool) => pool.sites.clone(),
            _ => SiteOrder::default(),
        };
        let https = pool.https.as_ref().map(|_| model.pool_id_of(name));
        let by_load = match policy {
            Policy::LeastLoad => true,
            Policy::Sticky => pool.steering.balance_factor > 0.0,
            Policy::WeightedRoundRobin | Policy::WeightedRandom => false,
        };
        let moves = by_load || sites.iter().any(|id| model.shares_move(*id));
        let has = |site: &Site, of: DynamicType| match of {
            DynamicType::A => site.has(Family::V4),
            DynamicType::Aaaa => site.has(Family::V6),
            DynamicType::Https => https.is_some(),
        };
        let of_sites = || sites.iter().map(|id| &model.sites[id.0]);
        let of_all = || of_sites().chain(last_resort.iter().map(|id| &model.sites[id.0]));
        let any_has = DynamicType::ALL.map(|of| of_all().any(|site| has(site, of)));
        let slots = DynamicType::ALL.map(|of| {
            let weights: Vec<u32> = of_sites().filter(|site| has(site, of)).map(|site| site.weight).collect();
            match kind {
                Kind::LoadBalance if !weights.is_empty() => {
                    let moving = if moves { table::moving_slot_count(weights.len()) } else { 0 };
                    table::slot_count(&weights).max(moving)
                }
                _ => 1,
            }
        });
        Self {
            kind,
            sites,
            nets,
            last_resort,
            policy,
            ttl: pool.ttl,
            steered: by_load.then(|| model.pool_id_of(name)),
            up_threshold: pool.up_threshold.to_bits(),
            all_down: pool.all_down,
            sticky_prefix: pool.sticky_prefix,
            https,
            has: any_has,
            slots,
        }
    }
}

/// The Sites and settings of a pool whose spec depends on nothing else: one for all pools that share them.
pub(super) fn alike(model: &Model, name: NameKind) -> Option<(*const SiteId, *const PoolSettings)> {
    let NameKind::Pool(id) = name else { return None };
    let pool = &model.pools[id.0];
    let by_load = pool.policy == Policy::LeastLoad || pool.steering.balance_factor > 0.0;
    let is_own = by_load || pool.https.is_some() || model.nets.pools().binary_search(&id).is_ok();
    (!is_own).then(|| (pool.sites.as_ptr(), Arc::as_ptr(&pool.settings)))
}

/// Every HTTPS record that the Sites can come to, each once: one of a Site's addresses of each family, or none.
pub(super) fn bindings(model: &Model) -> Vec<Binding> {
    let mut known = HashSet::new();
    let mut bindings = Vec::new();
    for (id, pool) in model.pools.iter().enumerate().filter(|(_, pool)| pool.https.is_some()) {
        for binding in pool.sites.iter().flat_map(|site| bindings_of_site(PoolId(id), &model.sites[site.0])) {
            if known.insert(binding) {
                bindings.push(binding);
            }
        }
    }
    bindings
}

/// Every HTTPS record that one Site of a pool with `https` can come to.
pub fn bindings_of_site(pool: PoolId, site: &Site) -> impl Iterator<Item = Binding> {
    let addresses = || site.addresses.iter().map(|address| address.answer);
    let v4 = addresses().filter_map(|a| if let IpAddr::V4(a) = a { Some(Some(a)) } else { None }).chain([None]);
    let v6 = move || addresses().filter_map(|a| if let IpAddr::V6(a) = a { Some(Some(a)) } else { None });
    let all = v4.flat_map(move |v4| v6().chain([None]).map(move |v6| Binding { pool, v4, v6 }));
    all.filter(|binding| binding.v4.is_some() || binding.v6.is_some())
}

/// How many HTTPS records a pool with `https` may come to by one of its Sites.
#[must_use]
pub fn binding_count(site: &Site) -> usize {
    let of = |family: Family| site.addresses.iter().filter(|address| family.has(address.answer)).count();
    (of(Family::V4) + 1) * (of(Family::V6) + 1) - 1
}

/// Lists the target of every set of groups, for every pool with client nets. The first is nobody's: 0 is no position.
pub(super) fn chosen(model: &Model, service_of: &[u32], mut position: impl FnMut(Spec) -> u32) -> Arc<[GroupTarget]> {
    let mut chosen = vec![GroupTarget { service: 0, name: NameId(0) }];
    let names: HashMap<NameKind, NameId> = (0..).map(NameId).zip(&model.names).map(|(id, n)| (n.kind, id)).collect();
    for (i, pool) in model.nets.pools().iter().enumerate() {
        // Every pool and every group of a checked model has its name, but for a group that bears its pool's.
        let own = names.get(&NameKind::Pool(*pool)).copied().unwrap_or(NameId(0));
        for set in 0..model.nets.sets() {
            chosen.push(match model.nets.group(set, i) {
                None => GroupTarget { service: service_of[own.0], name: own },
                Some(group) => GroupTarget {
                    service: position(Spec::of_clients(model, group)),
                    name: names.get(&NameKind::Group(group)).copied().unwrap_or(own),
                },
            });
        }
    }
    chosen.into()
}
