//! First signing: how long it takes, and what of it stays in memory, here and in the kernel.
//!
//! `src/bin/signing.rs` does it, in a process of its own whose allocator counts.

use std::{
    path::Path,
    process::{Command, Stdio},
    sync::Arc,
    time::Instant,
};

use serde_json::{Value, json};
use zerottl_core::model::ZoneId;
use zerottl_dns::{self as dns, dnssec::SignedZone};
use zerottl_kernel::{image::Image, signed_image::SignedImage};
use zerottl_sign::keyring;

use super::counted_memory::CountedMemory;
use crate::{error::BenchError, scene, stats::Quartiles};

/// A number of names, each with so many Sites, and what was aimed at.
#[derive(Clone, Copy, Debug)]
pub struct SigningScene {
    /// Names.
    pub names: usize,
    /// Sites of each, with two addresses each.
    pub sites: usize,
    /// Seconds and bytes at most, if anything was said.
    pub at_most: Option<(f64, f64)>,
}

/// The cost of signing a scene for the first time.
#[derive(Clone, Debug)]
pub struct Signing {
    /// The scene.
    pub scene: SigningScene,
    /// Signatures.
    pub signatures: f64,
    /// Seconds, one of each round.
    seconds: Vec<f64>,
    /// Bytes of our own that stay.
    pub own_bytes: f64,
    /// Bytes of the kernel's maps.
    pub map_bytes: f64,
}

impl Signing {
    /// Seconds until everything is signed.
    #[must_use]
    pub fn seconds(&self) -> Quartiles {
        Quartiles::of(self.seconds.iter().copied())
    }

    /// All bytes that stay.
    #[must_use]
    pub fn bytes(&self) -> f64 {
        self.own_bytes + self.map_bytes
    }
}

/// Measures scenes, so many rounds of each, by the program that signs.
///
/// # Errors
/// If it fails, or says something else than its figures.
pub fn measure(scenes: &[SigningScene], rounds: usize, program: &Path) -> Result<Vec<Signing>, BenchError> {
    let mut all = Vec::new();
    for scene in scenes.iter().copied() {
        let [signatures, own_bytes, map_bytes] = [0.0; 3];
        let mut signing = Signing { scene, signatures, seconds: Vec::new(), own_bytes, map_bytes };
        for _ in 0..rounds {
            let mut command = Command::new(program);
            command.args([scene.names.to_string(), scene.sites.to_string()]).stderr(Stdio::inherit());
            let output = command.output()?;
            let said: Value = serde_json::from_slice(&output.stdout)?;
            let figure = |name: &str| said[name].as_f64().ok_or_else(|| format!("no {name} in {said}"));
            signing.seconds.push(figure("seconds")?);
            signing.signatures = figure("signatures")?;
            signing.own_bytes = figure("own_bytes")?;
            signing.map_bytes = figure("map_bytes")?;
        }
        all.push(signing);
    }
    Ok(all)
}

/// The arguments of `src/bin/signing.rs`.
#[derive(Clone, Copy, Debug, clap::Parser)]
#[command(about = "Signs a zone for the first time, and counts the bytes that stay")]
pub struct SigningArguments {
    /// Names
    names: usize,
    /// Sites of each
    sites: usize,
}

impl SigningArguments {
    /// Does it and prints the figures as JSON.
    ///
    /// # Errors
    /// If there can be no keys or signatures.
    pub fn run(self) -> Result<(), BenchError> {
        let model = Arc::new(scene::signed(&scene::model_of(self.names, self.sites)));
        let planned = scene::planned(Arc::clone(&model));
        let zone = &model.zones[0];
        let config = zone.dnssec.as_ref().ok_or("the scene's zone is not signed")?;
        let state = tempfile::tempdir()?;
        let keys = Arc::new(keyring::open(&zone.apex, config, state.path())?);
        let (before, begun) = (CountedMemory::in_use(), Instant::now());
        let signed = SignedZone::new((&planned.zones, ZoneId(0)), keys, config, &model, &[], dns::now())?;
        let (seconds, own_bytes) = (begun.elapsed().as_secs_f64(), CountedMemory::in_use() - before);
        let signatures = signed.signatures();
        let all = [Some(Arc::new(signed))];
        let image = Image::new(&planned.planner, &planned.plan(1), &planned.zones, &all)?;
        let map_bytes = map_bytes(&image.signed);
        println!(
            "{}",
            json!({ "seconds": seconds, "signatures": signatures, "own_bytes": own_bytes, "map_bytes": map_bytes })
        );
        Ok(())
    }
}

/// Bytes of the kernel's maps of signed zones.
fn map_bytes(image: &SignedImage) -> usize {
    use xdp_ebpf::layout::signed::SignatureLine;
    use zerottl_dns::dnssec::chain::COHORTS;
    let of_names = size_of_val(&*image.names) + size_of_val(&*image.signers) + size_of_val(&*image.ordinals);
    let of_proofs = size_of_val(&*image.proofs) + size_of_val(&*image.bytes) + size_of_val(&*image.children);
    let of_cohorts = image.zones.len() * COHORTS * size_of::<u64>() + size_of_val(&*image.regions);
    of_names + of_proofs + of_cohorts + image.lines * size_of::<SignatureLine>()
}
