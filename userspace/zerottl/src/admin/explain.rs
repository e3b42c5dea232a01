//! `zerottl explain` and `/v1/explain`: what would be answered now, and why.
//!
//! The answer is read from the newest plan's tables, the reasons from the status beside it; where the two do not fit
//! each other, the page says so rather than making up a reason.

use std::{collections::BTreeSet, net::IpAddr, str::FromStr};

use domain::base::zonefile_fmt::{DisplayKind, ZonefileFmt as _};

use thiserror::Error;

use super::{
    explanation::{AddressShare, Explanation, FamilyExplanation, HttpsExplanation, RecordShare, SiteVerdict},
    fleet, health, load, notices, text,
};
use crate::observe::{
    labels::{choice_word, decided_by, health_word, kind_word},
    shares::{ShareCounter, owner, slot_shares},
    snapshot::Snapshot,
};
use zerottl_core::{
    exclusion::Exclusion,
    model::{AllDown, DynamicName, DynamicType, Family, GroupId, Name, NameId, NameKind, Policy, SiteId},
    plan::{Basis, Choice, PlannedAnswer, Service},
    status::Health,
    votes::quorums,
};
use zerottl_dns::svcb;

/// The name that cannot be explained, as it is none.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("`{}` is not a DNS name", text::printable(.0))]
pub(crate) struct BadName(String);

/// The name that is asked about.
pub(super) fn asked(name: &str) -> Result<Name, BadName> {
    Name::from_str(name).map_err(|_| BadName(name.to_owned()))
}

/// Explains `name` at one moment; `pick` answers one question from the same plan and is asked for sticky names alone,
/// where asking changes nothing.
pub fn explain(
    snapshot: &Snapshot,
    name: &str,
    client: Option<IpAddr>,
    pick: impl Fn(NameId, Family, IpAddr) -> PlannedAnswer,
) -> Result<Explanation, BadName> {
    let asked = asked(name)?;
    let model = &*snapshot.model;
    // The innermost.
    let holding = model.zones.iter().filter(|zone| asked.ends_with(&zone.apex));
    let zone = holding.max_by_key(|zone| zone.apex.label_count());
    let Some(index) = model.names.iter().position(|entry| entry.name == asked) else {
        let (kind, note) = match zone {
            Some(_) => ("static", "no Pool, Group or Site Name: answered from the zone's records"),
            None => ("outside", "in none of the zones served here: REFUSED"),
        };
        return Ok(Explanation {
            name: asked.to_string(),
            client,
            zone: zone.map(|zone| zone.apex.to_string()),
            kind: kind.into(),
            group: None,
            policy: None,
            note: Some(note.into()),
            families: Vec::new(),
            https: None,
            answers: Vec::new(),
            dnssec: Vec::new(),
        });
    };
    let entry = &model.names[index];
    let mut page = Explanation {
        name: entry.name.to_string(),
        client,
        zone: zone.map(|zone| zone.apex.to_string()),
        kind: kind_word(entry.kind).into(),
        group: None,
        policy: Some(decided_by(model, entry.kind).into()),
        note: None,
        families: Vec::new(),
        https: None,
        answers: Vec::new(),
        dnssec: Vec::new(),
    };
    if entry.served {
        let (answering, note) = answering(snapshot, NameId(index), client);
        if let Some(group) = answering.group {
            page.group = Some(model.groups[group.0].name.to_string());
            page.policy = Some(decided_by(model, NameKind::Group(group)).into());
        }
        page.note = note;
        let one = |of| family(snapshot, answering, of, client, &pick);
        page.families = Family::ALL.map(one).into();
        page.https = https(snapshot, answering.service);
    } else {
        page.note = Some(referral(snapshot, entry));
    }
    Ok(page)
}

/// A name with the service that answers it.
#[derive(Clone, Copy)]
struct Answering<'a> {
    /// The name.
    name: NameId,
    /// The group whose client nets chose it, for a Pool Name.
    group: Option<GroupId>,
    /// The name's own, or the group's.
    service: &'a Service,
}

