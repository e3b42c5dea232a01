//! The zone that a command is about.

use std::path::{Path, PathBuf};

use zerottl_core::model::{DnssecConfig, Model, Name, ZoneId};
use zerottl_sign::{Bundle, ZoneBundle, keyring};

use crate::cli::{CommandError, INSTALLED};

/// The zone that is asked for.
#[derive(Debug, clap::Args)]
pub(super) struct OfZone {
    /// A signed zone of the configuration
    pub zone: String,
    /// The configuration, TOML
    #[arg(long, value_name = "FILE", default_value = INSTALLED)]
    pub config: PathBuf,
    /// The state directory with the keys, on a host that makes bundles of them [default: that of the configuration]
    #[arg(long, value_name = "DIRECTORY")]
    pub state: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

impl OfZone {
    /// Where the zone's keys are, and what they are: with a state directory in the arguments, its own.
    pub(super) fn keys_at<'m>(&'m self, model: &'m Model, dnssec: &DnssecConfig) -> (DnssecConfig, &'m Path) {
        match &self.state {
            Some(state) => (DnssecConfig { bundle: None, ..dnssec.clone() }, state),
            None => (dnssec.clone(), &model.state),
        }
    }
}

/// The part of a zone in its bundle, if it has one.
pub(super) fn bundle(apex: &Name, dnssec: &DnssecConfig) -> Result<Option<ZoneBundle>, CommandError> {
    let of = |file: &PathBuf| Bundle::open(file).and_then(|bundle| bundle.zone(apex));
    Ok(dnssec.bundle.as_ref().map(of).transpose().map_err(|error| error.to_string())?)
}

/// TTL of the records that are printed, seconds; a parent has its own.
pub(super) const TTL: u32 = 3600;

/// A time in seconds since 1970, as a date.
pub(in crate::cli) fn date(seconds: u64) -> String {
    keyring::time(seconds).to_string()
}

/// A signed zone of a configuration, which stands in a file.
pub(in crate::cli) fn find<'m>(
    model: &'m Model,
    zone: &str,
    file: &Path,
) -> Result<(ZoneId, &'m Name, &'m DnssecConfig), CommandError> {
    let wanted = zone.trim_end_matches('.');
    let is_it = |apex: &Name| apex.to_string().trim_end_matches('.').eq_ignore_ascii_case(wanted);
    let zones = || model.zones.iter().enumerate();
    let signed = || zones().filter_map(|(id, zone)| Some((ZoneId(id), &zone.apex, zone.dnssec.as_ref()?)));
    if let Some(found) = signed().find(|(_, apex, _)| is_it(apex)) {
        return Ok(found);
    }
    let names: Vec<_> = signed().map(|(_, apex, _)| apex.to_string()).take(8).collect();
    let others = match &names[..] {
        [] => "it has none: give a zone `dnssec = true`".to_owned(),
        names => format!("it has {}", names.join(", ")),
    };
    Err(format!("{}: `{zone}` is no signed zone there; {others}", file.display()).into())
}
