//! One configured process of a server: when it is started, replaced, stopped, given up. Pure.
//!
//! A *member* is what the configuration asks for, `app-1`. A *run* is one process of it, with a slot of its own in the
//! kernel's table: while a run is replaced, its successor serves already, and a run that has ended keeps its slot until its
//! last connection is counted off.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use serde::{Deserialize, Serialize};
use zerottl_core::model::RestartConfig;

/// The time that a process has from its start until it answers its check for the first time.
pub(crate) const START_MAX: Duration = Duration::from_mins(1);
/// The time from SIGTERM to SIGKILL for a process that has nothing to finish.
pub(crate) const TERM_GRACE: Duration = Duration::from_secs(10);
/// That time for one that hangs.
pub(crate) const HUNG_GRACE: Duration = Duration::from_secs(1);

/// The operator's wish for a member.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Wanted {
    /// It serves.
    #[default]
    Ready,
    /// It gets no new connections, and goes on with those that it has.
    Drain,
    /// It finishes its connections and is stopped.
    Maint,
    /// As `Maint`, and then it is forgotten: the configuration has it no more.
    Gone,
}

/// How far a run is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// It does not answer yet.
    Starting,
    /// It serves.
    Ready,
    /// It finishes its connections, until then.
    Draining(Instant),
    /// It was told to end, and is killed then.
    Ending(Instant),
    /// It was killed.
    Killed,
}

/// One process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    /// Its slot.
    pub(crate) slot: u32,
    /// How far it is.
    pub(crate) phase: Phase,
    /// Since when it runs.
    pub(crate) started: Instant,
    /// Since when it is ready.
    pub(crate) ready: Option<Instant>,
}

impl Run {
    /// Whether it serves, or is about to; else it is about to end.
    pub(crate) fn is_serving(&self) -> bool {
        matches!(self.phase, Phase::Starting | Phase::Ready)
    }
}

/// Everything known of a run at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Seen {
    /// It has ended, and how.
    pub(crate) ended: Option<String>,
    /// It answers, as far as anybody asks it.
    pub(crate) answers: bool,
    /// It does not answer any more, and why; long enough to be believed.
    pub(crate) failed: Option<String>,
    /// Connections that it has.
    pub(crate) live: u64,
}

/// Something that is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Start a process, and say by [`Member::started`] or [`Member::not_started`] how that went.
    Start,
    /// Stop listening for this run: what its queue holds goes to others.
    Retire(u32),
    /// SIGTERM.
    Terminate(u32),
    /// SIGKILL, with all its children.
    Kill(u32),
    /// It has ended: its listeners and its descriptors go, its slot once its count is 0.
    Bury(u32),
    /// A line for the log.
    Tell(Remark),
}

/// A line of the log about a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Remark {
    /// It serves.
    Serves(u32),
    /// It has ended, and nobody had told it to.
    Died(String),
    /// It does not answer.
    Failed(String),
    /// It has used up its starts.
    GaveUp,
    /// Its successor does not come to answer: it stays.
    NotReplaced(String),
}

/// One configured process.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    wanted: Wanted,
    /// The one that serves, or is about to.
    current: Option<Run>,
    /// Its successor, which starts.
    next: Option<Run>,
    /// Those that end.
    leaving: Vec<Run>,
    /// Whether the current one is to be replaced.
    replace: bool,
    /// Restarts within the window.
    starts: VecDeque<Instant>,
    /// The next start, if one is due.
    start_at: Option<Instant>,
    delay: Duration,
    gave_up: bool,
    /// Starts after one that failed.
    pub(crate) restarts: u64,
    /// Why it is not ready, or why it was started last; for people.
    pub(crate) why: String,
}

impl Member {
    /// Makes one that starts at once.
    pub(crate) fn new(config: &RestartConfig) -> Self {
        Self {
            wanted: Wanted::Ready,
            current: None,
            next: None,
            leaving: Vec::new(),
            replace: false,
            starts: VecDeque::new(),
            start_at: None,
            delay: config.delay,
            gave_up: false,
            restarts: 0,
            why: String::new(),
        }
    }

    /// Takes over a run of the director before; one that serves beside another has until `drain_until`.
    pub(crate) fn adopt(&mut self, run: Run, drain_until: Instant) {
        match run.phase {
            Phase::Ready | Phase::Starting if self.current.is_none() => self.current = Some(run),
            Phase::Starting if self.next.is_none() => self.next = Some(run),
            // Two that serve: the director died between them. The later one stays.
            Phase::Ready | Phase::Starting => {
                if let Some(before) = self.current.replace(run) {
                    self.leaving.push(Run { phase: Phase::Draining(drain_until), ..before });
                }
            }
            _ => self.leaving.push(run),
        }
    }

