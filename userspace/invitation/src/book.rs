//! Channels, credits, beats, sessions and who waits: what is known at one moment, and what follows from what is said. Pure.

use std::{
    collections::VecDeque,
    fmt,
    str::FromStr,
    sync::Arc,
    time::{Duration, Instant},
};

use zerottl_core::session_id::SessionId;

use crate::{
    page::{InvitePage, InvitedServerPage},
    places::SessionPlaces,
};

/// Channels at a time, at most.
pub const CHANNELS_MAX: usize = 256;
/// Credits of one application server, at most; more are not counted.
pub const CREDITS_MAX: u32 = 65_536;

/// A channel: 64 random bits, so that none of a worker before this one is taken for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Channel(pub u64);

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A text that is no channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a channel has 16 hexadecimal digits")]
pub struct ChannelError;

impl FromStr for Channel {
    type Err = ChannelError;

    fn from_str(text: &str) -> Result<Self, ChannelError> {
        let digits = text.len() == 16 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
        u64::from_str_radix(text, 16).ok().filter(|_| digits).map(Self).ok_or(ChannelError)
    }
}

/// A request's session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AskedSession {
    /// Its ID.
    pub id: SessionId,
    /// Whether it begins with this request: no application server has it.
    pub is_new: bool,
}

/// The bounds and times of a book.
#[derive(Clone, Copy, Debug)]
pub struct BookLimits {
    /// A channel that is silent for so long is closed.
    pub stall: Duration,
    /// Requests that wait at a time, at most.
    pub waiting: usize,
    /// How long one waits, at most.
    pub patience: Duration,
    /// How long one waits for the application server that has its session to name it, where none here is known to: another
    /// worker had the session.
    pub hold: Duration,
}

/// The reason why a channel ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelEnd {
    /// The application server has closed it.
    Left,
    /// It was silent for too long.
    Stalled,
    /// An application server of the same name has opened another.
    Replaced,
    /// Its lines were not read.
    Unread,
    /// This worker stops.
    Stopping,
}

impl ChannelEnd {
    /// Says it in words.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Left => "the application server closed the channel",
            Self::Stalled => "nothing came from the application server in time",
            Self::Replaced => "an application server of the same name opened another channel",
            Self::Unread => "the application server does not read its channel",
            Self::Stopping => "this worker stops",
        }
    }
}

/// A consequence, for whoever waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BookEvent {
    /// A request that waited may go to a server.
    Granted {
        /// The number of the one that waited.
        waiter: u64,
        /// The server's channel.
        channel: Channel,
    },
    /// A request has waited for as long as may be.
    Expired {
        /// Its number.
        waiter: u64,
    },
    /// A channel has ended.
    Closed {
        /// Which.
        channel: Channel,
        /// Why.
        end: ChannelEnd,
    },
}

/// The fate of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CreditAnswer {
    /// It may go to this channel's server.
    Granted(Channel),
    /// It waits under this number.
    Waits(u64),
    /// As many wait as may.
    Full,
}

/// An application server.
#[derive(Debug)]
struct Server {
    channel: Channel,
    name: Arc<str>,
    url: Arc<str>,
    credits: u32,
    /// When it was last heard of.
    heard: Instant,
    requests: u64,
}

/// A request that waits.
#[derive(Debug)]
struct Waiter {
    number: u64,
    session: Option<AskedSession>,
    avoid: Vec<Channel>,
    since: Instant,
}

/// Counts since the start.
#[derive(Clone, Copy, Debug, Default)]
struct BookCounts {
    opened: u64,
    stalls: u64,
    granted: u64,
    waited: u64,
    expired: u64,
    full: u64,
}

/// All that a worker knows of its application servers.
#[derive(Debug)]
pub struct InvitationBook {
    limits: BookLimits,
    servers: Vec<Server>,
    waiters: VecDeque<Waiter>,
    places: SessionPlaces,
    numbers: u64,
    is_stopping: bool,
    counts: BookCounts,
    events: Vec<BookEvent>,
}

