//! The answers from the zones' records, for `zerottl explain`: by the code that answers queries, with separate cursors.

use std::{str::FromStr, sync::Arc};

use domain::base::{Rtype, iana::Class};
use thiserror::Error;

use super::{
    explanation::{Explanation, TypeAnswer},
    text,
};
use crate::observe::{labels::kind_word, snapshot::Snapshot};
use zerottl_core::model::{Model, Name};
use zerottl_dns::{
    Zones,
    query::Question,
    reply::{Reply, Rr},
    resolve::resolve,
    view::View,
    zone::{FoldedName, Found, Node},
};

/// Types shown of one name, at most.
const TYPES_MAX: usize = 64;

/// The word that is no record type.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{}` is not a record type", text::printable(.0))]
pub(crate) struct BadType(String);

/// A type by its word, in any case, or as `TYPE` and its number.
pub fn rtype(word: &str) -> Result<Rtype, BadType> {
    Rtype::from_str(&word.to_ascii_uppercase()).map_err(|_| BadType(word.to_owned()))
}

/// Adds to a page what the records answer: to one type, or to all that the name has.
pub fn add(page: &mut Explanation, snapshot: &Snapshot, zones: &Zones, asked: Option<Rtype>) {
    let Ok(name) = Name::from_str(&page.name) else { return };
    let is_planned = |rtype: Rtype| matches!(rtype, Rtype::A | Rtype::AAAA | Rtype::HTTPS);
    let is_dynamic = page.policy.is_some();
    if let Some(asked) = asked {
        page.families.retain(|family| family.family == asked.to_string());
        page.https = page.https.take().filter(|_| asked == Rtype::HTTPS);
        if is_dynamic && is_planned(asked) && !(page.families.is_empty() && page.https.is_none()) {
            return;
        }
    }
    let types = match asked {
        Some(asked) => vec![asked],
        None => types_of(zones, &name, is_dynamic),
    };
    let view = View::aside(Arc::clone(&snapshot.model), Arc::clone(&snapshot.plan));
    let client = page.client.unwrap_or(std::net::Ipv4Addr::UNSPECIFIED.into());
    for rtype in types {
        let question = Question { name: name.for_slice(), rtype, class: Class::IN };
        let reply = if zones.forward_of(&FoldedName::new(name.for_slice())).is_some() {
            Reply::bare(domain::base::iana::Rcode::NOERROR)
        } else {
            resolve(question, false, client.into(), zones, &view)
        };
        page.answers.push(answer(&reply, rtype, why(zones, &snapshot.model, &name, &reply, rtype)));
    }
}

/// The types to show of a name: those that it has, or A.
fn types_of(zones: &Zones, name: &Name, is_dynamic: bool) -> Vec<Rtype> {
    let folded = FoldedName::new(name.for_slice());
    let found = zones.zone_of(&folded).map(|zone| zone.find(&folded, false));
    let (Some(Found::Exact(node) | Found::Wildcard(node)), None) = (found, zones.forward_of(&folded)) else {
        return vec![Rtype::A];
    };
    if let (Some(_), false) = (node.alias(), is_dynamic) {
        return vec![Rtype::A];
    }
    let mut types: Vec<_> = node.sets.iter().map(|set| set.rtype).collect();
    types.sort_by_key(|rtype| rtype.to_int());
    types.truncate(TYPES_MAX);
    if types.is_empty() && !is_dynamic { vec![Rtype::A] } else { types }
}

fn why(zones: &Zones, model: &Model, name: &Name, reply: &Reply<'_>, rtype: Rtype) -> String {
    let folded = FoldedName::new(name.for_slice());
    if let Some(forward) = zones.forward_of(&folded) {
        return format!("forwarded to the servers of [forward.\"{}\"]", model.forwards[forward.0].name);
    }
    let Some(zone) = zones.zone_for(&folded, rtype) else { return "in none of the zones served here".into() };
    let first = match zone.find(&folded, rtype == Rtype::DS) {
        Found::Exact(node) if node.sets.is_empty() && node.dynamic.is_none() => {
            "it exists only by what is below it: no data".into()
        }
        Found::Exact(node) => of_node(node, "from the zone's records".into(), rtype),
        Found::Wildcard(node) => of_node(node, format!("by the wildcard {}", node.owner), rtype),
        Found::Cut(node) => format!("delegated at {}: a referral", node.owner),
        Found::Redirect(node) => format!("redirected by the DNAME of {}", node.owner),
        Found::Forward(node) => format!("forwarded at {}", node.owner),
        Found::Missing => "neither the name nor a wildcard for it exists".into(),
    };
    // Where the answer has come to by aliases.
    let last = reply.answer.last().map(|rr| rr.owner.name());
    let dynamic = last.and_then(|last| model.names.iter().find(|entry| entry.name == *last));
    match dynamic.filter(|entry| entry.name != *name) {
        Some(entry) => {
            let kind = kind_word(entry.kind);
            format!("{first}; {} is a {kind} name, and this one of its answers: explain {}", entry.name, entry.name)
        }
        None => first,
    }
}

