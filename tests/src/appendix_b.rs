//! Appendix B of seed 004, transcribed line by line and in its order: the oracle that `zerottl_site::decide` is compared with.
//!
//! Nothing here is zerottl's code, and nothing is mended: where the pseudo code is silent, its most literal reading is kept
//! and a comment says so. What a C row of the requirements changes, `tests/tests/pure/site_differential/rows.rs` changes, by name.

use std::ops::Range;

/// How the marker begins, as Appendix B prints it.
pub const DISTRIB: &str = "/Distrib=";

/// "Proper Group", "this Group": a Group Name and the Sites in their order. Where no groups are defined it is the Pool
/// ("In the case where the Group is the Pool, then the Group Name is the same as the Pool Name").
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OracleGroup {
    /// The Group Name.
    pub name: String,
    /// The Site Names in the group's order.
    pub sites: Vec<String>,
}

/// The inputs of the pseudo code: a request's and the Site's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OracleRequest {
    /// "Scheme = This request's protocol, HTTP or HTTPS", in lower case.
    pub scheme: &'static str,
    /// The HTTP/1.1 "Host" request header, if there is one.
    pub host: Option<String>,
    /// "Relative URI = This request's server-relative URI, not including query string". It begins with a slash, which is
    /// the one that the pseudo code prints between the name and it.
    pub relative_uri: String,
    /// "Query = This request's form arguments, if any".
    pub query: Option<String>,
    /// "this Site Name".
    pub this_site: String,
    /// "the Pool Name".
    pub pool_name: String,
    /// "this Group".
    pub this_group: OracleGroup,
    /// "Determine proper Group for this request": by "application-defined heuristics", so it is given, by its Group Name.
    pub proper_group: String,
    /// "Site is too busy": given, as well.
    pub busy: bool,
    /// "If this step is not desired, it may be omitted from the algorithm": whether STEP 3 is there.
    pub step_3: bool,
    /// "Current Timestamp", seconds.
    pub now: u64,
    /// "Must be short expiration, eg, 60 sec".
    pub expiration: u64,
}

/// How the pseudo code ends.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OracleOutcome {
    /// "HTTP 302 Redirect to".
    Redirect302(String),
    /// "HTTP 200 Document found: Return HTML re: All Sites Busy".
    AllSitesBusy200,
    /// "Done. Return from this component and resume handling the request."
    Done,
}

/// The parts of a Relative URI that contains "/Distrib=" and a timestamp.
struct Distrib {
    whole: Range<usize>,
    timestamp: u64,
    initial_site: Option<String>,
}

/// "Relative URI CONTAINS (/Distrib= AND Some Timestamp)", wherever in it. Initial Site is what follows a plus sign, up to
/// the next slash.
fn find(relative_uri: &str) -> Option<Distrib> {
    let start = relative_uri.find(DISTRIB)?;
    let value = &relative_uri[start + DISTRIB.len()..];
    let digits: String = value.chars().take_while(char::is_ascii_digit).collect();
    let timestamp = digits.parse().ok()?;
    let rest = &value[digits.len()..];
    let mut length = DISTRIB.len() + digits.len();
    let mut initial_site = None;
    if let Some(rest) = rest.strip_prefix('+') {
        let name: String = rest.chars().take_while(|c| *c != '/').collect();
        length += 1 + name.len();
        initial_site = (!name.is_empty()).then_some(name);
    }
    Some(Distrib { whole: start..start + length, timestamp, initial_site })
}

/// "DELETE any pre-existing "/Distrib=" and Timestamp and Initial Site from Relative URI".
fn delete(relative_uri: &mut String) {
    while let Some(found) = find(relative_uri) {
        relative_uri.replace_range(found.whole, "");
    }
}

/// "?Query", where there is one.
fn question(query: Option<&str>) -> String {
    query.map(|query| format!("?{query}")).unwrap_or_default()
}

/// "The ordinally-next Site in the Group after this one, with wraparound". A Site that is not in the order, which the pseudo
/// code does not provide for, is before the first.
fn ordinally_next(group: &OracleGroup, site: &str) -> String {
    let at = group.sites.iter().position(|name| name == site);
    let next = at.map_or(0, |at| (at + 1) % group.sites.len());
    group.sites.get(next).cloned().unwrap_or_else(|| site.to_owned())
}

