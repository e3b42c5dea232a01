//! Operation 500 at run time: what it needs to know of a request, the decision, and what the decision changes.

use std::{
    borrow::Cow,
    fmt::{self, Write as _},
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderName, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, HOST},
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::Full;
use serde_json::Value;
use tracing::{debug, warn};

use super::{
    busy::{Ask, Guard, Limits, Overload},
    cookies::{self, Cookie},
    decide::{Decision, Facts, Outcome, Path, Redirect, Refusal, Rules, decide},
    defer::{Deferrals, Standing},
    forwarded,
    group::{Asked, Groups},
    host,
    marker::{self, COOKIES_ASKED, Found, Marker, Markers, Mode},
    metrics::{FrontCounters, Metrics, Now},
    peers::PeerHealth,
    place::Place,
    respond::{self, Page},
    session::{CookieSessions, Session, Sessions, read_key},
};
use crate::admin::metrics::Format;
use crate::model::{GroupId, LoadKind, MarkerMode, Model, ProbeKind, SiteId, Web};

/// Marker cookies that are looked at, in one request.
const MARKERS_MAX: usize = 4;
/// The log says so often that the hop limit is reached, seconds; each time counts in the metrics.
const ALARM_EVERY: u64 = 60;

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// Who asks: the other end of the connection.
    pub client: IpAddr,
    /// Whether by TLS.
    pub secure: bool,
    /// The server's name in the TLS handshake, lower case.
    pub server_name: Option<&'a str>,
}

/// What becomes of a request, and how it came to that.
#[derive(Debug)]
pub struct Judged {
    /// What is to be done.
    pub verdict: Verdict,
    /// Whom it is taken for, by those who are believed.
    pub client: IpAddr,
    /// The decision's kind; none if it passes operation 500 by, as probes do.
    pub outcome: Option<Outcome>,
    /// The stages it went through.
    pub path: Path,
    /// The group it belongs to, if anything told.
    pub proper: Option<GroupId>,
    /// Why it is refused, if it is.
    pub refusal: Option<Refusal>,
}

/// What is to be done with a request.
#[derive(Debug)]
pub enum Verdict {
    /// The application serves it.
    Serve(Pass),
    /// It is answered here.
    Respond(Page),
}

/// What goes with a request to the application, and with its response.
#[derive(Debug)]
pub struct Pass {
    /// What it is to be asked for: the target without the marker, if there was one.
    pub target: Option<PathAndQuery>,
    /// For the response.
    pub cookies: Vec<HeaderValue>,
    /// Dropped when the response's body has ended.
    pub guard: Guard,
}

/// What does not go through operation 500: probes that DNS decides by, and the load report.
#[derive(Clone, Debug, Default)]
struct Exempt {
    probe: Option<String>,
    load: Option<String>,
}

/// Operation 500 at one Site.
pub struct Gate {
    place: Place,
    rules: Rules,
    markers: Markers,
    /// In mode `cookie`, its domain.
    domain: Option<String>,
    groups: Groups,
    sessions: Arc<dyn Sessions>,
    overload: Arc<dyn Overload>,
    deferrals: Arc<Deferrals>,
    peers: PeerHealth,
    metrics: Arc<Metrics>,
    /// When the hop limit was last said to be reached, in parts of [`ALARM_EVERY`].
    alarmed: AtomicU64,
    exempt: Exempt,
    web: Arc<Web>,
}

impl fmt::Debug for Gate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Gate").field("site", &self.place.own_name()).finish_non_exhaustive()
    }
}

/// A request as operation 500 sees it.
struct Seen<'a> {
    scheme: &'static str,
    client: IpAddr,
    authority: Option<Cow<'a, str>>,
    /// That of the authority.
    port: Option<u16>,
    target: &'a str,
    found: Found<'a>,
    session: Session,
    proper: Option<GroupId>,
    share: f64,
    /// Whether it may come to stage 550.
    may_stay: bool,
    now: u64,
}

impl Seen<'_> {
    /// The same scheme and port, another host (S4-5A-505, S4-5A-535).
    fn url(&self, host: &str, target: &str) -> String {
        let mut url = String::with_capacity(self.scheme.len() + host.len() + target.len() + "://:65535".len());
        url.push_str(self.scheme);
        url.push_str("://");
        url.push_str(host);
        if let Some(port) = self.port {
            // Writing into a String does not fail.
            let _ = write!(url, ":{port}");
        }
        url.push_str(target);
        url
    }
}

