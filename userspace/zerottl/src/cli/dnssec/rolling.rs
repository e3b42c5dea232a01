//! The exchange of a zone's keys: what is asked for is written to the state directory, under a lock that the agent keeps
//! to, and the agent looks there every 10 seconds.

use std::{
    fmt::Write as _,
    time::{SystemTime, UNIX_EPOCH},
};

use serde_json::json;
use zerottl_config as config;
use zerottl_core::model::Name;
use zerottl_sign::{
    KeyRole, Keyring, ZoneBundle, ZoneKeys,
    roll::{self, RollError, RollStep, RollTtls, RolledKey},
};

use super::zone::{OfZone, TTL, bundle, date, find};
use crate::cli::{CommandError, print};

/// The wish of whoever runs a command.
#[derive(Clone, Copy)]
pub(super) enum Change {
    Roll { ksk: bool, zsk: bool },
    DsSeen,
    Step,
}

/// Changes the keys of a zone, if that is wished, and prints their state.
pub(super) fn run(of: &OfZone, change: Option<Change>) -> Result<(), CommandError> {
    let loaded = config::load(&of.config).map_err(|error| CommandError::report(&error))?;
    let (id, apex, dnssec) = find(&loaded.model, &of.zone, &of.config)?;
    let (dnssec, state) = of.keys_at(&loaded.model, dnssec);
    if let Some(bundle) = bundle(apex, &dnssec)?.filter(|_| change.is_none()) {
        return print(of_bundle(apex, &bundle, of.json).as_bytes());
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let changed = || -> Result<Keyring, RollError> {
        let (mut keyring, lock) = roll::hold(apex, &dnssec, state)?;
        match change {
            None => {}
            Some(Change::Roll { ksk, zsk }) => {
                let role = if ksk { Some(KeyRole::Ksk) } else { zsk.then_some(KeyRole::Zsk) };
                keyring.roll(role, now, &lock)?;
            }
            Some(Change::DsSeen) => keyring.ds_seen(now, &lock)?,
            Some(Change::Step) => {
                let (longest, keys) = loaded.zones.zone(id).ttls(&loaded.model);
                let ttls = RollTtls { keys, longest, parent: dnssec.parent_ttl.as_secs() as u32 };
                keyring.advance_by_hand(ttls, now, &lock)?;
            }
        }
        Ok(keyring)
    };
    let keyring = changed().map_err(|error| error.to_string())?;
    let keys = keyring.keys().map_err(|error| error.to_string())?;
    let state = State { apex, keys: keyring.list(), under_way: keyring.under_way(), ds: ds(apex, &keys) };
    if of.json {
        return print(format!("{}\n", state.json()).as_bytes());
    }
    print(state.text().as_bytes())
}

/// The DS records of a zone, as lines of a zone file.
fn ds(apex: &Name, keys: &ZoneKeys) -> Vec<String> {
    let line = |ds| format!("{} {TTL} IN DS {ds}", apex.fmt_with_dot());
    keys.delegation_signers(apex).map(|ds| line(ds.to_string())).collect()
}

/// The keys of a zone and the times of its signatures, by its bundle alone.
fn of_bundle(apex: &Name, bundle: &ZoneBundle, is_json: bool) -> String {
    let keys = roll::list(bundle.keys());
    let state = State { apex, keys, under_way: None, ds: ds(apex, bundle.keys()) };
    let begin = bundle.periods().next().map_or(0, |first| first.begin);
    let file = bundle.path().display();
    if is_json {
        let mut page = state.json();
        page["bundle"] = json!({
            "file": file.to_string(),
            "begin": begin,
            "end": bundle.end(),
            "periods": bundle.periods().len(),
        });
        return format!("{page}\n");
    }
    let (begin, end, periods) = (date(begin), date(bundle.end()), bundle.periods().len());
    format!(
        "{}by the bundle {file}: {periods} periods from {begin} until {end}; its keys are on another host\n",
        state.table()
    )
}

/// The state of a zone's keys, to be shown.
struct State<'a> {
    apex: &'a Name,
    keys: Vec<RolledKey>,
    under_way: Option<(KeyRole, RollStep)>,
    /// The DS records that the parent is to have.
    ds: Vec<String>,
}

impl State<'_> {
    fn json(&self) -> serde_json::Value {
        let key = |key: &RolledKey| {
            json!({
                "tag": key.tag,
                "algorithm": key.algorithm.to_int(),
                "role": key.role.word(),
                "in_dnskey": key.duties.is_published,
                "signs_keys": key.duties.signs_keys,
                "signs_zone": key.duties.signs_zone,
                "ds_expected": key.duties.is_at_parent,
                "leaving": key.is_old,
            })
        };
        let roll = self.under_way.map(|(role, step)| {
            let until = match step {
                RollStep::Spread(until) | RollStep::Expire(until) => Some(until),
                _ => None,
            };
            json!({
                "role": role.word(),
                "step": step.number(),
                "waits_for": step.to_string(),
                "until": until,
                "next": self.next(step),
            })
        });
        json!({
            "zone": self.apex.to_string(),
            "keys": self.keys.iter().map(key).collect::<Vec<_>>(),
            "ds": self.ds,
            "roll": roll,
        })
    }

    fn table(&self) -> String {
        let mut text = String::from("KEY    ALGORITHM        ROLE  IN DNSKEY  SIGNS      DS AT PARENT\n");
        for key in &self.keys {
            let duties = key.duties;
            let signs = match (duties.signs_keys, duties.signs_zone) {
                (true, true) => "keys, zone",
                (true, false) => "keys",
                (false, true) => "zone",
                (false, false) => "nothing",
            };
            let yes = |is| if is { "yes" } else { "no" };
            // Writing to a string does not fail.
            let _ = writeln!(
                text,
                "{:<5}  {:<15}  {:<4}  {:<9}  {signs:<9}  {}",
                key.tag,
                key.algorithm.to_string(),
                key.role.word(),
                yes(duties.is_published),
                yes(duties.is_at_parent),
            );
        }
        text
    }

    fn text(&self) -> String {
        let mut text = self.table();
        match self.under_way {
            None => text.push_str("no key is being rolled\n"),
            Some((role, step)) => {
                let _ = writeln!(text, "roll of the {}, step {step}", role.word());
                let _ = writeln!(text, "{}", self.next(step));
            }
        }
        text
    }

    /// The next thing for a person to do, if there is one.
    fn next(&self, step: RollStep) -> String {
        match step {
            RollStep::Replace { parent: true, .. } => format!(
                "put this DS to the parent in place of those that it has (a parent that reads CDS does that by itself), and \
                 once all its servers have it, run `zerottl dnssec ds-seen {}`:\n{}",
                self.apex,
                self.ds.join("\n")
            ),
            _ => "a running agent goes on by itself; nothing is to be done".into(),
        }
    }
}
