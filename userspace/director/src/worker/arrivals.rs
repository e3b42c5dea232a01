//! Connections that no server was chosen for: each goes to a server with a place, or waits for one, or is told that all
//! are busy.

use std::{
    io::{self, ErrorKind},
    net::{SocketAddr, TcpStream},
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc, LazyLock,
        atomic::{AtomicUsize, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use rustix::net::Shutdown;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket},
    sync::mpsc,
    task::{AbortHandle, JoinHandle},
    time::timeout,
};
use tracing::{debug, info, warn};
use xdp_ebpf::director::layout::WAITING;
use zerottl_core::model::BusyAnswer;
use zerottl_host::resources::Stumbles;
use zerottl_kernel::{director::SteerKind, readiness::readable};

use super::{
    parts::{Arrival, Event, RunParts, Waiting},
    state::{LOOK, Worker},
};
use crate::{
    busy, handover,
    waiting_list::{Ticket, Waiter},
};

/// Answers that are given at a time, at most; beyond them a connection is closed without one.
const ANSWERS_MAX: usize = 1024;
/// The time in which a server's listener takes a relayed connection.
const RELAY_CONNECT: Duration = Duration::from_secs(5);

static ANSWERS: LazyLock<Arc<AtomicUsize>> = LazyLock::new(Arc::default);

/// Takes connections of one of the director's own listeners, until it is closed.
pub(crate) async fn accept(listener: std::net::TcpListener, address: usize, events: mpsc::Sender<Event>) {
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => return warn!(%error, "the director's own listener cannot be waited for"),
    };
    let mut stumbles = Stumbles::new("taking connections that wait".into());
    loop {
        let (stream, client) = match listener.accept().await {
            Ok(taken) => taken,
            // It was shut down.
            Err(error) if error.kind() == ErrorKind::InvalidInput => return,
            Err(error) => {
                stumbles.over(&error).await;
                continue;
            }
        };
        stumbles.good();
        let Ok(stream) = stream.into_std() else { continue };
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        if events.send(Event::Arrived(Arrival { address, client, stream })).await.is_err() {
            return;
        }
    }
}

/// Ends when the other side has closed its part.
async fn hung_up(stream: OwnedFd) {
    let Ok(stream) = readable(stream) else { return };
    loop {
        let Ok(mut ready) = stream.readable().await else { return };
        if ready.ready().is_read_closed() || ready.ready().is_error() {
            return;
        }
        // Its request: that is for the server to read.
        ready.clear_ready();
    }
}

impl Worker {
    /// Takes a connection that the kernel had no server for.
    pub(crate) fn arrived(&mut self, arrival: Arrival) {
        if self.stopping {
            return self.turn_away(arrival);
        }
        let arrival = if self.list.len() == 0 { self.assign(arrival) } else { Some(arrival) };
        if let Some(arrival) = arrival {
            self.wait(arrival, Instant::now());
        }
    }

    /// Puts a connection at the end of the list.
    pub(crate) fn wait(&mut self, arrival: Arrival, since: Instant) {
        let waiting = match self.watched(arrival) {
            Ok(waiting) => waiting,
            Err(arrival) => return self.turn_away(arrival),
        };
        match self.list.arrive(waiting, since) {
            Ok(ticket) => {
                self.counts.waited += 1;
                self.notice(ticket);
            }
            Err(waiting) => {
                self.counts.full += 1;
                let arrival = self.no_longer(waiting);
                self.turn_away(arrival);
            }
        }
    }

    /// Has the keeper hold a connection, and sees when its client leaves.
    fn watched(&mut self, arrival: Arrival) -> Result<Waiting, Arrival> {
        let copy = match arrival.stream.as_fd().try_clone_to_owned() {
            Ok(copy) => copy,
            Err(error) => {
                warn!(%error, "a connection cannot wait");
                return Err(arrival);
            }
        };
        self.generation += 1;
        let kept = format!("waiting.{:020}.{}", self.generation, arrival.address);
        if let Err(error) = self.link.keep(&kept, &arrival.stream) {
            debug!(%error, "a connection that waits does not outlive this process");
        }
        Ok(Waiting { arrival, kept, watcher: Some(tokio::spawn(hung_up(copy))), abort: None })
    }

