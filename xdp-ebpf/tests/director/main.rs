//! The distributor's choice on the host: turns, reservations, caps, and the order of what is asked.
#![expect(clippy::expect_used, reason = "a panic is how a test fails")]

mod host;

use proptest::{prelude::*, sample::Index};
use xdp_ebpf::director::{
    layout::{
        ConnectionKey, POLICY_LEAST, STATE_CLOSED, STEER_CHECK, STEER_RELAY, ServerPage, SlotSettings, SteeredRecord,
    },
    maps::Arrival,
    reason::ChoiceReason,
    reserve::{epoch, reserved},
};

use self::host::{Host, Made, weighing};

fn capped(cap: u32) -> SlotSettings {
    SlotSettings { cap, ..weighing(1) }
}

/// Whether each slot has its share of so many cycles, give or take one.
fn fair(assigned: &[u64], weights: &[u64], cycles: u64) -> bool {
    assigned.iter().zip(weights).all(|(got, weight)| got.abs_diff(weight * cycles) <= 1)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    /// S2-4: one connection after another, each slot has its share after each cycle.
    #[test]
    fn turns_follow_weights(weights in prop::collection::vec(1_u64..12, 1..7), cycles in 1_u64..20) {
        let host = Host::new(weights.iter().copied().map(weighing));
        for cycle in 1..=cycles {
            (0..weights.iter().sum()).for_each(|_| _ = host.connect());
            let assigned = host.assigned();
            prop_assert!(fair(&assigned, &weights, cycle), "{assigned:?} after {cycle} of {weights:?}");
        }
    }

    /// S2-4: in bursts whose handshakes end in any order, too.
    #[test]
    fn bursts_follow_weights(
        weights in prop::collection::vec(1_u64..8, 2..5),
        bursts in prop::collection::vec(prop::collection::vec(any::<Index>(), 1..4), 1..6),
    ) {
        let host = Host::new(weights.iter().copied().map(weighing));
        let cycle: u64 = weights.iter().sum();
        let mut cycles = 0;
        for burst in &bursts {
            let mut open: Vec<(Arrival, u32)> = Vec::new();
            for _ in 0..burst.len() as u64 * cycle {
                let arrival = host.newcomer();
                let (slot, _) = host.syn(&arrival);
                open.push((arrival, slot));
            }
            let mut turn = burst.iter().cycle();
            while !open.is_empty() {
                let (arrival, slot) = open.swap_remove(turn.next().expect("endless").index(open.len()));
                let _ = host.ack(arrival, slot);
            }
            cycles += burst.len() as u64;
            let assigned = host.assigned();
            prop_assert!(fair(&assigned, &weights, cycles), "{assigned:?} after {cycles} of {weights:?}");
            host.pass_ms(100);
        }
    }

    /// S2-4: handshakes that come to nothing leave shares as they were, however they lie between those that end.
    #[test]
    fn lapsed_handshakes_leave_no_trace(
        weights in prop::collection::vec(1_u64..6, 2..5),
        floods in prop::collection::vec(0_u32..400, 60),
    ) {
        let host = Host::new(weights.iter().copied().map(weighing));
        let cycle: u64 = weights.iter().sum();
        // Long enough under way to be known for what it is.
        for _ in 0..400 {
            (0..4).for_each(|_| _ = host.syn(&host.newcomer()));
            host.pass_ms(1);
        }
        let before = host.assigned();
        let mut flood = floods.iter().cycle();
        for turn in 1..=cycle * 10 {
            for _ in 0..*flood.next().expect("endless") {
                host.syn(&host.newcomer());
            }
            host.pass_ms(3);
            let _ = host.connect();
            if turn % cycle == 0 {
                let after = host.assigned();
                let got: Vec<u64> = after.iter().zip(&before).map(|(after, before)| after - before).collect();
                prop_assert!(fair(&got, &weights, turn / cycle), "{got:?} after {} of {weights:?}", turn / cycle);
            }
        }
    }

    /// A slot that was away is not due for what it has missed.
    #[test]
    fn a_slot_that_returns_has_no_burst(away in 1_usize..500, cycles in 1_u64..5) {
        let weights = [3, 2, 1];
        let mut host = Host::new(weights.map(weighing));
        host.settings[1].state = STATE_CLOSED;
        (0..away).for_each(|_| _ = host.connect());
        host.settings[1].state = weighing(1).state;
        let before = host.assigned();
        (0..cycles * 6).for_each(|_| _ = host.connect());
        let got: Vec<u64> = host.assigned().iter().zip(&before).map(|(after, before)| after - before).collect();
        prop_assert!(fair(&got, &weights, cycles), "{got:?} after {cycles}");
    }

    /// No cap is passed, whatever comes and goes, and live connections end at none.
    #[test]
    fn caps_hold(caps in prop::collection::vec(0_u32..6, 1..5), steps in prop::collection::vec((0_u8..4, any::<Index>()), 1..200)) {
        let host = Host::new(caps.iter().copied().map(capped));
        let (mut open, mut made) = (Vec::<(Arrival, u32)>::new(), Vec::<Made>::new());
        for (step, index) in steps {
            match step {
                0 | 1 => {
                    let arrival = host.newcomer();
                    let (slot, reason) = host.syn(&arrival);
                    prop_assert_eq!(slot == 0, matches!(reason, ChoiceReason::Full));
                    open.push((arrival, slot));
                }
                2 if !open.is_empty() => {
                    let (arrival, slot) = open.swap_remove(index.index(open.len()));
                    made.push(host.ack(arrival, slot));
                }
                3 if !made.is_empty() => host.close(&made.swap_remove(index.index(made.len()))),
                _ => host.pass_ms(1),
            }
            prop_assert!(host.live().iter().zip(&caps).all(|(live, cap)| *live <= u64::from(*cap)), "{:?}", host.live());
        }
        for made in &made {
            host.close(made);
        }
        prop_assert!(host.live().iter().all(|live| *live == 0));
    }

    /// Counts follow connections through any number of migrations.
    #[test]
    fn counts_follow_migrations(moves in prop::collection::vec(any::<Index>(), 0..40)) {
        let host = Host::new([weighing(1), weighing(1), weighing(1)]);
        let mut made: Vec<Made> = (0..9).map(|_| host.connect()).collect();
        for index in &moves {
            let made = &mut made[index.index(9)];
            let to = host.migrate(made).expect("others are there");
            prop_assert_ne!(to, made.slot);
            made.slot = to;
        }
        let of = |slot| made.iter().filter(|made| made.slot == slot).count() as u64;
        prop_assert_eq!(host.live(), [of(1), of(2), of(3)]);
        for made in &made {
            host.close(made);
        }
        prop_assert_eq!(host.live(), [0, 0, 0]);
        prop_assert_eq!(host.shared.moved.load(), 0);
    }
}

