//! The planner: from the model and one moment's status to a [`Plan`].
//!
//! What does not change with health is worked out once, in [`Planner::new`]. A plan is a function of the whole status, and
//! [`Planner::plan`] does the same work whether nothing has failed or everything has. [`Planner::follow`] comes to the same
//! plan with less: of the plan before it keeps what cannot have changed.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    net::IpAddr,
    sync::Arc,
};

use xdp_ebpf::name::mix;

use super::{
    Basis, Before, Binding, Choice, GroupTarget, Plan, Service, Services, Shares, Table,
    eligible::{self, CandidateState},
    site_inputs::{self, AddressIndex, SiteInputs},
    spec::{self, Kind, Spec},
    steer::{self, Steer},
    table::{self, Candidate, SHARE_ERROR_MAX},
};
use crate::{
    model::{
        AllDown, DynamicName, DynamicType, Family, Model, Name, NameId, NameKind, OnStale, Policy, PoolId, SiteId,
    },
    status::{Assessment, Health},
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
    index: AddressIndex,
    /// By Site: who it is, for sticky; made from its key.
    identities: Vec<u64>,
    specs: Vec<Spec>,
    sets: SiteSets,
    /// Positions in `specs` of those that go by load.
    steered: Vec<u32>,
    /// Services that answer nothing yet.
    blank: Services,
    service_of: Arc<[u32]>,
    chosen: Arc<[GroupTarget]>,
}

/// The sets of Sites that specs answer with, each once. Specs that fail over along one ring have the same set.
#[derive(Debug)]
struct SiteSets {
    /// By Site: the sets that it is in.
    of_site: Vec<Vec<u32>>,
    /// By set: positions of the specs whose Sites it is. By Site and spec it would be quadratic: every Site of a pool is in the
    /// failover order of every other.
    specs_of: Vec<Vec<u32>>,
    /// By spec: which set its Sites are, so that all names of Sites that are all down learn it at once.
    of_spec: Vec<u32>,
}

