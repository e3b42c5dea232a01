//! Changes that the C rows make to Appendix B, each by itself: to the request before the pseudo code sees it, or of what comes out.
//!
//! They are written from the rows' text, with nothing of the decision's code: what a row says is said here a second time.

use tests::{
    appendix_b::{self, DISTRIB, OracleOutcome, OracleRequest},
    site_world::{POOL_NAME, WorldName},
};

use super::case::{Case, Host, LIFETIME, Mark, NOW};

/// A marker that is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    pub at: u64,
    pub initial: Option<String>,
    pub group: Option<String>,
    pub hops: u32,
}

/// The end of a request, as both sides can say it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    Redirect { status: u16, scheme: &'static str, host: String, target: String, marker: Option<Sent> },
    Busy { status: u16 },
    Admit { despite: bool },
    Refuse(u16),
}

/// One row.
pub struct Row {
    /// Its ID.
    pub name: &'static str,
    before: fn(&Case, &mut OracleRequest),
    after: fn(&Case, &mut End),
}

fn same(_: &Case, _: &mut OracleRequest) {}
fn keep(_: &Case, _: &mut End) {}

/// The rows, in the order in which they are applied.
pub const ROWS: &[Row] = &[
    Row { name: "S4-5A-510", before: normalised, after: keep },
    Row { name: "C18 only the last segment", before: hide_others, after: show_others },
    Row { name: "C11", before: any_case, after: keep },
    Row { name: "C16 skew", before: |case, request| request.expiration += case.skew, after: keep },
    Row { name: "C19", before: no_future, after: keep },
    Row { name: "C7", before: without_host_to_535, after: without_host },
    Row { name: "C12", before: groups, after: say_group },
    Row { name: "S4-5A-NOGROUPS", before: no_group, after: keep },
    Row { name: "a group without a live Site", before: dead_group, after: keep },
    Row { name: "C17", before: unknown_initial, after: keep },
    Row { name: "C15 skips the dead", before: skip_dead, after: keep },
    Row { name: "S4-5B-DEFER", before: wait_here, after: keep },
    Row { name: "C16 hop limit", before: serve_here, after: despite },
    Row { name: "C6", before: same, after: strip },
    Row { name: "C15 keeps Initial", before: same, after: keep_initial },
    Row { name: "C15 hops", before: same, after: hops },
    Row { name: "C16 hops", before: same, after: lost_hops },
    Row { name: "C9", before: same, after: busy_503 },
    Row { name: "C10", before: same, after: other_methods_307 },
    Row { name: "C13", before: same, after: unknown_host },
    Row { name: "C14", before: same, after: misdirected },
];

/// Returns what Appendix B comes to with all rows but one, or with none of them.
pub fn expected(case: &Case, is_on: impl Fn(&Row) -> bool) -> End {
    let mut request = case.literal();
    let on = || ROWS.iter().filter(|row| is_on(row));
    on().for_each(|row| (row.before)(case, &mut request));
    let mut end = end_of(&appendix_b::run(&request));
    on().for_each(|row| (row.after)(case, &mut end));
    end
}

/// Takes apart what the pseudo code says: the last marker, as it would be read, is off the target.
fn end_of(outcome: &OracleOutcome) -> End {
    let to = match outcome {
        OracleOutcome::Done => return End::Admit { despite: false },
        OracleOutcome::AllSitesBusy200 => return End::Busy { status: 200 },
        OracleOutcome::Redirect302(to) => to,
    };
    let (scheme, rest) = to.split_once("://").expect("a URL");
    let scheme = if scheme == "https" { "https" } else { "http" };
    let (host, target) = rest.split_at(rest.find('/').expect("a path"));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, format!("?{query}")),
        None => (target, String::new()),
    };
    let found = path.rfind(DISTRIB).and_then(|at| {
        let (time, initial) = match path[at + DISTRIB.len()..].split_once('+') {
            Some((time, initial)) => (time, Some(initial.to_owned())),
            None => (&path[at + DISTRIB.len()..], None),
        };
        Some((&path[..at], Sent { at: time.parse().ok()?, initial, ..Sent::default() }))
    });
    let (path, marker) = found.map_or((path, None), |(path, marker)| (path, Some(marker)));
    End::Redirect { status: 302, scheme, host: host.to_owned(), target: format!("{path}{query}"), marker }
}

