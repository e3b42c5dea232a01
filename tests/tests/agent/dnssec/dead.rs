//! The agent killed: the kernel has all signatures, and goes on.

use std::io::ErrorKind;

use domain::base::{Message, Rtype};
use rustix::process::{Pid, Signal, kill_process};
use tests::{
    lab::front_addresses,
    query::ClientQuestion,
    resolver::ResolverKind,
    validator::{Validated, exchange},
};

use super::scene::{NAMES, Signed, TYPES, config};

/// D-DEAD: after kill -9 addresses and HTTPS records of all dynamic names go on to validate, by each resolver that has the
/// zone's key; and so do proofs that a type or a name is missing, as far as a frame has room for them.
#[test]
fn signed_answers_go_on_when_the_agent_is_killed() {
    let Some(mut signed) = Signed::start("D-DEAD", config()) else { return };
    let before = signed.scene.kernel_answers();
    let kinds: Vec<ResolverKind> = {
        let resolvers = signed.resolvers();
        // They have the key from now on, and where the zone is.
        for resolver in &resolvers {
            let _ = resolver.secure("app.com", "A");
        }
        assert!(signed.scene.kernel_answers() > before, "with DO, in the kernel");
        let agent = Pid::from_raw(signed.scene.agent.pid().cast_signed()).expect("a process");
        kill_process(agent, Signal::KILL).expect("killed");
        for _ in 0..3 {
            for (name, keys) in NAMES {
                for (resolver, rtype) in resolvers.iter().flat_map(|resolver| TYPES.map(|rtype| (resolver, rtype))) {
                    // Over IPv4 that one is over 3.2 times its query (invariant 8): truncated, and nobody listens by TCP now.
                    if (name, rtype) == ("app.com", "HTTPS") {
                        continue;
                    }
                    let answer: Validated = resolver.secure(name, rtype);
                    resolver.expect(&answer, signed.is_of(&answer, rtype, keys));
                }
            }
        }
        resolvers.iter().map(|resolver| resolver.kind).collect()
    };
    assert_eq!(kinds.len(), 3, "{kinds:?}");
    let bare = ClientQuestion::new("app.com", Rtype::HTTPS, None).expect("a legal name").query(7, rand::random());
    let bare = with_do(bare, 0);
    for server in front_addresses(0) {
        match exchange(&signed.scene.lab.client, server, &bare) {
            Ok(answer) => assert_eq!((server.is_ipv6(), answer[7]), (true, 2), "{server}"),
            Err(e) => assert_eq!((server.is_ipv4(), e.kind()), (true, ErrorKind::ConnectionRefused), "{server}: TCP"),
        }
    }
    for (name, rtype, rcode, proofs) in [
        ("boston.app.com", Rtype::MX, 0, 1),
        ("nothing.app.com", Rtype::A, 3, 2),
        ("x.boston.app.com", Rtype::AAAA, 3, 2),
    ] {
        for server in front_addresses(0) {
            let answer = exchange(&signed.scene.lab.client, server, &padded(name, rtype)).expect("answered");
            let message = Message::from_octets(&answer[..]).expect("a message");
            let count =
                |rtype| message.iter().filter(|record| record.as_ref().is_ok_and(|rr| rr.0.rtype() == rtype)).count();
            assert_eq!((answer[3] & 0xf, answer[2] & 2), (rcode, 0), "{name} {rtype}: the rcode, and whole");
            assert!(count(Rtype::NSEC) >= 1 && count(Rtype::NSEC) <= proofs, "{name} {rtype}");
            assert_eq!(count(Rtype::RRSIG), count(Rtype::NSEC) + 1, "{name} {rtype}");
        }
    }
    signed.scene.agent.kill();
}

/// A query with DO that is as long as its answer will be: frames that a socket sends over veth have no room behind them.
fn padded(name: &str, rtype: Rtype) -> Vec<u8> {
    with_do(ClientQuestion::new(name, rtype, None).expect("a legal name").query(7, rand::random()), 460)
}

/// Puts an OPT record with DO behind a question, with this much padding in it (RFC 7830); none at all for 0.
fn with_do(mut query: Vec<u8>, padding: u16) -> Vec<u8> {
    query[11] = 1;
    query.extend([0, 0, 41, 4, 208, 0, 0, 0x80, 0]);
    if padding == 0 {
        query.extend([0, 0]);
        return query;
    }
    query.extend((padding + 4).to_be_bytes());
    query.extend([0, 12]);
    query.extend(padding.to_be_bytes());
    query.extend(vec![0; padding.into()]);
    query
}
