//! What the socket path answers from: the model, the newest plan, and cursors of its own.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::{
    model::{Family, Model, NameId, Policy},
    plan::{Choice, Pick, Plan},
};

/// Shared by every socket-path task; cheap to read, never locked.
#[derive(Debug)]
pub struct View {
    /// The configuration.
    pub model: Arc<Model>,
    plan: ArcSwap<Plan>,
    cursors: Box<[[AtomicU32; 2]]>,
}

impl View {
    /// A view of a first plan.
    #[must_use]
    pub fn new(model: Arc<Model>, plan: Plan) -> Self {
        // Staggered, so that browsers asking A and AAAA in pairs do not meet the same Sites in the same order.
        let cursors = model.names.iter().map(|_| [AtomicU32::new(rand::random()), AtomicU32::new(rand::random())]);
        Self { cursors: cursors.collect(), plan: ArcSwap::from_pointee(plan), model }
    }

    /// The newest plan.
    #[must_use]
    pub fn plan(&self) -> Arc<Plan> {
        self.plan.load_full()
    }

    /// Answers from `plan` from now on.
    pub fn publish(&self, plan: Plan) {
        self.plan.store(Arc::new(plan));
    }

    /// Answers one question for a name by the newest plan.
    #[must_use]
    pub fn pick(&self, name: NameId, family: Family, client: IpAddr) -> Pick {
        let plan = self.plan.load();
        let service = plan.service(name);
        match &service.choice[family.index()] {
            Choice::NoData => Pick::NoData,
            Choice::Servfail => Pick::Servfail,
            Choice::Table(table) => {
                let turn = match service.policy {
                    Policy::WeightedRoundRobin => self.cursors[name.0][family.index()].fetch_add(1, Ordering::Relaxed),
                    Policy::WeightedRandom => rand::random(),
                    Policy::Sticky => service.sticky_turn(client),
                };
                // Tables are never empty, and their length is a power of two.
                let slot = turn as usize & (table.slots.len() - 1);
                Pick::Address(plan.endpoints[usize::from(table.slots[slot])], service.ttl)
            }
        }
    }
}
