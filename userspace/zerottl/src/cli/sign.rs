//! `zerottl sign`: a bundle, on the host that has the keys.

use std::{
    fmt::Write as _,
    io::{self, IsTerminal},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use indicatif::{HumanBytes, ProgressBar, ProgressDrawTarget, ProgressStyle};
use serde_json::json;
use zerottl_config as config;
use zerottl_core::model::{DnssecConfig, Model, Name, ZoneId};
use zerottl_dns::{Zones, dnssec::ZoneToSign};
use zerottl_sign::{
    ZoneKeys,
    bundle::{BundlePeriod, BundleWriter},
    keyring,
};

use super::{BadArgument, CommandError, INSTALLED, complain, dnssec, print};

/// Hours that a bundle lasts, at most: ten years.
const HOURS_MAX: u64 = 24 * 3650;

/// `zerottl sign`'s arguments.
#[derive(Debug, clap::Args)]
pub struct SignArguments {
    /// The configuration of the front ends, TOML, with its records files
    #[arg(long, value_name = "FILE", default_value = INSTALLED)]
    config: PathBuf,
    /// Sign this zone; may be given more than once [default: those with a `bundle`, or else all signed zones]
    #[arg(long, value_name = "ZONE")]
    zone: Vec<String>,
    /// The state directory with the keys, in `keys/ZONE./` [default: that of the configuration]
    #[arg(long, value_name = "DIRECTORY")]
    state: Option<PathBuf>,
    /// Make keys for a zone that has none yet
    #[arg(long)]
    make_keys: bool,
    /// The time that the signatures are to last, such as 14d or 72h
    #[arg(long = "for", value_name = "TIME", value_parser = lasting)]
    span: Duration,
    /// The bundle to write, whole or not at all
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn lasting(text: &str) -> Result<Duration, BadArgument> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let hours = match text.split_at(digits) {
        (number, "d") => number.parse::<u64>().ok().and_then(|days| days.checked_mul(24)),
        (number, "h") => number.parse().ok(),
        _ => None,
    };
    let hours = hours.filter(|hours| (1..=HOURS_MAX).contains(hours));
    hours.map(Duration::from_hours).ok_or(BadArgument("give a whole number and its unit, h or d, such as 14d"))
}

/// One zone, its keys and its times.
struct Work<'a> {
    apex: &'a Name,
    keys: ZoneKeys,
    periods: Vec<BundlePeriod>,
    to_sign: ZoneToSign<'a>,
    serial: u32,
}

/// Makes a bundle, and says what is in it.
pub fn sign(arguments: &SignArguments) -> Result<(), CommandError> {
    let loaded = config::load(&arguments.config).map_err(|error| CommandError::report(&error))?;
    for warning in &loaded.warnings {
        complain(&warning.line());
    }
    let (model, mut zones) = (&loaded.model, loaded.zones);
    let chosen = chosen(model, arguments)?;
    for (id, ..) in &chosen {
        zones.mark_signed(*id);
    }
    let all = chosen.into_iter().map(|(id, apex, dnssec)| work(&zones, model, (id, apex, dnssec), arguments));
    let all = all.collect::<Result<Vec<_>, _>>()?;
    let len = write(&arguments.out, &all).map_err(|error| CommandError::Sentence(error.to_string()))?;
    let report = if arguments.json { json(&arguments.out, len, &all) } else { text(&arguments.out, len, &all) };
    print(report.as_bytes())
}

/// The zones to sign.
fn chosen<'m>(
    model: &'m Model,
    arguments: &SignArguments,
) -> Result<Vec<(ZoneId, &'m Name, &'m DnssecConfig)>, CommandError> {
    if !arguments.zone.is_empty() {
        let mut chosen: Vec<(ZoneId, &Name, &DnssecConfig)> = Vec::new();
        for zone in &arguments.zone {
            let found = dnssec::zone::find(model, zone, &arguments.config)?;
            if !chosen.iter().any(|(id, ..)| *id == found.0) {
                chosen.push(found);
            }
        }
        return Ok(chosen);
    }
    let zones = model.zones.iter().enumerate();
    let mut signed: Vec<_> =
        zones.filter_map(|(id, zone)| Some((ZoneId(id), &zone.apex, zone.dnssec.as_ref()?))).collect();
    if signed.iter().any(|(_, _, dnssec)| dnssec.bundle.is_some()) {
        signed.retain(|(_, _, dnssec)| dnssec.bundle.is_some());
    }
    if signed.is_empty() {
        let file = arguments.config.display();
        return Err(format!("{file}: no zone there is signed: give one `dnssec = {{ bundle = \"…\" }}`").into());
    }
    Ok(signed)
}

