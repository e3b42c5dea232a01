//! The stand-alone server and proxy.
