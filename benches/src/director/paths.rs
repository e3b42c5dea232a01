//! Ways from clients to servers.

use std::net::SocketAddr;

/// A way from clients to servers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionPath {
    /// One server with a listener of its own.
    Direct,
    /// Servers that share an address, between which the kernel chooses by its hash.
    Hashing,
    /// `zerottl director`.
    Director,
    /// `HAProxy` in `mode tcp`.
    HaProxy,
    /// nginx's `stream`.
    Nginx,
}

impl ConnectionPath {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [Self::Direct, Self::Hashing, Self::Director, Self::HaProxy, Self::Nginx];

    /// Returns its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Hashing => "SO_REUSEPORT",
            Self::Director => "zerottl director",
            Self::HaProxy => "HAProxy",
            Self::Nginx => "nginx stream",
        }
    }

    /// Where clients connect to.
    pub(crate) fn at(self) -> SocketAddr {
        let port = match self {
            Self::Director => 8080,
            Self::Direct => 8081,
            Self::Hashing => 8082,
            Self::HaProxy => 8083,
            Self::Nginx => 8084,
        };
        SocketAddr::from(([10, 7, 0, 1], port))
    }
}
