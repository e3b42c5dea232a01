//! The CPU time of a process.

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
