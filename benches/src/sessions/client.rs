//! The clients: each connection has sessions of its own, and asks of one after the other.

use std::{
    io,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use ::tests::netns::Netns;
use rustix::thread::sched_setaffinity;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinSet,
    time::timeout,
};

use super::scene::POOL_NAME;
use crate::{error::BenchError, rate};

/// Until a client gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// From one try to the next of a request that was refused.
const AGAIN: Duration = Duration::from_millis(20);
/// Requests until a session's cookie is the one that lasts, at most.
const OPENING: usize = 6;

/// A session as its client knows it.
#[derive(Clone, Debug)]
pub(super) struct ClientSession {
    /// The request with its cookie.
    request: Arc<[u8]>,
    /// The application's last answer.
    count: u64,
}

/// Everything that clients have seen.
#[derive(Debug, Default)]
pub(super) struct ClientRun {
    /// Microseconds of each request.
    pub(super) took_us: Vec<f64>,
    /// Seconds from a moment to each answer.
    pub(super) answered_s: Vec<f64>,
    /// Requests that were refused, and made again.
    pub(super) refused: u64,
}

/// How long clients ask.
#[derive(Clone, Copy, Debug)]
pub(super) enum Asking {
    /// So long, one request after the other.
    For(Duration),
    /// Once for each session.
    Once,
}

/// The parts of a response that matter here.
#[derive(Debug, Default)]
struct Answer {
    status: u16,
    count: u64,
    location: Option<String>,
    cookie: Option<String>,
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
}

fn bad(what: &str, head: &[u8]) -> io::Error {
    io::Error::other(format!("{what}: {}", String::from_utf8_lossy(head)))
}

fn request(host: &str, target: &str, cookie: Option<&str>) -> Vec<u8> {
    let cookie = cookie.map_or_else(String::new, |cookie| format!("Cookie: {cookie}\r\n"));
    format!("GET {target} HTTP/1.1\r\nHost: {host}\r\n{cookie}\r\n").into_bytes()
}

impl Connection {
    async fn new(at: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(at).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request, and reads the response; of its fields only those that are asked for.
    async fn ask(&mut self, request: &[u8], fields: bool) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let length = loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(bad("the application has closed the connection", &self.buffer));
            }
            if let Some(at) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
        };
        let head = std::str::from_utf8(&self.buffer[..length]).map_err(io::Error::other)?;
        let mut answer = Answer::default();
        let mut body = None;
        for line in head.split("\r\n") {
            if let Some(value) = line.strip_prefix("content-length: ") {
                body = value.parse().ok();
            } else if let Some(value) = line.strip_prefix("HTTP/1.1 ") {
                answer.status = value.get(..3).and_then(|status| status.parse().ok()).unwrap_or_default();
            } else if fields && let Some(value) = line.strip_prefix("location: ") {
                answer.location = Some(value.to_owned());
            } else if fields && let Some(value) = line.strip_prefix("set-cookie: ") {
                answer.cookie = value.split(';').next().map(str::to_owned);
            }
        }
        let body: usize = body.ok_or_else(|| bad("a response without a length", &self.buffer))?;
        let whole = length + 4 + body;
        while self.buffer.len() < whole {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(bad("the application has closed the connection", &self.buffer));
            }
        }
        let text = std::str::from_utf8(&self.buffer[length + 4..whole]).unwrap_or_default();
        answer.count = text.parse().unwrap_or_default();
        Ok(answer)
    }

    /// Begins a session, as a browser goes: from the Pool Name to wherever it is sent, until the cookie is the one that lasts.
    async fn open(&mut self) -> io::Result<ClientSession> {
        let (mut host, mut target, mut cookie) = (POOL_NAME.to_owned(), "/".to_owned(), None::<String>);
        let mut last = None;
        for _ in 0..OPENING {
            let sent = request(&host, &target, cookie.as_deref());
            let answer = self.ask(&sent, true).await?;
            if let Some(to) = answer.location.as_deref().and_then(|to| to.strip_prefix("http://")) {
                let (to, path) = to.split_once('/').unwrap_or((to, ""));
                (host, target) = (to.to_owned(), format!("/{path}"));
                continue;
            }
            if answer.status != 200 {
                return Err(bad("a session does not begin", &self.buffer));
            }
            "/".clone_into(&mut target);
            let lasts = answer.cookie.is_none();
            cookie = answer.cookie.or(cookie);
            last = Some(ClientSession { request: request(&host, "/", cookie.as_deref()).into(), count: answer.count });
            if lasts {
                break;
            }
        }
        last.ok_or_else(|| bad("a session does not begin", &self.buffer))
    }

    /// Asks of a session; again while it is refused because of a worker's death.
    async fn count(&mut self, session: &mut ClientSession, counted: bool) -> io::Result<u64> {
        let begun = Instant::now();
        let mut refused = 0;
        loop {
            let answer = self.ask(&session.request, false).await?;
            if answer.status == 503 && begun.elapsed() < PATIENCE {
                refused += 1;
                tokio::time::sleep(AGAIN).await;
                continue;
            }
            if answer.status != 200 {
                return Err(bad("a request is not answered", &self.buffer));
            }
            if counted && answer.count != session.count + 1 {
                let (had, found) = (session.count, answer.count);
                return Err(io::Error::other(format!("an update was lost: {found} follows {had}")));
            }
            session.count = answer.count;
            return Ok(refused);
        }
    }
}

