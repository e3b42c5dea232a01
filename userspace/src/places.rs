//! How many connections may be open at a time, in all and by one client.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, PoisonError},
};

/// Places for connections. One client is an IPv4 address, or an IPv6 /64.
#[derive(Debug)]
pub struct Places {
    all_max: usize,
    client_max: usize,
    open: Mutex<Open>,
}

#[derive(Debug, Default)]
struct Open {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

/// A connection's place; dropping it gives it back.
#[derive(Debug)]
pub struct Place {
    places: Arc<Places>,
    client: IpAddr,
}

/// Why there is no place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Full {
    /// As many are open as may be.
    All,
    /// As many of this client.
    Client,
}

impl Places {
    /// All free.
    #[must_use]
    pub fn new(all_max: usize, client_max: usize) -> Arc<Self> {
        Arc::new(Self { all_max, client_max, open: Mutex::default() })
    }

    /// Takes one for a client at this address.
    pub fn take(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        self.take_of(address, self.client_max)
    }

    /// Takes one for somebody at this address who is many clients.
    pub fn take_for_many(self: &Arc<Self>, address: IpAddr) -> Result<Place, Full> {
        self.take_of(address, usize::MAX)
    }

    fn take_of(self: &Arc<Self>, address: IpAddr, client_max: usize) -> Result<Place, Full> {
        let client = client_of(address);
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        if open.all >= self.all_max {
            return Err(Full::All);
        }
        let by_client = open.by_client.get(&client).copied().unwrap_or(0);
        if by_client >= client_max {
            return Err(Full::Client);
        }
        open.all += 1;
        open.by_client.insert(client, by_client + 1);
        Ok(Place { places: Arc::clone(self), client })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut open = self.places.open.lock().unwrap_or_else(PoisonError::into_inner);
        open.all -= 1;
        if let Some(count) = open.by_client.get_mut(&self.client) {
            *count -= 1;
            if *count == 0 {
                open.by_client.remove(&self.client);
            }
        }
    }
}

/// Who counts as one client: an IPv6 host has a whole /64 to choose addresses from.
fn client_of(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() & !u128::from(u64::MAX))),
        four @ IpAddr::V4(_) => four,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn in_all_and_by_client() {
        let places = Places::new(3, 2);
        let take = |address: &str| places.take(address.parse().unwrap());
        let (one, two) = (take("2001:db8::1").unwrap(), take("2001:db8::2:0:0:1").unwrap());
        assert_eq!(take("2001:db8::3").unwrap_err(), Full::Client, "one /64");
        let three = take("::ffff:192.0.2.1").unwrap();
        assert_eq!(take("192.0.2.2").unwrap_err(), Full::All);
        drop((one, three));
        assert!(take("192.0.2.1").is_ok());
        drop(two);
        assert!(places.open.lock().unwrap().by_client.is_empty(), "nobody is remembered");
    }
}
