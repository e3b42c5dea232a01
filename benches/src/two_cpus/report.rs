//! Two CPUs by one, as text, Markdown and JSON.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::{CpuScaling, CpuScene, TwoCpusEffort};
use crate::figure_target::FigureTarget;

/// The rate of two CPUs that is asked for, by that of one.
const AIM: f64 = 1.9;

/// Describes how (m) is measured.
#[must_use]
pub fn method(effort: TwoCpusEffort) -> String {
    let TwoCpusEffort { rounds, repeat, flood } = effort;
    format!(
        "\
Both CPUs at once beside one alone, which changes from round to round. Test run: BPF_PROG_TEST_RUN over the next of 1,000
names, of a walk of each CPU's own; both have the maps of one program. Runs per second of the threads' CPU time, {repeat} runs.
Queues: frames that the kernel makes in its test run (live frames, batches of 64) go over a veth pair of two queues, native, are
answered by XDP_TX and dropped, all on the CPU that made them. Answers as the program counts them, per second
of CPU time of what makes and receives frames (schedstat), {flood:?} each; at most 1 in 100 frames may get lost. {rounds} rounds; the first is not kept; ratios are taken round by round."
    )
}

fn rows(all: &[CpuScaling]) -> impl Iterator<Item = [String; 4]> {
    all.iter().map(|scaling| {
        let scene = match scaling.scene {
            CpuScene::TestRun => "the kernel's test run, restoring a query included",
            CpuScene::Queues => "veth of two queues, flood by the kernel included",
        };
        let millions = |figure: f64| format!("{:.2}", figure / 1e6);
        let [one, two] = [scaling.one(), scaling.two()].map(|figure| millions(figure.median));
        [format!("{}: {scene}", scaling.what), one, two, format!("{:.2}", scaling.ratio())]
    })
}

/// Formats (m) as a table.
#[must_use]
pub fn table(all: &[CpuScaling]) -> String {
    if all.is_empty() {
        return "there is one CPU only: not measured".to_owned();
    }
    let mut text = format!("{:<64} {:>12} {:>12} {:>18}\n", "", "one, 10^6/s", "two, 10^6/s", "two by one");
    for [what, one, two, ratio] in rows(all) {
        let _ = writeln!(text, "{what:<64} {one:>12} {two:>12} {ratio:>18}");
    }
    text + "median [quartiles]\n"
}

/// Formats (m) as a table of Markdown.
#[must_use]
pub fn markdown(all: &[CpuScaling]) -> String {
    let mut text = String::from("| what | one CPU, 10^6/s | two | two by one |\n|---|---|---|---|\n");
    for [what, one, two, ratio] in rows(all) {
        let _ = writeln!(text, "| {what} | {one} | {two} | {ratio} |");
    }
    text
}

/// The figures that have a target.
pub fn targets(all: &[CpuScaling]) -> impl Iterator<Item = FigureTarget> {
    let own = all.iter().filter(|scaling| scaling.what == "zerottl");
    own.map(|scaling| {
        let scene = if scaling.scene == CpuScene::TestRun { "in the test run" } else { "two queues by one" };
        let what = format!("(m) two CPUs by one, {scene}");
        FigureTarget { what, figure: scaling.ratio().median, target: AIM, at_least: true }
    })
}

/// Everything as JSON.
#[must_use]
pub fn json(all: &[CpuScaling]) -> Value {
    let scaling = |scaling: &CpuScaling| {
        let scene = if scaling.scene == CpuScene::TestRun { "test run" } else { "queues" };
        json!({
            "scene": scene,
            "what": scaling.what,
            "one_per_s": scaling.one().json(),
            "two_per_s": scaling.two().json(),
            "ratio": scaling.ratio().json(),
        })
    };
    all.iter().map(scaling).collect()
}
