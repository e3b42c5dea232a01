//! Handshakes that are long under way, or never end: bursts and floods.

use std::{
    fs::{File, OpenOptions},
    io::{Read as _, Write as _},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpStream},
    os::fd::{AsRawFd as _, OwnedFd},
    process::Command,
    time::{Duration, Instant},
};

use etherparse::PacketBuilder;
use rustix::net::{Shutdown, shutdown};
use xdp_ebpf::director::{
    layout::{POLICY_ROUND_ROBIN, SlotSettings},
    reason::ChoiceReason,
};

use super::world::{Distributor, bound, capped, connect, in_world, sysctl, wait_for, weighing};

/// Half-open connections of a flood.
const FLOOD: usize = 10_000;
/// Clients that mean it, among them.
const CLIENTS: usize = 60;
/// Long enough to be known for a flood.
const KNOWN_AFTER: Duration = Duration::from_millis(700);

/// Leaves a handshake half-open until its client sends something, though the client has all it needs: a round trip as long
/// as a test wants.
fn defer(listener: &OwnedFd) {
    let seconds: libc::c_int = 60;
    // SAFETY: an integer, of the size given.
    let result = unsafe {
        libc::setsockopt(
            listener.as_raw_fd(),
            libc::IPPROTO_TCP,
            libc::TCP_DEFER_ACCEPT,
            (&raw const seconds).cast(),
            size_of_val(&seconds) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", std::io::Error::last_os_error());
}

/// Ends the handshake of a listener that defers.
fn speak(client: &mut TcpStream) {
    client.write_all(b"!").unwrap();
}

/// A handshake that comes to nothing, from one of the many addresses of loopback.
fn half_open(distributor: &Distributor, number: usize) {
    let [.., a, b] = number.to_be_bytes();
    let (socket, _) = bound(IpAddr::V4(Ipv4Addr::new(127, 1, a, b)));
    let client = connect(socket, distributor.at);
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
}

/// Fifty SYNs within one round trip pass no cap.
#[test]
fn a_burst_passes_no_cap() {
    /// Reservations hold for 537 ms at least; a machine that has not the time for the burst tries again.
    const WITHIN: Duration = Duration::from_millis(400);
    in_world("a burst within a round trip", || {
        sysctl("tcp_syncookies", "1");
        for _ in 0..20 {
            let distributor = Distributor::new(&[5, 4, 3].map(capped));
            distributor.listeners.iter().for_each(defer);
            let begun = Instant::now();
            let mut clients: Vec<TcpStream> = (0..50).map(|_| distributor.connect()).collect();
            let took = begun.elapsed();
            assert_eq!(distributor.live(), [0, 0, 0], "no handshake is over");
            clients.iter_mut().for_each(speak);
            wait_for(|| distributor.live().iter().sum::<u64>() + distributor.waiting(), &50);
            if took < WITHIN {
                assert_eq!((distributor.live(), distributor.waiting()), (vec![5, 4, 3], 38));
                return;
            }
        }
        panic!("fifty SYNs took longer than {WITHIN:?} each time");
    });
}

/// A handshake whose listener closes before it is over ends at another one.
#[test]
fn a_handshake_moves_to_another_listener() {
    in_world("migration of handshakes", || {
        sysctl("tcp_syncookies", "1");
        let mut distributor = Distributor::new(&[weighing(1), weighing(1)]);
        distributor.listeners.iter().for_each(defer);
        distributor.programs().set_control(POLICY_ROUND_ROBIN, None, 1);
        let mut clients: Vec<TcpStream> = (0..20).map(|_| distributor.connect()).collect();
        distributor.programs().set_control(POLICY_ROUND_ROBIN, None, 2);
        shutdown(&distributor.listeners[1], Shutdown::Both).unwrap();
        clients.iter_mut().for_each(speak);
        distributor.wait_for_live(&[0, 20]);
        assert_eq!(distributor.choice(&clients[0]), (2, ChoiceReason::Migrated));
        let mut servers: Vec<TcpStream> = clients.iter().map(|_| distributor.accept(2)).collect();
        for server in &mut servers {
            let mut byte = [0];
            server.read_exact(&mut byte).unwrap();
        }
        drop((clients, servers));
        distributor.wait_for_live(&[0, 0]);
    });
}

/// Clients of a flood's time get their shares of servers, and none waits, for half-open connections fill no cap.
fn check_flood(distributor: &Distributor, flood: &mut dyn FnMut(usize), mut client: impl FnMut() -> TcpStream) {
    let mut number = 0;
    let begun = Instant::now();
    while begun.elapsed() < KNOWN_AFTER {
        flood(number);
        number += 1;
    }
    let mut clients = Vec::new();
    for _ in 0..CLIENTS {
        for _ in 0..FLOOD / CLIENTS {
            flood(number);
            number += 1;
        }
        clients.push(client());
        let made = clients.len() as u64;
        wait_for(|| distributor.live().iter().sum::<u64>() + distributor.waiting(), &made);
    }
    let live = distributor.live();
    assert_eq!(distributor.waiting(), 0, "{live:?}");
    assert!(live.iter().zip([30, 20, 10]).all(|(got, due)| got.abs_diff(due) <= 1), "{live:?} of {number} half-open");
    println!("{number} half-open, {live:?}");
}

/// Room for the clients' shares and hardly more.
fn servers() -> [SlotSettings; 3] {
    [(3, 31), (2, 21), (1, 11)].map(|(weight, cap)| SlotSettings { cap, ..weighing(weight) })
}

/// Ten thousand handshakes that come to nothing.
#[test]
fn lapsed_handshakes_leave_shares_and_caps() {
    in_world("half-open connections", || {
        sysctl("tcp_syncookies", "1");
        let distributor = Distributor::new(&servers());
        distributor.listeners.iter().for_each(defer);
        let client = || {
            let mut client = distributor.connect();
            speak(&mut client);
            client
        };
        check_flood(&distributor, &mut |number| half_open(&distributor, number), client);
    });
}

/// Ten thousand SYNs of forged addresses that answer nothing, until the kernel gives out SYN cookies, and with them always.
#[test]
fn a_syn_flood_leaves_shares_and_caps() {
    in_world("a SYN flood", || {
        let Ok(mut device) = device() else {
            eprintln!("NOT TESTED: a SYN flood (needs /dev/net/tun)");
            return;
        };
        for cookies in ["1", "2"] {
            sysctl("tcp_syncookies", cookies);
            let distributor = Distributor::at(HERE.into(), &servers());
            let to = distributor.at;
            // The queue of what goes back is full soon; nobody reads it.
            let mut flood = |number| device.write_all(&syn(number, to)).unwrap();
            check_flood(&distributor, &mut flood, || distributor.connect());
        }
    });
}

const HERE: Ipv4Addr = Ipv4Addr::new(10, 99, 0, 1);

/// A device behind which the addresses of 198.18.0.0/15 are.
fn device() -> std::io::Result<File> {
    // `struct ifreq`: a name and flags.
    #[repr(C)]
    struct Request {
        name: [u8; 16],
        flags: libc::c_short,
        rest: [u8; 22],
    }
    let device = OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut name = [0; 16];
    name[..3].copy_from_slice(b"zt0");
    let request = Request { name, flags: (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short, rest: [0; 22] };
    // SAFETY: the request's own form.
    if unsafe { libc::ioctl(device.as_raw_fd(), libc::TUNSETIFF, &raw const request) } != 0 {
        return Err(std::io::Error::last_os_error());
    }
    for line in ["addr add 10.99.0.1/24 dev zt0", "link set zt0 up", "route add 198.18.0.0/15 dev zt0"] {
        assert!(Command::new("ip").args(line.split(' ')).status()?.success(), "ip {line}");
    }
    Ok(device)
}

/// A SYN from one of the addresses behind the device.
fn syn(number: usize, to: SocketAddr) -> Vec<u8> {
    let IpAddr::V4(here) = to.ip() else { panic!("{to}") };
    let [.., a, b] = number.to_be_bytes();
    let builder = PacketBuilder::ipv4([198, 18, a, b], here.octets(), 64).tcp(1024, to.port(), 1, 65_000).syn();
    let mut packet = Vec::with_capacity(builder.size(0));
    builder.write(&mut packet, &[]).unwrap();
    packet
}
