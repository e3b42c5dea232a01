//! Places besides a zone's own that its signatures are answered from.

use zerottl_sign::{SetSignature, Validity};

/// A place that gets the signatures of a cohort as soon as they are made.
pub trait CohortMirror: std::fmt::Debug + Send {
    /// Answers a cohort's names with these signatures from now on.
    fn put(&mut self, cohort: usize, signatures: CohortSignatures<'_>);
}

/// The signatures of a cohort, in the order of their lines.
#[derive(Clone, Copy, Debug)]
pub struct CohortSignatures<'a> {
    /// Their times.
    pub validity: Validity,
    /// The tag of their key.
    pub tag: u16,
    /// The algorithm of their key.
    pub algorithm: u8,
    /// The signatures.
    pub lines: &'a [SetSignature],
}
