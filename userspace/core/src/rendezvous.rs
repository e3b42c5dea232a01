//! Rendezvous hashing (Thaler and Ravishankar, 1998): which fronts probe an address, without asking each other. Pure.
//!
//! Each front has a score for each address, and those with the highest probe it. When a front leaves, its addresses alone go to
//! others, each to the next in its order; when one comes, it takes only what it has the highest scores for.

use std::net::IpAddr;

/// Whether `front` is among the first `count` of `fronts` for an address of a Site. `fronts` need not name it.
#[must_use]
pub fn is_chosen(front: &str, fronts: &[&str], count: usize, site: &str, address: IpAddr) -> bool {
    let of = |front| (score(front, site, address), front);
    let own = of(front);
    fronts.iter().filter(|other| **other != front && of(other) > own).count() < count
}

/// Alike on every machine and in every version: FNV-1a over the three, and the finish of `SplitMix64`, so that names which differ in their last
/// letter have nothing in common.
fn score(front: &str, site: &str, address: IpAddr) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let (v4, v6);
    let address: &[u8] = match address {
        IpAddr::V4(address) => {
            v4 = address.octets();
            &v4
        }
        IpAddr::V6(address) => {
            v6 = address.octets();
            &v6
        }
    };
    let mut hash = OFFSET;
    for part in [front.as_bytes(), &[0xff], site.as_bytes(), &[0xff], address] {
        for byte in part {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(PRIME);
        }
    }
    hash = (hash ^ (hash >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    hash = (hash ^ (hash >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    hash ^ (hash >> 31)
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    fn chosen(fronts: &[&'static str], count: usize, address: u32) -> Vec<&'static str> {
        let address = IpAddr::from(Ipv4Addr::from(address));
        fronts.iter().copied().filter(|front| is_chosen(front, fronts, count, "boston", address)).collect()
    }

    /// F-PROBE: each address has as many as are wanted, or all; each front has its part; and one that leaves hands over its own
    /// addresses alone.
    #[test]
    fn f_probe_as_many_as_wanted_and_evenly() {
        let fronts = ["ns1", "ns2", "ns3", "ns4", "ns5"];
        let mut parts = [0_u32; 5];
        for address in 0..10_000 {
            let two = chosen(&fronts, 2, address);
            assert_eq!((two.len(), chosen(&fronts, 9, address).len()), (2, 5));
            for (part, front) in parts.iter_mut().zip(fronts) {
                *part += u32::from(two.contains(&front));
            }
            let left = chosen(&fronts[..4], 2, address);
            let kept: Vec<_> = two.iter().filter(|front| **front != "ns5").collect();
            assert!(left.len() == 2 && kept.iter().all(|front| left.contains(front)), "{two:?} {left:?}");
        }
        assert!(parts.iter().all(|part| (3_700..4_300).contains(part)), "{parts:?}");
    }

    /// F-PROBE: scores are alike on every machine: a change of them would have two versions probe what neither has.
    #[test]
    fn f_probe_scores_stay() {
        let v4 = score("ns1", "boston", "192.0.2.10".parse().unwrap());
        let v6 = score("ns2", "geneva", "2001:db8:2::10".parse().unwrap());
        assert_eq!((v4, v6), (0xa0b2_d3ee_1418_b4a3, 0x3818_5055_dcaa_be23));
    }
}
