//! Why a connection went where it went: users meet the same names in metrics and in `explain`.

macro_rules! choice_reasons {
    ($($(#[doc = $doc:literal])+ $variant:ident $name:literal,)+) => {
        /// Why a connection went to its slot.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u32)]
        pub enum ChoiceReason {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl ChoiceReason {
            /// All of them, in the order of the counters map.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)+];

            /// The name users see.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// One sentence for people.
            #[must_use]
            pub const fn description(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+),)+
                }
            }
        }
    };
}

choice_reasons! {
    /// Its turn, by weight.
    RoundRobin "round-robin",
    /// The least load for its weight.
    Least "least-connections",
    /// This client's address was there before, and affinity holds.
    Affinity "affinity",
    /// A check by the director.
    Check "check",
    /// A connection that waited, carried on through the director.
    Relay "relay",
    /// Its handshake went there before: a repeated SYN, or the ACK of a SYN cookie.
    Remembered "remembered",
    /// Its listener closed before it was accepted, and another took it over.
    Migrated "migrated",
    /// Others wait already, and it goes behind them.
    WaitingBehind "waiting-behind",
    /// Every server that is ready has all the connections that it may have: it waits.
    Full "full",
    /// No server is ready, or each of them hangs: it waits.
    NoneReady "none-ready",
    /// The chosen servers had no listening socket: it waits.
    NoSocket "no-socket",
    /// Not even the director has a listening socket: the kernel chose by its own hash.
    Unchosen "unchosen",
}
