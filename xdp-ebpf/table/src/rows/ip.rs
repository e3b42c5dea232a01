//! IPv4 and IPv6 headers.

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{TestPacket, VLAN, www, www6},
    row::{Row, answers, drops, pass},
    world::{ONE, World},
};

pub fn rows() -> Vec<Row> {
    let mut rows = headers();
    rows.extend(fragments());
    rows.extend(protocols());
    rows.extend(lengths());
    rows.extend(destinations());
    rows.extend(sources());
    rows
}

fn headers() -> Vec<Row> {
    let first = |first| TestPacket { first, ..www().v4() };
    let first6 = |first| TestPacket { first, ..www().v6() };
    let options =
        |words: u8| TestPacket { first: 0x45 + words, between: vec![1; 4 * usize::from(words)], ..www().v4() };
    let mut rows = vec![
        answers("IHL 5", first(0x45), ONE[0]).near(Reason::PassIpv4Options),
        pass("IHL 6: one word of options", options(1), Reason::PassIpv4Options),
        pass("IHL 15: ten words of options", options(10), Reason::PassIpv4Options),
        pass("IHL 6 without room for options", first(0x46), Reason::PassIpv4Options),
        pass("IHL 4", first(0x44), Reason::PassIpv4Options),
        pass("IHL 0", first(0x40), Reason::PassIpv4Options),
        answers("type of service set", TestPacket { second: 0xff, ..www().v4() }, ONE[0]),
        answers("TTL 1", TestPacket { ttl: 1, ..www().v4() }, ONE[0]),
        answers("TTL 0", TestPacket { ttl: 0, ..www().v4() }, ONE[0]),
        answers("hop limit 1", TestPacket { ttl: 1, ..www6().v6() }, ONE[1]),
        answers("flow label set", TestPacket { second: 0x0f, word: 0xffff, ..www6().v6() }, ONE[1]),
        answers("traffic class set", TestPacket { first: 0x6f, second: 0xf0, ..www6().v6() }, ONE[1]),
        pass("IP checksum wrong by one bit", TestPacket { ip_checksum_flip: 1, ..www().v4() }, Reason::PassIpChecksum),
        pass(
            "IP checksum wrong by the top bit",
            TestPacket { ip_checksum_flip: 0x8000, ..www().v4() },
            Reason::PassIpChecksum,
        ),
        pass("IP checksum complemented", TestPacket { ip_checksum_flip: 0xffff, ..www().v4() }, Reason::PassIpChecksum),
        answers("IP checksum right", TestPacket { word: 0x0001_0000, ..www().v4() }, ONE[0])
            .near(Reason::PassIpChecksum),
    ];
    for version in (0..16_u8).filter(|version| *version != 4) {
        rows.push(pass(format!("IPv4 Ethertype, version {version}"), first(version << 4 | 5), Reason::PassVersion));
    }
    for version in (0..16_u8).filter(|version| *version != 6) {
        rows.push(pass(format!("IPv6 Ethertype, version {version}"), first6(version << 4), Reason::PassVersion));
    }
    rows.push(answers("version 6", first6(0x60), ONE[0]).near(Reason::PassVersion));
    rows
}

fn fragments() -> Vec<Row> {
    let word = |word| TestPacket { word, ..www().v4() };
    let mut rows = vec![
        answers("don't fragment", word(0x1234_4000), ONE[0]).near(Reason::PassFragment),
        // RFC 3514's bit is reserved, not a fragment.
        answers("the reserved flag", word(0x1234_8000), ONE[0]).near(Reason::PassFragment),
        pass("more fragments", word(0x1234_2000), Reason::PassFragment),
        pass("more fragments and don't fragment", word(0x1234_6000), Reason::PassFragment),
    ];
    for bit in 0..13 {
        let description = format!("fragment offset {}, looks like a query", 8 << bit);
        rows.push(pass(description, word(0x1234_0000 | 1 << bit), Reason::PassFragment));
    }
    rows.push(pass("the last fragment", word(0x1234_1fff), Reason::PassFragment));
    rows
}

