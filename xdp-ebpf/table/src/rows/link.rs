//! Ethernet and VLAN.

use xdp_ebpf::reason::Reason;

use crate::{
    packet::{A, AAAA, QINQ, TestPacket, VLAN, ask, www, www6},
    row::{Row, answers, nodata, pass},
    world::{ONE, World},
};

pub fn rows() -> Vec<Row> {
    let mut rows = ethertypes();
    rows.extend(tags());
    rows.extend(macs());
    rows
}

fn ethertypes() -> Vec<Row> {
    let typed = |ethertype| TestPacket { ethertype: Some(ethertype), ..www().v4() };
    let mut rows = vec![
        answers("an IPv4 Ethertype and packet", www().v4(), ONE[0]).near(Reason::PassEthertype),
        pass("an IPv4 packet as IPv6", typed(0x86dd), Reason::PassVersion),
        pass("an IPv6 packet as IPv4", TestPacket { ethertype: Some(0x0800), ..www().v6() }, Reason::PassVersion),
    ];
    // ARP, one beside each of ours, a length, PPPoE, another's tag.
    for ethertype in [0x0806, 0x0801, 0x0008, 0x86dc, 0x86de, 0xdd86, 0x8101, 0x88a9, 0x002e, 0x8864, 0x9100, 0] {
        rows.push(pass(format!("Ethertype {ethertype:#06x}"), typed(ethertype), Reason::PassEthertype));
    }
    rows
}

fn tags() -> Vec<Row> {
    vec![
        answers("one VLAN tag", www().v4().tag(VLAN, 0x6064), ONE[0]).near(Reason::PassVlan),
        answers("one VLAN tag, IPv6", www6().v6().tag(VLAN, 7), ONE[1]),
        answers("one service tag", www().v4().tag(QINQ, 0xfffe), ONE[0]),
        answers("a priority without a VLAN", www().v4().tag(VLAN, 0xe000), ONE[0]).near(Reason::PassVlan),
        pass("a VLAN that the host is not in", www().v4().tag(VLAN, 101), Reason::PassVlan),
        pass("the same, with a priority", www6().edns().v6().tag(VLAN, 0x6065), Reason::PassVlan),
        pass("one that differs in its upper bits", www().v4().tag(VLAN, 100 + 2048), Reason::PassVlan),
        pass("the number that is none", www().v4().tag(VLAN, 0xfff), Reason::PassVlan),
        pass("a service tag that the host is not in", www().v6().tag(QINQ, 2), Reason::PassVlan),
        pass(
            "one of its VLANs, with nothing of ours within",
            www().v4().tag(VLAN, 100).tag(VLAN, 201),
            Reason::PassVlan,
        ),
        pass("the two the other way round", www().v4().tag(VLAN, 200).tag(VLAN, 100), Reason::PassVlan),
        pass("another's inner tag", www().v4().tag(QINQ, 1).tag(VLAN, 6), Reason::PassVlan),
        pass("an inner tag alone", www().v4().tag(VLAN, 200), Reason::PassVlan),
        pass(
            "a VLAN that the host is not in, ARP",
            TestPacket { ethertype: Some(0x0806), ..www().v4() }.tag(VLAN, 3),
            Reason::PassVlan,
        ),
        answers("the greatest number", www().v4().tag(VLAN, 4094), ONE[0]).near(Reason::PassVlan),
        answers("the greatest numbers", www().v4().tag(QINQ, 4094).tag(VLAN, 4094), ONE[0]).near(Reason::PassVlan),
        answers("the first of a word's bits", www().v4().tag(VLAN, 64), ONE[0]).near(Reason::PassVlan),
        answers("QinQ", www().v4().tag(QINQ, 100).tag(VLAN, 200), ONE[0]).near(Reason::PassVlan),
        answers("QinQ, IPv6, EDNS", www6().edns().v6().tag(QINQ, 100).tag(VLAN, 200), ONE[1]),
        answers("a VLAN tag in a VLAN tag", www().v6().tag(VLAN, 1).tag(VLAN, 2), ONE[0]),
        answers("a service tag in a VLAN tag", www().v4().tag(VLAN, 1).tag(QINQ, 2), ONE[0]),
        nodata("QinQ, NODATA", ask("four.example", AAAA).edns().v6().tag(QINQ, 1).tag(VLAN, 2), "example"),
        nodata("one VLAN tag, NODATA", ask("odd.test", A).v4().tag(VLAN, 1), "odd.test"),
        pass("three VLAN tags", www().v4().tag(VLAN, 1).tag(VLAN, 2).tag(VLAN, 3), Reason::PassVlan),
        pass("three tags, the last a service tag", www().v4().tag(QINQ, 1).tag(VLAN, 2).tag(QINQ, 3), Reason::PassVlan),
        pass("a tag of another type within QinQ", www().v4().tag(QINQ, 1).tag(0x9100, 2), Reason::PassEthertype)
            .near(Reason::PassVlan),
        pass("an unknown tag before one of ours", www().v4().tag(0x9100, 1).tag(VLAN, 2), Reason::PassEthertype)
            .near(Reason::PassVlan),
    ]
}

fn macs() -> Vec<Row> {
    let to = |mac: [u8; 6]| www().v4().at_mac(mac);
    let mut rows = Vec::new();
    for last in 1..=8 {
        rows.push(answers(format!("interface {last}'s MAC"), to([2, 0, 0, 0, 0, last]), ONE[0]).near(Reason::PassMac));
    }
    rows.extend([
        answers("the second of two MACs, IPv6", www().v6().at_mac([2, 0, 0, 0, 0, 2]), ONE[0]).on(World::BalanceOnly),
        pass("a MAC that only the other machine has", to([2, 0, 0, 0, 0, 3]), Reason::PassMac).on(World::BalanceOnly),
        pass("MAC 0, which an empty entry is not", to([0; 6]), Reason::PassMac).on(World::BalanceOnly),
        pass("MAC 0, no entry empty", to([0; 6]), Reason::PassMac),
        pass("broadcast MAC", to([0xff; 6]), Reason::PassMac),
        pass("broadcast MAC, IPv6, a VLAN tag", www6().v6().tag(VLAN, 1).at_mac([0xff; 6]), Reason::PassMac),
        pass("multicast MAC", to([0x33, 0x33, 0, 0, 0, 1]), Reason::PassMac),
    ]);
    for byte in 0..6 {
        let mut mac = [2, 0, 0, 0, 0, 1];
        mac[byte] ^= 0x10;
        rows.push(pass(format!("another MAC by byte {byte}"), to(mac), Reason::PassMac));
    }
    rows
}
