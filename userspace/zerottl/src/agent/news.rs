//! Changes of a round, in words for the log: Sites that went up or down and why, and what a new plan answers otherwise.
//! Pure, bounded whatever the configuration, and done only where something has changed.

use std::collections::BTreeMap;

use crate::observe::{labels::from_word, shares::ShareCounter};
use zerottl_core::{
    assess::remarks::Remarks,
    model::{Family, Model, NameId, Site, SiteId},
    plan::{Basis, Choice, Plan},
    site_load::SiteLoad,
    status::{AdminState, Assessment, Health, SiteState},
};
use zerottl_inputs::probe::AddressReport;

/// Names that a line lists, at most.
const NAMES_MAX: usize = 4;
/// Sites that a line lists, at most.
const SITES_MAX: usize = 8;
/// Names whose tables are compared, at most; others that changed are counted.
const COMPARED_MAX: usize = 32;
/// Sites of a round that have a line of their own, at most.
const LINES_MAX: usize = 32;

/// A line about one Site.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct SiteNews {
    /// The Site's key.
    pub site: String,
    /// Whether it is worse than before.
    pub is_bad: bool,
    /// Its change, in words.
    pub text: String,
}

/// Returns what has become of the Sites from one status to the next, and how many have no line for want of room.
pub fn of_sites(
    model: &Model,
    (before, after): (&Assessment, &Assessment),
    entries: &[SiteLoad],
    detail: impl Fn(SiteId, usize) -> AddressReport,
) -> (Vec<SiteNews>, usize) {
    let line = |(id, site): (usize, &Site)| {
        let says = || entries.get(id).and_then(SiteLoad::self_report);
        let up = |status: &Assessment| status.site_is_up(model, SiteId(id));
        let (is_bad, text) = match (up(before), up(after)) {
            (true, false) => (true, format!("is down: {}", why_down(model, after, id, entries, &detail))),
            (false, true) => (false, "is up".to_owned()),
            _ => changes((&before.sites[id], &after.sites[id]), says())?,
        };
        Some(SiteNews { site: site.key.clone(), is_bad, text })
    };
    let mut lines: Vec<SiteNews> = model.sites.iter().enumerate().filter_map(line).collect();
    let more = lines.len().saturating_sub(LINES_MAX);
    lines.truncate(LINES_MAX);
    (lines, more)
}

/// Returns a report whose error is what somebody has stated of the address's health, where that decides.
#[must_use]
pub(crate) fn with_statement(report: AddressReport, remarks: &Remarks, at: (usize, usize)) -> AddressReport {
    match remarks.statements.get(&at).filter(|remark| remark.decides) {
        Some(remark) => AddressReport { last_error: Some(remark.cause()), ..report },
        None => report,
    }
}

/// Returns why a Site is down: what it says, or its addresses' faults.
pub(super) fn why_down(
    model: &Model,
    status: &Assessment,
    id: usize,
    entries: &[SiteLoad],
    detail: impl Fn(SiteId, usize) -> AddressReport,
) -> String {
    if let Some(needs) = status.sites[id].needs {
        return format!("it depends on {}, which is down", model.sites[needs.0].key);
    }
    if status.sites[id].self_report.admin_state == AdminState::Maint {
        let says = entries.get(id).and_then(SiteLoad::self_report);
        return format!("it says {}", says.unwrap_or_else(|| "so".into()));
    }
    let address = |(index, address): (usize, &zerottl_core::model::SiteAddress)| {
        let why = match status.health[id][index] {
            Health::Unknown => "no verdict yet".to_owned(),
            _ => detail(SiteId(id), index).last_error.unwrap_or_else(|| "down".into()),
        };
        format!("{}: {why}", address.answer)
    };
    model.sites[id].addresses.iter().enumerate().take(NAMES_MAX).map(address).collect::<Vec<_>>().join("; ")
}