/// A reservation lapses after one epoch to two, and is given back when the handshake ends.
#[test]
fn reservations_lapse() {
    let host = Host::new([capped(1)]);
    let now = || reserved(&host.slots[1], epoch(host.now.get()));
    assert_eq!(host.syn(&host.newcomer()), (1, ChoiceReason::RoundRobin));
    assert_eq!((now(), host.syn(&host.newcomer()).1), (1, ChoiceReason::Full));
    host.pass_ms(530);
    assert_eq!((now(), host.syn(&host.newcomer()).1), (1, ChoiceReason::Full));
    host.pass_ms(545);
    let arrival = host.newcomer();
    assert_eq!((now(), host.syn(&arrival)), (0, (1, ChoiceReason::RoundRobin)));
    let made = host.ack(arrival, 1);
    assert_eq!((now(), host.live(), host.syn(&host.newcomer()).1), (0, vec![1], ChoiceReason::Full));
    host.close(&made);
    assert_eq!(host.syn(&host.newcomer()).1, ChoiceReason::RoundRobin);
}

/// A flood of handshakes that come to nothing fills no cap once it is known for one; and when it is over, reservations
/// count again.
#[test]
fn a_flood_fills_no_cap() {
    let host = Host::new([capped(5), capped(5)]);
    let flood = |ms| {
        for _ in 0..ms {
            (0..5).for_each(|_| _ = host.syn(&host.newcomer()));
            host.pass_ms(1);
        }
    };
    flood(400);
    for _ in 0..20 {
        flood(50);
        let made = host.connect();
        assert_ne!(made.slot, 0);
        host.close(&made);
    }
    host.pass_ms(2500);
    let slots: Vec<u32> = (0..12).map(|_| host.syn(&host.newcomer()).0).collect();
    assert_eq!(slots.iter().filter(|slot| **slot == 0).count(), 12 - 10, "{slots:?}");
}

