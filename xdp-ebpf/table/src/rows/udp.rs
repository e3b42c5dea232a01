//! UDP: ports and checksums.

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, AAAA, Checksum, Message, TestPacket, VLAN, ask, opt, www, www6},
    row::{Row, answers, drops, nodata, pass},
    world::{FOUR, ONE},
};

pub fn rows() -> Vec<Row> {
    let mut rows = vec![
        drops("source port 0", TestPacket { ports: (0, 53), ..www().v4() }, Reason::DropSourcePort),
        drops("source port 0, IPv6", TestPacket { ports: (0, 53), ..www().v6() }, Reason::DropSourcePort),
        drops(
            "source port 0, a VLAN tag",
            TestPacket { ports: (0, 53), ..www().v6() }.tag(VLAN, 1),
            Reason::DropSourcePort,
        ),
    ];
    for port in [1, 53, 255, 256, 0x8000, 65_535] {
        let row = answers(format!("source port {port}"), TestPacket { ports: (port, 53), ..www().v4() }, ONE[0]);
        rows.push(row.near(Reason::DropSourcePort));
    }
    // A query from another server's port is answered, its response never is: no two servers answer each other for ever.
    for (message, address) in [(www(), ONE[0]), (www6().edns(), ONE[1])] {
        let from_server = |packet| TestPacket { ports: (53, 53), ..packet };
        let (query, response) = (message.clone(), message.flags(0x8180));
        for (family, query, response) in [("", query.v4(), response.v4()), (", IPv6", query.v6(), response.v6())] {
            let row = answers(format!("a query from port 53{family}"), from_server(query), address);
            rows.push(row.near(Reason::DropResponse));
            let description = format!("a response from port 53{family}");
            rows.push(drops(description, from_server(response), Reason::DropResponse));
        }
    }
    rows.extend(checksums());
    rows.extend(sums_that_are_zero());
    rows
}

fn checksums() -> Vec<Row> {
    let mut rows = vec![
        answers("no checksum over IPv4", www().v4().checksum(Checksum::Given(0)), ONE[0]),
        pass("no checksum over IPv6", www6().v6().checksum(Checksum::Given(0)), Reason::PassUdpChecksum),
    ];
    // Odd and even names, EDNS with odd and even options: each puts the rest of the message elsewhere.
    let cookie = opt(1232, 0, &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8]);
    let messages: [(&str, Message, &str); 6] = [
        ("odd name", www(), ONE[0]),
        ("even name", ask("pair.example", AAAA), ONE[1]),
        ("odd name, EDNS", www().edns(), ONE[0]),
        ("even name, EDNS", ask("four.example", A).edns(), FOUR),
        ("odd name, cookie", www().additional(&cookie), ONE[0]),
        ("trailing bytes", www().trailing(&[1, 2, 3]), ONE[0]),
    ];
    for (name, message, address) in messages {
        for (family, packet) in [("IPv4", message.v4()), ("IPv6", message.v6())] {
            let with = |checksum| packet.clone().checksum(checksum);
            rows.push(
                answers(format!("{family}, {name}: a right checksum"), with(Checksum::Good), address)
                    .near(Reason::PassUdpChecksum),
            );
            rows.push(
                answers(format!("{family}, {name}: the bare pseudo header's sum"), with(Checksum::Bare), address)
                    .near(Reason::PassUdpChecksum),
            );
            for bit in [0, 7, 8, 15] {
                let row = format!("{family}, {name}: checksum wrong by bit {bit}");
                rows.push(pass(row, with(Checksum::Flipped(1 << bit)), Reason::PassUdpChecksum));
            }
            // The ID's bits and the case of letters change nothing but the sum.
            let letters = (12..12 + message.name.len()).filter(|at| packet.dns[*at].is_ascii_alphabetic());
            for at in (0..2).chain(letters) {
                let mut frame = packet.bytes();
                let start = frame.len() - packet.dns.len();
                frame[start + at] ^= 0x20;
                rows.push(pass(format!("{family}, {name}: byte {at} flipped"), frame, Reason::PassUdpChecksum));
            }
        }
    }
    rows.extend([
        pass("a UDP port flipped on the way", flipped(35), Reason::PassUdpChecksum),
        pass("a source address flipped, mended in the IP checksum", both_flipped(), Reason::PassUdpChecksum),
        pass("trailing bytes flipped", last_flipped(&www().trailing(&[1, 2, 3]).v4()), Reason::PassUdpChecksum),
        pass("the OPT's last byte flipped", last_flipped(&www().additional(&cookie).v6()), Reason::PassUdpChecksum),
        pass(
            "a checksum of all ones where it is not right",
            www().v4().checksum(Checksum::Given(0xffff)),
            Reason::PassUdpChecksum,
        ),
        nodata(
            "NODATA to a query without checksum",
            ask("four.example", AAAA).v4().checksum(Checksum::Given(0)),
            "example",
        ),
    ]);
    rows
}

