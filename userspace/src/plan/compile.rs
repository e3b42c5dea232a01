//! The planner: from the model and one moment's status to a [`Plan`].
//!
//! What does not change with health is worked out once, in [`Planner::new`]; [`Planner::plan`] then does the same work
//! whether nothing has failed or everything has.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
    sync::Arc,
};

use xdp_ebpf::name::mix;

use super::{
    Basis, Before, Binding, Choice, Chosen, Plan, Service, Shares, Table,
    eligible::{self, Stand},
    steer::{self, Steer},
    table::{self, Candidate, SHARE_ERROR_MAX},
};
use crate::{
    model::{
        AllDown, DynamicName, DynamicType, Family, GroupId, LastResort, Model, NameId, NameKind, OnStale, Policy,
        PoolId, Site, SiteId,
    },
    status::{Health, Status},
};

/// Compiles plans for one model.
#[derive(Debug)]
pub struct Planner {
    model: Arc<Model>,
    endpoints: Arc<[IpAddr]>,
    /// By Site, by address: its position in `endpoints`.
    endpoint_of: Vec<Vec<u16>>,
    bindings: Arc<[Binding]>,
    /// A binding's position in `bindings`.
    binding_of: HashMap<Binding, u16>,
    specs: Vec<Spec>,
    service_of: Arc<[u32]>,
    chosen: Arc<[Chosen]>,
}

/// What makes two names one service.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Spec {
    kind: Kind,
    sites: Vec<SiteId>,
    /// Position of a pool among those whose groups have client nets.
    nets: Option<usize>,
    /// Sites to fall back on once none of `sites` is eligible.
    last_resort: Vec<SiteId>,
    policy: Policy,
    ttl: u32,
    /// Whose knobs it has, where it goes by load.
    steered: Option<PoolId>,
    /// Bits of an `f64`, so that a spec can be a key.
    up_threshold: u64,
    all_down: AllDown,
    sticky_prefix: (u8, u8),
    /// Whose HTTPS records it has.
    https: Option<PoolId>,
    /// By type, of all configured Sites.
    slots: [usize; 3],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Kind {
    LoadBalance,
    Failover,
}

/// What a table is made from; equal keys make equal tables, and each is made once a round. The first says whether slots
/// are positions in `bindings`. Of each candidate: endpoint, weight, whether it is live, and, for sticky, who it is (Sites
/// of two pools may have an address in common, and a Site's HTTPS record stays with its addresses) and what it keeps.
type TableKey = (bool, Policy, usize, Vec<(u16, u32, bool, u64, u32)>, Basis);

impl Planner {
    /// Works out what does not change with health.
    #[must_use]
    pub fn new(model: Arc<Model>) -> Self {
        let mut endpoints = Vec::new();
        let mut position = HashMap::new();
        let mut endpoint_of = Vec::new();
        for site in &model.sites {
            let of_site = site.addresses.iter().map(|address| {
                *position.entry(address.answer).or_insert_with(|| {
                    endpoints.push(address.answer);
                    // The configuration refuses more than 65,535 addresses.
                    (endpoints.len() - 1) as u16
                })
            });
            endpoint_of.push(of_site.collect());
        }
        let bindings: Arc<[Binding]> = bindings(&model).into();
        // The configuration refuses more than 65,535 of them.
        let binding_of = bindings.iter().enumerate().map(|(position, binding)| (*binding, position as u16)).collect();
        let mut specs = Vec::new();
        let mut known = HashMap::new();
        let mut position = |spec: Spec| {
            *known.entry(spec.clone()).or_insert_with(|| {
                specs.push(spec);
                (specs.len() - 1) as u32
            })
        };
        let service_of: Arc<[u32]> = model.names.iter().map(|name| position(Spec::of(&model, name.kind))).collect();
        let chosen = chosen(&model, &service_of, position);
        Self { endpoints: endpoints.into(), endpoint_of, bindings, binding_of, specs, service_of, chosen, model }
    }

    /// The model plans are made for.
    #[must_use]
    pub fn model(&self) -> &Arc<Model> {
        &self.model
    }

