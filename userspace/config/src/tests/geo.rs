//! Databases that are damaged, or made to do harm.

use xdp_ebpf::name::mix;

use super::*;

/// Bytes of a node: two records of 24 bits.
const NODE_LEN: usize = 6;
/// Nodes of the example's tree; a record of this number leads nowhere.
const NODES: usize = 203;
/// From a record to the data it means: the node count and the separator.
const DATA: usize = NODES + 16;

fn example() -> Vec<u8> {
    let database = fs::read(examples().join("example-country.mmdb")).expect("readable");
    let data = NODES * NODE_LEN + 16;
    assert_eq!(database[data - 16..=data], *b"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\xe2", "its tree ends there");
    database
}

/// Whether a configuration with this database is taken, and what is said of it.
fn load(dir: &Path, database: &[u8]) -> (bool, String) {
    let geo = "[geo]\ndatabase = \"hostile.mmdb\"\n";
    let keys = "countries = [\"CH\", \"US\"]\ncontinents = [\"EU\"]\n[site.boston]";
    let text = format!("{}{geo}", BASE.replacen("[group.\"all.app.com\"]", "[group.\"eu.app.com\"]", 1));
    let text = text.replacen("[site.boston]", keys, 1);
    fs::write(dir.join("hostile.mmdb"), database).expect("writable");
    match parse("f", &text, dir) {
        Ok(loaded) => {
            let nets = &loaded.model.nets;
            // Whatever was read can be searched.
            for address in ["0.0.0.0", "198.51.100.1", "255.255.255.255", "::", "2001:db8:c::1", "ffff::"] {
                let found = nets.find(address.parse().expect("an address"));
                assert!(found.set < nets.sets() && (address.contains(':') || found.scope <= 32) && found.scope <= 128);
            }
            (true, String::new())
        }
        Err(report) => (false, report.plain()),
    }
}

/// Some thousand databases that differ from a good one in a few places: each is refused by name or used, and in a time
/// that does not hang on what they say.
#[test]
fn mutated_databases_are_refused_or_used() {
    let dir = tempfile::tempdir().expect("a directory");
    let good = example();
    assert_eq!(load(dir.path(), &good), (true, String::new()));
    let mut seed = 0x6d6d_6462;
    let mut random = |below: usize| {
        seed = mix(seed, 1);
        (seed >> 16) as usize % below
    };
    let mut counts = [0; 2];
    for number in 0..6000 {
        let mut database = good.clone();
        for _ in 0..=random(2) {
            let at = random(database.len());
            match random(6) {
                0 => database[at] ^= 1 << random(8),
                1 => database[at] = random(256) as u8,
                2 if random(8) == 0 => database.truncate(at + 1),
                3 => drop(database.remove(at)),
                4 => database.insert(at, random(256) as u8),
                // A pointer from anywhere in the tree to anywhere in it or in the data.
                _ if database.len() > NODES * NODE_LEN => {
                    let record = random(2 * NODES) * NODE_LEN / 2;
                    let target = random(DATA + 200) as u32;
                    database[record..record + 3].copy_from_slice(&target.to_be_bytes()[1..]);
                }
                _ => {}
            }
        }
        let (taken, said) = load(dir.path(), &database);
        assert!(taken || said.contains("`database` file `hostile.mmdb`: "), "{number}: {said}");
        counts[usize::from(taken)] += 1;
    }
    assert!(counts[0] > 500 && counts[1] > 500, "both outcomes are met: {counts:?}");
}

/// Both records of the first `depth` nodes lead to the next, those of the one behind them to `leaf`.
fn meeting(depth: usize, leaf: usize) -> Vec<u8> {
    let mut database = example();
    for node in 0..=depth {
        let target = if node < depth { node + 1 } else { leaf } as u32;
        let record = &target.to_be_bytes()[1..];
        database[node * NODE_LEN..][..NODE_LEN].copy_from_slice(&[record, record].concat());
    }
    database
}

/// A tree whose branches meet again has up to 2^128 leaves in 2 kB.
#[test]
fn branches_that_meet_again_are_no_tree() {
    let dir = tempfile::tempdir().expect("a directory");
    for (what, database) in [
        ("nothing at the end", meeting(120, NODES)),
        ("the IPv4 part at the end, which is left out everywhere but once", meeting(96, NODES)),
        ("a place at the end", meeting(40, DATA)),
        ("deeper than an address", meeting(150, NODES)),
    ] {
        let (taken, said) = load(dir.path(), &database);
        assert!(!taken && said.contains("its search tree has branches that meet again"), "{what}: {said}");
    }
    // A node that leads to itself.
    let mut database = example();
    database[90 * NODE_LEN..][..3].copy_from_slice(&[0, 0, 90]);
    let (taken, said) = load(dir.path(), &database);
    assert!(!taken && said.contains("cycle"), "{said}");
}
