//! Authorities.
