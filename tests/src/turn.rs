//! Turns on this machine: some tests want it to themselves, all others share it.
//!
//! The tests of a program run at the same time. [`alone`] waits until no other test holds a share and lets none begin; what
//! every test of kernel and lab asks first, [`can_run`](crate::lab::can_run) and [`can_load`](crate::lab::can_load), takes a
//! share, so that none can forget to. A share belongs to the test's thread and ends with it, however the test ends; threads
//! that a test starts need none of their own. Cargo runs one test program after the other.

use std::{
    cell::RefCell,
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, ThreadId},
};

/// The turns of this process.
static TURNS: Turns = Turns::new();

thread_local! {
    /// This thread's share, which ends with it.
    static SHARE: RefCell<Option<Share>> = const { RefCell::new(None) };
}

/// Takes the machine for this test alone, for as long as the guard lives.
///
/// # Panics
/// If the test has its share already: this comes first, before anything that others could disturb.
#[must_use]
pub fn alone() -> Alone {
    let left_over = SHARE.take();
    // With one thread for all tests that thread keeps the share of the test before.
    assert!(left_over.is_none() || !is_of_one_test(), "`alone` comes first in a test");
    drop(left_over);
    TURNS.alone();
    Alone { _private: () }
}

/// Takes this thread's share of the machine until the thread ends, unless it has one or is alone.
pub(crate) fn share() {
    let is_tests = is_of_one_test() || thread::current().name() == Some("main");
    if is_tests && SHARE.with_borrow(Option::is_none) && TURNS.share() {
        SHARE.set(Some(Share { _private: () }));
    }
}

/// Whether this thread is one test's: the harness names it by the test's path. Threads that a test starts have other names.
fn is_of_one_test() -> bool {
    thread::current().name().is_some_and(|name| name.contains("::"))
}

/// The guard of a test that has the machine to itself.
#[derive(Debug)]
pub struct Alone {
    _private: (),
}

impl Drop for Alone {
    fn drop(&mut self) {
        TURNS.change(|turn| turn.alone = None);
    }
}

/// The guard of one share.
#[derive(Debug)]
struct Share {
    _private: (),
}

impl Drop for Share {
    fn drop(&mut self) {
        TURNS.change(|turn| turn.shares -= 1);
    }
}

struct Turns {
    turn: Mutex<Turn>,
    changed: Condvar,
}

#[derive(Debug)]
struct Turn {
    alone: Option<ThreadId>,
    /// Tests that wait to be alone. No share is given meanwhile, or they would wait for the last of all.
    waiting: usize,
    shares: usize,
}

impl Turns {
    const fn new() -> Self {
        Self { turn: Mutex::new(Turn { alone: None, waiting: 0, shares: 0 }), changed: Condvar::new() }
    }

    /// Waits until nobody else has anything.
    fn alone(&self) {
        let mut turn = self.lock();
        turn.waiting += 1;
        while turn.alone.is_some() || turn.shares > 0 {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        turn.waiting -= 1;
        turn.alone = Some(thread::current().id());
    }

    /// Waits until nobody is alone or waits for it, and takes a share; not if this thread is the one that is alone.
    fn share(&self) -> bool {
        let mut turn = self.lock();
        if turn.alone == Some(thread::current().id()) {
            return false;
        }
        while turn.alone.is_some() || turn.waiting > 0 {
            turn = self.changed.wait(turn).unwrap_or_else(PoisonError::into_inner);
        }
        turn.shares += 1;
        true
    }

    fn change(&self, change: impl FnOnce(&mut Turn)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    /// Locks the turns; a test that fails with the lock fails alone.
    fn lock(&self) -> MutexGuard<'_, Turn> {
        self.turn.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use super::*;

    /// Runs a test of its own, as the harness does.
    fn test(name: &str, test: impl FnOnce() + Send + 'static) -> thread::JoinHandle<()> {
        thread::Builder::new().name(format!("turn::{name}")).spawn(test).expect("a thread")
    }

    #[test]
    fn whoever_is_alone_meets_nobody() {
        static SHARING: AtomicUsize = AtomicUsize::new(0);
        let sharing = |number| {
            test(&format!("shares_{number}"), || {
                share();
                share();
                SHARING.fetch_add(1, Ordering::SeqCst);
                thread::sleep(Duration::from_millis(20));
                SHARING.fetch_sub(1, Ordering::SeqCst);
            })
        };
        let lonely = |number| {
            test(&format!("alone_{number}"), || {
                let _alone = alone();
                // The common set-up of a test, which waits for nobody here.
                share();
                for _ in 0..10 {
                    assert_eq!(SHARING.load(Ordering::SeqCst), 0);
                    thread::sleep(Duration::from_millis(1));
                }
            })
        };
        let tests: Vec<_> = (0..8).flat_map(|number| [sharing(number), lonely(number)]).collect();
        for test in tests {
            test.join().expect("passed");
        }
    }

    #[test]
    fn a_test_that_fails_leaves_its_turn() {
        let failing = [true, false].map(|is_alone| {
            test("fails", move || {
                let _alone = is_alone.then(alone);
                share();
                std::panic::resume_unwind(Box::new("a failing test"));
            })
        });
        assert!(failing.into_iter().all(|test| test.join().is_err()));
        test("next", || drop(alone())).join().expect("passed");
    }

    #[test]
    fn to_be_alone_is_asked_for_first() {
        let late = test("late", || {
            share();
            drop(alone());
        });
        assert!(late.join().is_err());
    }
}
