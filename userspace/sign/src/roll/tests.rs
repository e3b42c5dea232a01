//! Whole rolls, by a clock that is passed in.

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use domain::rdata::{Cdnskey, Dnskey};
use tempfile::TempDir;

use super::*;
use crate::{ZoneKeys, keyring::open};
use zerottl_core::fixture::name;

/// The length of a wait for some hours' TTL.
fn after(hours: u64) -> u64 {
    hours * HOUR + u64::from(MARGIN)
}

/// Long past: the library, which asks the system's clock, never waits.
const START: u64 = 1_600_000_000;
const HOUR: u64 = 3600;
const TTLS: RollTtls = RollTtls { keys: 3600, longest: 7200, parent: 86_400 };

/// A zone whose keys are in a folder of its own.
struct Rolled {
    state: TempDir,
    config: DnssecConfig,
    now: u64,
    /// The order in which its keys were made.
    tags: Vec<u16>,
}

/// The tags of the keys with each kind of work.
#[derive(Debug, PartialEq, Eq)]
struct Work {
    dnskey: Vec<u16>,
    signs_keys: Vec<u16>,
    signs_zone: u16,
    cds: Vec<u16>,
}

impl Rolled {
    fn new(config: DnssecConfig) -> Self {
        let state = tempfile::tempdir().expect("a folder");
        let keys = open(&name("app.com"), &config, state.path()).expect("made");
        let tags = keys.all().iter().map(|key| key.tag()).collect();
        Self { state, config, now: START, tags }
    }

    /// Does something to the keys as a command or the agent does, from the file and to the file.
    fn with<T>(&self, change: impl FnOnce(&mut Keyring, &KeyringLock) -> T) -> T {
        let (mut keyring, lock) = hold(&name("app.com"), &self.config, self.state.path()).expect("held");
        change(&mut keyring, &lock)
    }

    /// Begins a roll; returns the new key's tag.
    fn roll(&mut self, role: Option<KeyRole>) -> u16 {
        self.with(|keyring, lock| keyring.roll(role, self.now, lock)).expect("begun");
        let all = self.with(|keyring, _| keyring.list());
        let new = all.iter().map(|key| key.tag).find(|tag| !self.tags.contains(tag)).expect("a new one");
        self.tags.push(new);
        new
    }

    fn step(&self) -> Option<RollStep> {
        self.with(|keyring, _| keyring.under_way()).map(|(_, step)| step)
    }

    fn advance(&self, is_signed: bool) -> bool {
        self.with(|keyring, lock| keyring.advance(TTLS, is_signed, self.now, lock)).expect("advanced")
    }

    fn keys(&self) -> ZoneKeys {
        open(&name("app.com"), &self.config, self.state.path()).expect("there")
    }

    fn work(&self) -> Work {
        let keys = self.keys();
        let sorted = |mut tags: Vec<u16>| {
            tags.sort_by_key(|tag| self.tags.iter().position(|known| known == tag));
            tags
        };
        let zone = name("app.com");
        let ds: Vec<_> = keys.delegation_signers(&zone).map(|ds| ds.key_tag()).collect();
        let cds: Vec<_> = keys.cds(&zone).map(|cds| cds.key_tag()).collect();
        let dnskey = |key: Cdnskey<bytes::Bytes>| {
            Dnskey::new(key.flags(), key.protocol(), key.algorithm(), key.public_key().clone()).expect("short")
        };
        let cdnskeys: Vec<_> = keys.cdnskeys().map(|key| dnskey(key).key_tag()).collect();
        assert!(ds == cds && cds == cdnskeys, "{ds:?} {cds:?} {cdnskeys:?}");
        Work {
            dnskey: sorted(keys.dnskeys().map(|key| key.key_tag()).collect()),
            signs_keys: sorted(keys.entry_points().map(|key| key.tag()).collect()),
            signs_zone: keys.zone_key().tag(),
            cds: sorted(cds),
        }
    }

    /// Goes up to the end of a wait: a second before, nothing is done.
    fn wait(&mut self, hours: u64) {
        self.now += after(hours) - 1;
        assert!(!self.advance(true), "{:?}", self.step());
        self.now += 1;
        assert!(self.advance(true), "{:?}", self.step());
    }
}

fn work(dnskey: &[u16], signs_keys: &[u16], signs_zone: u16, cds: &[u16]) -> Work {
    Work { dnskey: dnskey.into(), signs_keys: signs_keys.into(), signs_zone, cds: cds.into() }
}

/// Names of the files in a zone's folder, and the rights of the secrets.
fn files(state: &Path) -> (usize, usize) {
    let entries: Vec<_> = fs::read_dir(zone_keys::folder(&name("app.com"), state)).expect("there").flatten().collect();
    let ending = |ending: &str| {
        let of = entries.iter().filter(move |entry| entry.path().extension().is_some_and(|each| each == ending));
        of.collect::<Vec<_>>()
    };
    for secret in ending("private") {
        assert_eq!(secret.metadata().expect("there").permissions().mode() & 0o777, 0o600, "{secret:?}");
    }
    (ending("key").len(), ending("private").len())
}