/// The pseudo code. Its comparisons are of whole strings: it says nothing of ports and capitals.
#[must_use]
pub fn run(request: &OracleRequest) -> OracleOutcome {
    let OracleRequest { scheme, this_site, pool_name, this_group, now, .. } = request;
    let mut relative_uri = request.relative_uri.clone();
    let query = question(request.query.as_deref());

    // STEP 1: "Load Distribution (Load Balancing and Lockdown)"
    if let Some(host) = &request.host
        && host != this_site
    {
        if host == pool_name {
            let proper_group = &request.proper_group;
            if *proper_group == this_group.name {
                delete(&mut relative_uri);
                return OracleOutcome::Redirect302(format!(
                    "{scheme}://{this_site}{relative_uri}{DISTRIB}{now}{query}"
                ));
            }
            let group_name = proper_group;
            // Nothing is deleted here.
            return OracleOutcome::Redirect302(format!("{scheme}://{group_name}{relative_uri}{query}"));
        }
        delete(&mut relative_uri);
        return OracleOutcome::Redirect302(format!("{scheme}://{this_site}{relative_uri}{DISTRIB}{now}{query}"));
    }

    // STEP 2: "Load Redistribution"
    let expired = |timestamp: u64| now.saturating_sub(timestamp) >= request.expiration;
    if find(&relative_uri).is_none_or(|found| expired(found.timestamp)) {
        let proper_group = &request.proper_group;
        let group_name = proper_group;
        // Nor here.
        return OracleOutcome::Redirect302(format!("{scheme}://{group_name}{relative_uri}{query}"));
    }

    // STEP 3: "Load Overflow"
    if request.step_3 && request.busy {
        let found = find(&relative_uri);
        let initial_site = found.as_ref().and_then(|found| found.initial_site.clone());
        if initial_site.is_none() || found.is_some_and(|found| expired(found.timestamp)) {
            let next_site = ordinally_next(this_group, this_site);
            if next_site == *this_site {
                return OracleOutcome::AllSitesBusy200;
            }
            delete(&mut relative_uri);
            // Printed as "/Distrib=This Site + Current Timestamp"; everywhere else the timestamp comes first, so it does here.
            return OracleOutcome::Redirect302(format!(
                "{scheme}://{next_site}{relative_uri}{DISTRIB}{now}+{this_site}{query}"
            ));
        }
        let next_site = ordinally_next(this_group, this_site);
        if Some(&next_site) == initial_site.as_ref() {
            return OracleOutcome::AllSitesBusy200;
        }
        // C1: the Relative URI still holds its marker, since nothing was deleted.
        return OracleOutcome::Redirect302(format!("{scheme}://{next_site}{relative_uri}{query}"));
    }

    // "Done. Return from this component and resume handling the request."
    OracleOutcome::Done
}

#[cfg(test)]
mod tests {
    use super::*;

    fn boston() -> OracleRequest {
        let sites = ["boston.app.com", "chicago.app.com"].map(str::to_owned).to_vec();
        OracleRequest {
            scheme: "http",
            host: Some("boston.app.com".into()),
            relative_uri: "/shop".into(),
            query: Some("a=1".into()),
            this_site: "boston.app.com".into(),
            pool_name: "app.com".into(),
            this_group: OracleGroup { name: "americas.app.com".into(), sites },
            proper_group: "americas.app.com".into(),
            busy: false,
            step_3: true,
            now: 1000,
            expiration: 60,
        }
    }

    fn check(description: &str, change: impl Fn(&mut OracleRequest), expected: &str) {
        let mut request = boston();
        change(&mut request);
        let said = match run(&request) {
            OracleOutcome::Redirect302(to) => to,
            OracleOutcome::AllSitesBusy200 => "busy".into(),
            OracleOutcome::Done => "done".into(),
        };
        assert_eq!(said, expected, "{description}");
    }

    /// The oracle against the pseudo code, branch by branch, by hand.
    #[test]
    fn s4_b_diff_every_branch_as_printed() {
        let host = |host: &str| Some(host.to_owned());
        check("right group", |r| r.host = host("app.com"), "http://boston.app.com/shop/Distrib=1000?a=1");
        check(
            "wrong group",
            |r| {
                r.host = host("app.com");
                r.proper_group = "europe.app.com".into();
            },
            "http://europe.app.com/shop?a=1",
        );
        check("another name", |r| r.host = host("chicago.app.com"), "http://boston.app.com/shop/Distrib=1000?a=1");
        check(
            "the old marker goes",
            |r| {
                r.host = host("chicago.app.com");
                r.relative_uri = "/shop/Distrib=990+chicago.app.com".into();
            },
            "http://boston.app.com/shop/Distrib=1000?a=1",
        );
        check("no marker", |_| (), "http://americas.app.com/shop?a=1");
        check(
            "expired",
            |r| r.relative_uri = "/shop/Distrib=940".into(),
            "http://americas.app.com/shop/Distrib=940?a=1",
        );
        check("fresh", |r| r.relative_uri = "/shop/Distrib=941".into(), "done");
        let busy = |r: &mut OracleRequest, uri: &str| {
            r.busy = true;
            r.relative_uri = uri.into();
        };
        check(
            "first overflow",
            |r| busy(r, "/shop/Distrib=990"),
            "http://chicago.app.com/shop/Distrib=1000+boston.app.com?a=1",
        );
        check(
            "alone",
            |r| {
                busy(r, "/shop/Distrib=990");
                r.this_group.sites.truncate(1);
            },
            "busy",
        );
        check("all tried", |r| busy(r, "/shop/Distrib=990+chicago.app.com"), "busy");
        check(
            "one is left",
            |r| {
                busy(r, "/shop/Distrib=990+geneva.app.com");
                r.this_group.sites.push("geneva.app.com".into());
            },
            "http://chicago.app.com/shop/Distrib=990+geneva.app.com?a=1",
        );
        check("without Host it is STEP 2", |r| r.host = None, "http://americas.app.com/shop?a=1");
        assert_eq!(find("/a/Distrib=12+b/c").unwrap().whole, 2..15);
    }
}