    /// Returns what the operator wants.
    pub(crate) fn wanted(&self) -> Wanted {
        self.wanted
    }

    /// Sets what the operator wants.
    pub(crate) fn want(&mut self, wanted: Wanted, config: &RestartConfig) {
        if wanted == Wanted::Ready && self.wanted != Wanted::Ready {
            self.why.clear();
        }
        if wanted == Wanted::Ready {
            self.forgive(config);
        }
        self.wanted = wanted;
    }

    /// Asks for a new process in place of the one that serves.
    pub(crate) fn replace(&mut self, config: &RestartConfig) {
        self.replace = true;
        self.forgive(config);
    }

    /// Whether a new process is still to come into the place of the old one.
    pub(crate) fn is_replacing(&self) -> bool {
        self.replace || self.next.is_some()
    }

    /// Whether its successor is there and does not serve yet.
    pub(crate) fn has_successor(&self) -> bool {
        self.next.is_some()
    }

    /// Whether its starts are used up.
    pub(crate) fn gave_up(&self) -> bool {
        self.gave_up
    }

    /// Whether nothing of it is left.
    pub(crate) fn is_empty(&self) -> bool {
        self.current.is_none() && self.next.is_none() && self.leaving.is_empty()
    }

    /// The run that serves, or is about to.
    pub(crate) fn current(&self) -> Option<&Run> {
        self.current.as_ref()
    }

    /// All its runs.
    pub(crate) fn runs(&self) -> impl Iterator<Item = &Run> {
        self.current.iter().chain(&self.next).chain(&self.leaving)
    }

    /// Whether a slot takes connections, as far as this member has a say.
    pub(crate) fn is_open(&self, slot: u32) -> bool {
        let serves = |run: &Run| run.slot == slot && run.phase == Phase::Ready;
        self.wanted == Wanted::Ready && self.current.as_ref().is_some_and(serves)
    }

    fn forgive(&mut self, config: &RestartConfig) {
        self.gave_up = false;
        self.starts.clear();
        self.delay = config.delay;
        if self.current.is_none() && self.next.is_none() {
            self.start_at = None;
        }
    }

    /// The start that was ordered was made.
    pub(crate) fn started(&mut self, slot: u32, now: Instant) {
        let run = Run { slot, phase: Phase::Starting, started: now, ready: None };
        if self.current.is_some() {
            self.next = Some(run);
        } else {
            self.current = Some(run);
        }
    }

    /// The start that was ordered failed.
    pub(crate) fn not_started(&mut self, why: String, now: Instant, config: &RestartConfig) {
        self.why = why;
        self.replace = false;
        if self.current.is_none() {
            self.start_later(now, config);
        }
    }

    /// Plans the next start, later each time.
    fn start_later(&mut self, now: Instant, config: &RestartConfig) {
        self.start_at = Some(now + self.delay);
        self.delay = (self.delay * 2).min(config.delay_max);
        self.restarts += 1;
    }

    /// Looks at all its runs, and returns what is to be done. `seen` says what is known of a slot.
    pub(crate) fn step(
        &mut self,
        now: Instant,
        config: &RestartConfig,
        drain_timeout: Duration,
        seen: impl Fn(u32) -> Seen,
    ) -> Vec<Order> {
        let mut orders = Vec::new();
        self.leave(now, &seen, &mut orders);
        self.succeed(now, drain_timeout, &seen, &mut orders);
        self.serve(now, config, &seen, &mut orders);
        if matches!(self.wanted, Wanted::Maint | Wanted::Gone) {
            self.next.take().into_iter().for_each(|run| self.end(run, now, TERM_GRACE, &mut orders));
            let drained = self.current.take().map(|run| Run { phase: Phase::Draining(now + drain_timeout), ..run });
            self.leaving.extend(drained);
            (self.replace, self.start_at) = (false, None);
        } else {
            self.start(now, config, &mut orders);
        }
        orders
    }

    /// Those that end: drained, terminated, killed, buried.
    fn leave(&mut self, now: Instant, seen: &impl Fn(u32) -> Seen, orders: &mut Vec<Order>) {
        self.leaving.retain_mut(|run| {
            let known = seen(run.slot);
            if known.ended.is_some() {
                orders.push(Order::Bury(run.slot));
                return false;
            }
            match run.phase {
                Phase::Draining(until) if known.live == 0 || now >= until || known.failed.is_some() => {
                    orders.extend([Order::Retire(run.slot), Order::Terminate(run.slot)]);
                    let grace = if known.failed.is_some() { HUNG_GRACE } else { TERM_GRACE };
                    run.phase = Phase::Ending(now + grace);
                }
                Phase::Ending(until) if now >= until => {
                    orders.push(Order::Kill(run.slot));
                    run.phase = Phase::Killed;
                }
                _ => {}
            }
            true
        });
    }

