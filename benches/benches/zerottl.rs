//! The benchmarks' door for `cargo bench`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    match benches::run(&benches::Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