/// Returns what answers a client, as `View::service` has it, and what the groups' client nets have to do with it.
fn answering(snapshot: &Snapshot, name: NameId, client: Option<IpAddr>) -> (Answering<'_>, Option<String>) {
    let (model, plan) = (&*snapshot.model, &*snapshot.plan);
    let own = Answering { name, group: None, service: plan.service(name) };
    let NameKind::Pool(pool) = model.names[name.0].kind else { return (own, None) };
    let (Some(chosen), Ok(pool)) = (own.service.chosen, model.nets.pools().binary_search(&pool)) else {
        return (own, None);
    };
    let Some(client) = client else {
        let groups: BTreeSet<GroupId> = (0..model.nets.sets()).filter_map(|set| model.nets.group(set, pool)).collect();
        let groups: Vec<String> = groups.iter().map(|group| model.groups[group.0].name.to_string()).collect();
        let note = format!("for clients in no group's nets; these groups have client nets: {}", groups.join(", "));
        return (own, Some(note));
    };
    let found = model.nets.find(client);
    match model.nets.group(found.set, pool) {
        None => (own, Some(format!("the client is in no group's nets (its /{} decides): the whole pool", found.scope))),
        Some(group) => {
            let service = &plan.services[plan.chosen[chosen as usize + found.set].service as usize];
            let of = &model.groups[group.0].name;
            let note = format!("the client is in the nets of group {of} (its /{} decides)", found.scope);
            (Answering { group: Some(group), service, ..own }, Some(note))
        }
    }
}

fn referral(snapshot: &Snapshot, entry: &DynamicName) -> String {
    let zone = &snapshot.model.zones[entry.zone.0];
    let (role, servers) = match entry.kind {
        NameKind::Site(_) => ("failover", &zone.failover_nameservers),
        NameKind::Pool(_) | NameKind::Group(_) => ("load-balance", &zone.balance_nameservers),
    };
    let servers: Vec<String> = servers.iter().map(ToString::to_string).collect();
    format!("this machine does not have the role `{role}`: a referral to {}", servers.join(", "))
}

fn family(
    snapshot: &Snapshot,
    answering: Answering<'_>,
    family: Family,
    client: Option<IpAddr>,
    pick: impl Fn(NameId, Family, IpAddr) -> PlannedAnswer,
) -> FamilyExplanation {
    let (model, plan) = (&*snapshot.model, &*snapshot.plan);
    let Answering { name, group, service } = answering;
    let (kind, instead) = stands_for(snapshot, name, group, family);
    let choice = &service.choice[family.index()];
    let mut counter = ShareCounter::new(model, plan);
    let addresses: Vec<AddressShare> = counter
        .addresses(choice)
        .iter()
        .map(|(address, share)| AddressShare {
            address: *address,
            site: owner(model, kind, *address).map_or("?".into(), |site| model.sites[site.0].key.clone()),
            share: *share,
        })
        .collect();
    let sticky = match (service.policy, client) {
        (Policy::Sticky, Some(client)) if addresses.len() > 1 => match pick(name, family, client) {
            PlannedAnswer::Address(address, _) => Some(address),
            PlannedAnswer::Https(..) | PlannedAnswer::NoData | PlannedAnswer::Servfail => None,
        },
        _ => None,
    };
    let sites = verdicts(snapshot, kind, family, &addresses);
    let basis = if let Choice::Table(table) = choice { basis_note(table.basis) } else { None };
    let choice = choice_word(choice);
    let why = basis.or_else(|| note(snapshot, kind, choice, &sites));
    let notes: Vec<String> = instead.into_iter().chain(why).collect();
    FamilyExplanation {
        family: type_word(family).into(),
        choice: choice.into(),
        answer: answer(service.policy, choice, &addresses, sticky),
        note: (!notes.is_empty()).then(|| notes.join("; ")),
        addresses,
        sticky,
        sites,
    }
}

/// The HTTPS records of what answers a name; a Site's are decided as its addresses are, so they need no reasons of their own.
fn https(snapshot: &Snapshot, service: &Service) -> Option<HttpsExplanation> {
    let (model, plan) = (&*snapshot.model, &*snapshot.plan);
    let choice = &service.choice[DynamicType::Https.index()];
    let records = match choice {
        Choice::NoData => return None,
        Choice::Servfail => Vec::new(),
        Choice::Table(table) => {
            let share = |(slot, share): (u16, f64)| {
                let binding = *plan.bindings.get(usize::from(slot))?;
                Some(RecordShare {
                    record: svcb::https(binding, model).display_zonefile(DisplayKind::Simple).to_string(),
                    share,
                })
            };
            slot_shares(table).into_iter().filter_map(share).collect()
        }
    };
    Some(HttpsExplanation { choice: choice_word(choice).into(), records })
}

