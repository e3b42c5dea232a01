//! The distributor's programs with real sockets: shares, caps, counts, migration.
//!
//! | module | concern |
//! |---|---|
//! | `counts` | live connections beside the kernel's own table |
//! | `handshakes` | bursts and floods |
//! | `world` | a namespace with listeners in slots |

mod counts;
mod handshakes;
mod world;

use std::{net::TcpStream, os::fd::AsFd as _, time::Duration};

use rustix::net::{Shutdown, shutdown};
use xdp_ebpf::director::{
    layout::{POLICY_LEAST, POLICY_ROUND_ROBIN, STATE_CLOSED, SlotSettings},
    reason::ChoiceReason,
};
use zerottl_kernel::director::{Adoption, SteerKind};

use self::world::{Distributor, capped, in_world, sysctl, talks, weighing};

/// Cycles of a test of shares.
const CYCLES: usize = 20;

fn three_two_one() -> [SlotSettings; 3] {
    [3, 2, 1].map(weighing)
}

/// S2-4: in each cycle of 6, three, two and one, give or take one; and none is lost over many.
fn check_shares(cookies: &'static str) {
    sysctl("tcp_syncookies", cookies);
    for mut distributor in [Distributor::new(&three_two_one()), Distributor::v6(&three_two_one())] {
        let mut clients = Vec::new();
        for cycle in 1..=CYCLES as u64 {
            let before = distributor.assigned();
            clients.extend((0..6).map(|_| distributor.connect()));
            let after = distributor.assigned();
            let in_cycle: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
            assert!(in_cycle.iter().zip([3, 2, 1]).all(|(got, due)| got.abs_diff(due) <= 1), "{in_cycle:?}");
            let due = [3, 2, 1].map(|share| share * cycle);
            assert!(after.iter().zip(due).all(|(got, due)| got.abs_diff(due) <= 1), "{after:?} after {cycle} cycles");
        }
        assert_eq!(distributor.live(), [60, 40, 20]);
        assert_eq!(distributor.tally(1).reserved, 0, "every handshake gave its reservation back");
        let (slot, reason) = distributor.choice(&clients[0]);
        assert_eq!((slot, reason), (1, ChoiceReason::RoundRobin));
        // Under SYN cookies the program runs at the SYN and at the ACK.
        let of = |wanted: ChoiceReason, counters: &[(u32, ChoiceReason, u64)]| -> u64 {
            counters.iter().filter(|(_, reason, _)| *reason == wanted).map(|(.., count)| count).sum()
        };
        let counters = distributor.programs().counters().unwrap();
        let again = if cookies == "2" { 120 } else { 0 };
        assert_eq!((of(ChoiceReason::RoundRobin, &counters), of(ChoiceReason::Remembered, &counters)), (120, again));
    }
}

/// S2-4: without SYN cookies.
#[test]
fn shares_are_three_two_one() {
    in_world("shares by weight", || check_shares("1"));
}

/// S2-4: under SYN cookies, where the program runs twice for each connection.
#[test]
fn shares_are_three_two_one_with_syn_cookies() {
    in_world("shares by weight with SYN cookies", || check_shares("2"));
}

/// A hundred connections that wait to be accepted survive their listener.
#[test]
fn what_is_queued_moves_to_another_listener() {
    in_world("migration", || {
        let mut distributor = Distributor::new(&[weighing(1), weighing(1)]);
        distributor.programs().set_slot(2, SlotSettings { state: STATE_CLOSED, ..weighing(1) }).unwrap();
        let mut clients: Vec<TcpStream> = (0..100).map(|_| distributor.connect()).collect();
        assert_eq!(distributor.live(), [100, 0]);
        distributor.programs().set_slot(1, SlotSettings { state: STATE_CLOSED, ..weighing(1) }).unwrap();
        distributor.programs().set_slot(2, weighing(1)).unwrap();
        shutdown(&distributor.listeners[1], Shutdown::Both).unwrap();
        assert_eq!(distributor.live(), [0, 100]);
        assert_eq!(distributor.choice(&clients[0]), (2, ChoiceReason::Migrated));
        let mut servers: Vec<TcpStream> = clients.iter().map(|_| distributor.accept(2)).collect();
        servers.sort_by_key(|server| server.peer_addr().unwrap());
        clients.sort_by_key(|client| client.local_addr().unwrap());
        for (client, server) in clients.iter_mut().zip(&mut servers) {
            talks(client, server).unwrap();
        }
        drop(servers);
        drop(clients);
        distributor.wait_for_live(&[0, 0]);
    });
}

