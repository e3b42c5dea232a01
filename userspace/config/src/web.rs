//! `[web]` and `[web.SITE]`: what runs at the Sites.
//!
//! A table's values are read once, whoever they are for ([`part`]); then each Site gets those of its own table, and those
//! of `[web]` for the keys that its own has not. What only shows with a Site's names and places is checked there.

mod files;
mod invite;
mod names;
mod part;
mod rules;
mod session;
mod values;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::{IpAddr, SocketAddr},
    ops::Range,
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use toml::Spanned;

pub(super) use self::values::authority;
use self::{
    invite::Invite,
    names::Names,
    part::{BackendHost, LogPlace, Part, own_places},
};
use super::{
    by_site::{Parts, told_apart},
    places::{default_admin, overlap},
    raw,
    report::Reporter,
    tables::section,
    values::Reader,
};
use zerottl_core::model::{
    AccessLog, Backend, GroupId, GroupRule, MarkerConfig, MarkerMode, Model, Name, Peers, PoolId, RedirectForm, Site,
    SiteId, VIA, Web, WebTls,
};
use zerottl_host::certificates;

/// Names that one warning lists.
const NAMES_SHOWN: usize = 5;
/// Seconds before its end at which a certificate is to be renewed: two weeks.
const EXPIRES_SOON: i64 = 14 * 86_400;

/// One for each Site, by position; none where the file has no `[web]`, or is refused anyway.
pub(super) fn web(report: &mut Reporter, file: &raw::File, model: &Model) -> Vec<Arc<Web>> {
    let Some(raw) = &file.web else { return Vec::new() };
    told_apart::<raw::WebKeys>(report, file, "web");
    let names = Names::of(model);
    let mut reader = Reader { report, section: "[web]".into(), header: raw.span() };
    let shared = Part::read(&mut reader, &raw.get_ref().shared, &names);
    let mut own = HashMap::new();
    for (key, raw) in &raw.get_ref().sites {
        let mut reader = Reader { report, section: section(&["web", key.get_ref()]), header: key.span() };
        own.insert(key.get_ref().as_str(), Part::read(&mut reader, raw, &names));
    }
    // With errors, entries were left out that the checks below would miss.
    if report.errors() > 0 {
        return Vec::new();
    }
    let mut whole = Whole { report, model, told: HashSet::new(), aliases: HashMap::new(), markers: HashMap::new() };
    let reach = Reach::of(model);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed());
    let webs = model.sites.iter().map(|site| {
        let parts = Parts { own: own.get(site.key.as_str()), shared: &shared };
        let web = parts.web(site, model);
        whole.places(site, &parts, &web);
        whole.invited(&parts);
        if file.director.is_none() {
            whole.found_by_workers(&parts, &web);
        }
        whole.names(site, &parts, &web, &reach[site.pool.0]);
        whole.rules(site, &parts);
        whole.certificates(site, &parts, &web, now);
        Arc::new(web)
    });
    webs.collect()
}

