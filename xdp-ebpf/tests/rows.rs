//! The kernel table on the host: [`decide`](xdp_ebpf::decide::decide) and [`write`](xdp_ebpf::answer::write) over
//! hand-made maps. No root is needed, so that cargo-mutants can run it; `tests/tests/kernel_table.rs` runs the same rows
//! through the kernel.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a panic is how a test fails")]

mod host;
mod table;

use std::{collections::HashMap, net::IpAddr};

use host::image;
use table::{
    Machine, Ran,
    held::{self, Grow, Held},
    policies, rows,
    world::{STICKY_PREFIX, World},
};

/// The host's machine: every world's maps, and each answer made with room at the tail and at the head.
struct Host(HashMap<World, Held>);

impl Host {
    fn new() -> Self {
        Self(World::ALL.into_iter().map(|world| (world, image::held(world))).collect())
    }
}

impl Machine for Host {
    fn run(&mut self, world: World, frame: &[u8]) -> Option<Ran> {
        Some(held::run(&self.0[&world], frame, Grow::Tail))
    }
}

/// The same, for frames without room at the tail.
struct AtHead(Host);

impl Machine for AtHead {
    fn run(&mut self, world: World, frame: &[u8]) -> Option<Ran> {
        Some(held::run(&self.0.0[&world], frame, Grow::Head))
    }
}

/// S4-3A-305, S4-3A-310, S4-3A-315, S4-3A-325, S4-3B-355/360/365/370.
#[test]
fn every_row_holds() {
    let rows = rows::all();
    table::check_coverage(&rows);
    assert_eq!(table::run(&mut Host::new(), &rows), 0);
}

#[test]
fn every_row_holds_where_frames_grow_at_the_head() {
    assert_eq!(table::run(&mut AtHead(Host::new()), &rows::all()), 0);
}

#[test]
fn round_robin_takes_turns() {
    policies::round_robin(&mut Host::new());
}

#[test]
fn random_goes_by_weight() {
    policies::random(&mut Host::new());
}

/// The turn is worked out here a second time, from the prefix as bytes.
#[test]
fn sticky_goes_by_prefix() {
    let mix = |hash: u64, word: u64| {
        let product = (hash ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        product ^ product >> 32
    };
    let expected = |client: IpAddr| {
        let words = match client {
            IpAddr::V4(client) => {
                let masked = client.to_bits() & (u32::MAX << (32 - STICKY_PREFIX.0));
                [u64::from(u32::from_ne_bytes(masked.to_be_bytes())), 0]
            }
            IpAddr::V6(client) => {
                let masked = (client.to_bits() & (u128::MAX << (128 - STICKY_PREFIX.1))).to_be_bytes();
                [0, 8].map(|at| u64::from_ne_bytes(masked[at..at + 8].try_into().unwrap()))
            }
        };
        let slot = (mix(mix(words[0], 0), words[1]) >> 16) as usize % image::SLOTS;
        // The hand-made table is one, two, one, one, two, one, …
        usize::from(slot % 3 == 1)
    };
    policies::sticky(&mut Host::new(), &expected);
}