impl SiteSets {
    fn new(sites: usize, specs: &[Spec]) -> Self {
        let (mut of_site, mut specs_of) = (vec![Vec::new(); sites], Vec::new());
        let mut known = HashMap::new();
        let mut of_spec = Vec::new();
        for (spec, position) in specs.iter().zip(0..) {
            // Orders on one ring are of the same Sites.
            let last_resort = (!spec.last_resort.is_empty()).then(|| spec.last_resort.ring());
            let set = *known.entry((spec.sites.ring(), last_resort)).or_insert_with(|| {
                let set = specs_of.len() as u32;
                for site in spec.sites.iter().chain(&spec.last_resort) {
                    let sets: &mut Vec<u32> = &mut of_site[site.0];
                    if sets.last() != Some(&set) {
                        sets.push(set);
                    }
                }
                specs_of.push(Vec::new());
                set
            });
            specs_of[set as usize].push(position);
            of_spec.push(set);
        }
        Self { of_site, specs_of, of_spec }
    }
}

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
        let index = AddressIndex::new(&model, &endpoint_of);
        let identity = |key: &str| key.bytes().fold(0, |hash, byte| mix(hash, u64::from(byte)));
        let identities = model.sites.iter().map(|site| identity(&site.key)).collect();
        let bindings: Arc<[Binding]> = spec::bindings(&model).into();
        // The configuration refuses more than 65,535 of them.
        let binding_of = bindings.iter().enumerate().map(|(position, binding)| (*binding, position as u16)).collect();
        let mut specs: Vec<Spec> = Vec::new();
        let mut known = HashMap::new();
        let mut position = |spec: Spec| {
            *known.entry(spec.clone()).or_insert_with(|| {
                specs.push(spec);
                (specs.len() - 1) as u32
            })
        };
        // What a million pools have alike is worked out once.
        let mut alike = HashMap::new();
        let service_of = model.names.iter().map(|name| match spec::alike(&model, name.kind) {
            Some(key) => *alike.entry(key).or_insert_with(|| position(Spec::of(&model, name.kind))),
            None => position(Spec::of(&model, name.kind)),
        });
        let service_of: Arc<[u32]> = service_of.collect();
        let chosen = spec::chosen(&model, &service_of, position);
        let sets = SiteSets::new(model.sites.len(), &specs);
        let steered = specs.iter().zip(0..).filter(|(spec, _)| spec.steered.is_some()).map(|(_, at)| at).collect();
        let group_sets = model.nets.sets();
        let blank = specs.iter().map(|spec| Service {
            chosen: spec.nets.map(|pool| (1 + pool * group_sets) as u32),
            policy: spec.policy,
            ttl: spec.ttl,
            sticky_prefix: spec.sticky_prefix,
            choice: [Choice::NoData, Choice::NoData, Choice::NoData],
        });
        Self {
            endpoints: endpoints.into(),
            blank: blank.collect(),
            endpoint_of,
            bindings,
            binding_of,
            index,
            identities,
            specs,
            sets,
            steered,
            service_of,
            chosen,
            model,
        }
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
        type Key<'n> = (u8, &'n Name);
        fn key(name: &DynamicName) -> Key<'_> {
            let kind = match name.kind {
                NameKind::Pool(_) => 0,
                NameKind::Group(_) => 1,
                NameKind::Site(_) => 2,
            };
            (kind, &name.name)
        }
        // Few names have shares that move, of however many there are.
        let with_shares = other.names.iter().zip(plan.service_of.iter());
        let before: HashMap<Key<'_>, &[Vec<(SiteId, f64)>; 3]> =
            with_shares.filter_map(|(name, service)| Some((key(name), plan.shares.of.get(service)?))).collect();
        let keys: HashMap<&str, SiteId> =
            self.model.sites.iter().enumerate().map(|(i, site)| (site.key.as_str(), SiteId(i))).collect();
        let mut of = BTreeMap::new();
        for (name, service) in self.model.names.iter().zip(self.service_of.iter()).filter(|_| !before.is_empty()) {
            let Some(old) = before.get(&key(name)) else { continue };
            let same_site =
                |(site, share): &(SiteId, f64)| Some((*keys.get(other.sites[site.0].key.as_str())?, *share));
            of.insert(*service, [0, 1, 2].map(|of| old[of].iter().filter_map(same_site).collect()));
        }
        Shares { of, moving: true }
    }

    /// Whether any name's answers depend on loads.
    #[must_use]
    pub fn goes_by_load(&self) -> bool {
        !self.steered.is_empty()
    }

    /// How often each Site was answered, of how often each of [`Plan::endpoints`] was; an address of two Sites counts for
    /// both.
    #[must_use]
    pub fn answers_of_sites(&self, by_endpoint: &[u64]) -> Vec<u64> {
        let count = |endpoint: &u16| by_endpoint.get(usize::from(*endpoint)).copied().unwrap_or(0);
        self.endpoint_of.iter().map(|of| of.iter().map(count).fold(0, u64::saturating_add)).collect()
    }

    /// Of each of [`Plan::services`], how many slots its tables have: by [`DynamicType::index`].
    pub fn slot_counts(&self) -> impl Iterator<Item = [usize; 3]> {
        self.specs.iter().map(|spec| spec.slots)
    }

    /// Makes the plan that is answered when nobody has confirmed the newest plan for `max_plan_age`: by `on_stale`, as
    /// if all Sites were up, or SERVFAIL.
    #[must_use]
    pub fn stale_plan(&self) -> Plan {
        let mut status = Assessment::unknown(&self.model);
        status.health.iter_mut().flatten().for_each(|health| *health = Health::Up);
        let mut plan = self.plan(&status, 0);
        if self.model.life.on_stale == OnStale::Servfail {
            for choice in plan.services.iter_mut().flat_map(|service| service.choice.iter_mut()) {
                if let Choice::Table(_) = choice {
                    *choice = Choice::Servfail;
                }
            }
        }
        plan
    }

    /// Compiles a plan whose shares are where they are due.
    #[must_use]
    pub fn plan(&self, status: &Assessment, generation: u64) -> Plan {
        self.follow(status, generation, None)
    }

    /// Compiles a plan whose shares move on from those before.
    #[must_use]
    pub fn follow(&self, status: &Assessment, generation: u64, before: Option<Before<'_>>) -> Plan {
        let site_inputs = self.index.site_inputs(&self.model, status);
        // Of another model, everything is to be found out.
        let known =
            before.and_then(|before| before.plan).filter(|plan| Arc::ptr_eq(&plan.service_of, &self.service_of));
        let (mut services, due) = match known {
            None => (self.blank.clone(), (0..).take(self.specs.len()).collect()),
            Some(plan) => {
                let moved =
                    site_inputs::moved(&plan.site_inputs, &site_inputs).flat_map(|site| &self.sets.of_site[site.0]);
                let sets: BTreeSet<u32> = moved.copied().collect();
                let of_sets = sets.iter().flat_map(|set| &self.sets.specs_of[*set as usize]);
                let mut due: Vec<u32> = of_sets.chain(&self.steered).copied().collect();
                due.sort_unstable();
                due.dedup();
                (plan.services.clone(), due)
            }
        };
        let mut round = Round {
            planner: self,
            status,
            before,
            site_inputs: &site_inputs,
            any_up: vec![None; self.sets.specs_of.len()],
            shares: Shares::default(),
            patterns: HashMap::new(),
            buffers: Default::default(),
        };
        for at in due {
            let spec = &self.specs[at as usize];
            let choice = round.choose(at, spec);
            if services[at as usize].choice != choice {
                services[at as usize].choice = choice;
            }
        }
        Plan {
            generation,
            services,
            shares: round.shares,
            site_inputs: site_inputs.into(),
            endpoints: Arc::clone(&self.endpoints),
            bindings: Arc::clone(&self.bindings),
            service_of: Arc::clone(&self.service_of),
            chosen: Arc::clone(&self.chosen),
        }
    }
}

