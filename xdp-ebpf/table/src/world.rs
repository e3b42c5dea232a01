//! The configuration while the rows run: `host/image.rs` makes maps of it by hand, and the kernel's run of the table a
//! configuration file.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::wire::wire;

pub const OUR_MAC: [u8; 6] = [2, 0, 0, 0, 0, 1];
pub const CLIENT_MAC: [u8; 6] = [2, 0x10, 0x20, 0x30, 0x40, 0x50];
pub const CLIENT4: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 7);
pub const CLIENT6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0xc, 0, 0, 0, 0, 7);
pub const OUR4: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 53);
pub const OUR6: Ipv6Addr = Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 0x53);

/// One configuration and its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum World {
    /// Both roles, eight addresses of each family, eight MACs.
    Full,
    /// The load-balance role alone: Site Names are referred. One address of each family, two MACs.
    BalanceOnly,
    /// As `BalanceOnly`, before the first plan.
    NoPlan,
}

impl World {
    pub const ALL: [Self; 3] = [Self::Full, Self::BalanceOnly, Self::NoPlan];

    /// Where queries are served.
    pub fn listen(self) -> Vec<(IpAddr, u16)> {
        let mut listen = vec![(OUR4.into(), 53), (OUR6.into(), 53)];
        if self == Self::Full {
            listen.extend([(Ipv4Addr::new(203, 0, 113, 54).into(), 5353), (v6("2001:db8::54"), 5353)]);
            for last in 0x55..0x5b_u16 {
                let four = Ipv4Addr::new(203, 0, 113, last as u8);
                listen.extend([(four.into(), 53), (v6(&format!("2001:db8::{last:x}")), 53)]);
            }
        }
        listen
    }

    /// The VLANs that the host is in, and those within others.
    pub fn vlans(self) -> (Vec<u16>, Vec<(u16, u16)>) {
        if self == Self::Full {
            (vec![1, 5, 7, 9, 64, 100, 4094], vec![(1, 2), (5, 6), (100, 200), (4094, 4094)])
        } else {
            (vec![100], vec![])
        }
    }

    /// The interfaces' MACs.
    pub fn macs(self) -> Vec<[u8; 6]> {
        let count = if self == Self::Full { 8 } else { 2 };
        (1..=count).map(|last| [2, 0, 0, 0, 0, last]).collect()
    }
}