impl Gate {
    /// As a configuration has it, with sessions by cookie and the default limits. Reads the key files; the error is a
    /// sentence.
    pub fn new(model: &Model, site: SiteId, peers: PeerHealth) -> Result<Self, String> {
        let web = model.web.get(site.0).ok_or("the configuration has no [web]")?;
        let sessions = CookieSessions::new(&web.session, &model.sites[site.0].name.to_string())?;
        Self::with(model, site, peers, Arc::new(sessions), Arc::new(Limits::new(&web.busy)))
    }

    /// By another configuration of the same Site. Sessions, requests under way and keys go on where what they are
    /// configured by has not changed.
    pub fn renewed(&self, model: &Model, site: SiteId, peers: PeerHealth) -> Result<Self, String> {
        let web = model.web.get(site.0).ok_or("the configuration has no [web]")?;
        let mut next = Self::new(model, site, peers)?;
        next.metrics = Arc::clone(&self.metrics);
        if web.session == self.web.session && next.place.own_name() == self.place.own_name() {
            next.sessions = Arc::clone(&self.sessions);
        }
        if web.busy == self.web.busy {
            next.overload = Arc::clone(&self.overload);
            next.deferrals = Arc::clone(&self.deferrals);
        }
        Ok(next)
    }

    /// The same with another idea of what a session is, and of when the Site is too busy.
    pub fn with(
        model: &Model,
        site: SiteId,
        peers: PeerHealth,
        sessions: Arc<dyn Sessions>,
        overload: Arc<dyn Overload>,
    ) -> Result<Self, String> {
        let web = model.web.get(site.0).ok_or("the configuration has no [web]")?;
        let key = web.marker.key.as_deref().map(read_key).transpose()?;
        let (mode, domain) = match &web.marker.mode {
            MarkerMode::Path => (Mode::Path, None),
            MarkerMode::Query => (Mode::Query, None),
            MarkerMode::Cookie { domain } => (Mode::Cookie, Some(domain.clone())),
        };
        let here = &model.sites[site.0];
        let probe = here.probe.as_ref().and_then(|probe| match &probe.kind {
            ProbeKind::Http(http) => Some(http.path.clone()),
            ProbeKind::Tcp => None,
        });
        let load = here.load.as_ref().and_then(|load| match &load.kind {
            LoadKind::Http(_, http) => Some(http.path.clone()),
            _ => None,
        });
        let place = Place::of(model, site);
        Ok(Self {
            place,
            rules: Rules { lifetime: web.marker.lifetime, skew: web.marker.skew, overflow: web.overflow },
            markers: Markers::new(mode, key.as_deref()),
            domain,
            groups: Groups::new(model, site, web),
            sessions,
            overload,
            deferrals: Arc::new(Deferrals::new(web.busy.retry)),
            peers,
            metrics: Arc::default(),
            alarmed: AtomicU64::default(),
            exempt: Exempt { probe, load },
            web: Arc::clone(web),
        })
    }

    /// What becomes of a request.
    #[must_use]
    pub fn judge(&self, head: &Parts, connection: &Connection<'_>) -> Judged {
        let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let client = connection.client;
        let exempt =
            |verdict| Judged { verdict, client, outcome: None, path: Path::default(), proper: None, refusal: None };
        if self.exempt.probe.as_deref() == Some(target) {
            let pass = Pass { target: None, cookies: Vec::new(), guard: Guard::none() };
            return exempt(Verdict::Serve(pass));
        }
        if self.exempt.load.as_deref() == Some(target) {
            return exempt(Verdict::Respond(self.load_report()));
        }
        let seen = self.see(head, connection, unix_now());
        let up = self.up();
        let key = seen.found.marker.and_then(|marker| marker.key);
        let standing = key.map_or(Standing::Unknown, |key| self.claimed(key, &seen));
        let (decision, path) = self.decide(&seen, head, connection, standing, &up);
        let outcome = decision.outcome();
        self.metrics.decided(path.iter(), &decision);
        debug!(
            stages = %Stages(&path), outcome = outcome.name(), host = seen.authority.as_deref(), target = seen.target,
            client = %seen.client, "decided"
        );
        let refusal = match decision {
            Decision::Refuse(refusal) => Some(refusal),
            _ => None,
        };
        let verdict = match decision {
            Decision::Bypass => self.serve_in_session(&seen, head),
            Decision::Admit { despite } => {
                if standing == Standing::Due {
                    self.metrics.redeemed();
                }
                self.admit(&seen, head, despite)
            }
            Decision::Redirect(redirect) => Verdict::Respond(self.redirect(&seen, head, &redirect)),
            Decision::Busy => Verdict::Respond(self.busy(&seen, head, standing)),
            Decision::Refuse(refusal) => Verdict::Respond(respond::refuse(refusal)),
        };
        Judged { verdict, client: seen.client, outcome: Some(outcome), path, proper: seen.proper, refusal }
    }