// What is asked of a request, once more.

fn own(case: &Case) -> String {
    WorldName::Site(case.own).host()
}

fn name(case: &Case) -> Option<WorldName> {
    match case.host {
        Host::Known { name, .. } => Some(name),
        _ => None,
    }
}

fn is_own(case: &Case) -> bool {
    name(case) == Some(WorldName::Site(case.own))
}

fn is_hostless_10(case: &Case) -> bool {
    case.host == Host::Missing && case.version == http::Version::HTTP_10
}

fn is_up(case: &Case, site: usize) -> bool {
    site == case.own || case.up.get(site) != Some(&false)
}

fn has(case: &Case, group: usize) -> bool {
    case.layout.groups[group].contains(&case.own)
}

fn hops_of(case: &Case) -> u32 {
    match case.mark {
        Some(Mark::Sound { hops, .. }) => hops,
        _ => 0,
    }
}

fn limit(case: &Case) -> u32 {
    case.layout.sites.max(2) as u32
}

/// C16 and C19: neither too old nor from the future. Whom we told to return at some time is let come from then on.
fn is_fresh(case: &Case) -> bool {
    let Some(Mark::Sound { at, .. }) = case.mark else { return false };
    let is_begun = at <= NOW + case.skew || case.waiting;
    at > 0 && is_begun && NOW < at + LIFETIME + case.skew
}

/// The order that the marker carries: a group that this Site is of, or the Pool.
fn carried(case: &Case) -> Option<WorldName> {
    let Some(Mark::Sound { group: Some(group), .. }) = &case.mark else { return None };
    WorldName::of(group).filter(|name| match name {
        WorldName::Group(group) => case.layout.groups.get(*group).is_some_and(|sites| sites.contains(&case.own)),
        name => *name == WorldName::Pool,
    })
}

fn member(case: &Case, group: Option<usize>) -> Option<WorldName> {
    group.filter(|group| has(case, *group)).map(WorldName::Group)
}

fn primary(case: &Case) -> WorldName {
    (0..case.layout.groups.len()).find(|group| has(case, *group)).map_or(WorldName::Pool, WorldName::Group)
}

fn alive(case: &Case) -> Option<usize> {
    case.proper.filter(|group| case.layout.groups[*group].iter().any(|site| is_up(case, *site)))
}

/// C12: the order that the marker carries, the proper group's, the primary one's, of those that this Site is of.
fn overflow_group(case: &Case) -> WorldName {
    carried(case).or(member(case, alive(case))).unwrap_or(primary(case))
}

fn order(case: &Case) -> Vec<usize> {
    match overflow_group(case) {
        WorldName::Group(group) => case.layout.groups[group].clone(),
        _ => (0..case.layout.sites).collect(),
    }
}

/// C17: Initial, if the cycle can come round to it.
fn initial_of(case: &Case) -> Option<usize> {
    let Some(Mark::Sound { initial: Some(initial), .. }) = &case.mark else { return None };
    match WorldName::of(initial)? {
        WorldName::Site(site) if order(case).contains(&site) => Some(site),
        _ => None,
    }
}

/// C16: sent round too often by markers that do not hold.
fn is_lost(case: &Case) -> bool {
    (is_own(case) || is_hostless_10(case)) && !is_fresh(case) && hops_of(case) >= limit(case)
}

/// C15: an overflow is under way, from a Site that there is.
fn is_overflowing(case: &Case) -> bool {
    let Some(Mark::Sound { initial: Some(initial), .. }) = &case.mark else { return false };
    is_fresh(case) && matches!(WorldName::of(initial), Some(WorldName::Site(_)))
}

// Before.

/// Port, case and the trailing dot make no difference.
fn normalised(case: &Case, request: &mut OracleRequest) {
    if let Some(name) = name(case) {
        request.host = Some(name.host());
    }
}

/// A segment of the application's own that reads like a marker is none: ours is the last.
fn hide_others(case: &Case, request: &mut OracleRequest) {
    let marker = request.relative_uri.split_off(case.path.len());
    request.relative_uri = format!("{}{marker}", case.path.replace(DISTRIB, "/Distrib\u{0}="));
}

