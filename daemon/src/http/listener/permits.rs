//! Who may have a connection: so many on a listener, and so many of them from one address.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use super::peer::Peer;

/// Counts the open connections of a listener.
pub(super) struct Permits {
    connections_max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    all: usize,
    by_address: HashMap<Peer, usize>,
}

/// One connection's share; it is given back when dropped.
pub(super) struct Permit {
    permits: Arc<Permits>,
    peer: Peer,
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

    /// Takes a share, if there is one left. A local peer counts towards the listener's limit only.
    pub fn take(self: &Arc<Permits>, peer: Peer) -> Result<Permit, Full> {
        let mut open = self.lock();
        if open.all >= self.connections_max {
            return Err(Full::Listener(self.connections_max));
        }
        if let Peer::Network(_) = peer {
            let of_address = open.by_address.entry(peer).or_default();
            if *of_address >= self.per_address_max {
                return Err(Full::Address(self.per_address_max));
            }
            *of_address += 1;
        }
        open.all += 1;
        Ok(Permit { permits: self.clone(), peer })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it counts")
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.permits.lock();
        open.all -= 1;
        if let Some(of_address) = open.by_address.get_mut(&self.peer) {
            *of_address -= 1;
            if *of_address == 0 {
                open.by_address.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> Peer {
        Peer::at(text.parse().unwrap())
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
        let _local: Vec<_> = (0..3).map(|_| permits.take(Peer::Local).unwrap()).collect();
    }

    #[test]
    fn nothing_is_remembered_of_who_has_left() {
        let permits = Permits::new(2, 2);
        for host in 0..1000_u32 {
            drop(permits.take(Peer::at(std::net::IpAddr::V4(host.into()))).unwrap());
        }
        let open = permits.lock();
        assert_eq!((open.all, open.by_address.len()), (0, 0));
    }
}
