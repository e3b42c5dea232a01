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

use rustix::net::{Shutdown, ipproto, sockopt::socket_protocol};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpSocket},
    sync::mpsc,
    time::timeout,
};
use tracing::{debug, warn};
use xdp_ebpf::director::layout::{SLOTS, WAITING};
use zerottl_core::model::BusyAnswer;
use zerottl_host::resources::Stumbles;
use zerottl_kernel::{director::SteerKind, readiness::readable};

use super::{
    parts::{Arrival, Event, Giver, RunParts, Waiting},
    placements::{Placement, Route},
    state::{LOOK, Worker},
};
use crate::{
    busy, handover,
    keeper::DESCRIPTORS_MAX,
    waiting_list::{Ticket, Waiter},
};

/// Answers that are given at a time, at most; beyond them a connection is closed without one.
const ANSWERS_MAX: usize = 1024;
/// Connections that wait that the keeper holds, at most: it has to have room for what servers have.
const KEPT_MAX: usize = DESCRIPTORS_MAX / 2;
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
        if events.send(Event::Arrived(Arrival::new(address, client, stream))).await.is_err() {
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
        if self.list.is_full() {
            self.counts.full += 1;
            return self.turn_away(arrival);
        }
        self.counts.waited += 1;
        let ticket = self.list.next_ticket();
        let Some(waiting) = self.waiting(ticket, arrival) else { return };
        if let Err(waiting) = self.list.arrive(waiting, since) {
            // It was not full a moment ago.
            let arrival = self.no_longer(waiting);
            self.turn_away(arrival);
        }
    }

    /// Makes a connection one that waits: it is watched, and the keeper holds it.
    fn waiting(&mut self, ticket: Ticket, arrival: Arrival) -> Option<Waiting> {
        let copy = match arrival.stream.as_fd().try_clone_to_owned() {
            Ok(copy) => copy,
            Err(error) => {
                debug!(%error, "a connection cannot wait");
                self.turn_away(arrival);
                return None;
            }
        };
        let kept = format!("waiting.{:020}.{}", ticket.0, arrival.address);
        let held = if self.list.len() < KEPT_MAX { self.link.keep(&kept, &arrival.stream).err() } else { None };
        if let Some(error) = held {
            debug!(%error, "a connection that waits does not outlive this process");
        }
        let events = self.events.clone();
        let watcher = tokio::spawn(async move {
            hung_up(copy).await;
            let _ = events.send(Event::Left(ticket)).await;
        });
        Some(Waiting { arrival, kept, watcher: watcher.abort_handle() })
    }

    fn no_longer(&self, waiting: Waiting) -> Arrival {
        waiting.watcher.abort();
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
        // Nobody has a place: that ends it, however many wait.
        while self.pick(None).is_some() {
            // As a rule the first. One whose giver alone has a place lets others go first.
            let can = |waiting: &Waiting| self.pick(waiting.arrival.giver.as_ref()).is_some();
            let Some(ticket) = self.list.first_that(can) else { return };
            let Some(Waiter { what, since }) = self.list.leave(ticket) else { return };
            let arrival = self.no_longer(what);
            if let Some(arrival) = self.assign(arrival) {
                // It could not be given on after all, and those behind it would not fare better.
                if let Some(what) = self.waiting(ticket, arrival) {
                    self.list.put_back(ticket, Waiter { since, what });
                }
                return;
            }
        }
    }

    /// Finds a server with a place. Who gave a connection away does not get it back: it would give it
    /// again, without end.
    fn pick(&self, giver: Option<&Giver>) -> Option<u32> {
        let can_relay = self.counts.relays < self.relays_max;
        let is_giver = |run: &RunParts| giver.is_some_and(|giver| giver.generation == run.generation);
        let open = self.runs.iter();
        let open = open.filter(|(_, run)| run.takes() && (can_relay || run.handover.is_some()) && !is_giver(run));
        self.balance.pick(self.config.policy, open.map(|(slot, run)| (*slot, run.settings, run.coming)))
    }

    /// Gives a connection to a server with a place, or gives it back.
    fn assign(&mut self, mut arrival: Arrival) -> Option<Arrival> {
        // One that does not take it is left out for a while.
        for _ in 0..SLOTS {
            let Some(slot) = self.pick(arrival.giver.as_ref()) else { break };
            arrival = self.assign_to(slot, arrival)?;
        }
        Some(arrival)
    }

    /// Gives a connection to the server in a slot, or gives it back.
    fn assign_to(&mut self, slot: u32, arrival: Arrival) -> Option<Arrival> {
        let Some(run) = self.runs.get_mut(&slot) else { return Some(arrival) };
        let name = run.name.clone();
        let generation = run.generation;
        let placed = |route| Placement {
            server: name.clone(),
            route,
            giver: arrival.giver.as_ref().map(|giver| giver.name.clone()),
            waited: arrival.since.elapsed(),
            at: Instant::now(),
        };
        let port = self.own.get(arrival.address).map_or(0, |(at, _)| at.port());
        let Some(handover) = &run.handover else {
            self.placements.remember(arrival.client, port, placed(Route::Relayed));
            self.relay(slot, generation, arrival);
            self.count(&name, false);
            return None;
        };
        // As `accept` would give it: who reads it expects to wait. It is the same for all copies.
        let _ = arrival.stream.set_nonblocking(false);
        self.balance.adopt(arrival.stream.as_fd(), slot, generation);
        match handover::send(&handover.ours, arrival.client, arrival.stream.as_fd()) {
            Ok(()) => {
                self.placements.remember(arrival.client, port, placed(Route::HandedOver));
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
        } else if let Some(run) = self.runs.get_mut(&slot) {
            // The kernel counts it once it is there; meanwhile others may be looking for a place.
            run.coming += 1;
        }
        let bound = target.ok_or_else(|| io::Error::from(ErrorKind::NotFound)).and_then(|target| {
            let socket = self.steered(target, slot, SteerKind::Relay)?;
            Ok((socket, target))
        });
        tokio::spawn(async move {
            let reached = async {
                let (socket, target) = bound?;
                timeout(RELAY_CONNECT, socket.connect(target)).await?
            };
            let reached: io::Result<tokio::net::TcpStream> = reached.await;
            let _ = events.send(Event::Reached { slot, generation }).await;
            let copied = async {
                let mut server = reached?;
                let mut client = tokio::net::TcpStream::from_std(arrival.stream)?;
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
    pub(crate) fn given(&mut self, from: &Giver, to: &str, connection: OwnedFd) {
        let giver = &*from.name;
        let stream = TcpStream::from(connection);
        let (Ok(client), Ok(local)) = (stream.peer_addr(), stream.local_addr()) else {
            return debug!(server = giver, "what it gave away is no connection: closed");
        };
        let is_tcp = socket_protocol(&stream).is_ok_and(|protocol| protocol == Some(ipproto::TCP));
        let address = self.own.iter().position(|(at, _)| is_tcp && at.port() == local.port());
        let Some(address) = address else {
            return debug!(server = giver, "what it gave away is no connection of a client: closed");
        };
        let client = SocketAddr::new(client.ip().to_canonical(), client.port());
        let _ = stream.set_nonblocking(true);
        let arrival = Arrival { giver: Some(from.clone()), ..Arrival::new(address, client, stream) };
        // A session binds more than a limit does: its server takes it, even where it takes no others.
        let meant = |run: &RunParts| run.name == to || run.config.name == to;
        let can = |run: &RunParts| run.handover.is_some() && run.ended.is_none() && run.generation != from.generation;
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
