//! A bundle that is written: beside its place until it is whole.

use std::{
    fs::{self, File},
    io::{self, BufWriter, Write as _},
    path::{Path, PathBuf},
};

use domain::crypto::{common::DigestType, ring::DigestBuilder};

use super::{
    BundleError, BundlePeriod, Contents, KeySetSignature, MAGIC, PeriodContents, Section, ZoneContents, finished,
    key_contents,
};
use crate::{
    disk,
    key::SetSignature,
    store::{SUM_LEN, SetDigest},
    zone_keys::ZoneKeys,
};
use zerottl_core::model;

/// A bundle in the making; what there is of it is removed unless it is finished.
pub struct BundleWriter {
    path: PathBuf,
    /// Beside it.
    new: PathBuf,
    out: BufWriter<File>,
    at: u64,
    sum: DigestBuilder,
    contents: Contents,
}

impl BundleWriter {
    /// Begins one that is to have a path.
    pub fn create(path: &Path) -> Result<Self, BundleError> {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        let new = path.with_file_name(name);
        let file = File::create(&new).map_err(|error| BundleError::File { file: new.clone(), error })?;
        let mut writer = Self {
            path: path.to_owned(),
            new,
            out: BufWriter::new(file),
            at: 0,
            sum: DigestBuilder::new(DigestType::Sha256),
            contents: Contents { zones: Vec::new() },
        };
        writer.put(MAGIC)?;
        Ok(writer)
    }

    /// Begins a zone, whose sets have these digests, in ascending order; its periods follow.
    pub fn zone<'a>(
        &mut self,
        zone: &model::Name,
        serial: u32,
        keys: &ZoneKeys,
        digests: impl Iterator<Item = &'a SetDigest>,
    ) -> Result<(), BundleError> {
        let digests = self.section(digests.map(|digest| &digest[..]))?;
        let keys = key_contents(zone, keys);
        self.contents.zones.push(ZoneContents { zone: zone.to_string(), serial, keys, digests, periods: Vec::new() });
        Ok(())
    }

    /// Adds a period to the zone that was begun last, with signatures in the order of its digests.
    pub fn period<'a>(
        &mut self,
        period: BundlePeriod,
        signatures: impl Iterator<Item = &'a SetSignature>,
        key_sets: &[KeySetSignature],
    ) -> Result<(), BundleError> {
        let signatures = self.section(signatures.map(|signature| &signature[..]))?;
        let key_sets: Vec<_> = key_sets.iter().flat_map(KeySetSignature::bytes).collect();
        let key_sets = self.section([&key_sets[..]].into_iter())?;
        if let Some(zone) = self.contents.zones.last_mut() {
            zone.periods.push(PeriodContents { period, signatures, key_sets });
        }
        Ok(())
    }

    /// Puts it in its place; its length in bytes.
    pub fn finish(mut self) -> Result<u64, BundleError> {
        let contents = serde_json::to_vec(&self.contents).map_err(|error| self.error(error.into()))?;
        self.put(&contents)?;
        self.put(&(contents.len() as u64).to_be_bytes())?;
        let sum = finished(std::mem::replace(&mut self.sum, DigestBuilder::new(DigestType::Sha256)));
        let mut end = || {
            self.out.write_all(&sum)?;
            self.out.flush()?;
            self.out.get_ref().sync_all()?;
            fs::rename(&self.new, &self.path)?;
            let folder = disk::folder_of(&self.path)?;
            // Of a path without a folder it is the one that we are in.
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()
        };
        let ended = end();
        ended.map_err(|error| self.error(error))?;
        Ok(self.at + SUM_LEN as u64)
    }

    fn section<'a>(&mut self, pieces: impl Iterator<Item = &'a [u8]>) -> Result<Section, BundleError> {
        let at = self.at;
        let mut sum = DigestBuilder::new(DigestType::Sha256);
        for piece in pieces {
            sum.update(piece);
            self.put(piece)?;
        }
        Ok(Section { at, len: self.at - at, sum: finished(sum) })
    }

    fn put(&mut self, bytes: &[u8]) -> Result<(), BundleError> {
        self.sum.update(bytes);
        self.at += bytes.len() as u64;
        let written = self.out.write_all(bytes);
        written.map_err(|error| self.error(error))
    }

    fn error(&self, error: io::Error) -> BundleError {
        BundleError::File { file: self.path.clone(), error }
    }
}

impl Drop for BundleWriter {
    fn drop(&mut self) {
        // It has gone where it was finished.
        let _ = fs::remove_file(&self.new);
    }
}
