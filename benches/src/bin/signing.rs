//! Signs a zone for the first time, and counts the bytes that stay.

use benches::{
    error::BenchError,
    signed::{counted_memory::CountedMemory, signing::SigningArguments},
};
use clap::Parser as _;

#[global_allocator]
static MEMORY: CountedMemory = CountedMemory;

fn main() -> Result<(), BenchError> {
    SigningArguments::parse().run()
}
