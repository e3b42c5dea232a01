//! Answered queries per second over veth, signed, beside Knot's geoip module with `AF_XDP`.
//!
//! ```text
//!   client namespace                                 front namespace
//!   dnsperf or kxdpgun ── wire ════════ veth ════════ eth0   zerottl's program, native
//!   dnsperf or kxdpgun ── wire ════════ veth ════════ eth0   knotd, AF_XDP, native      (two others)
//!   CPU 0                 NAPI: CPU 1                NAPI: CPU 1
//! ```
//!
//! Knot's worker has the CPU that Knot itself gives it, 0, beside the generator; on CPU 1 it would be beside NAPI. It signs
//! all alternatives when it loads the module, as zerottl does, and picks one by weight for each query.

use std::{
    fs,
    net::{IpAddr, UdpSocket},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use ::tests::{
    process::{Process, eventually},
    scratch,
};
use zerottl_core::model::Model;
use zerottl_kernel::PROGRAM;

use crate::{
    error::BenchError,
    knot,
    rate::{Generator, Load, NAMES, Queries, RateEffort, Responder, Wire},
    scene,
    stats::Quartiles,
};

/// Until Knot has signed its zone and answers.
const START: Duration = Duration::from_secs(30);
/// UDP datagrams that may come to Knot by its sockets: those of [`is_signing`], before it has its zone.
const BY_SOCKETS_MAX: u64 = 500;

/// Answered queries per second of one kind, one figure per round.
#[derive(Clone, Debug)]
pub struct WireRate {
    /// The generator.
    pub generator: Generator,
    /// The queries.
    pub queries: Queries,
    zerottl: Vec<f64>,
    knot: Vec<f64>,
}

impl WireRate {
    /// zerottl's.
    #[must_use]
    pub fn zerottl(&self) -> Quartiles {
        Quartiles::of(self.zerottl.iter().copied())
    }

    /// Knot's.
    #[must_use]
    pub fn knot(&self) -> Quartiles {
        Quartiles::of(self.knot.iter().copied())
    }

    /// zerottl's by Knot's, round by round.
    #[must_use]
    pub fn ratio(&self) -> Quartiles {
        Quartiles::of_pairs(&self.zerottl, &self.knot, |zerottl, knot| zerottl / knot)
    }
}

/// Measures with each generator, plain queries and those that ask for signatures.
///
/// # Errors
/// Whatever keeps one of the two from answering.
pub fn measure(effort: RateEffort) -> Result<Vec<WireRate>, BenchError> {
    for tool in ["dnsperf", "kxdpgun", "knotd", "keymgr"] {
        scratch::find_tool(tool)?;
    }
    let model = scene::model(NAMES, scene::PLANS_FEW);
    let (own, other) = (Wire::new()?, Wire::new()?);
    let zerottl = Responder::load_model(PROGRAM, scene::signed(&model).into())?;
    let folder = scratch::folder()?;
    let _knot = start(&other, &model, folder.path())?;
    let mut rates = Vec::new();
    for generator in Generator::ALL {
        for queries in [Queries::Plain, Queries::Signed] {
            let load = Load::full(generator, queries, effort.seconds);
            let mut rate = WireRate { generator, queries, zerottl: Vec::new(), knot: Vec::new() };
            // As in (b).
            for round in 0..=effort.rounds {
                for which in [round % 2, 1 - round % 2] {
                    let (figures, answered) = if which == 0 {
                        (&mut rate.zerottl, own.run(&zerottl, load)?)
                    } else {
                        (&mut rate.knot, other.replies(None, load)?.per_second)
                    };
                    if round > 0 {
                        figures.push(answered);
                    }
                }
            }
            rates.push(rate);
        }
    }
    let by_sockets = datagrams(&other)?;
    if by_sockets > BY_SOCKETS_MAX {
        return Err(format!("{by_sockets} queries came to Knot by sockets and not by AF_XDP").into());
    }
    Ok(rates)
}

/// Queries that came to the front's sockets.
fn datagrams(wire: &Wire) -> Result<u64, BenchError> {
    let snmp = wire.front.read("cat", &["/proc/net/snmp"])?;
    let mut lines = snmp.lines().filter_map(|line| line.strip_prefix("Udp: "));
    let values = lines.nth(1).and_then(|values| values.split(' ').next()?.parse().ok());
    Ok(values.ok_or("/proc/net/snmp has another form")?)
}

/// Starts Knot in the front's namespace and waits until it answers signed.
fn start(wire: &Wire, model: &Model, folder: &Path) -> Result<Process, BenchError> {
    let config = folder.join("knot.conf");
    fs::create_dir(folder.join("run"))?;
    fs::create_dir(folder.join("db"))?;
    fs::write(folder.join("zone"), knot::zone(model))?;
    fs::write(folder.join("geo.conf"), knot::alternatives(model))?;
    fs::write(&config, configuration(folder))?;
    let mut keymgr = Command::new(scratch::find_tool("keymgr")?);
    keymgr.arg("-c").arg(&config).args(["app.example", "generate", "algorithm=ecdsap256sha256", "ksk=yes", "zsk=yes"]);
    let made = keymgr.output()?;
    if !made.status.success() {
        return Err(format!("keymgr: {}", String::from_utf8_lossy(&made.stderr)).into());
    }
    let mut command = Command::new(scratch::find_tool("knotd")?);
    let log = fs::File::create(folder.join("log"))?;
    command.arg("-c").arg(&config).stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut knot = Process::new(wire.front.spawn(command)?);
    let socket = wire.client.udp(Some(IpAddr::from(scene::CLIENT)), (scene::SERVER, 53).into())?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let mut ended = None;
    let signs = eventually(START, || {
        ended = knot.ended().unwrap_or_default();
        ended.is_some() || is_signing(&socket)
    });
    if ended.is_some() || !signs {
        return Err(format!("Knot does not sign:\n{}", fs::read_to_string(folder.join("log"))?).into());
    }
    Ok(knot)
}

/// Whether an answer comes, with two records: the address and its RRSIG.
fn is_signing(socket: &UdpSocket) -> bool {
    let query = scene::message(0, scene::WalkQuery { rtype: 1, edns: true, spread: false });
    let mut answer = [0; 1500];
    let received = socket.send(&query).and_then(|_| socket.recv(&mut answer));
    received.is_ok_and(|len| len > 8 && answer[..2] == query[..2] && answer[6..8] == [0, 2])
}

fn configuration(folder: &Path) -> String {
    let folder = folder.display();
    let server = std::net::Ipv4Addr::from(scene::SERVER);
    format!(
        "\
server:
    rundir: {folder}/run
    listen: {server}@53
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
xdp:
    listen: eth0
log:
  - target: stderr
    any: info
database:
    storage: {folder}/db
policy:
  - id: csk
    algorithm: ecdsap256sha256
    single-type-signing: on
    manual: on
mod-geoip:
  - id: alternatives
    config-file: {folder}/geo.conf
    mode: weighted
    ttl: 0
zone:
  - domain: app.example
    storage: {folder}
    file: zone
    zonefile-sync: -1
    zonefile-load: whole
    journal-content: none
    dnssec-signing: on
    dnssec-policy: csk
    module: mod-geoip/alternatives
"
    )
}
