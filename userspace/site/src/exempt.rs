//! Requests that operation 500 leaves alone: probes that DNS decides by, the load report, CORS preflights, and what
//! `web.pass` lists.

use std::net::IpAddr;

use http::{
    HeaderMap, Method,
    header::{ACCESS_CONTROL_REQUEST_METHOD, ORIGIN},
};

use super::{group::is_below, host, respond};
use zerottl_core::model::{LoadKind, Passed, Site, Web};

/// The kind of a request that operation 500 leaves alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exempt {
    /// The Site's health is asked for.
    Probe,
    /// Its load is.
    Load,
    /// A browser asks whether it may send a request: by its rules, one that is redirected is a no.
    Preflight,
    /// As configured.
    Listed,
}

/// Which they are at one Site.
#[derive(Clone, Debug, Default)]
pub(super) struct Exempts {
    /// Paths with queries, and the names that they are asked for by beside the pool's.
    probes: Vec<(String, String)>,
    load: Option<(String, String)>,
    addresses: Vec<IpAddr>,
    pass: Vec<Passed>,
}

impl Exempts {
    pub(super) fn new(site: &Site, web: &Web) -> Self {
        let host = |authority: &str| host::parse(authority).map_or(String::new(), |host| host.name.into_owned());
        let probes = site.http_probes().map(|http| (http.path.clone(), host(&http.host))).collect();
        let load = site.load.as_ref().and_then(|load| match &load.kind {
            LoadKind::Http(_, http) => Some((http.path.clone(), host(&http.host))),
            _ => None,
        });
        let addresses = site.addresses.iter().map(|address| address.answer).collect();
        Self { probes, load, addresses, pass: web.pass.clone() }
    }

    /// Of a request for the Site's health or load: `is_ours` is whether it is under a name of the pool's. Monitors ask by
    /// address.
    pub(super) fn machines(
        &self,
        method: &Method,
        target: &str,
        is_ours: bool,
        authority: Option<&str>,
    ) -> Option<Exempt> {
        let is = |(path, name): &(String, String)| {
            path == target && respond::is_read(method) && (is_ours || self.may_name(authority, name))
        };
        if self.probes.iter().any(is) {
            return Some(Exempt::Probe);
        }
        self.load.as_ref().is_some_and(is).then_some(Exempt::Load)
    }

    fn may_name(&self, authority: Option<&str>, name: &str) -> bool {
        let Some(host) = authority.and_then(host::parse) else { return false };
        let literal = host.name.trim_start_matches('[').trim_end_matches(']');
        *host.name == *name || literal.parse().is_ok_and(|address: IpAddr| self.addresses.contains(&address))
    }

    /// Of a request under a name of the pool's; `path` is without marker and query.
    pub(super) fn passed(&self, method: &Method, path: &str, headers: &HeaderMap) -> Option<Exempt> {
        let is_preflight = *method == Method::OPTIONS
            && headers.contains_key(ORIGIN)
            && headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD);
        if is_preflight {
            return Some(Exempt::Preflight);
        }
        let matches = |passed: &Passed| {
            passed.method.as_ref().is_none_or(|own| own == method.as_str())
                && passed.path.as_ref().is_none_or(|own| is_below(path, own) && !climbs(path))
        };
        self.pass.iter().any(matches).then_some(Exempt::Listed)
    }
}

/// Whether a server may take a path for one that is not below what it begins with.
fn climbs(path: &str) -> bool {
    let is_dots = |segment: &str| {
        let plain = segment.to_ascii_lowercase().replace("%2e", ".");
        plain == ".." || plain == "." || plain.contains("%2f") || plain.contains("%5c") || plain.contains('\\')
    };
    path.split('/').any(is_dots)
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::{super::fixture::appendix_a, *};

    fn exempts() -> Exempts {
        let model = appendix_a("[web]\npass = [\"/.well-known\", \"POST /hooks/\", \"PROPFIND\"]\n");
        let site = model.site_by_key("boston").unwrap();
        Exempts::new(&model.sites[site.0], &model.web[site.0])
    }

    #[test]
    fn what_is_listed_is_left_alone() {
        let exempts = exempts();
        let check = |method: &str, path: &str, is: bool| {
            let found = exempts.passed(&method.parse().unwrap(), path, &HeaderMap::new());
            assert_eq!(found, is.then_some(Exempt::Listed), "{method} {path}");
        };
        check("GET", "/.well-known/acme-challenge/x", true);
        check("PUT", "/.well-known", true);
        check("GET", "/.well-knownish", false);
        check("POST", "/hooks", true);
        check("POST", "/hooks/pay", true);
        check("GET", "/hooks/pay", false);
        check("PROPFIND", "/any", true);
        check("OPTIONS", "/any", false);
        for up in ["/../cart", "/%2E%2e/cart", "/..%2fcart", "/a/.%2e/../cart", "/..\\cart"] {
            check("GET", &format!("/.well-known{up}"), false);
        }
    }

    /// A path that machines ask for is none of theirs under a name that is nobody's.
    #[test]
    fn health_is_asked_for_by_name_or_by_address() {
        let exempts = exempts();
        let check = |method: Method, authority: Option<&str>, is_ours: bool, is: bool| {
            let found = exempts.machines(&method, "/health", is_ours, authority);
            assert_eq!(found, is.then_some(Exempt::Probe), "{method} {authority:?}");
        };
        check(Method::GET, Some("app.com"), true, true);
        check(Method::GET, None, true, true);
        check(Method::GET, Some("192.0.2.10"), false, true);
        check(Method::HEAD, Some("192.0.2.10:80"), false, true);
        check(Method::GET, Some("192.0.2.99"), false, false);
        check(Method::GET, Some("evil.example"), false, false);
        check(Method::GET, Some("user@192.0.2.10"), false, false);
        check(Method::POST, Some("app.com"), true, false);
        assert_eq!(exempts.machines(&Method::GET, "/health?x", true, Some("app.com")), None);
    }

    #[test]
    fn preflights_are_left_alone() {
        let exempts = exempts();
        let mut headers = HeaderMap::new();
        let passed = |headers: &HeaderMap, method: &Method| exempts.passed(method, "/cart", headers);
        headers.insert(ORIGIN, HeaderValue::from_static("https://shop.example"));
        assert_eq!(passed(&headers, &Method::OPTIONS), None);
        headers.insert(ACCESS_CONTROL_REQUEST_METHOD, HeaderValue::from_static("PUT"));
        assert_eq!(passed(&headers, &Method::OPTIONS), Some(Exempt::Preflight));
        assert_eq!(passed(&headers, &Method::PUT), None);
        headers.remove(ORIGIN);
        assert_eq!(passed(&headers, &Method::OPTIONS), None);
    }
}
