use std::collections::HashMap;

use super::*;

const MS: Duration = Duration::from_millis(1);
const DRAIN: Duration = Duration::from_secs(30);
const CONFIG: RestartConfig = RestartConfig {
    delay: Duration::from_millis(100),
    delay_max: Duration::from_secs(1),
    budget: 4,
    window: Duration::from_mins(1),
};

/// A member whose orders are carried out: starts get the next slot, ends are seen at the next step.
struct Play {
    member: Member,
    now: Instant,
    seen: HashMap<u32, Seen>,
    slots: u32,
    log: Vec<Order>,
}

impl Play {
    fn new() -> Self {
        Self { member: Member::new(&CONFIG), now: Instant::now(), seen: HashMap::new(), slots: 0, log: Vec::new() }
    }

    /// Lets time pass, in one step.
    fn after(&mut self, time: Duration) -> Vec<Order> {
        self.now += time;
        let seen = &self.seen;
        let orders = self.member.step(self.now, &CONFIG, DRAIN, |slot| seen.get(&slot).cloned().unwrap_or_default());
        if orders.contains(&Order::Start) {
            self.slots += 1;
            self.member.started(self.slots, self.now);
        }
        self.log.extend(orders.clone());
        orders
    }

    fn see(&mut self, slot: u32) -> &mut Seen {
        self.seen.entry(slot).or_default()
    }

    /// One that serves in slot 1.
    fn serving() -> Self {
        let mut play = Self::new();
        play.after(MS);
        play.see(1).answers = true;
        assert_eq!(play.after(MS), [Order::Tell(Remark::Serves(1))]);
        assert!(play.member.is_open(1));
        play
    }
}

/// S2-2: a server that has died is started again, later each time, and with the first delay after a good while.
#[test]
fn the_dead_are_started_again() {
    let mut play = Play::serving();
    play.see(1).ended = Some("ended with status 1".into());
    let died = Remark::Died("ended with status 1".into());
    assert_eq!(play.after(MS), [Order::Bury(1), Order::Tell(died)]);
    assert_eq!(play.after(CONFIG.delay / 2), []);
    assert_eq!(play.after(CONFIG.delay / 2), [Order::Start]);
    play.see(2).ended = Some("was killed".into());
    play.after(MS);
    assert_eq!(play.after(CONFIG.delay), [], "the second delay is twice as long");
    assert_eq!(play.after(CONFIG.delay), [Order::Start]);
    assert_eq!(play.member.restarts, 2);
    play.see(3).answers = true;
    play.after(MS);
    play.after(CONFIG.window);
    play.see(3).ended = Some("was killed".into());
    play.after(MS);
    assert_eq!(play.after(CONFIG.delay), [Order::Start]);
}

/// S2-2: the starts within a window have a budget; the operator's word gives a new one.
#[test]
fn a_server_that_never_comes_up_is_given_up() {
    let mut play = Play::new();
    for slot in 1..=1 + CONFIG.budget {
        play.see(slot).ended = Some("ended with status 1".into());
    }
    for _ in 0..200 {
        play.after(50 * MS);
    }
    let starts = play.log.iter().filter(|order| **order == Order::Start).count();
    assert_eq!((starts, play.log.last(), play.member.gave_up()), (5, Some(&Order::Tell(Remark::GaveUp)), true));
    play.member.want(Wanted::Ready, &CONFIG);
    assert_eq!(play.after(MS), [Order::Start]);
}

/// One that does not answer is told to end, killed if it does not, and its successor does not wait for that.
#[test]
fn a_hung_server_is_replaced() {
    let mut play = Play::serving();
    play.see(1).failed = Some("hangs".into());
    let failed = Order::Tell(Remark::Failed("hangs".into()));
    assert_eq!(play.after(MS), [failed, Order::Retire(1), Order::Terminate(1)]);
    assert!(!play.member.is_open(1));
    assert_eq!(play.after(CONFIG.delay), [Order::Start]);
    assert_eq!(play.after(HUNG_GRACE), [Order::Kill(1)]);
    assert_eq!(play.after(HUNG_GRACE), [], "it is killed once");
    play.see(1).ended = Some("was killed".into());
    assert_eq!(play.after(MS), [Order::Bury(1)]);
}

