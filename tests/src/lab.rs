//! The topology: front ends, a client, Sites, and a resolver where asked for.
//!
//! ```text
//!            198.51.100.200               203.0.113.53
//!   client  ── front0 ═════ veth ═════ eth0 ──  front 0   (the XDP program sits on eth0, native)
//!     │  │                                        │ eth1
//!     │  └── front1 ═══════ veth ═════ eth0 ── front 1
//!     │ net0                                      │ eth1      resolver eth0 ══ veth ══ front 0's eth2
//!   ──┴──────────────── bridge (hub) ─────────────┴──┬─────────┬─────────┐
//!                                                  geneva    boston   chicago   (eth0; a server on port 80)
//!
//!   front 0's eth3 ── fleet bridge (hub) ── front 1's eth3     where asked for: peers, for etcd and the like
//!                         └── peer 0, 1, 2 (eth0)
//! ```
//!
//! The client reaches each front by a wire of its own, as the program's replies leave by the interface the query came
//! in by, and the Sites without passing a front: there is no proxy in the data path. Probes go over the bridge.

use std::{
    io,
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use rustix::thread::{CapabilitySet, capabilities};
use tempfile::TempDir;

pub use crate::addresses::{CLIENT, RESOLVER, fleet_v4, front_addresses, front_v4, front_v6, peer_v4};
use crate::{
    config::SiteConfig,
    netns::Netns,
    pass,
    scratch::{find_tool, folder},
    site::{LabSite, Serves},
    turn,
};

/// A veth's largest MTU under a native program: a page less headroom, tail room and headers, rounded down.
const NATIVE_MTU_MAX: u32 = 3400;

/// The parts that a lab is made of.
#[derive(Clone, Debug)]
pub struct LabSpec {
    /// Front ends; the client has a wire to each.
    pub fronts: usize,
    /// Whether a resolver has a wire to front 0.
    pub resolver: bool,
    /// MTU of the client's wires, bytes.
    pub mtu: u32,
    /// The Sites, each with its own machine.
    pub sites: Vec<SiteConfig>,
    /// The servers that run at them.
    pub serves: Serves,
    /// Machines on a network of their own with the fronts, which neither the Sites nor the client are on.
    pub peers: usize,
}

impl Default for LabSpec {
    /// One front and Appendix A's three Sites.
    fn default() -> Self {
        Self { fronts: 1, resolver: false, mtu: 1500, sites: SiteConfig::appendix_a(), serves: Serves::Nginx, peers: 0 }
    }
}

/// A running lab; all of it ends when it is dropped, or when its process ends.
#[derive(Debug)]
pub struct Lab {
    /// Front ends, by number.
    pub fronts: Vec<Arc<Netns>>,
    /// Where the client's programs run.
    pub client: Netns,
    /// Where the caching resolver runs, if asked for.
    pub resolver: Option<Netns>,
    /// The Sites, in the order of the specification.
    pub sites: Vec<LabSite>,
    /// The machines on the network of the fronts alone, by number, if asked for.
    pub peers: Vec<Arc<Netns>>,
    folders: AtomicUsize,
    _passes: Vec<OwnedFd>,
    // The bridge the machines hang on; last, so that the machines go first.
    hub: Netns,
    scratch: TempDir,
}

/// Whether this process may make namespaces; the test has its [`turn`] then. Otherwise says loudly what goes untested; a panic under `CI=true`.
///
/// # Panics
/// Under `CI=true` without root: a run that tests nothing must not look like one that passed.
#[must_use]
pub fn can_run(what: &str) -> bool {
    if rustix::process::geteuid().is_root() {
        turn::share();
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "NOT TESTED, no root: {what}");
    eprintln!("NOT TESTED: {what} (needs root: network namespaces and XDP)");
    false
}

/// Whether BPF programs can be loaded and run here; the test has its [`turn`] then. Not if this process lacks the service's
/// capabilities, and says so.
///
/// # Panics
/// Under `CI=true`, where a skipped test would pass unseen.
#[must_use]
pub fn can_load(what: &str) -> bool {
    let needed = CapabilitySet::BPF | CapabilitySet::NET_ADMIN | CapabilitySet::PERFMON;
    if capabilities(None).is_ok_and(|own| own.effective.contains(needed)) {
        turn::share();
        return true;
    }
    assert!(std::env::var("CI").as_deref() != Ok("true"), "NOT TESTED, no capabilities: {what}");
    eprintln!("NOT TESTED: {what} (needs CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON)");
    false
}

impl Lab {
    /// Builds the namespaces and wires and starts the Sites' servers.
    pub fn start(spec: &LabSpec) -> io::Result<Self> {
        for tool in ["ip", "ethtool", "nginx", "curl"] {
            find_tool(tool)?;
        }
        let scratch = folder()?;
        let hub = Netns::new()?;
        hub.ip("link add br0 type bridge mcast_snooping 0 forward_delay 0\nlink set br0 up")?;
        let client = Netns::new()?;
        plug(&hub, &client, "net0", "client")?;
        // IPv4 lets a program bind any address routed to this machine; IPv6 has to be told.
        client.sysctl("net/ipv6/ip_nonlocal_bind", "1")?;
        client.ip("addr add 192.0.2.200/32 dev net0\naddr add 2001:db8:f::200/128 dev net0 nodad\n\
             route add 192.0.2.0/24 dev net0\nroute add 198.51.100.0/24 dev net0\nroute add 2001:db8::/32 dev net0\n\
             route add local 198.18.0.0/15 dev lo\nroute add local 2001:db8:c::/48 dev lo")?;
        let fronts = (0..spec.fronts).map(|n| front(&hub, &client, n, spec.mtu).map(Arc::new));
        let fronts = fronts.collect::<io::Result<Vec<_>>>()?;
        if !matches!(spec.serves, Serves::Nginx) {
            client.resolve_by(&front_addresses(0).map(|server| server.ip()), scratch.path())?;
        }
        let peers = peers(&hub, &fronts, spec.peers)?;
        let resolver = spec.resolver.then(|| resolver(&fronts[0])).transpose()?;
        let mut passes = Vec::new();
        // Beyond this MTU neither end takes a native program, and a generic one's replies go the usual way.
        if spec.mtu <= NATIVE_MTU_MAX {
            for number in 0..spec.fronts {
                passes.push(client.run(move || pass::attach(&format!("front{number}")))??);
            }
            if let Some(resolver) = &resolver {
                passes.push(resolver.run(|| pass::attach("eth0"))??);
            }
        }
        let mut sites = Vec::new();
        for (number, site) in spec.sites.iter().enumerate() {
            let machine = Netns::new()?;
            plug(&hub, &machine, "eth0", &format!("site{number}"))?;
            let mut lines = String::from("route add default dev eth0\nroute add ::/0 dev eth0\n");
            for address in &site.addresses {
                let (prefix, nodad) = if address.is_ipv4() { (32, "") } else { (128, "nodad") };
                lines.insert_str(0, &format!("addr add {address}/{prefix} dev eth0 {nodad}\n"));
            }
            machine.ip(&lines)?;
            for (number, front) in fronts.iter().enumerate() {
                front.ip(&routes(number, site))?;
            }
            sites.push(LabSite::start(site, machine, &scratch.path().join(&site.key), &spec.serves)?);
        }
        Ok(Self { fronts, client, resolver, sites, peers, folders: AtomicUsize::new(0), _passes: passes, hub, scratch })
    }

    /// A new folder for one program's files, removed with the lab.
    pub fn folder(&self, purpose: &str) -> io::Result<std::path::PathBuf> {
        let number = self.folders.fetch_add(1, Ordering::Relaxed);
        let path = self.scratch.path().join(format!("{purpose}{number}"));
        std::fs::create_dir(&path)?;
        Ok(path)
    }

    /// Where the lab's files are.
    #[must_use]
    pub fn path(&self) -> &Path {
        self.scratch.path()
    }

    /// The Site with this key.
    ///
    /// # Panics
    /// If the lab has no such Site.
    #[must_use]
    pub fn site(&self, key: &str) -> &LabSite {
        self.sites.iter().find(|site| site.config.key == key).expect("a LabSite of this lab")
    }

    /// Whether the client leaves checksums to its device (which, being a veth, leaves them out) or computes them.
    pub fn client_checksum_offload(&self, on: bool) -> io::Result<()> {
        for number in 0..self.fronts.len() {
            let setting = if on { "on" } else { "off" };
            self.client.read("ethtool", &["-K", &format!("front{number}"), "tx", setting])?;
        }
        Ok(())
    }

    /// The machine whose bridges join Sites and fronts, and fronts and peers.
    #[must_use]
    pub fn hub(&self) -> &Netns {
        &self.hub
    }

    /// Cuts a Site off the network without its programs noticing, or joins it again.
    pub fn plug_site(&self, key: &str, plugged: bool) -> io::Result<()> {
        let number = self.sites.iter().position(|site| site.config.key == key);
        let number = number.ok_or_else(|| io::Error::other(format!("no LabSite {key}")))?;
        self.hub.ip(&format!("link set site{number} {}", if plugged { "up" } else { "down" }))
    }

    /// Cuts one front off every Site, or joins it again; it still reaches the peers, and the client reaches it.
    pub fn join_front_to_sites(&self, number: usize, joined: bool) -> io::Result<()> {
        self.join(&format!("front{number}"), "br0", joined)
    }

    /// Takes down the interface by which one front reaches the Sites, or takes it up again with what goes with it: unlike
    /// [`Self::join_front_to_sites`], the front's own machine knows.
    pub fn plug_front(&self, number: usize, plugged: bool) -> io::Result<()> {
        if !plugged {
            return self.fronts[number].ip("link set eth1 down");
        }
        let inner = number + 1;
        let up = format!("link set eth1 up\naddr add 2001:db8:f::{inner}/128 dev eth1 nodad\n");
        self.fronts[number].ip(&self.sites.iter().fold(up, |lines, site| lines + &routes(number, &site.config)))
    }

    /// Cuts one front off every peer and every other front, or joins it again; it still reaches the Sites.
    pub fn join_front_to_peers(&self, number: usize, joined: bool) -> io::Result<()> {
        self.join(&format!("fleet{number}"), "br1", joined)
    }

    /// Cuts one peer off all, or joins it again.
    pub fn join_peer(&self, number: usize, joined: bool) -> io::Result<()> {
        self.join(&format!("peer{number}"), "br1", joined)
    }

    /// Takes a port out of its bridge, or puts it back. The machine's own link stays up: what it sends is lost without a word, as
    /// where a network breaks further on.
    fn join(&self, port: &str, bridge: &str, joined: bool) -> io::Result<()> {
        let to = if joined { format!("master {bridge}") } else { "nomaster".to_owned() };
        self.hub.ip(&format!("link set {port} {to}"))
    }
}

/// Writes the `ip` commands for a front's routes to a Site.
fn routes(front: usize, site: &SiteConfig) -> String {
    let inner = front + 1;
    site.addresses.iter().fold(String::new(), |lines, address| {
        let source = if address.is_ipv4() { format!("192.0.2.{inner}") } else { format!("2001:db8:f::{inner}") };
        format!("{lines}route replace {address} dev eth1 src {source}\n")
    })
}

/// Puts a wire between the bridge of Sites and a machine.
fn plug(hub: &Netns, machine: &Netns, interface: &str, port: &str) -> io::Result<()> {
    plug_into(hub, "br0", machine, interface, port)
}

/// Puts a wire between a bridge and a machine.
fn plug_into(hub: &Netns, bridge: &str, machine: &Netns, interface: &str, port: &str) -> io::Result<()> {
    hub.ip(&format!(
        "link add {port} type veth peer name {interface} netns {}\nlink set {port} master {bridge}\nlink set {port} up",
        machine.path()
    ))?;
    machine.ip(&format!("link set {interface} up"))
}

fn front(hub: &Netns, client: &Netns, number: usize, mtu: u32) -> io::Result<Netns> {
    let front = Netns::new()?;
    let (v4, v6) = (front_v4(number), front_v6(number));
    client.ip(&format!(
        "link add front{number} mtu {mtu} type veth peer name eth0 mtu {mtu} netns {}\n\
         addr add {}/32 dev front{number}\naddr add {}/128 dev front{number} nodad\nlink set front{number} up",
        front.path(),
        CLIENT.0,
        CLIENT.1
    ))?;
    plug(hub, &front, "eth1", &format!("front{number}"))?;
    let inner = number + 1;
    front.ip(&format!(
        "link set eth0 up\naddr add {v4}/24 dev eth0\naddr add {v6}/128 dev eth0 nodad\n\
         addr add 192.0.2.{inner}/32 dev eth1\naddr add 2001:db8:f::{inner}/128 dev eth1 nodad\n\
         route add {c4} dev eth0\nroute add 198.18.0.0/15 via {c4} dev eth0\n\
         route add {c6} dev eth0\nroute add 2001:db8:c::/48 via {c6} dev eth0",
        c4 = CLIENT.0,
        c6 = CLIENT.1
    ))?;
    client.ip(&format!(
        "route add {v4} dev front{number} src {}\nroute add {v6} dev front{number} src {}",
        CLIENT.0, CLIENT.1
    ))?;
    Ok(front)
}

/// Builds the network that only the fronts and these machines are on; nothing where none is asked for.
fn peers(hub: &Netns, fronts: &[Arc<Netns>], count: usize) -> io::Result<Vec<Arc<Netns>>> {
    if count == 0 {
        return Ok(Vec::new());
    }
    hub.ip("link add br1 type bridge mcast_snooping 0 forward_delay 0\nlink set br1 up")?;
    for (number, front) in fronts.iter().enumerate() {
        plug_into(hub, "br1", front, "eth3", &format!("fleet{number}"))?;
        front.ip(&format!("addr add {}/24 dev eth3", fleet_v4(number)))?;
    }
    let peer = |number| {
        let machine = Netns::new()?;
        plug_into(hub, "br1", &machine, "eth0", &format!("peer{number}"))?;
        machine.ip(&format!("addr add {}/24 dev eth0", peer_v4(number)))?;
        Ok(Arc::new(machine))
    };
    (0..count).map(peer).collect()
}

fn resolver(front: &Netns) -> io::Result<Netns> {
    let resolver = Netns::new()?;
    let ((r4, r6), (v4, v6)) = (RESOLVER, (front_v4(0), front_v6(0)));
    // Unlike ARP, neighbour discovery answers only for addresses of the very interface it was asked on.
    front.ip(&format!(
        "link add eth2 type veth peer name eth0 netns {}\nlink set eth2 up\n\
         addr add {v6}/128 dev eth2 nodad\n\
         route add {r4} dev eth2 src {v4}\nroute add {r6} dev eth2 src {v6}",
        resolver.path()
    ))?;
    resolver.ip(&format!(
        "link set eth0 up\naddr add {r4}/32 dev eth0\naddr add {r6}/128 dev eth0 nodad\n\
         route add {v4} dev eth0\nroute add {v6} dev eth0"
    ))?;
    Ok(resolver)
}
