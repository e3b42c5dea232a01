//! Many questions at a steady rate, every answer checked.
//!
//! One thread: every millisecond it sends what is due and reads what has come, from several sockets. Being one thread
//! it can be pinned, and it needs no lock between a query and its answer. A burst after a stall is bounded, as the
//! veth's ring (256 packets) would lose a longer one before any program saw it.

use std::{
    collections::HashMap,
    fmt, io,
    net::{IpAddr, SocketAddr, UdpSocket},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use rustix::net::sockopt::set_socket_recv_buffer_size_force;

use crate::{client::LOST_AFTER, netns::Netns, query::ClientQuestion};

/// Most queries sent at once, to catch up after a stall.
const BURST_MAX: u64 = 64;
/// How many wrong answers are kept to be shown.
const SHOWN_MAX: usize = 10;
/// Room for what comes in during a stall, bytes a socket.
const RECEIVE_BUFFER: usize = 8 << 20;

/// One thing asked, and the addresses that are right answers.
#[derive(Clone, Debug)]
pub struct CheckTarget {
    /// The name, for the report.
    pub name: String,
    /// The question.
    pub question: ClientQuestion,
    /// Addresses this name may have.
    pub allowed: Vec<IpAddr>,
}

/// How fast, how long, from where.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// Queries a second over all sockets.
    pub rate: u64,
    /// For how long.
    pub duration: Duration,
    /// Sockets, taking turns over all servers.
    pub sockets: usize,
}

/// The results of a run.
#[derive(Clone, Debug, Default)]
pub struct CheckReport {
    /// Queries sent.
    pub sent: u64,
    /// Right answers.
    pub right: u64,
    /// Wrong answers.
    pub wrong: u64,
    /// Queries without an answer after 2 s.
    pub lost: u64,
    /// Answers to nothing asked, or asked and answered before.
    pub duplicates: u64,
    /// The first wrong answers: when since the start, what was asked, what is wrong.
    pub faults: Vec<String>,
    /// Right answers by position in the targets and address.
    pub counts: HashMap<(usize, IpAddr), u64>,
    /// When each address was last answered for each target.
    pub last_seen: HashMap<(usize, IpAddr), Instant>,
}

impl CheckReport {
    /// Nothing lost, wrong or twice, and something asked.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.sent > 0 && self.right == self.sent && self.wrong == 0 && self.lost == 0 && self.duplicates == 0
    }

    /// When any target was last answered with `address`.
    #[must_use]
    pub fn last_answer_of(&self, address: IpAddr) -> Option<Instant> {
        self.last_seen.iter().filter(|((_, seen), _)| *seen == address).map(|(_, when)| *when).max()
    }
}

impl fmt::Display for CheckReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { sent, right, wrong, lost, duplicates, faults, .. } = self;
        write!(f, "{sent} sent, {right} right, {wrong} wrong, {lost} lost, {duplicates} twice")?;
        faults.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

/// A query under way.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    target: usize,
    seed: u64,
    sent: Instant,
}

struct Line {
    socket: UdpSocket,
    waiting: HashMap<u16, Waiting>,
    next_id: u16,
}

/// Asks `targets` in turn at `servers` from `machine`, until the time is over or `stop` is set.
pub fn run(
    machine: &Netns,
    servers: &[SocketAddr],
    targets: &[CheckTarget],
    pace: Pace,
    stop: &AtomicBool,
) -> io::Result<CheckReport> {
    let mut lines = Vec::new();
    for number in 0..pace.sockets {
        lines.push(Line::new(machine.udp(None, servers[number % servers.len()])?)?);
    }
    let mut report = CheckReport::default();
    let start = Instant::now();
    let mut owed = Owed::new(pace);
    loop {
        let elapsed = start.elapsed();
        if elapsed >= pace.duration || stop.load(Ordering::Relaxed) {
            break;
        }
        for _ in 0..owed.due(elapsed) {
            let number = report.sent as usize;
            // A target meets every socket: the step over targets moves on by one each time the sockets went round.
            let target = (number + number / (targets.len() * pace.sockets)) % targets.len();
            lines[number % pace.sockets].send(target, &targets[target].question)?;
            report.sent += 1;
        }
        for line in &mut lines {
            line.receive(targets, start, &mut report)?;
        }
        thread::sleep(Duration::from_millis(1));
    }
    let end = Instant::now() + LOST_AFTER;
    while Instant::now() < end && lines.iter().any(|line| !line.waiting.is_empty()) {
        for line in &mut lines {
            line.receive(targets, start, &mut report)?;
        }
        thread::sleep(Duration::from_millis(1));
    }
    // A late second answer would come about now.
    for line in &mut lines {
        line.receive(targets, start, &mut report)?;
        report.lost += line.waiting.len() as u64;
    }
    Ok(report)
}

/// How many queries are due: the rate, but never more than a burst's worth behind.
struct Owed {
    rate: u64,
    sent: u64,
    forgiven: u64,
}

impl Owed {
    fn new(pace: Pace) -> Self {
        Self { rate: pace.rate, sent: 0, forgiven: 0 }
    }

    fn due(&mut self, elapsed: Duration) -> u64 {
        let total = (u128::from(self.rate) * elapsed.as_micros() / 1_000_000) as u64;
        let behind = total.saturating_sub(self.sent + self.forgiven);
        let due = behind.min(BURST_MAX);
        // A stall of more than 100 ms is not made up for: the rate is a pace, not a total.
        self.forgiven += (behind - due).saturating_sub(self.rate / 10);
        self.sent += due;
        due
    }
}

