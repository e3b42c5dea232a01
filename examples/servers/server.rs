//! An application server for `zerottl director`, in Rust: listeners, handed-over connections and the loop page.
//!
//! ```text
//! GET /            its own name, and the client's address
//! GET /bytes?n=N   N bytes
//! GET /sleep?ms=N  an answer after N milliseconds; others are served meanwhile
//! GET /hang?ms=N   an answer after N milliseconds, in which the whole server does nothing: its loop stands still
//! GET /hold        no answer; the connection stays open until the client closes it
//! GET /give?to=S   this connection and its request are handed to the server S, if it is the first on the connection
//! ```
//!
//! Without a director it listens on the address of its first argument, else on 127.0.0.1:8080.
//! `docs/director/contract.md` says what holds for servers in any language.

use std::{
    env,
    error::Error,
    io,
    net::{self, SocketAddr},
    rc::Rc,
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    thread,
    time::Duration,
};

use tokio::{
    io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, copy, repeat, sink},
    net::{TcpListener, TcpStream},
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
    task::{LocalSet, spawn_local},
    time::{interval, sleep},
};
use zerottl_server::{Contract, Handover, LoopPage};

/// How often the loop says that it goes round; `hang_after` is several times that.
const ROUND: Duration = Duration::from_millis(25);
/// Bytes of a request's head, at most.
const HEAD_MAX: u64 = 16 * 1024;

/// The state that all connections share.
struct Server {
    name: String,
    handover: Option<Arc<Handover>>,
    page: Option<LoopPage>,
    /// Requests that are not answered yet.
    requests: AtomicU32,
    /// Connections that are open.
    connections: AtomicU32,
    /// Whether it is to stop.
    stopping: watch::Sender<bool>,
}

// One thread is enough here, and makes `/hang` what it says.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    LocalSet::new().run_until(serve()).await
}

async fn serve() -> Result<(), Box<dyn Error>> {
    let (listeners, server) = if let Some(contract) = Contract::from_env()? {
        let name = contract.server.unwrap_or_default();
        let listeners = contract.listeners.into_iter().map(|one| one.listener).collect();
        (listeners, Server::new(name, contract.handover.map(Arc::new), contract.page))
    } else {
        let address = env::args().nth(1).unwrap_or_else(|| "127.0.0.1:8080".to_owned());
        (vec![net::TcpListener::bind(address)?], Server::new("by-hand".to_owned(), None, None))
    };
    let server = Rc::new(server);
    let mut accepting = Vec::new();
    for listener in listeners {
        listener.set_nonblocking(true)?;
        accepting.push(spawn_local(accept(TcpListener::from_std(listener)?, Rc::clone(&server))));
    }
    spawn_local(take_handed_over(Rc::clone(&server)));
    spawn_local(go_round(Rc::clone(&server)));
    signal(SignalKind::terminate())?.recv().await;
    // Nothing new is chosen for this process any more. What is in its queues already, it serves; what it has begun, it
    // finishes; connections that wait for their next request end.
    server.stopping.send_replace(true);
    loop {
        sleep(ROUND).await;
        if server.connections.load(Relaxed) == 0 {
            return Ok(());
        }
    }
}

impl Server {
    fn new(name: String, handover: Option<Arc<Handover>>, page: Option<LoopPage>) -> Self {
        let (requests, connections) = (AtomicU32::new(0), AtomicU32::new(0));
        Self { name, handover, page, requests, connections, stopping: watch::Sender::new(false) }
    }

    /// Counts a request that has begun or ended, and publishes it.
    fn count(&self, by: i32) {
        let requests = self.requests.load(Relaxed).saturating_add_signed(by);
        self.requests.store(requests, Relaxed);
        if let Some(page) = &self.page {
            page.pending(requests);
        }
    }
}

/// Says that the loop goes round. Whatever keeps the only thread busy keeps this from running.
async fn go_round(server: Rc<Server>) {
    let mut round = interval(ROUND);
    while let Some(page) = &server.page {
        page.looped();
        round.tick().await;
    }
}

async fn accept(listener: TcpListener, server: Rc<Server>) {
    loop {
        match listener.accept().await {
            Ok((stream, client)) => {
                spawn_local(connection(stream, client, Rc::clone(&server), false));
            }
            // The director has taken this listener out of use.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return,
            // Such as too many open files: it may pass.
            Err(_) => sleep(ROUND).await,
        }
    }
}

