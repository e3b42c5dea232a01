//! Questions without DO to a signed zone: nothing of DNSSEC in the answers, and the kernel gives them as before.

use domain::base::{Message, Rtype};
use tests::{
    lab::front_addresses,
    query::{ClientEdns, ClientQuestion},
    validator::exchange,
};

use super::scene::{NAMES, Signed, TYPES, config};

/// AD and CD in a query's header.
const AD_CD: u8 = 0x30;

/// The types of all records of a message.
fn types(answer: &[u8]) -> Vec<Rtype> {
    let message = Message::from_octets(answer).expect("a message");
    message.iter().map(|record| record.expect("a record").0.rtype()).collect()
}

/// D-DO: no RRSIG and no NSEC in any section without DO, with EDNS and without, over IPv4 and IPv6; with DO they are
/// there. AD and CD are clear whatever the query has.
#[test]
fn nothing_is_signed_without_do() {
    let Some(signed) = Signed::start("D-DO", config()) else { return };
    let dynamic = NAMES.iter().flat_map(|(name, _)| TYPES.map(|rtype| (*name, rtype)));
    let other = [
        ("app.com", "SOA"),
        ("app.com", "NS"),
        ("app.com", "TXT"),
        ("app.com", "ANY"),
        ("boston.app.com", "MX"),
        ("boston.app.com", "SRV"),
        ("mail.app.com", "A"),
        ("mail.app.com", "AAAA"),
        ("chain.app.com", "A"),
        ("a.wild.app.com", "A"),
        ("a.wild.app.com", "AAAA"),
        ("ent.app.com", "A"),
        ("host.old.app.com", "A"),
        ("nothing.app.com", "A"),
        ("x.boston.app.com", "A"),
        ("big.app.com", "TXT"),
        ("host.secure.app.com", "A"),
        ("host.plain.app.com", "A"),
        ("app.com", "DNSKEY"),
        ("secure.app.com", "DS"),
    ];
    let edns = [None, Some(false), Some(true)].map(|edns| edns.map(|dnssec_ok| ClientEdns { size: 1232, dnssec_ok }));
    for (name, rtype) in dynamic.chain(other) {
        for server in front_addresses(0) {
            for edns in edns {
                let asked = ClientQuestion::new(name, rtype.parse().expect("a type"), edns).expect("a legal name");
                for bits in [0, AD_CD] {
                    let mut query = asked.query(rand::random(), rand::random());
                    query[3] |= bits;
                    let answer = exchange(&signed.scene.lab.client, server, &query).expect("answered");
                    let what = format!("{name} {rtype} {edns:?}");
                    assert_eq!(answer[3] & AD_CD, 0, "AD and CD are clear: {what}");
                    let types = types(&answer);
                    let dnssec = types.iter().any(|rtype| matches!(*rtype, Rtype::RRSIG | Rtype::NSEC | Rtype::NSEC3));
                    assert_eq!(dnssec, edns.is_some_and(|edns| edns.dnssec_ok), "{what}: {types:?}");
                }
            }
        }
    }
}

/// D-DO: without DO, dynamic names of a signed zone are answered in the kernel, as those of any zone.
#[test]
fn without_do_the_kernel_answers_as_before() {
    let Some(signed) = Signed::start("D-DO: in the kernel", config()) else { return };
    let before = signed.scene.kernel_answers();
    let mut asked = 0;
    for v6 in [false, true] {
        let client = signed.scene.client(v6);
        for edns in [None, Some(ClientEdns { size: 1232, dnssec_ok: false })] {
            for (name, _) in NAMES {
                for rtype in [Rtype::A, Rtype::AAAA] {
                    let question = ClientQuestion::new(name, rtype, edns).expect("a legal name");
                    client.address(&question).unwrap_or_else(|e| panic!("{name} {rtype}: {e}"));
                    asked += 1;
                }
            }
            for (name, rtype) in [("nothing.app.com", Rtype::A), ("boston.app.com", Rtype::SRV)] {
                let question = ClientQuestion::new(name, rtype, edns).expect("a legal name");
                client.ask(&question).expect("answer").negative().expect("negative");
                asked += 1;
            }
        }
    }
    assert_eq!(signed.scene.kernel_answers() - before, asked);
}