/// The first choice counts while its reservation holds and its slot takes connections.
#[test]
fn a_repeated_syn_goes_where_it_went() {
    let mut host = Host::new([weighing(1), weighing(1)]);
    let arrival = host.newcomer();
    assert_eq!(host.syn(&arrival), (1, ChoiceReason::RoundRobin));
    assert_eq!(host.syn(&arrival), (1, ChoiceReason::Remembered));
    assert_eq!(host.syn(&host.newcomer()).0, 2);
    host.settings[1].state = STATE_CLOSED;
    assert_eq!(host.syn(&arrival), (2, ChoiceReason::RoundRobin));
    assert_eq!(reserved(&host.slots[1], epoch(host.now.get())), 0, "given back");
    host.settings[1].state = weighing(1).state;
    // Once it is complete, the same port is another connection.
    host.ack(arrival, 2);
    assert_eq!(host.syn(&arrival), (1, ChoiceReason::RoundRobin));
}

/// A slot whose page is too old is passed over, one that has not published is not.
#[test]
fn a_hanging_server_gets_nothing() {
    let mut host = Host::new([SlotSettings { hang_ns: 200_000_000, ..weighing(1) }]);
    assert_eq!(host.connect().slot, 1, "no page");
    host.pages.insert(1, ServerPage::default());
    assert_eq!(host.connect().slot, 1, "not yet published");
    let looped_at = host.now.get();
    host.pages.insert(1, ServerPage { looped_at, ..ServerPage::default() });
    host.pass_ms(200);
    assert_eq!(host.connect().slot, 1);
    host.pass_ms(1);
    assert_eq!(host.syn(&host.newcomer()), (0, ChoiceReason::NoneReady));
    host.pages.insert(1, ServerPage { looped_at: host.now.get() + 5_000_000, ..ServerPage::default() });
    assert_eq!(host.connect().slot, 1, "another CPU's clock");
}

/// Load is pending work where that is published, and is taken by weight.
#[test]
fn the_least_load_is_chosen() {
    let mut host = Host::new([weighing(1), weighing(2)]);
    host.control.policy = POLICY_LEAST;
    let slots: Vec<u32> = (0..6).map(|_| host.connect().slot).collect();
    assert_eq!(slots, [1, 2, 2, 1, 2, 2], "connections by weight");
    host.pages.insert(1, ServerPage { looped_at: 1, pending: 0, has_pending: 1 });
    assert_eq!(host.connect().slot, 1, "two connections, but nothing to do");
    host.pages.insert(1, ServerPage { looped_at: 1, pending: 50, has_pending: 1 });
    assert_eq!(host.connect().slot, 2);
}

/// The director's steering is asked first, then the last choice, who waits, affinity, whose turn it is, the waiting list.
#[test]
fn the_order_of_the_choice() {
    let mut host = Host::new([weighing(1), weighing(1)]);
    host.control.affinity_ns = 1_000_000_000;
    let client = host.connect();
    assert_eq!(client.slot, 1);
    let again = Arrival { key: ConnectionKey { client_port: 2000, ..client.arrival.key }, is_own: false };
    assert_eq!(host.syn(&again), (1, ChoiceReason::Affinity));
    host.control.waiting_until = host.now.get() + 1_000_000;
    assert_eq!(host.syn(&again), (1, ChoiceReason::Remembered));
    assert_eq!(host.syn(&host.newcomer()), (0, ChoiceReason::WaitingBehind));
    let own = Arrival { is_own: true, ..host.newcomer() };
    host.steered.insert(own.source(), SteeredRecord { slot: 2, kind: STEER_CHECK });
    assert_eq!(host.syn(&own), (2, ChoiceReason::Check));
    host.ack(own, 2);
    assert_eq!(host.live(), [1, 0], "a check is no connection");
    host.steered.insert(own.source(), SteeredRecord { slot: 2, kind: STEER_RELAY });
    assert_eq!(host.syn(&own), (2, ChoiceReason::Relay));
    host.ack(own, 2);
    assert_eq!(host.live(), [1, 1]);
    assert_eq!(host.syn(&Arrival { is_own: false, ..own }).1, ChoiceReason::WaitingBehind, "it only seems to be ours");
    host.pass_ms(2);
    host.settings[1].state = STATE_CLOSED;
    let later = Arrival { key: ConnectionKey { client_port: 3000, ..client.arrival.key }, is_own: false };
    assert_eq!(host.syn(&later), (2, ChoiceReason::RoundRobin));
    host.settings[2].state = STATE_CLOSED;
    assert_eq!(host.syn(&host.newcomer()), (0, ChoiceReason::NoneReady));
}

