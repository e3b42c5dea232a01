//! `[web]` and `[web.SITE]`, exactly as written.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor, value::MapAccessDeserializer},
};
use toml::Spanned;

use super::scalars::{Fraction, List, Number, Switch, Text};
use crate::fields::fields_of;

/// The keys of `[web]` and of `[web.SITE]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebKeys {
    pub listen: List<String>,
    pub admin: Text,
    pub tls: Option<Spanned<WebTls>>,
    pub backends: List<String>,
    pub invite: Option<Spanned<Invite>>,
    pub screen: Text,
    pub backend_probe: Option<Spanned<BackendProbe>>,
    pub access_log: Text,
    pub access_log_format: Text,
    pub aliases: List<String>,
    pub overflow: Switch,
    pub pass: List<String>,
    pub backend_host: Text,
    pub clean_url: Switch,
    pub redirect: Text,
    pub trusted_proxies: List<String>,
    pub via: Text,
    pub marker: Option<Spanned<Marker>>,
    pub busy: Option<Spanned<Busy>>,
    pub session: Option<Spanned<Session>>,
    pub flag: Option<Spanned<Flag>>,
    pub peers: Option<Spanned<Peers>>,
    pub limits: Option<Spanned<WebLimits>>,
    pub rule: List<Rule>,
    pub class: List<Class>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebTls {
    pub listen: List<String>,
    pub certificates: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Invite {
    pub listen: Text,
    pub token: Text,
    pub workers: List<String>,
    pub beat: Text,
    pub stall: Text,
    pub waiting: Number,
    pub patience: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct BackendProbe {
    pub path: Text,
    pub interval: Text,
    pub timeout: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Marker {
    pub mode: Text,
    pub domain: Text,
    pub lifetime: Text,
    pub skew: Text,
    pub key: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Busy {
    pub in_flight: Number,
    pub latency: Fraction,
    pub sessions: Number,
    pub resume: Fraction,
    pub status: Number,
    pub retry: Text,
    pub client_share: Fraction,
    pub client_prefix_v4: Number,
    pub client_prefix_v6: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Session {
    pub cookie: Text,
    pub lifetime: Text,
    pub key: Text,
    pub same_site: Text,
    pub servers: List<SessionServer>,
    pub servers_password: Text,
    pub servers_ca: Text,
    pub copies: Number,
    pub write: Text,
    pub lease: Text,
    pub timeout: Text,
    pub journal: Text,
    pub size_max: Number,
    pub sessions_max: Number,
}

/// `{ url = "…", … }`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct SessionServerTable {
    pub url: Text,
    pub domain: Text,
}

/// A URL, or a table.
#[derive(Debug)]
pub(crate) enum SessionServer {
    Plain(String),
    Table(SessionServerTable),
}

impl<'de> Deserialize<'de> for SessionServer {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = SessionServer;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a URL or a table { url = \"…\", domain = \"…\" }")
            }

            fn visit_str<E>(self, text: &str) -> Result<SessionServer, E> {
                Ok(SessionServer::Plain(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SessionServer, A::Error> {
                SessionServerTable::deserialize(MapAccessDeserializer::new(map)).map(SessionServer::Table)
            }
        }

        deserializer.deserialize_struct("SessionServer", fields_of::<SessionServerTable>(), Shape)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Flag {
    pub cookie: Text,
    pub domain: Text,
    pub lifetime: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct WebLimits {
    pub connections: Number,
    pub connections_per_client: Number,
    pub head: Number,
    pub headers: Number,
    pub body: Number,
    pub head_timeout: Text,
    pub idle_timeout: Text,
    pub connect_timeout: Text,
    pub response_timeout: Text,
    pub streams: Number,
    pub requests_per_client: Number,
    pub lame_duck: Text,
    pub grace: Text,
}

/// `[[web.rule]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Rule {
    pub group: Text,
    pub clients: List<String>,
    pub header: Text,
    pub cookie: Text,
    pub path: Text,
    pub host: Text,
}

/// `[[web.class]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Class {
    pub name: Text,
    pub share: Fraction,
    pub clients: List<String>,
    pub header: Text,
    pub cookie: Text,
    pub path: Text,
    pub host: Text,
}

/// `{ agent = "…", … }`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct PeersTable {
    pub agent: Text,
    pub interval: Text,
}

/// A word, or a table.
#[derive(Debug)]
pub(crate) enum Peers {
    Word(String),
    Table(PeersTable),
}

impl<'de> Deserialize<'de> for Peers {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = Peers;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a word or a table { agent = \"…\" }")
            }

            fn visit_str<E>(self, text: &str) -> Result<Peers, E> {
                Ok(Peers::Word(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Peers, A::Error> {
                PeersTable::deserialize(MapAccessDeserializer::new(map)).map(Peers::Table)
            }
        }

        deserializer.deserialize_struct("Peers", fields_of::<PeersTable>(), Shape)
    }
}
