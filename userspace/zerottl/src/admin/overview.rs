//! The status for a terminal: what is in trouble first, and never more than can be looked at.
//!
//! A few Sites are shown whole, in the configuration's order. Of many, those in trouble are, and the rest is counted; a
//! [`Filter`] asks for others. Nothing is wider than the terminal.

use std::{collections::HashMap, fmt::Write};

use super::{
    forwards,
    health::StatementPage,
    hooks,
    load::LoadPage,
    notices::HoldPage,
    status::{AddressPage, FamilyPage, NamePage, SitePage, StatusPage},
    text,
};
use crate::observe::counters::SocketCounts;

/// Sites, and names, that are shown whole without being asked for.
const FEW: usize = 40;
/// Names of so many more that are shown.
const NAMES_MAX: usize = 20;
/// Shares of a name that are shown; of more, the largest.
const SHARES_MAX: usize = 6;
/// Sentences on what would follow from a Site's death, where there are many: the worst first.
const LOSSES_MAX: usize = 5;

/// The part of the status that is shown.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Sites by key or name, in a shell's patterns; none is all.
    pub sites: Vec<glob::Pattern>,
    /// Sites of this pool or group.
    pub pool: Option<String>,
    /// Sites that are not simply up.
    pub down: bool,
    /// All names, whatever they answer from.
    pub names: bool,
    /// The terminal's width, columns; none if it is no terminal.
    pub columns: Option<usize>,
}

impl Filter {
    /// Whether Sites were asked for.
    #[must_use]
    pub fn is_of_sites(&self) -> bool {
        !self.sites.is_empty() || self.pool.is_some() || self.down
    }

    /// Whether a Site was asked for, or none was.
    #[must_use]
    pub fn has_site(&self, site: &SitePage) -> bool {
        let named = |pattern: &glob::Pattern| pattern.matches(&site.key) || pattern.matches(bare(&site.name));
        (self.sites.is_empty() || self.sites.iter().any(named))
            && self.pool.as_ref().is_none_or(|pool| site.member_of.iter().any(|name| is_same(name, pool)))
            && (!self.down || is_troubled(site))
    }

    fn has_name(&self, name: &NamePage, sites: &HashMap<&str, &SitePage>) -> bool {
        match sites.get(bare(&name.name)) {
            Some(site) => self.has_site(site),
            None => self.pool.as_ref().map_or(!self.is_of_sites(), |pool| is_same(&name.name, pool)),
        }
    }
}

impl StatusPage {
    /// The page for a terminal.
    #[must_use]
    pub fn to_text(&self) -> String {
        text(self, &Filter::default())
    }
}

/// A name without its last dot.
fn bare(name: &str) -> &str {
    name.strip_suffix('.').unwrap_or(name)
}

fn is_same(one: &str, other: &str) -> bool {
    bare(one).eq_ignore_ascii_case(bare(other))
}

/// Whether somebody should look at a Site: it is not simply up.
#[must_use]
pub fn is_troubled(site: &SitePage) -> bool {
    site.state != "up" || !site.eligible
}

/// In what order Sites are looked at: those that are down, those that something bars, those not yet known, the others.
#[must_use]
pub fn rank(site: &SitePage) -> u8 {
    match site.state.as_str() {
        "down" => 0,
        "held" => 1,
        "drain" | "maint" => 2,
        _ if is_troubled(site) => 3,
        _ => 4,
    }
}

/// The page.
#[must_use]
pub fn text(status: &StatusPage, filter: &Filter) -> String {
    let mut page = String::new();
    heading(&mut page, status);
    let mut notices = status.notices.clone();
    if notices.losses.len() > 2 * LOSSES_MAX {
        notices.losses.sort_by(|one, other| other.at_once.total_cmp(&one.at_once));
        // Pools with the same Sites have the same to say.
        notices.losses.dedup_by(|one, other| one.message == other.message);
        notices.losses.truncate(LOSSES_MAX);
    }
    let notices = notices.to_text();
    if !notices.is_empty() && !filter.is_of_sites() {
        let _ = write!(page, "\n{notices}");
    }
    page = text::wrapped(&page, filter.columns);
    page.push('\n');
    sites(&mut page, status, filter);
    names(&mut page, status, filter);
    if !filter.is_of_sites() {
        let forwards = forwards::to_text(&status.socket.forwards, &status.socket.upstreams);
        if !forwards.is_empty() {
            let _ = write!(page, "\n{}", text::wrapped(&forwards, filter.columns));
        }
        reasons(&mut page, status, filter.columns);
    }
    page
}