fn flipped(at: usize) -> Vec<u8> {
    let mut frame = www().v4().bytes();
    frame[at] ^= 1;
    frame
}

fn last_flipped(packet: &TestPacket) -> Vec<u8> {
    let mut frame = packet.bytes();
    *frame.last_mut().unwrap() ^= 1;
    frame
}

/// The IP header stays right, the UDP pseudo header does not.
fn both_flipped() -> Vec<u8> {
    let mut frame = www().v4().bytes();
    // The source's third byte up by one, the identification's high byte down by one.
    frame[28] += 1;
    frame[18] -= 1;
    frame
}

/// Queries and answers whose sum comes out as zero, which is sent as all ones (RFC 768).
fn sums_that_are_zero() -> Vec<Row> {
    let field = |packet: &TestPacket| {
        let frame = packet.bytes();
        let at = frame.len() - packet.dns.len() - 2;
        u16::from_be_bytes([frame[at], frame[at + 1]])
    };
    let mut rows = Vec::new();
    for v6 in [false, true] {
        let packet = |id| if v6 { www().id(id).v6() } else { www().id(id).v4() };
        // The ID is summed as it is: adding a good checksum to it moves the sum to all ones.
        let (_, id) = (0..=u16::MAX).map(|id| (field(&packet(id)), id)).find(|(sum, _)| *sum == 0xffff).unwrap();
        rows.push(answers(format!("a sum of zero as all ones, IPv6: {v6}"), packet(id), ONE[0]));
        let zero = packet(id).checksum(Checksum::Given(0));
        rows.push(if v6 {
            pass("a sum of zero as zero, IPv6", zero, Reason::PassUdpChecksum)
        } else {
            answers("a sum of zero as zero", zero, ONE[0])
        });
        // The answer's sum moves with the ID as well; one in a row of IDs makes it zero.
        rows.extend(
            answer_ids(v6).map(|id| answers(format!("an answer's sum of zero, IPv6: {v6}"), packet(id), ONE[0])),
        );
    }
    rows
}

/// IDs whose answers sum up to zero: the sum of everything else, taken from an answer composed by hand.
fn answer_ids(v6: bool) -> impl Iterator<Item = u16> {
    let answer = move |id: u16| {
        let mut message = www().id(id).flags(0x8500).counts([1, 1, 0, 0]);
        message.rest = [&[0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 192, 0, 2, 10][..]].concat();
        let packet = if v6 { message.v6() } else { message.v4() };
        let ports = (packet.ports.1, packet.ports.0);
        TestPacket { source: packet.destination, destination: packet.source, ports, ..packet }
    };
    (0..=u16::MAX).filter(move |id| {
        let packet = answer(*id);
        let frame = packet.bytes();
        let at = frame.len() - packet.dns.len() - 2;
        frame[at..at + 2] == [0xff, 0xff]
    })
}
