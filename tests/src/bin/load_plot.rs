//! Runs the load simulation and writes its figures and its plot: `cargo run --release -p tests --bin load_plot -- docs`.
#![expect(clippy::cast_precision_loss, reason = "seconds and Sites, far below 2^52")]

use std::{fmt::Write as _, fs, io, path::PathBuf};

use clap::Parser;
use tests::load_sim::{
    BURST, DEATH, GROWS, RETURN, SECONDS, SHRINKS, Second, Setup, over_seeds, peak, run, swing, utilisation_swing,
};

/// A title, and what is varied.
type Case = (&'static str, fn() -> Setup);

/// The setups that are compared under late reports.
const CASES: [Case; 4] = [
    ("least-load, as configured by default", hard),
    ("without max_step", || Setup { max_step: 0.0, ..hard() }),
    ("without max_step and debits", || Setup { max_step: 0.0, per_answer: Some(0.0), ..hard() }),
    ("weighted-round-robin", || Setup { policy: "weighted-round-robin", ..hard() }),
];
/// The seconds between the events, once things have settled.
const PARTS: [(&str, usize, usize); 5] = [
    ("all up", 90, DEATH),
    ("s0 dead", DEATH + 60, RETURN),
    ("s0 back", RETURN + 80, SHRINKS),
    ("s1 a fourth", SHRINKS + 40, GROWS),
    ("s1 whole", GROWS + 60, SECONDS),
];
/// Chances that the figures are taken over; the plot is of the first.
const SEEDS: u64 = 20;
const COLOURS: [&str; 4] = ["#c0392b", "#2471a3", "#1e8449", "#9a7d0a"];
/// Of one panel, pixels.
const WIDTH: f64 = 420.0;
const HEIGHT: f64 = 110.0;
const MARGIN: f64 = 46.0;
/// The largest utilisation shown.
const UTILISATION_MAX: f64 = 2.0;

/// Where it goes.
#[derive(Debug, Parser)]
struct Arguments {
    /// The folder that load.svg and load.md are written to.
    folder: PathBuf,
}

/// Late reports, short sessions, and resolvers that keep answers.
fn hard() -> Setup {
    Setup { session_s: 8.0, cached_s: 5.0, report_every_s: 5.0, report_late_s: 5.0, ..Setup::default() }
}

fn main() -> io::Result<()> {
    let Arguments { folder } = Arguments::parse();
    let runs: Vec<(&str, Vec<Second>)> = CASES.iter().map(|(title, setup)| (*title, run(&setup()))).collect();
    fs::write(folder.join("load.svg"), plot(&runs))?;
    fs::write(folder.join("load.md"), page())
}

fn page() -> String {
    let mut page = String::from(
        "# Least-load under a simulation

How shares under `policy = \"least-load\"` follow loads that change, with late reports and resolvers that keep answers.
The page is for whoever sets [load](configure/load.md) parameters. Clients are simulated; no real users have been
measured.

Made by `cargo run --release -p tests --bin load_plot -- docs`. The agent's own assessor and planner run on a clock that is
a number; clients, resolvers, sessions and late reports are made up (`tests/src/load_sim.rs`), from fixed seeds.
`tests/tests/pure/load_simulation.rs` holds the outcome.

Four Sites of equal weight can take 1000, 800, 600 and 400 sessions; 1400 are under way, of 8 s each. Resolvers keep an
answer for 5 s in the mean although its TTL is 0. Sites report every 5 s their state of 5 s before. At 150 s Site s0 dies, and
its clients try again; at 270 s it returns, with a slow start of 20 s. At 390 s the capacity of s1 falls to a fourth, until
480 s.

![Shares and loads over time](load.svg)

Once things have settled after each event: how far one Site's share and its load per capacity go up and down, and the
highest load per capacity; the median of 20 seeds, and the worst in brackets. Round robin's variation is chance alone: its
shares do not move.

| | seconds | share up and down | load up and down | load, highest |
|---|---|---|---|---|
",
    );
    for (title, setup) in CASES {
        for (part, from, to) in PARTS {
            let cell = |figure: fn(&[Second]) -> f64| {
                let (median, worst) = over_seeds(setup(), SEEDS, |seconds| figure(&seconds[from..to]));
                format!("{median:.2} [{worst:.2}]")
            };
            let _ =
                writeln!(page, "| {title} | {part} | {} | {} | {} |", cell(swing), cell(utilisation_swing), cell(peak));
        }
    }
    page += "
A burst of 1000 sessions within a second, between two reports, resolvers that keep nothing: the highest load per capacity
of any Site until the reports have caught up; the median of 20 seeds, and the worst.

| load_per_answer | load, highest |
|---|---|
";
    for (what, per_answer) in [("1", Some(1.0)), ("learned", None), ("0: no debits", Some(0.0))] {
        let setup = Setup { burst: 1000.0, cached_s: 0.0, report_every_s: 5.0, report_late_s: 0.5, ..Setup::default() };
        let burst = |seconds: &[Second]| peak(&seconds[BURST - 1..BURST + 8]);
        let (median, worst) = over_seeds(Setup { per_answer, ..setup }, SEEDS, burst);
        let _ = writeln!(page, "| {what} | {median:.2} [{worst:.2}] |");
    }
    page
}

/// A row per run: shares on the left, loads on the right.
fn plot(runs: &[(&str, Vec<Second>)]) -> String {
    let row = HEIGHT + MARGIN;
    let (width, height) = (2.0 * (WIDTH + MARGIN) + MARGIN, MARGIN + row * runs.len() as f64);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {width} {height}\" font-family=\"sans-serif\" \
         font-size=\"11\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
    );
    for (site, colour) in COLOURS.iter().enumerate() {
        let x = MARGIN + 40.0 * site as f64;
        let _ = writeln!(svg, "<text x=\"{x}\" y=\"16\" fill=\"{colour}\">s{site}</text>");
    }
    for (i, (title, seconds)) in runs.iter().enumerate() {
        let top = MARGIN + row * i as f64;
        panel(&mut svg, (MARGIN, top), &format!("{title}: share"), 1.0, seconds, |second| second.share);
        let left = WIDTH + 2.0 * MARGIN;
        let title = format!("{title}: load per capacity");
        panel(&mut svg, (left, top), &title, UTILISATION_MAX, seconds, |second| second.utilisation);
    }
    svg + "</svg>\n"
}

