//! Load: reading what Sites say.
