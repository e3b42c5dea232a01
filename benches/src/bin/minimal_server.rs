//! The server of (g): answers one request of a connection and closes it, one connection after the other.
//!
//! ```text
//! request   8 bytes: how many bytes to send after the number
//! response  1 byte: the number of this process; then so many bytes
//! ```
//!
//! Its listener comes from a director, or it makes its own, which may share its address: `minimal-server NUMBER ADDRESS`.

use std::{
    env,
    io::{self, Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
};

use benches::error::BenchError;
use rustix::net::{AddressFamily, SocketType, bind, listen, socket, sockopt::set_socket_reuseport};
use zerottl_server::Contract;

/// As many connections wait to be accepted at most; the director's listeners have the kernel's most, too.
const BACKLOG: i32 = 4096;

fn main() -> Result<(), BenchError> {
    let (number, listener) = if let Some(contract) = Contract::from_env()? {
        let name = contract.server.unwrap_or_default();
        let number = name.rsplit('-').next().unwrap_or_default().parse()?;
        let first = contract.listeners.into_iter().next().ok_or("no listener")?;
        (number, first.listener)
    } else {
        let arguments: Vec<String> = env::args().skip(1).collect();
        let [number, address] = &arguments[..] else { return Err("usage: minimal-server NUMBER ADDRESS".into()) };
        (number.parse()?, own(address.parse()?)?)
    };
    let zeros = vec![0; 256 * 1024];
    loop {
        match listener.accept() {
            // A client that has gone is no reason to end.
            Ok((stream, _)) => drop(answer(stream, number, &zeros)),
            // The director has taken this listener out of use.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => return Ok(()),
            Err(_) => {}
        }
    }
}

fn own(address: SocketAddr) -> io::Result<TcpListener> {
    let own = socket(AddressFamily::INET, SocketType::STREAM, None)?;
    set_socket_reuseport(&own, true)?;
    bind(&own, &address)?;
    listen(&own, BACKLOG)?;
    Ok(TcpListener::from(own))
}

fn answer(mut stream: TcpStream, number: u8, zeros: &[u8]) -> io::Result<()> {
    let mut request = [0; 8];
    stream.read_exact(&mut request)?;
    stream.write_all(&[number])?;
    let mut left = u64::from_le_bytes(request);
    while left > 0 {
        let length = usize::try_from(left).map_or(zeros.len(), |left| left.min(zeros.len()));
        stream.write_all(&zeros[..length])?;
        left -= length as u64;
    }
    Ok(())
}