impl Parts<'_, Part> {
    fn access_log(&self) -> Option<AccessLog> {
        let file = match self.value(|part| part.access_log.as_ref(), || LogPlace::Nowhere) {
            LogPlace::Nowhere => return None,
            LogPlace::Stdout => None,
            LogPlace::File(file) => Some(file),
        };
        Some(AccessLog { file, format: self.value(|part| part.access_log_format.as_ref(), Default::default) })
    }

    /// Returns the backends, unless the Site's own table has `invite` instead.
    fn backends(&self) -> Option<(&Vec<Spanned<Backend>>, &Part)> {
        let instead = self.own.is_some_and(|own| own.invite.is_some() && own.backends.is_none());
        self.get(|part| part.backends.as_ref()).filter(|_| !instead)
    }

    /// Returns the invitations, unless the Site's own table has `backends` instead.
    fn invite(&self) -> Option<(&Invite, &Part)> {
        let instead = self.own.is_some_and(|own| own.backends.is_some() && own.invite.is_none());
        self.get(|part| part.invite.as_ref()).filter(|_| !instead)
    }

    fn web(&self, site: &Site, model: &Model) -> Web {
        let addresses: Vec<IpAddr> = site.addresses.iter().map(|address| address.answer).collect();
        let places = |list: Option<&Vec<Spanned<SocketAddr>>>, tls| match list {
            Some(list) => list.iter().map(|place| *place.get_ref()).collect(),
            None => own_places(&addresses, tls),
        };
        let of_pool = |group: GroupId| model.groups[group.0].pool == site.pool;
        let rules = self.get(|part| part.rules.as_ref()).map_or(&[][..], |(rules, _)| &rules[..]);
        let aliases = self.get(|part| part.aliases.as_ref()).map_or(&[][..], |(aliases, _)| &aliases[..]);
        let backends = self.backends().map_or(&[][..], |(backends, _)| &backends[..]);
        Web {
            listen: places(self.get(|part| part.listen.as_ref()).map(|(list, _)| list), false),
            tls: self.get(|part| part.tls.as_ref()).map(|(tls, _)| WebTls {
                listen: places(tls.listen.as_ref(), true),
                certificates: tls.certificates.clone(),
            }),
            admin: match self.get(|part| part.admin.as_ref()) {
                Some((admin, _)) => *admin.get_ref(),
                None => Some(default_admin()),
            },
            backends: backends.iter().map(|backend| backend.get_ref().clone()).collect(),
            invite: self.invite().map(|(invite, _)| invite.config.clone()),
            screen: self.get(|part| part.screen.as_ref()).map(|(screen, _)| screen.get_ref().clone()),
            backend_probe: self.value(|part| part.backend_probe.as_ref(), Default::default),
            access_log: self.access_log(),
            aliases: aliases.iter().map(|alias| alias.host.clone()).collect(),
            overflow: self.value(|part| part.overflow.as_ref(), || true),
            pass: self.value(|part| part.pass.as_ref(), Vec::new),
            backend_host: match self.value(|part| part.backend_host.as_ref(), Default::default) {
                BackendHost::Keep => None,
                BackendHost::Site => Some(site.name.to_string()),
                BackendHost::Pool => Some(model.pools[site.pool.0].name.to_string()),
            },
            clean_url: self.value(|part| part.clean_url.as_ref(), || true),
            redirect: self.value(|part| part.redirect.as_ref(), || RedirectForm::Status),
            marker: self.value(|part| part.marker.as_ref().map(Spanned::get_ref), Default::default),
            busy: self.value(|part| part.busy.as_ref(), Default::default),
            classes: self.value(|part| part.classes.as_ref(), Vec::new),
            session: self.value(|part| part.session.as_ref().map(Spanned::get_ref), Default::default),
            flag: self.get(|part| part.flag.as_ref()).map(|(flag, _)| flag.get_ref().clone()),
            // Of a file with several pools, those of the others are not for this Site.
            rules: rules
                .iter()
                .filter(|(group, _)| of_pool(*group.get_ref()))
                .map(|(group, when)| GroupRule { group: *group.get_ref(), when: when.clone() })
                .collect(),
            peers: self.value(|part| part.peers.as_ref(), || Peers::Probe),
            trusted_proxies: self.value(|part| part.trusted_proxies.as_ref(), Vec::new),
            via: self.value(|part| part.via.as_ref(), || VIA.into()),
            limits: self.value(|part| part.limits.as_ref(), Default::default),
        }
    }
}

/// How far up a cookie's domain must reach: the nearest name that a pool's names are all at or below.
struct Reach {
    /// The Pool Name's and the Site Names'.
    sites: Name,
    /// The Group Names', too.
    all: Name,
}

impl Reach {
    /// By pool.
    fn of(model: &Model) -> Vec<Self> {
        let pools = model.pools.iter().map(|pool| {
            let sites = pool.sites.iter().map(|site| &model.sites[site.0].name);
            let sites = sites.fold(pool.name.clone(), common);
            Self { all: sites.clone(), sites }
        });
        let mut reach: Vec<Self> = pools.collect();
        for group in &model.groups {
            let all = &mut reach[group.pool.0].all;
            *all = common(all.clone(), &group.name);
        }
        reach
    }
}

/// The longest suffix of a name that another is at or below.
fn common(above: Name, name: &Name) -> Name {
    if name.ends_with(&above) {
        return above;
    }
    let suffix = above.iter_suffixes().find(|suffix| name.ends_with(suffix));
    suffix.map_or_else(super::values::no_name, |suffix| {
        Name::from_octets(bytes::Bytes::copy_from_slice(suffix.as_slice())).expect("a suffix of a name is a name")
    })
}

