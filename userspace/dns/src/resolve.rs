//! A question into the records that answer it.

use std::{borrow::Cow, net::IpAddr};

use bytes::Bytes;
use domain::{
    base::{CharStr, Name, Rtype, iana::Rcode},
    rdata::{A, Aaaa, Cname, Hinfo},
};

use super::{
    dnssec,
    query::Question,
    reply::{Owner, Reply, Rr, records},
    svcb,
    zone::{Data, Dynamic, FoldedName, Found, Node, Role, RrSet, Zone, Zones, dynamic_type},
};
use crate::client::QueryClient;
use crate::view::{Selection, View};
use zerottl_core::{model, plan::PlannedAnswer};

/// How many CNAMEs and DNAMEs of one zone are followed; what a longer chain, or a loop, has given by then is the answer.
const ALIASES_MAX: usize = 8;

/// Answers a question of class IN, whose type is no transfer; with signatures where the zone has them and the client can
/// use them: `dnssec_ok` is DO.
#[must_use]
pub fn resolve<'a>(
    question: Question<'a>,
    dnssec_ok: bool,
    client: QueryClient,
    zones: &'a Zones,
    view: &'a View,
) -> Reply<'a> {
    let zone = zones.zone_for(&FoldedName::new(question.name), question.rtype);
    let Some(zone) = zone else { return Reply::bare(Rcode::REFUSED) };
    let Some(signed) = view.signed(zone.id()) else { return from_zone(question, zone, client, zones, view) };
    if let Some(reply) = dnssec::own_records(question, dnssec_ok, zone, signed) {
        return reply;
    }
    if !dnssec_ok {
        return from_zone(question, zone, client, zones, view);
    }
    let of = |rtype| from_zone(Question { rtype, ..question }, zone, client, zones, view);
    // What answers ANY else is no data, and has no signature; one set that has is enough (RFC 8482 section 4.1).
    let is_any = question.rtype == Rtype::ANY && is_by_plan(zone, question.name);
    let mut reply = of(if is_any { Rtype::A } else { question.rtype });
    if is_any && reply.answer.is_empty() {
        reply = of(Rtype::AAAA);
    }
    dnssec::sign_reply(&mut reply, question, zone, signed);
    reply
}

/// Whether the plan answers a name.
fn is_by_plan(zone: &Zone, name: &Name<[u8]>) -> bool {
    zone.node(name).is_some_and(|node| node.dynamic.is_some_and(|dynamic| dynamic.refer.is_none()))
}

/// Answers a question from the zone that has its answer, without signatures.
fn from_zone<'a>(
    question: Question<'a>,
    zone: &'a Zone,
    client: QueryClient,
    zones: &'a Zones,
    view: &View,
) -> Reply<'a> {
    let mut reply = Reply { authoritative: true, ..Reply::bare(Rcode::NOERROR) };
    let mut name = Owner::Known(question.name);
    for _ in 0..=ALIASES_MAX {
        let node = match zone.find(&FoldedName::new(name.name()), question.rtype == Rtype::DS) {
            Found::Exact(node) | Found::Wildcard(node) => node,
            Found::Cut(node) => {
                // An answer that begins with an alias of this zone is authoritative for that (RFC 1035 section 4.1.1).
                reply.authoritative = !reply.answer.is_empty();
                if let Some(servers) = node.set(Rtype::NS) {
                    reply.refer(zone, node.owner.for_slice(), servers);
                }
                return reply;
            }
            Found::Redirect(node) => {
                // RFC 6672 section 3.2: the DNAME first.
                let Some((set, target)) = node.set(Rtype::DNAME).zip(node.redirect()) else { return reply };
                reply.answer.extend(records(node.owner.for_slice(), set));
                let Some(made) = redirected(name.name(), &node.owner, target) else {
                    reply.rcode = Rcode::YXDOMAIN;
                    return reply;
                };
                let cname = Cow::Owned(Cname::new(made.clone()).into());
                reply.answer.push(Rr { owner: name, ttl: set.ttl, data: cname });
                if !zones.is_of(zone, made.for_slice()) || matches!(question.rtype, Rtype::CNAME | Rtype::ANY) {
                    return reply;
                }
                name = Owner::Made(made);
                continue;
            }
            Found::Forward(_) => {
                // An alias has led here; its target is another's to say. `respond` forwards what begins here.
                return if reply.answer.is_empty() { Reply::bare(Rcode::REFUSED) } else { reply };
            }
            Found::Missing => {
                // The rcode is that of the last name in the chain (RFC 6604 section 2.1).
                reply.rcode = Rcode::NXDOMAIN;
                reply.negative(zone);
                return reply;
            }
        };
        let alias = node.alias().filter(|_| !matches!(question.rtype, Rtype::CNAME | Rtype::ANY));
        let Some(target) = alias else {
            reply.answer_at(zone, node, &name, question.rtype, client, view);
            return reply;
        };
        reply.answer.extend(node.sets.iter().flat_map(|set| records(name.clone(), set)));
        name = Owner::Known(target.for_slice());
        if !zones.is_of(zone, target.for_slice()) {
            return reply;
        }
    }
    reply
}

