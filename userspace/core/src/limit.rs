//! Response rate limiting of the socket path, and the limits as the kernel takes them: [`xdp_ebpf::limit`].
//!
//! Each of the two has buckets of its own: a network whose queries go both ways has its rate twice.

use std::net::IpAddr;

use rustix::time::{ClockId, clock_gettime};
use xdp_ebpf::{
    layout::Limits,
    limit::{Buckets, Class, TICK_BITS, TICKS},
    net::words,
};

use crate::model::{RateLimit, SignedBytes};

/// Blocks of buckets, in the kernel and here: 512 KiB, 65,536 networks by class, which a CPU core's own cache holds. A bucket is
/// only needed while its network has answers to make good for, a thousandth of a second for one answer at 1,000 a second.
pub(crate) const BLOCKS: usize = 1 << 13;

/// The verdict on an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateVerdict {
    /// It is sent: within the rate, or nothing is limited.
    Within,
    /// It is sent in a dry run.
    DryRun,
    /// It is sent truncated, so that a real client asks by TCP.
    Slip,
    /// It is sent truncated for the same reason: its client network has had its bytes of signed answers.
    Bytes,
    /// It is not sent.
    Drop,
}

/// The limits with a secret to key them.
#[must_use]
pub fn limits(rate: RateLimit, seed: u64) -> Limits {
    let (v4, v6) = rate.prefix;
    Limits {
        seed,
        mask6: u64::MAX.checked_shl(64 - u32::from(v6)).unwrap_or(0).to_be(),
        mask4: u32::MAX.checked_shl(32 - u32::from(v4)).unwrap_or(0).to_be(),
        interval: (TICKS / u64::from(rate.per_second)) as u32,
        burst: TICKS as u32,
        slip: rate.slip,
        block_mask: BLOCKS as u32 - 1,
        dry_run: u32::from(rate.dry_run),
    }
}

/// The rates of the socket path's clients.
#[derive(Debug)]
pub struct Limiter(Option<Rates>);

/// Limits, and how much of them each network has had.
#[derive(Debug)]
struct Rates {
    limits: Limits,
    buckets: Box<[Buckets]>,
}

/// The limits of the meter of signed answers, a byte as an answer is there, with a secret to key them.
#[must_use]
pub fn byte_limits(bytes: SignedBytes, seed: u64) -> Limits {
    limits(byte_rate(bytes), seed)
}

fn byte_rate(SignedBytes { per_second, prefix }: SignedBytes) -> RateLimit {
    RateLimit { per_second, slip: 0, prefix, dry_run: false }
}

impl Limiter {
    /// Nobody has asked yet. Takes no memory where nothing is limited.
    #[must_use]
    pub fn new(rate: Option<RateLimit>) -> Self {
        let buckets = || (0..BLOCKS).map(|_| Buckets::default()).collect();
        Self(rate.map(|rate| Rates { limits: limits(rate, rand::random()), buckets: buckets() }))
    }

    /// Takes so many answers, or bytes, from a client network's rate; false if that is too early.
    fn admit(&self, client: IpAddr, class: Class, cost: u32, now: u64) -> bool {
        let Some(Rates { limits, buckets }) = &self.0 else { return true };
        let [address, _] = words(client);
        let key = limits.key(client.is_ipv6(), address, class as u32);
        limits.admit_many(&buckets[key.block as usize], key, cost, now, |place| place)
    }

    /// Takes an answer from a client network's rate.
    #[must_use]
    pub fn judge(&self, client: IpAddr, class: Class) -> RateVerdict {
        self.judge_at(client, class, ticks())
    }

    fn judge_at(&self, client: IpAddr, class: Class, now: u64) -> RateVerdict {
        let Some(Rates { limits, .. }) = &self.0 else { return RateVerdict::Within };
        if self.admit(client, class, 1, now) {
            RateVerdict::Within
        } else if limits.dry_run != 0 {
            RateVerdict::DryRun
        } else if limits.slip != 0 && rand::random::<u32>().is_multiple_of(limits.slip) {
            RateVerdict::Slip
        } else {
            RateVerdict::Drop
        }
    }
}

/// Bytes of signed answers, by client network: what a forger can have sent to one.
///
/// A bucket counts bytes as the limiter's count answers, so that a network has a second's bytes at once.
#[derive(Debug)]
pub struct ByteMeter(Limiter);

impl ByteMeter {
    /// Nobody has had any. Takes no memory where nothing is metered.
    #[must_use]
    pub fn new(bytes: Option<SignedBytes>) -> Self {
        Self(Limiter::new(bytes.map(byte_rate)))
    }

