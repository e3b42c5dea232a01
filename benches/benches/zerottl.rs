//! The benchmarks' entry point for `cargo bench`.

use std::process::ExitCode;

use clap::Parser as _;

fn main() -> ExitCode {
    let arguments = benches::Arguments {
        counted: env!("CARGO_BIN_EXE_instructions").into(),
        minimal_server: env!("CARGO_BIN_EXE_minimal-server").into(),
        signing: env!("CARGO_BIN_EXE_signing").into(),
        ..benches::Arguments::parse()
    };
    match benches::run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("error: {failure}");
            ExitCode::FAILURE
        }
    }
}
