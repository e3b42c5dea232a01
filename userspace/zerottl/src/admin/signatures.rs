//! The signatures and proofs of a name's answers, for `zerottl explain --dnssec`: by the code that answers queries with DO.

use std::{net::IpAddr, str::FromStr, sync::Arc};

use domain::base::{CanonicalOrd as _, Rtype, iana::Class};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::observe::{signing::seconds, snapshot::Snapshot};
use zerottl_core::model::Name;
use zerottl_dns::{
    Served,
    dnssec::SignedZone,
    query::Question,
    reply::{Reply, Rr},
    resolve::resolve,
    view::View,
    zone::{Data, FoldedName},
};

/// The answer to one type with DO.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignedAnswer {
    /// The type asked for.
    #[serde(rename = "type")]
    pub rtype: String,
    /// `NOERROR`, `NXDOMAIN`, …
    pub rcode: String,
    /// The signatures in it.
    pub signatures: Vec<SignatureExplanation>,
    /// The proofs by its NSECs, a sentence each.
    pub proofs: Vec<String>,
}

/// One signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct SignatureExplanation {
    /// The owner of the set that it signs.
    pub owner: String,
    /// The type of that.
    pub covers: String,
    /// The key's algorithm and tag.
    pub key: String,
    /// The cohort of names that it is made anew with; none for the sets of keys.
    pub cohort: Option<u64>,
    /// Seconds since it is good.
    pub since_s: i64,
    /// Seconds until it expires; negative once it has.
    pub expires_s: i64,
}

/// Lists the signatures of the answers to a type, or to A and AAAA; none where the name lies in no signed zone.
#[must_use]
pub fn of(
    name: &str,
    asked: Option<Rtype>,
    client: Option<IpAddr>,
    snapshot: &Snapshot,
    served: &Served,
) -> Vec<SignedAnswer> {
    let Ok(name) = Name::from_str(name) else { return Vec::new() };
    let zone = served.zones.zone_of(&FoldedName::new(name.for_slice()));
    let Some(signed) = zone.and_then(|zone| served.view.signed(zone.id())) else { return Vec::new() };
    let view = View::aside(Arc::clone(&snapshot.model), Arc::clone(&snapshot.plan));
    let view = view.with_signed(served.view.all_signed().to_vec());
    let client = client.unwrap_or(IpAddr::from([0, 0, 0, 0]));
    let types = asked.map_or_else(|| vec![Rtype::A, Rtype::AAAA], |asked| vec![asked]);
    let now = seconds();
    let of = |rtype| {
        let question = Question { name: name.for_slice(), rtype, class: Class::IN };
        let reply = resolve(question, true, client.into(), &served.zones, &view);
        answer(&reply, &name, rtype, signed, now)
    };
    types.into_iter().map(of).collect()
}

fn answer(reply: &Reply<'_>, name: &Name, rtype: Rtype, signed: &SignedZone, now: u32) -> SignedAnswer {
    let records = || reply.answer.iter().chain(&reply.authority);
    let last = reply.answer.iter().rev().find_map(|rr| match &*rr.data {
        Data::Cname(cname) if rtype != Rtype::CNAME => Some(cname.cname().clone()),
        _ => None,
    });
    let last = last.unwrap_or_else(|| name.clone());
    SignedAnswer {
        rtype: rtype.to_string(),
        rcode: reply.rcode.to_string(),
        signatures: records().filter_map(|rr| signature(rr, signed, now)).collect(),
        proofs: records().filter_map(|rr| proof(rr, &last)).collect(),
    }
}

fn signature(rr: &Rr<'_>, signed: &SignedZone, now: u32) -> Option<SignatureExplanation> {
    let Data::Rrsig(rrsig) = &*rr.data else { return None };
    let away = |time: u32| i64::from(time.wrapping_sub(now).cast_signed());
    let of_keys = matches!(rrsig.type_covered(), Rtype::DNSKEY | Rtype::CDS | Rtype::CDNSKEY);
    Some(SignatureExplanation {
        owner: rr.owner.name().to_string(),
        covers: rrsig.type_covered().to_string(),
        key: format!("{}/{}", rrsig.algorithm(), rrsig.key_tag()),
        cohort: signed.cohort_of(rr.owner.name()).filter(|_| !of_keys).map(|cohort| cohort as u64),
        since_s: -away(rrsig.inception().into_int()),
        expires_s: away(rrsig.expiration().into_int()),
    })
}

/// The statement of an NSEC about a name.
fn proof(rr: &Rr<'_>, name: &Name) -> Option<String> {
    let Data::Nsec(nsec) = &*rr.data else { return None };
    let (owner, next) = (rr.owner.name(), nsec.next_name());
    let types: Vec<_> = nsec.types().iter().map(|rtype| rtype.to_string()).collect();
    let types = types.join(" ");
    let is_last = next.canonical_cmp(&owner).is_le();
    let is_within = owner.canonical_cmp(name).is_lt() && (is_last || name.canonical_cmp(next).is_lt());
    let what = if *name == *owner {
        format!("{owner} has at most {types}")
    } else if next.ends_with(name) {
        format!("{name} exists only by {next}: nothing is between {owner} and that")
    } else if is_within {
        format!("{name} is missing: nothing is between {owner} and {next}")
    } else {
        format!("no wildcard is there: nothing is between {owner} and {next}")
    };
    Some(what)
}

impl SignedAnswer {
    /// Lines for a terminal.
    #[must_use]
    pub(super) fn lines(&self) -> Vec<String> {
        let mut lines = vec![format!("{} with DO: {}", self.rtype, self.rcode)];
        if self.signatures.is_empty() {
            lines.push("  nothing of it is signed".into());
        }
        for of in &self.signatures {
            let cohort = of.cohort.map_or(String::new(), |cohort| format!(", cohort {cohort}"));
            let hours = |seconds: i64| format!("{} h {} min", seconds / 3600, seconds % 3600 / 60);
            lines.push(format!(
                "  {} {}: signed by {}{cohort}, good since {}, for {} more",
                of.owner,
                of.covers,
                of.key,
                hours(of.since_s),
                hours(of.expires_s)
            ));
        }
        lines.extend(self.proofs.iter().map(|proof| format!("  NSEC: {proof}")));
        lines
    }
}
