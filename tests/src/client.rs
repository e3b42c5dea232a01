//! One question at a time, from inside the lab.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use domain::base::Rtype;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::{
    netns::Netns,
    query::{ClientAnswer, ClientEdns, ClientQuestion},
};

/// After this a query counts as lost.
pub const LOST_AFTER: Duration = Duration::from_secs(2);

/// A client with one socket.
#[derive(Debug)]
pub struct Client {
    socket: UdpSocket,
}

impl Client {
    /// A client of `server`, from `source` if given.
    pub fn new(machine: &Netns, source: Option<IpAddr>, server: SocketAddr) -> io::Result<Self> {
        let socket = machine.udp(source, server)?;
        socket.set_read_timeout(Some(LOST_AFTER))?;
        Ok(Self { socket })
    }

    /// Waits for an answer no longer than this, instead of [`LOST_AFTER`].
    pub fn give_up_after(&self, patience: Duration) -> io::Result<()> {
        self.socket.set_read_timeout(Some(patience))
    }

    /// Asks and waits; the answer has passed [`ClientQuestion::judge`].
    pub fn ask(&self, question: &ClientQuestion) -> io::Result<ClientAnswer> {
        let query = question.query(rand::random(), rand::random());
        self.socket.send(&query)?;
        let mut buffer = vec![0; 4096];
        let length = self.socket.recv(&mut buffer)?;
        buffer.truncate(length);
        question.judge(&query, buffer).map_err(io::Error::other)
    }

    /// Asks for a balanced name's address.
    pub fn address(&self, question: &ClientQuestion) -> io::Result<IpAddr> {
        self.ask(question)?.address().map_err(io::Error::other)
    }

    /// Asks for the A (or AAAA) record of a name, with EDNS as a resolver sends it.
    pub fn lookup(&self, name: &str, v6: bool) -> io::Result<IpAddr> {
        let rtype = if v6 { Rtype::AAAA } else { Rtype::A };
        self.address(&ClientQuestion::new(name, rtype, Some(ClientEdns::USUAL))?)
    }
}

/// Keeps the calling thread on one CPU while it lives: round-robin cursors are per CPU, and a query over a veth is
/// answered on the CPU that sent it.
#[derive(Debug)]
pub struct Pinned {
    before: CpuSet,
}

impl Pinned {
    /// Pins the calling thread to the first CPU it may run on.
    pub fn new() -> io::Result<Self> {
        let before = sched_getaffinity(None)?;
        let first = (0..CpuSet::MAX_CPU).find(|cpu| before.is_set(*cpu)).ok_or(io::ErrorKind::NotFound)?;
        let mut one = CpuSet::new();
        one.set(first);
        sched_setaffinity(None, &one)?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.before);
    }
}
