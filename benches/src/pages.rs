//! (n) A look-up in BPF maps that lie in pages of 4 KiB, and in maps that lie in the kernel's own large pages.
//!
//! An array that is mapped by a process, or larger than 32 KB, is made by `vmalloc`, in pages of 4 KiB; a smaller one by
//! `kmalloc`, in the kernel's direct map.

mod table;

use std::{fmt::Write as _, fs, os::fd::OwnedFd, time::Instant};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use serde_json::{Value, json};

pub use self::table::TableForm;
use self::table::{Entry, INNER, LOOK_UPS, PUT, Table};
use crate::{error::BenchError, stats::Quartiles};

/// Single updates of an outer array that are timed.
const WAITS: usize = 21;

/// How much is measured.
#[derive(Clone, Debug)]
pub struct PagesEffort {
    /// Numbers of entries, powers of two; the last is filled again and again.
    pub entries: Vec<u32>,
    /// Interleaved rounds.
    pub rounds: usize,
    /// Look-ups per round: a multiple of all numbers of entries, and of the look-ups of a run.
    pub look_ups: u32,
    /// How often each is filled.
    pub fills: usize,
}

impl PagesEffort {
    /// Returns that of a whole run, or of a smoke run.
    #[must_use]
    pub fn new(quick: bool) -> Self {
        if quick {
            Self { entries: vec![1 << 10, 1 << 13], rounds: 3, look_ups: 1 << 14, fills: 1 }
        } else {
            Self { entries: vec![1 << 10, 1 << 17, 1 << 20], rounds: 21, look_ups: 1 << 20, fills: 5 }
        }
    }
}

/// The figures of one map.
#[derive(Clone, Debug)]
pub struct TableCost {
    form: TableForm,
    entries: u32,
    /// Memory that the kernel mapped in pages of 4 KiB for it, MiB.
    vmalloc_mib: f64,
    /// Making and filling it, seconds.
    fill_s: Vec<f64>,
    /// A look-up that waits for the one before, and one that does not, ns per round.
    ns: [Vec<f64>; 2],
}

/// Everything measured.
#[derive(Clone, Debug)]
pub struct PageCosts {
    costs: Vec<TableCost>,
    /// An update of one entry of an outer array, ms.
    wait_ms: Vec<f64>,
}

/// Entries that make one walk, which meets all of them in a random order.
fn entries(count: u32) -> Vec<Entry> {
    let mut random = StdRng::seed_from_u64(count.into());
    let mut next: Vec<u64> = (0..count.into()).collect();
    // Sattolo's algorithm: one cycle.
    for place in (1..next.len()).rev() {
        next.swap(place, random.random_range(0..place));
    }
    next.into_iter().map(|next| [next, 1, 2, 3, 4, 5, 6, 0]).collect()
}

/// Memory that the kernel has mapped in pages of 4 KiB, MiB.
fn vmalloc_mib() -> Result<f64, BenchError> {
    let meminfo = fs::read_to_string("/proc/meminfo")?;
    let used = meminfo.lines().find_map(|line| line.strip_prefix("VmallocUsed:")?.strip_suffix("kB"));
    Ok(used.ok_or("/proc/meminfo has no VmallocUsed")?.trim().parse::<f64>()? / 1_024.0)
}

/// A table with the programs that look up in it, and its figures.
struct Timed {
    table: Table,
    walks: [OwnedFd; 2],
    cost: TableCost,
}

impl Timed {
    fn new(form: TableForm, all: &[Entry], pad: u8, state: &OwnedFd) -> Result<Self, BenchError> {
        let (before, begun) = (vmalloc_mib()?, Instant::now());
        let table = Table::new(form, all, pad)?;
        let fill_s = vec![begun.elapsed().as_secs_f64()];
        let vmalloc_mib = vmalloc_mib()? - before;
        let walks = [table.walk(state, true)?, table.walk(state, false)?];
        let cost = TableCost { form, entries: table.entries, vmalloc_mib, fill_s, ns: Default::default() };
        Ok(Self { table, walks, cost })
    }

    /// Times look-ups, and checks that they met all entries equally often.
    fn round(&self, state: &OwnedFd, look_ups: u32) -> Result<[f64; 2], BenchError> {
        let entries = u64::from(self.table.entries);
        let sum = (entries - 1) * u64::from(look_ups) / 2;
        let mut ns = [0.0; 2];
        for (walk, ns) in self.walks.iter().zip(&mut ns) {
            let (elapsed, left) = table::run(walk, state, look_ups / LOOK_UPS.cast_unsigned())?;
            if left != [0, sum] {
                return Err(format!("(n) a walk of {:?} ended with {left:?}, and not {:?}", self.cost, [0, sum]).into());
            }
            *ns = elapsed / f64::from(look_ups);
        }
        Ok(ns)
    }
}

