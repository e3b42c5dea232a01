//! The signatures of signed zones: there before the first answer, made anew in the background, kept on disk.
//!
//! One cohort of a zone is signed at a time, and rests follow the work, so that it is a small part of a core. A clock that has stepped signs
//! nothing: signatures with wrong times would be worse than old ones, which go on being answered.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{error::AgentError, rolling::ZoneRoll};
use crate::{
    bundles::{self, OpenBundles},
    observe::signing::{Clock, now, seconds},
};
use zerottl_core::model::{DnssecConfig, Model, ZoneId};
use zerottl_dns::{
    Served, Zones,
    dnssec::{SignedZone, chain::COHORTS, zone::staggered},
    zone::Zone,
};
use zerottl_sign::{Validity, keyring, store};

/// How often it is looked for what is due.
const ROUND: Duration = Duration::from_secs(10);
/// Rest after each cohort of those that a new key signs, in times of the work: a tenth of a core.
const REST: u32 = 9;

/// The signed zones of a model.
fn signed(model: &Model) -> impl Iterator<Item = (ZoneId, &DnssecConfig)> {
    let zones = model.zones.iter().enumerate();
    zones.filter_map(|(id, zone)| zone.dnssec.as_ref().map(|config| (ZoneId(id), config)))
}

/// Reads the keys and bundles of signed zones that are there, so that a fault in them is told before anything is done.
pub(super) fn look(model: &Model, zones: &Zones) -> Result<(), AgentError> {
    for (id, config) in signed(model).filter(|(_, config)| config.bundle.is_none()) {
        keyring::look(&model.zones[id.0].apex, config, &model.state).map_err(AgentError::Keys)?;
    }
    bundles::faults(model, zones, now()).into_iter().next().map_or(Ok(()), |fault| Err(AgentError::Bundle(fault)))
}

/// Signs the zones, which get their keys' records, with the signatures that are kept as far as they are good.
///
/// Bundles are read by the time `now`, in seconds since 1970.
pub(super) fn sign(zones: &mut Zones, model: &Model, now: u64) -> Result<Vec<Option<Arc<SignedZone>>>, AgentError> {
    let mut all = vec![None; model.zones.len()];
    let mut open = OpenBundles::default();
    for (id, config) in signed(model) {
        let apex = &model.zones[id.0].apex;
        let begun = Instant::now();
        if let Some(file) = &config.bundle {
            let signed = open.sign(zones, id, (model, file), now).map_err(AgentError::Bundle)?;
            let signatures = signed.signatures();
            info!(zone = %apex, signatures, took = ?begun.elapsed(), "signed, by the bundle {}", file.display());
            all[id.0] = Some(Arc::new(signed));
            continue;
        }
        let keys = keyring::open(apex, config, &model.state).map_err(AgentError::Keys)?;
        let kept = store::read(&store::file(apex, &model.state)).unwrap_or_else(|error| {
            warn!("the zone {apex} is signed from the start: {error}");
            Vec::new()
        });
        zones.mark_signed(id);
        let signed = SignedZone::new((zones, id), Arc::new(keys), config, model, &kept, seconds());
        let signed = signed.map_err(AgentError::Sign)?;
        let signatures = signed.signatures();
        info!(zone = %apex, signatures, took = ?begun.elapsed(), "signed");
        all[id.0] = Some(Arc::new(signed));
    }
    Ok(all)
}

