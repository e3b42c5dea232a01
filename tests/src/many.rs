//! Configurations of many Sites: one at which pages have to choose what they show, and a pool beside others.

use std::{
    fmt::Write as _,
    net::{Ipv4Addr, Ipv6Addr},
};

use crate::config::{Config, SiteConfig};

/// One pool of two hundred Sites of both families, and 299 groups of twelve: five hundred names. None is probed.
#[must_use]
pub fn config() -> Config {
    let site = |i: u32| SiteConfig {
        addresses: vec![
            Ipv4Addr::from_bits(0x0a00_0001 + i).into(),
            Ipv6Addr::from_bits((0xfd << 120) + u128::from(i) + 1).into(),
        ],
        ..SiteConfig::new(&format!("site{i:03}"), 1, 1 + i % 3)
    };
    let sites: Vec<SiteConfig> = (0..200).map(site).collect();
    let some = |from: usize| sites.iter().cycle().skip(from).take(12).map(|site| site.key.clone()).collect();
    let groups = (0..299).map(|i| (format!("group{i:03}.app.com"), some(i % 200))).collect();
    Config { sites, groups, probe: None, ..Config::default() }
}

/// The net of the addresses of [`crowd`].
pub const CROWD_NET: [u8; 2] = [10, 98];

/// Writes a pool of so many Sites, each with an address and these keys, to stand beside the other pools of a file.
#[must_use]
pub fn crowd(count: u16, keys: impl Fn(u16) -> String) -> String {
    let names: Vec<_> = (0..count).map(|number| format!("\"crowd{number}\"")).collect();
    let mut toml = format!("[pool.\"crowd.app.com\"]\nsites = [{}]\nmin_sites = 0\n", names.join(", "));
    for number in 0..count {
        let ([a, b], [c, d]) = (CROWD_NET, (number + 1).to_be_bytes());
        let _ = writeln!(
            toml,
            "[site.crowd{number}]\nname = \"crowd{number}.app.com\"\naddresses = [\"{a}.{b}.{c}.{d}\"]\n{}",
            keys(number)
        );
    }
    toml
}
