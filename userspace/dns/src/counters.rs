//! Counters of the socket path; the metrics page reads them.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use domain::base::iana::OptRcode;

/// Every rcode the socket path answers with.
const RCODES: [OptRcode; 10] = [
    OptRcode::NOERROR,
    OptRcode::FORMERR,
    OptRcode::SERVFAIL,
    OptRcode::NXDOMAIN,
    OptRcode::NOTIMP,
    OptRcode::REFUSED,
    OptRcode::YXDOMAIN,
    OptRcode::NOTAUTH,
    OptRcode::BADVERS,
    OptRcode::BADCOOKIE,
];

/// Counts since the start, or, where said so, of this moment.
#[derive(Debug, Default)]
pub struct DnsCounters {
    /// Datagrams received.
    pub udp_queries: AtomicU64,
    /// Messages received over TCP.
    pub tcp_queries: AtomicU64,
    /// Messages not answered: responses, and fewer than 12 bytes.
    pub dropped: AtomicU64,
    /// UDP answers not sent, being over their client network's rate.
    pub limited: AtomicU64,
    /// UDP answers sent truncated for the same reason.
    pub slipped: AtomicU64,
    /// UDP answers over their client network's rate that were sent, in a dry run.
    pub over_limit: AtomicU64,
    /// UDP answers sent truncated, as their client network has had its bytes of signed answers.
    pub signed_bytes: AtomicU64,
    /// UDP answers with TC set.
    pub truncated: AtomicU64,
    /// Answers that could not be sent.
    pub send_errors: AtomicU64,
    /// TCP connections open at this moment.
    pub tcp_open: AtomicU64,
    /// TCP connections closed at once, because of the limit per client or in all.
    pub tcp_refused: AtomicU64,
    /// TCP connections closed because a query did not come, or an answer was not taken, in time.
    pub tcp_timed_out: AtomicU64,
    answers: [AtomicU64; RCODES.len()],
}

impl DnsCounters {
    /// Counts one answer.
    pub(super) fn answered(&self, rcode: OptRcode) {
        let position = RCODES.iter().position(|&known| known == rcode);
        debug_assert!(position.is_some(), "{rcode} is not in RCODES");
        if let Some(position) = position {
            self.answers[position].fetch_add(1, Relaxed);
        }
    }

    /// Answers made, by rcode's name, UDP and TCP together.
    pub fn answers(&self) -> impl Iterator<Item = (&'static str, u64)> {
        let names = RCODES.iter().map(|rcode| rcode.to_mnemonic_str().unwrap_or("OTHER"));
        names.zip(self.answers.iter().map(|count| count.load(Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_counted_by_rcode() {
        let counters = DnsCounters::default();
        counters.answered(OptRcode::NXDOMAIN);
        counters.answered(OptRcode::NXDOMAIN);
        counters.answered(OptRcode::BADVERS);
        let counts: Vec<_> = counters.answers().filter(|&(_, n)| n > 0).collect();
        assert_eq!(counts, [("NXDOMAIN", 2), ("BADVERS", 1)]);
    }
}
