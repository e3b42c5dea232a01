//! A short run of the fuzz targets without libFuzzer: every input of the corpus, and mutations of them.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use rand::{Rng, SeedableRng, rngs::SmallRng, seq::IndexedRandom};
use tests::fuzz::{TARGETS, corpus, is_valid, reason};
use xdp_ebpf::reason::Reason;

/// In all; each target has its part.
const MUTATIONS: usize = 100_000;
const SEED: u64 = 0x7a65_726f_7474_6c03;
/// The changes of one input.
const EDITS_MAX: usize = 4;
/// Bytes that have a meaning in DNS, in master files or in URLs.
const TELLING: [u8; 24] = *b"\0\x01\x29\x3f\x40\x7f\x80\xc0\xff\n\"();@\\/?&=,+!~";

/// Runs a target and, if it panics, says on what.
fn run(name: &str, target: fn(&[u8]), input: &[u8], origin: &str) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        eprintln!("target {name}, {origin}, input {input:02x?}");
        resume_unwind(panic);
    }
}

#[test]
fn the_corpus_holds() {
    for (name, target) in TARGETS {
        for (file, input) in corpus::read(name).unwrap() {
            run(name, target, &input, &file);
        }
    }
}

/// A reason without an input is a way through the packet code that fuzzing has to find by itself.
#[test]
fn the_corpus_reaches_every_reason() {
    let reached: BTreeSet<&str> = corpus::read("frame").unwrap().values().map(|input| reason(input)).collect();
    // No packet reaches these: see xdp-ebpf/table/src/lib.rs and World::NoPlan, World::BalanceOnly.
    let made: BTreeSet<String> = corpus::made("frame").into_keys().collect();
    let missing = Reason::ALL.iter().map(|reason| reason.name()).filter(|name| {
        let in_table = made.iter().any(|file| file.rsplit_once('-').is_some_and(|(reason, _)| reason == *name));
        in_table && !reached.contains(name)
    });
    let missing: Vec<&str> = missing.collect();
    assert!(missing.is_empty(), "{missing:?}: cargo run --package tests --bin fuzz_corpus");
    for (name, _) in TARGETS {
        assert!(corpus::read(name).unwrap().len() >= 3, "{name}: too few inputs");
    }
}

/// A configuration that is refused shows nothing of what follows from one.
#[test]
fn the_corpus_has_configurations_that_are_taken() {
    let corpus = corpus::read("config").unwrap();
    let valid: Vec<&String> = corpus.iter().filter(|(_, input)| is_valid(input)).map(|(name, _)| name).collect();
    assert!(valid.len() >= 2, "only {valid:?} are valid");
}

#[test]
fn mutations_of_the_corpus_hold() {
    println!("seed {SEED:#x}, {MUTATIONS} mutations");
    for (name, target) in TARGETS {
        let inputs: Vec<Vec<u8>> = corpus::read(name).unwrap().into_values().collect();
        for i in 0..MUTATIONS / TARGETS.len() {
            let seed = SEED.wrapping_add(i as u64);
            run(name, target, &mutated(&inputs, seed), &format!("seed {seed:#x}"));
        }
    }
}

fn mutated(inputs: &[Vec<u8>], seed: u64) -> Vec<u8> {
    let mut random = SmallRng::seed_from_u64(seed);
    let mut bytes = inputs.choose(&mut random).unwrap().clone();
    for _ in 0..random.random_range(1..=EDITS_MAX) {
        if bytes.is_empty() {
            bytes.push(0);
        }
        let at = random.random_range(0..bytes.len());
        match random.random_range(0..9) {
            0 => bytes[at] ^= 1 << random.random_range(0..8),
            1 => bytes[at] = random.random(),
            2 => bytes[at] = *TELLING.choose(&mut random).unwrap(),
            3 => bytes.truncate(at),
            4 => bytes.insert(at, *TELLING.choose(&mut random).unwrap()),
            5 => drop(bytes.remove(at)),
            // Characters of more than one byte, which are no place to cut a text.
            6 => drop(bytes.splice(at..at, "é\u{1f9ea}".bytes())),
            7 => {
                // One more or one less is where bounds are.
                bytes[at] = bytes[at].wrapping_add(if random.random() { 1 } else { u8::MAX });
            }
            _ => {
                // A piece of another input, or of this one.
                let other = inputs.choose(&mut random).unwrap();
                let from = random.random_range(0..=other.len());
                let to = random.random_range(from..=other.len()).min(from + 64);
                bytes.splice(at..at, other[from..to].iter().copied());
            }
        }
    }
    bytes
}
