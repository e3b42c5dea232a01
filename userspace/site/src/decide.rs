//! Operation 500: what becomes of a request without a session. Figs. 5A and 5B of seed 004, by their stage numbers.
//!
//! ```text
//!            505                                         522 ─ overflow off ──────────────> 588
//!             │                                           │
//!  own name? 510 ─no─> Pool Name? 525 ─no──> 535 ─> 540  too busy? 550 ─no───────────────> 588
//!             │yes                │yes        ^           │yes
//!   marked?  515 ─no──┐  in the  530 ─yes─────┘          Initial? 555 ─no─> 565 ─> 567 ─only Site─> 570
//!             │yes    │  proper   │no                     │yes      ^               └──> 590 ─> 595
//!   fresh?   520 ─no─>545 <───────┘                      fresh? 560 ─no─┘
//!             │yes                                        │yes
//!             └──> 522                                   575 ─> 580 ─> 585 ─cycle ends─> 570
//!                                                                       └──────────────> 595
//! ```
//!
//! It differs from Appendix B only where a row of the requirements says so (C1, C6, C7, C9 to C17, C19, C20), and in two more
//! things: a group of which no Site is up counts as no group, since sending somebody there would be sending them
//! nowhere; and who returns with the key of a deferral waits on here and is not sent round again.

use http::Version;

use super::{
    host,
    marker::{MarkedTarget, Marker},
    name,
    refusal::Refusal,
    topology::{Known, Topology},
};

/// A stage of Figs. 5A and 5B, by its number there; 500 is the session before them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u16)]
pub enum Stage {
    /// The request has a session: none of the others is gone through.
    Session = 500,
    /// Received.
    Receive = 505,
    /// Is the host this Site's name?
    OwnName = 510,
    /// Is there a marker?
    Marked = 515,
    /// Has it expired?
    Fresh = 520,
    /// From Fig. 5A to 5B.
    Balanced = 522,
    /// Is the host the Pool Name?
    PoolName = 525,
    /// Is this Site of the proper group?
    ProperGroup = 530,
    /// To this Site's name, marked.
    ToSite = 535,
    /// By a redirect.
    Redirect = 540,
    /// To the proper Group Name, or the Pool Name.
    ToGroup = 545,
    /// Is the Site too busy?
    TooBusy = 550,
    /// Does the marker name an Initial Site?
    HasInitial = 555,
    /// Has it expired?
    InitialFresh = 560,
    /// The next Site, for a first overflow.
    FirstNext = 565,
    /// Is it this one?
    OnlySite = 567,
    /// All Sites are busy.
    AllBusy = 570,
    /// The Initial Site of an overflow under way.
    Initial = 575,
    /// The next Site.
    CycleNext = 580,
    /// Is it the Initial one?
    CycleEnd = 585,
    /// The session is started, the page delivered.
    Start = 588,
    /// A new overflow marker.
    Overflow = 590,
    /// To the next Site.
    ToNext = 595,
}

impl Stage {
    /// Every stage, in the order of its number.
    pub const ALL: [Self; 23] = [
        Self::Session,
        Self::Receive,
        Self::OwnName,
        Self::Marked,
        Self::Fresh,
        Self::Balanced,
        Self::PoolName,
        Self::ProperGroup,
        Self::ToSite,
        Self::Redirect,
        Self::ToGroup,
        Self::TooBusy,
        Self::HasInitial,
        Self::InitialFresh,
        Self::FirstNext,
        Self::OnlySite,
        Self::AllBusy,
        Self::Initial,
        Self::CycleNext,
        Self::CycleEnd,
        Self::Start,
        Self::Overflow,
        Self::ToNext,
    ];

    /// Its number in the figures.
    #[must_use]
    pub const fn number(self) -> u16 {
        self as u16
    }

    /// Returns the question or the action of the stage, in a few words.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Session => "the request has a session",
            Self::Receive => "received",
            Self::OwnName => "is the host this Site's name?",
            Self::Marked => "is there a marker?",
            Self::Fresh => "is it fresh?",
            Self::Balanced => "it has gone through load balancing",
            Self::PoolName => "is the host the Pool Name?",
            Self::ProperGroup => "is this Site of the proper group?",
            Self::ToSite => "to this Site's name, with a marker",
            Self::Redirect => "redirect",
            Self::ToGroup => "back to load balancing",
            Self::TooBusy => "is the Site too busy?",
            Self::HasInitial => "has overflow begun at another Site?",
            Self::InitialFresh => "lately?",
            Self::FirstNext => "the next Site",
            Self::OnlySite => "is there another?",
            Self::AllBusy => "all Sites are busy",
            Self::Initial => "the Site at which it began",
            Self::CycleNext => "the one after this",
            Self::CycleEnd => "have all been tried?",
            Self::Start => "a session begins",
            Self::Overflow => "a marker with this Site as the first",
            Self::ToNext => "to the next Site",
        }
    }
}

