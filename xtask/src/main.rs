//! `cargo xtask`: the tasks of this repository, each of which first sets up what it lacks.
//!
//! | module | concern |
//! |---|---|
//! | `requirements` | the pure decision of what a task lacks |
//! | `setup` | installing it |
//! | `tasks` | build, run, test, chaos, docs and bench |
//! | `lint` | lint and mutants |
//! | `fuzz` | the fuzz targets |
//! | `vm` | `test --kernel`: `fetch` downloads, `guest` says what runs inside |
//! | `dist` | the tarball and the Debian package, out of `packaging/` |
//! | `ebpf`, `ebpf_build` | finding the BPF toolchain and calling it; the agent's build script includes both, so that there is one answer |
//! | `host` | what kernel and rights allow |
//! | `cargo`, `tally` | running programs, and counting tests |

mod cargo;
mod dist;
mod ebpf;
#[cfg(test)]
#[expect(dead_code, reason = "userspace/kernel/build.rs calls it; here it is tested")]
mod ebpf_build;
mod fuzz;
mod host;
mod lint;
mod requirements;
mod setup;
mod tally;
mod tasks;
mod vm;

use std::{
    ffi::OsString,
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Parser, Subcommand};
use requirements::Task;
use xtask::tree::{Tree, figures::Figures, records::records};

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Sets up, builds, runs, tests and measures zerottl", version)]
struct Arguments {
    #[command(subcommand)]
    command: Commands,
}