/// Returns what has changed of a Site besides its being up.
fn changes((before, after): (&SiteState, &SiteState), says: Option<String>) -> Option<(bool, String)> {
    let wants = |site: &SiteState| site.self_report.admin_state == AdminState::Ready && site.self_report.factor > 0.0;
    match (wants(before), wants(after)) {
        (true, false) if after.self_report.stale => {
            return Some((true, "gets no new clients: its load figures are stale, and when_stale is \"drain\"".into()));
        }
        (true, false) => {
            return Some((true, format!("gets no new clients: it says {}", says.unwrap_or_else(|| "so".into()))));
        }
        (false, true) => return Some((false, "gets new clients again: it has taken back what it said".into())),
        _ => {}
    }
    match (before.self_report.stale, after.self_report.stale) {
        (false, true) => return Some((true, "its load figures are stale".into())),
        (true, false) => return Some((false, "its load figures are up to date again".into())),
        _ => {}
    }
    (before.held && !after.held).then(|| (false, "no longer held back".into()))
}

/// Returns what a new plan answers otherwise: which Sites came into which names and which left them.
#[must_use]
pub(crate) fn of_plan(model: &Model, before: &Plan, after: &Plan) -> String {
    let is_new = |id: &usize| before.service(NameId(*id)) != after.service(NameId(*id));
    let changed: Vec<usize> = (0..model.names.len()).filter(is_new).collect();
    let (mut old, mut new) = (ShareCounter::new(model, before), ShareCounter::new(model, after));
    let mut moves = BTreeMap::<(String, &str), Vec<String>>::new();
    let mut shifted = Vec::new();
    for id in changed.iter().copied().take(COMPARED_MAX) {
        let name = model.names[id].name.to_string();
        let mut has_moved = false;
        for family in Family::ALL {
            let (was, is) = (old.sites(NameId(id), family), new.sites(NameId(id), family));
            let out = was.keys().filter(|site| !is.contains_key(*site)).map(|site| (site.clone(), "out of"));
            let come = is.keys().filter(|site| !was.contains_key(*site)).map(|site| (site.clone(), "into"));
            for key in out.chain(come) {
                has_moved = true;
                let names = moves.entry(key).or_default();
                if names.last() != Some(&name) {
                    names.push(name.clone());
                }
            }
        }
        if !has_moved {
            shifted.push(name);
        }
    }
    let mut parts: Vec<String> =
        moves.iter().take(SITES_MAX).map(|((site, way), names)| format!("{site} {way} {}", listed(names))).collect();
    if moves.len() > SITES_MAX {
        parts.push(format!("{} more moves", moves.len() - SITES_MAX));
    }
    if !shifted.is_empty() {
        parts.push(format!("other shares for {}", listed(&shifted)));
    }
    if changed.len() > COMPARED_MAX {
        parts.push(format!("{} more names", changed.len() - COMPARED_MAX));
    }
    parts.join("; ")
}

/// Returns which names begin and end to be answered from Sites that are not known to be up, as lines; the former are bad.
/// Goes over all names, of which there may be a million, and spells only those that a line lists.
#[must_use]
pub(crate) fn of_forced(model: &Model, before: Option<&Plan>, after: &Plan) -> Vec<(bool, String)> {
    let mut turned = BTreeMap::<_, (Vec<String>, usize)>::new();
    for (id, name) in model.names.iter().enumerate().map(|(id, name)| (NameId(id), name)) {
        let (was, is) = (before.and_then(|plan| forced(plan, id)), forced(after, id));
        let turns = [(true, is), (false, was)].into_iter().filter(|_| was != is);
        for (has_begun, word) in turns.filter_map(|(has_begun, word)| Some((has_begun, word?))) {
            let (first, count) = turned.entry((!has_begun, word)).or_default();
            if first.len() < NAMES_MAX {
                first.push(name.name.to_string());
            }
            *count += 1;
        }
    }
    let line = |((has_ended, word), (first, count)): ((bool, &str), (Vec<String>, usize))| {
        let names = few(&first, count);
        if has_ended {
            return (false, format!("no longer answered by {word}: {names}"));
        }
        let why = match word {
            "fail-open" => "none of their Sites is up, so all count as up",
            "up-threshold" => "too few of their Sites are up, so all count as up",
            _ => "none of their Sites is up",
        };
        (true, format!("answered by {word} from now on: {names}; {why}"))
    };
    turned.into_iter().map(line).collect()
}

