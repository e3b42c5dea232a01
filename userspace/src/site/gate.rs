//! Operation 500 at run time.
