//! Why a request is refused: the reasons, as status, as name and as sentence.

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// No Host, or one that is no authority (RFC 9112 section 3.2).
    BadHost,
    /// A target that is no path.
    BadTarget,
    /// A name that is none of ours (C13).
    UnknownHost,
    /// A name of ours, on a connection made for another (C14).
    Misdirected,
}

impl Refusal {
    /// Every refusal.
    pub const ALL: [Self; 4] = [Self::BadHost, Self::BadTarget, Self::UnknownHost, Self::Misdirected];

    /// Its HTTP status.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Self::BadHost | Self::BadTarget => 400,
            Self::UnknownHost | Self::Misdirected => 421,
        }
    }

    /// Its name in metrics and logs.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::BadHost => "bad-host",
            Self::BadTarget => "bad-target",
            Self::UnknownHost => "unknown-host",
            Self::Misdirected => "misdirected",
        }
    }

    /// Returns what is wrong, for people.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::BadHost => "the request has no Host, or one that names no host",
            Self::BadTarget => "the request's target is not a path",
            Self::UnknownHost => "this server does not serve that host",
            Self::Misdirected => "this connection was made for another host",
        }
    }
}