    /// The shares of another model's plan, for this one's: of each name that was there before, by its kind and name, and
    /// each Site, by its key.
    #[must_use]
    pub fn carry_over(&self, other: &Model, plan: &Plan) -> Shares {
        let names = |model: &Model| -> HashMap<(u8, String), usize> {
            let key = |name: &DynamicName| {
                let kind = match name.kind {
                    NameKind::Pool(_) => 0,
                    NameKind::Group(_) => 1,
                    NameKind::Site(_) => 2,
                };
                (kind, name.name.to_string())
            };
            model.names.iter().enumerate().map(|(i, name)| (key(name), i)).collect()
        };
        let keys: HashMap<&str, SiteId> =
            self.model.sites.iter().enumerate().map(|(i, site)| (site.key.as_str(), SiteId(i))).collect();
        let before = names(other);
        let mut of: Vec<[Vec<(SiteId, f64)>; 3]> = vec![Default::default(); self.specs.len()];
        for (name, i) in names(&self.model) {
            let Some(old) = before.get(&name).and_then(|old| plan.shares.of.get(plan.service_of[*old] as usize)) else {
                continue;
            };
            let same_site =
                |(site, share): &(SiteId, f64)| Some((*keys.get(other.sites[site.0].key.as_str())?, *share));
            let new = &mut of[self.service_of[i] as usize];
            *new = [0, 1, 2].map(|of| old[of].iter().filter_map(same_site).collect());
        }
        Shares { of, moving: true }
    }

    /// Whether any name's answers depend on loads.
    #[must_use]
    pub fn goes_by_load(&self) -> bool {
        self.specs.iter().any(|spec| spec.steered.is_some())
    }

    /// How often each Site was answered, of how often each of [`Plan::endpoints`] was; an address of two Sites counts for
    /// both.
    #[must_use]
    pub fn answers_of_sites(&self, by_endpoint: &[u64]) -> Vec<u64> {
        let count = |endpoint: &u16| by_endpoint.get(usize::from(*endpoint)).copied().unwrap_or(0);
        self.endpoint_of.iter().map(|of| of.iter().map(count).fold(0, u64::saturating_add)).collect()
    }

    /// How many slots each table may have, were none shared: what the kernel's map must hold.
    pub fn slot_counts(&self) -> impl Iterator<Item = usize> {
        self.specs.iter().flat_map(|spec| spec.slots)
    }

    /// What is answered when nobody has confirmed the newest plan for `max_plan_age`: by `on_stale`, as if all Sites were
    /// up, or SERVFAIL.
    #[must_use]
    pub fn stale_plan(&self) -> Plan {
        let mut status = Status::unknown(&self.model);
        status.health.iter_mut().flatten().for_each(|health| *health = Health::Up);
        let mut plan = self.plan(&status, 0);
        if self.model.life.on_stale == OnStale::Servfail {
            for choice in plan.services.iter_mut().flat_map(|service| &mut service.choice) {
                if let Choice::Table(_) = choice {
                    *choice = Choice::Servfail;
                }
            }
        }
        plan
    }

    /// Compiles a plan whose shares are where they are due.
    #[must_use]
    pub fn plan(&self, status: &Status, generation: u64) -> Plan {
        self.follow(status, generation, None)
    }

    /// Compiles a plan whose shares move on from those before.
    #[must_use]
    pub fn follow(&self, status: &Status, generation: u64, before: Option<Before<'_>>) -> Plan {
        let mut round = Round { planner: self, status, before, shares: Shares::default(), tables: HashMap::new() };
        let sets = self.model.nets.sets();
        let mut services = Vec::with_capacity(self.specs.len());
        for spec in &self.specs {
            round.shares.of.push(Default::default());
            services.push(Service {
                chosen: spec.nets.map(|pool| (1 + pool * sets) as u32),
                policy: spec.policy,
                ttl: spec.ttl,
                sticky_prefix: spec.sticky_prefix,
                choice: DynamicType::ALL.map(|of| round.choose(spec, of)),
            });
        }
        Plan {
            generation,
            services,
            shares: round.shares,
            endpoints: Arc::clone(&self.endpoints),
            bindings: Arc::clone(&self.bindings),
            service_of: Arc::clone(&self.service_of),
            chosen: Arc::clone(&self.chosen),
        }
    }
}

