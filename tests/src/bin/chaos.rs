//! Runs the scenarios of chaos: `cargo xtask chaos` builds and calls it.

use std::{
    fs,
    io::{self, Write as _},
    path::PathBuf,
    process::ExitCode,
    time::{Duration, Instant},
};

use clap::Parser;
use tests::{
    chaos::{
        self, Length, Scenario,
        table::{self, ChaosRow},
    },
    lab::can_run,
};

/// Runs scenarios one after another, each with what must hold and what was seen.
#[derive(Debug, Parser)]
#[command(name = "chaos")]
struct Arguments {
    /// Run only the scenario with this name; may be given again
    #[arg(long, value_name = "NAME")]
    only: Vec<String>,
    /// Run the short forms, which the tests run
    #[arg(long)]
    short: bool,
    /// Say what the scenarios are, and run none
    #[arg(long)]
    list: bool,
    /// Write what was seen into this file
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Put the rows into the table of this chapter
    #[arg(long, value_name = "FILE")]
    into: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("chaos: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Runs what is asked for; whether all of it held.
fn run(arguments: &Arguments) -> io::Result<bool> {
    let all: Vec<&Scenario> = chaos::scenarios().collect();
    let names: Vec<&str> = all.iter().map(|scenario| scenario.name).collect();
    if let Some(name) = arguments.only.iter().find(|name| !names.contains(&name.as_str())) {
        return Err(io::Error::other(format!("no scenario {name}; there are {}", names.join(", "))));
    }
    let chosen =
        |scenario: &&Scenario| arguments.only.is_empty() || arguments.only.iter().any(|name| name == scenario.name);
    let chosen: Vec<&Scenario> = all.into_iter().filter(chosen).collect();
    if arguments.list {
        for Scenario { name, promise, .. } in chosen {
            println!("{name:<24} {promise}");
        }
        return Ok(true);
    }
    if !can_run("chaos") {
        return Err(io::Error::other("this needs root, for network namespaces and XDP"));
    }
    let length = if arguments.short { Length::Short } else { Length::Long };
    let mut rows = Vec::new();
    for (number, scenario) in chosen.iter().enumerate() {
        eprint!("{:>2}/{} {:<24} ", number + 1, chosen.len(), scenario.name);
        io::stderr().flush()?;
        let row = one(scenario, length);
        eprintln!("{}", line(&row));
        rows.push(row);
        // After each, so that a run that is ended leaves what it has.
        if let Some(file) = &arguments.json {
            fs::write(file, table::json(&rows, length))?;
        }
        if let Some(file) = &arguments.into {
            fs::write(file, table::put_into(&fs::read_to_string(file)?, &rows, &names)?)?;
        }
    }
    println!();
    for row in &rows {
        println!("{:<24} {}", row.scenario.name, line(row));
    }
    let broken = rows.iter().filter(|row| !row.outcome.held).count();
    let took: Duration = rows.iter().map(|row| row.took).sum();
    println!("\n{} scenarios, {broken} did not hold, {}", rows.len(), table::time(took));
    Ok(broken == 0)
}

fn one(scenario: &'static Scenario, length: Length) -> ChaosRow<'static> {
    let begun = Instant::now();
    let outcome = chaos::run(scenario, length);
    ChaosRow { scenario, outcome, took: begun.elapsed() }
}

fn line(row: &ChaosRow<'_>) -> String {
    let held = if row.outcome.held { "held" } else { "DID NOT HOLD" };
    format!("{held}, {}: {}", table::time(row.took), row.outcome.figure)
}