/// Measures. Runs on the calling thread, which should be pinned.
pub fn measure(effort: &PagesEffort) -> Result<PageCosts, BenchError> {
    let state = table::state()?;
    let small = Table::new(TableForm::Arrays, &entries(1_024), 0)?;
    let pad = (64 - small.offset_in_line(&state)?) % 64;
    let mut timed = Vec::new();
    let mut all = Vec::new();
    for count in &effort.entries {
        all = entries(*count);
        for form in TableForm::ALL {
            timed.push(Timed::new(form, &all, if form == TableForm::Lines { pad } else { 0 }, &state)?);
        }
    }
    // The first round warms caches and is not kept.
    for round in 0..=effort.rounds {
        for timed in &mut timed {
            let ns = timed.round(&state, effort.look_ups)?;
            if round > 0 {
                timed.cost.ns.iter_mut().zip(ns).for_each(|(all, ns)| all.push(ns));
            }
        }
    }
    for _ in 1..effort.fills {
        for timed in timed.iter_mut().filter(|timed| timed.table.entries as usize == all.len()) {
            let begun = Instant::now();
            let table = Table::new(timed.cost.form, &all, timed.table.pad)?;
            timed.cost.fill_s.push(begun.elapsed().as_secs_f64());
            drop(table);
        }
    }
    let costs = timed.into_iter().map(|timed| timed.cost).collect();
    Ok(PageCosts { costs, wait_ms: waits(&small)? })
}

/// Times updates of one entry of an outer array, each of which may wait for the programs that run.
fn waits(table: &Table) -> Result<Vec<f64>, BenchError> {
    let wait = |_| {
        let begun = Instant::now();
        table.put_again()?;
        Ok(begun.elapsed().as_secs_f64() * 1e3)
    };
    (0..WAITS).map(wait).collect()
}

/// Describes how (n) is measured.
#[must_use]
pub fn method(effort: &PagesEffort) -> String {
    let PagesEffort { rounds, look_ups, fills, .. } = effort;
    format!(
        "\
Programs of {LOOK_UPS} look-ups in the kernel's test run, pinned to one CPU; {look_ups} look-ups a round meet each entry equally often, at
random. Entries have 64 bytes; the first and the last word are read. `chained`: the index is what the look-up before read. `free`:
it is computed, so that look-ups overlap. All maps are loaded at once; rounds go through them in turn; ratios are taken round by
round. An inner array has {INNER} entries. `4 KiB`: what /proc/meminfo's VmallocUsed grows by. {rounds} rounds; the first is not kept.
Filling: making included, {fills} times; inner maps are put into the outer one {PUT} at a time."
    )
}

/// Formats (n) as tables.
#[must_use]
pub fn table(pages: &PageCosts) -> String {
    let of = |ns: &[f64]| Quartiles::of(ns.iter().copied());
    let mut text = format!(
        "{:>8} {:<33} {:>22} {:>17} {:>22} {:>17} {:>12} {:>20}\n",
        "entries", "", "chained, ns", "by mmapable", "free, ns", "by mmapable", "4 KiB, MiB", "filled in, s"
    );
    for cost in &pages.costs {
        let mapped = pages.costs.iter().find(|other| other.entries == cost.entries).unwrap_or(cost);
        let _ = write!(text, "{:>8} {:<33}", cost.entries, cost.form.words());
        for (own, mapped) in cost.ns.iter().zip(&mapped.ns) {
            let ratio = Quartiles::of_pairs(own, mapped, |own, mapped| own / mapped);
            let _ = write!(text, " {:>22} {:>17}", format!("{:.1}", of(own)), format!("{ratio:.2}"));
        }
        let filled = format!("{:.3}", of(&cost.fill_s));
        let _ = writeln!(text, " {:>12.1} {filled:>20}", cost.vmalloc_mib);
    }
    let _ = writeln!(text, "an update of one entry of an outer array: {:.2} ms", of(&pages.wait_ms));
    text + "median [quartiles]\n"
}

/// Everything as JSON.
#[must_use]
pub fn json(pages: &PageCosts) -> Value {
    let of = |ns: &[f64]| Quartiles::of(ns.iter().copied()).json();
    let cost = |cost: &TableCost| {
        let TableCost { form, entries, vmalloc_mib, fill_s, ns: [chained, free] } = cost;
        let (chained, free) = (of(chained), of(free));
        json!({ "map": form.words(), "entries": entries, "chained_ns": chained, "free_ns": free, "vmalloc_mib": vmalloc_mib, "fill_s": of(fill_s) })
    };
    json!({ "look_ups": pages.costs.iter().map(cost).collect::<Vec<_>>(), "outer_update_ms": of(&pages.wait_ms) })
}