fn protocols() -> Vec<Row> {
    let mut rows = Vec::new();
    for protocol in [0, 1, 6, 16, 18, 47, 58, 136, 0x11 << 1, 255] {
        let v4 = TestPacket { protocol, ..www().v4() };
        rows.push(pass(format!("IPv4 protocol {protocol}"), v4, Reason::PassProtocol));
        let v6 = TestPacket { protocol, ..www().v6() };
        rows.push(pass(format!("IPv6 next header {protocol}"), v6, Reason::PassProtocol));
    }
    // Next header, length, and options or fields that are right in themselves.
    let headers: [(&str, u8, &[u8]); 6] = [
        ("hop-by-hop", 0, &[17, 0, 1, 4, 0, 0, 0, 0]),
        ("destination options", 60, &[17, 0, 1, 4, 0, 0, 0, 0]),
        ("routing", 43, &[17, 0, 4, 0, 0, 0, 0, 0]),
        ("an atomic fragment", 44, &[17, 0, 0, 0, 0, 0, 0, 1]),
        ("a first fragment", 44, &[17, 0, 0, 1, 0, 0, 0, 1]),
        ("a later fragment", 44, &[17, 0, 0, 8, 0, 0, 0, 1]),
    ];
    for (name, protocol, header) in headers {
        let packet = TestPacket { protocol, between: header.to_vec(), ..www6().v6() };
        rows.push(pass(format!("IPv6 extension header: {name}"), packet, Reason::PassProtocol));
    }
    rows.push(answers("next header UDP", www6().v6(), ONE[1]).near(Reason::PassProtocol));
    rows
}

fn lengths() -> Vec<Row> {
    let mut rows = Vec::new();
    for packet in [www().v4(), www().edns().v6(), www().v4().tag(VLAN, 9)] {
        let family = if packet.source.is_ipv4() { "IPv4" } else { "IPv6" };
        let off = |ip_len_off, udp_len_off| TestPacket { ip_len_off, udp_len_off, ..packet.clone() };
        let full = i16::try_from(8 + packet.dns.len()).unwrap();
        let row = |what: &str, packet, reason| pass(format!("{family}: {what}"), packet, reason);
        rows.extend([
            row("IP length one beyond the frame", off(1, 0), Reason::PassIpLength),
            row("IP and UDP length one beyond the frame", off(1, 1), Reason::PassIpLength),
            row("IP length far beyond the frame", off(9_000, 0), Reason::PassIpLength),
            row("IP length one short", off(-1, 0), Reason::PassUdpLength).near(Reason::PassIpLength),
            row("IP length without a whole UDP header", off(7 - full, 0), Reason::PassIpLength),
            row("IP length 0 behind the IP header", off(-full, 0), Reason::PassIpLength),
            row("IP length of a bare UDP header", off(8 - full, 0), Reason::PassUdpLength).near(Reason::PassIpLength),
            row("UDP length one short", off(0, -1), Reason::PassUdpLength),
            row("UDP length one long", off(0, 1), Reason::PassUdpLength),
            row("UDP length 0", off(0, -full), Reason::PassUdpLength),
            row("UDP length 7", off(0, 7 - full), Reason::PassUdpLength),
            row("UDP length 8", off(0, 8 - full), Reason::PassUdpLength),
            row("UDP length 65535", off(0, -1 - full), Reason::PassUdpLength),
            drops(
                format!("{family}: IP and UDP length of a bare UDP header"),
                off(8 - full, 8 - full),
                Reason::DropShort,
            )
            .near(Reason::PassIpLength),
            row(
                "IP length one short of the frame's padded end",
                TestPacket { padding: vec![0], ip_len_off: 1, ..packet.clone() },
                Reason::PassUdpLength,
            )
            .near(Reason::PassIpLength),
        ]);
        for padding in [1, 2, 3, 7, 18, 64, 700] {
            let padded = packet.clone().padding(&vec![0xee; padding]);
            let row = answers(format!("{family}: {padding} bytes behind the IP packet"), padded, ONE[0]);
            rows.push(row.near(Reason::PassUdpLength));
        }
    }
    rows.push(pass(
        "total length under the header's",
        TestPacket { ip_len_off: -38, ..www().v4() },
        Reason::PassIpLength,
    ));
    rows.push(pass("total length 0", TestPacket { ip_len_off: -(20 + 8 + 29), ..www().v4() }, Reason::PassIpLength));
    rows
}

