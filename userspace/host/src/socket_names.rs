//! Names of sockets that one process hands to another, as systemd has them in `LISTEN_FDNAMES` and in its store.

use std::net::SocketAddr;

/// The name of the Unix socket that listens for a `zerottl site` process's admin interface, as its director made it.
pub const SITE_ADMIN: &str = "zerottl-admin";

/// Names a listening socket by its address: `tcp-192.0.2.1_443`, `tcp-[2001_db8__1]_443`. Such names have no colons.
#[must_use]
pub fn listener_name(at: SocketAddr) -> String {
    format!("tcp-{at}").replace(':', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_no_colons() {
        assert_eq!(listener_name("[2001:db8::1]:443".parse().unwrap()), "tcp-[2001_db8__1]_443");
        assert_eq!(listener_name("0.0.0.0:80".parse().unwrap()), "tcp-0.0.0.0_80");
    }
}