/// Where a listener is missing, another takes its place, then the director's, then the kernel's hash.
#[test]
fn a_missing_listener_is_no_reset() {
    let mut host = Host::new([weighing(3), weighing(1)]);
    host.missing.insert(1);
    assert_eq!(host.syn(&host.newcomer()), (2, ChoiceReason::RoundRobin));
    assert_eq!(reserved(&host.slots[1], epoch(host.now.get())), 0, "given back");
    host.missing.insert(2);
    assert_eq!(host.syn(&host.newcomer()), (0, ChoiceReason::NoSocket));
    host.missing.insert(0);
    assert_eq!(host.syn(&host.newcomer()), (0, ChoiceReason::Unchosen));
}

/// A client comes back to its process while affinity is on, its time lasts, and the process is the same one, goes round its
/// loop and has a place; what has waited meanwhile is not forgotten for it.
#[test]
fn affinity_holds_while_it_may() {
    const SECOND_MS: u64 = 1000;
    let affine = |change: &dyn Fn(&mut Host)| {
        let mut host = Host::new([capped(2), capped(9)]);
        host.control.affinity_ns = SECOND_MS * 1_000_000;
        let made = host.connect();
        assert_eq!(made.slot, 1);
        change(&mut host);
        let key = ConnectionKey { client_port: 2000, ..made.arrival.key };
        host.syn(&Arrival { key, is_own: false })
    };
    let (again, anew) = ((1, ChoiceReason::Affinity), (2, ChoiceReason::RoundRobin));
    assert_eq!(affine(&|_| ()), again);
    assert_eq!(affine(&|host| host.pass_ms(SECOND_MS - 1)), again);
    assert_eq!(affine(&|host| host.pass_ms(SECOND_MS)), anew, "its time is over");
    assert_eq!(affine(&|host| host.control.affinity_ns = 0), anew, "it was turned off");
    assert_eq!(affine(&|host| host.settings[1].generation += 1), anew, "another process has the slot");
    assert_eq!(affine(&|host| host.settings[1].cap = 1), anew, "it is full");
    let hangs = |host: &mut Host| {
        host.settings[1].hang_ns = 1;
        host.pages.insert(1, ServerPage { looped_at: 1, ..ServerPage::default() });
    };
    assert_eq!(affine(&hangs), anew, "it hangs");
    let waited = |host: &mut Host| {
        let client =
            Arrival { key: ConnectionKey { client: [0, 0, 0, 1], client_port: 3000, local_port: 80 }, is_own: false };
        host.ack(client, 0);
    };
    assert_eq!(affine(&waited), again, "another of its connections has waited");
}

/// Least connections are not turns: who has fewer gets one after the other, handshakes that are not over count, and equals take
/// turns.
#[test]
fn the_least_load_is_no_turn() {
    let least = |weights: [u64; 2]| {
        let mut host = Host::new(weights.map(weighing));
        host.control.policy = POLICY_LEAST;
        host
    };
    let connect = |host: &Host, count| -> Vec<u32> { (0..count).map(|_| host.connect().slot).collect() };
    let mut host = least([1, 1]);
    host.slots[1].live.add(3);
    assert_eq!(connect(&host, 3), [2, 2, 2]);
    let page = |pending, has_pending| ServerPage { looped_at: 1, pending, has_pending };
    host.pages.insert(1, page(0, 1));
    host.pages.insert(2, page(9, 1));
    assert_eq!(connect(&host, 3), [1, 1, 1], "nothing to do");
    host.pages.insert(1, page(10, 1));
    assert_eq!(connect(&host, 3), [2, 2, 2], "it has more to do");
    let mut host = least([1, 1]);
    host.slots[1].live.add(3);
    host.pages.insert(1, page(0, 0));
    host.pages.insert(2, page(9, 0));
    assert_eq!(connect(&host, 3), [2, 2, 2], "what is not kept is no work");
    let host = least([1, 1]);
    host.slots[1].live.add(3);
    let burst: Vec<u32> = (0..6).map(|_| host.syn(&host.newcomer()).0).collect();
    assert_eq!(burst[..3], [2, 2, 2], "{burst:?}");
    assert_eq!(burst.iter().filter(|slot| **slot == 2).count(), 5 - 1, "in one round trip: {burst:?}");
    let host = least([1, 1]);
    let slots: Vec<u32> = (0..4)
        .map(|_| {
            let made = host.connect();
            host.close(&made);
            made.slot
        })
        .collect();
    assert_eq!(slots, [1, 2, 1, 2], "equals take turns");
}

