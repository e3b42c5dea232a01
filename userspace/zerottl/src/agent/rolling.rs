//! The keys of a signed zone while they are exchanged: the agent takes over what a command has written to the state
//! directory, and takes the steps that need no person once it serves what they ask for.

use std::sync::Arc;

use tracing::{error, info};

use crate::observe::signing::now;
use zerottl_core::model::{DnssecConfig, Model};
use zerottl_dns::{
    dnssec::{SignError, SignedZone},
    zone::Zone,
};
use zerottl_sign::{
    Validity,
    keyring::KeyringVersion,
    roll::{self, RollError, RollTtls},
};

/// The state of a zone's keys from one round to the next.
#[derive(Default)]
pub(super) struct ZoneRoll {
    /// The state that has been taken over.
    seen: Option<KeyringVersion>,
    is_under_way: bool,
    /// The failure that has been told, which is told once.
    told: Option<String>,
}

/// Why keys stay as they are.
#[derive(Debug, thiserror::Error)]
enum FollowError {
    #[error(transparent)]
    Roll(#[from] RollError),
    #[error(transparent)]
    Sign(#[from] SignError),
}

impl ZoneRoll {
    /// Takes over the keys of the state directory, and takes the steps that are due. The clock has to be right.
    pub(super) fn follow(&mut self, zone: &Zone, signed: &SignedZone, config: &DnssecConfig, model: &Model) {
        if !config.keys.is_empty() {
            return;
        }
        let version = KeyringVersion::of(zone.apex(), &model.state);
        if self.seen == Some(version) && !self.is_under_way {
            return;
        }
        match self.steps(zone, signed, config, model) {
            Ok(()) => self.told = None,
            Err(error) => {
                let text = error.to_string();
                if self.told.as_ref() != Some(&text) {
                    error!("the keys of the zone {} stay as they are: {text}", zone.apex());
                    self.told = Some(text);
                }
            }
        }
    }

    fn steps(
        &mut self,
        zone: &Zone,
        signed: &SignedZone,
        config: &DnssecConfig,
        model: &Model,
    ) -> Result<(), FollowError> {
        let (apex, now) = (zone.apex(), now());
        let (mut keyring, lock) = roll::hold(apex, config, &model.state)?;
        let (longest, keys) = zone.ttls(model);
        let ttls = RollTtls { keys, longest, parent: config.parent_ttl.as_secs() as u32 };
        let mut is_new = self.seen != Some(KeyringVersion::of(apex, &model.state));
        loop {
            if is_new {
                let keys = keyring.keys().map_err(RollError::from)?;
                if !keys.is_same(&signed.keys()) {
                    signed.set_keys(Arc::new(keys), Validity::new(now as u32, config.validity))?;
                    info!(zone = %apex, "other keys are in force");
                }
            }
            is_new = keyring.advance(ttls, signed.cohort_of_other_key().is_none(), now, &lock)?;
            if !is_new {
                break;
            }
            let step = keyring.under_way().map(|(role, step)| format!("{}, step {step}", role.word()));
            info!(zone = %apex, "roll: {}", step.as_deref().unwrap_or("done"));
        }
        self.is_under_way = keyring.under_way().is_some();
        self.seen = Some(KeyringVersion::of(apex, &model.state));
        Ok(())
    }
}