fn v6(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// A zone, and what its negative answers must say.
pub struct WorldZone {
    pub apex: &'static str,
    pub mname: String,
    pub rname: String,
    pub negative_ttl: u32,
    /// Length of the SOA's RDATA as compressed.
    pub rdlen: usize,
    /// Where in RDATA MNAME's and RNAME's pointers stand, and to what: `None` is the apex, else an offset in RDATA.
    pub pointers: [Option<(usize, Option<usize>)>; 2],
}

pub const SERIAL: u32 = 2_026_010_203;
pub const REFRESH: u32 = 3_600;
pub const RETRY: u32 = 600;
pub const EXPIRE: u32 = 604_800;

/// Even and odd places for both pointers; names in the zone, the zone itself, outside it, sharing an end and not.
pub fn zones() -> Vec<WorldZone> {
    let zone = |apex, mname: &str, rname: &str, negative_ttl, rdlen, pointers| WorldZone {
        apex,
        mname: mname.to_owned(),
        rname: rname.to_owned(),
        negative_ttl,
        rdlen,
        pointers,
    };
    let apex = |at| Some((at, None));
    vec![
        zone("example", "ns1.example", "hostmaster.example", 5, 39, [apex(4), apex(17)]),
        zone("odd.test", "ns10.odd.test", "mail.odd.test", 86_400, 34, [apex(5), apex(12)]),
        zone("self.test", "self.test", "root.self.test", 7, 29, [apex(0), apex(7)]),
        zone("abroad.test", "ns.provider.net", "root.provider.net", 5, 44, [None, Some((22, Some(3)))]),
        zone("plain.test", "ns.provider.net", "root.elsewhere.org", 0, 57, [None, None]),
        zone("half.test", "ns.provider.net", "root.half.test", 5, 44, [None, apex(22)]),
        zone("big.test", &text_of_len(255, "m", 'm'), &text_of_len(255, "r", 'r'), 5, 530, [None, None]),
        zone("z", "ns.z", "ns.z", 5, 30, [apex(3), apex(8)]),
        zone("zz", "ns.zz", "ns.zz", 5, 30, [apex(3), apex(8)]),
    ]
}

/// A name of `len` bytes in wire form that ends in `apex`.
pub fn text_of_len(len: usize, apex: &str, letter: char) -> String {
    let mut text = apex.to_owned();
    let mut left = len - wire(apex).len();
    while left > 0 {
        // A label takes two bytes at least, so none may be left over.
        let take = if left == 65 { 63 } else { left.min(64) };
        let label: String = (0..take - 1).map(|i| if i % 9 == 8 { '-' } else { letter }).collect();
        let label = if label.ends_with('-') { format!("{}0", &label[..label.len() - 1]) } else { label };
        text = format!("{label}.{text}");
        left -= take;
    }
    text
}

/// The name of `len` bytes that has data of one family alone: A for the letter a, AAAA for b.
pub fn name_of_len(len: usize, letter: char) -> Option<String> {
    match len {
        // The zones' own names: `z` and `zz`, one for each letter.
        3 => (letter == 'a').then(|| "z".to_owned()),
        4 => (letter == 'b').then(|| "zz".to_owned()),
        5..=255 => Some(text_of_len(len, "z", letter)),
        _ => None,
    }
}

/// The one name of 127 labels, with data of both families.
pub fn name_of_127_labels() -> String {
    format!("{}z", "q.".repeat(126))
}

pub const ONE: [&str; 2] = ["192.0.2.10", "2001:db8:1::10"];
pub const TWO: [&str; 2] = ["192.0.2.20", "2001:db8:2::10"];
pub const DOWN: [&str; 2] = ["192.0.2.66", "2001:db8:66::10"];
pub const FOUR: &str = "192.0.2.44";
pub const SIX: &str = "2001:db8:6::10";

/// The answer of a name for a family.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// One of these, in turn or by policy.
    Addresses(Vec<IpAddr>),
    /// One of these HTTPS records' RDATA, in turn or by policy.
    Https(Vec<Vec<u8>>),
    NoData,
    Servfail,
}

/// How one of several is chosen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorldPolicy {
    RoundRobin,
    Random,
    Sticky,
}

/// A configured name.
pub struct Entry {
    pub name: String,
    pub is_site: bool,
    /// A, AAAA, HTTPS.
    pub says: [Says; 3],
    pub policy: WorldPolicy,
    pub ttl: u32,
}

/// Client prefix lengths of the sticky name.
pub const STICKY_PREFIX: (u8, u8) = (20, 44);
pub const TTL_SET: u32 = 0x0001_0203;

/// The records file of the zone `example` (`tests/src/kernel/example.zone`): names and their types.
pub const STATIC: [(&str, &[u16]); 9] = [
    ("*.wild.example", &[1, 16]),
    ("beside.wild.example", &[16]),
    ("static.example", &[1, 16]),
    ("one.two.three.example", &[16]),
    ("caa.example", &[257]),
    ("odd.example", &[65_280]),
    // Two Pool Names.
    ("mail.example", &[15, 16]),
    ("kept.example", &[65_281]),
    ("child.alias.example", &[16]),
];

/// The alias and the delegation of the records file; the delegation's glue `ns.sub.example` is hidden by it.
pub const OPAQUE: [(&str, &[u16]); 2] = [("alias.example", &[5]), ("sub.example", &[2, 43])];

