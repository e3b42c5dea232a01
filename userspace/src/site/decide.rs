//! Operation 500.
