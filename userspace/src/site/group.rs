//! Which group a request belongs to, its *proper group* (stage 530), and what share of the limits it may fill.
//!
//! In this order: the first rule that matches; the flag, a cookie that records the group (S4-4C-FLAG); the client's
//! net, as DNS has it. Paths are compared as they are written: this is about balance, and no way to keep anybody out.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderMap, HeaderValue};

use super::cookies::{self, Cookie};
use crate::{
    model::{Class, Condition, FlagConfig, GroupId, GroupRule, Model, SiteId, Web},
    nets::Nets,
};

/// Flag cookies that are looked at, in one request.
pub const FLAGS_MAX: usize = 8;

/// What is looked at of a request.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who asks.
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
    classes: Vec<Class>,
    flag: Option<FlagConfig>,
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
            names: groups.map(|(id, group)| (group.name.to_string(), GroupId(id))).collect(),
            nets: Arc::clone(&model.nets),
            pool: model.nets.pools().binary_search(&pool).ok(),
        }
    }

    /// The proper group of a request, if it has one.
    #[must_use]
    pub fn proper(&self, request: &Asked<'_>) -> Option<GroupId> {
        let rule = self.rules.iter().find(|rule| matches(&rule.when, request));
        rule.map(|rule| rule.group).or_else(|| self.flagged(request.headers)).or_else(|| self.of_net(request.client))
    }

    /// What part of each limit a request may fill: that of the first class that it is of, or 1.
    #[must_use]
    pub fn share(&self, request: &Asked<'_>) -> f64 {
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
        Cookie { name: &flag.cookie, value: name, domain, max_age, secure }.header()
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
fn matches(when: &Condition, request: &Asked<'_>) -> bool {
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
fn is_below(path: &str, prefix: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/') || prefix.ends_with('/'))
}