/// A rolling restart: the successor serves first, then the old one finishes what it has.
#[test]
fn it_is_replaced_without_a_gap() {
    let mut play = Play::serving();
    play.see(1).live = 3;
    play.member.replace(&CONFIG);
    assert_eq!(play.after(MS), [Order::Start]);
    assert!(play.member.is_open(1) && !play.member.is_open(2) && play.member.is_replacing());
    play.see(2).answers = true;
    assert_eq!(play.after(MS), [Order::Tell(Remark::Serves(2))]);
    assert!(!play.member.is_open(1) && play.member.is_open(2) && !play.member.is_replacing());
    assert_eq!(play.after(DRAIN / 2), []);
    play.see(1).live = 0;
    assert_eq!(play.after(MS), [Order::Retire(1), Order::Terminate(1)]);
}

/// The time to finish is bounded.
#[test]
fn a_drain_ends() {
    let mut play = Play::serving();
    play.see(1).live = 3;
    play.member.want(Wanted::Maint, &CONFIG);
    assert_eq!(play.after(MS), []);
    assert!(!play.member.is_open(1));
    assert_eq!(play.after(DRAIN), [Order::Retire(1), Order::Terminate(1)]);
    assert_eq!(play.after(TERM_GRACE), [Order::Kill(1)]);
    play.see(1).ended = Some("was killed".into());
    assert_eq!(play.after(MS), [Order::Bury(1)]);
    assert_eq!(play.after(DRAIN), [], "it stays out");
    play.member.want(Wanted::Ready, &CONFIG);
    assert_eq!(play.after(MS), [Order::Start]);
}

/// Drained is running, without new connections; it is started again if it dies.
#[test]
fn drained_is_not_stopped() {
    let mut play = Play::serving();
    play.member.want(Wanted::Drain, &CONFIG);
    assert_eq!(play.after(DRAIN * 2), []);
    assert!(!play.member.is_open(1));
    play.member.want(Wanted::Ready, &CONFIG);
    assert!(play.member.is_open(1));
}

/// A successor that does not come up changes nothing but the reason that is shown.
#[test]
fn the_old_one_stays_if_its_successor_fails() {
    let mut play = Play::serving();
    play.member.replace(&CONFIG);
    play.after(MS);
    play.see(2).ended = Some("ended with status 1".into());
    let kept = Remark::NotReplaced("its successor ended with status 1".into());
    assert_eq!(play.after(MS), [Order::Tell(kept), Order::Bury(2)]);
    assert!(play.member.is_open(1) && !play.member.is_replacing());
    assert_eq!(play.after(DRAIN), []);
    assert_eq!(play.member.why, "its successor ended with status 1");
}

/// One that starts and never answers is not waited for without end.
#[test]
fn a_start_has_a_bound() {
    let mut play = Play::new();
    play.after(MS);
    assert!(!play.member.is_open(1), "not before it answers");
    let orders = play.after(START_MAX);
    assert!(orders.ends_with(&[Order::Retire(1), Order::Terminate(1)]), "{orders:?}");
}

/// S2-X-DSTATE: the runs of the director before are taken over, and of two that serve the later one stays.
#[test]
fn runs_are_taken_over() {
    let mut play = Play::new();
    let now = play.now;
    let run = |slot| Run { slot, phase: Phase::Ready, started: now, ready: Some(now) };
    play.member.adopt(run(4), now + DRAIN);
    play.member.adopt(run(9), now + DRAIN);
    assert_eq!(play.after(MS), [Order::Retire(4), Order::Terminate(4)]);
    assert!(play.member.is_open(9) && !play.member.is_open(4));
}
