//! The worker: one loop that owns all state, and small tasks that wait for it.
//!
//! | module | concern |
//! |---|---|
//! | `parts`, `state` | the parts of the loop |
//! | `start` | from the configuration, or from what the worker before has left, to a loop that runs |
//! | `arrivals` | connections that no server was chosen for: the waiting list, hand-over, relay, the busy answer |
//! | `runs` | processes: started, listened for, ended |
//! | `judge` | whether they answer |
//! | `commands` | what the operator asks |
//! | `strays` | processes that nobody holds any more |
//! | `page` | what is shown |

pub(crate) mod arrivals;
pub(crate) mod commands;
pub(crate) mod judge;
pub(crate) mod page;
pub(crate) mod parts;
mod placements;
pub(crate) mod runs;
pub(crate) mod start;
pub(crate) mod state;
pub(crate) mod strays;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};
use xdp_ebpf::director::layout::{SLOTS, STATE_CLOSED, STATE_READY, STRIDE_ONE, SlotSettings, UNLIMITED};
use zerottl_kernel::director::SteerKind;

use self::{
    parts::{Entry, Event, RunParts},
    state::{LOOK, ROLLING, Worker},
};
use crate::{
    command::Command,
    member::{Order, Remark, Wanted},
};

/// From one look to the next while connections wait for a place.
const LOOK_WAITING: Duration = Duration::from_millis(2);
/// How long newcomers go behind those that wait, once this process does not say so any more.
const WAITING_HOLD: Duration = Duration::from_millis(500);

/// Events that are looked at before anything else is.
const EVENTS_AT_ONCE: usize = 256;