    /// What a key is worth to this request. One that holds is taken here, before anything is decided by it, so that of two
    /// requests which show it at once only one goes first; who is turned away all the same gets another.
    fn claimed(&self, key: &str, seen: &Seen<'_>) -> Standing {
        match self.deferrals.standing(key, seen.now) {
            Standing::Due if !matches!(seen.session, Session::None) => Standing::Unknown,
            Standing::Due if !self.deferrals.redeem(key) => Standing::Unknown,
            standing => standing,
        }
    }

    /// Which Sites are up, by their places.
    #[must_use]
    pub fn up(&self) -> Arc<[bool]> {
        self.peers.up()
    }

    /// Collects what is to be known. Forwarded headers are believed from trusted proxies alone.
    fn see<'a>(&self, head: &'a Parts, connection: &Connection<'_>, now: u64) -> Seen<'a> {
        let headers = &head.headers;
        let is_trusted = |ip: IpAddr| forwarded::is_trusted(ip, &self.web.trusted_proxies);
        let by_proxy = is_trusted(connection.client);
        let said = |name: &HeaderName| {
            if !by_proxy {
                return None;
            }
            let value = headers.get_all(name).iter().next_back()?;
            value.to_str().ok()?.rsplit(',').next().map(str::trim)
        };
        let secure = match said(&forwarded::PROTO) {
            Some(scheme) => scheme.eq_ignore_ascii_case("https"),
            None => connection.secure,
        };
        let client =
            if by_proxy { forwarded_client(headers, connection.client, is_trusted) } else { connection.client };
        let authority = match said(&forwarded::HOST) {
            Some(host) => Some(Cow::Borrowed(host)),
            None => authority(head),
        };
        let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let cookie = (self.markers.mode == Mode::Cookie)
            .then(|| {
                cookies::values(headers, marker::COOKIE).take(MARKERS_MAX).find_map(|v| std::str::from_utf8(v).ok())
            })
            .flatten();
        let found = self.markers.find(target, cookie);
        let session = self.sessions.find(headers, now, secure);
        let is_new = matches!(session, Session::None);
        let parsed = authority.as_deref().filter(|_| is_new || found.was_marked).and_then(host::parse);
        let port = parsed.as_ref().and_then(|host| host.port);
        let host = parsed.as_ref().map_or("", |host| &host.name);
        let may_stay = is_new && (authority.is_none() || host == self.place.own_name());
        let (proper, share) = if is_new {
            let asked = Asked { client, headers, path: marker::split(&found.clean).0, host };
            (self.groups.proper(&asked), self.groups.share(&asked))
        } else {
            (None, 1.0)
        };
        let scheme = if secure { "https" } else { "http" };
        Seen { scheme, client, authority, port, target, found, session, proper, share, may_stay, now }
    }

