//! The other servers: how each is configured for the model's names, started and judged.

use std::{
    fmt::Write as _,
    fs,
    net::{IpAddr, Ipv4Addr},
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use ::tests::{
    process::{Process, eventually},
    scratch,
};
use zerottl_core::model::Model;

use crate::{error::BenchError, knot, rate::Wire, scene};

/// Until a server has read its zone and answers.
const START: Duration = Duration::from_secs(20);
/// The first NSD that can do without sockets.
const NSD_WITH_XDP: [u32; 2] = [4, 13];

/// A server beside which zerottl is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Peer {
    Gdnsd,
    Knot,
    KnotXdp,
    Nsd,
    NsdXdp,
    PowerDns,
}

impl Peer {
    pub(super) const ALL: [Self; 6] = [Self::Gdnsd, Self::Knot, Self::KnotXdp, Self::Nsd, Self::NsdXdp, Self::PowerDns];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Gdnsd => "gdnsd",
            Self::Knot | Self::KnotXdp => "Knot",
            Self::Nsd | Self::NsdXdp => "NSD",
            Self::PowerDns => "PowerDNS",
        }
    }

    /// Returns how it answers, in words.
    pub(super) const fn how(self) -> &'static str {
        match self {
            Self::Gdnsd => ", weighted",
            Self::Knot => ", geoip",
            Self::KnotXdp => ", geoip, AF_XDP",
            Self::Nsd => ", fixed answers",
            Self::NsdXdp => ", fixed answers, AF_XDP",
            Self::PowerDns => ", Lua",
        }
    }

    /// The program and what has it print its version.
    const fn program(self) -> (&'static str, &'static str) {
        match self {
            Self::Gdnsd => ("gdnsd", "version"),
            Self::Knot | Self::KnotXdp => ("knotd", "--version"),
            Self::Nsd | Self::NsdXdp => ("nsd", "-v"),
            Self::PowerDns => ("pdns_server", "--version"),
        }
    }

    /// Its version, where it is there and can do what is asked of it.
    pub(super) fn version(self) -> Result<String, BenchError> {
        let (program, argument) = self.program();
        let output = Command::new(scratch::find_tool(program)?).arg(argument).output()?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let version = version(&said).ok_or_else(|| format!("{program} {argument} names no version: {said}"))?;
        if self == Self::NsdXdp && !(at_least(&version, NSD_WITH_XDP) && said.contains("--enable-xdp")) {
            let [major, minor] = NSD_WITH_XDP;
            return Err(format!("NSD {version} is here; AF_XDP needs {major}.{minor}, built with --enable-xdp").into());
        }
        Ok(version)
    }
}

/// The first word of digits and dots.
fn version(said: &str) -> Option<String> {
    let is_version = |word: &&str| word.contains('.') && word.chars().all(|c| c.is_ascii_digit() || c == '.');
    said.split_whitespace().map(|word| word.trim_end_matches(',')).find(is_version).map(str::to_owned)
}

fn at_least(version: &str, least: [u32; 2]) -> bool {
    let mut parts = version.split('.').map(|part| part.parse::<u32>().unwrap_or(0));
    [parts.next().unwrap_or(0), parts.next().unwrap_or(0)] >= least
}

/// Starts a server at the front of a wire and waits until it answers something.
pub(super) fn start(peer: Peer, wire: &Wire, model: &Model, folder: &Path) -> Result<Process, BenchError> {
    let arguments = match peer {
        Peer::Gdnsd => gdnsd(model, folder)?,
        Peer::Knot => knot(model, folder, false)?,
        Peer::KnotXdp => knot(model, folder, true)?,
        Peer::Nsd => nsd(model, folder, false)?,
        Peer::NsdXdp => nsd(model, folder, true)?,
        Peer::PowerDns => power_dns(model, folder)?,
    };
    // In a PID namespace, so that what it forks ends with it however that is.
    let mut command = Command::new("unshare");
    command.args(["--pid", "--fork", "--kill-child", "taskset", "--cpu-list"]).arg(last_cpu());
    command.arg(scratch::find_tool(peer.program().0)?).args(arguments);
    let log = fs::File::create(folder.join("log"))?;
    command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
    let mut process = Process::new(wire.front.spawn(command)?);
    let socket = wire.client.udp(Some(IpAddr::from(scene::CLIENT)), (scene::SERVER, 53).into())?;
    socket.set_read_timeout(Some(Duration::from_millis(100)))?;
    let query = scene::message(0, scene::WalkQuery { rtype: 1, edns: false, spread: false });
    let (mut ended, mut answer) = (None, [0; 1500]);
    let answers = eventually(START, || {
        ended = process.ended().unwrap_or_default();
        ended.is_some() || socket.send(&query).and_then(|_| socket.recv(&mut answer)).is_ok_and(|len| len > query.len())
    });
    if ended.is_some() || !answers {
        return Err(format!("it does not answer:\n{}", fs::read_to_string(folder.join("log"))?).into());
    }
    Ok(process)
}

