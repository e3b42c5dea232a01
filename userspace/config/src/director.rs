//! `[director]` and `[director.SITE]`: the application servers of the Sites, and what leads connections to them.
//!
//! As in [`web`](super::web), a table's values are read once ([`part`], [`server`]), and each Site gets those of its own
//! table before those for all. A Site that no servers are named for has no director.

mod part;
mod server;

use std::{
    collections::{HashMap, HashSet},
    fmt,
    net::SocketAddr,
    ops::Range,
    path::Path,
    sync::Arc,
};

use toml::Spanned;

use self::{part::DirectorPart, server::ServerPart};
use super::{
    by_site::{Parts, told_apart},
    places::{default_admin, overlap},
    raw,
    report::{Problem, Reporter},
    tables::section,
    values::Reader,
};
use zerottl_core::model::{AdminListen, Director, LISTEN_MAX, Model, ServerCommand, Site, Web};

/// One for each Site, by position; none where the file has no `[director]`, or is refused anyway.
pub(super) fn directors(report: &mut Reporter, file: &raw::File, model: &Model) -> Vec<Option<Arc<Director>>> {
    let Some(raw) = &file.director else { return Vec::new() };
    told_apart::<raw::DirectorKeys>(report, file, "director");
    let has_web = file.web.is_some();
    let mut reader = Reader { report, section: "[director]".into(), header: raw.span() };
    let shared = DirectorPart::read(&mut reader, &raw.get_ref().shared, has_web);
    if let Some(list) = raw.get_ref().shared.server.as_ref().filter(|list| list.get_ref().is_empty()) {
        reader.error(list.span(), "`server` is empty").label("no entries").help("name at least one");
    }
    let mut own = HashMap::new();
    let mut spoiled = report.is_spoiled("[director]", "server");
    for (key, raw) in &raw.get_ref().sites {
        let header = section(&["director", key.get_ref()]);
        spoiled |= report.is_spoiled(&header, "server");
        let mut reader = Reader { report, section: header, header: key.span() };
        own.insert(key.get_ref().as_str(), DirectorPart::read(&mut reader, raw, has_web));
    }
    if !spoiled && shared.servers.is_none() && own.values().all(|part| part.servers.is_none()) {
        report
            .error(raw.span(), "[director]: no server is named")
            .help("add [[director.server]] with its name and command, or [[director.SITE.server]] for one Site");
    }
    // With errors, entries were left out that the checks below would miss.
    if report.errors() > 0 {
        return Vec::new();
    }
    let mut whole = Whole { report, model, told: HashSet::new() };
    let directors = model.sites.iter().enumerate().map(|(i, site)| {
        let parts = Parts { own: own.get(site.key.as_str()), shared: &shared };
        whole.director(site, &parts, model.web.get(i).map(Arc::as_ref)).map(Arc::new)
    });
    directors.collect()
}

/// Checks of what only shows when a Site's values are all there. What two Sites share is told once.
struct Whole<'a> {
    report: &'a mut Reporter,
    model: &'a Model,
    /// Pairs of places in the file.
    told: HashSet<(usize, usize)>,
}

impl<'a> Whole<'a> {
    /// None where no servers are named for the Site.
    fn director(&mut self, site: &Site, parts: &Parts<'a, DirectorPart>, web: Option<&Web>) -> Option<Director> {
        let Some((servers, _)) = parts.get(|part| part.servers.as_ref()) else {
            if let Some(own) = parts.own {
                self.error(own, own.header.1.clone(), 0, "no server is named").help(format!(
                    "add [[director.{}.server]] with its name and command, or [[director.server]] for all Sites",
                    site.key
                ));
            }
            return None;
        };
        if servers.is_empty() {
            return None;
        }
        let listen = self.listen(site, parts, web);
        let admin = parts.get(|part| part.admin.as_ref());
        let director = Director {
            encrypted: listen.iter().copied().filter(|&at| speaks_tls(at, web)).collect(),
            listen,
            policy: parts.value(|part| part.policy.as_ref(), Default::default),
            affinity: parts.get(|part| part.affinity.as_ref()).map(|(affinity, _)| *affinity),
            waiting: parts.value(|part| part.waiting.as_ref(), Default::default),
            drain_timeout: parts.value(|part| part.drain_timeout.as_ref(), Director::default_drain_timeout),
            slow_start: parts.value(|part| part.slow_start.as_ref(), Default::default),
            restart: parts.value(|part| part.restart.as_ref(), Default::default),
            admin: match admin {
                Some((admin, _)) => *admin.get_ref(),
                None => web.map_or_else(|| Some(default_admin()), |web| web.admin),
            },
            control: parts.value(|part| part.control.as_ref().map(Spanned::get_ref), Director::default_control),
            pins: parts.value(|part| part.pins.as_ref().map(Spanned::get_ref), Director::default_pins),
            servers: servers.iter().map(|server| server.config.clone()).collect(),
        };
        self.sites_processes(site, parts, servers, &director, web);
        self.admin(parts, &director, web);
        self.paths(parts, &director);
        Some(director)
    }