/// One compilation.
struct Round<'a> {
    planner: &'a Planner,
    status: &'a Assessment,
    before: Option<Before<'a>>,
    site_inputs: &'a [SiteInputs],
    /// By [`SiteSets::of_spec`]: whether any of the Sites is up, once asked.
    any_up: Vec<Option<bool>>,
    /// Of the services so far.
    shares: Shares,
    /// Filled tables of positions among candidates, by their weights behind the number of slots: many names have equal ones.
    patterns: HashMap<Box<[u32]>, Box<[u16]>>,
    /// Memory for one table's key and endpoints.
    buffers: (Vec<u32>, Vec<u16>),
}

impl Round<'_> {
    fn choose(&mut self, at: u32, spec: &Spec) -> [Choice; 3] {
        let operational = match spec.kind {
            Kind::LoadBalance => None,
            Kind::Failover if !self.any_is_up(at, spec) => None,
            Kind::Failover => {
                eligible::fail_over(spec.sites.iter().chain(&spec.last_resort).copied(), self.site_inputs)
            }
        };
        DynamicType::ALL.map(|of| match spec.kind {
            _ if !spec.has[of.index()] => Choice::NoData,
            Kind::LoadBalance => self.balance(at, spec, of),
            Kind::Failover => self.fail_over(spec, of, operational),
        })
    }

    fn any_is_up(&mut self, at: u32, spec: &Spec) -> bool {
        let is_up = |site: &SiteId| self.site_inputs[site.0].is_up;
        let known = &mut self.any_up[self.planner.sets.of_spec[at as usize] as usize];
        *known.get_or_insert_with(|| spec.sites.iter().chain(&spec.last_resort).any(is_up))
    }

    /// A Pool or Group Name: among the Sites with a live address of the family, or of either for HTTPS (S4-3A-320). A group that stands for its
    /// pool never says no while the pool could say yes.
    fn balance(&mut self, at: u32, spec: &Spec, of: DynamicType) -> Choice {
        let mut configured = self.candidates(spec, &spec.sites, of);
        if !spec.last_resort.is_empty() && !configured.iter().any(|(_, stand)| stand.is_eligible()) {
            configured = self.candidates(spec, &spec.last_resort, of);
        }
        if configured.is_empty() {
            return Choice::NoData;
        }
        let threshold = f64::from_bits(spec.up_threshold);
        let Some((is_picked, basis)) =
            eligible::balance(&configured.iter().map(|(_, stand)| stand), threshold, spec.all_down)
        else {
            return Choice::Servfail;
        };
        let mut configured: Vec<_> = configured.iter().map(|(site, stand)| (*site, is_picked(stand))).collect();
        if matches!(basis, Basis::Live | Basis::Minimum) {
            self.steer(at, spec, of, &mut configured);
        }
        let slots = spec.slots[of.index()];
        self.table(spec.policy, slots, &configured, basis)
    }

    /// Adjusts the candidates by loads and the Sites' own wishes.
    fn steer(&mut self, at: u32, spec: &Spec, of: DynamicType, candidates: &mut [(Candidate, bool)]) {
        let before = self.before.and_then(|before| Some((&before.shares.of.get(&at)?[of.index()][..], before.elapsed)));
        let steering = steer::knobs(&self.planner.model, spec.steered);
        let steer = Steer { status: self.status, site_inputs: self.site_inputs, policy: spec.policy, steering, before };
        let (shares, moving) = steer.apply(candidates);
        if spec.steered.is_some() {
            self.shares.of.entry(at).or_default()[of.index()] = shares;
        }
        self.shares.moving |= moving;
    }

    /// A Site Name: the first operational Site of its list (S4-3B-365 to 380). Fails over per Site, never per family.
    fn fail_over(&self, spec: &Spec, of: DynamicType, operational: Option<(SiteId, Basis)>) -> Choice {
        if let Some((site, basis)) = operational {
            return match self.hint(spec, site, of) {
                None => Choice::NoData,
                Some((endpoint, true)) => single(endpoint, basis),
                // The Site is up by its other family: this family's all-down rule, and never another Site's address.
                Some((endpoint, false)) => all_down(spec, endpoint),
            };
        }
        let has = |site: SiteId| self.hint(spec, site, of).is_some();
        let stand_in = eligible::stand_in(spec.sites.iter().copied(), self.site_inputs, has);
        let hint = stand_in.and_then(|site| self.hint(spec, site, of));
        hint.map_or(Choice::NoData, |(endpoint, _)| all_down(spec, endpoint))
    }

    fn candidates(&self, spec: &Spec, sites: &[SiteId], of: DynamicType) -> Vec<(Candidate, CandidateState)> {
        let candidate = |site: &SiteId| {
            let (endpoint, live) = self.hint(spec, *site, of)?;
            let SiteInputs { exclusion, overridden, weight, .. } = self.site_inputs[site.0];
            let identity = self.planner.identities[site.0];
            let stand = CandidateState { live, exclusion, overridden, weight: f64::from(weight) };
            Some((Candidate { endpoint, weight, identity, site: *site, keep: table::KEEP_ALL }, stand))
        };
        sites.iter().filter_map(candidate).collect()
    }

    /// Returns the endpoint that a Site has of a type, and whether it is live.
    fn hint(&self, spec: &Spec, site: SiteId, of: DynamicType) -> Option<(u16, bool)> {
        let first = |of: DynamicType| self.site_inputs[site.0].first[of.index()].map(|hint| (hint.endpoint, hint.live));
        match of {
            DynamicType::A | DynamicType::Aaaa => first(of),
            DynamicType::Https => self.binding(spec.https?, [first(DynamicType::A), first(DynamicType::Aaaa)]),
        }
    }

    /// Of both families, what is live; where nothing is, what would be answered all the same.
    fn binding(&self, pool: PoolId, hints: [Option<(u16, bool)>; 2]) -> Option<(u16, bool)> {
        let is_live = hints.iter().flatten().any(|(_, is_live)| *is_live);
        let answered = |hint: Option<(u16, bool)>| {
            Some(self.planner.endpoints[usize::from(hint.filter(|(_, own)| *own || !is_live)?.0)])
        };
        let [v4, v6] = hints.map(answered);
        let v4 = v4.and_then(|v4| if let IpAddr::V4(v4) = v4 { Some(v4) } else { None });
        let v6 = v6.and_then(|v6| if let IpAddr::V6(v6) = v6 { Some(v6) } else { None });
        Some((*self.planner.binding_of.get(&Binding { pool, v4, v6 })?, is_live))
    }

    fn table(&mut self, policy: Policy, slots: usize, sites: &[(Candidate, bool)], basis: Basis) -> Choice {
        let slots = if policy == Policy::Sticky {
            let (configured, live): (Vec<Candidate>, Vec<bool>) = sites.iter().copied().unzip();
            table::sticky(&configured, &live, slots).into()
        } else {
            let live = || sites.iter().filter(|(_, live)| *live).map(|(site, _)| site);
            let (key, endpoints) = &mut self.buffers;
            key.clear();
            // Tables have at most 65,536 slots.
            key.push(slots as u32);
            key.extend(live().map(|site| site.weight));
            endpoints.clear();
            endpoints.extend(live().map(|site| site.endpoint));
            let pattern = match self.patterns.get(&key[..]) {
                Some(pattern) => pattern,
                None => {
                    self.patterns.entry(key[..].into()).or_insert_with_key(|key| table::round_robin(&key[1..], slots))
                }
            };
            pattern.iter().map(|position| endpoints[usize::from(*position)]).collect()
        };
        Choice::Table(Table { slots, basis })
    }
}