fn heading(page: &mut String, status: &StatusPage) {
    let age = status.plan.age_s.map_or("not yet published".into(), |age| format!("published {} ago", text::age(age)));
    let listen: Vec<String> = status.front.listen.iter().map(ToString::to_string).collect();
    let _ = writeln!(
        page,
        "zerottl {}, up {}; plan {}, {age}\nanswers on {}; roles: {}",
        text::printable(&status.version),
        text::age(status.uptime_s),
        status.plan.generation,
        listen.join(", "),
        text::printable(&status.front.roles.join(", ")),
    );
    for attach in &status.front.attach {
        let note = if attach.note.is_empty() { String::new() } else { format!(" ({})", attach.note) };
        let _ = writeln!(page, "{}", text::printable(&format!("{}: {}{note}", attach.interface, attach.mode)));
    }
    for zone in &status.signed {
        let _ = writeln!(page, "{}", text::printable(&zone.words()));
    }
    if let Some(truncated) = status.signed_truncated() {
        let _ = writeln!(page, "signed answers: {truncated} truncated by `signed_bytes` of [edns]");
    }
    if let Some(fleet) = &status.fleet {
        page.push_str(&fleet.to_text());
    }
    page.push_str(&hooks::to_text(&status.hooks));
    for warning in &status.front.warnings {
        let _ = writeln!(page, "warning: {}", text::printable(warning));
    }
}

fn sites(page: &mut String, status: &StatusPage, filter: &Filter) {
    let mut shown: Vec<&SitePage> = status.sites.iter().filter(|site| filter.has_site(site)).collect();
    let asked = shown.len();
    if asked > FEW && !filter.is_of_sites() {
        shown.retain(|site| is_troubled(site));
    }
    let rest = asked - shown.len();
    if shown.len() > FEW {
        shown.sort_by_key(|site| rank(site));
    }
    let rows: Vec<_> = shown.iter().flat_map(|site| site_rows(site)).collect();
    if !rows.is_empty() {
        let header = ["SITE", "STATE", "WEIGHT", "ADDRESS", "HEALTH", "SINCE", "TRIED", "LATENCY", "ERROR"];
        page.push_str(&text::fitted(&header, &rows, filter.columns));
    }
    let mut lines = String::new();
    match (rest, shown.is_empty()) {
        (0, true) => lines.push_str("no Site is so\n"),
        (0, false) => {}
        (_, true) => {
            let _ = writeln!(lines, "all {rest} Sites are up: --site '*' shows them");
        }
        _ => {
            let _ = writeln!(lines, "and {rest} more Sites, all of them up: --site '*' shows them");
        }
    }
    for site in &shown {
        let overrides = site.word.iter().chain(&site.weight_order).map(|page| {
            let what = if page.what.starts_with(|c: char| c.is_ascii_digit()) { "weight " } else { "" };
            format!("{what}{}", page.words())
        });
        // Where the table had no room for it.
        let reason = filter.columns.and(site.reason.as_ref()).filter(|_| site.state == "down");
        if let Some(reason) = reason {
            let _ = writeln!(lines, "{}: {}", text::printable(&site.key), text::printable(reason));
        }
        let own = site.load.as_ref().and_then(|load| Some(format!("it says {}", load.says.as_ref()?)));
        for words in overrides.chain(own).chain(site.hold.as_ref().map(HoldPage::words)) {
            let words = text::printable(&words);
            let _ = writeln!(lines, "{}: {words}", text::printable(&site.key));
        }
    }
    page.push_str(&text::wrapped(&lines, filter.columns));
    let rows: Vec<_> = shown.iter().filter_map(|site| Some(site.load.as_ref()?.row(&site.key))).collect();
    if !rows.is_empty() {
        let _ = write!(page, "\n{}", text::fitted(&LoadPage::HEADER, &rows, filter.columns));
    }
}

