//! The packets that a machine without time for everything has dropped by itself, by its own counters.
//!
//! A packet that never reached the program, or an answer that never reached its socket, says nothing of either where the
//! kernel counts the drop: a veth's ring that was full, a CPU's backlog, a socket's buffer. What is lost beyond that is a
//! fault.

use std::{fmt, fs, io};

use crate::netns::Netns;

/// Counts since the machine's start, or between two moments.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Drops {
    /// By the interfaces of client and front, each drop once or twice.
    pub links: u64,
    /// By the CPUs' backlogs, of the whole machine.
    pub backlogs: u64,
    /// By the buffers of the client's UDP sockets.
    pub sockets: u64,
}

impl Drops {
    /// Reads them for a client and for the namespace of a process.
    pub fn read(client: &Netns, front: u32) -> io::Result<Self> {
        let of_client = client.run(|| {
            let read = |file: &str| fs::read_to_string(format!("/proc/thread-self/net/{file}"));
            Ok::<_, io::Error>((read("dev")?, read("snmp")?, read("snmp6").unwrap_or_default()))
        })??;
        let (links, udp, udp6) = of_client;
        let front = fs::read_to_string(format!("/proc/{front}/net/dev"))?;
        Ok(Self {
            links: of_links(&links) + of_links(&front),
            backlogs: of_backlogs(&fs::read_to_string("/proc/net/softnet_stat")?),
            sockets: of_udp(&udp) + of_udp6(&udp6),
        })
    }

    /// Returns what has come since `before`.
    #[must_use]
    pub fn since(self, before: Self) -> Self {
        Self {
            links: self.links.saturating_sub(before.links),
            backlogs: self.backlogs.saturating_sub(before.backlogs),
            sockets: self.sockets.saturating_sub(before.sockets),
        }
    }

    /// All of them.
    #[must_use]
    pub fn all(self) -> u64 {
        self.links + self.backlogs + self.sockets
    }
}

impl fmt::Display for Drops {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { links, backlogs, sockets } = self;
        write!(f, "{links} dropped by links, {backlogs} by backlogs, {sockets} by sockets")
    }
}

/// Both directions' drops of /proc/net/dev, loopback's too.
fn of_links(text: &str) -> u64 {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(_, counts)| {
            let counts: Vec<u64> = counts.split_whitespace().filter_map(|count| count.parse().ok()).collect();
            // Bytes, packets, errors, drops, then four more; and again for sending.
            counts.get(3).unwrap_or(&0) + counts.get(11).unwrap_or(&0)
        })
        .sum()
}

/// The second column of `/proc/net/softnet_stat`, a line for each CPU, in hexadecimal.
fn of_backlogs(text: &str) -> u64 {
    let drops = text.lines().filter_map(|line| u64::from_str_radix(line.split_whitespace().nth(1)?, 16).ok());
    drops.sum()
}

/// `RcvbufErrors` of the two lines on UDP in /proc/net/snmp.
fn of_udp(text: &str) -> u64 {
    let mut lines = text.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let (Some(names), Some(counts)) = (lines.next(), lines.next()) else { return 0 };
    let mut both = names.split_whitespace().zip(counts.split_whitespace());
    both.find(|(name, _)| *name == "RcvbufErrors").and_then(|(_, count)| count.parse().ok()).unwrap_or(0)
}

/// Reads `Udp6RcvbufErrors` of /proc/net/snmp6.
fn of_udp6(text: &str) -> u64 {
    let count = text.lines().find_map(|line| line.strip_prefix("Udp6RcvbufErrors")?.trim().parse().ok());
    count.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_found() {
        let dev = "Inter-|   Receive                                                |  Transmit\n \
                   face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo\n    \
                   lo:       0       0    0    1    0     0          0         0        0       0    0    2    0     0\n\
                   front0: 9046     82    0    30    0     0          0         0     4962     51    0    400    0     0\n";
        assert_eq!(of_links(dev), 433);
        assert_eq!(of_backlogs("0000aaaa 00000010 00000000\n00001111 00000001 00000007\n"), 17);
        let snmp = "Tcp: RtoAlgorithm RcvbufErrors\nTcp: 1 99\nUdp: InDatagrams NoPorts RcvbufErrors SndbufErrors\n\
                    Udp: 7 6 5 4\nUdpLite: InDatagrams\nUdpLite: 0\n";
        assert_eq!(of_udp(snmp), 5);
        assert_eq!(of_udp6("Udp6InDatagrams  \t4\nUdp6RcvbufErrors                \t3\n"), 3);
        let whole = Drops { links: 3, backlogs: 5, sockets: 9 }.since(Drops { links: 1, backlogs: 6, sockets: 0 });
        assert_eq!((whole, whole.all()), (Drops { links: 2, backlogs: 0, sockets: 9 }, 11));
    }
}