/// D-KEYS: a CSK is rolled step by step, and each step has the DNSKEY set, the signer and the CDS that caches need.
#[test]
fn a_csk_is_rolled_step_by_step() {
    let mut zone = Rolled::new(DnssecConfig::default());
    let old = zone.tags[0];
    assert_eq!(zone.work(), work(&[old], &[old], old, &[old]));
    assert!(!zone.advance(true));
    let new = zone.roll(None);
    let before = work(&[old, new], &[old, new], old, &[old]);
    assert_eq!((zone.step(), zone.work()), (Some(RollStep::Publish), before));
    assert!(matches!(zone.with(|keyring, lock| keyring.roll(None, START, lock)), Err(RollError::UnderWay(_))));
    let early = zone.with(|keyring, lock| keyring.ds_seen(START, lock));
    assert!(matches!(early, Err(RollError::NotParent { step: 1, .. })), "{early:?}");
    assert!(zone.advance(false));
    assert_eq!(zone.step(), Some(RollStep::Spread(START + after(1))));
    zone.wait(1);
    // The old DS goes on being good for both.
    assert_eq!(zone.work(), work(&[old, new], &[old, new], new, &[new]));
    assert_eq!(zone.step(), Some(RollStep::Replace { signatures: true, parent: true }));
    assert!(!zone.advance(false));
    assert!(zone.advance(true));
    assert_eq!(zone.step(), Some(RollStep::Replace { signatures: false, parent: true }));
    zone.now += 1000 * HOUR;
    assert!(!zone.advance(true), "a parent is waited for as long as it takes");
    zone.with(|keyring, lock| keyring.ds_seen(zone.now, lock)).expect("seen");
    assert!(zone.advance(true));
    assert_eq!(zone.step(), Some(RollStep::Expire(zone.now + after(24))));
    zone.wait(24);
    assert_eq!((zone.step(), zone.work()), (Some(RollStep::Withdraw), work(&[new], &[new], new, &[new])));
    assert_eq!(files(zone.state.path()), (2, 2));
    assert!(zone.advance(true));
    assert_eq!((zone.step(), zone.work()), (None, work(&[new], &[new], new, &[new])));
    assert_eq!(files(zone.state.path()), (1, 1), "the old key's files are gone");
    // And once more, from the state that a roll has left.
    let third = zone.roll(Some(KeyRole::Csk));
    assert!(zone.advance(true));
    zone.wait(1);
    assert_eq!(zone.work(), work(&[new, third], &[new, third], third, &[third]));
}

/// D-KEYS: a ZSK is rolled without the parent, by pre-publication.
#[test]
fn a_zsk_is_rolled_without_the_parent() {
    let mut zone = Rolled::new(DnssecConfig { split_keys: true, ..DnssecConfig::default() });
    let [ksk, old] = split(&zone);
    zone.tags = vec![ksk, old];
    let without = zone.with(|keyring, lock| keyring.roll(None, START, lock));
    assert!(matches!(without, Err(RollError::Role { .. })), "{without:?}");
    let new = zone.roll(Some(KeyRole::Zsk));
    let all = [ksk, old, new];
    assert_eq!(zone.work(), work(&all, &[ksk], old, &[ksk]));
    assert!(zone.advance(true));
    zone.wait(1);
    assert_eq!(zone.work(), work(&all, &[ksk], new, &[ksk]));
    assert_eq!(zone.step(), Some(RollStep::Replace { signatures: true, parent: false }));
    assert!(!zone.advance(false));
    let seen = zone.with(|keyring, lock| keyring.ds_seen(zone.now, lock));
    assert!(matches!(seen, Err(RollError::NotParent { step: 3, .. })), "{seen:?}");
    assert!(zone.advance(true) && zone.advance(true));
    assert_eq!(zone.step(), Some(RollStep::Expire(zone.now + after(2))));
    zone.wait(2);
    assert!(zone.advance(true));
    assert_eq!((zone.step(), zone.work()), (None, work(&[ksk, new], &[ksk], new, &[ksk])));
}

