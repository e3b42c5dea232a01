//! A port of this machine's loopback that leads into a namespace, for a browser outside of it.

use std::{
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, TcpListener, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use crate::netns::Netns;

/// Connections at a time; a browser opens six.
const OPEN_MAX: usize = 32;
const PATIENCE: Duration = Duration::from_secs(2);

/// Opens a port of loopback, of the kernel's choice, whose connections go on to `target` inside `machine` for as long as
/// this process lives. Returns where it is.
pub fn into_namespace(machine: Arc<Netns>, target: SocketAddr) -> io::Result<SocketAddr> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
    let address = listener.local_addr()?;
    let open = Arc::new(AtomicUsize::new(0));
    thread::Builder::new().name("relay".into()).spawn(move || {
        for outside in listener.incoming().flatten() {
            if open.fetch_add(1, Ordering::Relaxed) >= OPEN_MAX {
                open.fetch_sub(1, Ordering::Relaxed);
                continue;
            }
            let (machine, own) = (Arc::clone(&machine), Arc::clone(&open));
            let started = thread::Builder::new().name("relay".into()).spawn(move || {
                // What breaks a connection concerns its browser only.
                let _ = relay(&machine, target, &outside);
                own.fetch_sub(1, Ordering::Relaxed);
            });
            if started.is_err() {
                open.fetch_sub(1, Ordering::Relaxed);
            }
        }
    })?;
    Ok(address)
}

fn relay(machine: &Netns, target: SocketAddr, outside: &TcpStream) -> io::Result<()> {
    let inside = machine.run(move || TcpStream::connect_timeout(&target, PATIENCE))??;
    let copy = |from: &TcpStream, to: &TcpStream| {
        let (mut reader, mut writer) = (from, to);
        let _ = io::copy(&mut reader, &mut writer);
        let _ = to.shutdown(Shutdown::Write);
    };
    thread::scope(|scope| {
        scope.spawn(|| copy(outside, &inside));
        copy(&inside, outside);
    });
    Ok(())
}