/// Checks of what only shows when a Site's values are all there. What two Sites share is told once.
struct Whole<'a> {
    report: &'a mut Reporter,
    model: &'a Model,
    /// Pairs of places in the file.
    told: HashSet<(usize, usize)>,
    /// Aliases of Sites' own tables, and the pool that each leads to.
    aliases: HashMap<&'a str, (PoolId, Range<usize>)>,
    /// The first marker of each pool, whose it is, and where it stands.
    markers: HashMap<PoolId, (MarkerConfig, &'a str, Option<Range<usize>>)>,
}

/// Where a Site listens, and where the file says so; nowhere for its own addresses.
struct Place<'a> {
    at: SocketAddr,
    span: Option<Range<usize>>,
    part: &'a Part,
}

impl<'a> Whole<'a> {
    fn places(&mut self, site: &Site, parts: &Parts<'a, Part>, web: &Web) {
        let shared = parts.shared;
        let mut places = Vec::new();
        let mut add = |list: &[SocketAddr], written: Option<(&'a Vec<Spanned<SocketAddr>>, &'a Part)>| {
            places.extend(list.iter().enumerate().map(|(i, &at)| match written {
                Some((written, part)) => Place { at, span: Some(written[i].span()), part },
                None => Place { at, span: None, part: shared },
            }));
        };
        add(&web.listen, parts.get(|part| part.listen.as_ref()));
        if let Some(tls) = &web.tls {
            add(&tls.listen, parts.get(|part| part.tls.as_ref()?.listen.as_ref()));
        }
        if let Some(at) = web.admin {
            let written = parts.get(|part| part.admin.as_ref());
            let (span, part) = written.map_or((None, shared), |(admin, part)| (Some(admin.span()), part));
            places.push(Place { at, span, part });
        }
        if let Some((invite, part)) = parts.invite() {
            places.push(Place { at: invite.config.listen, span: Some(invite.listen.clone()), part });
        }
        if places.is_empty() {
            let part = parts.own.unwrap_or(shared);
            if self.told.insert((part.header.1.start, usize::MAX)) {
                self.error(part, part.header.1.clone(), format!("Site {} listens nowhere", site.key))
                    .help("give `listen`, `tls` or `admin` a place");
            }
        }
        for (i, place) in places.iter().enumerate() {
            for before in places[..i].iter().filter(|before| overlap(before.at, place.at)) {
                self.twice(before, place);
            }
        }
        for backend in
            parts.backends().into_iter().flat_map(|(list, part)| list.iter().map(move |backend| (backend, part)))
        {
            let (backend, part) = backend;
            let Ok(at) = backend.get_ref().authority.parse::<SocketAddr>() else { continue };
            let own = |ip: IpAddr| ip.is_loopback() || site.addresses.iter().any(|address| address.answer == ip);
            let hit = |place: &&Place<'_>| place.at == at || overlap(place.at, at) && own(at.ip());
            let Some(place) = places.iter().find(hit) else { continue };
            let other = place.span.clone();
            if self.told.insert((backend.span().start, other.as_ref().map_or(usize::MAX, |span| span.start))) {
                let message = format!("backend {at} is where Site {} itself listens", site.key);
                let problem = self.error(part, backend.span(), message);
                problem
                    .label("this Site")
                    .help("name the application's own place: a request would go round in circles");
                if let Some(other) = other {
                    problem.also(other, "listened on here");
                }
            }
        }
    }

    /// A request goes to a backend, or waits for an application server that invites it; it cannot do both.
    fn invited(&mut self, parts: &Parts<'a, Part>) {
        let (Some((invite, part)), Some((backends, _))) = (parts.invite(), parts.backends()) else { return };
        let Some(first) = backends.first().map(Spanned::span) else { return };
        if self.told.insert((invite.span.start, first.start)) {
            self.error(part, invite.span.clone(), "`invite` and `backends` exclude each other")
                .also(first, "a backend")
                .help("take one of them out: with `invite`, application servers say themselves where they are");
        }
    }

