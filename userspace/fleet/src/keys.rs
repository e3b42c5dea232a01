//! The keys that a fleet has in its engine: `word/SITE`, `vote/FRONT/SITE/ADDRESS`, `load/FRONT`, `report/SITE`,
//! `health/SITE/ADDRESS`, `secret/made`, `config/FRONT` and `ack/FRONT`, after the fleet's prefix.

use std::{borrow::Cow, net::IpAddr};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Characters that are written otherwise in keys: a Site's key may be any text, and a slash begins the next part.
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b':');

/// An address of a Site, of which there is a vote or a statement.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct VotePlace {
    pub site: Box<str>,
    pub address: IpAddr,
}

/// A key, without the prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Key {
    /// The words of operators on a Site.
    Word(String),
    /// A front's verdict.
    Vote(String, VotePlace),
    /// Answers that a front has given.
    Load(String),
    /// The newest load report of a Site.
    Report(String),
    /// The newest statement from outside of an address's health.
    Health(VotePlace),
    /// The secret that cookies are to be made with.
    Secret,
    /// A front that lives.
    Config(String),
    /// The words that a front has taken over.
    Ack(String),
}

impl Key {
    /// Reads one; none where it is nothing of ours.
    pub fn parse(text: &str) -> Option<Self> {
        let mut parts = text.split('/').map(decoded);
        let mut part = || parts.next().flatten();
        let key = match part()?.as_ref() {
            "word" => Self::Word(part()?.into_owned()),
            "load" => Self::Load(part()?.into_owned()),
            "report" => Self::Report(part()?.into_owned()),
            "secret" => (part()?.as_ref() == "made").then_some(Self::Secret)?,
            "config" => Self::Config(part()?.into_owned()),
            "ack" => Self::Ack(part()?.into_owned()),
            "vote" => {
                let front = part()?.into_owned();
                Self::Vote(front, VotePlace { site: part()?.into(), address: part()?.parse().ok()? })
            }
            "health" => Self::Health(VotePlace { site: part()?.into(), address: part()?.parse().ok()? }),
            _ => return None,
        };
        parts.next().is_none().then_some(key)
    }
}

impl std::fmt::Display for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let encode = |text| utf8_percent_encode(text, ENCODED);
        match self {
            Self::Word(site) => write!(f, "word/{}", encode(site)),
            Self::Vote(front, of) => write!(f, "vote/{}/{}/{}", encode(front), encode(&of.site), of.address),
            Self::Load(front) => write!(f, "load/{}", encode(front)),
            Self::Report(site) => write!(f, "report/{}", encode(site)),
            Self::Health(of) => write!(f, "health/{}/{}", encode(&of.site), of.address),
            Self::Secret => f.write_str("secret/made"),
            Self::Config(front) => write!(f, "config/{}", encode(front)),
            Self::Ack(front) => write!(f, "ack/{}", encode(front)),
        }
    }
}

fn decoded(part: &str) -> Option<Cow<'_, str>> {
    percent_decode_str(part).decode_utf8().ok().filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn keys_of_others_are_none_of_ours() {
        for text in [
            "",
            "word",
            "word/",
            "word/a/b",
            "vote/ns1/a",
            "vote/ns1/a/x",
            "x/y",
            "vote/ns1/a/192.0.2.1/x",
            "load/%ff",
            "secret/x",
        ] {
            assert_eq!(Key::parse(text), None, "{text}");
        }
        let vote = VotePlace { site: "a/b".into(), address: "2001:db8::1".parse().unwrap() };
        assert_eq!(Key::Vote("ns1".into(), vote.clone()).to_string(), "vote/ns1/a%2Fb/2001:db8::1");
        assert_eq!(Key::parse("vote/ns1/a%2Fb/2001:db8::1"), Some(Key::Vote("ns1".into(), vote)));
    }

    proptest! {
        #[test]
        fn keys_are_read_as_written(site in ".{1,20}", front in "[a-z0-9._-]{1,9}", address in any::<IpAddr>()) {
            let vote = VotePlace { site: site.as_str().into(), address };
            for key in [
                Key::Health(vote.clone()), Key::Word(site.clone()), Key::Vote(front.clone(), vote), Key::Load(front.clone()),
                Key::Report(site.clone()), Key::Secret,
                Key::Config(front.clone()), Key::Ack(front),
            ] {
                prop_assert_eq!(Key::parse(&key.to_string()), Some(key));
            }
        }
    }
}
