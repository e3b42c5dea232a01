//! The operator's files.

use std::{
    collections::HashSet,
    io::Write,
    net::{IpAddr, Ipv4Addr},
    os::fd::AsRawFd,
    path::Path,
    sync::Arc,
};

use domain::base::{
    Message, MessageBuilder,
    iana::{Rcode, Rtype},
};
use rustix::fs::{MemfdFlags, memfd_create};
use zerottl_config::{self as config, Loaded};
use zerottl_core::{
    plan::{Plan, Planner},
    status::Assessment,
};
use zerottl_dns::{Transport, Zones, respond, view::View};
use zerottl_kernel::image::{Bank, Image};

/// A configuration with both roles; its records file is `RECORDS_FILE`.
pub(super) const FILE: &str = include_str!("../../../examples/appendix-a.toml");
/// Stands for the records file in [`FILE`].
const RECORDS_FILE: &str = "app.com.zone";
/// Records of every kind that the socket path treats in a way of its own.
pub(super) const RECORDS: &str = include_str!("app.com.zone");
/// Sets of a records file that are asked for, at most: no input may take long.
const SETS_ASKED_MAX: usize = 200;
const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 7));
/// A folder in which no file is found.
const NOWHERE: &str = "/nonexistent";
/// Prefixes that a path must not have: reading a device or a pipe may never end, and says nothing about the parser.
const DEVICES: [&str; 3] = ["/dev", "/proc", "/sys"];

/// A configuration file. One that is taken has a plan, and fits into the kernel's maps or is refused by its size.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if names_devices(text) {
        return;
    }
    match config::parse("fuzz.toml", text, Path::new(NOWHERE)) {
        Err(error) => assert!(!format!("{error:?}").is_empty(), "no reason"),
        Ok(loaded) => {
            let planner = Planner::new(Arc::new(loaded.model));
            let plan = planner.plan(&Assessment::unknown(planner.model()), 1);
            only_what_stands_there(text, &plan);
            if let Ok(image) = Image::new(&planner, &plan, &loaded.zones, &[]) {
                drop(Bank::new(&image.layout, &plan));
            }
        }
    }
}

/// Whether a configuration is taken: only then is it planned.
#[must_use]
pub fn is_valid(data: &[u8]) -> bool {
    std::str::from_utf8(data).is_ok_and(|text| config::parse("fuzz.toml", text, Path::new(NOWHERE)).is_ok())
}

/// Invariant 2: no address is answered that the file does not hold. An escape may hide one.
fn only_what_stands_there(text: &str, plan: &Plan) {
    if text.contains('\\') {
        return;
    }
    let written: HashSet<IpAddr> = text.split(['"', '\'']).filter_map(|word| word.parse().ok()).collect();
    for endpoint in plan.endpoints.iter() {
        assert!(written.contains(endpoint), "{endpoint} stands nowhere");
    }
}

/// A records file of a valid configuration. What was read is served.
pub fn records(data: &[u8]) {
    if names_devices(&String::from_utf8_lossy(data)) {
        return;
    }
    match with_records(data) {
        Err(error) => assert!(!format!("{error:?}").is_empty(), "no reason"),
        Ok(loaded) => {
            let planner = Planner::new(Arc::new(loaded.model));
            let plan = planner.plan(&Assessment::unknown(planner.model()), 1);
            let view = View::new(Arc::clone(planner.model()), plan);
            served(&loaded.zones, &view);
        }
    }
}

/// Each set of the file is the answer to its question over TCP, whole, with its TTL; at and below a delegation it is a
/// referral, and below a DNAME that is the answer (RFC 6672 section 2.4).
fn served(zones: &Zones, view: &View) {
    for zone in zones.iter() {
        let redirects: Vec<_> = zone.nodes().filter(|node| node.redirect().is_some()).map(|node| &node.owner).collect();
        let sets = zone.nodes().flat_map(|node| node.sets.iter().map(move |set| (node, set)));
        for (node, set) in sets.take(SETS_ASKED_MAX) {
            let mut question = MessageBuilder::new_vec().question();
            question.push((&node.owner, set.rtype)).expect("a vector grows");
            let query = question.finish();
            let said = respond(&query, Transport::Tcp, CLIENT, 0, zones, view).expect("a query is answered");
            let said = Message::from_octets(said.as_slice()).expect("a header");
            let what = format!("{} {}", node.owner, set.rtype);
            let records = || said.answer().expect("sections").map(|record| record.expect("a record"));
            let is_redirected = redirects.iter().any(|above| node.owner != **above && node.owner.ends_with(above));
            if is_redirected && said.header().aa() {
                // Whatever becomes of where it leads.
                assert_eq!(records().next().map(|record| record.rtype()), Some(Rtype::DNAME), "{what}");
                continue;
            }
            assert_eq!(said.header().rcode(), Rcode::NOERROR, "{what}");
            assert!(!said.header().tc(), "{what}");
            if !said.header().aa() {
                assert!(said.header_counts().nscount() > 0, "{what}: neither an answer nor a referral");
                continue;
            }
            let ttls: Vec<u32> = records().map(|record| record.ttl().as_secs()).collect();
            assert_eq!(ttls, vec![set.ttl; set.data.len()], "{what}");
        }
    }
}

fn names_devices(text: &str) -> bool {
    DEVICES.iter().any(|device| text.contains(device))
}

/// [`FILE`] with these records.
///
/// # Panics
/// If that is no valid configuration.
pub(super) fn valid(records: &[u8]) -> Loaded {
    with_records(records).unwrap_or_else(|error| panic!("{error:?}"))
}

/// The records are a file without a name, which goes with its descriptor.
fn with_records(records: &[u8]) -> Result<Loaded, config::ConfigError> {
    let memory = memfd_create("records", MemfdFlags::CLOEXEC).expect("memory");
    let mut file = std::fs::File::from(memory);
    file.write_all(records).expect("memory");
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    config::parse("fuzz.toml", &FILE.replace(RECORDS_FILE, &path), Path::new(NOWHERE))
}

#[cfg(test)]
mod tests {
    use super::records;

    /// An input that the target once took for a fault: what lies below a DNAME is kept, and never an answer.
    #[test]
    fn records_below_a_dname_are_no_answers() {
        records(b"alias DNAME mail\n*.alias CNAME mail\nhost.alias A 192.0.2.1\nb.host.alias DNAME mail\n");
    }
}