    /// Session servers on other machines are there for workers on several, which ask each other for sessions.
    fn found_by_workers(&mut self, parts: &Parts<'a, Part>, web: &Web) {
        let is_here = |host: &str| host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
        let host = |name: &str| name.rsplit_once(':').map(|(host, _)| host.trim_matches(['[', ']']).to_owned());
        let is_alone = web.session.servers.iter().all(|server| host(&server.name).is_some_and(|host| is_here(&host)));
        let Some(at) = web.admin.filter(|at| !is_alone && (at.ip().is_loopback() || at.ip().is_unspecified())) else {
            return;
        };
        let Some((session, part)) = parts.get(|part| part.session.as_ref()) else { return };
        let given = parts.get(|part| part.admin.as_ref());
        let (span, part) = given.map_or((session.span(), part), |(admin, part)| (admin.span(), part));
        if self.told.insert((span.start, session.span().start)) {
            let message = format!("`admin` is {at}, and session servers are on other machines");
            self.report.warn(span, format!("{}: {message}", part.header.0)).label("no worker on another machine finds this one there").help(format!(
                "if the Site has workers on several machines, give each its own address, such as `admin = \"10.0.0.11:{}\"`, in a network of their own: they ask each other for sessions there",
                at.port()
            ));
        }
    }

    fn twice(&mut self, before: &Place<'_>, place: &Place<'_>) {
        let (at, part, first) = match (&place.span, &before.span) {
            (Some(span), first) => (span.clone(), place.part, first.clone()),
            (None, Some(span)) => (span.clone(), before.part, None),
            (None, None) => return,
        };
        if !self.told.insert((at.start, first.as_ref().map_or(usize::MAX, |span| span.start))) {
            return;
        }
        let message = if before.at == place.at {
            format!("{} is listened on twice", place.at)
        } else {
            format!("{} and {} overlap", before.at, place.at)
        };
        let problem = self.error(part, at, message);
        problem.label("again").help("`listen`, `tls`, `admin` and `invite` need places of their own");
        if let Some(first) = first {
            problem.also(first, "first here");
        }
    }

    fn names(&mut self, site: &'a Site, parts: &Parts<'a, Part>, web: &Web, reach: &Reach) {
        let aliases = parts.get(|part| part.aliases.as_ref());
        let aliases = aliases.into_iter().flat_map(|(list, part)| list.iter().map(move |alias| (alias, part)));
        let marker = parts.get(|part| part.marker.as_ref());
        if let Some((marker, part)) = marker
            && let MarkerMode::Cookie { domain } = &marker.get_ref().mode
            && let Ok(above) = super::values::name(domain)
        {
            if !reach.all.ends_with(&above) {
                let names = self.names_of(site.pool, true).find(|name| !name.ends_with(&above)).cloned();
                self.beyond(part, "marker", marker.span(), domain, names);
            }
            for (alias, part) in aliases.clone().filter(|(alias, _)| !alias.name.ends_with(&above)) {
                if self.told.insert((alias.span.start, marker.span().start)) {
                    let message = format!("alias {} is not below {domain}, the marker's domain", alias.host);
                    self.error(part, alias.span.clone(), message).also(marker.span(), "the marker").help(
                        "a redirect from there would lose the marker and be made again; choose another mode, or domain",
                    );
                }
            }
        }
        if let Some((flag, part)) = parts.get(|part| part.flag.as_ref()) {
            if let Ok(above) = super::values::name(&flag.get_ref().domain)
                && !reach.sites.ends_with(&above)
            {
                let names = self.names_of(site.pool, false).find(|name| !name.ends_with(&above)).cloned();
                self.beyond(part, "flag", flag.span(), &flag.get_ref().domain, names);
            }
            if flag.get_ref().cookie == web.session.cookie && self.told.insert((flag.span().start, 0)) {
                self.error(part, flag.span(), format!("`flag` and `session` are both cookie {}", web.session.cookie))
                    .help("give one of them another name");
            }
        }
        if let Some(own) = parts.own.and_then(|part| part.aliases.as_ref()) {
            for alias in own {
                let (pool, first) =
                    self.aliases.entry(alias.host.as_str()).or_insert((site.pool, alias.span.clone())).clone();
                if pool != site.pool {
                    let (one, other) = (&self.model.pools[pool.0].name, &self.model.pools[site.pool.0].name);
                    let message = format!("alias {} leads to pools {one} and {other}", alias.host);
                    let part = parts.own.expect("it has these aliases");
                    self.error(part, alias.span.clone(), message)
                        .label("again")
                        .also(first, "first here")
                        .help("give it to the Sites of one pool");
                }
            }
        }
        self.same_marker(site, parts, web);
    }

