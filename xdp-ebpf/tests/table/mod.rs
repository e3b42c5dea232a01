//! The kernel table: packets, and what must become of each.
//!
//! `check(description, packet, action, bytes, reason)` makes one row. The same rows run on the host, over the maps of
//! `host.rs` (`../rows.rs`), and through the kernel's test-run of the loaded program (`tests/tests/kernel_table.rs`). A
//! row holds if the action, the reason and every byte are as it says: an answer is compared with one composed here by
//! other code, and a packet passed on or dropped with itself.
//!
//! [`Internal`](Reason::Internal) has no row: no packet reaches it with whole maps; the host tests take maps away. Nor
//! has [`PassNoRoom`](Reason::PassNoRoom): test-run gives every frame 3,520 bytes to grow into and refuses larger ones,
//! so that neither end runs out; the end-to-end tests have frames from sockets, whose tail does.

pub mod existing;
pub mod held;
pub mod mutate;
pub mod packet;
pub mod policies;
pub mod rows;
pub mod verify;
pub mod world;

use std::{
    collections::{BTreeMap, HashSet},
    net::IpAddr,
};

use xdp_ebpf::reason::{Action, Reason};

use self::{packet::Packet, world::World};

/// The expected outcome.
#[derive(Clone, Debug)]
pub enum Out {
    /// The frame as it went in, byte for byte.
    Unmodified,
    /// The answer with this address and TTL.
    Address(IpAddr, u32),
    /// The answer with an HTTPS record of this RDATA and TTL.
    Https(Vec<u8>, u32),
    /// The answer with this zone's SOA.
    NoData(&'static str),
    /// The answer with this zone's SOA and NXDOMAIN.
    NxDomain(&'static str),
    /// The answer without records.
    Bare { rcode: u16, aa: bool, tc: bool },
    /// These bytes.
    Golden(&'static str),
}

/// A row of the table.
#[derive(Clone, Debug)]
pub struct Row {
    pub description: String,
    pub world: World,
    pub frame: Vec<u8>,
    pub action: Action,
    pub out: Out,
    pub reason: Reason,
    /// The reason that this row nearly has, but has not.
    pub near: Option<Reason>,
}

/// Anything that is a frame.
pub trait Frame {
    fn into_frame(self) -> Vec<u8>;
}

impl Frame for Packet {
    fn into_frame(self) -> Vec<u8> {
        self.bytes()
    }
}

impl Frame for Vec<u8> {
    fn into_frame(self) -> Vec<u8> {
        self
    }
}

/// One row.
pub fn check(description: impl Into<String>, packet: impl Frame, action: Action, out: Out, reason: Reason) -> Row {
    let description = description.into();
    Row { description, world: World::Full, frame: packet.into_frame(), action, out, reason, near: None }
}

/// A row that must be passed on unmodified.
pub fn pass(description: impl Into<String>, packet: impl Frame, reason: Reason) -> Row {
    check(description, packet, Action::Pass, Out::Unmodified, reason)
}

/// A row that must be dropped.
pub fn drops(description: impl Into<String>, packet: impl Frame, reason: Reason) -> Row {
    check(description, packet, Action::Drop, Out::Unmodified, reason)
}

/// A row that must be answered with an address, TTL 0.
pub fn answers(description: impl Into<String>, packet: impl Frame, address: &str) -> Row {
    answers_for(description, packet, address, 0)
}

/// A row that must be answered with an address.
pub fn answers_for(description: impl Into<String>, packet: impl Frame, address: &str, ttl: u32) -> Row {
    let address: IpAddr = address.parse().unwrap();
    let reason = if address.is_ipv4() { Reason::AnswerA } else { Reason::AnswerAaaa };
    check(description, packet, Action::Answer, Out::Address(address, ttl), reason)
}

/// A row that must be answered with an HTTPS record.
pub fn https(description: impl Into<String>, packet: impl Frame, rdata: Vec<u8>, ttl: u32) -> Row {
    check(description, packet, Action::Answer, Out::Https(rdata, ttl), Reason::AnswerHttps)
}

/// A row that must be answered with a zone's SOA.
pub fn nodata(description: impl Into<String>, packet: impl Frame, zone: &'static str) -> Row {
    check(description, packet, Action::Answer, Out::NoData(zone), Reason::AnswerNodata)
}

/// A row that must be answered with NXDOMAIN and a zone's SOA.
pub fn nxdomain(description: impl Into<String>, packet: impl Frame, zone: &'static str) -> Row {
    check(description, packet, Action::Answer, Out::NxDomain(zone), Reason::AnswerNxdomain)
}

/// A row that must be answered with REFUSED.
pub fn refused(description: impl Into<String>, packet: impl Frame) -> Row {
    bare(description, packet, 5, Reason::AnswerRefused)
}

/// A row that must be answered with this RCODE, which may be an extended one, and no record.
pub fn bare(description: impl Into<String>, packet: impl Frame, rcode: u16, reason: Reason) -> Row {
    check(description, packet, Action::Answer, Out::Bare { rcode, aa: false, tc: false }, reason)
}

/// A row that must be answered with this RCODE, and truncated.
pub fn truncated(description: impl Into<String>, packet: impl Frame, rcode: u16) -> Row {
    let out = Out::Bare { rcode, aa: true, tc: true };
    check(description, packet, Action::Answer, out, Reason::AnswerTruncated)
}

impl Row {
    pub fn near(self, reason: Reason) -> Self {
        Self { near: Some(reason), ..self }
    }

    pub fn on(self, world: World) -> Self {
        Self { world, ..self }
    }
}

/// The outcome of a frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ran {
    pub action: Action,
    pub reason: Reason,
    pub frame: Vec<u8>,
}

/// Host or kernel.
pub trait Machine {
    /// Runs the program over a frame. `None` if this machine cannot be given such a frame. Fails unless exactly one
    /// counter moved, by one.
    fn run(&mut self, world: World, frame: &[u8]) -> Option<Ran>;
}

/// Runs rows and fails with the first few that do not hold. Returns how many could not be run.
pub fn run(machine: &mut dyn Machine, rows: &[Row]) -> usize {
    const FAULTS_SHOWN: usize = 20;
    let mut skipped = 0;
    let mut faults = Vec::new();
    for row in rows {
        if faults.len() == FAULTS_SHOWN {
            break;
        }
        match machine.run(row.world, &row.frame) {
            Some(ran) => faults.extend(verify::fault(row, &ran).map(|fault| format!("{}: {fault}", row.description))),
            None => skipped += 1,
        }
    }
    assert!(faults.is_empty(), "{} rows or more do not hold:\n{}", faults.len(), faults.join("\n"));
    skipped
}

/// Every reason is hit by a row, and nearly hit by another that goes elsewhere.
pub fn check_coverage(rows: &[Row]) {
    let mut hit = BTreeMap::<&str, usize>::new();
    for row in rows {
        *hit.entry(row.reason.name()).or_default() += 1;
        assert_ne!(Some(row.reason), row.near, "{}: no near miss", row.description);
    }
    let near: HashSet<&str> = rows.iter().filter_map(|row| row.near).map(Reason::name).collect();
    // What a rate makes of an answer hangs on those before: tests/tests/kernel_limit.rs.
    let unreached =
        [Reason::Internal, Reason::PassNoRoom, Reason::AnswerSlip, Reason::AnswerOverLimit, Reason::DropLimited];
    for reason in Reason::ALL {
        let has = (hit.contains_key(reason.name()), near.contains(reason.name()));
        let wanted = !unreached.contains(reason);
        assert_eq!(has, (wanted, wanted), "{}: hit, nearly hit", reason.name());
    }
    println!("{} rows: {hit:?}", rows.len());
}
