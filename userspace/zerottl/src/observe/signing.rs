//! The signed zones: how long their signatures will last, and whether the clock can be believed.

use std::{
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tracing::{error, info};

use zerottl_dns::Served;
use zerottl_sign::validity::BACKDATED;

/// Kinds of alarms about signed zones.
pub const SIGNING_KINDS: [&str; 3] = ["signature-expiring", "clock-stepped", "clock-behind"];
/// By how much the clock may go apart from the time that has passed.
const STEP_MAX: Duration = Duration::from_hours(1);

/// Seconds in which a bundle's next period is answered once that has begun, at the latest.
const NEXT_PERIOD: u64 = 600;

/// Seconds since 1970 modulo 2^32, as signatures have them.
#[must_use]
pub fn seconds() -> u32 {
    now() as u32
}

/// Seconds since 1970.
#[must_use]
pub fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// One signed zone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedZoneState {
    /// Its name.
    pub zone: String,
    /// Its keys, as `algorithm/tag`.
    pub keys: Vec<String>,
    /// How many signatures it has.
    pub signatures: usize,
    /// Whole minutes until the first of them expires, or the last of a bundle's; negative once it has. Minutes, so that a state is not new every second.
    pub left_min: i32,
    /// Whether that is less than `signature_alarm`.
    pub is_expiring: bool,
    /// Whether signatures begin later than now.
    pub is_ahead: bool,
    /// Whether they are of a bundle, whose end counts then.
    pub is_bundle: bool,
}

impl SignedZoneState {
    /// The states of all signed zones at `now`.
    #[must_use]
    pub fn all(served: &Served, now: u64) -> Vec<Self> {
        let of = |zone: &zerottl_dns::zone::Zone| {
            let signed = served.view.signed(zone.id())?;
            let alarm = served.view.model.zones[zone.id().0].dnssec.as_ref()?.signature_alarm;
            let left = signed.lasts(now, NEXT_PERIOD)?;
            let begins = |validity: zerottl_sign::Validity| validity.inception.wrapping_sub(now as u32).cast_signed();
            Some(Self {
                zone: zone.apex().to_string(),
                keys: signed.keys().all().iter().map(|key| format!("{}/{}", key.algorithm(), key.tag())).collect(),
                signatures: signed.signatures(),
                left_min: left.div_euclid(60) as i32,
                is_expiring: left < alarm.as_secs().cast_signed(),
                is_ahead: signed.validities().any(|validity| begins(validity) > 0),
                is_bundle: signed.bundle().is_some(),
            })
        };
        served.zones.iter().filter_map(of).collect()
    }
}

/// An alarm about signed zones.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningAlarm {
    /// One of [`SIGNING_KINDS`].
    pub kind: &'static str,
    /// The alarm in a sentence.
    pub message: String,
}

/// Alarms about the zones and the clock.
#[must_use]
pub fn alarms(zones: &[SignedZoneState], clock: &Clock) -> Vec<SigningAlarm> {
    let mut alarms = Vec::new();
    for zone in zones {
        let name = &zone.zone;
        if zone.is_expiring {
            let what = if zone.is_bundle { "the last signatures in the bundle" } else { "a signature" };
            let (expires, has_expired, it) =
                if zone.is_bundle { ("expire", "have expired", "them") } else { ("expires", "has expired", "it") };
            let when = match zone.left_min {
                left @ 0.. => format!("{expires} in {} h {} min", left / 60, left % 60),
                left => format!("{has_expired} {} min ago: validating resolvers do not believe {it}", -left),
            };
            let help = if zone.is_bundle { "; make a new bundle with `zerottl sign`" } else { "" };
            let message = format!("{what} of the zone {name} {when}{help}");
            alarms.push(SigningAlarm { kind: SIGNING_KINDS[0], message });
        }
        if zone.is_ahead {
            let hours = BACKDATED.as_secs() / 3600;
            let help = if zone.is_bundle {
                "make a new bundle"
            } else {
                "remove the file `signatures` of the zone's keys and restart the agent"
            };
            let message = format!(
                "signatures of the zone {name} begin later than now: the clock is over {hours} h behind the one that they \
                 were made by; if it is right now, {help}"
            );
            alarms.push(SigningAlarm { kind: SIGNING_KINDS[2], message });
        }
    }
    if !clock.was_steady() && !zones.is_empty() {
        let message =
            "the clock has stepped: nothing is signed until it is right again, or the agent is restarted with it";
        alarms.push(SigningAlarm { kind: SIGNING_KINDS[1], message: message.into() });
    }
    alarms
}

