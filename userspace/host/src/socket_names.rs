//! Names of sockets that one process hands to another, as systemd has them in `LISTEN_FDNAMES` and in its store.

use std::net::SocketAddr;

/// The name of the Unix socket that listens for a `zerottl site` process's admin interface, as its director made it.
pub const SITE_ADMIN: &str = "zerottl-admin";

/// Names a listening socket by its address: `tcp-192.0.2.1_443`, `tcp-[2001_db8__1]_443`. Such names have no colons.
#[must_use]
pub fn listener_name(at: SocketAddr) -> String {
    format!("tcp-{at}").replace(':', "_")
}

/// Returns the address by which [`listener_name`] has named a socket.
#[must_use]
pub fn listener_place(name: &str) -> Option<SocketAddr> {
    name.strip_prefix("tcp-")?.replace('_', ":").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_the_place() {
        for at in ["[2001:db8::1]:443", "0.0.0.0:80", "[::]:8080"] {
            let at = at.parse().unwrap_or_else(|error| panic!("{at}: {error}"));
            assert_eq!(listener_place(&listener_name(at)), Some(at));
        }
        for name in ["tcp-", "tcp-80", "zerottl-page", "0.0.0.0_80"] {
            assert_eq!(listener_place(name), None, "{name}");
        }
    }

    #[test]
    fn names_have_no_colons() {
        assert_eq!(listener_name("[2001:db8::1]:443".parse().unwrap()), "tcp-[2001_db8__1]_443");
        assert_eq!(listener_name("0.0.0.0:80".parse().unwrap()), "tcp-0.0.0.0_80");
    }
}
