//! Which VLANs the host is in.

use std::{collections::BTreeSet, fs, io};

use nix::net::if_::InterfaceFlags;

use zerottl_core::model::{Front, Vlan, Vlans};

/// The VLAN interfaces of this network namespace; absent where nobody has made one.
const LIST: &str = "/proc/net/vlan/config";

/// The VLANs that the program answers in: the configuration's, or those of the VLAN interfaces that are up on top of the
/// front's.
pub fn of(front: &Front) -> io::Result<Vec<Vlan>> {
    match &front.vlans {
        Vlans::These(these) => Ok(these.clone()),
        Vlans::Auto => {
            let list = match fs::read_to_string(LIST) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
                list => list?,
            };
            let links = nix::ifaddrs::getifaddrs()?;
            let up = links.filter(|link| link.flags.contains(InterfaceFlags::IFF_UP)).map(|link| link.interface_name);
            Ok(read(&list, &front.interfaces, &up.collect()))
        }
    }
}

/// The VLANs that a list of VLAN interfaces gives to some interfaces, one within another at most.
fn read(list: &str, interfaces: &[String], up: &BTreeSet<String>) -> Vec<Vlan> {
    // Two lines of header, then a name, a number and the interface below.
    let rows = list.lines().skip(2).filter_map(|line| {
        let mut fields = line.rsplitn(3, '|').map(str::trim);
        let (below, number, name) = (fields.next()?, fields.next()?.parse::<u16>().ok()?, fields.next()?);
        up.contains(name).then_some((name, number, below))
    });
    let rows: Vec<_> = rows.collect();
    let on = |interface: &str| rows.iter().filter(move |(.., below)| *below == interface).copied().collect::<Vec<_>>();
    let mut vlans = BTreeSet::new();
    for (name, outer, _) in interfaces.iter().flat_map(|interface| on(interface)) {
        vlans.insert(Vlan { outer, inner: None });
        vlans.extend(on(name).into_iter().map(|(_, inner, _)| Vlan { outer, inner: Some(inner) }));
    }
    vlans.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str = "\
VLAN Dev name\t | VLAN ID
Name-Type: VLAN_NAME_TYPE_RAW_PLUS_VID_NO_PAD
eth0.100       | 100  | eth0
storage        | 7  | eth0
eth0.100.200   | 200  | eth0.100
eth1.100       | 3000  | eth1
eth1.3000.9    | 9  | eth1.100
bond0.5        | 5  | bond0
deep           | 6  | eth0.100.200
";

    #[track_caller]
    fn check(description: &str, interfaces: &[&str], down: &[&str], expected: &[&str]) {
        let all = ["eth0", "eth1", "eth0.100", "storage", "eth0.100.200", "eth1.100", "eth1.3000.9", "bond0.5", "deep"];
        let up = all.iter().filter(|name| !down.contains(name)).map(ToString::to_string).collect();
        let interfaces: Vec<_> = interfaces.iter().map(ToString::to_string).collect();
        let found: Vec<_> = read(LIST, &interfaces, &up).iter().map(ToString::to_string).collect();
        assert_eq!(found, expected, "{description}");
    }

    #[test]
    fn vlans_are_those_on_the_interfaces() {
        check("one interface", &["eth0"], &[], &["7", "100", "100.200"]);
        check("another", &["eth1"], &[], &["3000", "3000.9"]);
        check("two", &["eth1", "eth0"], &[], &["7", "100", "100.200", "3000", "3000.9"]);
        check("none on it", &["eth2"], &[], &[]);
        check("down", &["eth0"], &["storage"], &["100", "100.200"]);
        check("down, and so are those within", &["eth0"], &["eth0.100", "storage"], &[]);
        check("a VLAN interface itself", &["eth0.100"], &[], &["200", "200.6"]);
        assert_eq!(read("", &["eth0".into()], &BTreeSet::new()), []);
    }
}