fn destinations() -> Vec<Row> {
    let mut rows = vec![
        pass("port 52", www().v4().destined("203.0.113.53", 52), Reason::PassNotOurs),
        pass("port 54, IPv6", www().v6().destined("2001:db8::53", 54), Reason::PassNotOurs),
        pass("port 53 in the other byte order", www().v4().destined("203.0.113.53", 53 << 8), Reason::PassNotOurs),
        pass("port 53 where 5353 is served", www().v4().destined("203.0.113.54", 53), Reason::PassNotOurs),
        pass("port 5353 where 53 is served", www().v4().destined("203.0.113.53", 5353), Reason::PassNotOurs),
        pass("port 53 where 5353 is served, IPv6", www().v6().destined("2001:db8::54", 53), Reason::PassNotOurs),
        pass("port 5353 where 53 is served, IPv6", www().v6().destined("2001:db8::53", 5353), Reason::PassNotOurs),
        answers("port 5353 where it is served", www().v4().destined("203.0.113.54", 5353), ONE[0])
            .near(Reason::PassNotOurs),
        answers("port 5353 where it is served, IPv6", www().v6().destined("2001:db8::54", 5353), ONE[0]),
        pass("another address, IPv4", www().v4().destined("203.0.113.52", 53), Reason::PassNotOurs),
        pass("the limited broadcast", www().v4().destined("255.255.255.255", 53), Reason::PassNotOurs),
        pass("a multicast group", www().v4().destined("224.0.0.251", 53), Reason::PassNotOurs),
        pass("all nodes", www().v6().destined("ff02::1", 53), Reason::PassNotOurs),
        pass("an address by its high half", www().v6().destined("2001:db9::53", 53), Reason::PassNotOurs),
        pass("an address by its low half", www().v6().destined("2001:db8::1:53", 53), Reason::PassNotOurs),
        pass(
            "an address that only the other machine has",
            www().v4().destined("203.0.113.90", 53),
            Reason::PassNotOurs,
        )
        .on(World::BalanceOnly),
        pass("the same, IPv6", www().v6().destined("2001:db8::5a", 53), Reason::PassNotOurs).on(World::BalanceOnly),
        // Empty entries of the address list are address 0 and port 0.
        pass("address 0, port 0", www().v4().destined("0.0.0.0", 0), Reason::PassNotOurs).on(World::BalanceOnly),
        pass("address ::, port 0", www().v6().destined("::", 0), Reason::PassNotOurs).on(World::BalanceOnly),
    ];
    for (address, port) in World::Full.listen() {
        let packet = if address.is_ipv4() { www().v4() } else { www().v6() };
        let packet = TestPacket { destination: address, ports: (40_000, port), ..packet };
        rows.push(answers(format!("served address {address}, port {port}"), packet, ONE[0]).near(Reason::PassNotOurs));
    }
    rows
}

fn sources() -> Vec<Row> {
    let mut rows = Vec::new();
    for source in [
        "0.0.0.0",
        "0.0.0.1",
        "0.255.255.255",
        "127.0.0.1",
        "127.0.0.0",
        "127.255.255.255",
        "224.0.0.0",
        "224.0.0.1",
        "232.1.2.3",
        "239.255.255.255",
        "255.255.255.255",
    ] {
        rows.push(drops(format!("source {source}"), www().v4().source(source), Reason::DropSource));
    }
    for source in ["1.0.0.0", "126.255.255.255", "128.0.0.0", "223.255.255.255", "240.0.0.0", "255.255.255.254"] {
        rows.push(answers(format!("source {source}"), www().v4().source(source), ONE[0]).near(Reason::DropSource));
    }
    for source in ["::", "::1", "ff00::", "ff02::1", "ffff::1", "::ffff:198.51.100.7", "::ffff:0:0", "::ffff:ffff:ffff"]
    {
        rows.push(drops(format!("source {source}"), www6().v6().source(source), Reason::DropSource));
    }
    for source in
        ["::2", "::1:0:1", "fe80::1", "fe00::", "fd00::1", "feff::1", "::fffe:c633:6407", "::1:ffff:c633:6407", "1::1"]
    {
        rows.push(answers(format!("source {source}"), www6().v6().source(source), ONE[1]).near(Reason::DropSource));
    }
    for (address, _) in World::Full.listen() {
        let packet = if address.is_ipv4() { www().v4() } else { www().v6() };
        let own = TestPacket { source: address, ..packet };
        rows.push(drops(format!("source {address}: ours"), own, Reason::DropSource));
    }
    rows.extend([
        answers("one beside our address, IPv4", www().v4().source("203.0.113.52"), ONE[0]).near(Reason::DropSource),
        answers("ours by the low half", www().v6().source("2001:db9::53"), ONE[0]).near(Reason::DropSource),
        answers("ours by the high half", www().v6().source("2001:db8::52"), ONE[0]).near(Reason::DropSource),
        answers("the other machine's address", www().v4().source("203.0.113.90"), ONE[0]).on(World::BalanceOnly),
        answers("the other machine's, IPv6", www().v6().source("2001:db8::5a"), ONE[0]).on(World::BalanceOnly),
    ]);
    rows
}
