use std::net::{Ipv4Addr, Ipv6Addr};

use proptest::prelude::*;

use super::*;

fn rule(pool: usize, group: usize, net: &str) -> Rule {
    Rule { pool: PoolId(pool), group: GroupId(group), net: net.parse().unwrap(), source: Source::Written }
}

fn database(pool: usize, group: usize, net: &str) -> Rule {
    Rule { source: Source::Database, ..rule(pool, group, net) }
}

fn group(nets: &Nets, pool: usize, address: &str) -> (Option<usize>, u8) {
    let found = nets.find(address.parse().unwrap());
    (nets.group(found.set, pool).map(|group| group.0), found.scope)
}

/// S4-4C: the longest prefix wins, and the scope says how many bits it took to know.
#[test]
fn the_longest_prefix_wins() {
    let nets = Nets::build(&[
        rule(0, 1, "10.0.0.0/8"),
        rule(0, 2, "10.1.0.0/16"),
        rule(0, 3, "10.1.2.3/32"),
        rule(0, 4, "2001:db8::/32"),
        rule(0, 5, "2001:db8:0:1::8000/113"),
    ])
    .unwrap();
    for (address, expected) in [
        ("10.2.0.1", (Some(1), 15)),
        ("10.128.0.1", (Some(1), 9)),
        ("10.1.0.1", (Some(2), 23)),
        ("10.1.2.3", (Some(3), 32)),
        ("10.1.2.2", (Some(2), 32)),
        ("11.0.0.0", (None, 8)),
        ("9.255.255.255", (None, 7)),
        ("200.0.0.1", (None, 1)),
        ("2001:db8:1::", (Some(4), 48)),
        ("2001:db8:0:1::9000", (Some(5), 113)),
        ("2001:db8:0:1::7fff", (Some(4), 113)),
        ("2001:db8:0:1:0:0:1:0", (Some(4), 112)),
        ("2001:db9::", (None, 32)),
    ] {
        assert_eq!(group(&nets, 0, address), expected, "{address}");
    }
}

/// The first and the last address, and an IPv4 address in IPv6 form, which is IPv6.
#[test]
fn single_addresses_at_the_ends() {
    let last = "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff";
    let nets = Nets::build(&[
        rule(0, 1, "0.0.0.0/32"),
        rule(0, 2, "255.255.255.255/32"),
        rule(0, 3, "::/128"),
        rule(0, 4, &format!("{last}/128")),
        rule(0, 5, "0.0.0.0/0"),
    ])
    .unwrap();
    for (address, expected) in [
        ("0.0.0.0", (Some(1), 32)),
        ("0.0.0.1", (Some(5), 32)),
        ("128.0.0.0", (Some(5), 2)),
        ("255.255.255.254", (Some(5), 32)),
        ("255.255.255.255", (Some(2), 32)),
        ("::", (Some(3), 128)),
        ("::1", (None, 128)),
        ("::ffff:192.0.2.1", (None, 81)),
        ("0:0:0:1::", (None, 64)),
        ("8000::", (None, 2)),
        ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:fffe", (None, 128)),
        (last, (Some(4), 128)),
    ] {
        assert_eq!(group(&nets, 0, address), expected, "{address}");
    }
}

#[test]
fn written_nets_go_before_a_database() {
    let nets = Nets::build(&[rule(0, 1, "10.0.0.0/8"), database(0, 2, "10.1.0.0/16"), database(0, 2, "11.0.0.0/8")]);
    let nets = nets.unwrap();
    assert_eq!(group(&nets, 0, "10.1.0.1"), (Some(1), 8));
    assert_eq!(group(&nets, 0, "11.1.0.1"), (Some(2), 8));
}

/// Adjacent prefixes of one group are one range.
#[test]
fn neighbours_are_merged() {
    let halves: Vec<Rule> = (0..256).map(|i| rule(0, 1, &format!("10.{i}.0.0/16"))).collect();
    let nets = Nets::build(&halves).unwrap();
    assert_eq!(nets.ranges(), 3 + 1, "before, 10/8, behind; and all of IPv6");
    assert_eq!(group(&nets, 0, "10.7.0.1"), (Some(1), 8));
}

#[test]
fn each_pool_has_its_own_groups() {
    let nets = Nets::build(&[rule(3, 1, "10.0.0.0/8"), rule(7, 2, "10.1.0.0/16")]).unwrap();
    assert_eq!(nets.pools(), [PoolId(3), PoolId(7)]);
    assert_eq!((group(&nets, 0, "10.1.0.1").0, group(&nets, 1, "10.1.0.1").0), (Some(1), Some(2)));
    assert_eq!((group(&nets, 0, "10.2.0.1").0, group(&nets, 1, "10.2.0.1").0), (Some(1), None));
    assert_eq!(nets.sets(), 3);
}

#[test]
fn the_whole_family_can_be_a_group_s() {
    let nets = Nets::build(&[rule(0, 1, "0.0.0.0/0"), rule(0, 2, "::/0"), rule(0, 3, "ffff:ffff::/32")]).unwrap();
    assert_eq!(group(&nets, 0, "255.255.255.255"), (Some(1), 0));
    assert_eq!(group(&nets, 0, "::1"), (Some(2), 1));
    assert_eq!(group(&nets, 0, "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff"), (Some(3), 32));
    let none = Nets::default();
    assert_eq!((none.find("10.0.0.1".parse().unwrap()), none.is_empty()), (Match { set: 0, scope: 0 }, true));
}