fn show_others(_: &Case, end: &mut End) {
    if let End::Redirect { target, .. } = end {
        *target = target.replace('\u{0}', "");
    }
}

/// Markers are read in any case.
fn any_case(case: &Case, request: &mut OracleRequest) {
    if case.mark.is_some() {
        let at = request.relative_uri.rfind(case.word).expect("there is a marker");
        request.relative_uri.replace_range(at..at + case.word.len(), &DISTRIB[1..]);
    }
}

/// A marker's time becomes this one.
fn set_time(request: &mut OracleRequest, time: u64) {
    let Some(start) = request.relative_uri.rfind(DISTRIB) else { return };
    let start = start + DISTRIB.len();
    let digits = request.relative_uri[start..].bytes().take_while(u8::is_ascii_digit).count();
    request.relative_uri.replace_range(start..start + digits, &time.to_string());
}

/// A time to come is no time, unless it is one that we gave.
fn no_future(case: &Case, request: &mut OracleRequest) {
    if let Some(Mark::Sound { at, .. }) = case.mark
        && at > NOW + case.skew
        && !case.waiting
    {
        set_time(request, 0);
    }
}

/// HTTP/1.0 names no host: without a fresh marker it is as if it had named another.
fn without_host_to_535(case: &Case, request: &mut OracleRequest) {
    if is_hostless_10(case) && !is_fresh(case) && !is_lost(case) {
        request.host = Some(String::new());
    }
}

fn without_host(case: &Case, end: &mut End) {
    if case.host == Host::Missing && case.version != http::Version::HTTP_10 {
        *end = End::Refuse(400);
    }
    if is_hostless_10(case)
        && case.mark.is_some()
        && let End::Redirect { host, marker: Some(marker), .. } = end
        && *host == own(case)
        && !is_fresh(case)
    {
        // The hop limit applies.
        marker.hops = hops_of(case) + 1;
    }
}

/// A Site may be in several groups: membership counts, and overflow goes through the proper one, carried in the marker.
fn groups(case: &Case, request: &mut OracleRequest) {
    if let Some(group) = alive(case).filter(|group| has(case, *group)) {
        request.this_group.name = WorldName::Group(group).host();
    }
    request.this_group.sites = order(case).into_iter().map(|site| WorldName::Site(site).host()).collect();
}

fn say_group(case: &Case, end: &mut End) {
    let End::Redirect { host, marker: Some(marker), .. } = end else { return };
    match WorldName::of(host) {
        Some(WorldName::Site(site)) if site == case.own => {
            // 535: the order of an overflow under way; else the one that the request will go through, if it is not the
            // Site's primary one anyway.
            let named = match name(case) {
                Some(WorldName::Group(group)) => member(case, Some(group)),
                _ => None,
            };
            let (carried, proper) = (carried(case).filter(|_| is_fresh(case)), member(case, alive(case)));
            let order = if is_overflowing(case) {
                carried.or(proper).or(named)
            } else {
                proper.or(carried).or(named).filter(|order| *order != primary(case))
            };
            marker.group = order.map(WorldName::host);
        }
        Some(WorldName::Site(_)) if is_fresh(case) && initial_of(case).is_some() => {
            // 595: carried unchanged.
            if let Some(Mark::Sound { group, .. }) = &case.mark {
                marker.group.clone_from(group);
            }
        }
        Some(WorldName::Site(_)) if !case.layout.groups.is_empty() => marker.group = Some(overflow_group(case).host()),
        _ => {}
    }
}

/// Where nothing tells a group, the Pool Name replaces it, and every Site is of it.
fn no_group(case: &Case, request: &mut OracleRequest) {
    if case.proper.is_none() {
        POOL_NAME.clone_into(&mut request.this_group.name);
    }
}

/// Nobody is sent where nobody is.
fn dead_group(case: &Case, request: &mut OracleRequest) {
    if case.proper.is_some() && alive(case).is_none() {
        POOL_NAME.clone_into(&mut request.this_group.name);
        POOL_NAME.clone_into(&mut request.proper_group);
    }
}

fn without_initial(request: &mut OracleRequest) {
    if let Some(at) = request.relative_uri.rfind(DISTRIB)
        && let Some(plus) = request.relative_uri[at..].find('+')
    {
        request.relative_uri.truncate(at + plus);
    }
}

