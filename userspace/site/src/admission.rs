//! Operation 500 at run time: what it needs to know of a request, the decision, and what the decision changes.

use std::{
    borrow::Cow,
    fmt,
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use http::{
    HeaderMap, HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, UPGRADE},
    request::Parts,
    uri::PathAndQuery,
};
use http_body_util::Full;
use serde_json::Value;
use tracing::{debug, warn};

use super::{
    clients::ClientShares,
    cookies::{self, Cookie},
    decide::{Decision, DecisionKind, Facts, Path, Redirect, Rules, decide},
    exempt::{Exempt, Exempts},
    forwarded,
    group::{GroupRequest, Groups},
    host,
    marker::{self, COOKIES_ASKED, Marker, MarkerCarrier, Markers},
    metrics::{Metrics, Now},
    name,
    overload::{Ask, Guard, Overload},
    peers::PeerHealth,
    refusal::Refusal,
    respond::{self, Page},
    seen::{Seen, authority},
    session::{Session, SessionClient, SessionEpochs, SessionRef, Sessions},
    topology::{Known, Topology},
    waiting_room::{Deferrals, KEYS_MAX, KeyState, Turned},
};
use prometheus_client::collector::Collector;
use zerottl_core::exposition::Format;
use zerottl_core::model::{GroupId, Web};

/// Marker cookies that are looked at, in one request.
const MARKERS_MAX: usize = 4;
/// The log says so often what may happen with every request, seconds; each time counts in the metrics.
const LOG_EVERY: u64 = 60;

/// How a request came.
#[derive(Clone, Copy, Debug)]
pub struct Connection<'a> {
    /// The client's address: the other end of the connection.
    pub client: IpAddr,
    /// Whether by TLS.
    pub secure: bool,
    /// The server's name in the TLS handshake, lower case.
    pub server_name: Option<&'a str>,
}

/// The verdict on a request, and how it came to that.
#[derive(Debug)]
pub struct Evaluation {
    /// The verdict: what is to be done.
    pub verdict: Verdict,
    /// Whom it is taken for, by those who are believed.
    pub client: IpAddr,
    /// The decision's kind; none if it passes operation 500 by, as probes, preflights and what `web.pass` lists do.
    pub outcome: Option<DecisionKind>,
    /// The stages it went through.
    pub path: Path,
    /// The group it belongs to, if anything told.
    pub proper: Option<GroupId>,
    /// Why it is refused, if it is.
    pub refusal: Option<Refusal>,
}

/// The action to take on a request.
#[derive(Debug)]
pub enum Verdict {
    /// The application serves it.
    Serve(Pass),
    /// It is answered here.
    Respond(Page),
}

/// Data that goes with a request to the application, and with its response.
#[derive(Debug)]
pub struct Pass {
    /// The target that it is to be asked for: the one without the marker, if there was one.
    pub target: Option<PathAndQuery>,
    /// For the response.
    pub cookies: Vec<HeaderValue>,
    /// Its session.
    pub session: Option<SessionRef>,
    /// Dropped when the response's body has ended.
    pub guard: Guard,
}

/// When something was last said in the log, in parts of [`LOG_EVERY`]: whoever makes such requests on purpose is not to
/// fill it.
#[derive(Debug, Default)]
struct LogPace(AtomicU64);

impl LogPace {
    fn is_due(&self, now: u64) -> bool {
        self.0.swap(now / LOG_EVERY, Relaxed) != now / LOG_EVERY
    }
}

/// Operation 500 at one Site.
pub struct Admission {
    topology: Topology,
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
    hop_limit: LogPace,
    share_full: LogPace,
    malformed: LogPace,
    exempts: Exempts,
    shares: ClientShares,
    web: Arc<Web>,
    /// For the cookies of sessions.
    epochs: Option<Arc<dyn SessionEpochs>>,
}

impl fmt::Debug for Admission {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admission").field("site", &self.topology.own_name()).finish_non_exhaustive()
    }
}