#[test]
fn too_many_combinations_are_refused() {
    let many = |pools: usize| (0..pools).flat_map(move |pool| (0..pools).map(move |i| (pool, i)));
    let rules: Vec<Rule> = many(220)
        .map(|(pool, i)| {
            let net = Ipv4Addr::from_bits(((pool * 220 + i) as u32) << 8);
            Rule { net: IpNet::new(net.into(), 24).unwrap(), ..rule(pool, pool * 220 + i, "0.0.0.0/0") }
        })
        .collect();
    assert_eq!(Nets::build(&rules).unwrap_err(), NetsError::TooManySets);
}

/// The longest prefix that holds an address, by looking at all of them.
fn naive(rules: &[Rule], address: IpAddr) -> Option<GroupId> {
    let longest = |source| {
        let holding = rules.iter().filter(|rule| rule.source == source && rule.net.contains(&address));
        holding.max_by_key(|rule| rule.net.prefix_len()).map(|rule| rule.group)
    };
    longest(Source::Written).or(longest(Source::Database))
}

/// Few distinct bits, so that nets meet and lie within each other.
fn address() -> impl Strategy<Value = IpAddr> {
    let v4 = any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits & 0xc300_c081)));
    let v6 = any::<u128>()
        .prop_map(|bits| IpAddr::V6(Ipv6Addr::from_bits(bits & 0xc000_0000_0300_0003_8000_0000_0000_0003)));
    let edges = prop_oneof![
        Just(IpAddr::V6(Ipv6Addr::from_bits(u128::MAX))),
        Just(IpAddr::V4(Ipv4Addr::BROADCAST)),
        any::<u32>().prop_map(|bits| IpAddr::V4(Ipv4Addr::from_bits(bits))),
    ];
    prop_oneof![4 => v4, 4 => v6, 1 => edges]
}

fn rules() -> impl Strategy<Value = Vec<Rule>> {
    let one = (address(), 0_u8..=128, any::<bool>()).prop_map(|(address, prefix, written)| {
        let net = IpNet::new(address, prefix.min(if address.is_ipv4() { 32 } else { 128 })).unwrap().trunc();
        let source = if written { Source::Written } else { Source::Database };
        Rule { pool: PoolId(0), group: GroupId(0), net, source }
    });
    proptest::collection::vec(one, 0..60).prop_map(|mut rules| {
        // Equal nets are refused by the configuration.
        rules.sort_by_key(|rule| (rule.net, rule.source == Source::Database));
        rules.dedup_by_key(|rule| (rule.net, rule.source == Source::Database));
        for (i, rule) in rules.iter_mut().enumerate() {
            rule.group = GroupId(i % 3);
        }
        rules
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn an_address_has_its_longest_prefix_s_group(
        rules in rules(),
        addresses in proptest::collection::vec(address(), 20),
        host in any::<u128>(),
    ) {
        let nets = Nets::build(&rules).unwrap();
        for address in addresses {
            let found = nets.find(address);
            let group = |set: usize| if nets.is_empty() { None } else { nets.group(set, 0) };
            prop_assert_eq!(group(found.set), naive(&rules, address), "{}", address);
            // Honest: any address that shares these bits has the same group, and with one bit fewer some would not.
            let net = IpNet::new(address, found.scope).unwrap();
            let host = host.checked_shr(found.scope.into()).unwrap_or(0);
            let other = match net.network() {
                IpAddr::V4(first) => IpAddr::V4(Ipv4Addr::from_bits(first.to_bits() | (host >> 96) as u32)),
                IpAddr::V6(first) => IpAddr::V6(Ipv6Addr::from_bits(first.to_bits() | host)),
            };
            prop_assert_eq!(naive(&rules, other), group(found.set), "{} within {}", other, net);
        }
    }
}

/// A way down has 7 levels at most, that over the lower halves of a cut /64 with it: 11^5 ranges of IPv6 take 5, and two are
/// left for a /64 cut into 121 parts.
#[test]
fn trees_that_are_too_deep_are_refused() {
    let rule = |address: u128, length, i: usize| Rule {
        pool: PoolId(0),
        group: GroupId(i % 2),
        net: IpNet::new(IpAddr::V6(address.into()), length).unwrap(),
        source: Source::Written,
    };
    let build = |upper: u128, lower: u128| {
        let mut rules: Vec<Rule> = (0..upper).map(|i| rule((0x2001_0000 << 96) + (i << 80), 48, i as usize)).collect();
        rules.extend((0..lower).map(|i| rule((0x3000 << 112) + i, 128, i as usize)));
        Nets::build(&rules)
            .map(|nets| nets.find(IpAddr::V6(((0x3000_u128 << 112) + lower.saturating_sub(1)).into())).scope)
    };
    // One range before, one behind, and with a cut /64 that and one more.
    assert!(build(160_000, 118).is_ok_and(|scope| scope == 128));
    assert_eq!(build(160_000, 130).unwrap_err(), NetsError::TooDeep);
    assert_eq!(build(162_000, 118).unwrap_err(), NetsError::TooDeep);
    assert!(build(162_000, 0).is_ok());
}