    /// Has the loop hear when the client of one on the list leaves.
    fn notice(&mut self, ticket: Ticket) {
        let Some(waiting) = self.list.get_mut(ticket) else { return };
        let Some(watcher) = waiting.watcher.take() else { return };
        waiting.abort = Some(watcher.abort_handle());
        let events = self.events.clone();
        tokio::spawn(async move {
            if watcher.await.is_ok() {
                let _ = events.send(Event::Left(ticket)).await;
            }
        });
    }

    fn no_longer(&self, waiting: Waiting) -> Arrival {
        waiting.watcher.iter().for_each(JoinHandle::abort);
        waiting.abort.iter().for_each(AbortHandle::abort);
        if let Err(error) = self.link.release(&waiting.kept) {
            debug!(%error, "telling the parent process failed");
        }
        waiting.arrival
    }

    /// A client has closed: it leaves the list.
    pub(crate) fn left(&mut self, ticket: Ticket) {
        if let Some(waiter) = self.list.leave(ticket) {
            self.counts.left += 1;
            self.no_longer(waiter.what);
        }
    }

    /// Gives places that are free to those that wait, in order.
    pub(crate) fn assign_waiting(&mut self) {
        while let Some((ticket, _)) = self.list.first() {
            if self.pick().is_none() {
                return;
            }
            let Some(Waiter { what, since }) = self.list.leave(ticket) else { return };
            let arrival = self.no_longer(what);
            let Some(arrival) = self.assign(arrival) else { continue };
            // It could not be given on after all: it stands where it stood, and that server is left alone for a moment.
            match self.watched(arrival) {
                Ok(what) => {
                    self.list.put_back(ticket, Waiter { since, what });
                    self.notice(ticket);
                }
                Err(arrival) => self.turn_away(arrival),
            }
        }
    }

    fn pick(&self) -> Option<u32> {
        let open = self.runs.iter().filter(|(_, run)| run.takes());
        self.balance.pick(self.config.policy, open.map(|(slot, run)| (*slot, run.settings)))
    }

    /// Gives a connection to a server with a place, or gives it back.
    fn assign(&mut self, arrival: Arrival) -> Option<Arrival> {
        match self.pick() {
            Some(slot) => self.assign_to(slot, arrival),
            None => Some(arrival),
        }
    }

    /// Gives a connection to the server in a slot, or gives it back.
    fn assign_to(&mut self, slot: u32, arrival: Arrival) -> Option<Arrival> {
        let Some(run) = self.runs.get_mut(&slot) else { return Some(arrival) };
        let name = run.name.clone();
        let generation = run.generation;
        let Some(handover) = &run.handover else {
            self.relay(slot, generation, arrival);
            self.count(&name, false);
            return None;
        };
        // As `accept` would give it: who reads it expects to wait. It is the same for all copies.
        let _ = arrival.stream.set_nonblocking(false);
        self.balance.adopt(arrival.stream.as_fd(), slot, generation);
        match handover::send(&handover.ours, arrival.client, arrival.stream.as_fd()) {
            Ok(()) => {
                self.count(&name, true);
                None
            }
            Err(error) => {
                // It reads too slowly, or not at all: it is not counted there, and tried again.
                debug!(server = name, %error, "a connection cannot be handed over");
                self.balance.adopt(arrival.stream.as_fd(), WAITING, 0);
                self.balance.closed(slot);
                run.blocked_until = Some(Instant::now() + LOOK);
                let _ = arrival.stream.set_nonblocking(true);
                Some(arrival)
            }
        }
    }

    fn count(&mut self, name: &str, handed: bool) {
        let entry = self.entries.iter_mut().find(|entry| entry.name == name);
        if let Some(entry) = entry {
            *(if handed { &mut entry.handed } else { &mut entry.relayed }) += 1;
        }
        *(if handed { &mut self.counts.handed } else { &mut self.counts.relayed }) += 1;
    }

