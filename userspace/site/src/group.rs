//! Which group a request belongs to, its *proper group* (stage 530), and what share of the limits it may fill.
//!
//! In this order: the first rule that matches; the flag, a cookie that records the group (S4-4C-FLAG); the client's
//! net, as DNS has it. Paths are compared as they are written: this is about balance, and no way to keep anybody out.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue};

use super::cookies::{self, Cookie};
use zerottl_core::{
    model::{Condition, FlagConfig, GroupId, GroupRule, Model, PriorityClass, SameSite, SiteId, Web},
    nets::Nets,
};

/// Flag cookies that are looked at, in one request.
pub const FLAGS_MAX: usize = 8;

/// The parts of a request that are looked at.
#[derive(Clone, Copy, Debug)]
pub struct GroupRequest<'a> {
    /// The client's address.
    pub client: IpAddr,
    /// Its header.
    pub headers: &'a HeaderMap,
    /// Its path, without marker and query.
    pub path: &'a str,
    /// Its host, without port and trailing dot.
    pub host: &'a str,
}

/// How requests at one Site are told apart.
#[derive(Debug)]
pub struct Groups {
    rules: Vec<GroupRule>,
    classes: Vec<PriorityClass>,
    flag: Option<FlagConfig>,
    same_site: SameSite,
    /// The pool's groups by their names.
    names: Vec<(String, GroupId)>,
    nets: Arc<Nets>,
    /// The pool's position in `nets`; none if no group of it has clients.
    pool: Option<usize>,
}

impl Groups {
    /// As a Site's configuration has it.
    #[must_use]
    pub fn new(model: &Model, site: SiteId, web: &Web) -> Self {
        let pool = model.sites[site.0].pool;
        let groups = model.groups.iter().enumerate().filter(|(_, group)| group.pool == pool);
        Self {
            rules: web.rules.clone(),
            classes: web.classes.clone(),
            flag: web.flag.clone(),
            same_site: web.session.same_site,
            names: groups.map(|(id, group)| (group.name.to_string(), GroupId(id))).collect(),
            nets: Arc::clone(&model.nets),
            pool: model.nets.pools().binary_search(&pool).ok(),
        }
    }

    /// The proper group of a request, if it has one.
    #[must_use]
    pub fn proper(&self, request: &GroupRequest<'_>) -> Option<GroupId> {
        let rule = self.rules.iter().find(|rule| matches(&rule.when, request));
        rule.map(|rule| rule.group).or_else(|| self.flagged(request.headers)).or_else(|| self.of_net(request.client))
    }

    /// Returns the part of each limit that a request may fill: that of the first class that it is of, or 1.
    #[must_use]
    pub fn share(&self, request: &GroupRequest<'_>) -> f64 {
        let class = self.classes.iter().find(|class| matches(&class.when, request));
        class.map_or(1.0, |class| class.share)
    }

    /// The `Set-Cookie` that records a group of this pool, where that is configured; `secure` is whether the client came
    /// by HTTPS.
    #[must_use]
    pub fn flag(&self, group: GroupId, secure: bool) -> Option<HeaderValue> {
        let flag = self.flag.as_ref()?;
        let (name, _) = self.names.iter().find(|(_, id)| *id == group)?;
        let (domain, max_age) = (Some(flag.domain.as_str()), flag.lifetime.as_secs());
        Cookie { name: &flag.cookie, value: name, domain, max_age, secure, same_site: self.same_site }.header()
    }

    /// The first group of this pool that a flag names.
    #[must_use]
    pub fn flagged(&self, headers: &HeaderMap) -> Option<GroupId> {
        let flag = self.flag.as_ref()?;
        cookies::values(headers, &flag.cookie).take(FLAGS_MAX).find_map(|value| {
            let of = self.names.iter().find(|(name, _)| name.as_bytes().eq_ignore_ascii_case(value));
            of.map(|(_, group)| *group)
        })
    }

    fn of_net(&self, client: IpAddr) -> Option<GroupId> {
        self.nets.group(self.nets.find(client.to_canonical()).set, self.pool?)
    }
}

/// Whether every part of a condition matches.
fn matches(when: &Condition, request: &GroupRequest<'_>) -> bool {
    let client = request.client.to_canonical();
    (when.clients.is_empty() || when.clients.iter().any(|net| net.contains(&client)))
        && when.header.as_ref().is_none_or(|(name, value)| {
            let mut lines = request.headers.get_all(name).iter();
            lines.any(|line| value.as_ref().is_none_or(|value| line.as_bytes() == value.as_bytes()))
        })
        && when.cookie.as_ref().is_none_or(|(name, value)| {
            let mut values = cookies::values(request.headers, name);
            values.any(|given| value.as_ref().is_none_or(|value| given == value.as_bytes()))
        })
        && when.path.as_ref().is_none_or(|path| is_below(request.path, path))
        && when.host.as_ref().is_none_or(|host| host.eq_ignore_ascii_case(request.host))
}