fn names(page: &mut String, status: &StatusPage, filter: &Filter) {
    let sites: HashMap<&str, &SitePage> = status.sites.iter().map(|site| (bare(&site.name), site)).collect();
    let asked: Vec<&NamePage> = status.names.iter().filter(|name| filter.has_name(name, &sites)).collect();
    let is_usual = |name: &NamePage| {
        let own = sites.get(bare(&name.name)).map(|site| site.key.as_str());
        [&name.a, &name.aaaa].iter().all(|family| {
            let is_own = own.is_none_or(|own| family.shares.is_empty() || family.shares.contains_key(own));
            is_own && ["live", "nodata"].contains(&family.from.as_str())
        })
    };
    let mut shown = asked.clone();
    if !filter.names && asked.len() > FEW {
        shown.retain(|name| name.kind != "site" || !is_usual(name));
        // Those not answered as usual first, each in the configuration's order.
        shown.sort_by_key(|name| is_usual(name));
        shown.truncate(NAMES_MAX);
    }
    if !shown.is_empty() {
        let _ = write!(page, "\n{}", table_of(&shown, filter.columns));
    }
    let rest = asked.len() - shown.len();
    if rest > 0 {
        let odd = asked.iter().filter(|name| !is_usual(name)).count().saturating_sub(shown.len());
        let state = if odd == 0 { "all as usual".to_owned() } else { format!("{odd} of them not as usual") };
        page.push_str(&text::wrapped(&format!("and {rest} more names, {state}: --names shows them\n"), filter.columns));
    }
    if !filter.is_of_sites() {
        page.push_str(&text::wrapped(&omitted(status), filter.columns));
    }
}

/// The line on names that the page does not have; empty if there are none.
fn omitted(status: &StatusPage) -> String {
    match status.names_omitted {
        0 => String::new(),
        more => format!("{more} more names: zerottl explain NAME shows one\n"),
    }
}

/// All names of the page, as a table, and how many it does not have.
#[must_use]
pub fn names_table(status: &StatusPage, columns: Option<usize>) -> String {
    table_of(&status.names.iter().collect::<Vec<_>>(), columns) + &text::wrapped(&omitted(status), columns)
}

fn table_of(names: &[&NamePage], columns: Option<usize>) -> String {
    let mut rows: Vec<_> = names.iter().map(|name| name_row(name)).collect();
    let header = ["NAME", "KIND", "BY", "A", "AAAA"];
    let is_narrow =
        columns.is_some_and(|columns| text::table(&header, &rows).lines().any(|line| line.chars().count() > columns));
    if is_narrow && rows.iter().all(|row| row[3] == row[4]) {
        // Said once, it has twice the room.
        for row in &mut rows {
            row.truncate(4);
        }
        return text::fitted(&["NAME", "KIND", "BY", "A AND AAAA"], &rows, columns);
    }
    text::fitted(&header, &rows, columns)
}

fn reasons(page: &mut String, status: &StatusPage, columns: Option<usize>) {
    let counts = status.reasons.iter().map(|(name, reason)| (name.as_str(), reason.action.as_str(), reason.count));
    let rows = counts
        .filter(|(.., count)| *count > 0)
        .map(|(name, action, count)| vec![name.to_owned(), action.to_owned(), count.to_string()]);
    let rows: Vec<_> = rows.chain(socket_rows(&status.socket)).collect();
    if !rows.is_empty() {
        let _ = write!(page, "\n{}", text::fitted(&["REASON", "ACTION", "COUNT"], &rows, columns));
    }
}

/// Counts that are not zero, as rows beside the kernel's reasons.
fn socket_rows(socket: &SocketCounts) -> impl Iterator<Item = Vec<String>> {
    let queries = socket.queries.iter().map(|(transport, count)| (format!("{transport}-queries"), *count));
    let others = socket.answers.iter().chain(&socket.events).map(|(name, count)| (name.clone(), *count));
    let open = [("tcp-open".to_owned(), socket.tcp_open)];
    let counts = queries.chain(others).chain(open).filter(|(_, count)| *count > 0);
    counts.map(|(name, count)| vec![name, "socket".into(), count.to_string()])
}