/// Runs a job in the namespace, on CPU 1, with a tokio runtime of one thread.
fn inside<T: Send + 'static>(
    machine: &Netns,
    is_pinned: bool,
    job: impl Future<Output = io::Result<T>> + Send + 'static,
) -> Result<T, BenchError> {
    let work = move || -> io::Result<T> {
        // A thread of its own, whose affinity goes with it.
        let thread = std::thread::spawn(move || {
            if is_pinned {
                sched_setaffinity(None, &rate::cpu(1))?;
            }
            tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(job)
        });
        thread.join().map_err(|_| io::Error::other("the clients panicked"))?
    };
    Ok(machine.run(work)??)
}

/// Begins so many sessions at an application.
pub(super) fn open(
    machine: &Netns,
    at: SocketAddr,
    connections: usize,
    sessions: usize,
) -> Result<Vec<ClientSession>, BenchError> {
    let each = sessions.div_ceil(connections);
    inside(machine, true, async move {
        let mut tasks = JoinSet::new();
        for number in 0..connections {
            let count = each.min(sessions.saturating_sub(number * each));
            tasks.spawn(async move {
                let mut connection = Connection::new(at).await?;
                let mut opened = Vec::with_capacity(count);
                for _ in 0..count {
                    let one = timeout(PATIENCE, connection.open()).await;
                    opened.push(one.map_err(|_| io::Error::other("no session begins"))??);
                }
                Ok::<_, io::Error>(opened)
            });
        }
        let mut all = Vec::with_capacity(sessions);
        while let Some(task) = tasks.join_next().await {
            all.extend(task.map_err(io::Error::other)??);
        }
        Ok(all)
    })
}

/// Asks of sessions on so many connections, each of which has its own. `counted`: each answer must follow the one before.
pub(super) fn ask(
    machine: &Netns,
    at: SocketAddr,
    connections: usize,
    sessions: &mut Vec<ClientSession>,
    load: ClientLoad,
) -> Result<ClientRun, BenchError> {
    let each = sessions.len().div_ceil(connections);
    let parts: Vec<Vec<ClientSession>> = sessions.chunks(each).map(<[_]>::to_vec).collect();
    let (all, run) = inside(machine, load.is_pinned, async move {
        let mut tasks = JoinSet::new();
        for part in parts {
            tasks.spawn(one_connection(at, part, load));
        }
        let (mut all, mut total) = (Vec::new(), ClientRun::default());
        while let Some(task) = tasks.join_next().await {
            let (part, run) = task.map_err(io::Error::other)??;
            all.extend(part);
            total.took_us.extend(run.took_us);
            total.answered_s.extend(run.answered_s);
            total.refused += run.refused;
        }
        Ok((all, total))
    })?;
    *sessions = all;
    Ok(run)
}

/// How clients ask.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClientLoad {
    /// How long.
    pub(super) asking: Asking,
    /// Each answer must follow the one before.
    pub(super) counted: bool,
    /// On CPU 1 alone.
    pub(super) is_pinned: bool,
    /// The moment from which answers are timed.
    pub(super) since: Instant,
}

async fn one_connection(
    at: SocketAddr,
    mut sessions: Vec<ClientSession>,
    load: ClientLoad,
) -> io::Result<(Vec<ClientSession>, ClientRun)> {
    let mut connection = Connection::new(at).await?;
    let mut run = ClientRun::default();
    let begun = Instant::now();
    'asking: loop {
        for session in &mut sessions {
            let asked = Instant::now();
            if matches!(load.asking, Asking::For(time) if asked - begun >= time) {
                break 'asking;
            }
            let answered = timeout(PATIENCE, connection.count(session, load.counted)).await;
            run.refused += answered.map_err(|_| io::Error::other("a request is not answered"))??;
            let now = Instant::now();
            run.took_us.push((now - asked).as_secs_f64() * 1e6);
            run.answered_s.push((now - load.since).as_secs_f64());
        }
        if matches!(load.asking, Asking::Once) {
            break;
        }
    }
    Ok((sessions, run))
}