    fn decide<'a>(
        &'a self,
        seen: &'a Seen<'_>,
        head: &Parts,
        connection: &Connection<'a>,
        standing: Standing,
        up: &'a [bool],
    ) -> (Decision<'a>, Path) {
        let in_session = !matches!(seen.session, Session::None);
        let is_due = standing == Standing::Due;
        let busy = seen.may_stay
            && (matches!(standing, Standing::Early { .. })
                || self.overload.is_busy(Ask {
                    share: seen.share,
                    returns: is_due,
                    sessions: self.sessions.active(seen.now),
                    reserved: if is_due { 0 } else { self.deferrals.due(seen.now) },
                }));
        let facts = Facts {
            in_session,
            version: head.version,
            authority: seen.authority.as_deref(),
            server_name: connection.server_name,
            found: &seen.found,
            by_cookie: self.markers.mode == Mode::Cookie,
            now: seen.now,
            proper: seen.proper.and_then(|id| self.place.group(id)),
            busy,
            waiting: standing != Standing::Unknown,
            up,
        };
        decide(&self.place, &self.rules, &facts)
    }

    /// S4-5A-GATE: served as it would be without any of this. Only who was asked whether it keeps cookies is told where the
    /// page is, now that it does (C18).
    fn serve_in_session(&self, seen: &Seen<'_>, head: &Parts) -> Verdict {
        let renewed = match &seen.session {
            Session::Active { renew } => renew.clone(),
            Session::None => None,
        };
        let cookies = Vec::from_iter(renewed);
        let was_asked = seen.found.marker.is_some_and(|marker| marker.key == Some(COOKIES_ASKED));
        if was_asked && respond::is_read(&head.method) {
            return Verdict::Respond(respond::see_other(seen.url(self.place.own_name(), &seen.found.clean), cookies));
        }
        self.serve(seen, cookies)
    }

    /// Stage 588.
    fn admit(&self, seen: &Seen<'_>, head: &Parts, despite: bool) -> Verdict {
        let secure = seen.scheme == "https";
        let marker = seen.found.marker.unwrap_or_default();
        // Whoever makes such requests on purpose is not to fill the log.
        if despite && self.alarmed.swap(seen.now / ALARM_EVERY, Relaxed) != seen.now / ALARM_EVERY {
            warn!(
                client = %seen.client, target = seen.target, hops = marker.hops,
                "admitted at the hop limit: are the clocks of all Sites right, and their configurations the same?"
            );
        }
        self.deferrals.admitted(seen.now);
        let mut cookies = Vec::from_iter(self.sessions.start(seen.now, secure));
        let group = marker.group.and_then(|name| self.place.group_named(name)).and_then(|at| self.place.id(at));
        let group = group.or(seen.proper).or_else(|| self.place.primary.and_then(|at| self.place.id(at)));
        if let Some(group) = group.filter(|group| self.groups.flagged(&head.headers) != Some(*group)) {
            cookies.extend(self.groups.flag(group, secure));
        }
        // Who keeps no cookies would come back without a session for ever, so it is asked first.
        let should_clean = self.web.clean_url || marker.hops > 0;
        let can_ask = seen.found.was_marked && marker.key != Some(COOKIES_ASKED) && self.markers.mode != Mode::Cookie;
        if should_clean && can_ask && respond::is_read(&head.method) && !cookies.is_empty() {
            let asking = Marker { at: seen.now, key: Some(COOKIES_ASKED), ..marker };
            let location = seen.url(self.place.own_name(), &self.markers.add(&seen.found.clean, &asking));
            return Verdict::Respond(respond::see_other(location, cookies));
        }
        self.serve(seen, cookies)
    }

    fn serve(&self, seen: &Seen<'_>, cookies: Vec<HeaderValue>) -> Verdict {
        let clean = (seen.found.clean != seen.target).then(|| PathAndQuery::try_from(seen.found.clean.as_ref()));
        let Ok(target) = clean.transpose() else {
            return Verdict::Respond(respond::refuse(Refusal::BadTarget));
        };
        Verdict::Serve(Pass { target, cookies, guard: self.overload.begin() })
    }

    fn redirect(&self, seen: &Seen<'_>, head: &Parts, redirect: &Redirect<'_>) -> Page {
        let mut cookies = Vec::new();
        let target = match (&redirect.marker, &self.domain) {
            (None, _) => Cow::Borrowed(&*seen.found.clean),
            (Some(marker), None) => Cow::Owned(self.markers.add(&seen.found.clean, marker)),
            (Some(marker), Some(domain)) => {
                if marker.at > 0 {
                    let (value, max_age) = (self.markers.cookie(marker), self.rules.lifetime + self.rules.skew);
                    let secure = seen.scheme == "https";
                    let (name, domain) = (marker::COOKIE, Some(domain.as_str()));
                    cookies.extend(Cookie { name, value: &value, domain, max_age, secure }.header());
                }
                let counted = Marker { hops: marker.hops, ..Marker::default() };
                if marker.hops > 0 {
                    Cow::Owned(self.markers.add(&seen.found.clean, &counted))
                } else {
                    Cow::Borrowed(&*seen.found.clean)
                }
            }
        };
        respond::redirect(seen.url(redirect.host, &target), &head.method, self.web.redirect, cookies)
    }

    /// Stage 570: when to return, with a key that goes first then (S4-5B-DEFER).
    fn busy(&self, seen: &Seen<'_>, head: &Parts, standing: Standing) -> Page {
        let key = seen.found.marker.and_then(|marker| marker.key);
        let (key, due) = if let (Standing::Early { due }, Some(key)) = (standing, key) {
            (key.to_owned(), due)
        } else {
            self.metrics.deferred();
            let deferral = self.deferrals.defer(seen.now, seen.share);
            (deferral.key, deferral.due)
        };
        let wait = due.saturating_sub(seen.now).max(1);
        let marker = Marker { at: due, key: Some(&key), ..Marker::default() };
        let target = self.markers.add(&seen.found.clean, &marker);
        let back = seen.url(self.place.own_name(), &target);
        respond::busy(self.web.busy.status, wait, respond::is_read(&head.method).then_some(&back))
    }

    /// The metrics as text; those of a front beside them where there is one.
    pub fn metrics(&self, front: Option<&FrontCounters<'_>>, format: Format) -> Result<String, fmt::Error> {
        let now = unix_now();
        let sessions = self.sessions.active(now);
        let reserved = self.deferrals.due(now);
        let up = self.up();
        let others = self.place.sites.iter().enumerate().filter(|(at, _)| *at != self.place.own);
        let peers = others.map(|(at, name)| (name.clone(), up.get(at).copied().unwrap_or(true)));
        let now = Now {
            in_flight: self.overload.in_flight(),
            is_busy: self.overload.is_busy(Ask { share: 1.0, returns: false, sessions, reserved }),
            sessions,
            keys_due: reserved,
            peers: peers.collect(),
        };
        self.metrics.text(&now, front, format)
    }

    /// The Site's load as the DNS side's agents read it ([`load::report`](crate::load::report)).
    #[must_use]
    pub fn report(&self) -> Value {
        self.overload.report(self.sessions.active(unix_now()))
    }

    /// The same as a response.
    #[must_use]
    pub fn load_report(&self) -> Page {
        let report = self.report().to_string();
        let mut response = Response::new(Full::new(Bytes::from(report)));
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// The Site's place among the others.
    #[must_use]
    pub fn place(&self) -> &Place {
        &self.place
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// The host a request is for: the target's, or else the `Host` header's (RFC 9112 section 3.2.2). Two are none that can be
/// believed.
fn authority(head: &Parts) -> Option<Cow<'_, str>> {
    if let Some(authority) = head.uri.authority() {
        return Some(Cow::Borrowed(authority.as_str()));
    }
    let mut hosts = head.headers.get_all(HOST).iter();
    let host = hosts.next()?;
    if hosts.next().is_some() { Some(Cow::Borrowed("")) } else { Some(String::from_utf8_lossy(host.as_bytes())) }
}

/// The last address that no trusted proxy has.
fn forwarded_client(headers: &HeaderMap, mut client: IpAddr, is_trusted: impl Fn(IpAddr) -> bool) -> IpAddr {
    let values = headers.get_all(forwarded::FOR).iter().rev().filter_map(|value| value.to_str().ok());
    for text in values.flat_map(|value| value.rsplit(',')) {
        let Ok(address) = text.trim().parse() else { break };
        client = address;
        if !is_trusted(client) {
            break;
        }
    }
    client
}

struct Stages<'a>(&'a Path);

impl fmt::Display for Stages<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().enumerate().try_for_each(|(at, stage)| {
            let arrow = if at == 0 { "" } else { ">" };
            write!(f, "{arrow}{}", stage.number())
        })
    }
}

#[cfg(test)]
#[path = "tests_gate.rs"]
mod tests;