    fn listen(&mut self, site: &Site, parts: &Parts<'a, DirectorPart>, web: Option<&Web>) -> Vec<SocketAddr> {
        if let Some((list, _)) = parts.get(|part| part.listen.as_ref()) {
            return list.iter().map(|place| *place.get_ref()).collect();
        }
        let part = parts.own.unwrap_or(parts.shared);
        let at = part.header.1.clone();
        let listen: Vec<SocketAddr> = web.map(places_of).unwrap_or_default();
        if listen.is_empty() {
            let why = if web.is_some() { "[web] listens nowhere there" } else { "there is no [web]" };
            self.error(part, at, usize::MAX, format!("Site {} has no `listen`, and {why}", site.key))
                .help("say where connections come to, such as `listen = [\"0.0.0.0:8080\", \"[::]:8080\"]`");
        } else if listen.len() > LISTEN_MAX {
            let message = format!("[web] listens at {} places of Site {}", listen.len(), site.key);
            self.error(part, at, usize::MAX, message).help(format!("give `listen`, with at most {LISTEN_MAX}"));
        }
        listen
    }

    /// Checks what `zerottl site` demands as a server.
    fn sites_processes(
        &mut self,
        site: &Site,
        parts: &Parts<'a, DirectorPart>,
        servers: &'a [ServerPart],
        director: &Director,
        web: Option<&Web>,
    ) {
        let Some(web) = web else { return };
        let fronts: Vec<_> = servers.iter().filter(|server| server.config.command == ServerCommand::Site).collect();
        let Some(first) = fronts.first() else { return };
        let part = parts.get(|part| part.servers.as_ref()).map_or(parts.shared, |(_, part)| part);
        let processes: u32 = fronts.iter().map(|server| server.config.count).sum();
        let at = || {
            let several = fronts.iter().find(|server| server.config.count > 1);
            let at = several.map_or(&fronts[fronts.len() - 1].at, |of| of.count_at.as_ref().unwrap_or(&of.at));
            at.clone()
        };
        if processes > 1 && web.session.key.is_none() {
            let message =
                format!("Site {}: {processes} processes of `zerottl site`, and [web.session] has no `key`", site.key);
            self.error(part, at(), 0, message)
                .label("each would sign with a key of its own")
                .help("name a `key` file there: a session that one process makes must be known to the others");
        }
        if processes > 1 && web.session.journal.is_some() {
            let message = format!(
                "Site {}: {processes} processes of `zerottl site`, and [web.session] has a `journal`",
                site.key
            );
            self.error(part, at(), 1, message)
                .label("each would have sessions of its own")
                .help("name session servers by `servers` there instead: a session that one process makes must be known to the others");
        }
        let others = fronts.iter().find(|server| server.config.user.is_some());
        if let Some(server) = others.filter(|_| processes > 1 && !web.session.servers.is_empty()) {
            let message = format!(
                "Site {}: processes of `zerottl site` run as another user, and [web.session] has `servers`",
                site.key
            );
            self.warn(part, server.at.clone(), 2, message).label("they do not reach each other").help(
                "take `user` out, unless it is the director's own: they ask each other for sessions by sockets that are its user's alone, and a request that comes to another process than its session's is answered with 503",
            );
        }
        if let Some((list, part)) = parts.get(|part| part.listen.as_ref()) {
            let places = places_of(web);
            let message = match (
                list.iter().find(|place| !places.contains(place.get_ref())),
                places.iter().find(|place| !director.listen.contains(place)),
            ) {
                (Some(place), _) => format!("{} is not where [web] listens at Site {}", place.get_ref(), site.key),
                (None, Some(place)) => format!("{place}, where [web] listens at Site {}, is not in it", site.key),
                (None, None) => return,
            };
            let at = list.first().map_or(part.header.1.clone(), Spanned::span);
            self.error(part, at, 0, format!("`listen`: {message}"))
                .also(first.at.clone(), "`zerottl site` listens where [web] does")
                .help("take `listen` out: it is where [web] listens unless given");
        }
    }