fn last_cpu() -> String {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    cpus.min(2).saturating_sub(1).to_string()
}

/// The TTL of the answer that dig shows. Fails unless that is NOERROR and an address of the pool, alone.
pub(super) fn judge(dig: &str, model: &Model, pool: usize) -> Result<u32, BenchError> {
    let name = format!("{}.", model.pools[pool].name);
    let mut answers = Vec::new();
    for line in dig.lines().filter(|line| !line.starts_with(';')) {
        if let [owner, ttl, "IN", "A", address] = line.split_whitespace().collect::<Vec<_>>()[..]
            && owner == name
        {
            answers.push((ttl.parse::<u32>()?, address.parse::<IpAddr>()?));
        }
    }
    let sites = model.pools[pool].sites.iter();
    let own: Vec<IpAddr> =
        sites.flat_map(|site| &model.sites[site.0].addresses).map(|address| address.answer).collect();
    match answers[..] {
        [(ttl, address)] if dig.contains("status: NOERROR") && own.contains(&address) => Ok(ttl),
        _ => Err(format!("it answers wrongly:\n{dig}").into()),
    }
}

/// The IPv4 addresses and weights of a pool's Sites.
fn choices(model: &Model, pool: usize) -> Vec<(Ipv4Addr, u32)> {
    let sites = model.pools[pool].sites.iter().map(|site| &model.sites[site.0]);
    let v4 = |address: IpAddr| if let IpAddr::V4(v4) = address { Some(v4) } else { None };
    sites.flat_map(|site| site.addresses.iter().filter_map(move |a| Some((v4(a.answer)?, site.weight)))).collect()
}

const HEAD: &str = "app.example. 5 IN SOA ns1.app.example. hostmaster.app.example. 1 3600 600 86400 5\n\
                    app.example. 3600 IN NS ns1.app.example.\nns1.app.example. 3600 IN A 203.0.113.53\n";

/// A zone with what `record` says of each pool.
fn zone(model: &Model, record: impl Fn(usize) -> String) -> String {
    let mut text = HEAD.to_owned();
    for (i, pool) in model.pools.iter().enumerate() {
        let _ = writeln!(text, "{}. 0 {}", pool.name, record(i));
    }
    text
}

/// Weighted answers of `plugin_weighted`, a resource for each different set of Sites; nothing is monitored.
fn gdnsd(model: &Model, folder: &Path) -> Result<Vec<String>, BenchError> {
    for inner in ["zones", "run", "state"] {
        fs::create_dir(folder.join(inner))?;
    }
    let (at, server) = (folder.display(), Ipv4Addr::from(scene::SERVER));
    let mut config = format!(
        "options => {{\n  listen => {server}\n  udp_threads = 1\n  tcp_threads = 1\n  min_ttl = 0\n  \
         run_dir = {at}/run\n  state_dir = {at}/state\n}}\nplugins => {{ weighted => {{\n  service_types = up\n"
    );
    for pool in 0..scene::PLANS_FEW.min(model.pools.len()) {
        let choices = choices(model, pool);
        let each: Vec<String> =
            choices.iter().enumerate().map(|(i, (address, weight))| format!("s{i} = [{address}, {weight}]")).collect();
        let _ = writeln!(config, "  p{pool} => {{ {} }}", each.join(", "));
    }
    config.push_str("} }\n");
    fs::write(folder.join("config"), config)?;
    let records = zone(model, |i| format!("DYNA weighted!p{}", i % scene::PLANS_FEW));
    fs::write(folder.join("zones/app.example"), records.replace(" IN ", " "))?;
    Ok(vec!["-c".to_owned(), folder.display().to_string(), "start".to_owned()])
}

/// Weighted answers of mod-geoip.
fn knot(model: &Model, folder: &Path, xdp: bool) -> Result<Vec<String>, BenchError> {
    fs::create_dir(folder.join("run"))?;
    fs::create_dir(folder.join("db"))?;
    fs::write(folder.join("zone"), knot::zone(model))?;
    fs::write(folder.join("geo.conf"), knot::alternatives(model))?;
    let (at, server) = (folder.display(), Ipv4Addr::from(scene::SERVER));
    let config = format!(
        "server:\n    rundir: {at}/run\n    listen: {server}@53\n    udp-workers: 1\n    tcp-workers: 1\n    \
         background-workers: 1\n{}log:\n  - target: stderr\n    any: info\ndatabase:\n    storage: {at}/db\n\
         mod-geoip:\n  - id: alternatives\n    config-file: {at}/geo.conf\n    mode: weighted\n    ttl: 0\n\
         zone:\n  - domain: app.example\n    storage: {at}\n    file: zone\n    zonefile-sync: -1\n    \
         journal-content: none\n    module: mod-geoip/alternatives\n",
        if xdp { "xdp:\n    listen: eth0\n" } else { "" }
    );
    fs::write(folder.join("knot.conf"), config)?;
    Ok(vec!["-c".to_owned(), folder.join("knot.conf").display().to_string()])
}

