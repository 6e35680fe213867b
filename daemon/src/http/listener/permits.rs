//! Who may have a connection: so many on a listener, and so many of them from one address.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard};

/// Bits of the network that one customer of a provider gets: addresses within it cost nothing.
const IPV6_NETWORK_BITS: u32 = 64;

/// Counts the open connections of a listener.
pub(super) struct Permits {
    connections_max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<IpAddr, usize>,
}

/// One connection's share; it is given back when dropped.
pub(super) struct Permit {
    permits: Arc<Permits>,
    address: Option<IpAddr>,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Listener(usize),
    Address(usize),
}

impl Permits {
    pub fn new(connections_max: usize, per_address_max: usize) -> Arc<Permits> {
        Arc::new(Permits { connections_max, per_address_max, open: Mutex::default() })
    }

    /// Takes a share, if there is one left. A peer without an address counts towards the listener's limit only.
    pub fn take(self: &Arc<Permits>, peer: Option<IpAddr>) -> Result<Permit, Full> {
        let address = peer.map(network);
        let mut open = self.lock();
        if open.all >= self.connections_max {
            return Err(Full::Listener(self.connections_max));
        }
        if let Some(address) = address {
            let of_address = open.by_address.entry(address).or_default();
            if *of_address >= self.per_address_max {
                return Err(Full::Address(self.per_address_max));
            }
            *of_address += 1;
        }
        open.all += 1;
        Ok(Permit { permits: self.clone(), address })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it counts")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.permits.lock();
        open.all -= 1;
        let Some(address) = self.address else { return };
        if let Some(of_address) = open.by_address.get_mut(&address) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&address);
            }
        }
    }
}

/// Gives what counts as one address: an IPv4 address however it is written, or an IPv6 network.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let host_bits = 128 - IPV6_NETWORK_BITS;
            IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> host_bits << host_bits))
        }
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Option<IpAddr> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn an_address_at_its_limit_leaves_the_rest_to_others() {
        let permits = Permits::new(3, 2);
        let first = permits.take(ip("192.0.2.1")).unwrap();
        let _second = permits.take(ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(permits.take(ip("192.0.2.1")).err(), Some(Full::Address(2)));
        let _other = permits.take(ip("192.0.2.2")).unwrap();
        assert_eq!(permits.take(ip("192.0.2.3")).err(), Some(Full::Listener(3)));
        drop(first);
        let _again = permits.take(ip("192.0.2.1")).unwrap();
    }

    #[test]
    fn an_ipv6_network_is_one_address_and_a_unix_socket_none() {
        let permits = Permits::new(9, 1);
        let _one = permits.take(ip("2001:db8::1")).unwrap();
        assert_eq!(permits.take(ip("2001:db8::2")).err(), Some(Full::Address(1)));
        let _two = permits.take(ip("2001:db8:0:1::1")).unwrap();
        let _local: Vec<_> = (0..3).map(|_| permits.take(None).unwrap()).collect();
    }

    #[test]
    fn nothing_is_remembered_of_who_has_left() {
        let permits = Permits::new(2, 2);
        for host in 0..1000_u32 {
            drop(permits.take(Some(IpAddr::V4(host.into()))).unwrap());
        }
        let open = permits.lock();
        assert_eq!((open.all, open.by_address.len()), (0, 0));
    }
}
