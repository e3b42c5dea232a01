//! Deferral (S4-5B-DEFER): who is turned away is told when to return, and gets a key that lets them go first then.
//!
//! **When.** Not before `retry`, and a lower share later: not before `retry / share`. After that, one key after the other
//! at the rate at which requests were admitted lately, so that those who return find room. A key waits for keys of its own
//! and higher shares alone; so at one moment, a lower share is never told an earlier time than a higher one.
//!
//! **Keys** are 128 random bits. They hold once, from when they are due until they lapse, one `retry` later. The last
//! [`KEYS_MAX`] that were given are known: what is older is forgotten. One client gets no more than a share of them at once,
//! or it would keep all room for itself, and put everybody's dates off; after that it is told a time without a key.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, prelude::BASE64_URL_SAFE_NO_PAD};
use ipnet::IpNet;

use super::{buckets::Buckets, clients::Tally, session::decode};

/// Keys that are known, at most.
pub const KEYS_MAX: usize = 100_000;
/// The longest wait beyond `retry`, seconds. Clients that a longer queue would put later return together, and some of
/// them are turned away again.
pub const WAIT_MAX: u64 = 600;
/// The most that one key adds to the wait of those after it, microseconds: where nothing is admitted, one returns a
/// second.
const STEP_MAX: u64 = SECOND;
/// In microseconds.
const SECOND: u64 = 1_000_000;
/// The time that counts as "lately", seconds.
const LATELY: u64 = 10;
/// Shares that have a queue of their own: parts of a whole.
const QUEUES: u8 = 16;
/// A key, and what it is as text.
const KEY_LEN: usize = 16;
const KEY_TEXT_LEN: usize = 22;

type Key = [u8; KEY_LEN];

/// The key and the time that are told to somebody who is turned away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deferral {
    /// 22 characters of base64url; none for a client that has many already.
    pub key: Option<String>,
    /// When they may return, Unix seconds.
    pub due: u64,
}

/// The worth of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyState {
    /// Nothing: never given, used, lapsed or forgotten.
    Unknown,
    /// It does not hold yet.
    Early {
        /// When it does, Unix seconds.
        due: u64,
    },
    /// It holds.
    Due,
}

/// The keys that are known. Times are Unix seconds.
#[derive(Debug)]
pub struct Deferrals {
    retry: u64,
    table: Mutex<Table>,
    /// Keys by when they are due.
    dues: Buckets,
    /// Requests admitted in each second.
    admitted: Buckets,
    /// Keys by client.
    clients: Tally,
}

/// Somebody who is turned away.
#[derive(Clone, Copy, Debug)]
pub struct Turned {
    /// The part of the limits that their requests may fill, over 0, at most 1.
    pub share: f64,
    /// Their net; none where clients are not told apart.
    pub client: Option<IpNet>,
    /// Keys that it may have.
    pub keys_max: u64,
}

#[derive(Debug)]
struct Table {
    /// The place of each key that is known in `ring`.
    places: HashMap<Key, usize>,
    /// The last keys given, with when they are due; those that are used are no longer in `places`.
    ring: Vec<(Key, Given)>,
    /// The place of the next.
    next: usize,
    /// By queue, lowest shares first: when the next in it may return, Unix microseconds.
    queues: [u64; QUEUES as usize],
}

/// The facts known of a key.
#[derive(Clone, Copy, Debug)]
struct Given {
    due: u64,
    client: Option<IpNet>,
}