/// One fixed address for each name: it has no others to choose from.
fn nsd(model: &Model, folder: &Path, xdp: bool) -> Result<Vec<String>, BenchError> {
    fs::write(folder.join("zone"), zone(model, |i| format!("IN A {}", choices(model, i)[0].0)))?;
    let (at, server) = (folder.display(), Ipv4Addr::from(scene::SERVER));
    let config = format!(
        "server:\n    ip-address: {server}\n    server-count: 1\n    username: \"\"\n    zonesdir: \"{at}\"\n    \
         database: \"\"\n    zonelistfile: \"{at}/list\"\n    xfrdfile: \"{at}/xfrd\"\n    xfrdir: \"{at}\"\n    \
         cookie-secret-file: \"{at}/cookies\"\n    pidfile: \"{at}/pid\"\n    minimal-responses: yes\n    \
         rrl-ratelimit: 0\n    rrl-whitelist-ratelimit: 0\n{}remote-control:\n    control-enable: no\n\
         zone:\n    name: app.example\n    zonefile: zone\n",
        if xdp { "    xdp-interface: eth0\n" } else { "" }
    );
    fs::write(folder.join("nsd.conf"), config)?;
    Ok(vec!["-d".to_owned(), "-c".to_owned(), folder.join("nsd.conf").display().to_string()])
}

/// LUA records with pickwrandom, one Lua state for all.
fn power_dns(model: &Model, folder: &Path) -> Result<Vec<String>, BenchError> {
    let lua = |i| {
        let each: Vec<String> =
            choices(model, i).iter().map(|(address, weight)| format!("{{{weight},'{address}'}}")).collect();
        format!("IN LUA A \"pickwrandom({{{}}})\"", each.join(","))
    };
    fs::write(folder.join("zone"), zone(model, lua))?;
    let (at, server) = (folder.display(), Ipv4Addr::from(scene::SERVER));
    fs::write(folder.join("named.conf"), format!("zone \"app.example\" {{ type master; file \"{at}/zone\"; }};\n"))?;
    let config = format!(
        "launch=bind\nbind-config={at}/named.conf\nlocal-address={server}\nlocal-port=53\nenable-lua-records=shared\n\
         receiver-threads=1\ndistributor-threads=1\ndaemon=no\nguardian=no\nwrite-pid=no\nsocket-dir={at}\n\
         security-poll-suffix=\nloglevel=3\n"
    );
    fs::write(folder.join("pdns.conf"), config)?;
    Ok(vec![format!("--config-dir={at}")])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read() {
        for (said, expected) in [
            ("gdnsd version 3.8.1\n", "3.8.1"),
            ("knotd (Knot DNS), version 3.2.6\n", "3.2.6"),
            ("NSD version 4.6.1\nWritten by NLnet Labs.\n", "4.6.1"),
            ("Nov 30 14:17:40 PowerDNS Authoritative Server 4.7.3 (C) 2001-2022 PowerDNS.COM BV\n", "4.7.3"),
        ] {
            assert_eq!(version(said).as_deref(), Some(expected), "{said}");
        }
        assert!(at_least("4.13.0", NSD_WITH_XDP) && at_least("5.0", NSD_WITH_XDP));
        assert!(!at_least("4.6.1", NSD_WITH_XDP));
    }

    #[test]
    fn one_address_of_the_pool_is_right() {
        let model = scene::model(3, scene::PLANS_FEW);
        let dig =
            |status: &str, records: &str| format!(";; ->>HEADER<<- opcode: QUERY, status: {status}, id: 1\n{records}");
        let name = scene::pool_name(0);
        let record = |address: &str| format!("{name}.\t0\tIN\tA\t{address}\n");
        assert_eq!(judge(&dig("NOERROR", &record("192.0.2.3")), &model, 0).unwrap(), 0);
        let two = record("192.0.2.1") + &record("192.0.2.2");
        for wrong in [
            dig("NOERROR", &record("192.0.2.4")),
            dig("NOERROR", &two),
            dig("NOERROR", ""),
            dig("SERVFAIL", &record("192.0.2.3")),
        ] {
            assert!(judge(&wrong, &model, 0).is_err(), "{wrong}");
        }
    }
}