impl InvitationBook {
    /// Creates an empty one.
    #[must_use]
    pub fn new(limits: BookLimits) -> Self {
        Self {
            limits,
            servers: Vec::new(),
            waiters: VecDeque::new(),
            places: SessionPlaces::default(),
            numbers: 0,
            is_stopping: false,
            counts: BookCounts::default(),
            events: Vec::new(),
        }
    }

    /// Returns what has followed from what was said since it was last asked.
    pub fn events(&mut self) -> Vec<BookEvent> {
        std::mem::take(&mut self.events)
    }

    /// Opens a channel, in the place of one of the same name. Returns whether there was room for it.
    pub fn open(&mut self, channel: Channel, (name, url): (&str, &str), credits: u32, now: Instant) -> bool {
        if let Some(before) = self.servers.iter().position(|server| &*server.name == name) {
            self.close_at(before, ChannelEnd::Replaced);
        } else if self.servers.len() >= CHANNELS_MAX || self.is_stopping {
            return false;
        }
        self.counts.opened += 1;
        let (name, url, credits) = (Arc::from(name), Arc::from(url), credits.min(CREDITS_MAX));
        self.servers.push(Server { channel, name, url, credits, heard: now, requests: 0 });
        self.grant(now);
        true
    }

    /// Adds credits to a channel's server, of which something was heard. Returns how many it has then; none if there is no such
    /// channel.
    pub fn ready(&mut self, channel: Channel, more: u32, now: Instant) -> Option<u32> {
        let server = self.servers.iter_mut().find(|server| server.channel == channel)?;
        server.heard = now;
        server.credits = server.credits.saturating_add(more).min(CREDITS_MAX);
        self.grant(now);
        self.server(channel).map(|server| server.credits)
    }

    /// Takes a credit back that was granted and not used.
    pub fn give_back(&mut self, channel: Channel, now: Instant) {
        let Some(server) = self.servers.iter_mut().find(|server| server.channel == channel) else { return };
        server.credits = server.credits.saturating_add(1).min(CREDITS_MAX);
        server.requests = server.requests.saturating_sub(1);
        self.grant(now);
    }

    /// Closes a channel.
    pub fn close(&mut self, channel: Channel, end: ChannelEnd, now: Instant) {
        if let Some(at) = self.servers.iter().position(|server| server.channel == channel) {
            self.close_at(at, end);
            self.grant(now);
        }
    }

    /// Closes all channels, for good: this worker stops.
    pub fn close_all(&mut self, now: Instant) {
        while !self.servers.is_empty() {
            self.close_at(0, ChannelEnd::Stopping);
        }
        self.is_stopping = true;
        self.tick(now);
    }

    /// Notes that a channel's server has a session. Returns whether there is such a channel.
    pub fn place(&mut self, channel: Channel, session: SessionId, now: Instant) -> bool {
        let Some(name) = self.server(channel).map(|server| Arc::clone(&server.name)) else { return false };
        self.places.note(session, &name);
        self.grant(now);
        true
    }

    /// Asks for a server for a request, of others than those at `avoid`.
    pub fn ask(&mut self, session: Option<AskedSession>, avoid: Vec<Channel>, now: Instant) -> CreditAnswer {
        self.numbers += 1;
        let waiter = Waiter { number: self.numbers, session, avoid, since: now };
        if let Some(at) = self.choose(&waiter, now) {
            return CreditAnswer::Granted(self.take(at, session));
        }
        if self.waiters.len() >= self.limits.waiting {
            self.counts.full += 1;
            return CreditAnswer::Full;
        }
        self.counts.waited += 1;
        let number = waiter.number;
        self.waiters.push_back(waiter);
        CreditAnswer::Waits(number)
    }

    /// Takes back a request that waits no more.
    pub fn forget(&mut self, waiter: u64) {
        self.waiters.retain(|one| one.number != waiter);
    }