impl Line {
    fn new(socket: UdpSocket) -> io::Result<Self> {
        socket.set_nonblocking(true)?;
        // Only root may pass the system's limit; without it the default buffer has to do.
        let _ = set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER);
        Ok(Self { socket, waiting: HashMap::new(), next_id: rand::random() })
    }

    fn send(&mut self, target: usize, question: &ClientQuestion) -> io::Result<()> {
        let (id, seed) = (self.next_id, rand::random());
        // An odd step visits every id before any comes again.
        self.next_id = self.next_id.wrapping_add(40503);
        let query = question.query(id, seed);
        match self.socket.send(&query) {
            // Said of an earlier one, which counts as lost; this one has not gone out.
            Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => drop(self.socket.send(&query)),
            sent => drop(sent?),
        }
        self.waiting.insert(id, Waiting { target, seed, sent: Instant::now() });
        Ok(())
    }

    fn receive(&mut self, targets: &[CheckTarget], start: Instant, report: &mut CheckReport) -> io::Result<()> {
        let mut buffer = [0; 4096];
        loop {
            let length = match self.socket.recv(&mut buffer) {
                Ok(length) => length,
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                // A front that is not there yet or no more: the query counts as lost.
                Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => continue,
                Err(e) => return Err(e),
            };
            let now = Instant::now();
            let id = buffer.get(..length.min(2)).and_then(|id| id.try_into().ok()).map(u16::from_be_bytes);
            let Some((id, waiting)) = id.and_then(|id| Some((id, self.waiting.remove(&id)?))) else {
                report.duplicates += 1;
                continue;
            };
            let target = &targets[waiting.target];
            let query = target.question.query(id, waiting.seed);
            let judged = target.question.judge(&query, buffer[..length].to_vec());
            match judged.and_then(|answer| answer.address()).and_then(|address| allowed(target, address)) {
                Ok(_) if now - waiting.sent > LOST_AFTER => report.lost += 1,
                Ok(address) => {
                    report.right += 1;
                    *report.counts.entry((waiting.target, address)).or_default() += 1;
                    report.last_seen.insert((waiting.target, address), now);
                }
                Err(fault) => {
                    report.wrong += 1;
                    if report.faults.len() < SHOWN_MAX {
                        report.faults.push(format!("{:?}: {}: {fault}", now - start, target.name));
                    }
                }
            }
        }
    }
}

fn allowed(target: &CheckTarget, address: IpAddr) -> Result<IpAddr, String> {
    let ours = target.allowed.contains(&address);
    ours.then_some(address).ok_or_else(|| format!("{address} is no address of it"))
}

#[cfg(test)]
mod tests {
    use domain::base::Rtype;

    use super::*;

    #[test]
    fn a_stall_makes_a_bounded_burst_and_a_long_one_is_forgiven() {
        let pace = Pace { rate: 1000, duration: Duration::from_secs(1), sockets: 1 };
        let mut owed = Owed::new(pace);
        assert_eq!(owed.due(Duration::from_millis(10)), 10);
        assert_eq!(owed.due(Duration::from_millis(10)), 0);
        assert_eq!(owed.due(Duration::from_millis(110)), 64);
        assert_eq!(owed.due(Duration::from_millis(110)), 36);
        assert_eq!(owed.due(Duration::from_secs(100)), 64);
        assert_eq!(owed.due(Duration::from_secs(100)), 64);
        assert_eq!(owed.due(Duration::from_secs(100)), 36, "100 ms are made up for, no more");
    }

    /// A server that does right, wrong, twice or nothing, by the last byte of the id: the checker sees each.
    #[test]
    fn every_kind_of_fault_is_counted() {
        let server = UdpSocket::bind("127.0.0.1:0").expect("bind");
        let address = server.local_addr().expect("address");
        server.set_read_timeout(Some(Duration::from_millis(500))).expect("timeout");
        let question = ClientQuestion::new("app.com", Rtype::A, None).expect("question");
        let answer = |query: &[u8], last: u8| {
            let mut answer = [query, &[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, last]].concat();
            answer[2] |= 0x84;
            answer[7] = 1;
            answer
        };
        let mut line = Line::new(UdpSocket::bind("127.0.0.1:0").expect("bind")).expect("line");
        line.socket.connect(address).expect("connect");
        let targets = [CheckTarget { name: "app.com".into(), question, allowed: vec![IpAddr::from([192, 0, 2, 1])] }];
        let mut buffer = [0; 512];
        for case in 0..4 {
            line.send(0, &targets[0].question).expect("send");
            let (length, client) = server.recv_from(&mut buffer).expect("query");
            let replies = match case {
                0 => vec![answer(&buffer[..length], 1)],
                1 => vec![answer(&buffer[..length], 2)],
                2 => vec![answer(&buffer[..length], 1); 2],
                _ => vec![],
            };
            for reply in replies {
                server.send_to(&reply, client).expect("reply");
            }
        }
        let mut report = CheckReport::default();
        let end = Instant::now() + Duration::from_secs(5);
        while report.right + report.wrong + report.duplicates < 4 && Instant::now() < end {
            line.receive(&targets, Instant::now(), &mut report).expect("receive");
        }
        let CheckReport { right, wrong, duplicates, .. } = report;
        assert_eq!((right, wrong, duplicates, line.waiting.len()), (2, 1, 1, 1), "{report}");
    }
}
