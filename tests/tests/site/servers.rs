//! The servers of examples/servers/, each started by the contract of docs/director/contract.md.
#![expect(clippy::unwrap_used, reason = "a panic is how a test fails")]

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use rustix::process::Signal;
use tests::{
    lab::can_run,
    netns::Netns,
    process::eventually,
    scratch::root,
    server::{AppKind, AppServer, Given, HttpClient, PATIENCE, listener},
};
use zerottl_server::message::ServerMessage;

const ALL: Given = Given { handover: true, page: true };

fn started(machine: &Netns, kind: AppKind, name: &str, addresses: &[&str], given: Given) -> AppServer {
    let listeners = addresses.iter().map(|address| listener(machine, address.parse().unwrap()).unwrap()).collect();
    AppServer::start(machine, name, &kind.command().unwrap(), listeners, given, |_| ()).unwrap()
}

fn at(server: &AppServer, index: usize) -> SocketAddr {
    server.listeners[index].local_addr().unwrap()
}

/// Asks on a connection of its own, and expects the server's name and the client's own address.
fn meets(machine: &Netns, to: SocketAddr, name: &str) {
    let mut client = HttpClient::connect(machine, to).unwrap();
    let expected = format!("{name} {}\n", client.address().unwrap());
    assert_eq!(client.get("/").unwrap(), expected);
    assert_eq!(client.get("/").unwrap(), expected, "once more on the same connection");
}

/// S2-1B: three languages, one contract, and nobody between client and server.
#[test]
fn s2_1b_servers_in_three_languages() {
    if !can_run("application servers by the contract") {
        return;
    }
    let machine = Netns::new().unwrap();
    for (kind, addresses, given) in [
        (AppKind::Rust, &["127.0.0.1:0", "[::1]:0"][..], ALL),
        (AppKind::Python, &["127.0.0.1:0", "[::1]:0"], ALL),
        (AppKind::Java, &["127.0.0.1:0"], Given::default()),
        (AppKind::Java, &["[::1]:0"], Given::default()),
    ] {
        let mut server = started(&machine, kind, "app-1", addresses, given);
        for index in 0..addresses.len() {
            let to = at(&server, index);
            if kind == AppKind::Java && to.is_ipv6() {
                // It writes the address out in full.
                let answer = HttpClient::connect(&machine, to).unwrap().get("/").unwrap();
                assert!(answer.starts_with("app-1 [0:0:0:0:0:0:0:1"), "{answer}");
            } else {
                meets(&machine, to, "app-1");
            }
        }
        let mut client = HttpClient::connect(&machine, at(&server, 0)).unwrap();
        assert_eq!(client.get("/bytes?n=3000000").unwrap().len(), 3_000_000, "{kind:?}");

        // SIGTERM: what has begun goes on to its end, and then the process is gone.
        client.ask("/sleep?ms=1000").unwrap();
        let mut idle = HttpClient::connect(&machine, at(&server, 0)).unwrap();
        idle.get("/").unwrap();
        server.process.signal(Signal::TERM).unwrap();
        let answer = client.answer();
        assert!(answer.as_ref().is_ok_and(|answer| answer.starts_with("app-1 ")), "{kind:?}: {answer:?}");
        assert!(idle.is_closed().unwrap());
        server.process.wait(PATIENCE).unwrap();
    }
}

fn handed_over(machine: &Netns, server: &AppServer, waiting: &TcpListener) -> HttpClient {
    let client = HttpClient::connect(machine, waiting.local_addr().unwrap()).unwrap();
    let (connection, from) = waiting.accept().unwrap();
    assert_eq!(from, client.address().unwrap());
    server.hand_over(&connection, from).unwrap();
    client
}

/// A connection that has waited at the director's goes over to the server, with its client's address.
#[test]
fn connections_are_handed_over_with_their_clients_address() {
    if !can_run("connections that are handed over") {
        return;
    }
    let machine = Netns::new().unwrap();
    for kind in [AppKind::Rust, AppKind::Python] {
        let server = started(&machine, kind, "app-1", &["127.0.0.1:0"], ALL);
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let waiting = listener(&machine, address.parse().unwrap()).unwrap();
            // What a server does not know it passes over, and closes what came with it.
            let mut stray = HttpClient::connect(&machine, waiting.local_addr().unwrap()).unwrap();
            server.send(b"\x02C of a later version", Some(&waiting.accept().unwrap().0)).unwrap();
            server.send(b"\x01Z", None).unwrap();
            let mut client = handed_over(&machine, &server, &waiting);
            let expected = format!("app-1 {}\n", client.address().unwrap());
            assert_eq!(client.get("/").unwrap(), expected, "{kind:?}");
            assert_eq!(client.get("/").unwrap(), expected);
            assert!(stray.is_closed().unwrap());
            drop(client);
            assert_eq!(server.hears().unwrap().0, ServerMessage::Done, "{kind:?}");
        }
    }
}

