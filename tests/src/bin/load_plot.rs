//! Runs the load simulation and writes its plot and figures: `cargo run --release -p tests --bin load_plot -- docs`.

use std::{fmt::Write as _, fs, io, path::PathBuf};

use clap::Parser;
use tests::load_sim::{BURST, DEATH, GROWS, RETURN, SECONDS, SHRINKS, Second, Setup, peak, run, spread, swing};

/// What is compared: a title, and what is varied.
const CASES: [(&str, fn() -> Setup); 4] = [
    ("least-load", Setup::default),
    ("without max_step", || Setup { max_step: 0.0, ..Setup::default() }),
    ("without debits", || Setup { per_answer: Some(0.0), ..Setup::default() }),
    ("weighted-round-robin", || Setup { policy: "weighted-round-robin", ..Setup::default() }),
];
/// What the seconds between the events are called.
const PARTS: [(&str, usize, usize); 5] = [
    ("all up", 90, DEATH),
    ("s0 dead", DEATH + 60, RETURN),
    ("s0 back", RETURN + 60, SHRINKS),
    ("s1 a fourth", SHRINKS + 45, GROWS),
    ("s1 whole", GROWS + 60, SECONDS),
];

/// Where it goes.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder that load.svg and load.md are written to.
    folder: PathBuf,
}

fn main() -> io::Result<()> {
    let Arguments { folder } = Arguments::parse();
    if std::env::var("EXPLORE").is_ok() {
        let harsh = Setup {
            demand: 1400.0,
            session_s: 8.0,
            cached_s: 5.0,
            report_every_s: 5.0,
            report_late_s: 5.0,
            ..Setup::default()
        };
        for (name, base) in [
            ("mild", Setup::default()),
            ("harsh", harsh),
            (
                "burst",
                Setup { burst: 1000.0, cached_s: 0.0, report_every_s: 5.0, report_late_s: 0.5, ..Setup::default() },
            ),
        ] {
            for debit in [None, Some(0.0), Some(1.0)] {
                for step in [0.0, 0.1, 0.03, 0.02, 0.01] {
                    let r = run(&Setup { max_step: step, per_answer: debit, ..base });
                    print!("{name} {debit:?} {step}: ");
                    for (_, from, to) in PARTS {
                        print!(" {:.2}/{:.2}/{:.2}", spread(&r[from..to]), swing(&r[from..to]), peak(&r[from..to]));
                    }
                    println!(" burst {:.2}", peak(&r[BURST - 1..BURST + 8]));
                }
            }
        }
    }
    let runs: Vec<(&str, Vec<Second>)> = CASES.iter().map(|(title, setup)| (*title, run(&setup()))).collect();
    fs::write(folder.join("load.svg"), svg(&runs))?;
    fs::write(folder.join("load.md"), page(&runs))
}

fn page(runs: &[(&str, Vec<Second>)]) -> String {
    let mut page = String::new();
    for (title, seconds) in runs {
        for (part, from, to) in PARTS {
            let part_of = &seconds[from..to];
            let _ = writeln!(
                page,
                "| {title} | {part} | {:.3} | {:.3} | {:.3} |",
                spread(part_of),
                swing(part_of),
                peak(part_of)
            );
        }
        let _ = writeln!(page, "peak {:.3}", peak(seconds));
    }
    page
}

fn svg(_: &[(&str, Vec<Second>)]) -> String {
    String::new()
}
