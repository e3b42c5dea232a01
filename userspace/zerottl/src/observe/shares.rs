//! Shares of the Sites, counted in the tables that answers are made from rather than computed from weights.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::Arc,
};

use zerottl_core::{
    model::{Family, Model, NameId, NameKind, SiteId},
    plan::{Choice, Plan, Table},
};

/// Fractions by key, summing to 1 unless empty.
pub(crate) type SiteShares = BTreeMap<String, f64>;

/// Counts tables, each distinct one once.
#[derive(Debug)]
pub(crate) struct ShareCounter<'a> {
    model: &'a Model,
    plan: &'a Plan,
    /// By the table's address; the plan keeps the tables alive for as long.
    counted: HashMap<*const [u16], Vec<(IpAddr, f64)>>,
}

impl<'a> ShareCounter<'a> {
    /// For one plan.
    #[must_use]
    pub fn new(model: &'a Model, plan: &'a Plan) -> Self {
        Self { model, plan, counted: HashMap::new() }
    }

    /// The addresses of one of the plan's choices, each with its share of the slots; none unless it has a table.
    pub fn addresses(&mut self, choice: &Choice) -> &[(IpAddr, f64)] {
        let plan = self.plan;
        match choice {
            Choice::Table(table) => self.counted.entry(Arc::as_ptr(&table.slots)).or_insert_with(|| count(plan, table)),
            Choice::NoData | Choice::Servfail => &[],
        }
    }

    /// Returns the shares of a name's answers for one family, by Site key.
    pub fn sites(&mut self, name: NameId, family: Family) -> SiteShares {
        let (model, kind) = (self.model, self.model.names[name.0].kind);
        let mut shares = SiteShares::new();
        for (address, share) in self.addresses(self.plan.choice(name, family)) {
            let key = owner(model, kind, *address).map_or("?", |site| &model.sites[site.0].key);
            *shares.entry(key.to_owned()).or_default() += share;
        }
        shares
    }
}

fn count(plan: &Plan, table: &Table) -> Vec<(IpAddr, f64)> {
    let of = |(endpoint, share): (u16, f64)| Some((*plan.endpoints.get(usize::from(endpoint))?, share));
    slot_shares(table).into_iter().filter_map(of).collect()
}

/// Returns what a table's slots hold, each with its share of them.
#[expect(clippy::cast_precision_loss, reason = "a table has at most 65,536 slots")]
#[must_use]
pub(crate) fn slot_shares(table: &Table) -> Vec<(u16, f64)> {
    let mut slots_of = BTreeMap::<u16, usize>::new();
    for held in &table.slots[..] {
        *slots_of.entry(*held).or_default() += 1;
    }
    let all = table.slots.len() as f64;
    slots_of.into_iter().map(|(held, slots)| (held, slots as f64 / all)).collect()
}

/// The Site an answered address belongs to: the first of the name's own that has it, else the first of all.
#[must_use]
pub fn owner(model: &Model, kind: NameKind, address: IpAddr) -> Option<SiteId> {
    let has = |id: &SiteId| model.sites[id.0].addresses.iter().any(|entry| entry.answer == address);
    model.sites_of(kind).iter().copied().find(has).or_else(|| (0..model.sites.len()).map(SiteId).find(has))
}