/// Health and what excludes it, the operator or the Site itself: `up`, `DOWN`, `up, drain`.
#[must_use]
pub fn state_word(site: &SitePage) -> String {
    let health = if site.up { "up" } else { "DOWN" };
    match (&site.word, &site.hold) {
        (Some(page), _) => format!("{health}, {}", text::printable(&page.what)),
        (None, Some(hold)) if !hold.overridden => format!("{health}, held"),
        (None, None) if site.failback.as_ref().is_some_and(|page| !page.overridden) => format!("{health}, held"),
        (None, _) if site.state == "drain" => format!("{health}, drain"),
        _ => health.into(),
    }
}

/// One row per address; what is the Site's stands on the first.
fn site_rows(site: &SitePage) -> Vec<Vec<String>> {
    let row = |(index, address): (usize, &AddressPage)| {
        let first = |cell: String| if index == 0 { cell } else { String::new() };
        let probed =
            if address.probe == address.answer { String::new() } else { format!(" (probes {})", address.probe) };
        vec![
            first(site.key.clone()),
            first(state_word(site)),
            first(if site.weight_now == site.weight {
                site.weight.to_string()
            } else {
                format!("{} (of {})", site.weight_now, site.weight)
            }),
            format!("{}{probed}", address.answer),
            if address.recalled { format!("{} (recalled)", address.health) } else { address.health.clone() },
            text::age(address.since_s),
            address.last_attempt_s.map_or("-".into(), text::age),
            address.latency_ms.map_or("-".into(), |latency| format!("{latency:.1}ms")),
            address.stated.as_ref().map(StatementPage::words).or(address.last_error.clone()).unwrap_or_default(),
        ]
    };
    site.addresses.iter().enumerate().map(row).collect()
}

/// Returns what a name answers for a type: Sites with their shares, the largest where there are many.
fn family(family: &FamilyPage) -> String {
    if family.shares.is_empty() {
        return family.choice.to_uppercase();
    }
    let mut shares: Vec<(&String, f64)> = family.shares.iter().map(|(site, share)| (site, *share)).collect();
    let more = shares.len().saturating_sub(SHARES_MAX);
    if more > 0 {
        shares.sort_by(|one, other| other.1.total_cmp(&one.1));
        shares.truncate(SHARES_MAX / 2);
    }
    let mut words: Vec<String> =
        shares.iter().map(|(site, share)| format!("{site} {}", text::percent(*share))).collect();
    if more > 0 {
        words.push(format!("{} more", family.shares.len() - shares.len()));
    }
    let from = if family.from == "live" { String::new() } else { format!(" ({})", family.from) };
    format!("{}{from}", words.join(", "))
}