/// The stages a request went through, in order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Path {
    stages: [Option<Stage>; Self::LEN_MAX],
    len: usize,
}

impl Path {
    /// Longer than any way through the figures.
    const LEN_MAX: usize = 16;

    fn go(&mut self, stage: Stage) {
        // A way that did not fit would lose its end in `explain`, and nothing else.
        if let Some(slot) = self.stages.get_mut(self.len) {
            *slot = Some(stage);
            self.len += 1;
        }
    }

    /// The stages.
    pub fn iter(&self) -> impl Iterator<Item = Stage> + '_ {
        self.stages.iter().map_while(|stage| *stage)
    }

    /// Where it ended; none if operation 500 was not begun.
    #[must_use]
    pub fn end(&self) -> Option<Stage> {
        self.iter().last()
    }
}

/// Settings that do not change from request to request.
#[derive(Clone, Copy, Debug)]
pub struct Rules {
    /// How long a marker holds, seconds.
    pub lifetime: u64,
    /// How far clocks may be apart, seconds (C16).
    pub skew: u64,
    /// Whether Fig. 5B is run (C20).
    pub overflow: bool,
}

/// Facts known of a request when it is decided on.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_excessive_bools, reason = "they are independent facts")]
pub struct Facts<'a> {
    /// Whether it belongs to a valid session of this Site.
    pub in_session: bool,
    /// The version it came by.
    pub version: Version,
    /// `Host`, or `:authority`.
    pub authority: Option<&'a str>,
    /// The server's name in the TLS handshake, lower case, without a trailing dot.
    pub server_name: Option<&'a str>,
    /// Its target and the marker in it.
    pub found: &'a MarkedTarget<'a>,
    /// Whether markers are kept in a cookie: a client that keeps none shows nothing when it returns.
    pub by_cookie: bool,
    /// Unix time, seconds: one reading for the whole request (C8).
    pub now: u64,
    /// The group it belongs to; none where nothing tells.
    pub proper: Option<usize>,
    /// Whether the Site is too busy for it.
    pub busy: bool,
    /// Whether it shows the key of a deferral that is known here.
    pub waiting: bool,
    /// Which Sites are up, by their places; those beyond its end are.
    pub up: &'a [bool],
}

/// The decision on a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision<'a> {
    /// It has a session: it is served.
    Bypass,
    /// A session is started, and it is served.
    Admit {
        /// Whether it is because it has been sent round too often: a fault of clocks or configuration (C16).
        despite: bool,
    },
    /// It is sent elsewhere.
    Redirect(Redirect<'a>),
    /// All Sites are busy.
    Busy,
    /// It is not for us.
    Refuse(Refusal),
}

/// A decision's kind, for counting.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DecisionKind {
    /// It had a session.
    InSession,
    /// It got one.
    Admitted,
    /// It got one because it had been sent round too often.
    AdmittedDespite,
    /// It was sent elsewhere.
    Redirected,
    /// It was told that all Sites are busy.
    Busy,
    /// It was refused.
    Refused,
}

impl DecisionKind {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::InSession, Self::Admitted, Self::AdmittedDespite, Self::Redirected, Self::Busy, Self::Refused];

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::InSession => "in-session",
            Self::Admitted => "admitted",
            Self::AdmittedDespite => "admitted-at-hop-limit",
            Self::Redirected => "redirected",
            Self::Busy => "busy",
            Self::Refused => "refused",
        }
    }
}

impl Decision<'_> {
    /// Its kind.
    #[must_use]
    pub const fn outcome(&self) -> DecisionKind {
        match self {
            Self::Bypass => DecisionKind::InSession,
            Self::Admit { despite: false } => DecisionKind::Admitted,
            Self::Admit { despite: true } => DecisionKind::AdmittedDespite,
            Self::Redirect(_) => DecisionKind::Redirected,
            Self::Busy => DecisionKind::Busy,
            Self::Refuse(_) => DecisionKind::Refused,
        }
    }
}

/// Where a request is sent: the same URL with this host, and with this marker instead of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Redirect<'a> {
    /// A Site, Group or Pool Name.
    pub host: &'a str,
    /// The marker that is added to the target, if any.
    pub marker: Option<Marker<'a>>,
}

/// Decides on a request.
#[must_use]
pub fn decide<'a>(topology: &'a Topology, rules: &Rules, facts: &Facts<'a>) -> (Decision<'a>, Path) {
    let mut path = Path::default();
    let decision = Operation { topology, rules, facts, path: &mut path }.run();
    (decision, path)
}

struct Operation<'a, 'p> {
    topology: &'a Topology,
    rules: &'p Rules,
    facts: &'p Facts<'a>,
    path: &'p mut Path,
}

