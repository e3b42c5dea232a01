//! Checks of `[front]` against the machine it is read on: what does not fit is allowed, and probably not meant.
//!
//! [`look`] asks the machine, [`warnings`] is pure. Addresses of a loopback or dummy interface are announced from elsewhere
//! (anycast), so they may be queried by any interface.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    net::IpAddr,
    path::Path,
};

use nix::net::if_::InterfaceFlags;

use zerottl_core::model::{Front, XdpMode};
use zerottl_kernel::nic::Nics;

/// How far interfaces are stacked at most: a VLAN on a bridge on a bond is 3.
const STACK_MAX: usize = 8;

/// The interfaces of a machine, and their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MachineInterfaces {
    /// The interfaces.
    pub interfaces: BTreeSet<String>,
    /// The interfaces that have each address.
    pub holders: BTreeMap<IpAddr, BTreeSet<String>>,
    /// Interfaces that no query comes in by.
    pub inner: BTreeSet<String>,
    /// The interfaces that stand on a configured one: its bond, its bridge, its VLANs, and what stands on those.
    pub above: BTreeSet<String>,
}

/// Asks the machine.
pub fn look(front: &Front) -> io::Result<MachineInterfaces> {
    let nics = Nics::new()?;
    let mut seen = MachineInterfaces::default();
    for entry in nix::ifaddrs::getifaddrs()? {
        let name = entry.interface_name;
        if entry.flags.contains(InterfaceFlags::IFF_LOOPBACK) || nics.driver(&name).as_deref() == Some("dummy") {
            seen.inner.insert(name.clone());
        }
        let address = entry.address.as_ref().and_then(|address| {
            let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
            v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
        });
        if let Some(address) = address {
            seen.holders.entry(address).or_default().insert(name.clone());
        }
        seen.interfaces.insert(name);
    }
    let mut next: Vec<String> = front.interfaces.clone();
    for _ in 0..STACK_MAX {
        next = next.iter().flat_map(|name| uppers(name)).filter(|upper| seen.above.insert(upper.clone())).collect();
    }
    Ok(seen)
}

/// Returns what stands directly on an interface; nothing where the kernel does not say.
fn uppers(interface: &str) -> Vec<String> {
    let entries = fs::read_dir(Path::new("/sys/class/net").join(interface)).into_iter().flatten().flatten();
    let name = |entry: fs::DirEntry| entry.file_name().to_str()?.strip_prefix("upper_").map(ToOwned::to_owned);
    entries.filter_map(name).collect()
}

/// Whether it is likely to be the machine that the file is for: an interface of the same name is not enough.
#[must_use]
pub fn is_it(front: &Front, seen: &MachineInterfaces) -> bool {
    front.listen.iter().any(|at| !at.ip().is_loopback() && seen.holders.contains_key(&at.ip()))
}

/// Returns what does not fit.
#[must_use]
pub fn warnings(front: &Front, seen: &MachineInterfaces) -> Vec<String> {
    let mut warnings = Vec::new();
    let has_program = front.xdp != XdpMode::Off;
    for name in front.interfaces.iter().filter(|name| has_program && !seen.interfaces.contains(*name)) {
        warnings.push(format!("[front]: there is no interface {name} on this machine: see `ip -br link`"));
    }
    let addresses: BTreeSet<IpAddr> = front.listen.iter().map(std::net::SocketAddr::ip).collect();
    for address in addresses {
        let Some(holders) = seen.holders.get(&address) else {
            warnings.push(format!(
                "[front]: {address} is on no interface of this machine, so no query comes to it until it is: see `ip -br \
                 address`"
            ));
            continue;
        };
        let reaches =
            |name: &String| front.interfaces.contains(name) || seen.inner.contains(name) || seen.above.contains(name);
        if !has_program || holders.iter().any(reaches) {
            continue;
        }
        let names: Vec<_> = holders.iter().map(String::as_str).collect();
        warnings.push(format!(
            "[front]: {address} is on {}, where the XDP program is not: queries that come in there take the socket path, \
             which is right and slower; add \"{}\" to `interfaces`",
            names.join(" and "),
            names[0]
        ));
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn front(interfaces: &[&str], listen: &[&str], xdp: XdpMode) -> Front {
        Front {
            interfaces: interfaces.iter().map(ToString::to_string).collect(),
            listen: listen.iter().map(|at| at.parse().expect("an address and a port")).collect(),
            xdp,
            freebind: true,
            vlans: zerottl_core::model::Vlans::Auto,
            roles: zerottl_core::model::Roles { load_balance: true, failover: true },
        }
    }

    fn seen() -> MachineInterfaces {
        let set = |names: &[&str]| names.iter().map(ToString::to_string).collect::<BTreeSet<_>>();
        let holders = [("192.0.2.1", "eth0"), ("192.0.2.2", "eth1"), ("192.0.2.3", "lo"), ("192.0.2.4", "bond0")];
        MachineInterfaces {
            interfaces: set(&["lo", "eth0", "eth1", "bond0"]),
            holders: holders.into_iter().map(|(at, name)| (at.parse().expect("an address"), set(&[name]))).collect(),
            inner: set(&["lo"]),
            above: set(&["bond0"]),
        }
    }

    #[test]
    fn what_does_not_fit_is_said_with_the_mend() {
        let check = |interfaces: &[&str], listen: &[&str], xdp, expect: &[&str]| {
            let said = warnings(&front(interfaces, listen, xdp), &seen());
            let fits = said.len() == expect.len() && said.iter().zip(expect).all(|(said, words)| said.contains(words));
            assert!(fits, "{interfaces:?} {listen:?}: {said:?}");
        };
        check(&["eth0"], &["192.0.2.1:53"], XdpMode::Auto, &[]);
        check(&["eth0"], &["192.0.2.3:53", "192.0.2.4:53"], XdpMode::Auto, &[]);
        check(&["eth0"], &["192.0.2.2:53"], XdpMode::Auto, &["192.0.2.2 is on eth1"]);
        check(&["eth1"], &["192.0.2.1:53", "192.0.2.1:5353"], XdpMode::Native, &["add \"eth0\" to `interfaces`"]);
        check(&["eth0"], &["192.0.2.9:53"], XdpMode::Auto, &["192.0.2.9 is on no interface"]);
        check(&["eth0", "eth7"], &["192.0.2.1:53"], XdpMode::Auto, &["no interface eth7"]);
        check(&[], &["192.0.2.2:53"], XdpMode::Off, &[]);
        check(&["eth7"], &["192.0.2.9:53"], XdpMode::Off, &["192.0.2.9 is on no interface"]);
    }

    #[test]
    fn a_file_of_another_machine_is_told_apart() {
        assert!(!is_it(&front(&["eth0"], &["198.51.100.1:53"], XdpMode::Auto), &seen()));
        assert!(is_it(&front(&["eth7"], &["192.0.2.1:53"], XdpMode::Auto), &seen()));
        assert!(!is_it(&front(&["eth7"], &["198.51.100.1:53"], XdpMode::Auto), &seen()));
        assert!(!is_it(&front(&["eth7"], &["127.0.0.1:53"], XdpMode::Auto), &seen()));
    }

    /// The real machine has a loopback interface, whatever else.
    #[test]
    fn the_real_machine_is_seen() {
        let seen = look(&front(&["lo"], &[], XdpMode::Auto)).expect("asked");
        assert!(seen.interfaces.contains("lo") && seen.inner.contains("lo"), "{seen:?}");
    }
}
