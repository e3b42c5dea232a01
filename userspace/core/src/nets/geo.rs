//! Countries and continents of addresses, from a database file in MaxMind's format.

use std::{
    collections::{HashMap, hash_map::Entry},
    path::Path,
};

use ipnet::IpNet;
use maxminddb::{MaxMindDbError, PathElement, Reader, WithinOptions};

/// Networks of a database, at most: twice what the largest known ones have, and a bound on a hostile one.
const NETWORKS_MAX: usize = 16 << 20;
/// Leaves per node of a database's search tree, at most. A tree has one more leaf than nodes; the IPv4 part, which holds
/// most of them, is found in up to five places.
const LEAVES_PER_NODE: usize = 8;

/// Why a database cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum GeoError {
    /// The file, or what is in it.
    #[error(transparent)]
    Database(#[from] MaxMindDbError),
    /// More networks than `NETWORKS_MAX`.
    #[error("it has more than {} networks", NETWORKS_MAX)]
    TooManyNetworks,
    /// Its search tree's branches meet again, so that it has more leaves than a tree of its size.
    #[error("its search tree has branches that meet again")]
    NoTree,
}

/// Calls `add` with each of a database's networks for everything that `wanted` says of its country and continent (two
/// letters each, upper case). `wanted` is asked once per place and not once per network.
pub fn read<T: Copy>(
    path: &Path,
    wanted: impl Fn(Option<&str>, Option<&str>) -> Vec<T>,
    mut add: impl FnMut(IpNet, T),
) -> Result<(), GeoError> {
    let database = Reader::open_readfile(path)?;
    // Branches that meet again make 2^128 networks of a few hundred bytes, all of which the reader may walk through
    // before it comes to the first that it gives: all leaves are counted, which it gives one by one.
    let leaves_max = LEAVES_PER_NODE * (database.metadata().node_count as usize + 1);
    let all = WithinOptions::default().include_aliased_networks().include_networks_without_data();
    if database.networks(all)?.take(leaves_max + 1).count() > leaves_max {
        return Err(GeoError::NoTree);
    }
    // Aliases of the IPv4 part (6to4, Teredo, mapped) are left out by default.
    let networks = database.networks(WithinOptions::default())?;
    let mut known: HashMap<usize, Vec<T>> = HashMap::new();
    for (count, network) in networks.enumerate() {
        if count == NETWORKS_MAX {
            return Err(GeoError::TooManyNetworks);
        }
        let network = network?;
        let Some(place) = network.offset() else { continue };
        let of_place = match known.entry(place) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let text = |map: &str, key: &str| -> Result<Option<String>, MaxMindDbError> {
                    network.decode_path(&[PathElement::Key(map), PathElement::Key(key)])
                };
                let (country, continent) = (text("country", "iso_code")?, text("continent", "code")?);
                new.insert(wanted(country.as_deref(), continent.as_deref()))
            }
        };
        if of_place.is_empty() {
            continue;
        }
        let net = network.network()?;
        // Its address has no bits beyond the prefix, whose length it gives itself.
        let Ok(net) = IpNet::new(net.ip(), net.prefix()) else { continue };
        for wanted in of_place {
            add(net, *wanted);
        }
    }
    Ok(())
}
