//! The signatures of signed zones: there before the first answer, made anew in the background, kept on disk.
//!
//! One cohort of a zone is signed at a time, so that the work is a small part of a core. A clock that has stepped signs
//! nothing: signatures with wrong times would be worse than old ones, which go on being answered.

use std::{
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::error::AgentError;
use crate::observe::signing::{Clock, seconds};
use zerottl_core::{
    model::{DnssecConfig, Model, ZoneId},
    plan::Plan,
};
use zerottl_dns::{
    Served, Zones,
    dnssec::{SignedZone, chain::COHORTS},
};
use zerottl_sign::{Validity, ZoneKeys, store};

/// How often it is looked for what is due.
const ROUND: Duration = Duration::from_secs(10);

/// The signed zones of a model.
fn signed(model: &Model) -> impl Iterator<Item = (ZoneId, &DnssecConfig)> {
    let zones = model.zones.iter().enumerate();
    zones.filter_map(|(id, zone)| zone.dnssec.as_ref().map(|config| (ZoneId(id), config)))
}

/// Signs the zones, which get their keys' records, with the signatures that are kept as far as they are good. `any` is any plan of the model.
pub(super) fn sign(zones: &mut Zones, model: &Model, any: &Plan) -> Result<Vec<Option<Arc<SignedZone>>>, AgentError> {
    let mut all = vec![None; model.zones.len()];
    for (id, config) in signed(model) {
        let apex = &model.zones[id.0].apex;
        let begun = Instant::now();
        let keys = ZoneKeys::open(apex, config, &model.state).map_err(AgentError::Keys)?;
        let kept = store::read(&store::file(apex, &model.state)).unwrap_or_else(|error| {
            warn!("the zone {apex} is signed from the start: {error}");
            Vec::new()
        });
        zones.add_keys(id, &keys);
        let signed = SignedZone::new((zones, id), Arc::new(keys), config, (model, any), &kept, seconds());
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
    // Of this configuration nothing is kept yet.
    let mut unkept = vec![true; all.len()];
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            _ = tick.tick() => {}
        }
        for ((id, config), unkept) in all.iter().zip(&mut unkept) {
            let (served, id, config) = (Arc::clone(&served), *id, config.clone());
            let is_steady = clock.is_steady();
            let is_unkept = *unkept;
            let round = move || renew_zone(&served, id, &config, is_steady, is_unkept);
            // It ends by itself, and soon; a panic in it has been told.
            *unkept = tokio::task::spawn_blocking(round).await.unwrap_or(true);
        }
    }
}

/// Signs what is due of a zone, one cohort at most, and keeps it; returns whether something is not kept yet.
fn renew_zone(served: &Served, id: ZoneId, config: &DnssecConfig, is_steady: bool, is_unkept: bool) -> bool {
    let zone = served.zones.zone(id);
    let Some(signed) = served.view.signed(id) else { return false };
    let now = seconds();
    let mut is_unkept = is_unkept;
    if let Some(at) = is_steady.then(|| due(signed, config, now)).flatten() {
        let validity = Validity::new(now, config.validity);
        let renewed = if at == COHORTS {
            signed.renew_key_sets(zone, validity)
        } else {
            is_unkept = true;
            signed.renew(zone, at, validity)
        };
        if let Err(error) = renewed {
            error!("{error}; what there is goes on being answered");
        }
    }
    is_unkept && !keep(&store::file(zone.apex(), &served.view.model.state), signed, served, id)
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
