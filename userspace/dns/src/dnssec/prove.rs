//! A reply with its signatures and proofs (RFC 4035 section 3.1).

use std::borrow::Cow;

use domain::base::{Name, RecordData as _, Rtype, iana::Rcode};

use super::{
    chain::{is_of_keys, signed_sets},
    statement::Part,
    zone::SignedZone,
};
use crate::{
    query::Question,
    reply::{Owner, Reply, Rr, records},
    zone::{Data, FoldedName, Found, Zone, dynamic_type},
};
use zerottl_sign::canonical;

/// Adds signatures and proofs to a reply of a signed zone.
pub(crate) fn sign<'a>(reply: &mut Reply<'a>, question: Question<'a>, zone: &'a Zone, signed: &'a SignedZone) {
    let mut prover = Prover { zone, signed, proofs: Vec::new(), proven: Vec::new() };
    let last = last_name(reply, question);
    reply.answer = prover.sets(std::mem::take(&mut reply.answer));
    let is_negative = reply.authority.iter().any(|rr| rr.data.rtype() == Rtype::SOA);
    let cut = reply.authority.first().filter(|rr| rr.data.rtype() == Rtype::NS).map(|rr| rr.owner.clone());
    reply.authority = prover.sets(std::mem::take(&mut reply.authority));
    if is_negative {
        prover.deny(last.name(), question.rtype, reply.rcode);
    } else if let Some(cut) = cut {
        prover.refer(&cut);
    }
    reply.authority.extend(prover.proofs);
    reply.is_signed = true;
}

/// Answers a question for what the chain itself has: NSEC, and RRSIG, of which the NSEC's is enough (RFC 8482 section 4.1).
/// None leaves the question to the zone's data.
pub(crate) fn own<'a>(
    question: Question<'a>,
    dnssec_ok: bool,
    zone: &'a Zone,
    signed: &'a SignedZone,
) -> Option<Reply<'a>> {
    if !matches!(question.rtype, Rtype::NSEC | Rtype::RRSIG) {
        return None;
    }
    let Found::Exact(node) = zone.find(&FoldedName::new(question.name), false) else { return None };
    let at = signed.chain.link(node.owner.for_slice())?;
    let owner = Owner::Known(question.name);
    let mut reply = Reply { authoritative: true, ..Reply::bare(Rcode::NOERROR) };
    let statement = signed.chain.statement(zone, at, Part::Nsec)?;
    let ttl = statement.ttl;
    let rrsig = signed.rrsig((at, Part::Nsec), &statement, owner.clone(), ttl);
    if question.rtype == Rtype::NSEC {
        let data = statement.data.into_owned().into_iter();
        reply.answer.extend(data.map(|data| Rr { owner: owner.clone(), ttl, data: Cow::Owned(data) }));
    }
    reply.answer.extend(rrsig.filter(|_| question.rtype == Rtype::RRSIG || dnssec_ok));
    Some(reply)
}

/// The name that a reply ends at: the question's, or what aliases have led to.
fn last_name<'a>(reply: &Reply<'a>, question: Question<'a>) -> Owner<'a> {
    let target = reply.answer.last().filter(|_| question.rtype != Rtype::CNAME).and_then(|rr| match &*rr.data {
        Data::Cname(cname) => Some(Owner::Made(cname.cname().clone())),
        _ => None,
    });
    target.unwrap_or(Owner::Known(question.name))
}

struct Prover<'a> {
    zone: &'a Zone,
    signed: &'a SignedZone,
    /// NSECs and their signatures, and what a referral has beside its NS.
    proofs: Vec<Rr<'a>>,
    /// Links whose NSECs are among them.
    proven: Vec<usize>,
}

