//! Which other Sites are up.
