//! A receiver of hooks: an HTTP server that keeps what it gets, and answers as it is told.

use std::{
    collections::BTreeMap,
    io::{self, BufRead as _, BufReader, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use serde_json::Value;

use crate::netns::Netns;

/// A request that it got.
#[derive(Clone, Debug)]
pub struct Received {
    /// Method and path.
    pub line: String,
    /// Header fields, names in lower case.
    pub headers: BTreeMap<String, String>,
    /// The body, byte by byte.
    pub body: String,
    /// The status that it was answered with; none if it was not answered.
    pub status: Option<u16>,
}

impl Received {
    /// Returns the body as JSON; null if it is none.
    #[must_use]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_default()
    }
}

/// How it answers: one status after the other, the last for all that follow; none is silence.
type Answers = Vec<Option<u16>>;

/// A running receiver. Its threads end with the process.
#[derive(Clone, Debug)]
pub struct Receiver {
    state: Arc<Mutex<(Answers, Vec<Received>)>>,
}

impl Receiver {
    /// Listens in a namespace, and answers 204.
    pub fn start(machine: &Netns, at: SocketAddr) -> io::Result<Self> {
        let listener = machine.run(move || TcpListener::bind(at))??;
        let receiver = Self { state: Arc::new(Mutex::new((vec![Some(204)], Vec::new()))) };
        let serving = receiver.clone();
        thread::Builder::new().name("receiver".into()).spawn(move || {
            for stream in listener.incoming().flatten() {
                let serving = serving.clone();
                // Each by itself: one that is not answered holds nobody up.
                thread::spawn(move || serving.serve(&stream));
            }
        })?;
        Ok(receiver)
    }

    /// Has it answer so from now on.
    pub fn answer(&self, statuses: &[Option<u16>]) {
        self.state().0 = statuses.to_vec();
    }

    /// Returns all that it got, in order.
    #[must_use]
    pub fn received(&self) -> Vec<Received> {
        self.state().1.clone()
    }

    /// Returns the events that it has taken, in order: those answered with 200 to 299.
    #[must_use]
    pub fn taken(&self) -> Vec<Value> {
        let is_taken = |request: &Received| request.status.is_some_and(|status| (200..300).contains(&status));
        self.received().iter().filter(|request| is_taken(request)).map(Received::json).collect()
    }

    fn serve(&self, stream: &TcpStream) -> Option<()> {
        stream.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
        let mut lines = BufReader::new(stream);
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let mut headers = BTreeMap::new();
        loop {
            let mut field = String::new();
            lines.read_line(&mut field).ok()?;
            let Some((name, value)) = field.trim_end().split_once(':') else { break };
            headers.insert(name.to_lowercase(), value.trim().to_owned());
        }
        let length = headers.get("content-length")?.parse().ok()?;
        let mut body = vec![0; length];
        lines.read_exact(&mut body).ok()?;
        let status = {
            let (answers, received) = &mut *self.state();
            let status = if answers.len() > 1 { answers.remove(0) } else { answers[0] };
            let body = String::from_utf8_lossy(&body).into_owned();
            received.push(Received { line: line.trim_end().to_owned(), headers, body, status });
            status
        };
        let Some(status) = status else {
            // Until whoever asked goes.
            let _ = lines.read(&mut [0]);
            thread::sleep(Duration::from_mins(2));
            return None;
        };
        write!(&mut &*stream, "HTTP/1.1 {status} As Told\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").ok()
    }

    fn state(&self) -> MutexGuard<'_, (Answers, Vec<Received>)> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
