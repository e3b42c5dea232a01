//! A network namespace with the distributor's programs, listeners in slots, and clients.

use std::{
    io::{self, Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use rustix::{
    mm::{MapFlags, ProtFlags, mmap},
    net::{
        AddressFamily, SocketFlags, SocketType, accept, bind, getsockname, ipproto, listen, socket_with,
        sockopt::{set_socket_reuseaddr, set_socket_reuseport},
    },
    time::{ClockId, clock_gettime},
};
use tests::{lab::can_load, netns::Netns};
use xdp_ebpf::director::{
    layout::{POLICY_ROUND_ROBIN, STATE_READY, STRIDE_ONE, ServerPage, SlotSettings, UNLIMITED, WAITING},
    reason::ChoiceReason,
};
use zerottl_kernel::director::{DirectorPrograms, SlotTally};

const BPFFS: &str = "/sys/fs/bpf";
const PROC: &str = "/proc/sys/net/ipv4";
/// How long a condition may take to come true.
const PATIENCE: Duration = Duration::from_secs(20);
const BACKLOG: i32 = 512;

/// Runs a test in a namespace of its own; in this one where that may not be made, as in the virtual machine.
pub fn in_world(what: &str, test: impl FnOnce() + Send + 'static) {
    if !can_load(what) {
        return;
    }
    match Netns::new() {
        Ok(namespace) => namespace.run(test).unwrap(),
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => test(),
        Err(error) => panic!("{error}"),
    }
}

/// Sets a value of the namespace.
pub fn sysctl(key: &str, value: &str) {
    std::fs::write(format!("{PROC}/{key}"), value).unwrap_or_else(|error| panic!("{key}: {error}"));
}

/// The folder of a cgroup v2 that this process is in, or one around it.
pub fn cgroup() -> PathBuf {
    let places = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"];
    let is_v2 = |path: &&&str| Path::new(path).join("cgroup.controllers").exists();
    places.iter().find(is_v2).map(PathBuf::from).expect("a cgroup v2 file system")
}

/// The weights' server: ready, without a limit, without a page.
pub fn weighing(weight: u64) -> SlotSettings {
    let stride = STRIDE_ONE / weight;
    SlotSettings { state: STATE_READY, cap: UNLIMITED, stride, hang_ns: 0, generation: 1 }
}

/// One with a limit.
pub fn capped(cap: u32) -> SlotSettings {
    SlotSettings { cap, ..weighing(1) }
}

/// The programs, and a listener for each slot, the director's own first.
pub struct Distributor {
    /// None between two directors.
    programs: Option<DirectorPrograms>,
    pub listeners: Vec<OwnedFd>,
    pub at: SocketAddr,
    folder: PathBuf,
}

impl Distributor {
    /// Slots from 1 on with these settings, listening on loopback.
    pub fn new(slots: &[SlotSettings]) -> Self {
        Self::at(IpAddr::V4(Ipv4Addr::LOCALHOST), slots)
    }

    pub fn v6(slots: &[SlotSettings]) -> Self {
        Self::at(IpAddr::V6(Ipv6Addr::LOCALHOST), slots)
    }

    pub fn at(address: IpAddr, slots: &[SlotSettings]) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let folder = Path::new(BPFFS).join(format!("zerottl-test-{}-{number}", std::process::id()));
        let mut programs = DirectorPrograms::open(&folder, &cgroup(), 1).unwrap_or_else(|error| panic!("{error}"));
        let first = listener(SocketAddr::new(address, 0));
        let at = SocketAddr::try_from(getsockname(&first).unwrap()).unwrap();
        let others = slots.iter().map(|_| listener(at));
        let listeners: Vec<OwnedFd> = std::iter::once(first).chain(others).collect();
        programs.attach(0, listeners[0].as_fd()).unwrap();
        for (slot, listener) in (0..).zip(&listeners) {
            programs.enlist(0, slot, 1, listener.as_fd()).unwrap();
        }
        for (slot, settings) in (1..).zip(slots) {
            programs.set_slot(slot, *settings).unwrap();
        }
        programs.set_control(POLICY_ROUND_ROBIN, None, slots.len() as u32);
        Self { programs: Some(programs), listeners, at, folder }
    }

    /// The director dies, and another comes.
    pub fn reopen(&mut self) {
        self.programs = None;
        self.programs = Some(DirectorPrograms::open(&self.folder, &cgroup(), 1).unwrap());
    }

    pub fn programs(&mut self) -> &mut DirectorPrograms {
        self.programs.as_mut().unwrap()
    }

    /// A connection whose handshake is over.
    pub fn connect(&self) -> TcpStream {
        TcpStream::connect(self.at).unwrap()
    }

    /// The slot that a client's connection was given to, and why.
    pub fn choice(&self, client: &TcpStream) -> (u32, ChoiceReason) {
        let from = client.local_addr().unwrap();
        let choice = self.programs.as_ref().unwrap().choice(from, self.at.port()).unwrap().expect("it is remembered");
        (choice.slot, choice.reason)
    }

    /// A connection out of a slot's queue.
    pub fn accept(&self, slot: u32) -> TcpStream {
        TcpStream::from(accept(&self.listeners[slot as usize]).unwrap())
    }

    pub fn tally(&self, slot: u32) -> SlotTally {
        self.programs.as_ref().unwrap().tally(slot)
    }

    /// Live connections of each slot from 1 on.
    pub fn live(&self) -> Vec<u64> {
        (1..self.listeners.len() as u32).map(|slot| self.tally(slot).live).collect()
    }

    /// Connections given to each slot from 1 on.
    pub fn assigned(&self) -> Vec<u64> {
        (1..self.listeners.len() as u32).map(|slot| self.tally(slot).assigned).collect()
    }

    pub fn waiting(&self) -> u64 {
        self.tally(WAITING).live
    }

    /// Waits until the live connections of slots from 1 on are these.
    pub fn wait_for_live(&self, expected: &[u64]) {
        wait_for(|| self.live(), &expected.to_vec());
    }
}

impl Drop for Distributor {
    fn drop(&mut self) {
        // Only whoever has the lock may remove it.
        self.programs = None;
        DirectorPrograms::unpin(&self.folder).unwrap();
    }
}

/// Waits until something is as expected, with patience.
pub fn wait_for<T: std::fmt::Debug + PartialEq>(now: impl Fn() -> T, expected: &T) {
    let end = Instant::now() + PATIENCE;
    loop {
        let found = now();
        if found == *expected {
            return;
        }
        assert!(Instant::now() < end, "{found:?}, expected {expected:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// A listener that shares its address.
pub fn listener(at: SocketAddr) -> OwnedFd {
    let family = if at.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP)).unwrap();
    set_socket_reuseport(&socket, true).unwrap();
    set_socket_reuseaddr(&socket, true).unwrap();
    bind(&socket, &at).unwrap();
    listen(&socket, BACKLOG).unwrap();
    socket
}

/// Whether both ends of a connection reach one another.
pub fn talks(client: &mut TcpStream, server: &mut TcpStream) -> io::Result<()> {
    let mut byte = [0];
    client.write_all(b"?")?;
    server.read_exact(&mut byte)?;
    server.write_all(b"!")?;
    client.read_exact(&mut byte)
}

/// A socket bound to an address, at a port of the kernel's choice.
pub fn bound(address: IpAddr) -> (OwnedFd, SocketAddr) {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let socket = socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, Some(ipproto::TCP)).unwrap();
    bind(&socket, &SocketAddr::new(address, 0)).unwrap();
    let from = SocketAddr::try_from(getsockname(&socket).unwrap()).unwrap();
    (socket, from)
}

/// Connects such a socket.
pub fn connect(socket: OwnedFd, to: SocketAddr) -> TcpStream {
    rustix::net::connect(&socket, &to).unwrap();
    TcpStream::from(socket)
}

/// A server's view of its page.
pub struct ServersPage(*mut ServerPage);

/// Maps a page as a server does.
pub fn page(map: OwnedFd) -> ServersPage {
    let protection = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, which stays until the process ends.
    let start = unsafe { mmap(std::ptr::null_mut(), 4096, protection, MapFlags::SHARED, map, 0) };
    ServersPage(start.unwrap().cast())
}

impl ServersPage {
    /// Publishes that it goes round its loop now.
    pub fn loop_now(&mut self) {
        let now = clock_gettime(ClockId::Monotonic);
        let now = now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs();
        // SAFETY: within the mapping.
        unsafe { (&raw mut (*self.0).looped_at).write_volatile(now) };
    }
}