    fn admin(&mut self, parts: &Parts<'a, DirectorPart>, director: &Director, web: Option<&Web>) {
        let Some(at) = director.admin else { return };
        let given = parts.get(|part| part.admin.as_ref());
        let part = given.map_or(parts.own.unwrap_or(parts.shared), |(_, part)| part);
        let span = given.map_or(part.header.1.clone(), |(admin, _)| admin.span());
        if let Some(place) = director.listen.iter().find(|&&place| overlap(place, at)) {
            let message = if *place == at {
                format!("`admin` is {at}, where connections come to")
            } else {
                format!("`admin` {at} and {place}, where connections come to, overlap")
            };
            self.error(part, span, 1, message).help("give `admin` a place of its own");
            return;
        }
        let agent = self.model.admin.listen.iter().find_map(|place| match place {
            AdminListen::Tcp(place) if overlap(*place, at) => Some(*place),
            _ => None,
        });
        if let Some(place) = agent {
            self.warn(part, span.clone(), 2, format!("`admin` is {at}, and an agent listens at {place}"))
                .help("give `admin` a port of its own, or be sure that no agent runs at the Site");
        }
        // A Site's front that listens elsewhere, and is no server of the director, runs by itself.
        let by_itself = |web: &&Web| {
            !director.listen.is_empty()
                && director.servers.iter().all(|server| server.command != ServerCommand::Site)
                && !places_of(web).iter().any(|&place| director.listen.iter().any(|&own| overlap(own, place)))
        };
        if web.filter(by_itself).is_some_and(|web| web.admin.is_some_and(|place| overlap(place, at))) {
            self.warn(part, span, 3, format!("`admin` is {at}, and `zerottl site` listens there, too"))
                .help("give one of them another place, such as `admin = \"127.0.0.1:8055\"`");
        }
    }

    fn paths(&mut self, parts: &Parts<'a, DirectorPart>, director: &Director) {
        let whose = |span: Option<(Range<usize>, &'a DirectorPart)>| {
            span.unwrap_or_else(|| (parts.shared.header.1.clone(), parts.shared))
        };
        let is_control = |place: &AdminListen| matches!(place, AdminListen::Unix(path) if *path == director.control);
        if self.model.admin.listen.iter().any(is_control) {
            let control = parts.get(|part| part.control.as_ref()).map(|(control, part)| (control.span(), part));
            let (span, part) = whose(control);
            let message = format!("`control` is {}, where [admin] listens", director.control.display());
            self.error(part, span, 4, message).help("give it a path of its own");
        }
        let (own, agents): (&Path, &Path) = (&director.pins, &self.model.life.pins);
        if own.starts_with(agents) || agents.starts_with(own) {
            let pins = parts.get(|part| part.pins.as_ref()).map(|(pins, part)| (pins.span(), part));
            let (span, part) = whose(pins);
            let message = format!("`pins` is {}, and the agent's are in {}", own.display(), agents.display());
            self.error(part, span, 5, message).help("give a folder that is neither within the other");
        }
    }

    /// `what` tells apart what is said of one place.
    fn error(&mut self, part: &DirectorPart, span: Range<usize>, what: usize, said: impl fmt::Display) -> Said<'_> {
        let is_new = self.told.insert((span.start, what));
        Said(is_new.then(|| self.report.error(span, format!("{}: {said}", part.header.0))))
    }

    fn warn(&mut self, part: &DirectorPart, span: Range<usize>, what: usize, said: impl fmt::Display) -> Said<'_> {
        let is_new = self.told.insert((span.start, what));
        Said(is_new.then(|| self.report.warn(span, format!("{}: {said}", part.header.0))))
    }
}

/// A problem, unless it has been told already.
struct Said<'a>(Option<&'a mut Problem>);

impl Said<'_> {
    fn help(mut self, text: impl Into<String>) -> Self {
        if let Some(problem) = &mut self.0 {
            problem.help(text);
        }
        self
    }

    fn label(mut self, text: &str) -> Self {
        if let Some(problem) = &mut self.0 {
            problem.label(text);
        }
        self
    }

    fn also(mut self, span: Range<usize>, text: &str) -> Self {
        if let Some(problem) = &mut self.0 {
            problem.also(span, text);
        }
        self
    }
}

/// Where a Site's front listens, plain and TLS.
fn places_of(web: &Web) -> Vec<SocketAddr> {
    web.listen.iter().chain(web.tls.iter().flat_map(|tls| &tls.listen)).copied().collect()
}

/// Whether clients speak TLS to a place: then nobody but the server can answer them.
fn speaks_tls(at: SocketAddr, web: Option<&Web>) -> bool {
    let among = |list: &[SocketAddr]| list.iter().any(|&place| overlap(place, at));
    let tls = web.and_then(|web| web.tls.as_ref()).is_some_and(|tls| among(&tls.listen));
    tls || at.port() == Director::HTTPS && !web.is_some_and(|web| among(&web.listen))
}
