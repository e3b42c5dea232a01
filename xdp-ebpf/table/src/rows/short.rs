//! Frames and messages cut short, at every byte.

use std::ops::Range;

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{QINQ, TestPacket, VLAN, www, www6},
    row::{Row, answers, drops, pass},
    world::ONE,
};

pub fn rows() -> Vec<Row> {
    let mut rows = frames();
    rows.extend(messages());
    rows
}

/// A frame that ends early while its headers say otherwise: headers first, then the IP length.
fn frames() -> Vec<Row> {
    let plain = www().v4();
    // What is whole at which length: a tag hides what would be seen of an untagged frame.
    let cases: [(&str, TestPacket, Vec<Range<usize>>); 5] = [
        ("IPv4", plain.clone(), vec![0..14, 14..34, 34..42]),
        ("IPv6", www6().v6(), vec![0..14, 14..54, 54..62]),
        ("VLAN", plain.clone().tag(VLAN, 5), vec![0..14, 14..18, 18..38, 38..46]),
        ("QinQ", www().v6().tag(QINQ, 5).tag(VLAN, 6), vec![0..14, 14..18, 18..22, 22..62, 62..70]),
        ("EDNS", www().edns().v4(), vec![0..14, 14..34, 34..42]),
    ];
    let mut rows = Vec::new();
    for (name, packet, headers) in cases {
        let frame = packet.bytes();
        let whole = headers.last().unwrap().end;
        for range in headers {
            for len in range.clone() {
                let description = format!("{name}: {len} bytes of {}, within {range:?}", frame.len());
                rows.push(pass(description, frame[..len].to_vec(), Reason::PassTruncated));
            }
        }
        for len in whole..frame.len() {
            let row =
                pass(format!("{name}: {len} bytes of {}", frame.len()), frame[..len].to_vec(), Reason::PassIpLength);
            rows.push(row.near(Reason::PassTruncated));
        }
        rows.push(answers(format!("{name}: whole"), frame, if name == "IPv6" { ONE[1] } else { ONE[0] }));
    }
    rows
}

/// A message that ends early, with lengths and checksums that are true.
fn messages() -> Vec<Row> {
    let mut rows = Vec::new();
    for (name, packet) in [("IPv4", www().edns().v4()), ("IPv6", www().edns().v6())] {
        let whole = packet.dns.len();
        let question = 12 + 13 + 4;
        for len in 0..whole {
            let cut = TestPacket { dns: packet.dns[..len].to_vec(), ..packet.clone() };
            let padded = cut.clone().padding(&packet.dns[len..]);
            for (how, cut) in [("the end", cut), ("the rest behind the IP packet", padded)] {
                let description = format!("{name}: {len} bytes of a message of {whole}, then {how}");
                rows.push(match len {
                    0..12 => drops(description, cut, Reason::DropShort),
                    12.. if len < question => pass(description, cut, Reason::PassName).near(Reason::DropShort),
                    _ => pass(description, cut, Reason::PassAdditional),
                });
            }
        }
    }
    rows
}