    /// Does what has become due.
    pub fn tick(&mut self, now: Instant) {
        let stall = self.limits.stall;
        while let Some(at) = self.servers.iter().position(|server| now.saturating_duration_since(server.heard) > stall)
        {
            self.counts.stalls += 1;
            self.close_at(at, ChannelEnd::Stalled);
        }
        self.grant(now);
        while let Some(waiter) = self.waiters.front()
            && now.saturating_duration_since(waiter.since) >= self.limits.patience
        {
            self.events.push(BookEvent::Expired { waiter: waiter.number });
            self.counts.expired += 1;
            self.waiters.pop_front();
        }
    }

    /// Returns a channel's server: its name and its URL.
    #[must_use]
    pub fn target(&self, channel: Channel) -> Option<(Arc<str>, Arc<str>)> {
        self.server(channel).map(|server| (Arc::clone(&server.name), Arc::clone(&server.url)))
    }

    /// Says how things stand.
    #[must_use]
    pub fn page(&self, now: Instant) -> InvitePage {
        let sessions = self.places.counts();
        let server = |server: &Server| InvitedServerPage {
            name: server.name.to_string(),
            url: server.url.to_string(),
            credits: server.credits,
            requests: server.requests,
            silent_s: now.saturating_duration_since(server.heard).as_secs_f64(),
            sessions: sessions.get(&*server.name).copied().unwrap_or(0),
        };
        InvitePage {
            servers: self.servers.iter().map(server).collect(),
            waiting: self.waiters.len(),
            sessions: self.places.len(),
            opened: self.counts.opened,
            stalls: self.counts.stalls,
            granted: self.counts.granted,
            waited: self.counts.waited,
            expired: self.counts.expired,
            full: self.counts.full,
            ..InvitePage::default()
        }
    }

    fn server(&self, channel: Channel) -> Option<&Server> {
        self.servers.iter().find(|server| server.channel == channel)
    }

    fn close_at(&mut self, at: usize, end: ChannelEnd) {
        let server = self.servers.swap_remove(at);
        self.events.push(BookEvent::Closed { channel: server.channel, end });
    }

    /// Takes a credit of a server, for a request of this session.
    fn take(&mut self, at: usize, session: Option<AskedSession>) -> Channel {
        let server = &mut self.servers[at];
        server.credits -= 1;
        server.requests += 1;
        self.counts.granted += 1;
        if let Some(session) = session {
            self.places.note(session.id, &server.name);
        }
        server.channel
    }

    /// Chooses a server with a credit: the one that has the session; else the one with the most credits.
    fn choose(&self, waiter: &Waiter, now: Instant) -> Option<usize> {
        let may = |server: &Server| !waiter.avoid.contains(&server.channel);
        if let Some(session) = waiter.session {
            match self.places.get(session.id) {
                Some(name) => {
                    // While its server is there, the session does not move.
                    let own = self.servers.iter().position(|server| server.name == *name && may(server));
                    if let Some(own) = own {
                        return (self.servers[own].credits > 0).then_some(own);
                    }
                }
                None if !session.is_new && now.saturating_duration_since(waiter.since) < self.limits.hold => {
                    return None;
                }
                None => {}
            }
        }
        let fit = self.servers.iter().enumerate().filter(|(_, server)| server.credits > 0 && may(server));
        fit.max_by_key(|(_, server)| (server.credits, std::cmp::Reverse(server.requests))).map(|(at, _)| at)
    }

    /// Lets those go that have waited for what is there now, the first first.
    fn grant(&mut self, now: Instant) {
        let mut at = 0;
        while at < self.waiters.len() && self.servers.iter().any(|server| server.credits > 0) {
            let Some(server) = self.choose(&self.waiters[at], now) else {
                at += 1;
                continue;
            };
            if let Some(waiter) = self.waiters.remove(at) {
                let channel = self.take(server, waiter.session);
                self.events.push(BookEvent::Granted { waiter: waiter.number, channel });
            }
        }
    }
}

#[cfg(test)]
mod tests;
