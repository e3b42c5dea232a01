//! `[director]` and `[director.SITE]`, exactly as written.

use serde::Deserialize;
use toml::Spanned;

use super::scalars::{List, Named, Number, NumberOrText, Switch, Text};

/// The keys of `[director]` and of `[director.SITE]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct DirectorKeys {
    pub listen: List<String>,
    pub policy: Text,
    pub affinity: Text,
    pub waiting: Option<Spanned<Waiting>>,
    pub drain_timeout: Text,
    pub slow_start: Text,
    pub restart: Option<Spanned<Restart>>,
    pub admin: Text,
    pub control: Text,
    pub pins: Text,
    pub server: List<Server>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Waiting {
    pub max: Number,
    pub timeout: Text,
    pub answer: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Restart {
    pub delay: Text,
    pub delay_max: Text,
    pub budget: Number,
    pub window: Text,
}

/// `[[director.server]]`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Server {
    pub name: Text,
    pub kind: Text,
    pub command: List<String>,
    pub count: Number,
    pub weight: Number,
    pub standby: Switch,
    pub max_connections: Number,
    pub handover: Switch,
    pub hang_after: Text,
    pub check: Option<Spanned<Check>>,
    pub user: Option<Spanned<NumberOrText>>,
    pub cpus: List<NumberOrText>,
    pub memory_max: Option<Spanned<NumberOrText>>,
    pub environment: Option<Spanned<Named<Spanned<String>>>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Check {
    pub path: Text,
    pub interval: Text,
    pub timeout: Text,
    pub failures: Number,
}
