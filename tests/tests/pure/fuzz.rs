//! A short run of the fuzz targets without libFuzzer: every input of the corpus, and mutations of them.

use std::{
    collections::BTreeSet,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
};

use tests::fuzz::{TARGETS, corpus, is_valid, mutation::mutated, reason};
use xdp_ebpf::reason::Reason;

/// In all; each target has its part.
const MUTATIONS: usize = 100_000;
const SEED: u64 = 0x7a65_726f_7474_6c03;

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
