//! A model as Knot's zone and as the file of its geoip module.

use std::{fmt::Write as _, net::IpAddr};

use zerottl_core::model::Model;

/// The model's zone, with a first record of each type for each name, as the module asks for.
pub(crate) fn zone(model: &Model) -> String {
    let mut text = String::from(
        "app.example. 5 SOA ns1.app.example. hostmaster.app.example. 1 3600 600 86400 5\n\
         app.example. 3600 NS ns1.app.example.\nns1.app.example. 3600 A 203.0.113.53\n",
    );
    for pool in &model.pools {
        for address in addresses(model, pool.sites[0].0) {
            let _ = writeln!(text, "{}. 0 {address}", pool.name);
        }
    }
    text
}

/// The module's file: the addresses of each Site, with its weight.
pub(crate) fn alternatives(model: &Model) -> String {
    let mut text = String::new();
    for pool in &model.pools {
        let _ = writeln!(text, "{}.:", pool.name);
        for site in &*pool.sites {
            let _ = writeln!(text, "  - weight: {}", model.sites[site.0].weight);
            for address in addresses(model, site.0) {
                let _ = writeln!(text, "    {}", address.replacen(' ', ": ", 1));
            }
        }
    }
    text
}

/// A Site's addresses, each as type and data.
pub(crate) fn addresses(model: &Model, site: usize) -> impl Iterator<Item = String> {
    model.sites[site].addresses.iter().map(|address| match address.answer {
        IpAddr::V4(v4) => format!("A {v4}"),
        IpAddr::V6(v6) => format!("AAAA {v6}"),
    })
}