impl<'a> Reply<'a> {
    fn answer_at(
        &mut self,
        zone: &'a Zone,
        node: &'a Node,
        name: &Owner<'a>,
        rtype: Rtype,
        client: QueryClient,
        view: &View,
    ) {
        if let Some(dynamic) = node.dynamic
            && self.dynamic(zone, dynamic, name, rtype, client, view)
        {
            return;
        }
        // RFC 8482 section 4.1: one set is enough for ANY.
        let set = if rtype == Rtype::ANY { node.sets.first() } else { node.set(rtype) };
        if let Some(set) = set {
            match view.signed(zone.id()).filter(|_| dnssec::is_of_keys(set.rtype)) {
                Some(signed) => self.answer.extend(signed.key_records(Some(set.rtype), name, false)),
                None => self.answer.extend(records(name.clone(), set)),
            }
            if rtype == Rtype::NS {
                self.extra.extend(addresses(zone, set).map(|(_, records)| records));
            }
        } else if let Some(role) = node.dynamic.and_then(|dynamic| dynamic.refer) {
            self.refer_to_role(zone, name, role);
        } else {
            self.negative(zone);
        }
    }

    /// Answers what the plan decides at a dynamic name (seed rows S4-3A-315, S4-3B-360); false leaves the question to
    /// the records file.
    fn dynamic(
        &mut self,
        zone: &'a Zone,
        dynamic: Dynamic,
        name: &Owner<'a>,
        rtype: Rtype,
        client: QueryClient,
        view: &View,
    ) -> bool {
        let of = dynamic_type(rtype);
        if of.is_none() && rtype != Rtype::ANY {
            return false;
        }
        if let Some(role) = dynamic.refer {
            self.refer_to_role(zone, name, role);
            return true;
        }
        let Some(of) = of else {
            self.answer.push(Rr { owner: name.clone(), ttl: zone.soa().ttl, data: Cow::Owned(any()) });
            return true;
        };
        let Selection { pick, scope } = view.pick(dynamic.id, of, client);
        self.scope = scope;
        self.by_plan = self.answer.is_empty();
        match pick {
            PlannedAnswer::Address(address, ttl) => {
                let data = match address {
                    IpAddr::V4(address) => A::new(address).into(),
                    IpAddr::V6(address) => Aaaa::new(address).into(),
                };
                self.answer.push(Rr { owner: name.clone(), ttl, data: Cow::Owned(data) });
            }
            PlannedAnswer::Https(binding, ttl) => {
                let data = svcb::https(binding, &view.model);
                self.answer.push(Rr { owner: name.clone(), ttl, data: Cow::Owned(data.into()) });
            }
            PlannedAnswer::NoData => self.negative(zone),
            PlannedAnswer::Servfail => *self = Self::bare(Rcode::SERVFAIL),
        }
        true
    }

    /// NODATA, or NXDOMAIN's SOA (RFC 2308 section 2).
    fn negative(&mut self, zone: &'a Zone) {
        self.authority.extend(records(zone.apex().for_slice(), zone.soa()));
    }

    /// Invariant 10: whoever has the role answers; never NXDOMAIN, never NODATA.
    fn refer_to_role(&mut self, zone: &'a Zone, name: &Owner<'a>, role: Role) {
        self.authoritative = !self.answer.is_empty();
        match zone.referral(role) {
            Some(servers) => self.refer(zone, name.clone(), servers),
            // Loading makes sure that there is one.
            None => *self = Self::bare(Rcode::SERVFAIL),
        }
    }

    fn refer(&mut self, zone: &'a Zone, cut: impl Into<Owner<'a>>, servers: &'a RrSet) {
        let cut = cut.into();
        self.authority.extend(records(cut.clone(), servers));
        for (server, records) in addresses(zone, servers) {
            if server.ends_with(cut.name()) {
                self.glue.extend(records);
            } else {
                self.extra.push(records);
            }
        }
    }
}

/// A name with its end, `from`, replaced; none where it gets too long (RFC 6672 section 2.2).
fn redirected(name: &Name<[u8]>, from: &model::Name, to: &model::Name) -> Option<model::Name> {
    let before = name.as_slice().get(..name.len().checked_sub(from.len())?)?;
    Name::from_octets(Bytes::from([before, to.as_slice()].concat())).ok()
}

/// The address sets this zone knows of an NS set's targets.
fn addresses<'a>(zone: &'a Zone, servers: &'a RrSet) -> impl Iterator<Item = (&'a Name<[u8]>, Vec<Rr<'a>>)> {
    let targets = servers.data.iter().filter_map(|data| match data {
        Data::Ns(ns) => Some(ns.nsdname().for_slice()),
        _ => None,
    });
    targets.filter(|target| zone.holds(target)).flat_map(|target| {
        let sets = zone.node(target).into_iter().flat_map(|node| &node.sets);
        let sets = sets.filter(|set| matches!(set.rtype, Rtype::A | Rtype::AAAA));
        sets.map(move |set| (target, records(target, set).collect()))
    })
}

/// RFC 8482 section 4.2.
fn any() -> Data {
    let cpu = CharStr::from_octets(Bytes::from_static(b"RFC8482")).expect("7 bytes are under 255");
    let os = CharStr::from_octets(Bytes::new()).expect("no bytes are under 255");
    Hinfo::new(cpu, os).into()
}