impl<'a> Operation<'a, '_> {
    /// Fig. 5A.
    fn run(&mut self) -> Decision<'a> {
        let facts = self.facts;
        // Whose name it is comes before everything else: under one that is not ours nothing is a session's.
        let known = name::known(self.topology, facts.authority, facts.version, facts.server_name);
        if facts.in_session && known.is_ok() {
            self.path.go(Stage::Session);
            return Decision::Bypass;
        }
        self.path.go(Stage::Receive);
        if !facts.found.clean.starts_with('/') {
            return Decision::Refuse(Refusal::BadTarget);
        }
        self.path.go(Stage::OwnName);
        let known = match known {
            Ok(known) => known,
            Err(refusal) => return Decision::Refuse(refusal),
        };
        match known {
            Some(Known::Own) => self.under_own_name(),
            Some(Known::Pool) => {
                self.path.go(Stage::PoolName);
                self.path.go(Stage::ProperGroup);
                match self.proper() {
                    Some(group) if !self.topology.is_in(group) => self.send_back(),
                    _ => self.send_here(known),
                }
            }
            Some(_) => {
                self.path.go(Stage::PoolName);
                self.send_here(known)
            }
            None => self.without_host(),
        }
    }

    /// 515 and 520.
    fn under_own_name(&mut self) -> Decision<'a> {
        self.path.go(Stage::Marked);
        // A marker without a time has been through load balancing once, and is otherwise none.
        let is_marked = self.facts.found.marker.is_some_and(|marker| marker.at > 0);
        if is_marked {
            self.path.go(Stage::Fresh);
        }
        if is_marked && self.is_fresh() {
            return self.balanced(false);
        }
        if self.hops() >= self.topology.hops_max() {
            return self.balanced(true);
        }
        self.send_back()
    }

    /// C7: HTTP/1.0 without a Host.
    fn without_host(&mut self) -> Decision<'a> {
        if self.is_fresh() {
            return self.balanced(false);
        }
        if self.hops() >= self.topology.hops_max() {
            return self.balanced(true);
        }
        match self.send_here(None) {
            Decision::Redirect(redirect) => {
                let hops = if self.facts.found.was_marked { self.hops() + 1 } else { 0 };
                let marker = redirect.marker.map(|marker| Marker { hops, ..marker });
                Decision::Redirect(Redirect { marker, ..redirect })
            }
            other => other,
        }
    }

    /// 535 and 540. A fresh Initial is kept (C15), so that an overflow goes on where a Site's name has failed over.
    fn send_here(&mut self, known: Option<Known>) -> Decision<'a> {
        self.path.go(Stage::ToSite);
        self.path.go(Stage::Redirect);
        let fresh = self.facts.found.marker.filter(|_| self.is_fresh());
        let initial =
            fresh.and_then(|marker| self.topology.site_named(marker.initial?)).map(|at| &*self.topology.sites[at]);
        let member = |group: &usize| self.topology.is_in(*group);
        let proper = self.proper().filter(member).map(Some);
        let carried = fresh.and_then(|marker| self.carried(marker));
        let named = match known {
            Some(Known::Group(group)) => Some(group).filter(member).map(Some),
            _ => None,
        };
        let order = if initial.is_some() {
            carried.or(proper).or(named)
        } else {
            proper.or(carried).or(named).filter(|order| *order != self.topology.primary)
        };
        let group = order.map(|group| self.order_name(group));
        let marker = Marker { at: self.facts.now, initial, group, hops: self.hops(), key: None };
        Decision::Redirect(Redirect { host: self.topology.own_name(), marker: Some(marker) })
    }

    /// 545: without the marker (C6). Where there was one, how often this has happened goes along (C16).
    fn send_back(&mut self) -> Decision<'a> {
        self.path.go(Stage::ToGroup);
        self.path.go(Stage::Redirect);
        let host = self.order_name(self.proper());
        let counts = self.facts.found.was_marked || self.facts.by_cookie;
        let marker = counts.then(|| Marker { hops: self.hops() + 1, ..Marker::default() });
        Decision::Redirect(Redirect { host, marker })
    }

    /// 522 and Fig. 5B.
    fn balanced(&mut self, despite: bool) -> Decision<'a> {
        self.path.go(Stage::Balanced);
        if !self.rules.overflow {
            self.path.go(Stage::Start);
            return Decision::Admit { despite };
        }
        self.path.go(Stage::TooBusy);
        if !self.facts.busy {
            self.path.go(Stage::Start);
            return Decision::Admit { despite };
        }
        if self.facts.waiting {
            self.path.go(Stage::AllBusy);
            return Decision::Busy;
        }
        self.path.go(Stage::HasInitial);
        let marker = self.facts.found.marker;
        let Some(initial) = marker.and_then(|marker| marker.initial) else { return self.begin_overflow() };
        self.path.go(Stage::InitialFresh);
        if !self.is_fresh() {
            return self.begin_overflow();
        }
        self.path.go(Stage::Initial);
        let group = self.group();
        // One that is no longer there would never come round again (C17).
        let initial = self.topology.site_named(initial).filter(|at| self.topology.order(group).any(|site| site == *at));
        let Some(initial) = initial else { return self.begin_overflow() };
        self.path.go(Stage::CycleNext);
        let next = self.next(group, Some(initial));
        self.path.go(Stage::CycleEnd);
        match next {
            Some(next) if self.hops() < self.topology.hops_max() => {
                let marker = marker.map(|marker| Marker { hops: marker.hops + 1, key: None, ..marker });
                self.send_on(next, marker)
            }
            _ => self.all_busy(),
        }
    }

    /// 565 to 590.
    fn begin_overflow(&mut self) -> Decision<'a> {
        self.path.go(Stage::FirstNext);
        let group = self.group();
        let next = self.next(group, None);
        self.path.go(Stage::OnlySite);
        let Some(next) = next.filter(|_| self.hops() < self.topology.hops_max()) else { return self.all_busy() };
        self.path.go(Stage::Overflow);
        let marker = Marker {
            at: self.facts.now,
            initial: Some(self.topology.own_name()),
            group: Some(self.order_name(group)).filter(|_| !self.topology.groups.is_empty()),
            hops: self.hops() + 1,
            key: None,
        };
        self.send_on(next, Some(marker))
    }

    fn send_on(&mut self, next: usize, marker: Option<Marker<'a>>) -> Decision<'a> {
        self.path.go(Stage::ToNext);
        Decision::Redirect(Redirect { host: &self.topology.sites[next], marker })
    }

    fn all_busy(&mut self) -> Decision<'a> {
        self.path.go(Stage::AllBusy);
        Decision::Busy
    }

    /// The Site circularly next in the group's order that is not known to be down; none where the cycle has come round to
    /// its first Site, or to this one.
    fn next(&self, group: Option<usize>, initial: Option<usize>) -> Option<usize> {
        let order = self.topology.order(group);
        let own = order.clone().position(|site| site == self.topology.own)?;
        let onward = order.clone().cycle().skip(own + 1).take(order.len() - 1);
        onward.take_while(|site| Some(*site) != initial).find(|site| self.is_up(*site))
    }

    /// In whose order overflow goes: the marker's, the proper group's, the primary one's, each if this Site is of it (C12);
    /// none is the pool's.
    fn group(&self) -> Option<usize> {
        let member = |group: &usize| self.topology.is_in(*group);
        let carried = self.facts.found.marker.and_then(|marker| self.carried(marker));
        carried.unwrap_or_else(|| self.proper().filter(member).or(self.topology.primary.filter(member)))
    }

    /// The order that a marker carries: of a group that this Site is of, or of the pool, which a Site in no group begins with
    /// and which Sites in groups must go on with, or the cycle would end before all were tried.
    #[expect(clippy::option_option, reason = "no order, and the pool's order")]
    fn carried(&self, marker: Marker<'_>) -> Option<Option<usize>> {
        match self.topology.known(&host::name(marker.group?)?)? {
            Known::Group(group) => self.topology.is_in(group).then_some(Some(group)),
            Known::Pool => Some(None),
            Known::Own | Known::Site(_) | Known::Alias => None,
        }
    }

    /// A Group Name, or the Pool Name.
    fn order_name(&self, group: Option<usize>) -> &'a str {
        group.map_or(&self.topology.pool, |group| &self.topology.groups[group].name)
    }

    /// The proper group, if any of its Sites is up.
    fn proper(&self) -> Option<usize> {
        self.facts.proper.filter(|group| self.topology.order(Some(*group)).any(|site| self.is_up(site)))
    }

    fn is_up(&self, site: usize) -> bool {
        site == self.topology.own || self.facts.up.get(site).copied().unwrap_or(true)
    }

    fn hops(&self) -> u32 {
        self.facts.found.marker.map_or(0, |marker| marker.hops)
    }

    /// Stage 520, C16 and C19: not older than its lifetime, nor from the future, by more than clocks may be apart. The key
    /// of a deferral is given for a time to come; one that is not known here may be anybody's own make.
    fn is_fresh(&self) -> bool {
        let Some(marker) = self.facts.found.marker.filter(|marker| marker.at > 0) else { return false };
        let Rules { lifetime, skew, .. } = *self.rules;
        let is_begun = marker.at <= self.facts.now.saturating_add(skew) || self.facts.waiting;
        is_begun && self.facts.now < marker.at.saturating_add(lifetime).saturating_add(skew)
    }
}

#[cfg(test)]
mod tests;
