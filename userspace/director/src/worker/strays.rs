//! Processes that no keeper knows any more: those of a director that died with its keeper, and half of a start whose worker
//! died. They get no new connections, finish those that they have, and end. Their cgroup is how they are found.

use std::{collections::BTreeSet, sync::Arc, time::Instant};

use rustix::process::{Signal, kill_process};
use tracing::{info, warn};
use xdp_ebpf::director::layout::{SLOTS, STATE_CLOSED, SlotSettings, WAITING};

use super::state::Worker;
use crate::{
    cgroups::Cgroups,
    stray::{Step, Stray},
};

impl Worker {
    /// Finds them, closes their slots, and makes the others of nobody free.
    pub(crate) fn find_strays(&mut self, now: Instant) {
        let known: BTreeSet<String> = self.runs.iter().map(|(slot, run)| format!("{}.{slot}", run.name)).collect();
        let groups = self.cgroups.as_ref().map_or_else(Vec::new, |cgroups| cgroups.of_servers());
        let until = now + self.config.drain_timeout;
        self.strays = groups.into_iter().filter(|group| !known.contains(group)).map(|g| Stray::new(g, until)).collect();
        if !self.strays.is_empty() {
            info!(groups = self.strays.len(), "processes that nobody holds any more finish their connections and end");
        }
        for slot in (WAITING + 1..SLOTS).filter(|slot| !self.runs.contains_key(slot)) {
            for address in 0..self.own.len() {
                self.balance.dismiss(address, slot);
            }
            self.balance.set_slot(slot, SlotSettings { state: STATE_CLOSED, ..SlotSettings::default() });
            if !self.is_strays(slot) {
                self.buried.insert(slot);
            }
        }
        self.free_slots();
    }

    /// Whether processes that are to end still have a slot.
    pub(crate) fn is_strays(&self, slot: u32) -> bool {
        self.strays.iter().any(|stray| stray.slot == Some(slot))
    }

    /// Ends those that are done, or whose time is over.
    pub(crate) fn look_at_strays(&mut self, now: Instant) {
        let Some(cgroups) = self.cgroups.clone() else { return };
        let (balance, buried) = (&self.balance, &mut self.buried);
        self.strays.retain_mut(|stray| {
            let processes = cgroups.processes(&stray.group);
            let live = stray.slot.map_or(0, |slot| balance.tally(slot).live);
            match stray.step(!processes.is_empty(), live, now) {
                Step::Wait => return true,
                Step::Terminate => {
                    for process in processes {
                        let _ = kill_process(process, Signal::TERM);
                    }
                    return true;
                }
                Step::Remove => {}
            }
            remove(&cgroups, stray.group.clone());
            buried.extend(stray.slot);
            false
        });
    }
}

/// Kills whatever is left in a group and removes it, beside the loop: the kernel takes its time.
pub(crate) fn remove(cgroups: &Arc<Cgroups>, group: String) {
    let cgroups = Arc::clone(cgroups);
    tokio::task::spawn_blocking(move || {
        if let Err(error) = cgroups.remove(&group) {
            warn!(%error, "a cgroup is left over");
        }
    });
}
