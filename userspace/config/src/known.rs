//! The parts of a long file that an earlier reading has read, so that a reload reads what has changed.
//!
//! Pools refer to Sites by their positions and to zones, so they mean what they did only while everything else in the file is
//! as it was. A part of which anything was to be told is read each time, or a reload would not tell it again.

use std::{collections::HashMap, ops::Range};

use ring::digest::{Context, SHA256};
use zerottl_core::model::{Model, Pool};

use super::parts::Part;

/// The digest of a part's text (SHA-256).
pub(super) type PartDigest = [u8; 32];

/// The parts that were read, and which pools of the model they are.
#[derive(Clone, Debug, Default)]
pub struct KnownParts {
    rest: PartDigest,
    pools: HashMap<PartDigest, Range<usize>>,
}

impl KnownParts {
    /// None yet, of a file of which everything but the pools is this.
    pub(super) fn of_rest(rest: PartDigest) -> Self {
        Self { rest, pools: HashMap::new() }
    }

    /// Notes a part that is these pools of the model.
    pub(super) fn add(&mut self, part: PartDigest, pools: Range<usize>) {
        self.pools.insert(part, pools);
    }
}

/// An earlier reading: its parts, and the model that it made.
#[derive(Clone, Copy, Debug)]
pub struct EarlierReading<'a> {
    /// Its parts.
    pub parts: &'a KnownParts,
    /// Its model.
    pub model: &'a Model,
}

impl<'a> EarlierReading<'a> {
    /// Whether everything but the pools is as it was.
    pub(super) fn has_rest(&self, rest: &PartDigest) -> bool {
        self.parts.rest == *rest
    }

    /// The pools of a part, if it was read then.
    pub(super) fn pools(&self, part: &PartDigest) -> Option<&'a [Pool]> {
        self.model.pools.get(self.parts.pools.get(part)?.clone())
    }
}

/// The digest of a part.
pub(super) fn digest(part: &Part, text: &str) -> PartDigest {
    let mut context = Context::new(&SHA256);
    for piece in part.pieces(text) {
        context.update(piece.as_bytes());
    }
    let mut digest = [0; 32];
    digest.copy_from_slice(context.finish().as_ref());
    digest
}