impl Deferrals {
    /// None given yet. `retry` counts in whole seconds, at least one.
    #[must_use]
    pub fn new(retry: Duration) -> Self {
        let retry = retry.as_secs().clamp(1, WAIT_MAX * 100);
        let table = Table { places: HashMap::new(), ring: Vec::new(), next: 0, queues: [0; QUEUES as usize] };
        Self {
            retry,
            table: Mutex::new(table),
            dues: Buckets::new((2 * retry + WAIT_MAX + 2) as usize),
            admitted: Buckets::new(LATELY as usize + 2),
            clients: Tally::new(2 * retry + WAIT_MAX),
        }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        // Every change leaves the table whole, so one cut short by a panic is still good.
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Turns somebody away.
    pub fn defer(&self, now: u64, whom: &Turned) -> Deferral {
        let share = if whom.share > 0.0 { whom.share.clamp(1e-6, 1.0) } else { 1e-6 };
        let admitted = self.admitted.sum(now.saturating_sub(LATELY)..=now.saturating_sub(1));
        let step = (LATELY * SECOND).checked_div(admitted).map_or(STEP_MAX, |step| step.clamp(1, STEP_MAX));
        let after = |seconds: u64| now.saturating_add(seconds).saturating_mul(SECOND);
        let (first, last) = (after(self.retry), after(self.retry + WAIT_MAX));
        let own = after(Duration::from_secs(self.retry).div_f64(share).as_secs());
        let queue = (1..QUEUES).take_while(|part| share > f64::from(*part) / f64::from(QUEUES)).count();
        let key: Key = rand::random();

        let mut table = self.table();
        let turn = table.queues[queue].max(own).min(last);
        let given = Given { due: turn.div_ceil(SECOND), client: whom.client };
        if !self.clients.add(given.client, None, given.due + self.retry, now, whom.keys_max) {
            return Deferral { key: None, due: own.min(last).div_ceil(SECOND) };
        }
        for later in &mut table.queues[..=queue] {
            *later = (*later).max(first).min(last).saturating_add(step);
        }
        if let Some((forgotten, its)) = table.insert(key, given)
            && table.places.remove(&forgotten).is_some()
        {
            self.dues.take(its.due);
        }
        self.dues.add(given.due);
        Deferral { key: Some(BASE64_URL_SAFE_NO_PAD.encode(key)), due: given.due }
    }

    /// Returns what a key is worth now.
    #[must_use]
    pub fn key_state(&self, key: &str, now: u64) -> KeyState {
        let Some(key) = parse(key) else { return KeyState::Unknown };
        let table = self.table();
        match table.places.get(&key).map(|place| table.ring[*place].1.due) {
            Some(due) if now < due => KeyState::Early { due },
            Some(due) if now - due < self.retry => KeyState::Due,
            _ => KeyState::Unknown,
        }
    }

    /// Takes a key away; whether it was there. Of several at once, one is told so.
    pub fn redeem(&self, key: &str) -> bool {
        let Some(key) = parse(key) else { return false };
        let mut table = self.table();
        let Some(place) = table.places.remove(&key) else { return false };
        let given = table.ring[place].1;
        self.dues.take(given.due);
        self.clients.take(given.client, given.due + self.retry);
        true
    }

    /// A request was admitted: sets the pace.
    pub fn admitted(&self, now: u64) {
        self.admitted.add(now);
    }

    /// Keys that hold now.
    #[must_use]
    pub fn due(&self, now: u64) -> u32 {
        let from = (now + 1).saturating_sub(self.retry);
        u32::try_from(self.dues.sum(from..=now)).unwrap_or(u32::MAX)
    }
}

impl Table {
    /// Takes in a key; gives the one whose place it took.
    fn insert(&mut self, key: Key, given: Given) -> Option<(Key, Given)> {
        let place = self.next;
        self.next = (place + 1) % KEYS_MAX;
        self.places.insert(key, place);
        let Some(old) = self.ring.get_mut(place) else {
            self.ring.push((key, given));
            return None;
        };
        Some(std::mem::replace(old, (key, given)))
    }
}

fn parse(key: &str) -> Option<Key> {
    if key.len() == KEY_TEXT_LEN { decode(key.as_bytes()) } else { None }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::atomic::{AtomicU32, Ordering},
        thread,
    };

    use proptest::prelude::*;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// Somebody whose net is not known.
    fn defer(deferrals: &Deferrals, now: u64, share: f64) -> Told {
        let Deferral { key, due } = deferrals.defer(now, &Turned { share, client: None, keys_max: 1 });
        Told { key: key.expect("a key"), due }
    }

    #[derive(Clone, Debug, PartialEq)]
    struct Told {
        key: String,
        due: u64,
    }

