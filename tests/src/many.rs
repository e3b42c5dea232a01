//! A configuration of a size at which pages have to choose what they show.

use std::net::{Ipv4Addr, Ipv6Addr};

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