fn panel(
    svg: &mut String,
    (left, top): (f64, f64),
    title: &str,
    most: f64,
    seconds: &[Second],
    of: impl Fn(&Second) -> [f64; 4],
) {
    let bottom = top + HEIGHT;
    let x = |second: usize| left + WIDTH * second as f64 / SECONDS as f64;
    let y = |value: f64| bottom - HEIGHT * value.min(most) / most;
    let _ = writeln!(svg, "<text x=\"{left}\" y=\"{:.1}\">{title}</text>", top - 6.0);
    for part in [0.0, 0.5, 1.0] {
        let (at, value) = (y(part * most), part * most);
        let _ = writeln!(
            svg,
            "<path d=\"M{left} {at:.1}h{WIDTH}\" stroke=\"#ddd\"/><text x=\"{:.1}\" y=\"{:.1}\" \
             text-anchor=\"end\">{value}</text>",
            left - 4.0,
            at + 4.0
        );
    }
    for (event, word) in [(DEATH, "s0 dies"), (RETURN, "returns"), (SHRINKS, "s1 ÷ 4"), (GROWS, "whole")] {
        let at = x(event);
        let _ = writeln!(
            svg,
            "<path d=\"M{at:.1} {top:.1}v{HEIGHT}\" stroke=\"#999\" stroke-dasharray=\"2 3\"/>\
             <text x=\"{at:.1}\" y=\"{:.1}\" font-size=\"9\" fill=\"#666\">{event} s: {word}</text>",
            bottom + 11.0
        );
    }
    for (site, colour) in COLOURS.iter().enumerate() {
        let points: Vec<String> = seconds
            .iter()
            .enumerate()
            .map(|(second, values)| format!("{:.1},{:.1}", x(second), y(of(values)[site])))
            .collect();
        let _ = writeln!(svg, "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\"/>", points.join(" "));
    }
}
