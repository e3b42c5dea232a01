//! Measures of this repository's own text, in [`tree`]: pure functions that the house rules in `xtask/tests` and
//! `cargo xtask figures` share.

pub mod tree;
