//! The figures of a network card, and the frames that they are of.

use std::net::Ipv4Addr;

use super::interface::Interface;
use crate::scene;

/// Everything measured.
#[derive(Clone, Debug)]
pub struct NicCosts {
    /// The card.
    pub interface: Interface,
    /// The reflector's, then zerottl's.
    pub phases: Vec<NicPhase>,
}

/// One program's time at the interface.
#[derive(Clone, Debug)]
pub struct NicPhase {
    /// The program.
    pub what: &'static str,
    /// Whether it sat in the driver.
    pub native: bool,
    /// Packets answered.
    pub packets: f64,
    /// How long that was counted, seconds.
    pub elapsed_s: f64,
    /// Time of all CPUs in receiving softirqs meanwhile, seconds.
    pub softirq_s: f64,
    /// The CPUs' mean frequency as the kernel says it at the end, Hz.
    pub hz: f64,
}

impl NicPhase {
    /// Packets a second.
    #[must_use]
    pub fn per_s(&self) -> f64 {
        self.packets / self.elapsed_s
    }

    /// Time in softirqs per packet, ns.
    #[must_use]
    pub fn ns(&self) -> f64 {
        self.softirq_s * 1e9 / self.packets
    }

    /// CPU cycles per packet.
    #[must_use]
    pub fn cycles(&self) -> f64 {
        self.softirq_s * self.hz / self.packets
    }

    /// Packets a second that a core does which does nothing else.
    #[must_use]
    pub fn per_s_and_core(&self) -> f64 {
        self.packets / self.softirq_s
    }
}

/// The address that is asked.
pub(crate) fn server() -> Ipv4Addr {
    Ipv4Addr::from(scene::SERVER)
}

/// Bytes of the frames of a query and of its answer, without their check sequences.
pub(crate) fn frames() -> [usize; 2] {
    /// An address record with a compressed name.
    const RECORD: usize = 16;
    let query = scene::frame(0, false).len();
    [query, query + RECORD]
}
