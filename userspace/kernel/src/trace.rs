//! Sampled packets as lines of JSON: what an operator looks at where tcpdump sees nothing.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use aya::maps::{MapData, RingBuf};
use domain::base::Message;
use serde::Serialize;
use xdp_ebpf::{
    layout::{EVENT_FRAME, Event},
    net::{ETHERNET, IPV4, IPV6, PROTOCOL_UDP, UDP, VLAN_TAG},
    reason::Reason,
};

/// One traced packet.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Line {
    /// Nanoseconds since boot.
    pub at_ns: u64,
    /// Why it went where it went.
    pub reason: &'static str,
    /// The action that was taken.
    pub action: &'static str,
    /// Length of the frame in bytes, as it left.
    pub len: u32,
    /// The client, if it is a UDP packet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<IpAddr>,
    /// Whom it is asked for: the EDNS client subnet, as address/prefix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subnet: Option<String>,
    /// The question's name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The question's type.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub qtype: Option<String>,
    /// The first record of the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub answer: Option<String>,
}

/// Takes what has been traced since the last time, at most `max` packets.
pub fn drain(events: &mut RingBuf<MapData>, max: usize) -> Vec<Line> {
    let mut lines = Vec::new();
    // Counted by what is taken: the program may write as fast as this reads.
    for _ in 0..max {
        let Some(item) = events.next() else { break };
        lines.extend(line(&item));
    }
    lines
}

/// Reads an [`Event`]; `None` if it is not one.
#[must_use]
pub fn line(event: &[u8]) -> Option<Line> {
    let word = |at: usize| Some(u32::from_ne_bytes(event.get(at..at + 4)?.try_into().ok()?));
    let at_ns = u64::from_ne_bytes(event.get(..8)?.try_into().ok()?);
    let reason = *Reason::ALL.get(word(8)? as usize)?;
    let len = word(12)?;
    let kept = (len as usize).min(EVENT_FRAME - 1);
    let frame = event.get(size_of::<Event>() - EVENT_FRAME..)?.get(..kept)?;
    let mut line = Line { at_ns, reason: reason.name(), action: reason.action().name(), len, ..Line::default() };
    if let Some((source, destination, message)) = datagram(frame) {
        // An answer goes to the client, a query comes from it.
        let answered = message.get(2).is_some_and(|flags| flags & 0x80 != 0);
        line.client = Some(if answered { destination } else { source });
        if let Ok(message) = Message::from_octets(message) {
            if let Some(question) = message.first_question() {
                line.name = Some(question.qname().to_string());
                line.qtype = Some(question.qtype().to_string());
            }
            line.answer = first_answer(&message);
            let subnet = message.opt().and_then(|opt| opt.opt().client_subnet());
            line.subnet = subnet.map(|subnet| format!("{}/{}", subnet.addr(), subnet.source_prefix_len()));
        }
    }
    Some(line)
}

fn first_answer(message: &Message<&[u8]>) -> Option<String> {
    let record = message.answer().ok()?.next()?.ok()?;
    let record = record.to_any_record::<domain::rdata::AllRecordData<_, _>>().ok()?;
    Some(record.data().to_string())
}

/// Source, destination and payload of a UDP frame, cut short where the frame is.
fn datagram(frame: &[u8]) -> Option<(IpAddr, IpAddr, &[u8])> {
    let mut l3 = ETHERNET;
    while matches!(frame.get(l3 - 2..l3)?, [0x81, 0x00] | [0x88, 0xa8]) && l3 < ETHERNET + 2 * VLAN_TAG {
        l3 += VLAN_TAG;
    }
    let ip = frame.get(l3..)?;
    match (frame.get(l3 - 2..l3)?, ip.first()? >> 4) {
        ([0x08, 0x00], 4) if *ip.get(9)? == PROTOCOL_UDP && ip[0] == 0x45 => {
            let address = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 4] = ip.get(at..at + 4)?.try_into().ok()?;
                Some(Ipv4Addr::from(octets).into())
            };
            Some((address(12)?, address(16)?, ip.get(IPV4 + UDP..)?))
        }
        ([0x86, 0xdd], 6) if *ip.get(6)? == PROTOCOL_UDP => {
            let address = |at: usize| -> Option<IpAddr> {
                let octets: [u8; 16] = ip.get(at..at + 16)?.try_into().ok()?;
                Some(Ipv6Addr::from(octets).into())
            };
            Some((address(8)?, address(24)?, ip.get(IPV6 + UDP..)?))
        }
        _ => None,
    }
}
