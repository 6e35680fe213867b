//! Who may have a connection: so many on a listener, and so many of them from one address. Where
//! there is no place left, whoever waits without a request has to go. Knows no socket.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use tokio::time::Instant;

use super::limits::LEAVING_MAX;
use super::pace::{Pace, Waiting};
use super::peer::Peer;

/// One part in so many of a listener's connections is out of reach of any one address.
const OTHERS_PART: usize = 8;

/// Gives how many connections one address may have: what was asked, and never all.
pub(super) fn share(connections_max: usize, asked: usize) -> usize {
    let others = (connections_max / OTHERS_PART).max(1);
    asked.min(connections_max.saturating_sub(others)).max(1)
}

/// The open connections of a listener.
pub(super) struct Permits {
    connections_max: usize,
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Those that have a place.
    all: usize,
    by_peer: HashMap<Peer, Vec<Pace>>,
    /// Those that lost theirs and are not closed yet.
    leaving: usize,
}

/// A connection's place; it is given back when dropped.
pub(super) struct Permit {
    permits: Arc<Permits>,
    peer: Peer,
    pace: Pace,
}

/// Which limit is reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Full {
    Listener(usize),
    Address(usize),
}

impl Permits {
    pub fn new(connections_max: usize, per_address_max: usize) -> Arc<Permits> {
        let per_address_max = share(connections_max, per_address_max);
        Arc::new(Permits { connections_max, per_address_max, open: Mutex::default() })
    }

    /// Takes a place. An address that has its share gets another for the connection that has been
    /// silent for longest. On a full listener that goes by the address with most connections.
    /// Local peers count towards the listener's limit only.
    ///
    /// # Errors
    /// The limit that is reached, where nobody can go.
    pub fn take(self: &Arc<Permits>, peer: Peer, pace: &Pace) -> Result<Permit, Full> {
        let mut open = self.lock();
        let of_peer = open.by_peer.get(&peer).map_or(0, Vec::len);
        let full = if peer != Peer::Local && of_peer >= self.per_address_max {
            Some((Full::Address(self.per_address_max), open.silent_of(peer)))
        } else if open.all >= self.connections_max {
            Some((Full::Listener(self.connections_max), open.dispensable(of_peer)))
        } else {
            None
        };
        match full {
            None => {}
            Some((_, Some((of, at)))) if open.leaving < LEAVING_MAX => open.displace(of, at),
            Some((full, _)) => return Err(full),
        }
        open.all += 1;
        open.by_peer.entry(peer).or_default().push(pace.clone());
        Ok(Permit { permits: self.clone(), peer, pace: pace.clone() })
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it counts")
    }
}

impl Open {
    /// Finds the connection of one peer that has been silent for longest.
    fn silent_of(&self, peer: Peer) -> Option<(Peer, usize)> {
        let (_, at) = oldest(self.by_peer.get(&peer)?, silent)?;
        Some((peer, at))
    }

    /// Finds a connection that can go for a peer which has `of_peer`: a silent one, or a slow one of a
    /// peer that has more; of the peer with most connections the oldest.
    fn dispensable(&self, of_peer: usize) -> Option<(Peer, usize)> {
        let by = |age: fn(&Pace) -> Option<Instant>, more_than: usize| {
            let peers = self.by_peer.iter().filter(|(_, paces)| paces.len() > more_than);
            let each = peers.filter_map(|(peer, paces)| {
                let (since, at) = oldest(paces, age)?;
                Some(((paces.len(), Reverse(since)), (*peer, at)))
            });
            each.max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
        };
        by(silent, 0).or_else(|| by(slow, of_peer))
    }

    fn displace(&mut self, peer: Peer, at: usize) {
        let pace = self.by_peer.get_mut(&peer).expect("it was found there").swap_remove(at);
        self.forget(peer);
        self.leaving += 1;
        pace.displace();
    }

    /// Has one connection of a peer fewer.
    fn forget(&mut self, peer: Peer) {
        self.all -= 1;
        if self.by_peer.get(&peer).is_some_and(Vec::is_empty) {
            self.by_peer.remove(&peer);
        }
    }
}

fn silent(pace: &Pace) -> Option<Instant> {
    match pace.waiting()? {
        Waiting::Silent(since) => Some(since),
        Waiting::Slow(_) => None,
    }
}

fn slow(pace: &Pace) -> Option<Instant> {
    match pace.waiting()? {
        Waiting::Slow(since) => Some(since),
        Waiting::Silent(_) => None,
    }
}