    /// Takes an answer's bytes from its client network's; false where they are used up.
    #[must_use]
    pub fn admit(&self, client: IpAddr, len: usize) -> bool {
        self.admit_at(client, len, ticks())
    }

    fn admit_at(&self, client: IpAddr, len: usize, now: u64) -> bool {
        self.0.admit(client, Class::Other, len as u32, now)
    }
}

fn ticks() -> u64 {
    let now = clock_gettime(ClockId::MonotonicCoarse);
    let ns = now.tv_sec.cast_unsigned() * 1_000_000_000 + now.tv_nsec.cast_unsigned();
    ns >> TICK_BITS
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE: RateLimit = RateLimit { per_second: 10, slip: 0, prefix: (24, 56), dry_run: false };

    fn verdicts(rate: RateLimit, clients: &[&str]) -> Vec<RateVerdict> {
        let limiter = Limiter::new(Some(rate));
        let judge = |client: &&str| limiter.judge_at(client.parse().expect("valid"), Class::Data, 5);
        clients.iter().cycle().take(1000 * clients.len()).map(judge).collect()
    }

    fn count(verdicts: &[RateVerdict], which: RateVerdict) -> usize {
        verdicts.iter().filter(|verdict| **verdict == which).count()
    }

    #[test]
    fn a_network_has_a_second_s_worth_at_once() {
        for (clients, networks) in [
            (&["192.0.2.1", "192.0.2.254"][..], 1),
            (&["192.0.2.1", "192.0.3.1"], 2),
            (&["2001:db8::1", "2001:db8:0:ff::1"], 1),
            (&["2001:db8::1", "2001:db8:0:100::1"], 2),
        ] {
            assert_eq!(count(&verdicts(RATE, clients), RateVerdict::Within), 11 * networks, "{clients:?}");
        }
        let short = RateLimit { prefix: (8, 16), ..RATE };
        for (clients, networks) in [
            (&["192.0.2.1", "192.255.255.1"][..], 1),
            (&["192.0.2.1", "193.0.2.1"], 2),
            (&["2001:db8::1", "2001:ffff::1"], 1),
            (&["2001:db8::1", "2002:db8::1"], 2),
            (&["0.0.0.1", "::1", "::ffff:0.0.0.1"], 2),
        ] {
            assert_eq!(count(&verdicts(short, clients), RateVerdict::Within), 11 * networks, "{clients:?}");
        }
        let whole = RateLimit { prefix: (32, 64), ..RATE };
        assert_eq!(
            count(&verdicts(whole, &["2001:db8::1", "2001:db8:0:1::1", "2001:db8::2"]), RateVerdict::Within),
            22
        );
        assert_eq!(count(&verdicts(whole, &["192.0.2.1", "192.0.2.2"]), RateVerdict::Within), 22);
    }

    /// D-AMP: a second's bytes at once, whatever the answers' lengths, and as many each second.
    #[test]
    fn a_network_has_its_bytes() {
        for len in [100_usize, 900] {
            let meter = ByteMeter::new(Some(SignedBytes { per_second: 100_000, prefix: (24, 56) }));
            let client = "192.0.2.1".parse().expect("valid");
            let mut sent = 0;
            for second in 0..10 {
                let now = second * TICKS + 5;
                let answers = (0..10_000).filter(|_| meter.admit_at(client, len, now)).count();
                sent += answers * len;
            }
            assert!((1_000_000..1_130_000).contains(&sent), "{sent} bytes in ten seconds and a burst, {len} each");
            assert!(meter.admit_at("192.0.3.1".parse().expect("valid"), len, 5), "another network has its own");
        }
        assert!(ByteMeter::new(None).admit("192.0.2.1".parse().expect("valid"), 60_000));
    }

    #[test]
    fn what_is_over_it() {
        let none = verdicts(RATE, &["192.0.2.1"]);
        assert_eq!(count(&none, RateVerdict::Drop), 989);
        let half = count(&verdicts(RateLimit { slip: 2, ..RATE }, &["192.0.2.1"]), RateVerdict::Slip);
        assert!((400..590).contains(&half), "{half} of 989, one in two");
        assert_eq!(count(&verdicts(RateLimit { slip: 1, ..RATE }, &["192.0.2.1"]), RateVerdict::Slip), 989);
        assert_eq!(count(&verdicts(RateLimit { dry_run: true, ..RATE }, &["192.0.2.1"]), RateVerdict::DryRun), 989);
        let off = Limiter::new(None);
        assert!((0..9999).all(|_| off.judge("192.0.2.1".parse().expect("valid"), Class::Data) == RateVerdict::Within));
    }
}