fn name_row(name: &NamePage) -> Vec<String> {
    let by = if name.served { name.policy.clone() } else { "referral".into() };
    vec![name.name.clone(), name.kind.clone(), by, family(&name.a), family(&name.aaaa)]
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// So many Sites of one pool and as many names again, of which one Site is down and another one drained.
    fn page(count: usize) -> StatusPage {
        let share = |key: String| json!({ "choice": "table", "from": "live", "shares": { key: 1.0 } });
        let word = json!({ "what": "drain", "by": "eve", "reason": null, "age_s": 9.0, "at_ms": 1, "left_s": null, "forced": false });
        let site = |i: usize| {
            let (state, up) = if i == 1 { ("down", false) } else { (if i == 2 { "drain" } else { "up" }, true) };
            let error = (i == 1).then_some("connect: connection refused");
            json!({
                "key": format!("site{i}"), "name": format!("site{i}.some.where.example.com"), "up": up, "state": state, "weight": 1,
                "weight_now": 1, "eligible": state == "up", "word": if i == 2 { word.clone() } else { Value::Null },
                "member_of": [if i.is_multiple_of(2) { "even.example.com" } else { "odd.example.com" }],
                "addresses": [{ "answer": "192.0.2.1", "probe": "192.0.2.1", "health": state, "live": up, "since_s": 9.0,
                    "last_attempt_s": 1.0, "last_error": error, "latency_ms": 1.25, "attempts": 9, "failures": 0, "not_tried": 0, "restarts": 0 }],
            })
        };
        let name = |kind: &str, name: String, family: Value| json!({ "name": name, "kind": kind, "served": true, "policy": "weighted-round-robin", "a": family, "aaaa": family });
        let shares: std::collections::BTreeMap<String, f64> = (0..count).map(|i| (format!("site{i}"), 0.005)).collect();
        let pool =
            name("pool", "even.example.com".into(), json!({ "choice": "table", "from": "live", "shares": shares }));
        let groups = (0..count).map(|i| name("group", format!("group{i}.example.com"), share(format!("site{i}"))));
        let own = (0..count).map(|i| {
            name(
                "site",
                format!("site{i}.some.where.example.com"),
                share(format!("site{}", if i == 1 { 2 } else { i })),
            )
        });
        let names: Vec<Value> = std::iter::once(pool).chain(groups).chain(own).collect();
        let status = json!({
            "version": "0", "uptime_s": 1.0, "front": { "listen": [], "roles": [], "attach": [] },
            "plan": { "generation": 3, "age_s": 1.0, "publish_ms": 1.0, "choices": {} },
            "sites": (0..count).map(site).collect::<Vec<_>>(), "names": names, "reasons": {},
            "socket": { "queries": {}, "answers": {}, "events": {}, "tcp_open": 0 },
        });
        serde_json::from_value(status).expect("a page")
    }

    fn filter(sites: &[&str]) -> Filter {
        Filter {
            sites: sites.iter().map(|site| glob::Pattern::new(site).expect("a pattern")).collect(),
            ..Filter::default()
        }
    }

    /// It once was 1.08 MB, with lines of 2,126 columns.
    #[test]
    fn of_many_sites_those_in_trouble_are_shown() {
        let text = text(&page(200), &Filter { columns: Some(80), ..Filter::default() });
        assert!(text.lines().all(|line| line.chars().count() <= 80), "{text}");
        assert!(text.lines().count() < 70, "{text}");
        assert!(text.contains("site1  ") && text.contains("site2  ") && !text.contains("site3  "), "{text}");
        assert!(text.contains("and 198 more Sites, all of them up: --site '*' shows them"), "{text}");
        assert!(text.contains("site2: drain by eve 9s ago"), "{text}");
        let odd = text.lines().position(|line| line.starts_with("site1.some")).expect("who fails over is shown");
        let pool = text.lines().position(|line| line.starts_with("even.example")).expect("the pool");
        assert!(odd < pool && text.contains("more names, all as usual: --names shows them"), "{text}");
        assert!(text.contains("A AND AAAA"), "what is alike is said once where there is no room: {text}");
        // Where it goes to no terminal, cells are not cut, but no list is endless.
        let text = super::text(&page(200), &Filter::default());
        assert!(text.lines().all(|line| line.len() < 250), "{text}");
        assert!(text.contains("site0 0.5%, site1 0.5%, site10 0.5%, 197 more"), "{text}");
        assert!(!super::text(&page(3), &Filter::default()).contains("more"), "a few are shown whole");
    }

    #[test]
    fn what_is_asked_for_is_shown() {
        let shown = |filter: &Filter| {
            let text = text(&page(200), filter);
            let sites = text.split("\n\n").nth(1).expect("a table").lines().filter(|line| line.starts_with("site"));
            sites
                .filter_map(|line| line.split(' ').next())
                .filter(|key| !key.ends_with(':'))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        assert_eq!(shown(&filter(&["site17?"])).len(), 10);
        assert_eq!(shown(&filter(&["site4.some.where.example.com", "site9"])), ["site4", "site9"]);
        assert_eq!(shown(&filter(&["*"])).len(), 200);
        assert_eq!(shown(&Filter { down: true, ..Filter::default() }), ["site1", "site2"]);
        assert_eq!(shown(&Filter { pool: Some("Odd.Example.Com.".into()), ..Filter::default() }).len(), 100);
        assert!(text(&page(3), &filter(&["nobody"])).contains("no Site is so"));
        let all = text(&page(200), &Filter { names: true, ..Filter::default() });
        assert!(all.contains("group199.example.com") && all.contains("site199.some.where.example.com"), "{all}");
    }
}