fn oldest(paces: &[Pace], age: fn(&Pace) -> Option<Instant>) -> Option<(Instant, usize)> {
    paces.iter().enumerate().filter_map(|(at, pace)| Some((age(pace)?, at))).min()
}

impl Drop for Permit {
    fn drop(&mut self) {
        let mut open = self.permits.lock();
        let paces = open.by_peer.get_mut(&self.peer);
        let place = paces.and_then(|paces| {
            let at = paces.iter().position(|pace| pace.is_of(&self.pace))?;
            Some(paces.swap_remove(at))
        });
        match place {
            Some(_) => open.forget(self.peer),
            None => open.leaving -= 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::listener::pace::Patience;
    use std::time::Duration;

    fn pace() -> Pace {
        let minute = Duration::from_secs(60);
        Pace::start(Patience { head: minute, idle: minute, answer: minute })
    }

    fn ip(text: &str) -> Peer {
        Peer::at(text.parse().unwrap())
    }

    /// A connection whose request is with its route.
    fn busy(permits: &Arc<Permits>, peer: Peer) -> Result<Permit, Full> {
        let pace = pace();
        pace.request_arrived(false);
        permits.take(peer, &pace)
    }

    fn is_displaced(permit: &Permit) -> bool {
        let open = permit.permits.lock();
        let paces = open.by_peer.get(&permit.peer);
        !paces.is_some_and(|paces| paces.iter().any(|pace| pace.is_of(&permit.pace)))
    }

    #[test]
    fn an_address_at_its_limit_leaves_the_rest_to_others() {
        let permits = Permits::new(3, 2);
        let first = busy(&permits, ip("192.0.2.1")).unwrap();
        let _second = busy(&permits, ip("::ffff:192.0.2.1")).unwrap();
        assert_eq!(busy(&permits, ip("192.0.2.1")).err(), Some(Full::Address(2)));
        let _other = busy(&permits, ip("192.0.2.2")).unwrap();
        assert_eq!(busy(&permits, ip("192.0.2.3")).err(), Some(Full::Listener(3)));
        drop(first);
        let _again = busy(&permits, ip("192.0.2.1")).unwrap();
    }

    #[test]
    fn no_address_can_have_all() {
        for (all, asked, given) in
            [(512, 128, 128), (512, 512, 448), (3, 3, 2), (2, 9, 1), (1, 1, 1)]
        {
            assert_eq!(share(all, asked), given, "{asked} of {all}");
        }
    }

    #[test]
    fn an_address_gets_another_place_for_its_oldest_silent_connection() {
        let permits = Permits::new(9, 2);
        let old = permits.take(ip("192.0.2.1"), &pace()).unwrap();
        let _busy = busy(&permits, ip("192.0.2.1")).unwrap();
        let new = permits.take(ip("192.0.2.1"), &pace()).unwrap();
        assert!(is_displaced(&old) && !is_displaced(&new));
        drop(old);
        assert_eq!(permits.lock().leaving, 0);
    }

    #[test]
    fn on_a_full_listener_the_address_with_most_connections_makes_room() {
        let permits = Permits::new(8, 5);
        let quiet = [permits.take(ip("192.0.2.9"), &pace()).unwrap()];
        let loud: Vec<_> =
            (0..5).map(|_| permits.take(ip("192.0.2.1"), &pace()).unwrap()).collect();
        let local: Vec<_> = (0..2).map(|_| busy(&permits, Peer::Local).unwrap()).collect();
        let _new = busy(&permits, ip("192.0.2.2")).unwrap();
        assert!(is_displaced(&loud[0]), "the oldest");
        assert!(!loud[1..].iter().chain(&quiet).chain(&local).any(is_displaced));
    }

    #[test]
    fn who_is_displaced_and_does_not_go_keeps_others_out() {
        let permits = Permits::new(1, 1);
        let mut leaving = Vec::new();
        for _ in 0..=LEAVING_MAX {
            leaving.push(permits.take(Peer::Local, &pace()).unwrap());
        }
        assert_eq!(permits.take(Peer::Local, &pace()).err(), Some(Full::Listener(1)));
        leaving.remove(0);
        permits.take(Peer::Local, &pace()).unwrap();
    }

    #[test]
    fn nothing_is_remembered_of_who_has_left() {
        let permits = Permits::new(2, 2);
        for host in 0..1000_u32 {
            let peer = Peer::at(std::net::IpAddr::V4(host.into()));
            drop(permits.take(peer, &pace()).unwrap());
        }
        let open = permits.lock();
        assert_eq!((open.all, open.by_peer.len(), open.leaving), (0, 0, 0));
    }
}
