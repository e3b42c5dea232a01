//! The front over real sockets.