    fn deferrals() -> Deferrals {
        Deferrals::new(Duration::from_secs(10))
    }

    /// One client has no more keys than its share, keeps no more room by them, and puts nobody's date off with the others.
    #[test]
    fn s4_5b_defer_one_client_has_a_share_of_the_keys() {
        let deferrals = deferrals();
        let hog = Turned { share: 1.0, client: "198.51.100.0/24".parse().ok(), keys_max: 5 };
        let told: Vec<Deferral> = (0..200_000).map(|_| deferrals.defer(NOW, &hog)).collect();
        let keys: Vec<&String> = told.iter().filter_map(|told| told.key.as_ref()).collect();
        assert_eq!((keys.len(), told[199_999].due), (5, NOW + 10));
        let other = defer(&deferrals, NOW, 1.0);
        assert!(other.due <= NOW + 10 + 6, "{}", other.due - NOW);
        assert!(deferrals.due(NOW + 15) <= 6);
        // One that is used, or has lapsed, makes room for another.
        assert!(deferrals.redeem(keys[0]));
        assert!(deferrals.defer(NOW, &hog).key.is_some() && deferrals.defer(NOW, &hog).key.is_none());
        assert!(deferrals.defer(NOW + 2000, &hog).key.is_some());
    }

    /// S4-5B-DEFER: a key holds from when it is due, until it lapses or is used.
    #[test]
    fn s4_5b_defer_a_key_holds_once_when_it_is_due() {
        let deferrals = deferrals();
        let Told { key, due } = defer(&deferrals, NOW, 1.0);
        assert_eq!((key.len(), due), (22, NOW + 10));
        let key_state = |now| deferrals.key_state(&key, now);
        assert_eq!(key_state(NOW), KeyState::Early { due });
        assert_eq!(key_state(due - 1), KeyState::Early { due });
        assert_eq!([key_state(due), key_state(due + 9)], [KeyState::Due; 2]);
        assert_eq!(key_state(due + 10), KeyState::Unknown);
        assert_eq!(
            [deferrals.due(due - 1), deferrals.due(due), deferrals.due(due + 9), deferrals.due(due + 10)],
            [0, 1, 1, 0]
        );
        assert!(deferrals.redeem(&key));
        assert_eq!((key_state(due), deferrals.due(due)), (KeyState::Unknown, 0));
        assert!(!deferrals.redeem(&key));
    }