impl Admission {
    /// Decides what becomes of a request.
    #[must_use]
    pub fn evaluate(&self, head: &Parts, connection: &Connection<'_>) -> Evaluation {
        let target = head.uri.path_and_query().map_or("", PathAndQuery::as_str);
        let plain = self.markers.plain(target);
        let cookie = self.marker_cookie(&head.headers);
        let seen = self.see(head, &plain, cookie.as_deref(), connection, unix_now());
        let machines = self.exempts.machines(seen.method, target, seen.name.is_ok(), seen.authority.as_deref());
        if let Some(exempt) = machines.or_else(|| self.passed(&seen, head)) {
            let verdict = self.exempt(&seen, exempt);
            return Evaluation {
                verdict,
                client: seen.client,
                outcome: None,
                path: Path::default(),
                proper: None,
                refusal: None,
            };
        }
        let up = self.up();
        let key = seen.found.marker.and_then(|marker| marker.key);
        let key_state = key.map_or(KeyState::Unknown, |key| self.claimed(key, &seen));
        let (decision, path) = self.decide(&seen, connection, key_state, &up);
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
                if key_state == KeyState::Due {
                    self.metrics.redeemed();
                }
                self.admit(&seen, head, despite)
            }
            Decision::Redirect(redirect) => Verdict::Respond(self.redirect(&seen, head, &redirect)),
            Decision::Busy => Verdict::Respond(self.busy(&seen, head, key_state)),
            Decision::Refuse(refusal) => Verdict::Respond(respond::refuse(refusal)),
        };
        let verdict = match verdict {
            Verdict::Respond(page) => Verdict::Respond(respond::to_other_origins(&head.headers, page)),
            serve @ Verdict::Serve(_) => serve,
        };
        Evaluation { verdict, client: seen.client, outcome: Some(outcome), path, proper: seen.proper, refusal }
    }

    /// Returns what a key is worth to this request. One that holds is taken here, before anything is decided by it, so
    /// that of two requests which show it at once only one goes first; who is turned away all the same gets another.
    fn claimed(&self, key: &str, seen: &Seen<'_>) -> KeyState {
        match self.deferrals.key_state(key, seen.asker.now) {
            KeyState::Due if seen.is_in_session() => KeyState::Unknown,
            KeyState::Due if !self.deferrals.redeem(key) => KeyState::Unknown,
            key_state => key_state,
        }
    }

    /// Which Sites are up, by their places.
    #[must_use]
    pub fn up(&self) -> Arc<[bool]> {
        self.peers.up()
    }

    /// In mode `cookie`, the marker that the client kept.
    fn marker_cookie<'a>(&self, headers: &'a HeaderMap) -> Option<Cow<'a, str>> {
        if self.markers.mode != MarkerCarrier::Cookie {
            return None;
        }
        let mut values = cookies::values(headers, marker::COOKIE).take(MARKERS_MAX);
        values.find_map(|value| std::str::from_utf8(value).ok()).map(Markers::plain_value)
    }

    /// Collects what is to be known. Forwarded headers are believed from trusted proxies alone.
    fn see<'a>(
        &self,
        head: &'a Parts,
        target: &'a str,
        cookie: Option<&'a str>,
        connection: &Connection<'_>,
        now: u64,
    ) -> Seen<'a> {
        let headers = &head.headers;
        let said = forwarded::read(headers, connection.client, &self.web.trusted_proxies);
        if let Some(text) = said.malformed {
            self.metrics.malformed();
            if self.malformed.is_due(now) {
                warn!(proxy = %connection.client, text, "a trusted proxy gave a client address that is not one");
            }
        }
        let secure = said.secure.unwrap_or(connection.secure);
        let client = said.client.unwrap_or(connection.client);
        let authority = said.host.map_or_else(|| authority(head), |host| Some(Cow::Borrowed(host)));
        let parsed = authority.as_deref().and_then(host::parse);
        let name = match authority {
            Some(_) => name::parsed(&self.topology, parsed.as_ref(), head.version, connection.server_name),
            None => name::known(&self.topology, None, head.version, None),
        };
        let (net, counted_max) = (self.shares.net(client), self.shares.of(self.web.busy.sessions));
        let asker = SessionClient { net, counted_max, now, secure };
        let found = self.markers.find(target, cookie);
        // Under a name that is not ours nothing is a session's.
        let session = if name.is_ok() { self.sessions.find(headers, &asker) } else { Session::None };
        let is_new = matches!(session, Session::None);
        let port = parsed.as_ref().and_then(|host| host.port);
        let may_stay = is_new && matches!(name, Ok(None | Some(Known::Own)));
        let (proper, share) = if is_new {
            let host = parsed.as_ref().map_or("", |host| &host.name);
            let request = GroupRequest { client, headers, path: marker::split(&found.clean).0, host };
            (self.groups.proper(&request), self.groups.share(&request))
        } else {
            (None, 1.0)
        };
        let scheme = if secure { "https" } else { "http" };
        let (method, version) = (&head.method, head.version);
        Seen {
            method,
            version,
            scheme,
            client,
            authority,
            name,
            port,
            target,
            found,
            session,
            asker,
            proper,
            share,
            may_stay,
        }
    }

    /// Whether a request goes to the application whatever operation 500 would say, and without a session.
    fn passed(&self, seen: &Seen<'_>, head: &Parts) -> Option<Exempt> {
        if seen.name.is_err() || seen.is_in_session() {
            return None;
        }
        self.exempts.passed(seen.method, marker::split(&seen.found.clean).0, &head.headers)
    }

    fn exempt(&self, seen: &Seen<'_>, exempt: Exempt) -> Verdict {
        match exempt {
            Exempt::Load => return Verdict::Respond(self.load_report()),
            // It counts for nothing, as nobody waits for it.
            Exempt::Probe => {
                return Verdict::Serve(Pass { target: None, cookies: Vec::new(), session: None, guard: Guard::none() });
            }
            Exempt::Preflight => self.metrics.preflight(),
            Exempt::Listed => self.metrics.listed(),
        }
        self.serve(seen, Vec::new(), None)
    }

    /// Whether the Site is too busy for a newcomer.
    fn is_busy(&self, seen: &Seen<'_>, is_due: bool) -> bool {
        let client_sessions = self.sessions.active_of(seen.net(), seen.asker.now);
        let is_full = self.overload.is_full(seen.net()) || client_sessions >= seen.asker.counted_max;
        if is_full {
            self.metrics.share_full();
            if self.share_full.is_due(seen.asker.now) {
                warn!(
                    client = %seen.client,
                    "a client has filled its share of [web.busy]: is it a proxy, to be listed in `trusted_proxies`?"
                );
            }
        }
        self.overload.is_busy(Ask {
            share: seen.share,
            returns: is_due,
            sessions: self.sessions.active(seen.asker.now),
            reserved: if is_due { 0 } else { self.deferrals.due(seen.asker.now) },
            client: seen.net(),
            client_sessions,
        })
    }

    fn decide<'a>(
        &'a self,
        seen: &'a Seen<'_>,
        connection: &Connection<'a>,
        key_state: KeyState,
        up: &'a [bool],
    ) -> (Decision<'a>, Path) {
        let is_early = matches!(key_state, KeyState::Early { .. });
        let facts = Facts {
            in_session: seen.is_in_session(),
            version: seen.version,
            authority: seen.authority.as_deref(),
            server_name: connection.server_name,
            found: &seen.found,
            by_cookie: self.markers.mode == MarkerCarrier::Cookie,
            now: seen.asker.now,
            proper: seen.proper.and_then(|id| self.topology.group(id)),
            busy: seen.may_stay && self.rules.overflow && (is_early || self.is_busy(seen, key_state == KeyState::Due)),
            waiting: key_state != KeyState::Unknown,
            up,
        };
        decide(&self.topology, &self.rules, &facts)
    }

    /// S4-5A-GATE: served as it would be without any of this. Only who opens a URL with a marker is told where the page is
    /// without it (C18).
    fn serve_in_session(&self, seen: &Seen<'_>, head: &Parts) -> Verdict {
        let (renewed, of) = seen.session.parts();
        let cookies = Vec::from_iter(renewed);
        let was_asked = seen.found.marker.is_some_and(|marker| marker.key == Some(COOKIES_ASKED));
        let is_marked = seen.found.clean != seen.target && matches!(seen.name, Ok(None | Some(Known::Own)));
        if (was_asked || self.web.clean_url && is_marked) && can_move(head) {
            return Verdict::Respond(respond::see_other(
                seen.url(self.topology.own_name(), &seen.found.clean),
                cookies,
            ));
        }
        self.serve(seen, cookies, of)
    }

    /// Stage 588.
    fn admit(&self, seen: &Seen<'_>, head: &Parts, despite: bool) -> Verdict {
        let marker = seen.found.marker.unwrap_or_default();
        if despite && self.hop_limit.is_due(seen.asker.now) {
            warn!(
                client = %seen.client, target = seen.target, hops = marker.hops,
                "admitted at the hop limit: are the clocks of all Sites right, and their configurations the same?"
            );
        }
        self.deferrals.admitted(seen.asker.now);
        let (cookie, of) = self.sessions.begin(&seen.asker);
        let mut cookies = Vec::from_iter(cookie);
        let group = marker.group.and_then(|name| self.topology.group_named(name)).and_then(|at| self.topology.id(at));
        let group = group.or(seen.proper).or_else(|| self.topology.primary.and_then(|at| self.topology.id(at)));
        if let Some(group) = group.filter(|group| self.groups.flagged(&head.headers) != Some(*group)) {
            cookies.extend(self.groups.flag(group, seen.asker.secure));
        }
        // Who keeps no cookies would come back without a session for ever, so it is asked first.
        let should_clean = self.web.clean_url || marker.hops > 0;
        let can_ask =
            seen.found.was_marked && marker.key != Some(COOKIES_ASKED) && self.markers.mode != MarkerCarrier::Cookie;
        if should_clean && can_ask && can_move(head) && !cookies.is_empty() {
            let asking = Marker { at: seen.asker.now, key: Some(COOKIES_ASKED), ..marker };
            let location = seen.url(self.topology.own_name(), &self.markers.add(&seen.found.clean, &asking));
            return Verdict::Respond(respond::see_other(location, cookies));
        }
        self.serve(seen, cookies, of)
    }

    fn serve(&self, seen: &Seen<'_>, cookies: Vec<HeaderValue>, session: Option<SessionRef>) -> Verdict {
        let clean = (seen.found.clean != seen.target).then(|| PathAndQuery::try_from(seen.found.clean.as_ref()));
        let Ok(target) = clean.transpose() else {
            return Verdict::Respond(respond::refuse(Refusal::BadTarget));
        };
        Verdict::Serve(Pass { target, cookies, session, guard: self.overload.begin(seen.net()) })
    }

    fn redirect(&self, seen: &Seen<'_>, head: &Parts, redirect: &Redirect<'_>) -> Page {
        let mut cookies = Vec::new();
        let target = match (&redirect.marker, &self.domain) {
            (None, _) => Cow::Borrowed(&*seen.found.clean),
            (Some(marker), None) => Cow::Owned(self.markers.add(&seen.found.clean, marker)),
            (Some(marker), Some(domain)) => {
                if marker.at > 0 {
                    let (value, max_age) = (self.markers.cookie(marker), self.rules.lifetime + self.rules.skew);
                    let (name, domain) = (marker::COOKIE, Some(domain.as_str()));
                    let (secure, same_site) = (seen.asker.secure, self.web.session.same_site);
                    cookies.extend(Cookie { name, value: &value, domain, max_age, secure, same_site }.header());
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
    fn busy(&self, seen: &Seen<'_>, head: &Parts, key_state: KeyState) -> Page {
        let shown = seen.found.marker.and_then(|marker| marker.key);
        let (key, due) = if let (KeyState::Early { due }, Some(key)) = (key_state, shown) {
            (Some(key.to_owned()), due)
        } else {
            let whom = Turned { share: seen.share, client: seen.net(), keys_max: self.keys_max() };
            let deferral = self.deferrals.defer(seen.asker.now, &whom);
            if deferral.key.is_some() {
                self.metrics.deferred();
            }
            (deferral.key, deferral.due)
        };
        let wait = due.saturating_sub(seen.asker.now).max(1);
        let back = key.filter(|_| respond::is_read(&head.method)).map(|key| {
            let marker = Marker { at: due, key: Some(&key), ..Marker::default() };
            seen.url(self.topology.own_name(), &self.markers.add(&seen.found.clean, &marker))
        });
        respond::busy(self.web.busy.status, wait, back.as_deref())
    }

    /// Keys that one client may have: its share of the room that is kept for them, half of the lowest limit.
    fn keys_max(&self) -> u64 {
        let limits =
            [u64::from(self.web.busy.in_flight), self.web.busy.sessions].into_iter().filter(|limit| *limit > 0);
        match limits.min() {
            Some(limit) => (self.shares.of(limit) / 2).max(1),
            None => self.shares.of(KEYS_MAX as u64),
        }
    }

    /// The metrics as text; those of a front beside them where there is one.
    pub fn metrics(&self, front: Option<Box<dyn Collector>>, format: Format) -> Result<String, fmt::Error> {
        let now = unix_now();
        let sessions = self.sessions.active(now);
        let reserved = self.deferrals.due(now);
        let up = self.up();
        let others = self.topology.sites.iter().enumerate().filter(|(at, _)| *at != self.topology.own);
        let peers = others.map(|(at, name)| (name.clone(), up.get(at).copied().unwrap_or(true)));
        let now = Now {
            in_flight: self.overload.in_flight(),
            beyond_shares: self.overload.beyond_shares(),
            is_busy: self.overload.is_busy(Ask {
                share: 1.0,
                returns: false,
                sessions,
                reserved,
                client: None,
                client_sessions: 0,
            }),
            sessions,
            keys_due: reserved,
            peers: peers.collect(),
        };
        self.metrics.text(&now, front, format)
    }

    /// The Site's load as the DNS side's agents read it ([`load::report`](zerottl_inputs::load::report)).
    #[must_use]
    pub fn report(&self) -> Value {
        self.overload.report(self.sessions.active(unix_now()))
    }

    /// Returns the Site's load report as a response.
    #[must_use]
    pub fn load_report(&self) -> Page {
        let report = self.report().to_string();
        let mut response = Response::new(Full::new(Bytes::from(report)));
        *response.status_mut() = StatusCode::OK;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        response
    }

    /// Returns where the Site stands among the others.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.topology
    }
}

fn unix_now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Whether a client that is sent to the same page under another URL shows it: not where the connection is to become another.
fn can_move(head: &Parts) -> bool {
    respond::is_read(&head.method) && !head.headers.contains_key(UPGRADE)
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

mod build;
#[cfg(test)]
mod tests;

pub use self::build::AdmissionError;