/// Whether a path is another, or goes on after it with a new segment.
pub(super) fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use http::header::{COOKIE, HeaderName};
    use ipnet::IpNet;

    use super::*;
    use zerottl_core::{
        fixture,
        model::{Group, PoolId},
        nets::{Rule, Source},
    };

    const EUROPE: GroupId = GroupId(0);
    const AMERICAS: GroupId = GroupId(1);
    const OTHER_POOL: GroupId = GroupId(2);

    fn net(text: &str) -> IpNet {
        text.parse().expect("a net")
    }

    /// A pool of three Sites with two groups, which have client nets, and a group of another pool.
    fn model() -> Model {
        let mut model = fixture::appendix_a();
        model.groups = vec![
            fixture::group("europe.app.com", &[2]),
            fixture::group("americas.app.com", &[0, 1]),
            Group { pool: PoolId(1), ..fixture::group("other.example", &[]) },
        ];
        let rule = |group, text| Rule { pool: PoolId(0), group, net: net(text), source: Source::Written };
        let rules =
            [rule(EUROPE, "198.51.100.0/24"), rule(EUROPE, "2001:db8:a::/48"), rule(AMERICAS, "203.0.113.0/24")];
        model.nets = Arc::new(Nets::build(&rules).expect("few nets"));
        model
    }

    fn groups(web: &Web) -> Groups {
        Groups::new(&model(), SiteId(0), web)
    }

    fn flagged() -> Web {
        let lifetime = Duration::from_hours(1);
        let flag = FlagConfig { cookie: "ZGROUP".into(), domain: "app.com".into(), lifetime };
        Web { flag: Some(flag), ..Web::at([]) }
    }

    fn ruled(rules: Vec<(GroupId, Condition)>) -> Web {
        let rules = rules.into_iter().map(|(group, when)| GroupRule { group, when });
        Web { rules: rules.collect(), ..flagged() }
    }

    fn headers(fields: &[(HeaderName, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(name, HeaderValue::from_str(value).expect("a value"));
        }
        headers
    }

    fn asked(headers: &HeaderMap) -> GroupRequest<'_> {
        GroupRequest { client: "192.0.2.99".parse().expect("an address"), headers, path: "/", host: "app.com" }
    }

    /// S4-C13 and S4-C28: the client's net, as DNS has it.
    #[test]
    fn s4_c13_by_client_nets() {
        let groups = groups(&Web::at([]));
        let check = |client: &str, expect| {
            let empty = HeaderMap::new();
            let request = GroupRequest { client: client.parse().expect("an address"), ..asked(&empty) };
            assert_eq!(groups.proper(&request), expect, "{client}");
        };
        check("198.51.100.7", Some(EUROPE));
        check("::ffff:198.51.100.7", Some(EUROPE));
        check("2001:db8:a::1", Some(EUROPE));
        check("203.0.113.255", Some(AMERICAS));
        check("203.0.114.0", None);
        check("2001:db8:b::1", None);
        let without = Model { nets: Arc::default(), ..model() };
        let groups = Groups::new(&without, SiteId(0), &Web::at([]));
        let empty = HeaderMap::new();
        let request = GroupRequest { client: "198.51.100.7".parse().expect("an address"), ..asked(&empty) };
        assert_eq!(groups.proper(&request), None);
    }

    /// S4-4C-FLAG: what the response records is what the next request belongs to, whatever its net.
    #[test]
    fn s4_4c_flag_records_the_group() {
        let groups = groups(&flagged());
        let set = |group, secure| groups.flag(group, secure).map(|set| set.to_str().expect("text").to_owned());
        let text = "ZGROUP=americas.app.com; Domain=app.com; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax";
        assert_eq!(set(AMERICAS, false).as_deref(), Some(text));
        assert_eq!(set(AMERICAS, true), Some(format!("{text}; Secure")));
        assert_eq!(set(OTHER_POOL, false), None);
        assert_eq!(Groups::new(&model(), SiteId(0), &Web::at([])).flag(AMERICAS, false), None, "off");
        let check = |cookies: &[&str], expect| {
            let fields: Vec<_> = cookies.iter().map(|cookie| (COOKIE, *cookie)).collect();
            let headers = headers(&fields);
            let request = GroupRequest { client: "198.51.100.7".parse().expect("an address"), ..asked(&headers) };
            assert_eq!(groups.proper(&request), expect, "{cookies:?}");
        };
        check(&["ZGROUP=americas.app.com"], Some(AMERICAS));
        check(&["a=b; ZGROUP=Americas.APP.com"], Some(AMERICAS));
        check(&["a=b", "ZGROUP=europe.app.com"], Some(EUROPE));
        check(&["ZGROUP=asia.app.com; ZGROUP=americas.app.com"], Some(AMERICAS));
        check(&["zgroup=americas.app.com"], Some(EUROPE));
        for unknown in ["ZGROUP=", "ZGROUP=asia.app.com", "ZGROUP=other.example", "ZGROUP=app.com", "ZGROUP"] {
            check(&[unknown], Some(EUROPE));
        }
        let many = "ZGROUP=asia; ".repeat(FLAGS_MAX) + "ZGROUP=americas.app.com";
        check(&[&many], Some(EUROPE));
    }

    /// S4-C28: request properties; the first rule that matches, before flag and nets.
    #[test]
    fn s4_c28_by_request_properties() {
        let headers_of = headers(&[
            (HeaderName::from_static("x-tier"), "gold"),
            (HeaderName::from_static("x-tier"), "blue"),
            (COOKIE, "lang=fr; beta; ZGROUP=europe.app.com"),
        ]);
        let request = GroupRequest {
            client: "::ffff:192.0.2.99".parse().expect("an address"),
            headers: &headers_of,
            path: "/shop/cart",
            host: "App.com",
        };
        let check = |when: Condition, expect: bool| {
            let words = format!("{when:?}");
            let expect = if expect { AMERICAS } else { EUROPE };
            let groups = groups(&ruled(vec![(AMERICAS, when)]));
            assert_eq!(groups.proper(&request), Some(expect), "{words}");
        };
        let any = Condition::default;
        let header =
            |name: &str, value: Option<&str>| Condition { header: Some((name.into(), value.map(Into::into))), ..any() };
        let cookie =
            |name: &str, value: Option<&str>| Condition { cookie: Some((name.into(), value.map(Into::into))), ..any() };
        let path = |path: &str| Condition { path: Some(path.into()), ..any() };
        let clients = |nets: &[&str]| Condition { clients: nets.iter().map(|text| net(text)).collect(), ..any() };
        let host = |host: &str| Condition { host: Some(host.into()), ..any() };
        check(any(), true);
        check(header("x-tier", None), true);
        check(header("x-tier", Some("gold")), true);
        check(header("x-tier", Some("blue")), true);
        check(header("x-tier", Some("Gold")), false);
        check(header("x-tier", Some("gol")), false);
        check(header("x-other", None), false);
        check(cookie("lang", None), true);
        check(cookie("lang", Some("fr")), true);
        check(cookie("lang", Some("f")), false);
        check(cookie("la", None), false);
        check(cookie("beta", None), false);
        check(path("/shop"), true);
        check(path("/shop/"), true);
        check(path("/shop/cart"), true);
        check(path("/"), true);
        check(path("/sho"), false);
        check(path("/shop/cart/"), false);
        check(path("/Shop"), false);
        check(clients(&["10.0.0.0/8", "192.0.2.0/24"]), true);
        check(clients(&["10.0.0.0/8", "2001:db8::/32"]), false);
        check(host("app.com"), true);
        check(host("pp.com"), false);
        let both = Condition { path: Some("/shop".into()), ..header("x-tier", Some("gold")) };
        check(both.clone(), true);
        check(Condition { host: Some("europe.app.com".into()), ..both }, false);

        let rules = vec![(EUROPE, path("/none")), (AMERICAS, path("/shop")), (EUROPE, any())];
        assert_eq!(groups(&ruled(rules)).proper(&request), Some(AMERICAS), "the first that matches");
    }

    /// S4-5B-DEFER: priority classes.
    #[test]
    fn s4_5b_defer_shares_are_those_of_the_first_class() {
        let class = |name: &str, path: &str, share| PriorityClass {
            name: name.into(),
            when: Condition { path: Some(path.into()), ..Condition::default() },
            share,
        };
        let classes = vec![
            class("reports", "/reports", 0.25),
            class("all reports", "/reports/all", 0.1),
            class("api", "/api", 0.5),
        ];
        let groups = groups(&Web { classes, ..Web::at([]) });
        let share = |path| {
            let empty = HeaderMap::new();
            groups.share(&GroupRequest { path, ..asked(&empty) }).to_string()
        };
        assert_eq!(["/reports/all", "/api/x", "/apis", "/"].map(share), ["0.25", "0.5", "1", "1"]);
    }
}