/// A SYN that is sent again does not hold on to a process that hangs meanwhile, nor to one whose places others have.
#[test]
fn a_repeated_syn_goes_on_where_it_may() {
    let again = |change: &dyn Fn(&mut Host)| {
        let mut host = Host::new([capped(1), weighing(1)]);
        let arrival = host.newcomer();
        assert_eq!(host.syn(&arrival), (1, ChoiceReason::RoundRobin));
        change(&mut host);
        let chosen = host.syn(&arrival);
        (chosen, reserved(&host.slots[1], epoch(host.now.get())))
    };
    assert_eq!(again(&|_| ()), ((1, ChoiceReason::Remembered), 1));
    let hangs = |host: &mut Host| {
        host.settings[1].hang_ns = 1;
        host.pages.insert(1, ServerPage { looped_at: 1, ..ServerPage::default() });
    };
    assert_eq!(again(&hangs), ((2, ChoiceReason::RoundRobin), 0), "it hangs");
    assert_eq!(
        again(&|host| host.slots[1].live.add(1)),
        ((2, ChoiceReason::RoundRobin), 0),
        "one that waited has its place"
    );
}

/// Where a listener closes, a check that waits in its queue counts nowhere, and a handshake gives its place back; an end that is
/// told twice counts once.
#[test]
fn what_a_closing_listener_leaves() {
    let mut host = Host::new([capped(1), weighing(1)]);
    let own = Arrival { is_own: true, ..host.newcomer() };
    host.steered.insert(own.source(), SteeredRecord { slot: 1, kind: STEER_CHECK });
    assert_eq!(host.syn(&own), (1, ChoiceReason::Check));
    let check = host.ack(own, 1);
    assert_eq!(host.migrate(&check), Some(2));
    assert_eq!(host.live(), [0, 0], "a check");
    host.close(&check);
    assert_eq!((host.live(), host.assigned()), (vec![0, 0], vec![0, 0]), "a check that has ended");
    let arrival = host.newcomer();
    assert_eq!(host.syn(&arrival).0, 1);
    assert_eq!(host.migrate_handshake(&arrival, 1), Some(2));
    assert_eq!(reserved(&host.slots[1], epoch(host.now.get())), 0, "given back");
    let made = host.ack(arrival, 2);
    assert_eq!(host.live(), [0, 1]);
    host.close(&made);
    host.close(&made);
    assert_eq!(host.live(), [0, 0]);
    // A handshake that is all but over, and is counted where it ends up.
    let arrival = host.newcomer();
    let (slot, _) = host.syn(&arrival);
    let other = 3 - slot;
    assert_eq!(host.migrate_uncounted(&arrival, slot), Some(other));
    assert_eq!(host.live(), [0, 0]);
    let made = host.ack(arrival, slot);
    assert_eq!(host.live()[other as usize - 1], 1, "{:?}", host.live());
    host.close(&made);
    assert_eq!(host.live(), [0, 0]);
}

/// Another CPU takes the last place between the look and the choice.
#[test]
fn the_last_place_is_taken_once() {
    let host = Host::new([capped(1), capped(1)]);
    host.taken.set(Some(1));
    assert_eq!(host.syn(&host.newcomer()), (2, ChoiceReason::RoundRobin));
    assert_eq!(reserved(&host.slots[1], epoch(host.now.get())), 0, "given back");
    let host = Host::new([capped(1)]);
    host.taken.set(Some(1));
    assert_eq!(host.syn(&host.newcomer()).0, 0);
}