/// Whether a name is the apex or below it.
pub fn is_within(name: &str, apex: &str) -> bool {
    name == apex || name.strip_suffix(apex).is_some_and(|rest| rest.ends_with('.'))
}

/// Pools by name, their Sites, and the rest of their section; then what each name answers follows from it.
pub const POOLS: [(&str, &[&str], &str); 19] = [
    ("example", &["one"], ""),
    ("www.example", &["one"], ""),
    ("ttl.example", &["one"], "ttl = 66051"),
    ("rr.example", &["one", "two"], "https = {}"),
    ("random.example", &["one", "two"], "policy = \"weighted-random\""),
    (
        "sticky.example",
        &["one", "two"],
        "policy = \"sticky\"\nsticky_prefix_v4 = 20\nsticky_prefix_v6 = 44\nhttps = {}",
    ),
    ("servfail.example", &["down"], "all_down = \"servfail\""),
    ("open.example", &["down"], ""),
    ("pair.example", &["lost", "one"], ""),
    ("four.example", &["four"], ""),
    ("six.example", &["six"], ""),
    ("deep.under.example", &["four"], ""),
    ("mail.example", &["four"], ""),
    ("kept.example", &["one"], ""),
    ("big.test", &["four"], ""),
    ("https-over.example", &["one"], HTTPS_SET),
    ("https-exact.example", &["one"], HTTPS_SET),
    ("https-four.example", &["four"], "https = { alpn = [\"h3\"] }"),
    ("https-down.example", &["down"], "all_down = \"servfail\"\nhttps = {}"),
];

/// An HTTPS record with everything; for `one`, of [`HTTPS_LEN`] bytes.
const HTTPS_SET: &str = "ttl = 66051\nhttps = { alpn = [\"h2\", \"http/1.1\"], port = 8443 }";
pub const HTTPS_LEN: usize = 53;
/// HTTPS records that the pools above can come to: three by each Site of two families, one by `four`.
pub const BINDINGS: usize = 2 * 6 + 2 * 3 + 1 + 3;

/// The RDATA of an HTTPS record (RFC 9460 section 2.2), by hand: `1 .`, these parameters, and hints.
fn https(params: &[u8], v4: Option<&str>, v6: Option<&str>) -> Vec<u8> {
    let mut rdata = [&[0, 1, 0], params].concat();
    if let Some(v4) = v4 {
        rdata.extend_from_slice(&[0, 4, 0, 4]);
        rdata.extend_from_slice(&v4.parse::<Ipv4Addr>().unwrap().octets());
    }
    if let Some(v6) = v6 {
        rdata.extend_from_slice(&[0, 6, 0, 16]);
        rdata.extend_from_slice(&v6.parse::<Ipv6Addr>().unwrap().octets());
    }
    rdata
}

/// Zones of which the name `v4` has no AAAA, and the apex no A; of `self.test`, whose apex is its name server, `v6`.
const NODATA_ZONES: [&str; 5] = ["odd.test", "self.test", "abroad.test", "plain.test", "half.test"];

/// The zone that is signed where the machine has both roles: with DO its names go up.
pub const SIGNED: &str = "half.test";

/// Sites by key; `down` and `lost` are down.
pub const SITES: [(&str, &[&str]); 6] =
    [("one", &ONE), ("two", &TWO), ("down", &DOWN), ("lost", &["192.0.2.77"]), ("four", &[FOUR]), ("six", &[SIX])];
/// Site Names are `site-KEY.example`.
pub fn site_name(key: &str) -> String {
    format!("site-{key}.example")
}

