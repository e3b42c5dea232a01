//! Live connections, beside the kernel's own table of sockets.

use std::{
    io::Write as _,
    net::TcpStream,
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::net::UnixStream,
    },
    thread,
    time::Duration,
};

use rustix::{
    io::{IoSlice, IoSliceMut},
    net::{
        RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags,
        recvmsg, sendmsg,
    },
};
use zerottl_kernel::director::Adoption;

use super::world::{Distributor, in_world, wait_for, weighing};

/// The connections to a port that the kernel has, as `ss` prints them but for listeners, half-open ones and TIME-WAIT.
fn of_the_kernel(port: u16) -> u64 {
    let table = std::fs::read_to_string("/proc/thread-self/net/tcp").unwrap();
    let is_live = |line: &&str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let at_port = fields[1].ends_with(&format!(":{port:04X}"));
        // 0A is LISTEN, 03 SYN-RECV; timer 03 is what a closed connection leaves behind (TIME-WAIT, and FIN-WAIT-2 without
        // an owner), which is no socket any more.
        at_port && fields[3] != "0A" && fields[3] != "03" && !fields[5].starts_with("03:")
    };
    table.lines().skip(1).filter(is_live).count() as u64
}

fn check(distributor: &Distributor, what: &str, expected: u64) {
    let both = || (distributor.live().iter().sum::<u64>(), of_the_kernel(distributor.at.port()));
    wait_for(both, &(expected, expected));
    println!("{what}: {expected}");
}

fn reset(client: TcpStream) {
    rustix::net::sockopt::set_socket_linger(&client, Some(Duration::ZERO)).unwrap();
    drop(client);
}

/// S2-5: live connections are those that the kernel has, however connections end and whoever holds them.
#[test]
fn live_connections_are_those_of_the_kernel() {
    in_world("live connections", || {
        let distributor = Distributor::new(&[weighing(1)]);
        let mut clients: Vec<TcpStream> = (0..20).map(|_| distributor.connect()).collect();
        let mut servers: Vec<TcpStream> = (0..16).map(|_| distributor.accept(1)).collect();
        check(&distributor, "made, four of them not accepted", 20);
        // Each server's peer is at the same place: they were accepted in order.
        drop((clients.remove(0), servers.remove(0)));
        check(&distributor, "closed by the client, then the server", 19);
        drop(servers.remove(0));
        drop(clients.remove(0));
        check(&distributor, "closed by the server, then the client", 18);
        reset(clients.remove(0));
        check(&distributor, "reset by the client", 17);
        clients[1].write_all(b"unread").unwrap();
        servers.remove(0);
        drop(servers.remove(0));
        check(&distributor, "reset by the server, with data that it has not read", 16);
        let moved = hand_over(servers.remove(0));
        check(&distributor, "handed over to another process", 16);
        drop(clients.remove(2));
        drop(moved);
        check(&distributor, "and closed there", 15);
        drop((clients, servers));
        check_killed();
    });
}

/// Passes a connection through a Unix socket (`SCM_RIGHTS`), and closes it here.
fn hand_over(connection: TcpStream) -> OwnedFd {
    let (ours, theirs) = UnixStream::pair().unwrap();
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    let descriptors = [connection.as_fd()];
    assert!(control.push(SendAncillaryMessage::ScmRights(&descriptors)));
    sendmsg(&ours, &[IoSlice::new(b"C")], &mut control, SendFlags::empty()).unwrap();
    drop(connection);
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(&theirs, &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty()).unwrap();
    let mut messages = control.drain();
    let Some(RecvAncillaryMessage::ScmRights(mut descriptors)) = messages.next() else { panic!("no descriptor") };
    descriptors.next().unwrap()
}

/// A process that holds connections, and is killed.
fn check_killed() {
    let distributor = Distributor::new(&[weighing(1)]);
    let clients: Vec<TcpStream> = (0..5).map(|_| distributor.connect()).collect();
    let servers: Vec<TcpStream> = (0..5).map(|_| distributor.accept(1)).collect();
    // SAFETY: the child does nothing but wait, which is safe after a fork of many threads.
    let child = unsafe { libc::fork() };
    if child == 0 {
        loop {
            // SAFETY: as above.
            unsafe { libc::pause() };
        }
    }
    assert!(child > 0);
    drop(servers);
    check(&distributor, "held by another process alone", 5);
    // SAFETY: our own child, not waited for yet.
    unsafe {
        libc::kill(child, libc::SIGKILL);
        libc::waitpid(child, std::ptr::null_mut(), 0);
    }
    drop(clients);
    check(&distributor, "which was killed", 0);
}

/// A connection that is handed over while it closes is counted for one slot, and then for none.
#[test]
fn what_closes_while_it_is_handed_over_is_counted_once() {
    const ROUNDS: usize = 2000;
    in_world("handing over what closes", || {
        let mut distributor = Distributor::new(&[weighing(1), weighing(1)]);
        distributor.programs().set_control(0, None, 1);
        let (mut counted, mut closed) = (0, 0);
        for _ in 0..ROUNDS {
            let client = distributor.connect();
            let server = distributor.accept(1);
            let closing = thread::spawn(move || reset(client));
            match distributor.programs().adopt(server.as_fd(), 2, 1).unwrap() {
                Adoption::Counted => counted += 1,
                Adoption::Closed => closed += 1,
                Adoption::Uncounted => panic!("it is counted"),
            }
            closing.join().unwrap();
        }
        println!("{counted} handed over, {closed} closed before");
        distributor.wait_for_live(&[0, 0]);
    });
}
