//! Time in receiving softirqs, by a program at their two tracepoints.

use aya::{
    Ebpf,
    maps::PerCpuArray,
    programs::{ProgramError, RawTracePoint},
};
use zerottl_kernel::SOFTIRQ_OBJECT;

use crate::error::BenchError;

/// Programs of `xdp-ebpf/src/softirq.rs` and their tracepoints.
const PROGRAMS: [(&str, &str); 2] = [("softirq_begins", "softirq_entry"), ("softirq_ends", "softirq_exit")];

/// `Spent` of `xdp-ebpf/src/softirq.rs`: when the one that runs began, and all time, ns.
type Spent = [u64; 2];

/// Counts from its making until it is dropped.
pub(super) struct SoftirqClock {
    ebpf: Ebpf,
}

impl SoftirqClock {
    pub(super) fn start() -> Result<Self, BenchError> {
        let mut ebpf = Ebpf::load(SOFTIRQ_OBJECT)?;
        for (name, tracepoint) in PROGRAMS {
            let program: &mut RawTracePoint = ebpf.program_mut(name).ok_or("the object lacks it")?.try_into()?;
            let attached = program.load().and_then(|()| program.attach(tracepoint));
            attached.map_err(|error: ProgramError| {
                format!("tracepoint {tracepoint}: {error}; the kernel needs CONFIG_BPF_EVENTS")
            })?;
        }
        Ok(Self { ebpf })
    }

    /// Seconds of all CPUs so far.
    pub(super) fn seconds(&self) -> Result<f64, BenchError> {
        let map = self.ebpf.map("SPENT").ok_or("the object lacks its map")?;
        let spent = PerCpuArray::<_, Spent>::try_from(map)?.get(&0, 0)?;
        Ok(spent.iter().map(|[_, all]| *all as f64).sum::<f64>() / 1e9)
    }
}
