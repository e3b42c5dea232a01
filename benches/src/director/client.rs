//! The clients: each makes one connection after the other, in the client's namespace.

use std::{
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use ::tests::netns::Netns;
use rustix::time::{ClockId, clock_gettime};

use crate::error::BenchError;

/// Until a client gives up.
const PATIENCE: Duration = Duration::from_secs(10);
/// Servers that a response can come from: 1 to this.
pub(super) const SERVERS: usize = 3;

/// Everything that some clients together have seen.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ClientTotals {
    /// Their CPU time, seconds.
    pub(super) cpu_s: f64,
    /// Connections by the server that answered.
    pub(super) by_server: [u32; SERVERS],
}

/// Asks a server for some bytes on a connection of its own; returns the number of the process that sent them.
fn ask(at: SocketAddr, bytes: u64, buffer: &mut [u8]) -> io::Result<u8> {
    let mut stream = TcpStream::connect_timeout(&at, PATIENCE)?;
    stream.write_all(&bytes.to_le_bytes())?;
    let mut number = [0];
    stream.read_exact(&mut number)?;
    let mut got = 0;
    // The server closes first, so that no port of the client's is held up afterwards.
    loop {
        match stream.read(buffer)? {
            0 if got == bytes => return Ok(number[0]),
            0 => return Err(io::Error::other(format!("{got} of {bytes} bytes came from {at}"))),
            length => got += length as u64,
        }
    }
}

fn cpu_s() -> f64 {
    let now = clock_gettime(ClockId::ThreadCPUTime);
    now.tv_sec as f64 + now.tv_nsec as f64 / 1e9
}

/// Makes `each` connections of each of so many clients at a time.
pub(super) fn load(machine: &Netns, at: SocketAddr, clients: usize, each: usize) -> Result<ClientTotals, BenchError> {
    let client = move || -> io::Result<ClientTotals> {
        let (begin, mut totals) = (cpu_s(), ClientTotals::default());
        for _ in 0..each {
            let number = usize::from(ask(at, 0, &mut [0; 8])?);
            let count = totals.by_server.get_mut(number.wrapping_sub(1));
            *count.ok_or_else(|| io::Error::other(format!("server {number} has answered")))? += 1;
        }
        totals.cpu_s = cpu_s() - begin;
        Ok(totals)
    };
    // Threads of the namespace's own thread are in the namespace, and on its CPU.
    let totals = machine.run(move || {
        let clients: Vec<_> = (0..clients).map(|_| thread::spawn(client)).collect();
        let join = |client: thread::JoinHandle<io::Result<ClientTotals>>| {
            client.join().map_err(|_| io::Error::other("a client panicked"))?
        };
        clients.into_iter().map(join).collect::<io::Result<Vec<_>>>()
    })??;
    let mut all = ClientTotals::default();
    for totals in totals {
        all.cpu_s += totals.cpu_s;
        for (all, count) in all.by_server.iter_mut().zip(totals.by_server) {
            *all += count;
        }
    }
    Ok(all)
}

/// Makes connections one after the other; returns what each took, microseconds.
pub(super) fn latencies(machine: &Netns, at: SocketAddr, count: usize) -> Result<Vec<f64>, BenchError> {
    let timed = move || -> io::Result<Vec<f64>> {
        let one = |_| {
            let begin = Instant::now();
            ask(at, 0, &mut [0; 8])?;
            Ok(begin.elapsed().as_secs_f64() * 1e6)
        };
        (0..count).map(one).collect()
    };
    Ok(machine.run(timed)??)
}

/// Downloads so many bytes on one connection; returns bytes a second.
pub(super) fn download(machine: &Netns, at: SocketAddr, bytes: u64) -> Result<f64, BenchError> {
    let timed = move || -> io::Result<f64> {
        let mut buffer = vec![0; 256 * 1024];
        let begin = Instant::now();
        ask(at, bytes, &mut buffer)?;
        Ok(bytes as f64 / begin.elapsed().as_secs_f64())
    };
    Ok(machine.run(timed)??)
}