/// Whose Sites are asked, and why, where a group's client nets do not decide it alone: a group without a live address of
/// the family stands back for its pool.
fn stands_for(snapshot: &Snapshot, name: NameId, group: Option<GroupId>, family: Family) -> (NameKind, Option<String>) {
    let (model, own) = (&snapshot.model, snapshot.model.names[name.0].kind);
    let Some(group) = group else { return (own, None) };
    let of_group = NameKind::Group(group);
    if model.sites_of(of_group).iter().any(|id| is_eligible(snapshot, *id, family)) {
        return (of_group, None);
    }
    let (of, word) = (&model.groups[group.0].name, type_word(family));
    if model.sites_of(of_group).iter().any(|id| is_live(snapshot, *id, family)) {
        return (
            own,
            Some(format!(
                "the Sites of {of} with a live {word} address are all excluded: all of the pool's Sites are considered"
            )),
        );
    }
    (own, Some(format!("no Site of {of} has a live {word} address: all of the pool's Sites are considered")))
}

fn type_word(family: Family) -> &'static str {
    match family {
        Family::V4 => "A",
        Family::V6 => "AAAA",
    }
}

fn answer(policy: Policy, choice: &str, addresses: &[AddressShare], sticky: Option<IpAddr>) -> String {
    let site_of = |address: IpAddr| addresses.iter().find(|entry| entry.address == address).map(|entry| &entry.site);
    match (addresses, sticky) {
        ([], _) => choice.to_uppercase(),
        ([one], _) => format!("{} ({})", one.address, one.site),
        (_, Some(address)) => {
            format!("{address} ({}), by the client's subnet", site_of(address).map_or("?", String::as_str))
        }
        (many, None) => {
            let how = match policy {
                Policy::WeightedRoundRobin | Policy::LeastLoad => "in turn",
                Policy::WeightedRandom => "at random",
                Policy::Sticky => "by the client's subnet",
            };
            format!("one of {} addresses, {how}", many.len())
        }
    }
}

/// Returns each Site's verdict for the name, in the name's order.
fn verdicts(snapshot: &Snapshot, kind: NameKind, family: Family, addresses: &[AddressShare]) -> Vec<SiteVerdict> {
    let model = &*snapshot.model;
    let share_of = |key: &str| {
        // Not `sum`: the sum of no floats is -0.0.
        addresses.iter().filter(|entry| entry.site == key).fold(0.0, |sum, entry| sum + entry.share)
    };
    let mut first_up = None;
    let mut verdicts = Vec::new();
    for (position, id) in model.sites_of(kind).iter().enumerate() {
        let (eligible, why) = match kind {
            NameKind::Site(_) => failover_verdict(snapshot, (position, *id), family, &mut first_up),
            NameKind::Pool(_) | NameKind::Group(_) => balance_verdict(snapshot, kind, *id, family),
        };
        let key = &model.sites[id.0].key;
        verdicts.push(SiteVerdict { site: key.clone(), eligible, share: share_of(key), why });
    }
    heed_nobody_if_all_are_full(snapshot, kind, family, &mut verdicts);
    // What is not listed can only be there as a last resort, or in a plan older than the status.
    for entry in addresses {
        if !verdicts.iter().any(|verdict| verdict.site == entry.site) {
            let (site, share) = (entry.site.clone(), share_of(&entry.site));
            let why = match kind {
                NameKind::Site(_) => "not in the failover order: the pool's last resort",
                NameKind::Pool(_) | NameKind::Group(_) => "not in the group",
            };
            let why = why.into();
            verdicts.push(SiteVerdict { site, eligible: true, share, why });
        }
    }
    verdicts
}

/// For Pool and Group Names, which are per family: a Site needs a live address of it.
fn balance_verdict(snapshot: &Snapshot, kind: NameKind, id: SiteId, family: Family) -> (bool, String) {
    let policy = snapshot.model.policy_of(kind);
    let (in_the_way, clause) = load::verdict(snapshot, kind, policy, id);
    let states = format!("{}{}", exclusion_words(snapshot, id), states(snapshot, id, family));
    let why = clause.map_or(states.clone(), |clause| format!("{states}; {clause}"));
    (is_eligible(snapshot, id, family) && !in_the_way, why)
}