/// An Initial Site that is not in the order never comes round: a new cycle.
fn unknown_initial(case: &Case, request: &mut OracleRequest) {
    if initial_of(case).is_none() && matches!(case.mark, Some(Mark::Sound { .. })) {
        without_initial(request);
    }
}

/// Sites that are known to be down are left out of the order. The cycle ends at its first Site even if that is.
fn skip_dead(case: &Case, request: &mut OracleRequest) {
    let initial = initial_of(case).map(|site| WorldName::Site(site).host());
    request.this_group.sites.retain(|name| {
        let site = WorldName::of(name);
        Some(name) == initial.as_ref() || matches!(site, Some(WorldName::Site(site)) if is_up(case, site))
    });
}

/// A client that was told to return here is not sent round again: this Site is the only one for it.
fn wait_here(case: &Case, request: &mut OracleRequest) {
    if case.waiting {
        request.this_group.sites = vec![own(case)];
        without_initial(request);
    }
}

/// Served as if the marker held.
fn serve_here(case: &Case, request: &mut OracleRequest) {
    if is_lost(case) {
        set_time(request, NOW);
        without_initial(request);
    }
}

fn despite(case: &Case, end: &mut End) {
    if is_lost(case) && matches!(end, End::Admit { .. }) {
        *end = End::Admit { despite: true };
    }
}

// After.

/// 545 takes the marker off, too; and one that makes no sense goes as well.
fn strip(case: &Case, end: &mut End) {
    let End::Redirect { host, target, marker, .. } = end else { return };
    if matches!(WorldName::of(host), Some(WorldName::Pool | WorldName::Group(_))) {
        *marker = None;
    }
    if case.mark.is_some() {
        *target = case.clean();
    }
}

/// At 535 a fresh Initial stays, if it is a Site.
fn keep_initial(case: &Case, end: &mut End) {
    if let End::Redirect { host, marker: Some(marker), .. } = end
        && *host == own(case)
        && is_overflowing(case)
        && let Some(Mark::Sound { initial, .. }) = &case.mark
    {
        marker.initial.clone_from(initial);
    }
}

/// Overflow counts its redirects, 535 keeps the count, and beyond the limit all Sites are busy.
fn hops(case: &Case, end: &mut End) {
    let End::Redirect { status, host, marker: Some(marker), .. } = end else { return };
    match WorldName::of(host) {
        // C7 has counted already.
        Some(WorldName::Site(site)) if site == case.own => marker.hops = marker.hops.max(hops_of(case)),
        Some(WorldName::Site(_)) if hops_of(case) >= limit(case) => {
            *end = End::Busy { status: if *status == 302 { 200 } else { 503 } }
        }
        Some(WorldName::Site(_)) => marker.hops = hops_of(case) + 1,
        _ => {}
    }
}

/// At 545 a marker that did not hold leaves its count, so that clocks which are apart do not send anybody round for ever.
fn lost_hops(case: &Case, end: &mut End) {
    if let End::Redirect { host, marker, .. } = end
        && case.mark.is_some()
        && matches!(WorldName::of(host), Some(WorldName::Pool | WorldName::Group(_)))
    {
        *marker = Some(Sent { hops: hops_of(case) + 1, ..Sent::default() });
    }
}

fn busy_503(_: &Case, end: &mut End) {
    if let End::Busy { status } = end {
        *status = 503;
    }
}

fn other_methods_307(case: &Case, end: &mut End) {
    if let End::Redirect { status, .. } = end
        && !["GET", "HEAD"].contains(&case.method)
    {
        *status = 307;
    }
}

fn unknown_host(case: &Case, end: &mut End) {
    match case.host {
        Host::Broken(_) => *end = End::Refuse(400),
        Host::Unknown(_) => *end = End::Refuse(421),
        _ => {}
    }
}

/// Only on HTTP/2 is a request for one name sent over a connection that was made for another.
fn misdirected(case: &Case, end: &mut End) {
    if let Some(name) = name(case)
        && case.version == http::Version::HTTP_2
        && !is_own(case)
        && case.server_name.as_ref().is_some_and(|server| *server != name.host())
    {
        *end = End::Refuse(421);
    }
}