/// Takes connections that have waited at the director's. A thread waits for them.
async fn take_handed_over(server: Rc<Server>) {
    let Some(handover) = server.handover.clone() else { return };
    let (give, mut taken) = mpsc::channel(1);
    thread::spawn(move || {
        // The end is that the director has closed its own.
        while let Ok(Some(connection)) = handover.receive() {
            if give.blocking_send(connection).is_err() {
                return;
            }
        }
    });
    while let Some((stream, client)) = taken.recv().await {
        let stream = stream.set_nonblocking(true).and_then(|()| TcpStream::from_std(stream));
        if let Ok(stream) = stream {
            spawn_local(connection(stream, client, Rc::clone(&server), true));
        }
    }
}

async fn connection(stream: TcpStream, client: SocketAddr, server: Rc<Server>, was_handed_over: bool) {
    server.connections.fetch_add(1, Relaxed);
    // A client that goes away is no fault of ours.
    let _ = speak(stream, client, &server, was_handed_over).await;
    server.connections.fetch_sub(1, Relaxed);
    if let Some(handover) = server.handover.as_ref().filter(|_| was_handed_over) {
        let _ = handover.closed();
    }
}

/// Speaks HTTP/1.1 as far as an example needs it.
async fn speak(stream: TcpStream, client: SocketAddr, server: &Server, was_handed_over: bool) -> io::Result<()> {
    let Some(mut stream) = unless_given(stream, server, was_handed_over).await? else { return Ok(()) };
    let (read, mut write) = stream.split();
    let mut read = BufReader::new(read);
    let mut stopping = server.stopping.subscribe();
    let mut answered = false;
    loop {
        tokio::select! {
            biased;
            bytes = read.fill_buf() => if bytes?.is_empty() { return Ok(()) },
            _ = stopping.wait_for(|stopping| *stopping), if answered => return Ok(()),
        }
        let mut head = String::new();
        let mut limited = (&mut read).take(HEAD_MAX);
        while !head.ends_with("\r\n\r\n") {
            if limited.read_line(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let target = head.split(' ').nth(1).unwrap_or_default();
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let number = query.split_once('=').and_then(|(_, value)| value.parse().ok()).unwrap_or(0);
        server.count(1);
        let result = match path {
            "/hold" => copy(&mut read, &mut sink()).await.map(|_| false),
            _ => answer(&mut write, path, number, client, server).await.map(|()| true),
        };
        server.count(-1);
        answered = result?;
        if !answered {
            return Ok(());
        }
    }
}

async fn answer(
    write: &mut (impl tokio::io::AsyncWrite + Unpin),
    path: &str,
    number: u64,
    client: SocketAddr,
    server: &Server,
) -> io::Result<()> {
    match path {
        "/bytes" => {
            write.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {number}\r\n\r\n").as_bytes()).await?;
            copy(&mut repeat(b'x').take(number), write).await?;
            return Ok(());
        }
        "/sleep" => sleep(Duration::from_millis(number)).await,
        "/hang" => thread::sleep(Duration::from_millis(number)),
        _ => {}
    }
    let text = format!("{} {client}\n", server.name);
    write.write_all(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{text}", text.len()).as_bytes()).await
}

/// Hands the connection on if its first request says so. What is only peeked at, the other server reads again.
async fn unless_given(stream: TcpStream, server: &Server, was_handed_over: bool) -> io::Result<Option<TcpStream>> {
    let Some(handover) = &server.handover else { return Ok(Some(stream)) };
    let mut bytes = [0; 256];
    let mut count = stream.peek(&mut bytes).await?;
    // A line may come in pieces.
    while (1..bytes.len()).contains(&count) && !bytes[..count].contains(&b'\n') {
        sleep(ROUND).await;
        count = stream.peek(&mut bytes).await?;
    }
    let line = String::from_utf8_lossy(&bytes[..count]).into_owned();
    let to = line.strip_prefix("GET /give?to=").and_then(|rest| rest.split(' ').next());
    match to {
        // Its own name, or that of the server that it is a process of: it is where it is to be.
        // Whoever is given one that any other may have keeps it.
        Some("") if was_handed_over => Ok(Some(stream)),
        Some(to) if to != server.name && !server.name.starts_with(&format!("{to}-")) => {
            let stream = stream.into_std()?;
            handover.give(stream, to).map_err(io::Error::other)?;
            Ok(None)
        }
        _ => Ok(Some(stream)),
    }
}