/// Whether a Site has a live address of a family, and nothing excludes it.
fn is_eligible(snapshot: &Snapshot, id: SiteId, family: Family) -> bool {
    snapshot.status.exclusion(id) == Exclusion::None && is_live(snapshot, id, family)
}

/// Returns what excludes a Site, with a `; ` after it, if anything does.
fn exclusion_words(snapshot: &Snapshot, id: SiteId) -> String {
    let said = notices::admin_state(snapshot, id).map(|page| page.words());
    let held = notices::held_back(snapshot, id).join("; ");
    let held = said.or_else(|| (!held.is_empty()).then_some(held));
    let all = notices::needs(snapshot, id).into_iter().chain(held);
    all.fold(String::new(), |all, words| format!("{all}{words}; "))
}

/// Returns what a Site that takes itself out says, with a `; ` after it.
fn own_words(snapshot: &Snapshot, id: SiteId) -> String {
    load::takes_itself_out(snapshot, id).map_or(String::new(), |words| format!("{words}; "))
}

/// Loads and wishes keep nobody out where they would keep everybody out.
fn heed_nobody_if_all_are_full(snapshot: &Snapshot, kind: NameKind, family: Family, verdicts: &mut [SiteVerdict]) {
    if matches!(kind, NameKind::Site(_)) || verdicts.iter().any(|verdict| verdict.eligible) {
        return;
    }
    for (verdict, id) in verdicts.iter_mut().zip(snapshot.model.sites_of(kind)) {
        if is_eligible(snapshot, *id, family) {
            verdict.eligible = true;
            verdict.why += "; so are all others, so by weight alone";
        }
    }
}

/// Whether a Site has a live address of a family.
fn is_live(snapshot: &Snapshot, id: SiteId, family: Family) -> bool {
    of_family(snapshot, id, family).any(|index| snapshot.status.address_is_live(&snapshot.model, id, index))
}

/// For Site Names, which fail over per Site: the first one that is up, by whatever family, answers for both.
fn failover_verdict(
    snapshot: &Snapshot,
    (position, id): (usize, SiteId),
    family: Family,
    first_up: &mut Option<SiteId>,
) -> (bool, String) {
    let sites = &snapshot.model.sites;
    if !snapshot.status.site_is_up(&snapshot.model, id) {
        let own = load::takes_itself_out(snapshot, id);
        let all = (0..sites[id.0].addresses.len()).map(|index| address_state(snapshot, id, index));
        let needs = notices::needs(snapshot, id);
        return (false, needs.into_iter().chain(own).chain(all).collect::<Vec<_>>().join("; "));
    }
    let exclusion = snapshot.status.exclusion(id);
    // Its own clients stay with a Site that is drained; those of others do not come to it.
    let is_own = position == 0;
    if exclusion != Exclusion::None && !(is_own && exclusion == Exclusion::Drained) {
        return (
            false,
            format!("{}{}{}", exclusion_words(snapshot, id), own_words(snapshot, id), states(snapshot, id, family)),
        );
    }
    if let Some(first) = *first_up {
        return (true, format!("up, but {} comes first", sites[first.0].key));
    }
    *first_up = Some(id);
    (
        true,
        format!(
            "the first in the failover order that is up; {}{}{}",
            exclusion_words(snapshot, id),
            own_words(snapshot, id),
            states(snapshot, id, family)
        ),
    )
}

/// The positions of a Site's addresses of one family.
fn of_family(snapshot: &Snapshot, id: SiteId, family: Family) -> impl Iterator<Item = usize> {
    let addresses = snapshot.model.sites[id.0].addresses.iter().enumerate();
    addresses.filter(move |(_, address)| family.has(address.answer)).map(|(index, _)| index)
}

/// The states of a Site's addresses of one family.
fn states(snapshot: &Snapshot, id: SiteId, family: Family) -> String {
    let states: Vec<String> = of_family(snapshot, id, family).map(|index| address_state(snapshot, id, index)).collect();
    if states.is_empty() { format!("has no {} address", type_word(family)) } else { states.join("; ") }
}

