//! The file's shapes, exactly as written: every key there is stands here once.
//!
//! Everything is optional and loosely typed, so that [`super::tables`] can drop a bad entry and go on, and so that
//! ranges and choices get errors that name what is allowed.

use std::{fmt, sync::LazyLock};

use serde::{
    Deserialize, Deserializer,
    de::{
        MapAccess, SeqAccess, Visitor,
        value::{MapAccessDeserializer, SeqAccessDeserializer},
    },
};
use toml::Spanned;

use super::{fields::fields_of, report::UNREAD};

mod by_site;
mod director;
mod scalars;
mod web;

pub(super) use by_site::*;
pub(super) use director::*;
pub(super) use scalars::*;
pub(super) use web::*;

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct File {
    pub front: Option<Spanned<Front>>,
    pub admin: Option<Spanned<Admin>>,
    pub state: Option<Spanned<State>>,
    pub agent: Option<Spanned<Agent>>,
    pub health: Option<Spanned<Health>>,
    pub fleet: Option<Spanned<Fleet>>,
    pub edns: Option<Spanned<Edns>>,
    pub chaos: Option<Spanned<Chaos>>,
    pub geo: Option<Spanned<Geo>>,
    pub rate_limit: Option<Spanned<RateLimit>>,
    pub zone: Named<Zone>,
    pub pool: Named<Pool>,
    pub group: Named<Group>,
    pub site: Named<Site>,
    pub forward: Named<Forward>,
    pub hook: Named<Hook>,
    pub web: Option<Spanned<BySite<WebKeys>>>,
    pub director: Option<Spanned<BySite<DirectorKeys>>>,
    /// Pools, once they have been read from `pool` and the file's other parts.
    #[serde(skip)]
    pub pool_heads: Vec<PoolHead>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Front {
    pub interfaces: List<String>,
    pub addresses: List<String>,
    pub xdp: Text,
    pub freebind: Switch,
    pub roles: List<String>,
    pub vlans: Option<Spanned<Vlans>>,
}

/// A word, or a list of numbers and of texts.
#[derive(Debug)]
pub(super) enum Vlans {
    Word(String),
    List(Vec<Spanned<Vlan>>),
}

impl<'de> Deserialize<'de> for Vlans {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = Vlans;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("\"auto\" or a list of VLANs")
            }

            fn visit_str<E>(self, text: &str) -> Result<Vlans, E> {
                Ok(Vlans::Word(text.to_owned()))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Vlans, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Vlans::List)
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

/// A number or a text, as text.
#[derive(Debug)]
pub(super) struct Vlan(pub String);

impl<'de> Deserialize<'de> for Vlan {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl Visitor<'_> for Shape {
            type Value = Vlan;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a VLAN's number, or a text of two with a dot between")
            }

            fn visit_i64<E>(self, number: i64) -> Result<Vlan, E> {
                Ok(Vlan(number.to_string()))
            }

            fn visit_str<E>(self, text: &str) -> Result<Vlan, E> {
                Ok(Vlan(text.to_owned()))
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Admin {
    pub listen: Option<Spanned<OneOrMore>>,
    pub token_file: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct State {
    pub directory: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Agent {
    pub pins: Text,
    pub on_stop: Text,
    pub max_plan_age: Text,
    pub on_stale: Text,
    pub watch: Switch,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Health {
    pub file: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Fleet {
    pub kind: Text,
    pub front: Text,
    pub file: Text,
    pub endpoints: List<String>,
    pub prefix: Text,
    pub lease: Text,
    pub ca: Text,
    pub server_name: Text,
    pub certificate: Text,
    pub key: Text,
    pub user: Text,
    pub password_file: Text,
    pub probes: Text,
    pub probers: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Edns {
    pub cookies: Switch,
    pub cookie_secret_file: Text,
    pub nsid: Text,
    pub client_subnet: Switch,
    pub signed_bytes: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Chaos {
    pub version: Text,
    pub id: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct RateLimit {
    pub per_second: Number,
    pub slip: Number,
    pub prefix_v4: Number,
    pub prefix_v6: Number,
    pub dry_run: Switch,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Geo {
    pub database: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Zone {
    pub nameservers: List<String>,
    pub contact: Text,
    pub primary: Text,
    pub serial: Option<Spanned<NumberOrText>>,
    pub refresh: Seconds,
    pub retry: Seconds,
    pub expire: Seconds,
    pub negative_ttl: Seconds,
    pub soa_ttl: Seconds,
    pub ns_ttl: Seconds,
    pub records: Text,
    pub balance_nameservers: List<String>,
    pub failover_nameservers: List<String>,
    pub transfer_to: List<String>,
    pub dnssec: Option<Spanned<Dnssec>>,
}

/// `{ algorithm = "…", … }`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct DnssecTable {
    pub algorithm: Text,
    pub split_keys: Switch,
    pub keys: List<String>,
    pub bundle: Text,
    pub validity: Text,
    pub renew: Text,
    pub signature_alarm: Text,
    pub parent_ttl: Text,
}

/// On, off, or a table of how.
#[derive(Debug)]
pub(super) enum Dnssec {
    Switch(bool),
    Table(Box<DnssecTable>),
}

impl<'de> Deserialize<'de> for Dnssec {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = Dnssec;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("true, false or a table such as { algorithm = \"ed25519\" }")
            }

            fn visit_bool<E>(self, on: bool) -> Result<Dnssec, E> {
                Ok(Dnssec::Switch(on))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Dnssec, A::Error> {
                DnssecTable::deserialize(MapAccessDeserializer::new(map)).map(|table| Dnssec::Table(Box::new(table)))
            }
        }

        deserializer.deserialize_struct("Dnssec", fields_of::<DnssecTable>(), Shape)
    }
}

/// `[pool.NAME]`, in little memory where it has Sites alone, as one of very many has.
#[derive(Debug)]
pub(super) struct Pool {
    pub sites: List<String>,
    rare: Option<Box<PoolKeys>>,
}

/// A pool of which the Sites have been read: where it is, and its other keys.
#[derive(Debug)]
pub(super) struct PoolHead {
    pub key: Spanned<Box<str>>,
    rare: Option<Box<PoolKeys>>,
}

impl Pool {
    /// All keys but `sites`.
    pub(super) fn keys(&self) -> &PoolKeys {
        self.rare.as_deref().unwrap_or(&NO_KEYS)
    }

    /// The rest of the pool under a key.
    pub(super) fn head(self, key: Spanned<String>) -> PoolHead {
        let span = key.span();
        PoolHead { key: Spanned::new(span, key.into_inner().into()), rare: self.rare }
    }
}

impl PoolHead {
    /// One that an earlier reading has read, where nothing more is to be told of its keys.
    pub(super) fn unread() -> Self {
        Self { key: Spanned::new(UNREAD, Box::default()), rare: None }
    }

    /// Whether one of its keys is looked at once more when all is there.
    pub(super) fn is_needed(&self) -> bool {
        self.rare.as_ref().is_some_and(|keys| keys.quorum.is_some())
    }

    /// All keys but `sites`.
    pub(super) fn keys(&self) -> &PoolKeys {
        self.rare.as_deref().unwrap_or(&NO_KEYS)
    }
}

/// The keys of a pool that has none.
static NO_KEYS: LazyLock<PoolKeys> = LazyLock::new(PoolKeys::default);

impl<'de> Deserialize<'de> for Pool {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut keys = PoolKeys::deserialize(deserializer)?;
        let sites = keys.sites.take();
        Ok(Self { sites, rare: (keys != *NO_KEYS).then(|| Box::new(keys)) })
    }
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct PoolKeys {
    pub sites: List<String>,
    pub policy: Text,
    pub ttl: Seconds,
    pub up_threshold: Fraction,
    pub all_down: Text,
    pub last_resort: Text,
    pub min_sites: Number,
    pub failback: Text,
    pub min_capacity: Option<Spanned<f64>>,
    pub sticky_prefix_v4: Number,
    pub sticky_prefix_v6: Number,
    pub balance_factor: Fraction,
    pub low_watermark: Fraction,
    pub high_watermark: Fraction,
    pub max_step: Fraction,
    pub trickle: Fraction,
    pub slow_start: Text,
    pub quorum: Text,
    pub https: Option<Spanned<Https>>,
}

#[derive(Debug, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Https {
    pub alpn: List<String>,
    pub port: Number,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Group {
    pub pool: Text,
    pub sites: List<String>,
    pub policy: Text,
    pub clients: List<String>,
    pub countries: List<String>,
    pub continents: List<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Site {
    pub name: Text,
    pub addresses: List<Address>,
    pub weight: Number,
    pub capacity: Option<Spanned<f64>>,
    pub group: Text,
    pub hold_down: Text,
    pub hold_down_max: Text,
    pub flap_window: Text,
    pub failback: Text,
    pub depends_on: List<String>,
    pub initial: Text,
    pub probe: Option<Spanned<Probes>>,
    pub min_healthy: Number,
    pub load: Option<Spanned<Load>>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(clippy::struct_field_names, reason = "keys are as they stand in the file")]
pub(super) struct Load {
    pub kind: Text,
    pub port: Number,
    pub path: Text,
    pub host: Text,
    pub interval: Text,
    pub timeout: Text,
    pub stale_after: Text,
    pub when_stale: Text,
    pub load_per_answer: Fraction,
    pub target: Fraction,
    pub capacity: Fraction,
    pub verify: Switch,
    pub ca: Text,
    pub server_name: Text,
    pub certificate: Text,
    pub key: Text,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Probe {
    pub kind: Text,
    pub port: Number,
    pub path: Text,
    pub host: Text,
    pub expect_status: List<i64>,
    pub expect_body: Text,
    pub interval: Text,
    pub timeout: Text,
    pub rise: Number,
    pub fall: Number,
    pub when_expired: Text,
    pub verify: Switch,
    pub ca: Text,
    pub server_name: Text,
    pub certificate: Text,
    pub key: Text,
    pub service: Text,
    pub tls: Switch,
}

/// A probe, or a list of several.
#[derive(Debug)]
pub(super) enum Probes {
    One(Box<Probe>),
    Several(Vec<Spanned<Probe>>),
}

impl<'de> Deserialize<'de> for Probes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = Probes;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table or a list of tables")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Probes, A::Error> {
                Probe::deserialize(MapAccessDeserializer::new(map)).map(|probe| Probes::One(Box::new(probe)))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, list: A) -> Result<Probes, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(list)).map(Probes::Several)
            }
        }

        deserializer.deserialize_any(Shape)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Forward {
    pub upstreams: List<String>,
    pub timeout: Text,
    pub attempts: Number,
    pub clients: List<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Hook {
    pub url: Text,
    pub command: List<String>,
    pub events: List<String>,
    pub secret_file: Text,
    pub verify: Switch,
    pub ca: Text,
    pub timeout: Text,
    pub attempts: Number,
    pub queue: Number,
}

/// `{ answer = "…", probe = "…" }`.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct AddressTable {
    pub answer: Text,
    pub probe: Text,
}

/// An address, or a table of the answered and the probed one.
#[derive(Debug)]
pub(super) enum Address {
    Plain(String),
    Table(AddressTable),
}

impl<'de> Deserialize<'de> for Address {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Shape;

        impl<'de> Visitor<'de> for Shape {
            type Value = Address;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an address or a table { answer = \"…\", probe = \"…\" }")
            }

            fn visit_str<E>(self, text: &str) -> Result<Address, E> {
                Ok(Address::Plain(text.to_owned()))
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Address, A::Error> {
                AddressTable::deserialize(MapAccessDeserializer::new(map)).map(Address::Table)
            }
        }

        deserializer.deserialize_struct("Address", fields_of::<AddressTable>(), Shape)
    }
}
