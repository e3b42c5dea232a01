//! A writer of small databases in MaxMind's format, for tests: <https://maxmind.github.io/MaxMind-DB/>.

use std::{collections::HashMap, net::IpAddr};

use ipnet::IpNet;

/// Bytes between the tree and the data.
const SEPARATOR: usize = 16;
/// Type numbers of the data section.
const TEXT: u8 = 2;
const U16: u8 = 5;
const U32: u8 = 6;
const MAP: u8 = 7;

/// Where a tree's branch leads.
#[derive(Clone, Copy)]
enum Branch {
    Nothing,
    Node(usize),
    /// At an offset of the data section.
    Data(usize),
}

/// A database of countries and continents. Nets do not lie within each other.
///
/// # Panics
/// If they do, or are more than fit 24 bits.
#[must_use]
pub fn write(places: &[(IpNet, &str, &str)]) -> Vec<u8> {
    let mut data = Vec::new();
    let mut offsets = HashMap::new();
    let mut nodes = vec![[Branch::Nothing; 2]];
    for (net, country, continent) in places {
        let offset = *offsets.entry((country, continent)).or_insert_with(|| {
            let offset = data.len();
            place(&mut data, country, continent);
            offset
        });
        let (bits, len) = match net.network() {
            IpAddr::V4(address) => (u128::from(address.to_bits()), 96 + net.prefix_len()),
            IpAddr::V6(address) => (address.to_bits(), net.prefix_len()),
        };
        let mut at = 0;
        for bit in 0..len {
            let side = usize::from(bits >> (127 - bit) & 1 == 1);
            if bit + 1 == len {
                assert!(matches!(nodes[at][side], Branch::Nothing), "{net} holds another net");
                nodes[at][side] = Branch::Data(offset);
                break;
            }
            at = match nodes[at][side] {
                Branch::Node(next) => next,
                Branch::Nothing => {
                    nodes.push([Branch::Nothing; 2]);
                    nodes[at][side] = Branch::Node(nodes.len() - 1);
                    nodes.len() - 1
                }
                Branch::Data(_) => panic!("{net} lies within another net"),
            };
        }
    }
    let mut file = Vec::new();
    for branch in nodes.iter().flatten() {
        let record = match *branch {
            Branch::Nothing => nodes.len(),
            Branch::Node(node) => node,
            Branch::Data(offset) => nodes.len() + SEPARATOR + offset,
        };
        let record = u32::try_from(record).ok().filter(|record| *record < 1 << 24).expect("fits 24 bits");
        file.extend_from_slice(&record.to_be_bytes()[1..]);
    }
    file.extend([0; SEPARATOR]);
    file.append(&mut data);
    file.extend_from_slice(b"\xab\xcd\xefMaxMind.com");
    metadata(&mut file, nodes.len() as u32);
    file
}

fn place(data: &mut Vec<u8>, country: &str, continent: &str) {
    head(data, MAP, 2);
    text(data, "continent");
    head(data, MAP, 1);
    text(data, "code");
    text(data, continent);
    text(data, "country");
    head(data, MAP, 1);
    text(data, "iso_code");
    text(data, country);
}

fn metadata(file: &mut Vec<u8>, nodes: u32) {
    head(file, MAP, 9);
    for (key, number) in [("binary_format_major_version", 2_u16), ("binary_format_minor_version", 0)] {
        text(file, key);
        head(file, U16, 2);
        file.extend(number.to_be_bytes());
    }
    for (key, number) in [("record_size", 24_u16), ("ip_version", 6)] {
        text(file, key);
        head(file, U16, 2);
        file.extend(number.to_be_bytes());
    }
    text(file, "node_count");
    head(file, U32, 4);
    file.extend(nodes.to_be_bytes());
    text(file, "build_epoch");
    // A 64-bit number's type is beyond the seven of the first byte.
    file.extend([8, 2]);
    file.extend(1_700_000_000_u64.to_be_bytes());
    text(file, "database_type");
    text(file, "zerottl-test-Country");
    text(file, "description");
    head(file, MAP, 0);
    text(file, "languages");
    // An array without entries.
    file.extend([0, 4]);
}

fn text(data: &mut Vec<u8>, text: &str) {
    head(data, TEXT, text.len());
    data.extend_from_slice(text.as_bytes());
}

fn head(data: &mut Vec<u8>, kind: u8, size: usize) {
    assert!(size < 29, "a longer size has more bytes");
    data.push(kind << 5 | size as u8);
}
