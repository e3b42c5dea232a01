//! A probe's target that behaves as it is told, well or not, and remembers when it was asked.

use std::{
    collections::VecDeque,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use crate::netns::Netns;

/// Connections that are kept open; the oldest goes first.
const OPEN_MAX: usize = 600;

/// How a target behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Manner {
    /// Answers 200.
    Well,
    /// Answers 503.
    Unwell,
    /// Takes the connection and says nothing: over TLS, a handshake that hangs.
    Silent,
    /// A response of which a byte comes each second.
    ByteASecond,
    /// A response whose head does not end.
    Heads,
    /// A response whose body does not end.
    Body,
    /// Interim responses (1xx) for ever, as fast as they are taken.
    Interim,
}

#[derive(Debug)]
struct Shared {
    manner: Mutex<Manner>,
    asked: Mutex<Vec<Instant>>,
    stop: AtomicBool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A target; its port is closed when it is dropped.
#[derive(Debug)]
pub struct Target {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Target {
    /// Listens on a machine.
    pub fn start(machine: &Netns, address: SocketAddr, manner: Manner) -> io::Result<Self> {
        let listener = machine.run(move || TcpListener::bind(address))??;
        listener.set_nonblocking(true)?;
        let (manner, asked) = (Mutex::new(manner), Mutex::default());
        let shared = Arc::new(Shared { manner, asked, stop: AtomicBool::new(false) });
        let own = Arc::clone(&shared);
        let thread = thread::Builder::new().name("target".into()).spawn(move || serve(&listener, &own))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Behaves so from now on.
    pub fn behave(&self, manner: Manner) {
        *lock(&self.shared.manner) = manner;
    }

    /// The times between one connection and the next since the last call, or since the start.
    #[must_use]
    pub fn intervals(&self) -> Vec<Duration> {
        let mut asked = lock(&self.shared.asked);
        let intervals = asked.windows(2).map(|pair| pair[1] - pair[0]).collect();
        // The next interval begins with the last one's end.
        let last = asked.pop();
        asked.clear();
        asked.extend(last);
        intervals
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn serve(listener: &TcpListener, shared: &Shared) {
    let mut open = VecDeque::new();
    while !shared.stop.load(Ordering::Relaxed) {
        let manner = *lock(&shared.manner);
        while let Ok((stream, _)) = listener.accept() {
            lock(&shared.asked).push(Instant::now());
            if stream.set_nonblocking(true).is_ok() {
                open.push_back(Connection { stream, since: Instant::now(), asked: false, steps: 0 });
            }
        }
        while open.len() > OPEN_MAX {
            open.pop_front();
        }
        // There is nothing to be done for those, and there may be many of them.
        if manner != Manner::Silent {
            open.retain_mut(|connection| connection.step(manner));
        }
        thread::sleep(Duration::from_millis(if manner == Manner::Interim { 1 } else { 4 }));
    }
}

struct Connection {
    stream: TcpStream,
    since: Instant,
    asked: bool,
    steps: u64,
}

impl Connection {
    /// Goes on with the connection; false once it is over.
    fn step(&mut self, manner: Manner) -> bool {
        match self.stream.read(&mut [0; 1024]) {
            Ok(0) => return false,
            Ok(_) => self.asked = true,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return false,
        }
        let whole = matches!(manner, Manner::Well | Manner::Unwell);
        let due = match manner {
            Manner::ByteASecond => self.since.elapsed().as_secs() >= self.steps,
            Manner::Interim => true,
            _ => self.asked,
        };
        if !due {
            return true;
        }
        let first = self.steps == 0;
        self.steps += 1;
        let sent = match manner {
            Manner::Well => self.stream.write(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            Manner::Unwell => self.stream.write(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"),
            Manner::ByteASecond => {
                let slow = b"HTTP/1.1 200 OK\r\n";
                self.stream.write(&slow[(self.steps as usize - 1) % slow.len()..][..1])
            }
            Manner::Heads if first => self.stream.write(b"HTTP/1.1 200 OK\r\n"),
            Manner::Heads => self.stream.write(b"x-more: and more\r\n"),
            Manner::Body if first => self.stream.write(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000000\r\n\r\n"),
            Manner::Body => self.stream.write(&[b'.'; 1024]),
            Manner::Interim => self.stream.write("HTTP/1.1 102 Processing\r\n\r\n".repeat(400).as_bytes()),
            Manner::Silent => Ok(0),
        };
        let goes_on = match sent {
            Ok(_) => true,
            Err(error) => error.kind() == io::ErrorKind::WouldBlock,
        };
        goes_on && !whole
    }
}
