//! `zerottl dnssec`: what there is of a signed zone's keys, from the configuration and the files alone.

use std::path::{Path, PathBuf};

use domain::base::Rtype;
use zerottl_config as config;
use zerottl_core::model::{DnssecConfig, Model, Name};
use zerottl_sign::ZoneKeys;

use super::{CommandError, INSTALLED, print};

/// The questions about signed zones.
#[derive(Debug, clap::Args)]
pub struct DnssecArguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Print the DS records that the parent of a zone needs, as lines of a zone file
    Ds(OfZone),
    /// Print the DNSKEY records of a zone, as lines of a zone file: the form of a trust anchor
    Dnskey(OfZone),
}

/// The zone that is asked for.
#[derive(Debug, clap::Args)]
struct OfZone {
    /// A signed zone of the configuration
    zone: String,
    /// The configuration, TOML
    #[arg(long, value_name = "FILE", default_value = INSTALLED)]
    config: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// TTL of the records that are printed, seconds; a parent has its own.
const TTL: u32 = 3600;

/// Answers one.
pub fn dnssec(arguments: DnssecArguments) -> Result<(), CommandError> {
    let (of, is_ds) = match arguments.command {
        Command::Ds(of) => (of, true),
        Command::Dnskey(of) => (of, false),
    };
    let loaded = config::load(&of.config).map_err(|error| CommandError::report(&error))?;
    let (apex, dnssec) = find(&loaded.model, &of.zone, &of.config)?;
    let keys = ZoneKeys::look(apex, dnssec, &loaded.model.state).map_err(|error| error.to_string())?;
    let keys = keys.ok_or_else(|| {
        let state = loaded.model.state.display();
        format!(
            "the zone {apex} has no keys in {state} yet: the agent makes them when it starts with this configuration"
        )
    })?;
    let (rtype, data): (_, Vec<String>) = if is_ds {
        (Rtype::DS, keys.delegation_signers(apex).map(|ds| ds.to_string()).collect())
    } else {
        (Rtype::DNSKEY, keys.dnskeys().map(|key| key.to_string()).collect())
    };
    let apex = apex.fmt_with_dot();
    if of.json {
        let records: Vec<_> = data
            .iter()
            .map(|data| serde_json::json!({ "owner": apex.to_string(), "ttl": TTL, "type": rtype.to_string(), "data": data }))
            .collect();
        return print(format!("{}\n", serde_json::json!({ "records": records })).as_bytes());
    }
    let lines = data.iter().map(|data| format!("{apex} {TTL} IN {rtype} {data}\n"));
    print(lines.collect::<String>().as_bytes())
}

fn find<'m>(model: &'m Model, zone: &str, file: &Path) -> Result<(&'m Name, &'m DnssecConfig), CommandError> {
    let wanted = zone.trim_end_matches('.');
    let is_it = |apex: &Name| apex.to_string().trim_end_matches('.').eq_ignore_ascii_case(wanted);
    let signed = || model.zones.iter().filter_map(|zone| Some((&zone.apex, zone.dnssec.as_ref()?)));
    if let Some(found) = signed().find(|(apex, _)| is_it(apex)) {
        return Ok(found);
    }
    let names: Vec<_> = signed().map(|(apex, _)| apex.to_string()).take(8).collect();
    let others = match &names[..] {
        [] => "it has none: give a zone `dnssec = true`".to_owned(),
        names => format!("it has {}", names.join(", ")),
    };
    Err(format!("{}: `{zone}` is no signed zone there; {others}", file.display()).into())
}
