//! Hooks: where events are told outside of the agent.

use std::{fmt, time::Duration};

use super::HttpProbe;

/// Defines the kinds of event with their words, so that no list of them is written twice.
macro_rules! kinds {
    ($($(#[doc = $doc:literal])+ $kind:ident = $word:literal),+ $(,)?) => {
        /// A kind of event that hooks are told of.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventKind {
            $($(#[doc = $doc])+ $kind,)+
        }

        impl EventKind {
            /// All of them, with their words.
            pub const ALL: &[(&'static str, Self)] = &[$(($word, Self::$kind)),+];

            /// Its word, in the file and in the event.
            #[must_use]
            pub fn word(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)+
                }
            }
        }
    };
}

kinds! {
    /// A Site counts as up that did not before.
    SiteUp = "site-up",
    /// A Site counts as down that did not before.
    SiteDown = "site-down",
    /// A Site keeps flapping and is held back, or stays out until somebody says `ready`.
    HeldBack = "held-back",
    /// An operator's override was set, taken back or forgotten, or has lapsed.
    Word = "word",
    /// An alarm has begun or changed.
    Alarm = "alarm",
    /// An alarm is over.
    AlarmOver = "alarm-over",
    /// This front is cut off from the others, or sees what none of them sees.
    CutOff = "cut-off",
    /// This front is no longer cut off.
    Rejoined = "rejoined",
}

/// The key that the events of a hook are signed with. Never printed.
#[derive(Clone, PartialEq, Eq)]
pub struct HookKey(pub Box<[u8]>);

impl fmt::Debug for HookKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("HookKey(…)")
    }
}

/// The receiver of a hook's events.
#[derive(Clone, Debug)]
pub enum HookTarget {
    /// A server, to which they are sent by POST.
    Url {
        /// The server's name or address.
        server: String,
        /// Its port.
        port: u16,
        /// Path, Host header and TLS of the request.
        request: HttpProbe,
    },
    /// A program that is run for each, with its arguments.
    Command(Vec<String>),
}

impl fmt::Display for HookTarget {
    /// The server's URL, or the program. The path may be a secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url { request, .. } => {
                write!(f, "http{}://{}", if request.tls.is_some() { "s" } else { "" }, request.host)
            }
            Self::Command(words) => f.write_str(words.first().map_or("", String::as_str)),
        }
    }
}

/// `[hook.NAME]`.
#[derive(Clone, Debug)]
pub struct HookConfig {
    /// Its name in the file.
    pub name: String,
    /// Where its events go.
    pub target: HookTarget,
    /// The kinds of event that it is told of, each once. Never empty.
    pub events: Vec<EventKind>,
    /// The keys that POSTs are signed with, the newest first; none leaves them unsigned.
    pub keys: Vec<HookKey>,
    /// The time that one attempt may take.
    pub timeout: Duration,
    /// Attempts for one event until it is given up; at least 1.
    pub attempts: u32,
    /// Events that may wait; the oldest is dropped for one more. At least 1.
    pub queue: usize,
}
