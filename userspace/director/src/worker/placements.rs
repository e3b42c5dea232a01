//! Where this process itself placed connections, for whoever asks why: the kernel remembers only what it chose.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

/// Connections that are remembered, at most; some 150 bytes each.
const PLACEMENTS_MAX: usize = 16_384;

/// How a connection came to its server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Route {
    /// Its descriptor was handed over.
    HandedOver,
    /// This process copies between both.
    Relayed,
}

/// The placement of one connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Placement {
    /// The name of the process that has it.
    pub(crate) server: String,
    pub(crate) route: Route,
    /// The process that gave it away, if one did.
    pub(crate) giver: Option<String>,
    /// How long it was here.
    pub(crate) waited: Duration,
    pub(crate) at: Instant,
}

/// The last placements, by client and local port.
#[derive(Debug, Default)]
pub(crate) struct Placements {
    found: HashMap<(SocketAddr, u16), Placement>,
    /// Keys in order of their first placement.
    order: VecDeque<(SocketAddr, u16)>,
}

impl Placements {
    /// Remembers one; forgets the oldest beyond the bound.
    pub(crate) fn remember(&mut self, client: SocketAddr, port: u16, placement: Placement) {
        if self.found.insert((client, port), placement).is_none() {
            self.order.push_back((client, port));
        }
        if self.order.len() > PLACEMENTS_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.found.remove(&oldest);
        }
    }

    /// Returns the last placement of a client's connection to a port.
    pub(crate) fn of(&self, client: SocketAddr, port: u16) -> Option<&Placement> {
        self.found.get(&(client, port))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn placement(server: &str) -> Placement {
        Placement {
            server: server.to_owned(),
            route: Route::HandedOver,
            giver: None,
            waited: Duration::ZERO,
            at: Instant::now(),
        }
    }

    #[test]
    fn the_last_of_each_is_remembered_and_their_number_is_bounded() {
        let client = |number: u32| SocketAddr::new(std::net::Ipv4Addr::from(number).into(), 1);
        let mut placements = Placements::default();
        for number in 0..=PLACEMENTS_MAX as u32 {
            placements.remember(client(number), 80, placement("a"));
            placements.remember(client(number), 80, placement("b"));
        }
        assert!(placements.of(client(0), 80).is_none(), "the oldest is forgotten");
        assert!(placements.of(client(1), 81).is_none(), "it came to another port");
        assert_eq!(placements.of(client(1), 80).map(|found| &*found.server), Some("b"));
        assert_eq!((placements.order.len(), placements.found.len()), (PLACEMENTS_MAX, PLACEMENTS_MAX));
    }
}