    /// A marker is made at one Site and read at another.
    fn same_marker(&mut self, site: &'a Site, parts: &Parts<'a, Part>, web: &Web) {
        let written = parts.get(|part| part.marker.as_ref()).map(|(marker, _)| marker.span());
        let Some(first) = self.markers.get(&site.pool) else {
            self.markers.insert(site.pool, (web.marker.clone(), &site.key, written));
            return;
        };
        let what = |marker: &MarkerConfig| (marker.mode.clone(), marker.lifetime, marker.key.is_some());
        let Some(span) = written.or_else(|| first.2.clone()).filter(|_| what(&first.0) != what(&web.marker)) else {
            return;
        };
        let message = format!("[web]: Sites {} and {} of one pool have different markers", first.1, site.key);
        if self.told.insert((span.start, 0)) {
            self.report
                .warn(span, message)
                .help("give all Sites of a pool one mode and lifetime, and a key to all or none: what one makes, another reads");
        }
    }

    /// The names of a pool: its own, its Sites', and its groups' if asked for.
    fn names_of(&self, pool: PoolId, groups: bool) -> impl Iterator<Item = &'a Name> {
        let model = self.model;
        let own = &model.pools[pool.0];
        let groups = model.groups.iter().filter(move |group| groups && group.pool == pool).map(|group| &group.name);
        let sites = own.sites.iter().map(|&SiteId(site)| &model.sites[site].name);
        std::iter::once(&own.name).chain(groups).chain(sites)
    }

    /// A cookie's domain that does not hold a name which needs it.
    fn beyond(&mut self, part: &Part, key: &str, span: Range<usize>, domain: &str, name: Option<Name>) {
        let Some(name) = name else { return };
        if self.told.insert((span.start, usize::MAX)) {
            self.error(part, span, format!("{name} is not below {domain}, the domain of `{key}`"))
                .label("its cookie is lost there")
                .help(format!("give a domain that the pool's names are all below; for Sites of another pool, a `{key}` in each [web.SITE]"));
        }
    }

    /// Warns of what the certificates lack, where they are on this machine.
    fn certificates(&mut self, site: &'a Site, parts: &Parts<'a, Part>, web: &Web, now: i64) {
        let Some((tls, part)) = parts.get(|part| part.tls.as_ref()) else { return };
        // Whose the folder is makes no difference; what names it is to have does.
        if !self.told.insert((tls.span.start, usize::MAX - site.pool.0)) {
            return;
        }
        let found = match certificates::in_folder(&tls.certificates) {
            Ok(None) => return,
            Ok(Some(found)) => found,
            Err(why) => {
                let message = format!("{}: {why}", part.header.0);
                self.report.warn(tls.span.clone(), message).help("`zerottl site` does not start so");
                return;
            }
        };
        let names = self.names_of(site.pool, true).map(ToString::to_string).chain(web.aliases.iter().cloned());
        let (mut lacking, mut count) = (Vec::new(), 0);
        for name in names.filter(|name| !found.iter().any(|one| one.is_for(name))) {
            count += 1;
            if lacking.len() < NAMES_SHOWN {
                lacking.push(name);
            }
        }
        if count > 0 {
            let more =
                if count > lacking.len() { format!(" and {} more", count - lacking.len()) } else { String::new() };
            let message = format!("{}: no certificate is for {}{more}", part.header.0, lacking.join(", "));
            self.report.warn(tls.span.clone(), message).help(
                "add one, or a wildcard: every Site is asked by all names of its pool, also by those of Sites that have died",
            );
        }
        for one in found {
            let left = one.ends.saturating_sub(now);
            if left < EXPIRES_SOON {
                let when = if left < 0 { "has ended".into() } else { format!("ends in {} days", left / 86_400) };
                let message = format!("{}: the certificate {} {when}", part.header.0, one.file.display());
                self.report.warn(tls.span.clone(), message).help("renew it; SIGHUP has `zerottl site` read it anew");
            }
        }
    }

    fn rules(&mut self, site: &Site, parts: &Parts<'a, Part>) {
        let Some((part, rules)) = parts.own.and_then(|part| Some((part, part.rules.as_ref()?))) else { return };
        for (group, _) in rules {
            let of = &self.model.groups[group.get_ref().0];
            if of.pool != site.pool {
                let (name, pool) = (&of.name, &self.model.pools[site.pool.0].name);
                self.error(part, group.span(), format!("group {name} is not of pool {pool}, whose Site this is"))
                    .help("name a group of the Site's pool");
            }
        }
    }

    fn error(&mut self, part: &Part, span: Range<usize>, message: impl fmt::Display) -> &mut super::report::Problem {
        self.report.error(span, format!("{}: {message}", part.header.0))
    }
}
