//! Operation 500 as a tower layer.
