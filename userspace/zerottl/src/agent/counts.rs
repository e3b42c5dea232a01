//! Both paths' counters, for the admin pages and for what load figures are debited by.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use rustix::time::{ClockId, clock_gettime};
use tracing::warn;

use crate::observe::counters::{CounterSource, ForwardCounts, PlanningCounts, SocketCounts, UpstreamCounts};
use zerottl_dns::{self as dns, view::View};
use zerottl_host::log_limit::LogLimit;
use zerottl_kernel::PacketCounters;

/// Counters of planning rounds since the agent's start.
#[derive(Debug, Default)]
pub(crate) struct RoundCounters {
    rounds: AtomicU64,
    plans: AtomicU64,
    written_bytes: AtomicU64,
    cpu_ns: AtomicU64,
}

impl RoundCounters {
    /// Counts a round and its CPU time; a round is one call on one thread.
    pub fn round<T>(&self, round: impl FnOnce() -> T) -> T {
        let begun = cpu_ns();
        let result = round();
        self.cpu_ns.fetch_add(cpu_ns().saturating_sub(begun), Ordering::Relaxed);
        self.rounds.fetch_add(1, Ordering::Relaxed);
        result
    }

    /// Counts a plan, of which so many bytes went into the maps.
    pub fn plan(&self, written_bytes: u64) {
        self.plans.fetch_add(1, Ordering::Relaxed);
        self.written_bytes.fetch_add(written_bytes, Ordering::Relaxed);
    }
}

/// CPU time of this thread, nanoseconds.
fn cpu_ns() -> u64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}

/// Both paths' counters, of one configuration.
pub(crate) struct AgentCounters {
    /// None with `xdp = "off"`.
    pub kernel: Option<PacketCounters>,
    /// The state that the sockets share, with their counters, whatever the configuration.
    pub socket: Arc<dns::DnsService>,
    /// Whose answers the sockets count.
    pub view: Arc<View>,
    /// The counters of planning rounds, whatever the configuration.
    pub work: Arc<RoundCounters>,
}

impl AgentCounters {
    /// How often each address was answered by either path, by its position in
    /// [`Plan::endpoints`](zerottl_core::plan::Plan::endpoints); counted from 0 again when the configuration is loaded anew.
    #[must_use]
    pub fn answers(&self) -> Vec<u64> {
        let mut answers = self.view.answers();
        for (sum, count) in answers.iter_mut().zip(self.kernel.iter().flat_map(PacketCounters::answers)) {
            *sum += count;
        }
        answers
    }
}

impl CounterSource for AgentCounters {
    fn reasons(&self) -> Vec<(&'static str, &'static str, u64)> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        match kernel.read() {
            Ok(counts) => {
                counts.into_iter().map(|(reason, count)| (reason.name(), reason.action().name(), count)).collect()
            }
            Err(error) => {
                // They are read every second, whoever else asks.
                static SAID: Mutex<LogLimit> = Mutex::new(LogLimit::new(Duration::from_secs(10)));
                if let Some(unsaid) = SAID.lock().unwrap_or_else(PoisonError::into_inner).admit(Instant::now()) {
                    warn!(unsaid, "reading the kernel's counters failed: {error}");
                }
                Vec::new()
            }
        }
    }

    fn answers(&self) -> Vec<u64> {
        Self::answers(self)
    }

    #[expect(clippy::cast_precision_loss, reason = "nanoseconds: exact for a hundred days of CPU time")]
    fn work(&self) -> PlanningCounts {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        PlanningCounts {
            rounds: read(&self.work.rounds),
            plans: read(&self.work.plans),
            written_bytes: read(&self.work.written_bytes),
            cpu_s: read(&self.work.cpu_ns) as f64 / 1e9,
        }
    }

    fn socket(&self) -> SocketCounts {
        let counters = &self.socket.counters;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let named = |counts: &[(&str, &AtomicU64)]| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), read(count))).collect()
        };
        SocketCounts {
            queries: named(&[("udp", &counters.udp_queries), ("tcp", &counters.tcp_queries)]),
            answers: counters.answers().map(|(rcode, count)| (rcode.to_owned(), count)).collect(),
            events: named(&[
                ("dropped", &counters.dropped),
                ("limited", &counters.limited),
                ("slipped", &counters.slipped),
                ("over-limit", &counters.over_limit),
                ("signed-bytes", &counters.signed_bytes),
                ("truncated", &counters.truncated),
                ("send-errors", &counters.send_errors),
                ("tcp-refused", &counters.tcp_refused),
                ("tcp-timed-out", &counters.tcp_timed_out),
            ]),
            tcp_open: read(&counters.tcp_open),
            forwards: self.socket.lanes(ForwardCounts::all),
            upstreams: self.socket.lanes(UpstreamCounts::all),
        }
    }
}
