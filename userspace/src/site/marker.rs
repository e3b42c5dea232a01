//! The marker.
