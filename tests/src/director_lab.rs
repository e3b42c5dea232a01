//! The distributor's lab: a machine with a director and three servers, a client, and lines to paste.
//!
//! ```text
//!   client  ── eth0 ═════ veth ═════ eth0 ──  boston's machine: 10.7.0.1:8080, [fd07::1]:8080
//!  10.7.0.2                                   zerottl director ── rust-1, python-1, plain-1
//! ```

use std::{io, path::PathBuf};

use rustix::process::Pid;

use crate::{
    director::{DirectorScene, PLACE, PLACE_V6},
    program::binary,
    server::AppKind,
};

/// Connections that the three servers have together.
const PLACES: usize = 12;
/// Connections that the lab's lines hold open: more than there are places, and fewer than may wait.
const HELD: usize = 18;
/// Bytes of the lab's download, which takes ten seconds at its rate.
const DOWNLOAD: u64 = 500_000_000;

/// The lab, which runs until it is stopped or dropped.
#[derive(Debug)]
pub struct DirectorLab {
    /// The machines and the director.
    pub scene: DirectorScene,
    zerottl: PathBuf,
}

/// The servers: one with all of the contract, one in another language, one that knows nothing but its listeners.
fn director() -> io::Result<String> {
    let rust = AppKind::Rust.command()?;
    let python = AppKind::Python.command()?;
    Ok(format!(
        "drain_timeout = \"5s\"
waiting = {{ max = 20, timeout = \"30s\" }}

[[director.server]]
name = \"rust\"
command = {rust:?}
weight = 3
max_connections = 6
handover = true
hang_after = \"200ms\"

[[director.server]]
name = \"python\"
command = {python:?}
weight = 2
max_connections = 4
handover = true
check = {{ path = \"/\" }}

[[director.server]]
name = \"plain\"
command = {python:?}
weight = 1
max_connections = 2
check = {{ path = \"/\" }}
"
    ))
}

impl DirectorLab {
    /// Makes the machines, starts the director, and waits until its servers serve.
    pub fn start() -> io::Result<Self> {
        Ok(Self { scene: DirectorScene::started(&director()?)?, zerottl: binary()? })
    }

    /// Returns the lines to paste into another terminal.
    pub fn welcome(&mut self) -> io::Result<String> {
        let keeper = self.scene.keeper().id();
        let client = format!("nsenter --net={}", self.scene.client.path());
        let machine = format!("nsenter --net={}", self.scene.machine.path());
        let zerottl = format!("{} director", self.zerottl.display());
        let at = format!("--control {}", self.scene.control().display());
        let pid = |name: &str| self.scene.pid(name).map(Pid::as_raw_nonzero);
        let (rust, python, plain) = (pid("rust-1")?, pid("python-1")?, pid("plain-1")?);
        Ok(format!(
            "
A director (pid {keeper}) distributes {PLACE} and {PLACE_V6} among three servers with {PLACES} places in all:
  rust-1    weight 3, 6 places; takes connections that have waited by hand-over; has a page, so that the kernel sees it hang
  python-1  weight 2, 4 places; by hand-over, too; is checked each second
  plain-1   weight 1, 2 places; knows nothing but its listening sockets, so what has waited is relayed to it
The configuration: {file}
The log: {log}
The lines below go into another terminal of this machine, as root.

Ask who serves; the second word is the client as the server sees it:
  {client} curl http://{PLACE}/
  {client} curl 'http://{PLACE_V6}/'
Ask 60 times, a connection each time: about 30, 20 and 10, by weight:
  seq 60 | {client} xargs -I@ curl -sS 'http://{PLACE}/?@' | cut -d' ' -f1 | sort | uniq -c
The servers and who waits:
  {zerottl} status {at}
Why a connection is where it is (it is made for this):
  {zerottl} explain {at} $({client} curl -sS -o /dev/null -w '%{{local_ip}}:%{{local_port}}' http://{PLACE}/)
Hold {HELD} connections for 20 s, so that {waiting} wait; whoever asks now waits behind them; `status` shows it:
  {client} curl -sZ --parallel-immediate --parallel-max {HELD} --max-time 20 'http://{PLACE}/hold?n=[1-{HELD}]' &
  {client} curl --max-time 30 http://{PLACE}/
A download of 10 s; kill the director's worker amid it, as often as you like, and see it go on:
  {client} curl -o /dev/null --limit-rate 50M 'http://{PLACE}/bytes?n={DOWNLOAD}' &
  kill -9 $(pgrep -f -P {keeper} 'director worker')
Take a server out of use, see its share go, and put it back:
  {zerottl} drain rust-1 {at}
  {zerottl} ready rust-1 {at}
Replace all processes by new ones while clients ask 1000 times, and see that each was answered by 200:
  seq 1000 | {client} xargs -P4 -I@ curl -sS -o /dev/null -w '%{{http_code}}\\n' 'http://{PLACE}/?@' | sort | uniq -c &
  {zerottl} restart {at}
The load that the Site reports to DNS, and metrics:
  {machine} curl -w '\\n' http://127.0.0.1:8054/load
  {machine} curl -s http://127.0.0.1:8054/metrics | grep server_live
Kill a server, or have it hang, and see it come back (with another PID: `status` shows it):
  kill -9    {python:<9} # python-1
  kill -9    {plain:<9} # plain-1
  kill -STOP {rust:<9} # rust-1: no new connection after 200 ms, and another process after some seconds
",
            file = self.scene.file().display(),
            log = self.scene.beside("log").display(),
            waiting = HELD - PLACES,
        ))
    }

    /// Stops the director, which ends its servers and removes its cgroups and pins.
    pub fn stop(self) -> io::Result<()> {
        self.scene.stop()
    }
}
