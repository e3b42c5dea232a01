//! The state that is there without an agent: the pins, read by whoever may.

use std::{os::fd::AsFd, path::Path};

use aya::maps::{Map, MapData, MapError, PerCpuArray};
use serde::{Deserialize, Serialize};
use xdp_ebpf::{
    layout::{ABI, Control},
    reason::Reason,
};

use super::{
    mmap_array::Mapped,
    pins::{self, PinnedLink},
    sys,
};

/// The contents of a folder of pins. Fields are only ever added.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PinnedState {
    /// The process of the agent that has the folder; none if none runs.
    pub owner: Option<i32>,
    /// The program's interfaces.
    pub interfaces: Vec<LeftInterface>,
    /// The plan that is answered from; none if this version cannot read it.
    pub plan: Option<LeftPlan>,
    /// Packets by reason, those never met left out.
    pub reasons: Vec<(String, u64)>,
}

/// One interface.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LeftInterface {
    /// Its name.
    pub interface: String,
    /// `native`, `generic`, `off` where it is on no interface any more, or `unknown` to who may not ask.
    pub mode: String,
}

/// A plan.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LeftPlan {
    /// Its number.
    pub generation: u64,
    /// Since an agent last found it to be right, seconds.
    pub age_s: f64,
    /// From which age on it is stale, seconds; none is never.
    pub age_max_s: Option<f64>,
    /// The agent's process.
    pub pid: u32,
}

/// Reads a folder; none if there is nothing. Needs `CAP_BPF`.
#[must_use]
pub fn read(folder: &Path) -> Option<PinnedState> {
    let interface = |link: PinnedLink| {
        let mode = match sys::get(&link.path).and_then(|link| sys::link_info(link.as_fd())) {
            Ok(info) if info.interface.is_some() => link.mode.name(),
            Ok(_) => "off",
            Err(_) => "unknown",
        };
        LeftInterface { interface: link.interface, mode: mode.to_owned() }
    };
    let interfaces: Vec<_> = pins::links(folder).unwrap_or_default().into_iter().map(interface).collect();
    let plan = plan(folder);
    if interfaces.is_empty() && plan.is_none() {
        return None;
    }
    Some(PinnedState {
        owner: zerottl_host::locks::owner(folder),
        interfaces,
        plan,
        reasons: reasons(folder).unwrap_or_default(),
    })
}

#[expect(clippy::cast_precision_loss, reason = "seconds for people")]
fn plan(folder: &Path) -> Option<LeftPlan> {
    let map = MapData::from_pin(pins::control(folder)).ok()?;
    if map.info().ok()?.value_size() as usize != size_of::<Control>() {
        return None;
    }
    let control = Mapped::<Control>::new(map.fd(), 1).ok()?.read(0);
    (control.abi == ABI).then(|| LeftPlan {
        generation: control.word >> 8,
        age_s: zerottl_host::resources::boot_ns().saturating_sub(control.confirmed) as f64 / 1e9,
        age_max_s: (control.age_max != 0).then_some(control.age_max as f64 / 1e9),
        pid: control.pid,
    })
}

fn reasons(folder: &Path) -> Result<Vec<(String, u64)>, MapError> {
    let map = Map::from_map_data(MapData::from_pin(pins::shared(folder, "COUNTERS"))?)?;
    let counters: PerCpuArray<MapData, u64> = PerCpuArray::try_from(map)?;
    let count = |reason: &Reason| Ok((reason.name().to_owned(), counters.get(&(*reason as u32), 0)?.iter().sum()));
    let counts: Result<Vec<(String, u64)>, MapError> = Reason::ALL.iter().map(count).collect();
    Ok(counts?.into_iter().filter(|(_, count)| *count > 0).collect())
}
