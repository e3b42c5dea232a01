//! The data of a session, and the ways of keeping it.

use std::error::Error;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// An error ends the program.
pub(crate) type PeerResult<T> = Result<T, Box<dyn Error>>;

/// The data of a session: about 300 bytes as JSON.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Cart {
    user: String,
    count: u64,
    items: Vec<Item>,
}

/// A thing in a cart.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(crate) struct Item {
    article: String,
    name: String,
    pieces: u32,
}

/// The name of the cart in a session.
pub(crate) const CART: &str = "cart";

impl Default for Cart {
    fn default() -> Self {
        let item = |number: u32| Item {
            article: format!("A-{:06}", number * 7919),
            name: "a thing that is bought".to_owned(),
            pieces: number,
        };
        Self { user: "somebody@client.example".to_owned(), count: 0, items: (1..=3).map(item).collect() }
    }
}

impl Cart {
    /// Counts; returns the response.
    pub(crate) fn count(&mut self) -> String {
        self.count += 1;
        self.count.to_string()
    }
}

/// A way of keeping sessions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Keeper {
    /// Nobody: what the application costs without them
    None,
    /// tower-sessions, in its store for Redis
    TowerRedis,
    /// tower-sessions, in its store in memory
    TowerMemory,
    /// tower-sessions, in zerottl's store
    TowerZerottl,
    /// zerottl's layer
    Zerottl,
}