/// The wall clock beside the time that has passed.
#[derive(Debug)]
pub struct Clock {
    began: Mutex<(Instant, SystemTime)>,
    is_steady: AtomicBool,
}

impl Default for Clock {
    /// It is right now.
    fn default() -> Self {
        Self { began: Mutex::new((Instant::now(), SystemTime::now())), is_steady: AtomicBool::new(true) }
    }
}

impl Clock {
    /// Whether the wall clock goes as the time does. It is told when that changes.
    pub fn is_steady(&self) -> bool {
        self.judge(Instant::now(), SystemTime::now())
    }

    /// The time in seconds since 1970: what the clock shows, unless it has stepped; then what it would show without that.
    #[must_use]
    pub fn believed(&self) -> u64 {
        let (now, wall) = (Instant::now(), SystemTime::now());
        let time = if self.judge(now, wall) { wall } else { self.expected(now) };
        time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
    }

    /// The time that the clock would show had it not stepped.
    fn expected(&self, now: Instant) -> SystemTime {
        let began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        began.1 + now.duration_since(began.0)
    }

    fn judge(&self, now: Instant, wall: SystemTime) -> bool {
        let mut began = self.began.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = began.1 + now.duration_since(began.0);
        let apart = wall.duration_since(expected).or_else(|_| expected.duration_since(wall)).unwrap_or_default();
        let is_steady = apart <= STEP_MAX;
        if is_steady {
            // A clock that is a little fast, or is set by little, is no step, however long that goes on.
            *began = (now, wall);
        }
        match (self.is_steady.swap(is_steady, Ordering::Relaxed), is_steady) {
            (true, false) => {
                error!("the clock has stepped by {} s: nothing is signed until it is right again", apart.as_secs());
            }
            (false, true) => info!("the clock is right again: signing goes on"),
            _ => {}
        }
        is_steady
    }

    /// Whether it was when it was looked at last.
    #[must_use]
    pub fn was_steady(&self) -> bool {
        self.is_steady.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// D-CLOCK: a step of over an hour is told from drift, in both directions, and ends when the clock is right again.
    #[test]
    fn steps_are_told_from_drift() {
        let (began, wall) = (Instant::now(), SystemTime::now());
        let clock = Clock::default();
        let after = |hours: u32, apart: i64| {
            let time = wall + Duration::from_hours(hours.into());
            let apart_by = Duration::from_secs(apart.unsigned_abs());
            let wall = if apart < 0 { time - apart_by } else { time + apart_by };
            clock.judge(began + Duration::from_hours(hours.into()), wall)
        };
        for day in 1..30 {
            assert!(after(24 * day, i64::from(day) * 600), "ten minutes a day are no step");
        }
        let drift = 29 * 600;
        assert!(!after(24 * 30, drift + 3700) && !clock.was_steady());
        assert!(!after(24 * 31, drift + 3700), "it stays one");
        assert!(!after(24 * 31, drift - 3700));
        assert!(!after(24 * 31, drift - 3700));
        // Whatever it shows, a bundle is read by the time that has passed.
        let away = |now: Instant| clock.expected(now).duration_since(wall).map_or(0, |since| since.as_secs());
        assert_eq!(away(began + Duration::from_hours(24 * 31)), 24 * 31 * 3600 + drift.unsigned_abs());
        assert!(after(24 * 31, drift) && clock.was_steady());
    }
}
