//! Signed zones whose keys are on another host: their bundles, opened and held against a configuration.

use std::{
    collections::BTreeMap,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use crate::observe::signing::now;
use zerottl_core::model::{Model, Name, ZoneId};
use zerottl_dns::{
    Zones,
    dnssec::{SignedZone, TakeError},
};
use zerottl_sign::{Bundle, ZoneBundle, bundle::BundleError};

/// Bundles that are open, each file once: it is read as a whole then.
#[derive(Debug, Default)]
pub struct OpenBundles(BTreeMap<PathBuf, Bundle>);

impl OpenBundles {
    /// The part of a zone in a file.
    pub fn zone(&mut self, file: &Path, apex: &Name) -> Result<ZoneBundle, BundleError> {
        if let Some(bundle) = self.0.get(file) {
            return bundle.zone(apex);
        }
        let bundle = Bundle::open(file)?;
        self.0.entry(file.to_owned()).or_insert(bundle).zone(apex)
    }

    /// Signs a zone, which gets its keys' records, with what its bundle has for a time. A serial that makes itself is the
    /// one that was signed.
    pub fn sign(
        &mut self,
        zones: &mut Zones,
        id: ZoneId,
        (model, file): (&Model, &Path),
        now: u64,
    ) -> Result<SignedZone, TakeError> {
        let configured = &model.zones[id.0];
        let bundle = self.zone(file, &configured.apex)?;
        zones.mark_signed(id);
        if configured.auto_serial {
            zones.set_serial(id, bundle.serial());
        }
        SignedZone::of_bundle((zones, id), bundle.into(), model, now)
    }
}

/// Returns why an agent would not take a configuration at a time: each zone whose bundle does not fit, with the names that
/// it does not sign.
#[must_use]
pub fn faults(model: &Model, zones: &Zones, now: u64) -> Vec<TakeError> {
    let all = model.zones.iter().enumerate();
    let of_bundles: Vec<_> =
        all.filter_map(|(id, zone)| Some((ZoneId(id), zone.dnssec.as_ref()?.bundle.as_deref()?))).collect();
    if of_bundles.is_empty() {
        return Vec::new();
    }
    let (mut zones, mut open) = (zones.clone(), OpenBundles::default());
    of_bundles.into_iter().filter_map(|(id, file)| open.sign(&mut zones, id, (model, file), now).err()).collect()
}

/// Returns the [`faults`] of now in words, as of the front end that would be given the configuration. A bundle that is not
/// there is none: see [`absent`].
#[must_use]
pub fn refusals(model: &Model, zones: &Zones) -> Vec<String> {
    let faults = faults(model, zones, now());
    let refusal = |fault: &TakeError| format!("a front end refuses this configuration: {fault}");
    faults.iter().filter(|fault| !is_absent(fault)).map(refusal).collect()
}

/// Returns which bundles are not there, in words. The host that signs has the configuration before its first bundle.
#[must_use]
pub fn absent(model: &Model) -> Vec<String> {
    let named = model.zones.iter().filter_map(|zone| Some((&zone.apex, zone.dnssec.as_ref()?.bundle.as_deref()?)));
    let absent = named.filter(|(_, file)| !file.exists());
    let line = |(apex, file): (&Name, &Path)| {
        let file = file.display();
        format!(
            "the bundle {file} of the zone {apex} is not there: `zerottl sign` makes it, and no front end starts without"
        )
    };
    absent.map(line).collect()
}

fn is_absent(fault: &TakeError) -> bool {
    matches!(fault, TakeError::Bundle(BundleError::File { error, .. }) if error.kind() == ErrorKind::NotFound)
}
