//! Faults of zones' data: of a record, of a file, of a zone; and how many are told.

use std::{
    fmt,
    ops::Range,
    path::{Path, PathBuf},
};

use zerottl_core::model;

/// Faults, and warnings, that are told one by one.
const TOLD_MAX: usize = 20;

/// Why a zone's data cannot be served, or what is odd about it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct ZoneError {
    /// The zone, once that is known.
    pub zone: Option<model::ZoneId>,
    /// The records file, if one is at fault.
    pub file: Option<PathBuf>,
    /// The line in it, from 1.
    pub line: Option<usize>,
    /// The bytes of the file that are meant.
    pub span: Option<Range<usize>>,
    /// The fault, in words.
    pub message: String,
    /// The fix, where the message does not say so.
    pub help: Option<Box<str>>,
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
        f.write_str(&self.message)?;
        self.help.as_ref().map_or(Ok(()), |help| write!(f, " ({help})"))
    }
}

impl ZoneError {
    pub(super) fn general(message: String) -> Self {
        Self { zone: None, file: None, line: None, span: None, message, help: None }
    }

    /// About a file as a whole.
    pub(super) fn of_file(file: &Path, message: String) -> Self {
        Self { file: Some(file.to_owned()), ..Self::general(message) }
    }

    #[must_use]
    pub(super) fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into().into()), ..self }
    }
}

/// Errors and warnings, the first of each, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Faults {
    /// Each of them refuses the zones.
    pub errors: Vec<ZoneError>,
    /// Errors beyond those.
    pub more_errors: usize,
    /// Warnings of what is allowed but probably not meant.
    pub warnings: Vec<ZoneError>,
    /// Warnings beyond those.
    pub more_warnings: usize,
}

impl Faults {
    pub(super) fn error(&mut self, error: ZoneError) {
        if self.errors.len() < TOLD_MAX {
            self.errors.push(error);
        } else {
            self.more_errors += 1;
        }
    }

    pub(super) fn warn(&mut self, warning: ZoneError) {
        if self.warnings.len() < TOLD_MAX {
            self.warnings.push(warning);
        } else {
            self.more_warnings += 1;
        }
    }

    /// Says which zone it was that they are about.
    pub(super) fn of_zone(&mut self, zone: model::ZoneId, (errors, warnings): (usize, usize)) {
        let newest = self.errors.iter_mut().skip(errors).chain(self.warnings.iter_mut().skip(warnings));
        newest.for_each(|fault| fault.zone = Some(zone));
    }

    /// How many of each are told.
    pub(super) fn told(&self) -> (usize, usize) {
        (self.errors.len(), self.warnings.len())
    }
}

/// Which part of a record is at fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum At {
    /// Its owner.
    Owner,
    /// Its type.
    Type,
    /// A token of the entry.
    Token(usize),
    /// All of it.
    Whole,
}

/// A fault of a record, wherever it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Its part.
    pub at: At,
    /// The fault, in words.
    pub message: String,
    /// The fix, if there is one to name.
    pub help: Option<String>,
}

impl Fault {
    /// Without a help text of its own.
    #[must_use]
    pub fn new(at: At, message: impl Into<String>) -> Self {
        Self { at, message: message.into(), help: None }
    }

    /// With a help text.
    #[must_use]
    pub fn help(self, help: impl Into<String>) -> Self {
        Self { help: Some(help.into()), ..self }
    }
}

/// Returns the fault of an escape that is none.
pub(super) fn escape(at: usize) -> Fault {
    Fault::new(At::Token(at), "a backslash is followed by three digits up to 255, or by one character that is no digit")
}