impl Worker {
    /// Runs until it is told to stop and all processes have ended; no is that the parent process has gone before that.
    pub(crate) async fn run(
        mut self,
        mut events: mpsc::Receiver<Event>,
        mut commands: mpsc::Receiver<Command>,
        stop: CancellationToken,
    ) -> bool {
        let mut look = interval(LOOK);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let link = Arc::clone(&self.link);
        let gone = link.closed();
        tokio::pin!(gone);
        let stopped = loop {
            tokio::select! {
                Some(event) = events.recv() => {
                    self.handle(event);
                    for _ in 0..EVENTS_AT_ONCE {
                        let Ok(event) = events.try_recv() else { break };
                        self.handle(event);
                    }
                }
                Some(command) = commands.recv() => self.obey(command),
                _ = look.tick() => self.look(),
                () = sleep(LOOK_WAITING), if self.list.len() > 0 => {}
                () = stop.cancelled(), if !self.stopping => self.stop(),
                () = &mut gone => {
                    error!("the parent process has gone: this one ends, the servers stay");
                    break false;
                }
            }
            self.serve_waiting();
            if self.stopping && self.strays.is_empty() && self.entries.iter().all(|entry| entry.member.is_empty()) {
                info!("all servers have ended");
                break true;
            }
        };
        self.cancel.cancel();
        stopped
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Arrived(arrival) => self.arrived(arrival),
            Event::Left(ticket) => self.left(ticket),
            Event::Started { slot, generation, process } => self.has_started(slot, generation, process),
            Event::Ended { slot, generation, how } => {
                if let Some(run) = self.run_of(slot, generation) {
                    run.ended = Some(how);
                    self.look();
                }
            }
            Event::Ask { slot, target, reply } => {
                let _ = reply.send(self.steered(target, slot, SteerKind::Check));
            }
            Event::Checked { slot, generation, verdict } => self.checked(slot, generation, verdict),
            Event::Said { slot, generation, what, turn } => {
                self.said(slot, generation, what);
                drop(turn);
            }
            Event::Reached { slot, generation } => {
                if let Some(run) = self.run_of(slot, generation) {
                    run.coming = run.coming.saturating_sub(1);
                }
            }
            Event::Relayed { slot, generation } => {
                self.counts.relays = self.counts.relays.saturating_sub(1);
                if self.run_of(slot, generation).is_some() {
                    self.balance.closed(slot);
                }
            }
        }
    }

    pub(crate) fn run_of(&mut self, slot: u32, generation: u64) -> Option<&mut RunParts> {
        self.runs.get_mut(&slot).filter(|run| run.generation == generation)
    }

    /// Looks at all processes, and does what that asks for.
    pub(crate) fn look(&mut self) {
        let now = Instant::now();
        self.look_at_pages();
        self.look_at_handovers(now);
        for at in 0..self.entries.len() {
            let orders = {
                let (restart, drain) = (self.config.restart, self.config.drain_timeout);
                let mut member = self.entries[at].member.clone();
                let orders = member.step(now, &restart, drain, |slot| self.seen(slot));
                self.entries[at].member = member;
                orders
            };
            for order in orders {
                self.carry_out(at, order, now);
            }
        }
        self.roll();
        self.note_rolling();
        self.look_at_strays(now);
        self.entries.retain(|entry| entry.member.wanted() != Wanted::Gone || !entry.member.is_empty());
        self.free_slots();
        self.settle(now);
        let slots: Vec<u32> = self.runs.keys().copied().collect();
        for slot in slots {
            self.note(slot);
        }
    }

    fn carry_out(&mut self, at: usize, order: Order, now: Instant) {
        let name = self.entries[at].name.clone();
        match order {
            Order::Start => {
                let restart = self.config.restart;
                match self.start_run(at) {
                    Ok(slot) => self.entries[at].member.started(slot, now),
                    Err(why) => {
                        error!(server = name, "{why}");
                        self.entries[at].member.not_started(why, now, &restart);
                    }
                }
            }
            Order::Retire(slot) => self.retire(slot),
            Order::Terminate(slot) => self.signal(slot, false),
            Order::Kill(slot) => {
                warn!(server = name, "does not end: killed");
                self.signal(slot, true);
            }
            Order::Bury(slot) => self.bury(slot),
            Order::Tell(remark) => match remark {
                Remark::Serves(slot) => info!(server = name, slot, "serves"),
                Remark::Died(how) if self.stopping => info!(server = name, "{how}"),
                Remark::Died(how) => warn!(server = name, "{how}"),
                Remark::Failed(how) => warn!(server = name, "{how}: stopped, and started again"),
                Remark::GaveUp => error!(
                    server = name,
                    "started again {} times in {} s: it stays down until `zerottl director ready {name}`",
                    self.config.restart.budget,
                    self.config.restart.window.as_secs()
                ),
                Remark::NotReplaced(how) => {
                    error!(server = name, "{how}: the process before goes on");
                    self.rolling.clear();
                }
            },
        }
    }

    /// Goes on with a rolling restart once nobody is being replaced.
    fn roll(&mut self) {
        if self.rolling.is_empty() || self.entries.iter().any(|entry| entry.member.is_replacing()) {
            return;
        }
        let restart = self.config.restart;
        while let Some(name) = self.rolling.pop_front() {
            if let Some(entry) = self.entries.iter_mut().find(|entry| entry.name == name) {
                entry.member.replace(&restart);
                break;
            }
        }
    }

    /// Writes down for the next worker who is still to be replaced.
    fn note_rolling(&mut self) {
        // Also one whose successor has just been started: it may not be known to the keeper yet.
        let asked = self.entries.iter().filter(|entry| entry.member.is_replacing()).map(|entry| &entry.name);
        let names: Vec<String> = asked.chain(&self.rolling).cloned().collect();
        if names == self.rolling_noted {
            return;
        }
        let told = serde_json::to_string(&names).map(|text| self.link.note(ROLLING, &text));
        if !matches!(told, Ok(Ok(()))) {
            warn!("the next worker will not go on with the restart of {}", names.join(", "));
        }
        self.rolling_noted = names;
    }

    /// Whether those on standby serve: nobody else does.
    pub(crate) fn serves_standby(&self) -> bool {
        let serves = |entry: &Entry| {
            let run = entry.member.current().and_then(|run| self.runs.get(&run.slot).map(|parts| (run.slot, parts)));
            run.is_some_and(|(slot, run)| {
                !run.config.standby
                    && entry.member.is_open(slot)
                    && !run.retired
                    && run.ended.is_none()
                    && !run.judged.hangs
            })
        };
        !self.entries.iter().any(serves)
    }

    /// Tells the kernel what holds for each slot now.
    fn settle(&mut self, now: Instant) {
        let mut top = 0;
        let mut changed = Vec::new();
        let serves_standby = self.serves_standby();
        for (slot, run) in &self.runs {
            top = top.max(*slot);
            let Some(entry) = self.entries.iter().find(|entry| entry.name == run.name) else { continue };
            let open = entry.member.is_open(*slot) && !run.retired && (serves_standby || !run.config.standby);
            let ready = entry.member.runs().find(|one| one.slot == *slot).and_then(|one| one.ready);
            let share = slow_start(self.config.slow_start, ready, now);
            let settings = SlotSettings {
                state: if open { STATE_READY } else { STATE_CLOSED },
                cap: run.config.max_connections.unwrap_or(UNLIMITED),
                stride: stride(run.config.weight, share),
                hang_ns: run.config.hang_after.map_or(0, |time| time.as_nanos() as u64),
                generation: run.generation,
            };
            if settings != run.settings {
                changed.push((*slot, settings));
            }
        }
        for (slot, settings) in changed {
            self.balance.set_slot(slot, settings);
            if let Some(run) = self.runs.get_mut(&slot) {
                run.settings = settings;
            }
        }
        self.balance.set_control(self.config.policy, self.config.affinity, top);
    }

    /// Makes slots free whose last connection is counted off.
    pub(crate) fn free_slots(&mut self) {
        let balance = &mut self.balance;
        self.buried.retain(|slot| {
            let free = balance.tally(*slot).live == 0;
            if free {
                balance.reset(*slot);
            }
            !free
        });
    }

    /// Finds a slot for a process, the next one after those that were used last.
    pub(crate) fn free_slot(&mut self) -> Option<u32> {
        let taken = |slot: &u32| self.runs.contains_key(slot) || self.buried.contains(slot) || self.is_strays(*slot);
        let last = self.generation as u32 % (SLOTS - 1);
        (0..SLOTS - 1).map(|step| 1 + (last + step) % (SLOTS - 1)).find(|slot| !taken(slot))
    }

    /// Begins to stop: who waits is answered, servers finish what they have.
    fn stop(&mut self) {
        info!("stopping: servers have {} s to finish", self.config.drain_timeout.as_secs());
        self.stopping = true;
        let restart = self.config.restart;
        self.rolling.clear();
        for entry in &mut self.entries {
            entry.member.want(Wanted::Gone, &restart);
        }
        self.close_own();
        self.dismiss_waiting();
        let slots: Vec<u32> = self.runs.keys().copied().collect();
        for slot in slots {
            self.retire(slot);
        }
        self.look();
    }

    /// Serves those that wait, as far as there are places, and tells the kernel whether anybody still waits.
    fn serve_waiting(&mut self) {
        self.assign_waiting();
        self.expire_waiting();
        let waits = self.list.len() > 0 && !self.stopping;
        self.balance.set_waiting(waits.then_some(WAITING_HOLD));
    }
}

/// The part of its weight that a server has while it starts slowly: from a tenth to all of it.
fn slow_start(time: Duration, ready: Option<Instant>, now: Instant) -> f64 {
    match ready {
        Some(ready) if !time.is_zero() => {
            let part = now.saturating_duration_since(ready).as_secs_f64() / time.as_secs_f64();
            // In steps, so that the kernel's maps are not written each time.
            ((part * 20.0).floor() / 20.0).clamp(0.1, 1.0)
        }
        _ => 1.0,
    }
}

#[expect(clippy::cast_sign_loss, clippy::cast_precision_loss, reason = "a stride is positive and far below 2^52")]
fn stride(weight: u32, share: f64) -> u64 {
    (STRIDE_ONE as f64 / (f64::from(weight.max(1)) * share)) as u64
}
