//! Which group a request belongs to.