/// A session's connection that meets the wrong server is handed on, before anything is read from it.
#[test]
fn servers_give_connections_to_each_other() {
    if !can_run("connections that servers give on") {
        return;
    }
    let machine = Netns::new().unwrap();
    let [first, second] = [(AppKind::Rust, "app-1"), (AppKind::Python, "app-2")]
        .map(|(kind, name)| started(&machine, kind, name, &["127.0.0.1:0"], ALL));
    for (one, other, name) in [(&first, &second, "app-2"), (&second, &first, "app-1")] {
        let mut client = HttpClient::connect(&machine, at(one, 0)).unwrap();
        client.ask(&format!("/give?to={name}")).unwrap();
        let heard = || loop {
            // Of the connection that was handed over before.
            match one.hears().unwrap() {
                (ServerMessage::Done, _) => {}
                other => return other,
            }
        };
        let (said, connection) = heard();
        assert_eq!(said, ServerMessage::Give(name.to_owned()));
        other.hand_over(&connection.unwrap(), client.address().unwrap()).unwrap();
        assert_eq!(client.answer().unwrap(), format!("{name} {}\n", client.address().unwrap()));
    }
}

/// The page says when the loop last went round, by the clock of the kernel program, and how much there is to do.
#[test]
fn a_page_tells_a_loop_that_stands_still() {
    if !can_run("pages of servers") {
        return;
    }
    let machine = Netns::new().unwrap();
    let now = || {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
        Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec.unsigned_abs() as u32)
    };
    for kind in [AppKind::Rust, AppKind::Python] {
        let server = started(&machine, kind, "app-1", &["127.0.0.1:0"], ALL);
        let age = || now().saturating_sub(Duration::from_nanos(server.page().unwrap().looped_at));
        let pending = || server.page().unwrap().pending;
        assert!(eventually(PATIENCE, || age() < Duration::from_millis(200)), "{kind:?} says that it lives");
        let mut client = HttpClient::connect(&machine, at(&server, 0)).unwrap();
        client.ask("/hold").unwrap();
        assert!(eventually(PATIENCE, || pending() == 1), "{kind:?}");
        assert_eq!(server.page().unwrap().has_pending, 1);
        assert!(eventually(PATIENCE, || age() < Duration::from_millis(200)), "it goes round meanwhile");
        let mut other = HttpClient::connect(&machine, at(&server, 0)).unwrap();
        other.ask("/hang?ms=2000").unwrap();
        assert!(eventually(PATIENCE, || age() > Duration::from_secs(1)), "{kind:?} stands still");
        other.answer().unwrap();
        assert!(eventually(PATIENCE, || age() < Duration::from_millis(200)), "and goes on");
        assert!(server.page().unwrap().looped_at <= now().as_nanos() as u64);
    }
}

/// A connection that asks for nothing more stays, however much else the server does: in Python, what nobody holds is collected.
#[test]
fn a_silent_connection_stays() {
    if !can_run("servers") {
        return;
    }
    let machine = Netns::new().unwrap();
    let server = started(&machine, AppKind::Python, "py-1", &["127.0.0.1:8080"], Given::default());
    let mut silent: Vec<HttpClient> = (0..4).map(|_| HttpClient::connect(&machine, at(&server, 0)).unwrap()).collect();
    for client in &mut silent {
        client.ask("/hold").unwrap();
    }
    let mut other = HttpClient::connect(&machine, at(&server, 0)).unwrap();
    for _ in 0..100 {
        for _ in 0..20 {
            other.get("/").unwrap();
        }
        HttpClient::connect(&machine, at(&server, 0)).unwrap().get("/").unwrap();
    }
    let open = machine.read("ss", &["-Htn", "state", "established", "sport", "=", ":8080"]).unwrap();
    assert!(open.lines().count() > silent.len(), "{open}");
}

/// The example in Python of docs/director/contract.md is a server.
#[test]
fn the_contracts_example_is_a_server() {
    if !can_run("the contract's example") {
        return;
    }
    let machine = Netns::new().unwrap();
    let page = fs::read_to_string(root().join("docs/director/contract.md")).unwrap();
    let program = page.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let command = ["python3", "-c", program].map(str::to_owned);
    let listeners = vec![listener(&machine, "127.0.0.1:0".parse().unwrap()).unwrap()];
    let server = AppServer::start(&machine, "app-1", &command, listeners, Given::default(), |_| ()).unwrap();
    let mut client = HttpClient::connect(&machine, at(&server, 0)).unwrap();
    assert_eq!(client.get("/").unwrap(), format!("app-1 {}\n", client.address().unwrap()));
}

/// The director takes a listener out of use by `shutdown`: the server goes on with what it has.
#[test]
fn a_listener_that_is_shut_down_ends_nothing_else() {
    if !can_run("listeners that are shut down") {
        return;
    }
    let machine = Netns::new().unwrap();
    for kind in [AppKind::Rust, AppKind::Python, AppKind::Java] {
        let mut server = started(&machine, kind, "app-1", &["127.0.0.1:0"], Given::default());
        let mut client = HttpClient::connect(&machine, at(&server, 0)).unwrap();
        client.get("/").unwrap();
        rustix::net::shutdown(&server.listeners[0], rustix::net::Shutdown::Both).unwrap();
        assert!(client.get("/sleep?ms=200").unwrap().starts_with("app-1 "), "{kind:?}");
        assert!(client.get("/").unwrap().starts_with("app-1 "), "{kind:?}");
        assert_eq!(server.process.ended().unwrap(), None, "{kind:?}");
        server.process.signal(Signal::TERM).unwrap();
        server.process.wait(PATIENCE).unwrap();
    }
}