fn single(endpoint: u16, basis: Basis) -> Choice {
    Choice::Table(Table { slots: Arc::new([endpoint]), basis })
}

fn all_down(spec: &Spec, endpoint: u16) -> Choice {
    match spec.all_down {
        AllDown::FailOpen => single(endpoint, Basis::FailOpen),
        AllDown::Servfail => Choice::Servfail,
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
    // By the list of Sites: very many names may have the same one.
    let mut known: HashMap<*const SiteId, [Option<(usize, f64)>; 2]> = HashMap::new();
    for (id, name) in model.names.iter().enumerate().filter(|(_, name)| !matches!(name.kind, NameKind::Site(_))) {
        let sites = model.sites_of(name.kind);
        let shares =
            known.entry(sites.as_ptr()).or_insert_with(|| Family::ALL.map(|family| uneven(model, sites, family)));
        for (family, share) in Family::ALL.into_iter().zip(shares) {
            if let Some((slots, error)) = *share {
                warnings.push(UnevenShare { name: NameId(id), family, slots, error });
            }
        }
    }
    warnings
}

/// Slots of the table of some Sites, and how far its shares are off, where that is too far.
fn uneven(model: &Model, sites: &[SiteId], family: Family) -> Option<(usize, f64)> {
    let sites = sites.iter().map(|id| &model.sites[id.0]);
    let with_address = sites.filter(|site| site.addresses.iter().any(|a| family.has(a.answer)));
    let weights: Vec<u32> = with_address.map(|site| site.weight).collect();
    if weights.is_empty() {
        return None;
    }
    let slots = table::slot_count(&weights);
    let error = table::share_error(&weights, slots);
    (error > SHARE_ERROR_MAX).then_some((slots, error))
}
