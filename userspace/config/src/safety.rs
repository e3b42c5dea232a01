//! `[state]`, and what keeps a pool from being emptied and a Site from flapping: `min_sites`, `min_capacity`, `capacity`,
//! `hold_down`, `hold_down_max`, `flap_window`.

use std::{ops::RangeInclusive, path::PathBuf, time::Duration};

use toml::Spanned;

use super::{
    raw,
    readers::duration,
    report::Reporter,
    values::{Reader, written},
};
use zerottl_core::model::{Damping, Failback, Minimum};

/// Where packages and systemd's `StateDirectory=zerottl` have it.
const STATE: &str = "/var/lib/zerottl";
/// A hold-down or a window of days would be forgotten by whoever set it.
const LONG: Duration = Duration::from_hours(24);
const HOLD_DOWN: RangeInclusive<Duration> = Duration::ZERO..=LONG;
const WINDOW: RangeInclusive<Duration> = Duration::from_secs(1)..=LONG;

pub(super) fn state(report: &mut Reporter, raw: Option<&Spanned<raw::State>>) -> PathBuf {
    let directory = raw.and_then(|raw| raw.get_ref().directory.as_ref());
    let Some(directory) = directory else { return STATE.into() };
    if directory.get_ref().is_empty() || directory.get_ref().contains('\0') {
        report
            .error(directory.span(), "[state]: `directory` is not a path")
            .help("give a directory that the agent may write to, such as \"/var/lib/zerottl\"");
    }
    // Not looked at: the agent makes it, and runs on without.
    report.base_dir().join(directory.get_ref())
}

pub(super) fn minimum(reader: &mut Reader<'_>, raw: &raw::PoolKeys, listed: usize) -> Minimum {
    let Minimum { sites, capacity } = Minimum::default();
    let most = i64::try_from(listed).unwrap_or(i64::MAX);
    let sites = match &raw.min_sites {
        Some(value) if *value.get_ref() > most && listed > 0 => {
            reader
                .error(value.span(), format!("`min_sites` is {}, and the pool has {listed} Sites", value.get_ref()))
                .help(format!("give 0 to {listed}; 0 is no minimum"));
            sites
        }
        value => reader.number("min_sites", value, 0..=i64::from(u32::MAX), "Sites", sites),
    };
    let capacity = match &raw.min_capacity {
        None => capacity,
        // NaN lies in no range.
        Some(value) if (0.0..=1.0).contains(value.get_ref()) => *value.get_ref(),
        Some(value) => {
            reader
                .error(value.span(), format!("`min_capacity` is {}, out of range", value.get_ref()))
                .help("give 0 to 1, the share of the pool's capacity that must be left; 0 is no minimum");
            capacity
        }
    };
    Minimum { sites, capacity }
}

/// Reads what brings a Site back; none where it is not said.
pub(super) fn failback(reader: &mut Reader<'_>, raw: &raw::Text) -> Option<Failback> {
    raw.as_ref()?;
    let words = [("auto", Failback::Auto), ("manual", Failback::Manual)];
    Some(reader.choice("failback", raw, &words, Failback::Auto))
}

pub(super) fn capacity(reader: &mut Reader<'_>, raw: &raw::Site) -> Option<f64> {
    let value = raw.capacity.as_ref()?;
    if value.get_ref().is_finite() && *value.get_ref() > 0.0 {
        return Some(*value.get_ref());
    }
    reader
        .error(value.span(), format!("`capacity` is {}, out of range", value.get_ref()))
        .help("give a number over 0: how much load the Site can take, in any unit that all Sites share");
    None
}

pub(super) fn damping(reader: &mut Reader<'_>, raw: &raw::Site) -> Damping {
    let default = Damping::default();
    let hold_down = duration(reader, "hold_down", &raw.hold_down, default.hold_down, HOLD_DOWN);
    let window = duration(reader, "flap_window", &raw.flap_window, default.window, WINDOW);
    let max = duration(reader, "hold_down_max", &raw.hold_down_max, default.max, HOLD_DOWN);
    let (hold_down, max) = (hold_down.unwrap_or_default(), max.unwrap_or(LONG));
    if max < hold_down {
        let at = raw.hold_down_max.as_ref().map_or(reader.header.clone(), Spanned::span);
        reader
            .error(at, format!("`hold_down_max` {} is below `hold_down` {}", written(max), written(hold_down)))
            .help(format!("give at least \"{}\"", written(hold_down)));
    }
    Damping { hold_down, max: max.max(hold_down), window: window.unwrap_or(default.window) }
}