    /// The successor: takes the place once it answers.
    fn succeed(&mut self, now: Instant, drain: Duration, seen: &impl Fn(u32) -> Seen, orders: &mut Vec<Order>) {
        let Some(run) = self.next else { return };
        let known = seen(run.slot);
        let in_vain = match known.ended.as_ref().or(known.failed.as_ref()) {
            Some(how) => Some(format!("its successor {how}")),
            None if now >= run.started + START_MAX => Some("its successor does not answer".into()),
            None => None,
        };
        if let Some(why) = in_vain {
            self.next = None;
            self.why.clone_from(&why);
            orders.push(Order::Tell(Remark::NotReplaced(why)));
            if known.ended.is_some() {
                orders.push(Order::Bury(run.slot));
            } else {
                self.end(run, now, TERM_GRACE, orders);
            }
        } else if known.answers {
            self.next = None;
            orders.push(Order::Tell(Remark::Serves(run.slot)));
            let before = self.current.replace(Run { phase: Phase::Ready, ready: Some(now), ..run });
            self.leaving.extend(before.map(|before| Run { phase: Phase::Draining(now + drain), ..before }));
        }
    }

    /// The run that serves.
    fn serve(&mut self, now: Instant, config: &RestartConfig, seen: &impl Fn(u32) -> Seen, orders: &mut Vec<Order>) {
        let Some(mut run) = self.current else { return };
        let known = seen(run.slot);
        let starting = run.phase == Phase::Starting;
        if let Some(how) = known.ended {
            orders.extend([Order::Bury(run.slot), Order::Tell(Remark::Died(how.clone()))]);
            self.lost(run, how, now, config);
        } else if let Some(how) = known.failed {
            orders.push(Order::Tell(Remark::Failed(how.clone())));
            self.end(run, now, HUNG_GRACE, orders);
            self.lost(run, how, now, config);
        } else if starting && known.answers {
            (run.phase, run.ready) = (Phase::Ready, Some(now));
            self.current = Some(run);
            orders.push(Order::Tell(Remark::Serves(run.slot)));
        } else if starting && now >= run.started + START_MAX {
            let how = format!("does not answer {} s after its start", START_MAX.as_secs());
            orders.push(Order::Tell(Remark::Failed(how.clone())));
            self.end(run, now, TERM_GRACE, orders);
            self.lost(run, how, now, config);
        } else if run.ready.is_some_and(|ready| now >= ready + config.window) {
            self.delay = config.delay;
        }
    }

    /// The run that served does no more.
    fn lost(&mut self, run: Run, why: String, now: Instant, config: &RestartConfig) {
        self.why = why;
        self.replace = false;
        self.current = self.next.take();
        if run.ready.is_some_and(|ready| now >= ready + config.window) {
            self.delay = config.delay;
        }
        if self.current.is_none() {
            self.start_later(now, config);
        }
    }

    /// Tells a run to end.
    fn end(&mut self, run: Run, now: Instant, grace: Duration, orders: &mut Vec<Order>) {
        orders.extend([Order::Retire(run.slot), Order::Terminate(run.slot)]);
        self.leaving.push(Run { phase: Phase::Ending(now + grace), ..run });
    }

    /// Starts what is due.
    fn start(&mut self, now: Instant, config: &RestartConfig, orders: &mut Vec<Order>) {
        let serves = self.current.is_some_and(|run| run.phase == Phase::Ready);
        let due = match self.current {
            None => self.next.is_none() && !self.gave_up && self.start_at.is_none_or(|at| now >= at),
            Some(_) => self.replace && serves && self.next.is_none(),
        };
        if !due {
            return;
        }
        // Only what follows a failure is paid for: the first start is none, and neither is one that was asked for.
        if self.start_at.is_some() {
            while self.starts.front().is_some_and(|start| now >= *start + config.window) {
                self.starts.pop_front();
            }
            if self.starts.len() >= config.budget as usize {
                self.gave_up = true;
                orders.push(Order::Tell(Remark::GaveUp));
                return;
            }
            self.starts.push_back(now);
        }
        (self.replace, self.start_at) = (false, None);
        orders.push(Order::Start);
    }
}

#[cfg(test)]
mod tests;
