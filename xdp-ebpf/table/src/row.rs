//! A row, and the short forms that make one.

use std::net::IpAddr;

use xdp_ebpf::reason::{Action, Reason};

use crate::{packet::TestPacket, world::World};

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
pub trait IntoFrame {
    fn into_frame(self) -> Vec<u8>;
}

impl IntoFrame for TestPacket {
    fn into_frame(self) -> Vec<u8> {
        self.bytes()
    }
}

impl IntoFrame for Vec<u8> {
    fn into_frame(self) -> Vec<u8> {
        self
    }
}

/// One row.
pub fn check(description: impl Into<String>, packet: impl IntoFrame, action: Action, out: Out, reason: Reason) -> Row {
    let description = description.into();
    Row { description, world: World::Full, frame: packet.into_frame(), action, out, reason, near: None }
}

/// A row that must be passed on unmodified.
pub fn pass(description: impl Into<String>, packet: impl IntoFrame, reason: Reason) -> Row {
    check(description, packet, Action::Pass, Out::Unmodified, reason)
}

/// A row that must be dropped.
pub fn drops(description: impl Into<String>, packet: impl IntoFrame, reason: Reason) -> Row {
    check(description, packet, Action::Drop, Out::Unmodified, reason)
}

/// A row that must be answered with an address, TTL 0.
pub fn answers(description: impl Into<String>, packet: impl IntoFrame, address: &str) -> Row {
    answers_for(description, packet, address, 0)
}

/// A row that must be answered with an address.
pub fn answers_for(description: impl Into<String>, packet: impl IntoFrame, address: &str, ttl: u32) -> Row {
    let address: IpAddr = address.parse().unwrap();
    let reason = if address.is_ipv4() { Reason::AnswerA } else { Reason::AnswerAaaa };
    check(description, packet, Action::Answer, Out::Address(address, ttl), reason)
}

/// A row that must be answered with an HTTPS record.
pub fn https(description: impl Into<String>, packet: impl IntoFrame, rdata: Vec<u8>, ttl: u32) -> Row {
    check(description, packet, Action::Answer, Out::Https(rdata, ttl), Reason::AnswerHttps)
}

/// A row that must be answered with a zone's SOA.
pub fn nodata(description: impl Into<String>, packet: impl IntoFrame, zone: &'static str) -> Row {
    check(description, packet, Action::Answer, Out::NoData(zone), Reason::AnswerNodata)
}

/// A row that must be answered with NXDOMAIN and a zone's SOA.
pub fn nxdomain(description: impl Into<String>, packet: impl IntoFrame, zone: &'static str) -> Row {
    check(description, packet, Action::Answer, Out::NxDomain(zone), Reason::AnswerNxdomain)
}

/// A row that must be answered with REFUSED.
pub fn refused(description: impl Into<String>, packet: impl IntoFrame) -> Row {
    bare(description, packet, 5, Reason::AnswerRefused)
}

/// A row that must be answered with this RCODE, which may be an extended one, and no record.
pub fn bare(description: impl Into<String>, packet: impl IntoFrame, rcode: u16, reason: Reason) -> Row {
    check(description, packet, Action::Answer, Out::Bare { rcode, aa: false, tc: false }, reason)
}

/// A row that must be answered with this RCODE, and truncated.
pub fn truncated(description: impl Into<String>, packet: impl IntoFrame, rcode: u16) -> Row {
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
