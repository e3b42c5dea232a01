//! The agent's cost of a file of many pools: to check, to start from, and to reload with ten of them changed.

use std::{
    fmt::Write as _,
    fs,
    path::Path,
    process::{Command, Stdio},
    time::Instant,
};

use serde_json::{Value, json};
use tests::{
    netns::Netns,
    process::Process,
    program::{binary, until_ready},
    scratch,
};

use crate::{
    error::BenchError,
    figure_target::FigureTarget,
    process_time::{memory_mib, peak_mib},
    scene,
};

/// Pools that a reload finds changed.
const CHANGED: usize = 10;

/// The figures of one number of pools.
#[derive(Clone, Copy, Debug)]
pub struct StartCost {
    /// Pools, each a name; the Sites are always as many.
    pub names: usize,
    /// The file, MiB.
    pub file_mib: f64,
    /// `zerottl check` of it, seconds.
    pub check_s: f64,
    /// From the agent's start until it is ready, seconds.
    pub start_s: f64,
    /// Memory at most until then, MiB.
    pub start_peak_mib: f64,
    /// Memory then, MiB.
    pub memory_mib: f64,
    /// A reload of the file with ten pools changed, seconds.
    pub reload_s: f64,
    /// Memory at most until that was done, MiB.
    pub reload_peak_mib: f64,
}

/// Measures, once for each number of pools.
pub fn measure(names: &[usize]) -> Result<Vec<StartCost>, BenchError> {
    names.iter().map(|names| measure_one(*names)).collect()
}

fn measure_one(names: usize) -> Result<StartCost, BenchError> {
    let folder = scratch::folder()?;
    let file = folder.path().join("zerottl.toml");
    let text = text(names, 0);
    fs::write(&file, &text)?;
    let machine = Netns::new()?;
    machine.ip("link set lo up\nlink add eth0 type veth peer name peer0\naddr add 203.0.113.53/24 dev eth0\n\
         link set eth0 up\nlink set peer0 up")?;

    let begun = Instant::now();
    let checked = Command::new(binary()?).args(["check", "--config"]).arg(&file).stdout(Stdio::null()).status()?;
    let check_s = begun.elapsed().as_secs_f64();
    if !checked.success() {
        return Err(format!("the file of {names} pools is refused").into());
    }
    let begun = Instant::now();
    let mut command = Command::new(binary()?);
    command.args(["run", "--config"]).arg(&file).env("ZEROTTL_LOG", "warn");
    let agent = until_ready(&machine, folder.path(), command)?;
    let start_s = begun.elapsed().as_secs_f64();
    let (start_peak_mib, memory_mib) = (peak_mib(agent.id())?, memory_mib(agent.id())?);
    let reload_s = reload(&machine, &file, names)?;
    let reload_peak_mib = peak_mib(agent.id())?;
    let file_mib = text.len() as f64 / f64::from(1 << 20);
    stop(agent);
    Ok(StartCost { names, file_mib, check_s, start_s, start_peak_mib, memory_mib, reload_s, reload_peak_mib })
}

fn stop(mut agent: Process) {
    agent.kill();
}

/// Changes ten pools and lets the agent read the file again, seconds.
fn reload(machine: &Netns, file: &Path, names: usize) -> Result<f64, BenchError> {
    fs::write(file, text(names, CHANGED))?;
    let begun = Instant::now();
    let arguments = ["-sSf", "--max-time", "600", "-H", "Content-Type: application/json", "-d", "{}"];
    let url = "http://127.0.0.1:8053/v1/reload";
    let page: Value = serde_json::from_str(&machine.read("curl", &[&arguments[..], &[url]].concat())?)?;
    if page["took_ms"].is_null() {
        return Err(format!("the reload says {page}").into());
    }
    Ok(begun.elapsed().as_secs_f64())
}

/// A file of so many pools over 30 Sites, three each; the first `changed` have another three.
fn text(names: usize, changed: usize) -> String {
    let mut text = "[front]\ninterfaces = [\"eth0\"]\naddresses = [\"203.0.113.53\"]\nxdp = \"native\"\n\
        [state]\ndirectory = \"state\"\n[admin]\nlisten = \"127.0.0.1:8053\"\n\
        [zone.\"app.example\"]\nnameservers = [\"ns1.example.net\"]\ncontact = \"hostmaster@app.example\"\n"
        .to_owned();
    for site in 0..scene::SITES {
        let _ = write!(
            text,
            "[site.s{site}]\nname = \"site{site}.app.example\"\naddresses = [\"192.0.2.{}\"]\nprobe = {{ kind = \"tcp\", \
             port = 80, interval = \"10s\" }}\n",
            site + 1
        );
    }
    for pool in 0..names {
        let first = pool + if pool < changed { 7 } else { 0 };
        let sites = [0, 1, 2].map(|at| format!("s{}", (first + at) % scene::SITES));
        let _ = write!(text, "[pool.\"{}\"]\nsites = {sites:?}\n", scene::pool_name(pool));
    }
    text
}

/// How it is measured.
pub const METHOD: &str = "\
Files of many pools over 30 Sites, three each, one after another: `zerottl check`; the agent in a namespace of its own, from
its start until it says that it is ready, which it does once it answers; and a reload by its admin interface with ten pools
changed. Memory is the process's (VmHWM and VmRSS), without the kernel's maps. One run of each.";

/// The figures as a table.
#[must_use]
pub fn table(costs: &[StartCost]) -> String {
    let head = "    names  file, MiB  check, s  start, s  peak, MiB  then, MiB  reload, s  peak, MiB".to_owned();
    let line = |cost: &StartCost| {
        let StartCost { names, file_mib, check_s, start_s, start_peak_mib, memory_mib, reload_s, reload_peak_mib } =
            cost;
        format!(
            "{names:>9}  {file_mib:>9.1}  {check_s:>8.2}  {start_s:>8.2}  {start_peak_mib:>9.0}  {memory_mib:>9.0}  \
             {reload_s:>9.2}  {reload_peak_mib:>9.0}"
        )
    };
    std::iter::once(head).chain(costs.iter().map(line)).collect::<Vec<_>>().join("\n")
}

/// Returns what was to be reached with a million names.
#[must_use]
pub fn targets(costs: &[StartCost]) -> Vec<FigureTarget> {
    let of = |cost: &StartCost| {
        [
            ("start, s", cost.start_s, 6.0),
            ("memory at most until then, MiB", cost.start_peak_mib, 500.0),
            ("reload with ten changed, s", cost.reload_s, 3.0),
        ]
        .map(|(what, figure, target)| {
            let what = format!("(k) {} names: {what}", cost.names);
            FigureTarget { what, figure, target, at_least: false }
        })
    };
    costs.iter().filter(|cost| cost.names == 1_000_000).flat_map(of).collect()
}

impl StartCost {
    /// As JSON.
    #[must_use]
    pub fn json(&self) -> Value {
        json!({
            "names": self.names,
            "file_mib": self.file_mib,
            "check_s": self.check_s,
            "start_s": self.start_s,
            "start_peak_mib": self.start_peak_mib,
            "memory_mib": self.memory_mib,
            "reload_s": self.reload_s,
            "reload_peak_mib": self.reload_peak_mib,
        })
    }
}
