//! The CPU time of a process, and its memory.

use std::fs;

use crate::error::BenchError;

/// Returns the CPU time of a process so far, seconds, to the nanosecond (schedstat, first field).
pub(crate) fn cpu_s(pid: u32) -> Result<f64, BenchError> {
    let mut ns = 0.0;
    for task in fs::read_dir(format!("/proc/{pid}/task"))? {
        let text = fs::read_to_string(task?.path().join("schedstat"))?;
        ns += text.split(' ').next().unwrap_or_default().parse::<f64>()?;
    }
    Ok(ns / 1e9)
}

/// Returns the CPU time of a process so far, that of threads that have ended included, seconds, to the hundredth (proc(5): fields 14 and
/// 15 of stat).
pub(crate) fn whole_cpu_s(pid: u32) -> Result<f64, BenchError> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(')').ok_or("stat has no name")?;
    let ticks: f64 = fields.split_whitespace().skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum();
    Ok(ticks / 100.0)
}

/// Returns the resident memory of a process, MiB.
pub(crate) fn memory_mib(pid: u32) -> Result<f64, BenchError> {
    mib(pid, "VmRSS:")
}

/// Returns the most resident memory that a process had, MiB.
pub(crate) fn peak_mib(pid: u32) -> Result<f64, BenchError> {
    mib(pid, "VmHWM:")
}

fn mib(pid: u32, key: &str) -> Result<f64, BenchError> {
    let text = fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(key)).ok_or_else(|| format!("status has no {key}"))?;
    Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1024.0)
}
