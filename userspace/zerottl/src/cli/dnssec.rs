//! `zerottl dnssec`: what there is of a signed zone's keys, from the configuration and the files alone, and their exchange.

use domain::base::Rtype;
use zerottl_config as config;
use zerottl_sign::keyring;

use self::zone::{OfZone, TTL, bundle, find};
use super::{CommandError, print};

mod rolling;
pub(super) mod zone;

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
    /// Show the keys of a zone in the state directory, and how far their roll is
    Status(OfZone),
    /// Begin to exchange a key of a zone
    ///
    /// The new key is made in the state directory; a running agent takes it over within 10 seconds, and goes on by itself
    /// but for the parent's DS. Run it as root or as the agent's user.
    Roll {
        #[command(flatten)]
        of: OfZone,
        /// Exchange the KSK of a zone that has KSK and ZSK
        #[arg(long)]
        ksk: bool,
        /// Exchange the ZSK of a zone that has KSK and ZSK
        #[arg(long, conflicts_with = "ksk")]
        zsk: bool,
    },
    /// Say that all servers of the parent have the new DS of a zone whose key is rolled
    DsSeen(OfZone),
    /// Take the next step of a roll by hand, where no agent here answers the zone: all its servers have what is asked for
    Step(OfZone),
}

/// Answers one.
pub fn dnssec(arguments: DnssecArguments) -> Result<(), CommandError> {
    let (of, is_ds) = match arguments.command {
        Command::Ds(of) => (of, true),
        Command::Dnskey(of) => (of, false),
        Command::Status(of) => return rolling::run(&of, None),
        Command::Roll { of, ksk, zsk } => return rolling::run(&of, Some(rolling::Change::Roll { ksk, zsk })),
        Command::DsSeen(of) => return rolling::run(&of, Some(rolling::Change::DsSeen)),
        Command::Step(of) => return rolling::run(&of, Some(rolling::Change::Step)),
    };
    let loaded = config::load(&of.config).map_err(|error| CommandError::report(&error))?;
    let (_, apex, dnssec) = find(&loaded.model, &of.zone, &of.config)?;
    let (dnssec, state) = of.keys_at(&loaded.model, dnssec);
    let keys = match bundle(apex, &dnssec)? {
        Some(bundle) => Some((**bundle.keys()).clone()),
        None => keyring::look(apex, &dnssec, state).map_err(|error| error.to_string())?,
    };
    let keys = keys.ok_or_else(|| {
        let state = state.display();
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
