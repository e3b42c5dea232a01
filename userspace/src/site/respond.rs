//! Decisions as responses.