/// The word for what a plan answers a name from, if that is not Sites that are known to be up.
fn forced(plan: &Plan, id: NameId) -> Option<&'static str> {
    let is_forced = |choice: &&Choice| match choice {
        Choice::Table(table) => matches!(table.basis, Basis::FailOpen | Basis::UpThreshold),
        Choice::Servfail => true,
        Choice::NoData => false,
    };
    Family::ALL.into_iter().map(|family| plan.choice(id, family)).find(is_forced).map(from_word)
}

/// A few of them, and how many more there are.
fn listed(names: &[String]) -> String {
    few(&names[..names.len().min(NAMES_MAX)], names.len())
}

/// The first of so many, and how many more there are.
fn few(first: &[String], count: usize) -> String {
    match count - first.len() {
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Arc,
        time::{Instant, SystemTime},
    };

    use super::*;
    use zerottl_core::fixture;
    use zerottl_core::site_load::ReportedCondition;
    use zerottl_core::{
        histogram::{Histogram, PROBE_BOUNDS},
        model::AllDown,
        plan::Planner,
    };

    fn detail(_: SiteId, index: usize) -> AddressReport {
        AddressReport {
            health: Health::Down,
            since: Instant::now(),
            since_wall: SystemTime::now(),
            last_attempt: None,
            last_error: Some(["connection refused", "no route"][index].into()),
            last_latency: None,
            took: Histogram::new(&PROBE_BOUNDS),
            attempts: 0,
            failures: 0,
            not_tried: 0,
            restarts: 0,
        }
    }

    fn up(model: &Model) -> Assessment {
        let mut status = Assessment::unknown(model);
        status.health.iter_mut().for_each(|site| site.fill(Health::Up));
        status
    }

    /// From all up to what `change` makes of it, and back.
    fn check(change: impl Fn(&mut Assessment), entry: &SiteLoad, worse: &str, better: &str) {
        let model = Arc::new(fixture::appendix_a());
        let before = up(&model);
        let mut after = before.clone();
        change(&mut after);
        let entries = [entry.clone(), SiteLoad::default(), SiteLoad::default()];
        let told = |from: &Assessment, to: &Assessment, entries: &[SiteLoad]| {
            let (lines, more) = of_sites(&model, (from, to), entries, detail);
            let lines = lines.iter().map(|line| format!("{} {} {}", u8::from(line.is_bad), line.site, line.text));
            (lines.collect::<Vec<_>>().join("\n"), more)
        };
        assert_eq!(told(&before, &after, &entries), (worse.to_owned(), 0));
        assert_eq!(told(&after, &before, &[]), (better.to_owned(), 0));
        assert_eq!(told(&after, &after, &entries), (String::new(), 0));
    }

    #[test]
    fn sites_are_told_of_with_their_reason() {
        let none = SiteLoad::default();
        check(
            |status| status.health[0].fill(Health::Down),
            &none,
            "1 boston is down: 192.0.2.10: connection refused; 2001:db8:1::10: no route",
            "0 boston is up",
        );
        // One address of two: the Site is up all the same.
        check(|status| status.health[0][1] = Health::Down, &none, "", "");
        let stopped =
            SiteLoad { condition: ReportedCondition::Stopped, note: Some("new disks".into()), ..SiteLoad::default() };
        check(
            |status| status.sites[0].self_report.admin_state = AdminState::Maint,
            &stopped,
            "1 boston is down: it says stopped (new disks)",
            "0 boston is up",
        );
        let drained = SiteLoad { admin_state: AdminState::Drain, ..SiteLoad::default() };
        let back = "0 boston gets new clients again: it has taken back what it said";
        let worse = "1 boston gets no new clients: it says drain";
        check(|status| status.sites[0].self_report.admin_state = AdminState::Drain, &drained, worse, back);
        let none_wanted = SiteLoad { factor: Some(0.0), ..SiteLoad::default() };
        let worse = "1 boston gets no new clients: it says 0%";
        check(|status| status.sites[0].self_report.factor = 0.0, &none_wanted, worse, back);
        let (worse, better) = ("1 boston its load figures are stale", "0 boston its load figures are up to date again");
        check(|status| status.sites[0].self_report.stale = true, &none, worse, better);
    }

    /// Whatever has become of how many: the lines are bounded.
    #[test]
    fn lines_are_bounded() {
        let keys: Vec<String> = (0..100).map(|n| format!("s{n}")).collect();
        let addresses: Vec<[String; 1]> = (0..100).map(|n| [format!("192.0.2.{n}")]).collect();
        let addresses: Vec<[&str; 1]> = addresses.iter().map(|one| [one[0].as_str()]).collect();
        let sites: Vec<_> =
            keys.iter().zip(&addresses).map(|(key, at)| (key.as_str(), &at[..], Some(fixture::http(80)))).collect();
        let model = Arc::new(fixture::model(&sites));
        let (before, mut after) = (up(&model), up(&model));
        after.health.iter_mut().for_each(|site| site.fill(Health::Down));
        let (lines, more) = of_sites(&model, (&before, &after), &[], detail);
        assert_eq!((lines.len(), more), (LINES_MAX, 100 - LINES_MAX));
        let planner = Planner::new(Arc::clone(&model));
        let text = of_plan(&model, &planner.plan(&before, 1), &planner.plan(&after, 2));
        assert!(text.len() < 1_000, "{text}");
        after.health[0].fill(Health::Up);
        let text = of_plan(&model, &planner.plan(&before, 1), &planner.plan(&after, 2));
        assert!(text.len() < 1_000 && text.contains(" more moves"), "{text}");
    }

    #[test]
    fn plans_are_told_by_names_and_sites() {
        let model = Arc::new(fixture::appendix_a());
        let planner = Planner::new(Arc::clone(&model));
        let (all, mut less) = (up(&model), up(&model));
        less.health[1].fill(Health::Down);
        let (first, second) = (planner.plan(&all, 1), planner.plan(&less, 2));
        assert_eq!(of_plan(&model, &first, &first), "");
        assert_eq!(
            of_plan(&model, &first, &second),
            "chicago out of app.com, chicago.app.com; geneva into chicago.app.com"
        );
        assert_eq!(
            of_plan(&model, &second, &first),
            "chicago into app.com, chicago.app.com; geneva out of chicago.app.com"
        );
        let mut heavier = all.clone();
        heavier.sites[0].weight = 7;
        assert_eq!(of_plan(&model, &first, &planner.plan(&heavier, 2)), "other shares for app.com");
    }

    #[test]
    fn fail_open_is_told_when_it_begins_and_ends() {
        let model = Arc::new(fixture::appendix_a());
        let planner = Planner::new(Arc::clone(&model));
        let (all, mut none) = (up(&model), up(&model));
        none.health.iter_mut().for_each(|site| site.fill(Health::Down));
        let (well, ill) = (planner.plan(&all, 1), planner.plan(&none, 2));
        assert_eq!(of_forced(&model, None, &well), []);
        let names = "app.com, boston.app.com, chicago.app.com, geneva.app.com";
        let begun =
            format!("answered by fail-open from now on: {names}; none of their Sites is up, so all count as up");
        assert_eq!(of_forced(&model, None, &ill), [(true, begun.clone())]);
        assert_eq!(of_forced(&model, Some(&well), &ill), [(true, begun)]);
        let ended = format!("no longer answered by fail-open: {names}");
        assert_eq!(of_forced(&model, Some(&ill), &well), [(false, ended)]);
        assert_eq!(of_forced(&model, Some(&ill), &ill), []);
        // From one into another is an end and a beginning.
        let mut other = Model::clone(&model);
        other.pools[0].all_down = AllDown::Servfail;
        let servfail = Planner::new(Arc::new(other)).plan(&none, 3);
        let lines = of_forced(&model, Some(&ill), &servfail);
        let begun = format!("answered by servfail from now on: {names}; none of their Sites is up");
        assert_eq!(lines, [(true, begun), (false, format!("no longer answered by fail-open: {names}"))]);
    }
}