    #[test]
    fn s4_5b_defer_threads_that_meet_redeem_a_key_once() {
        let deferrals = deferrals();
        let keys: Vec<String> = (0..500).map(|_| defer(&deferrals, NOW, 1.0).key).collect();
        let redeemed = AtomicU32::new(0);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for key in &keys {
                        redeemed.fetch_add(u32::from(deferrals.redeem(key)), Ordering::Relaxed);
                    }
                });
            }
        });
        assert_eq!(redeemed.into_inner(), 500);
        assert_eq!(deferrals.due(NOW + 100), 0);
    }

    #[test]
    fn s4_5b_defer_the_table_is_bounded_and_the_oldest_go() {
        let deferrals = deferrals();
        let first: Vec<Told> = (0..10).map(|_| defer(&deferrals, NOW, 1.0)).collect();
        for _ in 0..KEYS_MAX - 5 {
            defer(&deferrals, NOW, 1.0);
        }
        let known = |deferral: &Told| deferrals.key_state(&deferral.key, NOW) != KeyState::Unknown;
        assert_eq!(first.iter().map(known).collect::<Vec<_>>(), [[false; 5], [true; 5]].concat());
        let table = deferrals.table();
        assert_eq!((table.places.len(), table.ring.len()), (KEYS_MAX, KEYS_MAX));
        drop(table);
        let dues = deferrals.dues.sum(NOW..=NOW + 10 + WAIT_MAX);
        assert_eq!(dues, KEYS_MAX as u64, "what is forgotten is no longer due");
    }

    #[test]
    fn s4_5b_defer_at_the_pace_of_what_is_admitted() {
        let deferrals = deferrals();
        let dues = |now, count| (0..count).map(|_| defer(&deferrals, now, 1.0).due - now).collect::<Vec<_>>();
        assert_eq!(dues(NOW, 4), [10, 11, 12, 13], "where nothing is admitted, one a second");
        let later = NOW + 1000;
        for second in later - 10..later {
            for _ in 0..4 {
                deferrals.admitted(second);
            }
        }
        assert_eq!(dues(later, 9), [10, 11, 11, 11, 11, 12, 12, 12, 12], "four a second: in the second before");
        assert_eq!(dues(later + 60, 3), [10, 11, 12], "what was a minute ago is not lately");
    }

    #[test]
    fn s4_5b_defer_lower_shares_wait_for_higher_ones_and_not_the_other_way() {
        let deferrals = deferrals();
        let last = |share| (0..100).map(|_| defer(&deferrals, NOW, share).due - NOW).last().expect("some");
        assert_eq!(last(1.0), 109);
        assert_eq!(last(0.5), 209);
        assert_eq!(last(1.0), 209, "its own hundred before it, and none of a lower share");
        assert_eq!(last(0.2), 409);
    }

    #[test]
    fn s4_5b_defer_what_is_no_key_is_unknown() {
        let deferrals = deferrals();
        let key = defer(&deferrals, NOW, 1.0).key;
        let last = key.chars().last().expect("characters");
        // The last of 22 characters has four bits that no key uses.
        let other = char::from(u32::from(last).to_le_bytes()[0] + 1);
        let huge = "A".repeat(1 << 20);
        for bad in ["", "A", "AAAAAAAAAAAAAAAAAAAAA+", "AAAAAAAAAAAAAAAAAAAAAA", &key[1..], &format!("{key}A"), &huge] {
            assert_eq!(deferrals.key_state(bad, NOW + 10), KeyState::Unknown);
            assert!(!deferrals.redeem(bad));
        }
        assert_eq!(deferrals.key_state(&format!("{}{other}", &key[..21]), NOW + 10), KeyState::Unknown);
        assert_eq!(deferrals.key_state(&key, NOW + 10), KeyState::Due);
    }

    proptest! {
        /// S4-5B-DEFER: times of one share never go back, a lower share's is never the earlier one at one moment, none is
        /// before `retry` or without end; keys that are due are counted.
        #[test]
        fn s4_5b_defer_times_are_in_order(
            retry in 1_u64..30,
            steps in prop::collection::vec((0_u64..3, 0_usize..4, 0_u32..20), 1..120),
        ) {
            const SHARES: [f64; 4] = [0.01, 0.3, 0.5, 1.0];
            let deferrals = Deferrals::new(Duration::from_secs(retry));
            let (mut now, mut last) = (NOW, [0; 4]);
            let (mut keys, mut given) = (HashSet::new(), Vec::new());
            for (later, share, admitted) in steps {
                now += later;
                for _ in 0..admitted {
                    deferrals.admitted(now);
                }
                let Told { key, due } = defer(&deferrals, now, SHARES[share]);
                prop_assert!((now + retry..=now + retry + WAIT_MAX).contains(&due));
                prop_assert!(due >= last[share]);
                last[share] = due;
                given.push(due);
                prop_assert!(keys.insert(key));
                let counted = given.iter().filter(|due| (now.saturating_sub(retry) + 1..=now).contains(*due)).count();
                prop_assert_eq!(deferrals.due(now) as usize, counted);
            }
            let at_once = SHARES.map(|share| defer(&deferrals, now, share).due);
            prop_assert!(at_once.is_sorted_by(|lower, higher| lower >= higher), "{:?}", at_once);
            let at_once: Vec<_> = SHARES.iter().rev().map(|share| defer(&deferrals, now, *share).due).collect();
            prop_assert!(at_once.is_sorted(), "{:?}", at_once);
        }

        #[test]
        fn s4_5b_defer_any_text_is_looked_at(text in ".{0,40}") {
            prop_assert_eq!(deferrals().key_state(&text, NOW), KeyState::Unknown);
        }
    }
}