/// Every HTTPS record that the Sites can come to, each once: one of a Site's addresses of each family, or none.
fn bindings(model: &Model) -> Vec<Binding> {
    let mut known = HashSet::new();
    let mut bindings = Vec::new();
    for (id, pool) in model.pools.iter().enumerate().filter(|(_, pool)| pool.https.is_some()) {
        for binding in pool.sites.iter().flat_map(|site| of_site(PoolId(id), &model.sites[site.0])) {
            if known.insert(binding) {
                bindings.push(binding);
            }
        }
    }
    bindings
}

fn of_site(pool: PoolId, site: &Site) -> impl Iterator<Item = Binding> {
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

/// What every set of groups means to every pool with client nets. The first is nobody's: 0 is no position.
fn chosen(model: &Model, service_of: &[u32], mut position: impl FnMut(Spec) -> u32) -> Arc<[Chosen]> {
    let mut chosen = vec![Chosen { service: 0, name: NameId(0) }];
    let names: HashMap<NameKind, NameId> = (0..).map(NameId).zip(&model.names).map(|(id, n)| (n.kind, id)).collect();
    for (i, pool) in model.nets.pools().iter().enumerate() {
        // Every pool and every group of a checked model has its name, but for a group that bears its pool's.
        let own = names.get(&NameKind::Pool(*pool)).copied().unwrap_or(NameId(0));
        for set in 0..model.nets.sets() {
            chosen.push(match model.nets.group(set, i) {
                None => Chosen { service: service_of[own.0], name: own },
                Some(group) => Chosen {
                    service: position(Spec::of_clients(model, group)),
                    name: names.get(&NameKind::Group(group)).copied().unwrap_or(own),
                },
            });
        }
    }
    chosen.into()
}

impl Spec {
    /// A group as its pool's clients meet it: where none of its Sites has a live address, all of the pool's are asked.
    fn of_clients(model: &Model, group: GroupId) -> Self {
        let pool = model.groups[group.0].pool;
        let whole = Self::of(model, NameKind::Pool(pool));
        let own = Self::of(model, NameKind::Group(group));
        let slots = [0, 1, 2].map(|of| whole.slots[of].max(own.slots[of]));
        Self { last_resort: whole.sites, slots, ..own }
    }

    fn of(model: &Model, name: NameKind) -> Self {
        let pool = model.pool_of(name);
        let sites = model.sites_of(name).to_vec();
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
            _ => Vec::new(),
        };
        let https = pool.https.as_ref().map(|_| model.pool_id_of(name));
        let by_load = match policy {
            Policy::LeastLoad => true,
            Policy::Sticky => pool.steering.balance_factor > 0.0,
            Policy::WeightedRoundRobin | Policy::WeightedRandom => false,
        };
        let moves = by_load || sites.iter().any(|id| model.shares_move(*id));
        let slots = DynamicType::ALL.map(|of| {
            let weights: Vec<u32> = sites
                .iter()
                .map(|id| &model.sites[id.0])
                .filter(|site| match of {
                    DynamicType::A => site.has(Family::V4),
                    DynamicType::Aaaa => site.has(Family::V6),
                    DynamicType::Https => https.is_some(),
                })
                .map(|site| site.weight)
                .collect();
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
            slots,
        }
    }
}

/// One compilation.
struct Round<'a> {
    planner: &'a Planner,
    status: &'a Status,
    before: Option<Before<'a>>,
    /// Of the services so far; the last one's is being made.
    shares: Shares,
    tables: HashMap<TableKey, Arc<Table>>,
}