impl<'a> Prover<'a> {
    /// Puts the signature behind each set that has one.
    fn sets(&mut self, records: Vec<Rr<'a>>) -> Vec<Rr<'a>> {
        let mut signed = Vec::with_capacity(2 * records.len());
        let mut records = records.into_iter().peekable();
        while let Some(first) = records.next() {
            let from = signed.len();
            let (owner, rtype) = (first.owner.clone(), first.data.rtype());
            signed.push(first);
            while let Some(rr) = records.next_if(|rr| rr.data.rtype() == rtype && rr.owner.name() == owner.name()) {
                signed.push(rr);
            }
            if is_of_keys(rtype) {
                // Its signatures may be of another moment, so both are taken anew.
                signed.truncate(from);
                signed.extend(self.signed.key_records(Some(rtype), &owner, true));
                continue;
            }
            let rrsigs = self.rrsigs(&owner, rtype, &signed[from]);
            signed.extend(rrsigs);
        }
        signed
    }

    /// The signatures of a set, by its first record; a set that a wildcard made is proven to be made.
    fn rrsigs(&mut self, owner: &Owner<'a>, rtype: Rtype, first: &Rr<'a>) -> Vec<Rr<'a>> {
        let (zone, signed) = (self.zone, self.signed);
        let node = match zone.find(&FoldedName::new(owner.name()), rtype == Rtype::DS) {
            Found::Exact(node) => node,
            Found::Wildcard(node) => {
                // RFC 4035 section 3.1.3.3.
                self.cover(owner.name());
                node
            }
            // The CNAME that a DNAME makes, and the NS set of a delegation, have none.
            _ => match zone.node(owner.name()) {
                Some(node) if node.redirect().is_some() && rtype == Rtype::DNAME => node,
                _ => return Vec::new(),
            },
        };
        let Some(at) = signed.chain.link(node.owner.for_slice()) else { return Vec::new() };
        let link = &signed.chain.links[at];
        let answer = dynamic_type(rtype)
            .and_then(|of| Some(Part::Answer(of, link.alternatives.as_ref()?.find(of, &first.data)?)));
        let set = || signed_sets(node, link.is_cut).position(|set| set.rtype == rtype).map(Part::Set);
        let Some(part) = answer.or_else(set) else { return Vec::new() };
        let statement = signed.chain.statement(zone, at, part);
        let rrsig = |statement| signed.rrsig((at, part), &statement, owner.clone(), first.ttl);
        statement.and_then(rrsig).into_iter().collect()
    }

    /// Proves that a name is not there, or a type at it.
    fn deny(&mut self, name: &Name<[u8]>, rtype: Rtype, rcode: Rcode) {
        let zone = self.zone;
        match zone.find(&FoldedName::new(name), rtype == Rtype::DS) {
            // RFC 4035 section 3.1.3.2.
            _ if rcode == Rcode::NXDOMAIN => {
                self.cover(name);
                self.cover_wildcard(name);
            }
            Found::Exact(node) => match self.signed.chain.link(node.owner.for_slice()) {
                Some(at) => {
                    let narrow = dynamic_type(rtype).filter(|of| self.signed.chain.links[at].has_narrow(*of));
                    self.nsec(at, narrow.map_or(Part::Nsec, Part::Narrow));
                }
                // An empty non-terminal: the gap that it lies in ends below it.
                None => self.cover(name),
            },
            // RFC 4035 section 3.1.3.4.
            Found::Wildcard(node) => {
                if let Some(at) = self.signed.chain.link(node.owner.for_slice()) {
                    self.nsec(at, Part::Nsec);
                }
                self.cover(name);
            }
            Found::Cut(_) | Found::Redirect(_) | Found::Forward(_) | Found::Missing => {}
        }
    }

    /// A referral's DS, or the proof that it has none (RFC 4035 section 3.1.4).
    fn refer(&mut self, cut: &Owner<'a>) {
        let (zone, signed) = (self.zone, self.signed);
        let Some(at) = signed.chain.link(cut.name()) else { return };
        let node = zone.node(cut.name());
        let set = node.and_then(|node| node.set(Rtype::DS));
        let part = Part::Set(0);
        match set.zip(signed.chain.statement(zone, at, part)) {
            Some((set, statement)) => {
                self.proofs.extend(records(cut.clone(), set));
                self.proofs.extend(signed.rrsig((at, part), &statement, cut.clone(), set.ttl));
            }
            None => self.nsec(at, Part::Nsec),
        }
    }

    /// The proof that nothing is between two names, of which one that is missing lies.
    fn cover(&mut self, name: &Name<[u8]>) {
        let at = self.signed.chain.before(name);
        self.nsec(at, Part::Nsec);
    }

    /// The proof that no wildcard stands for a missing name.
    fn cover_wildcard(&mut self, name: &Name<[u8]>) {
        let apex_labels = self.zone.apex().label_count();
        let encloser = name
            .iter_suffixes()
            .skip(1)
            .find(|above| above.label_count() <= apex_labels || self.zone.node(above.for_slice()).is_some());
        let Some(encloser) = encloser else { return };
        let at = self.signed.chain.before_key(&canonical::wildcard_key(encloser.for_slice()));
        self.nsec(at, Part::Nsec);
    }

    /// Adds the NSEC of a link, once.
    fn nsec(&mut self, at: usize, part: Part) {
        if self.proven.contains(&at) {
            return;
        }
        self.proven.push(at);
        let signed = self.signed;
        let link = &signed.chain.links[at];
        let Some(statement) = signed.chain.statement(self.zone, at, part) else { return };
        let owner = Owner::Known(link.owner.for_slice());
        let ttl = statement.ttl;
        let rrsig = signed.rrsig((at, part), &statement, owner.clone(), ttl);
        // Of one record.
        let data = statement.data.into_owned().into_iter();
        self.proofs.extend(data.map(|data| Rr { owner: owner.clone(), ttl, data: Cow::Owned(data) }));
        self.proofs.extend(rrsig);
    }
}