fn work<'a>(
    zones: &'a Zones,
    model: &'a Model,
    (id, apex, dnssec): (ZoneId, &'a Name, &DnssecConfig),
    arguments: &SignArguments,
) -> Result<Work<'a>, CommandError> {
    let state = arguments.state.as_deref().unwrap_or(&model.state);
    // The bundle is of this host's own keys.
    let own = DnssecConfig { bundle: None, ..dnssec.clone() };
    let found =
        if arguments.make_keys { keyring::open(apex, &own, state).map(Some) } else { keyring::look(apex, &own, state) };
    let keys = found.map_err(|error| error.to_string())?.ok_or_else(|| {
        format!(
            "the zone {apex} has no keys in {}: put them there, say with `--state` where they are, or have them made with \
             `--make-keys`",
            state.display()
        )
    })?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let periods = BundlePeriod::covering(now, arguments.span, dnssec.validity, dnssec.renew);
    let to_sign = ZoneToSign::new(zones, id, model);
    Ok(Work { apex, keys, periods, to_sign, serial: zones.zone(id).serial() })
}

/// The reason why there is no bundle.
#[derive(Debug, thiserror::Error)]
enum MakeError {
    #[error(transparent)]
    Bundle(#[from] zerottl_sign::bundle::BundleError),
    #[error(transparent)]
    Sign(#[from] zerottl_dns::dnssec::SignError),
}

/// Signs everything, and writes it period by period; the bytes that were written.
fn write(out: &Path, all: &[Work<'_>]) -> Result<u64, MakeError> {
    let total: usize = all.iter().map(|work| work.to_sign.signatures() * work.periods.len()).sum();
    let bar = progress(total as u64);
    let mut writer = BundleWriter::create(out)?;
    for Work { apex, keys, periods, to_sign, serial } in all {
        writer.zone(apex, *serial, keys, to_sign.digests())?;
        for period in periods {
            let signatures = to_sign.sign(keys, period.validity(), &|made| bar.inc(made))?;
            writer.period(*period, signatures.iter(), &to_sign.sign_keys(keys, period.validity())?)?;
        }
    }
    let len = writer.finish()?;
    bar.finish_and_clear();
    Ok(len)
}

/// On a terminal only.
fn progress(signatures: u64) -> ProgressBar {
    let target = if io::stderr().is_terminal() { ProgressDrawTarget::stderr() } else { ProgressDrawTarget::hidden() };
    let bar = ProgressBar::with_draw_target(Some(signatures), target);
    if let Ok(style) = ProgressStyle::with_template("signing {bar:30} {human_pos} of {human_len} signatures, {eta}") {
        bar.set_style(style);
    }
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

impl Work<'_> {
    fn keys(&self) -> Vec<String> {
        self.keys.all().iter().map(|key| format!("{}/{}", key.algorithm(), key.tag())).collect()
    }

    /// Its begin and its end, seconds since 1970.
    fn times(&self) -> (u64, u64) {
        let ends = || self.periods.iter().map(|period| period.end);
        (self.periods.first().map_or(0, |first| first.begin), ends().max().unwrap_or(0))
    }
}

fn text(out: &Path, len: u64, all: &[Work<'_>]) -> String {
    let mut text = format!("{}: {}, no private key in it\n", out.display(), HumanBytes(len));
    for work in all {
        let (begin, end) = work.times();
        let hours = (end - begin) / 3600;
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{}: {} signatures in each of {} periods, by {}; from {} until {}, {} d {} h",
            work.apex,
            work.to_sign.signatures(),
            work.periods.len(),
            work.keys().join(", "),
            dnssec::zone::date(begin),
            dnssec::zone::date(end),
            hours / 24,
            hours % 24
        );
    }
    text
}

fn json(out: &Path, len: u64, all: &[Work<'_>]) -> String {
    let zone = |work: &Work<'_>| {
        let (begin, end) = work.times();
        json!({
            "zone": work.apex.to_string(),
            "signatures": work.to_sign.signatures(),
            "periods": work.periods.len(),
            "keys": work.keys(),
            "serial": work.serial,
            "begin": begin,
            "end": end,
        })
    };
    let zones: Vec<_> = all.iter().map(zone).collect();
    format!("{}\n", json!({ "bundle": out.display().to_string(), "bytes": len, "zones": zones }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_days_and_hours() {
        let hours = |text: &str| lasting(text).ok().map(|span| span.as_secs() / 3600);
        assert_eq!(["14d", "72h", "1h", "3650d"].map(hours), [Some(336), Some(72), Some(1), Some(HOURS_MAX)]);
        assert_eq!(["0h", "14", "d", "1m", "3651d", "99999999999999999999d", ""].map(hours), [None; 7]);
    }
}