/// S2-X-DSTATE: another director finds counts and choices as they are.
#[test]
fn another_director_takes_the_counts_over() {
    in_world("counts over a director's death", || {
        let mut distributor = Distributor::new(&three_two_one());
        assert!(!distributor.programs().taken_over());
        let mut clients: Vec<TcpStream> = (0..12).map(|_| distributor.connect()).collect();
        distributor.reopen();
        assert!(distributor.programs().taken_over());
        assert_eq!((distributor.live(), distributor.assigned()), (vec![6, 4, 2], vec![6, 4, 2]));
        for slot in 0..4 {
            let listener = distributor.listeners[slot as usize].try_clone().unwrap();
            distributor.programs().enlist(0, slot, 1, listener.as_fd()).unwrap();
        }
        let listener = distributor.listeners[0].try_clone().unwrap();
        distributor.programs().attach(0, listener.as_fd()).unwrap();
        clients.extend((0..6).map(|_| distributor.connect()));
        assert_eq!(distributor.live(), [9, 6, 3]);
    });
}

/// A cap is never passed, and what is beyond it waits.
#[test]
fn caps_hold_and_the_rest_waits() {
    in_world("caps", || {
        let mut distributor = Distributor::new(&[capped(3), capped(2)]);
        let clients: Vec<TcpStream> = (0..7).map(|_| distributor.connect()).collect();
        assert_eq!((distributor.live(), distributor.waiting()), (vec![3, 2], 2));
        assert_eq!(distributor.choice(&clients[6]), (0, ChoiceReason::Full));
        // One that waits is handed over.
        let waiting = distributor.accept(0);
        assert_eq!(distributor.programs().adopt(waiting.as_fd(), 1, 1).unwrap(), Adoption::Counted);
        assert_eq!((distributor.live(), distributor.waiting()), (vec![4, 2], 1));
        drop(clients);
        drop(waiting);
        drop(distributor.accept(0));
        distributor.wait_for_live(&[3, 2]);
    });
}

/// Newcomers go behind those that wait.
#[test]
fn newcomers_go_behind_those_that_wait() {
    in_world("waiting first", || {
        let mut distributor = Distributor::new(&[weighing(1)]);
        distributor.programs().set_waiting_until(Some(Duration::from_mins(5)));
        let client = distributor.connect();
        assert_eq!(distributor.choice(&client), (0, ChoiceReason::WaitingBehind));
        distributor.programs().set_waiting_until(None);
        let client = distributor.connect();
        assert_eq!(distributor.choice(&client), (1, ChoiceReason::RoundRobin));
    });
}

/// The fewest connections, by weight.
#[test]
fn least_connections_are_filled_up() {
    in_world("least connections", || {
        let mut distributor = Distributor::new(&[weighing(1), weighing(1)]);
        distributor.programs().set_control(POLICY_ROUND_ROBIN, None, 1);
        let mut clients: Vec<TcpStream> = (0..4).map(|_| distributor.connect()).collect();
        distributor.programs().set_control(POLICY_LEAST, None, 2);
        clients.extend((0..4).map(|_| distributor.connect()));
        assert_eq!(distributor.live(), [4, 4]);
        assert_eq!(distributor.choice(&clients[7]), (2, ChoiceReason::Least));
        clients.extend((0..2).map(|_| distributor.connect()));
        assert_eq!(distributor.live(), [5, 5]);
    });
}