    /// Copies between the client and a server that takes no connections by message.
    fn relay(&mut self, slot: u32, generation: u64, arrival: Arrival) {
        self.counts.relays += 1;
        let events = self.events.clone();
        let target = self.runs.get(&slot).and_then(|run| run.place(arrival.address));
        if !self.balance.is_kernel() {
            self.balance.adopt(arrival.stream.as_fd(), slot, generation);
        }
        let bound = target.ok_or_else(|| io::Error::from(ErrorKind::NotFound)).and_then(|target| {
            let socket = self.steered(target, slot, SteerKind::Relay)?;
            Ok((socket, target))
        });
        tokio::spawn(async move {
            let copied = async {
                let (socket, target) = bound?;
                let mut client = tokio::net::TcpStream::from_std(arrival.stream)?;
                let mut server = timeout(RELAY_CONNECT, socket.connect(target)).await??;
                let _ = (client.set_nodelay(true), server.set_nodelay(true));
                copy_bidirectional(&mut client, &mut server).await
            };
            if let Err(error) = copied.await {
                debug!(client = %arrival.client, %error, "a relayed connection ended");
            }
            let _ = events.send(Event::Relayed { slot, generation }).await;
        });
    }

    /// Makes a socket whose connection to `target` goes to a slot.
    pub(crate) fn steered(&self, target: SocketAddr, slot: u32, kind: SteerKind) -> io::Result<TcpSocket> {
        let socket = if target.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
        if self.balance.is_kernel() {
            socket.bind(SocketAddr::new(target.ip(), 0))?;
            if !self.balance.steer(socket.local_addr()?, slot, kind) {
                return Err(io::Error::other("the kernel's map of steered connections does not take it"));
            }
        }
        Ok(socket)
    }

    /// Answers those whose time is over.
    pub(crate) fn expire_waiting(&mut self) {
        for waiter in self.list.expire(Instant::now()) {
            self.counts.timeouts += 1;
            let arrival = self.no_longer(waiter.what);
            self.turn_away(arrival);
        }
    }

    /// Answers all that wait.
    pub(crate) fn dismiss_waiting(&mut self) {
        while let Some((ticket, _)) = self.list.first() {
            let Some(waiter) = self.list.leave(ticket) else { return };
            let arrival = self.no_longer(waiter.what);
            self.turn_away(arrival);
        }
    }

    /// Tells a client that all servers are busy.
    fn turn_away(&self, Arrival { address, stream, .. }: Arrival) {
        let answer = self.own.get(address).map_or(BusyAnswer::Close, |(at, _)| self.config.busy_answer(*at));
        if answer == BusyAnswer::Close || ANSWERS.fetch_add(1, Relaxed) >= ANSWERS_MAX {
            if answer == BusyAnswer::Http {
                ANSWERS.fetch_sub(1, Relaxed);
            }
            let _ = rustix::net::shutdown(&stream, Shutdown::Write);
            return;
        }
        tokio::spawn(async move {
            if let Ok(stream) = tokio::net::TcpStream::from_std(stream) {
                busy::answer(stream, answer).await;
            }
            ANSWERS.fetch_sub(1, Relaxed);
        });
    }

    /// Takes a connection that a server gives away.
    pub(crate) fn given(&mut self, from: &str, to: &str, connection: OwnedFd) {
        let stream = TcpStream::from(connection);
        let (Ok(client), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            return info!(server = from, "what it gave away is no connection of a client: closed");
        };
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let address = self.own.iter().position(|(at, _)| at.port() == local.port()).unwrap_or(0);
        let _ = stream.set_nonblocking(true);
        let arrival = Arrival { address, client, stream };
        // A session binds more than a limit does: its server takes it, even where it takes no others.
        let meant = |run: &RunParts| run.name == to || run.config.name == to;
        let can = |run: &RunParts| run.handover.is_some() && run.ended.is_none() && run.name != from;
        let named = self.runs.iter().find(|(_, run)| !to.is_empty() && meant(run) && can(run));
        let rest = match named.map(|(slot, _)| *slot) {
            Some(slot) => self.assign_to(slot, arrival),
            None => Some(arrival),
        };
        if let Some(arrival) = rest {
            self.balance.adopt(arrival.stream.as_fd(), WAITING, 0);
            self.arrived(arrival);
        }
    }
}
