//! The socket path: authoritative DNS over UDP and TCP for whatever the kernel passes up.
