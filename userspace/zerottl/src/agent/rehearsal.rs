//! Everything that can be tried while another agent runs, before it is told to leave: all but its own sockets, and the
//! modes of interfaces that it is on.
//!
//! Where nothing is left to fail but those, an agent that takes over makes no outage of a mistake in its file. The program that
//! is tried is attached to interfaces that have none, where it passes everything, as it has no plan.

use std::{
    collections::HashSet,
    fs, io,
    net::{IpAddr, SocketAddr},
    os::unix::net::UnixStream,
    sync::Arc,
};

use rustix::net::sockopt::socket_peercred;
use tokio_util::sync::CancellationToken;

use super::{error::AgentError, opening::bind, signing};
use crate::admin::listen::Listener;
use zerottl_core::{
    model::{AdminListen, Model, XdpMode},
    plan::Planner,
    status::Assessment,
};
use zerottl_dns::{TcpAdmission, Zones};
use zerottl_inputs::{
    load::{self, LoadStore},
    probe::{self, Reports},
};
use zerottl_kernel::{Fastpath, attachments::Rehearsed, pins};

/// Tries what can be; an error is one that the start would have come to once the other has left. Without another agent there is
/// nothing to try.
pub(crate) async fn rehearse(model: &Model, zones: &Zones) -> Result<Rehearsed, AgentError> {
    let Some(owner) = zerottl_host::locks::owner(&model.life.pins) else { return Ok(Rehearsed::default()) };
    pins::on_bpffs(&model.life.pins).map_err(AgentError::Pin)?;
    let admission = Arc::new(TcpAdmission::default());
    for at in &model.front.listen {
        match bind(&[*at], &admission, model.front.freebind) {
            Err(error) if error.is_in_use() && may_have(owner, *at) => {}
            tried => drop(tried?),
        }
    }
    for place in &model.admin.listen {
        match Listener::bind(place).await {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_place_of(owner, place) => {}
            Err(error) => return Err(AgentError::Admin(place.clone(), error)),
            Ok(_) => {}
        }
    }
    tokio::task::block_in_place(|| load_once(model, zones))
}

/// Reads what probes need, loads the program, and attaches it where that disturbs nobody.
fn load_once(model: &Model, zones: &Zones) -> Result<Rehearsed, AgentError> {
    signing::look(model, zones)?;
    let model = Arc::new(model.clone());
    let never = CancellationToken::new();
    never.cancel();
    let load_store = LoadStore::new(&model);
    probe::start(&model, Reports::new(&model), &load_store, never.clone()).map_err(AgentError::Probe)?;
    load::start(&model, &load_store, never).map_err(AgentError::Probe)?;
    if model.front.xdp == XdpMode::Off {
        return Ok(Rehearsed::default());
    }
    let planner = Planner::new(Arc::clone(&model));
    let first = planner.follow(&Assessment::unknown(&model), 1, None);
    let mut loaded = Fastpath::load(&planner, &first, zones, &[]).map_err(AgentError::Load)?;
    let program = loaded.fastpath.lasting().map_err(AgentError::Load)?.program;
    let front = &model.front;
    Ok(Rehearsed::new(&model.life.pins, program, front.xdp, &front.interfaces)?)
}

/// Whether a process listens at an admin place, as far as can be told.
fn is_place_of(owner: i32, place: &AdminListen) -> bool {
    match place {
        AdminListen::Tcp(at) => may_have(owner, *at),
        AdminListen::Unix(path) => {
            let peer = UnixStream::connect(path).and_then(|stream| Ok(socket_peercred(&stream)?));
            peer.is_ok_and(|peer| peer.pid.as_raw_nonzero().get() == owner)
        }
    }
}

/// Whether all that listens at an address is a process's. Where that cannot be told, it may be so.
fn may_have(owner: i32, at: SocketAddr) -> bool {
    let Ok(own) = sockets_of(owner) else { return true };
    let mut found = Vec::new();
    for table in ["udp", "udp6", "tcp", "tcp6"] {
        let Ok(text) = fs::read_to_string(format!("/proc/self/net/{table}")) else { return true };
        found.extend(inodes_at(&text, at));
    }
    found.iter().all(|inode| own.contains(inode))
}

fn sockets_of(process: i32) -> io::Result<HashSet<u64>> {
    let mut inodes = HashSet::new();
    for entry in fs::read_dir(format!("/proc/{process}/fd"))? {
        // One that has been closed meanwhile is none of its sockets any more.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        let number = target.to_str().and_then(|text| text.strip_prefix("socket:[")?.strip_suffix(']'));
        inodes.extend(number.and_then(|number| number.parse::<u64>().ok()));
    }
    Ok(inodes)
}

/// The inodes of unconnected and listening sockets that stand in the way of binding an address, by a table of /proc/net:
/// `sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode …`.
fn inodes_at(table: &str, at: SocketAddr) -> Vec<u64> {
    const UNCONNECTED: &str = "07";
    const LISTENING: &str = "0A";
    let hex = |bytes: &[u8]| {
        let words = bytes.chunks_exact(4).map(|word| u32::from_ne_bytes([word[0], word[1], word[2], word[3]]));
        words.map(|word| format!("{word:08X}")).collect::<Vec<_>>().concat()
    };
    let port = format!("{:04X}", at.port());
    let wildcard = |address: &str| address.bytes().all(|byte| byte == b'0');
    let own = match at.ip() {
        IpAddr::V4(ip) => hex(&ip.octets()),
        IpAddr::V6(ip) => hex(&ip.octets()),
    };
    let inode = |line: &str| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let (address, of) = words.get(1)?.split_once(':')?;
        let is_in_the_way =
            of == port && (address == own || wildcard(address)) && [UNCONNECTED, LISTENING].contains(words.get(3)?);
        words.get(9).filter(|_| is_in_the_way)?.parse().ok()
    };
    table.lines().skip(1).filter_map(inode).collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, UdpSocket};

    use super::*;

    #[test]
    fn sockets_in_the_way_are_found() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n";
        let line = |address: &str, state: &str, inode: u64| {
            format!(
                "   0: {address} 00000000:0000 {state} 00000000:00000000 00:00000000 00000000     0        0 {inode} 1\n"
            )
        };
        let table = [head, &line("0100007F:1F75", "0A", 1), &line("00000000:1F75", "07", 2)].concat()
            + &line("0100007F:1F76", "0A", 3)
            + &line("0200007F:1F75", "0A", 4)
            + &line("0100007F:1F75", "01", 5);
        let at = "127.0.0.1:8053".parse().expect("an address");
        assert_eq!(inodes_at(&table, at), [1, 2]);
    }

    /// By the kernel's own words: this process's sockets are its own, and not another's.
    #[test]
    fn real_sockets_have_their_owner() {
        let own = i32::try_from(std::process::id()).expect("a process id");
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let (Ok(tcp), Ok(udp)) = (TcpListener::bind(address), UdpSocket::bind(address)) else { continue };
            for at in [tcp.local_addr().expect("bound"), udp.local_addr().expect("bound")] {
                assert!(may_have(own, at), "{at}");
                let another = std::process::Command::new("sleep").arg("60").spawn();
                let mut another = another.expect("sleep runs");
                let is_its = may_have(i32::try_from(another.id()).expect("a process id"), at);
                another.kill().and_then(|()| another.wait()).expect("ended");
                assert!(!is_its, "{at} is not its");
            }
        }
    }
}