/// One address's health in words, with the newest error where there is one.
fn address_state(snapshot: &Snapshot, id: SiteId, index: usize) -> String {
    let site = &snapshot.model.sites[id.0];
    let report = &snapshot.detail[id.0][index];
    let address = site.addresses[index].answer;
    let age = text::age(snapshot.age_s(report.since));
    let error = report.last_error.as_ref().map_or(String::new(), |error| format!(" ({error})"));
    let health = snapshot.status.health[id.0][index];
    if let Some(page) = health::page_of(snapshot, id, index).filter(|page| page.decides) {
        let word = if health == Health::Up { "up" } else { "down" };
        return format!("{address} {word}: {}", page.words());
    }
    let votes = vote_words(snapshot, id, index);
    match health {
        _ if !site.is_probed() => format!("{address} is not probed, so up"),
        // The age is that of this front's own verdict.
        verdict if verdict != report.health && !votes.is_empty() => {
            format!("{address} {}{votes}{error}", health_word(site, verdict))
        }
        Health::Up => format!("{address} up for {age}{votes}{error}"),
        Health::Down => format!("{address} down for {age}{votes}{error}"),
        Health::Unknown => {
            let counts = if snapshot.status.address_is_live(&snapshot.model, id, index) { "up" } else { "down" };
            format!("{address} has no verdict yet and counts as {counts}{votes}{error}")
        }
    }
}

/// Which votes decided on an address, and by which quorum; empty where this front is alone.
fn vote_words(snapshot: &Snapshot, id: SiteId, index: usize) -> String {
    let votes = fleet::votes(snapshot, id, index);
    if votes.len() < 2 && votes.iter().all(|vote| vote.counts) {
        return String::new();
    }
    let words = votes.iter().map(|vote| {
        let note = if vote.counts { "" } else { ", which is cut off and has no vote" };
        format!("{} says {}{note}", vote.front, vote.health)
    });
    let quorum = quorums(&snapshot.model)[id.0];
    format!(" by quorum {quorum} ({})", words.collect::<Vec<_>>().join(", "))
}

/// Why the table is what it is, where exclusions have given way.
fn basis_note(basis: Basis) -> Option<String> {
    Some(match basis {
        Basis::Live | Basis::UpThreshold | Basis::FailOpen => return None,
        Basis::Minimum => {
            "a Site that would be excluded is answered, so that the pool keeps its min_sites and min_capacity".into()
        }
        Basis::Held => "no other Site is live: those are answered that are held back".into(),
        Basis::Drained => "no other Site is live: those are answered that are drained".into(),
    })
}

/// Why the table is not the eligible Sites, where it is not.
fn note(snapshot: &Snapshot, kind: NameKind, choice: &str, sites: &[SiteVerdict]) -> Option<String> {
    let pool = snapshot.model.pool_of(kind);
    let (own, others) = sites.split_at(snapshot.model.sites_of(kind).len());
    let is_site = matches!(kind, NameKind::Site(_));
    let none_eligible = !own.iter().any(|site| site.eligible);
    let ineligible_answered = own.iter().any(|site| !site.eligible && site.share > 0.0);
    let due = own.iter().filter(|site| site.eligible).take(if is_site { 1 } else { usize::MAX });
    let due_left_out = due.into_iter().any(|site| site.share <= 0.0);
    // Shares by load are on their way, or held back by what has been handed out since the newest report.
    let by_load = !is_site && snapshot.model.policy_of(kind) == Policy::LeastLoad;
    match (choice, none_eligible) {
        ("nodata", _) => None,
        (_, true) if !others.is_empty() => {
            Some("no Site of the failover order is up: any of the pool's that is (last_resort = \"pool\")".into())
        }
        ("servfail", true) if pool.all_down == AllDown::Servfail => {
            Some("no Site is up, and all_down = \"servfail\"".into())
        }
        ("table", true) if pool.all_down == AllDown::FailOpen => {
            Some("no Site is up: answered as if all were (all_down = \"fail-open\")".into())
        }
        _ if !is_site && ineligible_answered && pool.up_threshold > 0.0 => {
            Some(format!("too few Sites are up: answered as if all were (up_threshold = {})", pool.up_threshold))
        }
        _ if none_eligible || (!by_load && (ineligible_answered || due_left_out)) || !others.is_empty() => {
            Some("the plan was made before the newest change of health".into())
        }
        _ => None,
    }
}
