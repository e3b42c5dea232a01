//! Both paths' counters, for the admin pages and for what load figures are debited by.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use tracing::warn;

use crate::{
    admin::{CounterSource, status::SocketPage},
    dns,
    kernel::Counters,
    view::View,
};

/// Both paths' counters, of one configuration.
pub struct Counts {
    /// None with `xdp = "off"`.
    pub kernel: Option<Counters>,
    /// What the sockets count, whatever the configuration.
    pub socket: Arc<dns::Shared>,
    /// Whose answers the sockets count.
    pub view: Arc<View>,
}

impl Counts {
    /// How often each address was answered by either path, by its position in
    /// [`Plan::endpoints`](crate::plan::Plan::endpoints); counted from 0 again when the configuration is loaded anew.
    #[must_use]
    pub fn answers(&self) -> Vec<u64> {
        let mut answers = self.view.answers();
        for (sum, count) in answers.iter_mut().zip(self.kernel.iter().flat_map(Counters::answers)) {
            *sum += count;
        }
        answers
    }
}

impl CounterSource for Counts {
    fn reasons(&self) -> Vec<(&'static str, &'static str, u64)> {
        let Some(kernel) = &self.kernel else { return Vec::new() };
        match kernel.read() {
            Ok(counts) => {
                counts.into_iter().map(|(reason, count)| (reason.name(), reason.action().name(), count)).collect()
            }
            Err(error) => {
                warn!("reading the kernel's counters failed: {error}");
                Vec::new()
            }
        }
    }

    fn socket(&self) -> SocketPage {
        let counters = &self.socket.counters;
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        let named = |counts: &[(&str, &AtomicU64)]| {
            counts.iter().map(|(name, count)| ((*name).to_owned(), read(count))).collect()
        };
        SocketPage {
            queries: named(&[("udp", &counters.udp_queries), ("tcp", &counters.tcp_queries)]),
            answers: counters.answers().map(|(rcode, count)| (rcode.to_owned(), count)).collect(),
            events: named(&[
                ("dropped", &counters.dropped),
                ("limited", &counters.limited),
                ("slipped", &counters.slipped),
                ("over-limit", &counters.over_limit),
                ("truncated", &counters.truncated),
                ("send-errors", &counters.send_errors),
                ("tcp-refused", &counters.tcp_refused),
                ("tcp-timed-out", &counters.tcp_timed_out),
            ]),
            tcp_open: read(&counters.tcp_open),
        }
    }
}
