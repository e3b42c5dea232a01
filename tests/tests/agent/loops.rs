//! No two servers answer each other for ever: what comes from another server's port is judged by what it is.
#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

use std::{
    io::ErrorKind,
    net::{IpAddr, UdpSocket},
    time::Duration,
};

use domain::base::Rtype;
use tests::{
    client::LOST_AFTER,
    config::Config,
    lab::{CLIENT, front_addresses},
    query::{ClientEdns, ClientQuestion},
    scene::Scene,
};

/// Long enough for any answer that would come after all.
const QUIET: Duration = Duration::from_millis(500);

/// Invariant 8, S4-3A-305: a query from source port 53 is answered like any other; its own answer sent back, and every
/// kind of response there is, is not answered at all.
fn no_answer_loops(xdp: &str) {
    let config = Config { xdp: xdp.into(), probe: None, ..Config::default() };
    let Some(scene) = Scene::start("S4-3A-305: answer loops", config) else { return };
    for (source, server) in [IpAddr::from(CLIENT.0), IpAddr::from(CLIENT.1)].into_iter().zip(front_addresses(0)) {
        let socket = scene.lab.client.run(move || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind((source, 53))?;
            socket.connect(server)?;
            Ok(socket)
        });
        let socket = socket.expect("the namespace's thread").expect("port 53 is free in the client's namespace");
        for (name, rtype) in [("app.com", Rtype::A), ("mail.app.com", Rtype::A), ("none.app.com", Rtype::TXT)] {
            let question = ClientQuestion::new(name, rtype, Some(ClientEdns::USUAL)).expect("a legal name");
            let query = question.query(rand::random(), rand::random());
            let mut buffer = [0; 2048];
            socket.set_read_timeout(Some(LOST_AFTER)).expect("a timeout");
            socket.send(&query).expect("sent");
            let length = socket.recv(&mut buffer).expect("a query from port 53 is answered");
            let answer = buffer[..length].to_vec();
            question.judge(&query, answer.clone()).expect("as usual");

            socket.send(&answer).expect("sent");
            for opcode in 0..16 {
                for rcode in 0..16 {
                    let mut response = query.clone();
                    (response[2], response[3]) = (0x80 | opcode << 3, rcode);
                    socket.send(&response).expect("sent");
                }
            }
            socket.set_read_timeout(Some(QUIET)).expect("a timeout");
            let said = socket.recv(&mut buffer);
            let kind = said.expect_err("a response from port 53 is not answered").kind();
            assert!(matches!(kind, ErrorKind::WouldBlock | ErrorKind::TimedOut), "{xdp}, {name}: {kind}");
        }
    }
    let in_kernel = scene.kernel_answers();
    assert_eq!(in_kernel, if xdp == "off" { 0 } else { 4 }, "app.com and none.app.com, over both families");
}

/// See [`no_answer_loops`] (S4-3A-305).
#[test]
fn the_kernel_answers_queries_from_port_53_and_no_response() {
    no_answer_loops("native");
}

/// See [`no_answer_loops`] (S4-3A-305).
#[test]
fn the_sockets_answer_queries_from_port_53_and_no_response() {
    no_answer_loops("off");
}
