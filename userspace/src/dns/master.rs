//! Master files (RFC 1035 section 5): `domain`'s scanner, with files, lines, `$INCLUDE`, and what `rewrite` adds.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
};

use domain::{
    base::iana::Class,
    zonefile::inplace::{Entry, ScannedRecord, Zonefile},
};

use super::rewrite::rewrite;
use crate::model;

/// How deep `$INCLUDE` may go: a file that includes itself must end.
const INCLUDE_DEPTH_MAX: usize = 8;

/// Bytes of one file, at most: a bound on what a wrong path can cost.
const FILE_LEN_MAX: u64 = 256 << 20;

/// Why a zone's data cannot be served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ZoneError {
    /// The zone, once that is known.
    pub zone: Option<model::ZoneId>,
    /// The records file, if one is at fault.
    pub file: Option<PathBuf>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// What is wrong and what mends it.
    pub message: String,
}

impl fmt::Display for ZoneError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(file) = &self.file {
            write!(f, "{}:", file.display())?;
            if let Some(line) = self.line {
                write!(f, "{line}:")?;
            }
            f.write_str(" ")?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ZoneError {}

impl ZoneError {
    pub(super) fn general(message: String) -> Self {
        Self { zone: None, file: None, line: None, message }
    }
}

/// A line of a records file.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The file.
    pub file: &'a Path,
    /// The line, from 1.
    pub line: usize,
}

impl Place<'_> {
    /// A fault there.
    #[must_use]
    pub fn error(self, message: impl Into<String>) -> ZoneError {
        ZoneError { zone: None, file: Some(self.file.to_owned()), line: Some(self.line), message: message.into() }
    }
}

/// Reads a file and what it includes, and hands every record to `each`.
///
/// # Errors
/// A file that cannot be read, text that is no record, or what `each` returns.
pub fn read(
    path: &Path,
    origin: model::Name,
    each: &mut dyn FnMut(&ScannedRecord, Place<'_>) -> Result<(), ZoneError>,
) -> Result<(), ZoneError> {
    read_within(path, origin, each, INCLUDE_DEPTH_MAX)
}

fn read_within(
    path: &Path,
    origin: model::Name,
    each: &mut dyn FnMut(&ScannedRecord, Place<'_>) -> Result<(), ZoneError>,
    depth: usize,
) -> Result<(), ZoneError> {
    let unreadable = |message| ZoneError { zone: None, file: Some(path.to_owned()), line: None, message };
    let mut text = Vec::new();
    let opened = std::fs::File::open(path).and_then(|file| file.take(FILE_LEN_MAX + 1).read_to_end(&mut text));
    opened.map_err(|error| unreadable(format!("cannot be read: {error}")))?;
    if text.len() as u64 > FILE_LEN_MAX {
        return Err(unreadable(format!("is longer than {} MiB", FILE_LEN_MAX >> 20)));
    }
    // The scanner wants every line ended, the last one too.
    text.push(b'\n');
    let text = rewrite(&text).map_err(|(line, message)| Place { file: path, line }.error(message))?;
    let mut file = Zonefile::from(text.as_slice());
    file.set_origin(origin);
    file.set_default_class(Class::IN);
    let (mut line, mut counted) = (1, 0);
    loop {
        let entry = file.next_entry();
        // The scanner has read into the entry's last token, or the one at fault, and counts one byte that it puts
        // before the text.
        let read = file.current_offset().saturating_sub(1).clamp(counted, text.len());
        line += text[counted..read].split(|&byte| byte == b'\n').count() - 1;
        counted = read;
        let place = Place { file: path, line };
        match entry.map_err(|error| place.error(message_of(&error.to_string())))? {
            None => return Ok(()),
            Some(Entry::Record(record)) => each(&record, place)?,
            Some(Entry::Include { path: included, origin }) => {
                let Some(depth) = depth.checked_sub(1) else {
                    return Err(place.error(format!("$INCLUDE goes deeper than {INCLUDE_DEPTH_MAX} files")));
                };
                let path = path.parent().unwrap_or(Path::new("")).join(&*included);
                let origin = match origin {
                    Some(origin) => origin,
                    None => file.origin().map_err(|error| place.error(error.to_string()))?,
                };
                read_within(&path, origin, each, depth)?;
            }
        }
    }
}

/// The scanner's text is "line:column: message", and its line is often the next one.
fn message_of(text: &str) -> &str {
    text.splitn(3, ':').nth(2).map_or(text, str::trim)
}