/// A client's address meets its server again.
#[test]
fn a_client_meets_its_server_again() {
    in_world("affinity", || {
        let mut distributor = Distributor::new(&[weighing(1), weighing(1)]);
        distributor.programs().set_control(POLICY_ROUND_ROBIN, Some(Duration::from_mins(5)), 2);
        let clients: Vec<TcpStream> = (0..5).map(|_| distributor.connect()).collect();
        assert_eq!(distributor.live(), [5, 0]);
        assert_eq!(distributor.choice(&clients[4]), (1, ChoiceReason::Affinity));
        // Not if it takes none.
        distributor.programs().set_slot(1, SlotSettings { state: STATE_CLOSED, ..weighing(1) }).unwrap();
        let client = distributor.connect();
        assert_eq!(distributor.choice(&client), (2, ChoiceReason::RoundRobin));
        // Nor if it is another process.
        distributor.programs().set_slot(2, SlotSettings { generation: 2, ..weighing(1) }).unwrap();
        let client = distributor.connect();
        assert_eq!(distributor.choice(&client), (2, ChoiceReason::RoundRobin));
    });
}

/// A check reaches the server that it is for, and counts for nothing; over both families.
#[test]
fn the_directors_own_connections_are_steered() {
    in_world("steering", || {
        for make in [Distributor::new, Distributor::v6] {
            let mut distributor = make(&[weighing(1), SlotSettings { state: STATE_CLOSED, ..weighing(1) }]);
            for (kind, live, reason) in
                [(SteerKind::Check, [0, 0], ChoiceReason::Check), (SteerKind::Relay, [0, 1], ChoiceReason::Relay)]
            {
                let (socket, from) = world::bound(distributor.at.ip());
                distributor.programs().steer(from, 2, kind).unwrap();
                let client = world::connect(socket, distributor.at);
                assert_eq!(distributor.choice(&client), (2, reason), "{from}");
                assert_eq!(distributor.live(), live, "{kind:?}, {from}");
                drop(distributor.accept(2));
                drop(client);
                distributor.wait_for_live(&[0, 0]);
                distributor.programs().unsteer(from).unwrap();
            }
        }
    });
}

/// A server that does not go round its loop gets nothing, and again something once it does.
#[test]
fn a_hanging_server_gets_no_connection() {
    in_world("a hanging server", || {
        let hang_ns = 200_000_000;
        let mut distributor = Distributor::new(&[SlotSettings { hang_ns, ..weighing(1) }]);
        let mut page = world::page(distributor.programs().new_page(1).unwrap());
        let mut clients = vec![distributor.connect()];
        assert_eq!(distributor.live(), [1], "it has not published yet");
        page.loop_now();
        std::thread::sleep(Duration::from_millis(250));
        clients.push(distributor.connect());
        assert_eq!(distributor.choice(&clients[1]), (0, ChoiceReason::NoneReady));
        distributor.reopen();
        assert_ne!(distributor.programs().page(1).unwrap().looped_at, 0, "the page outlives the director");
        page.loop_now();
        let choice = loop {
            // A machine that was away for 200 ms between these lines tries again.
            page.loop_now();
            clients.push(distributor.connect());
            let choice = distributor.choice(clients.last().unwrap());
            if choice.0 == 1 || clients.len() > 50 {
                break choice;
            }
        };
        assert_eq!(choice, (1, ChoiceReason::RoundRobin));
        // Another process has the slot: it has published nothing.
        distributor.programs().reset_slot(1).unwrap();
        assert_eq!(distributor.programs().page(1), None);
    });
}

/// The verifier's work, and that it has room to spare.
#[test]
fn the_verifier_has_room_to_spare() {
    const INSTRUCTIONS_MAX: u32 = 500_000;
    in_world("the verifier's work on the distributor", || {
        let mut distributor = Distributor::new(&[]);
        for (program, count, size) in distributor.programs().verified() {
            println!("{program}: the verifier looked at {count} instructions of {size}");
            assert!(count <= INSTRUCTIONS_MAX, "{count} instructions");
        }
    });
}