/// D-KEYS: a KSK is rolled with double signatures, while the ZSK goes on.
#[test]
fn a_ksk_is_rolled_while_the_zsk_goes_on() {
    let algorithm = model::ZoneAlgorithm::Ed25519;
    let mut zone = Rolled::new(DnssecConfig { split_keys: true, algorithm, ..DnssecConfig::default() });
    let [old, zsk] = split(&zone);
    zone.tags = vec![old, zsk];
    // The configuration's algorithm is that of a zone's first keys.
    zone.config.algorithm = model::ZoneAlgorithm::EcdsaP256Sha256;
    let new = zone.roll(Some(KeyRole::Ksk));
    assert!(zone.keys().all().iter().all(|key| key.algorithm() == SecurityAlgorithm::ED25519));
    let all = [old, zsk, new];
    assert_eq!(zone.work(), work(&all, &[old, new], zsk, &[old]));
    assert!(zone.advance(true));
    zone.wait(1);
    assert_eq!(zone.work(), work(&all, &[old, new], zsk, &[new]));
    assert_eq!(zone.step(), Some(RollStep::Replace { signatures: false, parent: true }));
    assert!(!zone.advance(true));
    zone.with(|keyring, lock| keyring.ds_seen(zone.now, lock)).expect("seen");
    assert!(zone.advance(true));
    zone.wait(24);
    assert!(zone.advance(true));
    assert_eq!((zone.step(), zone.work()), (None, work(&[zsk, new], &[new], zsk, &[new])));
}

/// D-KEYS: every step can be done by hand, and a wait cannot be cut short.
#[test]
fn steps_by_hand_keep_to_the_waits() {
    let mut zone = Rolled::new(DnssecConfig::default());
    let hand = |zone: &Rolled| zone.with(|keyring, lock| keyring.advance_by_hand(TTLS, zone.now, lock));
    assert!(matches!(hand(&zone), Err(RollError::NotUnderWay(_))));
    let new = zone.roll(None);
    hand(&zone).expect("published");
    let early = hand(&zone);
    assert!(matches!(early, Err(RollError::NotYet { until, .. }) if until == START + after(1)), "{early:?}");
    let said = early.expect_err("early").to_string();
    assert!(said.contains("until 2020-09-13T13:26:45Z"), "{said}");
    zone.now += after(1);
    hand(&zone).expect("spread");
    hand(&zone).expect("signed");
    assert!(matches!(hand(&zone), Err(RollError::Parent(_))));
    zone.with(|keyring, lock| keyring.ds_seen(zone.now, lock)).expect("seen");
    hand(&zone).expect("replaced");
    zone.now += after(24);
    hand(&zone).expect("expired");
    hand(&zone).expect("withdrawn");
    assert_eq!(zone.work(), work(&[new], &[new], new, &[new]));
}

/// D-KEYS: keys that were there before there was a `keyset.json` are in use, and are rolled as others are.
#[test]
fn keys_without_a_state_are_taken_as_in_use() {
    for split_keys in [false, true] {
        let mut zone = Rolled::new(DnssecConfig { split_keys, ..DnssecConfig::default() });
        let before = zone.work();
        let file = zone_keys::folder(&name("app.com"), zone.state.path()).join("keyset.json");
        fs::remove_file(&file).expect("there");
        assert_eq!(zone.work(), before);
        let role = split_keys.then_some(KeyRole::Ksk);
        let new = zone.roll(role);
        assert!(zone.work().dnskey.contains(&new) && !zone.work().cds.contains(&new));
        assert!(zone.advance(true));
        zone.wait(1);
        assert_eq!(zone.work().cds, [new]);
        fs::write(&file, "{\"version\": 2}").expect("written");
        let damaged = open(&name("app.com"), &zone.config, zone.state.path());
        assert!(matches!(damaged, Err(KeyError::State { .. })), "{damaged:?}");
    }
}

/// D-KEYS: the operator's keys are the operator's.
#[test]
fn keys_of_the_configuration_are_not_rolled() {
    let zone = Rolled::new(DnssecConfig::default());
    let folder = zone_keys::folder(&name("app.com"), zone.state.path());
    let config = DnssecConfig { keys: zone_keys::files(&folder).expect("there"), ..DnssecConfig::default() };
    let held = hold(&name("app.com"), &config, zone.state.path()).map(drop);
    assert!(matches!(held, Err(RollError::Configured(_))));
    let held = hold(&name("b.example"), &zone.config, zone.state.path()).map(drop);
    assert!(matches!(held, Err(RollError::Missing(_))));
}

/// Two who change the keys do so one after the other.
#[test]
fn the_lock_makes_others_wait() {
    let zone = Rolled::new(DnssecConfig::default());
    let (_keyring, lock) = hold(&name("app.com"), &zone.config, zone.state.path()).expect("held");
    let (state, config) = (zone.state.path().to_owned(), zone.config.clone());
    let other = std::thread::spawn(move || hold(&name("app.com"), &config, &state).map(drop));
    std::thread::sleep(Duration::from_millis(100));
    assert!(!other.is_finished());
    drop(lock);
    other.join().expect("ended").expect("held");
}

/// KSK and ZSK of a zone that has one of each.
fn split(zone: &Rolled) -> [u16; 2] {
    let keys = zone.keys();
    let ksk = keys.entry_points().next().expect("a KSK").tag();
    [ksk, keys.zone_key().tag()]
}
