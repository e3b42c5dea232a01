//! Loads at one moment.