/// Keeps the signatures, and makes them anew, until it is told to stop.
pub(super) async fn renew(served: Arc<Served>, clock: Arc<Clock>, stop: CancellationToken) {
    let model = Arc::clone(&served.view.model);
    let all: Vec<_> = signed(&model).map(|(id, config)| (id, config.clone())).collect();
    if all.is_empty() {
        return stop.cancelled().await;
    }
    let mut tick = tokio::time::interval(ROUND);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rounds: Vec<_> = all.iter().map(|_| ZoneRounds::default()).collect();
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        for ((id, config), rounds) in all.iter().zip(&mut rounds) {
            loop {
                let (served, id, config) = (Arc::clone(&served), *id, config.clone());
                let is_steady = clock.is_steady();
                let mut own = std::mem::take(rounds);
                let begun = Instant::now();
                let round = move || {
                    let is_more = own.round(&served, id, &config, is_steady);
                    (own, is_more)
                };
                // It ends by itself, and soon; a panic in it has been told.
                let Ok((own, is_more)) = tokio::task::spawn_blocking(round).await else { break };
                *rounds = own;
                if !is_more {
                    break;
                }
                tokio::select! {
                    () = stop.cancelled() => return,
                    () = tokio::time::sleep(begun.elapsed() * REST) => {}
                }
            }
        }
    }
}

/// The state of a zone from one round to the next.
#[derive(Default)]
struct ZoneRounds {
    /// Whether its signatures are kept; of a configuration that has just come into force nothing is.
    is_kept: bool,
    roll: ZoneRoll,
    /// The failure to follow its bundle that has been told, which is told once.
    told: Option<String>,
}

impl ZoneRounds {
    /// Follows the zone's keys, signs what is due, one cohort at most, and keeps it; returns whether a new key has more to
    /// sign.
    fn round(&mut self, served: &Served, id: ZoneId, config: &DnssecConfig, is_steady: bool) -> bool {
        let zone = served.zones.zone(id);
        let Some(signed) = served.view.signed(id) else { return false };
        if signed.bundle().is_some() {
            if is_steady {
                self.follow_bundle(signed, zone);
            }
            return false;
        }
        let now = seconds();
        let mut is_more = false;
        if is_steady {
            self.roll.follow(zone, signed, config, &served.view.model);
            let other = signed.cohort_of_other_key();
            let renewed = match other.or_else(|| due(signed, config, now)) {
                None => Ok(()),
                Some(COHORTS) => signed.renew_key_sets(Validity::new(now, config.validity)),
                Some(at) => {
                    self.is_kept = false;
                    let span = if other.is_some() { staggered(config, at) } else { config.validity };
                    signed.renew(zone, at, Validity::new(now, span))
                }
            };
            match renewed {
                Ok(()) => is_more = other.is_some(),
                Err(error) => error!("{error}; what there is goes on being answered"),
            }
        }
        if !is_more && !self.is_kept {
            self.is_kept = keep(&store::file(zone.apex(), &served.view.model.state), signed, served, id);
        }
        is_more
    }
}

impl ZoneRounds {
    /// Answers with the signatures of the bundle's next period once that has begun.
    fn follow_bundle(&mut self, signed: &SignedZone, zone: &Zone) {
        match signed.follow_bundle(zone, now()) {
            Ok(None) => {}
            Ok(Some(_)) => {
                self.told = None;
                info!(zone = %zone.apex(), "answered with the signatures of the bundle's next period");
            }
            Err(error) => {
                let text = error.to_string();
                if self.told.as_ref() != Some(&text) {
                    error!("the signatures of the zone {} stay as they are: {text}", zone.apex());
                    self.told = Some(text);
                }
            }
        }
    }
}

/// The part of a zone whose signatures are due and have the least time left: a cohort, or behind them the key sets.
fn due(signed: &SignedZone, config: &DnssecConfig, now: u32) -> Option<usize> {
    let least = config.validity.saturating_sub(config.renew).as_secs().cast_signed();
    let all = signed.validities().map(|validity| validity.left(now)).enumerate();
    all.filter(|(_, left)| *left < least).min_by_key(|(_, left)| *left).map(|(at, _)| at)
}

fn keep(file: &Path, signed: &SignedZone, served: &Served, id: ZoneId) -> bool {
    let written = store::write(file, &signed.kept(served.zones.zone(id)));
    if let Err(error) = &written {
        warn!("the signatures are not kept, and are made anew at the next start: {error}");
    }
    written.is_ok()
}
