//! Makes rounds or plans, for valgrind to count their instructions.

use clap::Parser as _;

fn main() -> Result<(), benches::error::BenchError> {
    benches::instructions::CountArguments::parse().run()
}