fn of_node(node: &Node, whence: String, rtype: Rtype) -> String {
    if node.alias().is_some() && rtype != Rtype::CNAME {
        return format!("{whence}: an alias");
    }
    let has = rtype == Rtype::ANY || node.set(rtype).is_some();
    if has { whence } else { format!("{whence}, which have no {rtype}: no data") }
}

fn answer(reply: &Reply<'_>, rtype: Rtype, why: String) -> TypeAnswer {
    let lines = |records: &[Rr<'_>]| records.iter().map(line).collect::<Vec<_>>();
    TypeAnswer {
        rtype: rtype.to_string(),
        rcode: reply.rcode.to_string(),
        why,
        answer: lines(&reply.answer),
        authority: lines(&reply.authority),
        additional: reply.extra.iter().chain([&reply.glue]).flat_map(|set| lines(set)).collect(),
    }
}

fn line(rr: &Rr<'_>) -> String {
    use domain::base::RecordData as _;
    format!("{} {} {} {}", rr.owner.name().fmt_with_dot(), rr.ttl, rr.data.rtype(), rr.data)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::fixture::{model, snapshot, table};
    use zerottl_core::{
        model::Family,
        plan::{Choice, PlannedAnswer},
    };

    const RECORDS: &str = "mail A 192.0.2.1\nmail MX 10 mail\n*.wild TXT w\nto CNAME mail\npool CNAME boston\nsub NS ns.x.\n\
        a.b.ent A 192.0.2.2\nold DNAME wild\n";

    fn page(name: &str, word: Option<&str>) -> Explanation {
        let model = model();
        let a = || table(&model, "192.0.2.10", &["boston"]);
        let choices = model.names.iter().map(|_| [a(), Choice::NoData]).collect();
        let snapshot = snapshot(model.clone(), choices);
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("z"), RECORDS).expect("written");
        let mut model = (*snapshot.model).clone();
        model.zones[0].records = Some("z".into());
        let zones = Zones::load(&model, folder.path()).expect("sound");
        let pick = |_, _: Family, _| PlannedAnswer::NoData;
        let mut page = super::super::explain::explain(&snapshot, name, None, pick).expect("a name");
        add(&mut page, &snapshot, &zones, word.map(|word| rtype(word).expect("a type")));
        page
    }

    #[test]
    fn static_names_are_explained() {
        for (name, word, expected) in [
            (
                "mail.app.com",
                None,
                &["A: NOERROR, from the zone's records", "MX: NOERROR, from the zone's records"][..],
            ),
            ("mail.app.com", Some("txt"), &["TXT: NOERROR, from the zone's records, which have no TXT: no data"]),
            ("x.wild.app.com", None, &["TXT: NOERROR, by the wildcard *.wild.app.com"]),
            ("x.wild.app.com", Some("MX"), &["MX: NOERROR, by the wildcard *.wild.app.com, which have no MX: no data"]),
            ("to.app.com", None, &["A: NOERROR, from the zone's records: an alias"]),
            ("x.sub.app.com", None, &["A: NOERROR, delegated at sub.app.com: a referral"]),
            ("b.ent.app.com", None, &["A: NOERROR, it exists only by what is below it: no data"]),
            ("q.old.app.com", Some("TXT"), &["TXT: NOERROR, redirected by the DNAME of old.app.com"]),
            ("none.app.com", None, &["A: NXDOMAIN, neither the name nor a wildcard for it exists"]),
            ("example.net", None, &["A: REFUSED, in none of the zones served here"]),
        ] {
            let page = page(name, word);
            let said: Vec<_> = page
                .answers
                .iter()
                .map(|answer| format!("{}: {}, {}", answer.rtype, answer.rcode, answer.why))
                .collect();
            assert_eq!(said, expected, "{name}");
        }
        let answer = &page("to.app.com", None).answers[0];
        assert_eq!(answer.answer, ["to.app.com. 3600 CNAME mail.app.com.", "mail.app.com. 3600 A 192.0.2.1"]);
        assert!(page("to.app.com", None).to_text().contains("\n  mail.app.com. 3600 A 192.0.2.1\n"));
    }

    #[test]
    fn names_of_the_plan_have_their_types() {
        let of = |page: &Explanation| page.families.iter().map(|family| family.family.clone()).collect::<Vec<_>>();
        assert_eq!(of(&page("boston.app.com", Some("AAAA"))), ["AAAA"]);
        let text = page("boston.app.com", Some("TXT"));
        assert_eq!((of(&text), text.answers.len()), (vec![], 1));
        let alias = &page("pool.app.com", None).answers[0];
        assert!(alias.why.contains("an alias; boston.app.com is a site name"), "{}", alias.why);
    }
}