/// Pools that are there for their names' sake: name and Site.
pub fn plain_pools() -> Vec<(String, &'static str)> {
    let mut pools = Vec::new();
    for zone in NODATA_ZONES {
        // A name server's name cannot be a Pool Name.
        pools.push((if zone == "self.test" { "v6.self.test" } else { zone }.to_owned(), "six"));
        pools.push((format!("v4.{zone}"), "four"));
    }
    pools.push((text_of_len(255, "big.test", 'b'), "four"));
    pools.push(("bb.big.test".to_owned(), "four"));
    pools.push((name_of_127_labels(), "one"));
    for len in 0..=255 {
        pools.extend(name_of_len(len, 'a').map(|name| (name, "four")));
        pools.extend(name_of_len(len, 'b').map(|name| (name, "six")));
    }
    pools
}

/// Lists every name's answers, worked out by hand from the tables above, not by the planner.
pub fn entries() -> Vec<Entry> {
    let both = |addresses: [&[&str]; 2]| {
        addresses.map(|list| match list {
            [] => Says::NoData,
            list => Says::Addresses(list.iter().map(|address| address.parse().unwrap()).collect()),
        })
    };
    let one = || both([&ONE[..1], &ONE[1..]]);
    let two_to_one = || both([&[ONE[0], TWO[0], ONE[0]], &[ONE[1], TWO[1], ONE[1]]]);
    let four = || both([&[FOUR], &[]]);
    let six = || both([&[], &[SIX]]);
    let down = || both([&DOWN[..1], &DOWN[1..]]);
    let mut entries = Vec::new();
    let of = |params: &[u8], site: [&str; 2]| https(params, Some(site[0]), Some(site[1]));
    let set = b"\0\x01\0\x0c\x02h2\x08http/1.1\0\x03\0\x02\x20\xfb";
    let mut add = |name: &str, is_site, says, policy, ttl| {
        let [a, aaaa] = says;
        let https = match name {
            "rr.example" | "sticky.example" => Says::Https(vec![of(&[], ONE), of(&[], TWO), of(&[], ONE)]),
            "https-over.example" | "https-exact.example" => Says::Https(vec![of(set, ONE)]),
            "https-four.example" => Says::Https(vec![https(b"\0\x01\0\x03\x02h3", Some(FOUR), None)]),
            // Its pool is rr.example.
            "site-two.example" => Says::Https(vec![of(&[], TWO)]),
            "https-down.example" => Says::Servfail,
            _ => Says::NoData,
        };
        entries.push(Entry { name: name.to_owned(), is_site, says: [a, aaaa, https], policy, ttl });
    };
    for (name, _, _) in POOLS {
        let (says, policy, ttl) = match name {
            "ttl.example" | "https-over.example" | "https-exact.example" => (one(), WorldPolicy::RoundRobin, TTL_SET),
            "rr.example" => (two_to_one(), WorldPolicy::RoundRobin, 0),
            "random.example" => (two_to_one(), WorldPolicy::Random, 0),
            "sticky.example" => (two_to_one(), WorldPolicy::Sticky, 0),
            "servfail.example" | "https-down.example" => ([Says::Servfail, Says::Servfail], WorldPolicy::RoundRobin, 0),
            "open.example" => (down(), WorldPolicy::RoundRobin, 0),
            "four.example" | "deep.under.example" | "mail.example" | "big.test" | "https-four.example" => {
                (four(), WorldPolicy::RoundRobin, 0)
            }
            "six.example" => (six(), WorldPolicy::RoundRobin, 0),
            _ => (one(), WorldPolicy::RoundRobin, 0),
        };
        add(name, false, says, policy, ttl);
    }
    for (name, site) in plain_pools() {
        let says = match site {
            "four" => four(),
            "six" => six(),
            _ => one(),
        };
        add(&name, false, says, WorldPolicy::RoundRobin, 0);
    }
    for (key, _) in SITES {
        let says = match key {
            "two" => both([&TWO[..1], &TWO[1..]]),
            "down" => [Says::Servfail, Says::Servfail],
            "four" => four(),
            "six" => six(),
            // `one` itself, and where `lost` fails over to: the next of its pool.
            _ => one(),
        };
        add(&site_name(key), true, says, WorldPolicy::RoundRobin, 0);
    }
    entries
}