#[derive(Subcommand)]
enum Commands {
    /// Install what is missing (Debian: by apt-get and cargo install), for every task or for one
    Setup {
        /// The task to set up for
        #[arg(long = "for", value_enum, default_value_t = Task::All)]
        task: Task,
    },
    /// Build the release binary, target/release/zerottl
    Build,
    /// Run the quick-start lab; with arguments after `--`, the agent on this host: `run -- --config F`
    Run {
        /// In the lab, run the example application at the Sites, behind `zerottl site`
        #[arg(long, conflicts_with = "arguments")]
        site: bool,
        /// Instead, run a director with three application servers, and a client
        #[arg(long, conflicts_with_all = ["arguments", "site"])]
        director: bool,
        /// Instead, run a shop whose carts are in sessions, and kill what hosts them
        #[arg(long, conflicts_with_all = ["arguments", "site", "director"])]
        session: bool,
        /// Instead, run three fronts that share words and votes by three nodes of etcd
        #[arg(long, conflicts_with_all = ["arguments", "site", "director", "session"])]
        fleet: bool,
        /// Arguments for `zerottl run`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Run every test, the kernel and namespace tests included; those need root
    Test {
        /// Run only the tests whose name contains this
        #[arg(long)]
        filter: Option<String>,
        /// Run the kernel table, rates, the distributor and the differential test alone, on Debian 12's kernel in a virtual machine, with the service's capabilities
        #[arg(long)]
        kernel: bool,
        /// Run the long forms of the kernel and namespace tests: 1,000,000 questions of kernel and socket path alike, 10 s of each flood, 10,000,000 answers while plans change
        #[arg(long, conflicts_with = "kernel")]
        long: bool,
        /// Arguments for the test programs, such as `--nocapture`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Let things go wrong, each with what must hold meanwhile and the figure that shows it; needs root
    Chaos {
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
        /// Put the rows into the table of this chapter, docs/chaos.md
        #[arg(long, value_name = "FILE")]
        into: Option<PathBuf>,
    },
    /// Fuzz what parses bytes from the network or from files (cargo-fuzz)
    Fuzz {
        /// Seconds for each target
        #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=86_400))]
        seconds: u32,
        /// Run this target only
        #[arg(long)]
        target: Option<String>,
    },
    /// Run the benchmarks
    Bench {
        /// Arguments for the benchmark programs
        #[arg(last = true)]
        arguments: Vec<String>,
    },
    /// Make the documents that show what the programs print and do, then render the book where mdBook is installed
    Docs {
        /// Render the book only, to target/book
        #[arg(long)]
        book: bool,
        /// Make only what comes from the source itself, which needs neither root nor a built program: docs/configure/reference.md, and the tables of packet reasons and metrics
        #[arg(long, conflicts_with = "book")]
        from_source: bool,
    },
    /// Make a tarball and a Debian package in target/dist
    Dist {
        /// Pack this binary instead of building one
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
        /// Put them here
        #[arg(long, value_name = "DIRECTORY")]
        out: Option<PathBuf>,
    },
    /// Check what is worth checking after every change, in about a minute: formatting, lints of the workspace's default members, the house rules
    Check,
    /// Check formatting, lints, documentation, dependencies and the house rules
    Lint,
    /// Print the figures by which the shape of this repository is judged
    Figures {
        /// Write the records of what may only shrink, xtask/tests/known_*.txt, as the tree is now
        #[arg(long)]
        record: bool,
    },
    /// Change the shared packet code one place at a time and see that a test fails (cargo-mutants)
    Mutants {
        /// Arguments for `cargo mutants`
        #[arg(last = true)]
        arguments: Vec<String>,
    },
}

/// Prints the figures of the checkout and, with `record`, writes the records of the house rules.
fn figures(root: &Path, record: bool) -> Result<(), String> {
    let tree = Tree::read(root).map_err(|error| error.to_string())?;
    print!("{}", Figures::of(&tree));
    if record {
        for (path, text) in records(&tree) {
            fs::write(root.join(path), text).map_err(|error| format!("{path}: {error}"))?;
            eprintln!("xtask: wrote {path}");
        }
    }
    Ok(())
}

fn main() -> ExitCode {
    let Some(root) = cargo::root() else {
        eprintln!("error: there is no checkout of zerottl here: run `cargo xtask` inside of one");
        return ExitCode::FAILURE;
    };
    let root = root.as_path();
    let result = match Arguments::parse().command {
        Commands::Setup { task } => setup::setup(task, root),
        Commands::Build => tasks::build(root),
        Commands::Run { site, director, session, fleet, arguments } => {
            let variants = [(site, "--site"), (director, "--director"), (session, "--session"), (fleet, "--fleet")];
            let variant = variants.into_iter().find(|(is, _)| *is);
            tasks::run(root, variant.map(|(_, option)| option), &arguments)
        }
        Commands::Test { filter, kernel: true, arguments, .. } => vm::test(root, filter.as_deref(), &arguments),
        Commands::Test { filter, long, arguments, .. } => tasks::test(root, filter.as_deref(), long, &arguments),
        Commands::Chaos { only, short, list, json, into } => {
            let mut arguments: Vec<OsString> =
                only.into_iter().flat_map(|name| ["--only".into(), name.into()]).collect();
            arguments.extend(
                [(short, "--short"), (list, "--list")].into_iter().filter(|(is, _)| *is).map(|(_, flag)| flag.into()),
            );
            for (flag, file) in [("--json", json), ("--into", into)] {
                arguments.extend(file.into_iter().flat_map(|file| [flag.into(), file.into_os_string()]));
            }
            tasks::chaos(root, &arguments)
        }
        Commands::Fuzz { seconds, target } => fuzz::fuzz(root, seconds, target.as_deref()),
        Commands::Bench { arguments } => tasks::bench(root, &arguments),
        Commands::Docs { from_source: true, .. } => tasks::docs_from_source(root),
        Commands::Docs { book, .. } => tasks::docs(root, book),
        Commands::Dist { binary, out } => dist::dist(root, binary, out),
        Commands::Check => lint::check(root),
        Commands::Lint => lint::lint(root),
        Commands::Figures { record } => figures(root, record),
        Commands::Mutants { arguments } => lint::mutants(root, &arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(problem) => {
            eprintln!("error: {problem}");
            ExitCode::FAILURE
        }
    }
}
