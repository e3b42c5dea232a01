//! The data that the socket path answers from: the model, the newest plan, and cursors and rates of its own.

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use crate::{client::QueryClient, dnssec::SignedZone};
use zerottl_core::{
    limit::{ByteMeter, Limiter},
    model::{DynamicType, Model, NameId, Policy, ZoneId},
    plan::{Choice, Plan, PlannedAnswer, Service},
};

/// An answer to one question, and what it depended on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Selection {
    /// The answer.
    pub pick: PlannedAnswer,
    /// Bits of the client's subnet that it depended on: SCOPE PREFIX-LENGTH (RFC 7871 section 7.2.1). 0 where it did
    /// not, and where the client gave none.
    pub scope: u8,
}

/// Shared by every socket-path task; cheap to read, never locked.
#[derive(Debug)]
pub struct View {
    /// The configuration.
    pub model: Arc<Model>,
    /// The limiter of answers to UDP clients.
    pub limiter: Limiter,
    /// The meter of signed answers to UDP clients.
    pub signed_bytes: ByteMeter,
    plan: ArcSwap<Plan>,
    /// By zone; none where it is not signed.
    signed: Vec<Option<Arc<SignedZone>>>,
    cursors: Box<[[AtomicU32; 3]]>,
    /// By position in [`Plan::endpoints`].
    answers: Box<[AtomicU64]>,
}

impl View {
    /// A view of a first plan.
    #[must_use]
    pub fn new(model: Arc<Model>, plan: Plan) -> Self {
        // Staggered, so that browsers asking A and AAAA in pairs do not meet the same Sites in the same order.
        let cursors = model.names.iter().map(|_| [(); 3].map(|()| AtomicU32::new(rand::random())));
        let limiter = Limiter::new(model.rate_limit);
        let answers = plan.endpoints.iter().map(|_| AtomicU64::new(0)).collect();
        let signed_bytes = ByteMeter::new(model.signed_bytes());
        Self {
            cursors: cursors.collect(),
            answers,
            plan: ArcSwap::from_pointee(plan),
            limiter,
            signed_bytes,
            signed: Vec::new(),
            model,
        }
    }

    /// Answers with these signatures, by zone, where they are asked for.
    #[must_use]
    pub fn with_signed(self, signed: Vec<Option<Arc<SignedZone>>>) -> Self {
        Self { signed, ..self }
    }

    /// A zone's signatures, if it is signed.
    #[must_use]
    pub fn signed(&self, zone: ZoneId) -> Option<&Arc<SignedZone>> {
        self.signed.get(zone.0)?.as_ref()
    }

    /// All signatures, by zone.
    #[must_use]
    pub fn all_signed(&self) -> &[Option<Arc<SignedZone>>] {
        &self.signed
    }

    /// A view of a plan for whoever only wants to know what it answers: its cursors and counts are its own.
    #[must_use]
    pub fn aside(model: Arc<Model>, plan: Arc<Plan>) -> Self {
        let cursors = model.names.iter().map(|_| [(); 3].map(|()| AtomicU32::new(0)));
        let answers = plan.endpoints.iter().map(|_| AtomicU64::new(0)).collect();
        let (limiter, signed_bytes) = (Limiter::new(None), ByteMeter::new(None));
        Self {
            cursors: cursors.collect(),
            answers,
            plan: ArcSwap::new(plan),
            limiter,
            signed_bytes,
            signed: Vec::new(),
            model,
        }
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

    /// Finds the service that answers a client, the name whose cursor turns, and the scope of that: a Pool Name's is
    /// its group's for whom a group has in its client nets (S4-4C).
    #[must_use]
    pub fn service<'p>(&self, plan: &'p Plan, name: NameId, client: QueryClient) -> (&'p Service, NameId, u8) {
        let service = plan.service(name);
        let Some(pool) = service.chosen else { return (service, name, 0) };
        let found = self.model.nets.find(client.deciding());
        let chosen = plan.chosen[pool as usize + found.set];
        let scope = client.given().map_or(0, |_| found.scope);
        (&plan.services[chosen.service as usize], chosen.name, scope)
    }

    /// How often each address was answered, by its position in [`Plan::endpoints`].
    #[must_use]
    pub fn answers(&self) -> Vec<u64> {
        self.answers.iter().map(|count| count.load(Ordering::Relaxed)).collect()
    }

    /// Answers one question for a name by the newest plan, and counts the address that is answered.
    #[must_use]
    pub fn pick(&self, name: NameId, of: impl Into<DynamicType>, client: QueryClient) -> Selection {
        let (picked, endpoint) = self.choose(name, of.into(), client);
        if let Some(count) = endpoint.and_then(|endpoint| self.answers.get(endpoint)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
        picked
    }

    /// The answer to one question by the newest plan, and the position of its address in [`Plan::endpoints`].
    #[must_use]
    pub fn choose(&self, name: NameId, of: DynamicType, client: QueryClient) -> (Selection, Option<usize>) {
        let plan = self.plan.load();
        let (service, whose, mut scope) = self.service(&plan, name, client);
        match &service.choice[of.index()] {
            Choice::NoData => (Selection { pick: PlannedAnswer::NoData, scope: 0 }, None),
            Choice::Servfail => (Selection { pick: PlannedAnswer::Servfail, scope: 0 }, None),
            Choice::Table(table) => {
                let turn = match service.policy {
                    Policy::WeightedRoundRobin | Policy::LeastLoad => {
                        self.cursors[whose.0][of.index()].fetch_add(1, Ordering::Relaxed)
                    }
                    Policy::WeightedRandom => rand::random(),
                    Policy::Sticky => {
                        scope = scope.max(match client.given() {
                            Some(IpAddr::V4(_)) => service.sticky_prefix.0,
                            Some(IpAddr::V6(_)) => service.sticky_prefix.1,
                            None => 0,
                        });
                        service.sticky_turn(client.deciding())
                    }
                };
                // Tables are never empty, and their length is a power of two.
                let slot = usize::from(table.slots[turn as usize & (table.slots.len() - 1)]);
                let (pick, endpoint) = match of {
                    DynamicType::A | DynamicType::Aaaa => {
                        (PlannedAnswer::Address(plan.endpoints[slot], service.ttl), Some(slot))
                    }
                    DynamicType::Https => (PlannedAnswer::Https(plan.bindings[slot], service.ttl), None),
                };
                (Selection { pick, scope }, endpoint)
            }
        }
    }
}