impl Round<'_> {
    fn choose(&mut self, spec: &Spec, of: DynamicType) -> Choice {
        match spec.kind {
            _ if of == DynamicType::Https && spec.https.is_none() => Choice::NoData,
            Kind::LoadBalance => self.balance(spec, of),
            Kind::Failover => self.fail_over(spec, of),
        }
    }

    /// A Pool or Group Name: among the Sites with a live address of the family, or of either for HTTPS (S4-3A-320). A group that stands for its
    /// pool never says no while the pool could say yes.
    fn balance(&mut self, spec: &Spec, of: DynamicType) -> Choice {
        let mut configured = self.candidates(spec, &spec.sites, of);
        let stands = |configured: &[(Candidate, Stand)]| configured.iter().map(|(_, stand)| *stand).collect::<Vec<_>>();
        if !spec.last_resort.is_empty() && !configured.iter().any(|(_, stand)| stand.is_eligible()) {
            configured = self.candidates(spec, &spec.last_resort, of);
        }
        if configured.is_empty() {
            return Choice::NoData;
        }
        let threshold = f64::from_bits(spec.up_threshold);
        let Some((picked, basis)) = eligible::balance(&stands(&configured), threshold, spec.all_down) else {
            return Choice::Servfail;
        };
        let mut configured: Vec<_> = configured.iter().zip(picked).map(|((site, _), picked)| (*site, picked)).collect();
        if matches!(basis, Basis::Live | Basis::Minimum) {
            self.steer(spec, of, &mut configured);
        }
        let slots = spec.slots[of.index()];
        Choice::Table(self.table(of, spec.policy, slots, &configured, basis))
    }

    /// What loads and the Sites' own wishes make of the candidates.
    fn steer(&mut self, spec: &Spec, of: DynamicType, candidates: &mut [(Candidate, bool)]) {
        let at = self.shares.of.len() - 1;
        let before = self.before.and_then(|before| Some((&before.shares.of.get(at)?[of.index()][..], before.elapsed)));
        let steering = steer::knobs(&self.planner.model, spec.steered);
        let steer = Steer { status: self.status, policy: spec.policy, steering, before };
        let (shares, moving) = steer.apply(candidates);
        self.shares.of[at][of.index()] = shares;
        self.shares.moving |= moving;
    }

    /// A Site Name: the first operational Site of its list (S4-3B-365 to 380). Fails over per Site, never per family.
    fn fail_over(&mut self, spec: &Spec, of: DynamicType) -> Choice {
        let (model, status) = (&self.planner.model, self.status);
        let order = spec.sites.iter().chain(&spec.last_resort).copied();
        if let Some((site, basis)) = eligible::fail_over(&order, status, |site| status.site_is_up(model, site)) {
            return match self.candidate(spec, site, of) {
                None => Choice::NoData,
                Some((candidate, stand)) if stand.live => self.single(spec, of, candidate, basis),
                // The Site is up by its other family: this family's all-down rule, and never another Site's address.
                Some((candidate, _)) => self.all_down(spec, of, candidate),
            };
        }
        let has = |site: SiteId| self.candidate(spec, site, of).is_some();
        let stand_in = eligible::stand_in(spec.sites.iter().copied(), status, has);
        match stand_in.and_then(|site| self.candidate(spec, site, of)) {
            None => Choice::NoData,
            Some((candidate, _)) => self.all_down(spec, of, candidate),
        }
    }

    fn all_down(&mut self, spec: &Spec, of: DynamicType, candidate: Candidate) -> Choice {
        match spec.all_down {
            AllDown::FailOpen => self.single(spec, of, candidate, Basis::FailOpen),
            AllDown::Servfail => Choice::Servfail,
        }
    }

    fn single(&mut self, spec: &Spec, of: DynamicType, candidate: Candidate, basis: Basis) -> Choice {
        Choice::Table(self.table(of, spec.policy, 1, &[(candidate, true)], basis))
    }

    fn candidates(&self, spec: &Spec, sites: &[SiteId], of: DynamicType) -> Vec<(Candidate, Stand)> {
        sites.iter().filter_map(|site| self.candidate(spec, *site, of)).collect()
    }

    /// What a Site has of a type, and where it stands.
    fn candidate(&self, spec: &Spec, site: SiteId, of: DynamicType) -> Option<(Candidate, Stand)> {
        let (endpoint, live) = match of {
            DynamicType::A => self.endpoint(site, Family::V4)?,
            DynamicType::Aaaa => self.endpoint(site, Family::V6)?,
            DynamicType::Https => self.binding(spec.https?, site)?,
        };
        let of_site = &self.planner.model.sites[site.0];
        let standing = &self.status.sites[site.0];
        let identity = of_site.key.bytes().fold(0, |hash, byte| mix(hash, u64::from(byte)));
        let weight = f64::from(standing.weight);
        let stand = Stand { live, bar: standing.bar(), overridden: standing.overridden, weight };
        let (weight, keep) = (standing.weight, table::KEEP_ALL);
        Some((Candidate { endpoint, weight, identity, site, keep }, stand))
    }

    fn endpoint(&self, site: SiteId, family: Family) -> Option<(u16, bool)> {
        let (address, is_live) = self.address(site, family)?;
        Some((self.planner.endpoint_of[site.0][address], is_live))
    }

    /// Of both families, what is live; where nothing is, what would be answered all the same.
    fn binding(&self, pool: PoolId, site: SiteId) -> Option<(u16, bool)> {
        let hints = Family::ALL.map(|family| self.address(site, family));
        let is_live = hints.iter().flatten().any(|(_, is_live)| *is_live);
        let addresses = &self.planner.model.sites[site.0].addresses;
        let [v4, v6] = hints.map(|hint| Some(addresses[hint.filter(|(_, own)| *own || !is_live)?.0].answer));
        let v4 = v4.and_then(|v4| if let IpAddr::V4(v4) = v4 { Some(v4) } else { None });
        let v6 = v6.and_then(|v6| if let IpAddr::V6(v6) = v6 { Some(v6) } else { None });
        Some((*self.planner.binding_of.get(&Binding { pool, v4, v6 })?, is_live))
    }

    /// A Site's first live address of a family, else its first; and whether it is live.
    fn address(&self, site: SiteId, family: Family) -> Option<(usize, bool)> {
        let model = &self.planner.model;
        let of_site = &model.sites[site.0];
        let mut of_family = (0..of_site.addresses.len()).filter(|a| family.has(of_site.addresses[*a].answer));
        let live = of_family.clone().find(|a| self.status.address_is_live(model, site, *a));
        Some((live.or_else(|| of_family.next())?, live.is_some()))
    }

    fn table(
        &mut self,
        of: DynamicType,
        policy: Policy,
        slots: usize,
        sites: &[(Candidate, bool)],
        basis: Basis,
    ) -> Arc<Table> {
        let live: Vec<bool> = sites.iter().map(|(_, picked)| *picked).collect();
        let identity = |site: &Candidate| if policy == Policy::Sticky { site.identity } else { 0 };
        let key_of = |((site, _), live): (&(Candidate, bool), &bool)| {
            (site.endpoint, site.weight, *live, identity(site), site.keep)
        };
        let key = (of == DynamicType::Https, policy, slots, sites.iter().zip(&live).map(key_of).collect(), basis);
        let table = self.tables.entry(key).or_insert_with(|| {
            let configured: Vec<Candidate> = sites.iter().map(|(site, _)| *site).collect();
            let slots = if policy == Policy::Sticky {
                table::sticky(&configured, &live, slots)
            } else {
                let live: Vec<Candidate> =
                    configured.iter().zip(&live).filter(|(_, live)| **live).map(|(site, _)| *site).collect();
                table::round_robin(&live, slots)
            };
            Arc::new(Table { slots, basis })
        });
        Arc::clone(table)
    }
}

/// A Pool or Group Name whose weights are too far apart for its table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct UnevenShare {
    /// The name.
    pub name: NameId,
    /// Of which answers.
    pub family: Family,
    /// How large the table is.
    pub slots: usize,
    /// How far the worst share is off, relative to what it should be.
    pub error: f64,
}

/// Where a Site's share is off by more than 1 % even with the largest table.
#[must_use]
pub fn share_warnings(model: &Model) -> Vec<UnevenShare> {
    let mut warnings = Vec::new();
    for (id, name) in model.names.iter().enumerate().filter(|(_, name)| !matches!(name.kind, NameKind::Site(_))) {
        for family in Family::ALL {
            let sites = model.sites_of(name.kind).iter().map(|id| &model.sites[id.0]);
            let weights: Vec<u32> = sites
                .filter(|site| site.addresses.iter().any(|a| family.has(a.answer)))
                .map(|site| site.weight)
                .collect();
            if weights.is_empty() {
                continue;
            }
            let slots = table::slot_count(&weights);
            let error = table::share_error(&weights, slots);
            if error > SHARE_ERROR_MAX {
                warnings.push(UnevenShare { name: NameId(id), family, slots, error });
            }
        }
    }
    warnings
}
