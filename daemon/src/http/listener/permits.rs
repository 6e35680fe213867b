//! Who may have a connection: so many on a listener as there are places and memory for, and so many of
//! them from one address. Where there is no place left, whoever waits without a request has to go. Knows
//! no socket.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard};

use picket_base::budget::{Budget, Class, Exhausted, Taken};
use tokio::time::Instant;

use super::limits::{LEAVING_MAX, LEAVING_PER_PEER_MAX};
use super::pace::{Pace, Waiting};
use super::peer::Peer;

/// One part in so many of a listener's connections is out of reach of any one address.
const OTHERS_PART: usize = 8;

/// Gives how many connections one address may have: what was asked, and never all.
fn share(connections_max: usize, asked: usize) -> usize {
    let others = (connections_max / OTHERS_PART).max(1);
    asked.min(connections_max.saturating_sub(others)).max(1)
}

/// Places of a listener.
#[derive(Clone)]
pub(super) struct Places {
    pub connections_max: usize,
    /// Those of one address. It never gets all.
    pub per_address_max: usize,
    /// What each takes; none where it is part of the daemon's own memory.
    pub memory: Option<PlaceMemory>,
}

/// The memory of a connection with a place.
#[derive(Clone)]
pub(super) struct PlaceMemory {
    pub budget: Budget,
    pub bytes: usize,
}

impl Places {
    /// Gives how many connections one address may have. Of those that there is memory for whatever else
    /// goes on, it never gets all.
    pub fn share(&self) -> usize {
        let all = match &self.memory {
            Some(PlaceMemory { budget, bytes }) => {
                (budget.largest(Class::Connection) / bytes).min(self.connections_max)
            }
            None => self.connections_max,
        };
        share(all, self.per_address_max)
    }
}

/// The open connections of a listener.
pub(super) struct Permits {
    places: Places,
    /// Of these, one address may have so many.
    per_address_max: usize,
    open: Mutex<Open>,
}

#[derive(Default)]
struct Open {
    /// Those that have a place.
    all: usize,
    /// The memory of these. Where one goes for another, it is the other's.
    memory: Option<Taken>,
    by_peer: HashMap<Peer, Vec<Pace>>,
    /// Those that lost theirs and are not closed yet. They are few, and part of the daemon's own memory.
    leaving: usize,
    leaving_by_peer: HashMap<Peer, usize>,
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
    Memory(Exhausted),
}

impl Permits {
    pub fn new(places: Places) -> Arc<Permits> {
        Arc::new(Permits { per_address_max: places.share(), places, open: Mutex::default() })
    }

    /// Takes a place. An address that has its share gets another for the connection that has been
    /// silent for longest. Where all places or their memory are taken, that goes by the address with most
    /// connections. Local peers count towards the listener's limit only.
    ///
    /// # Errors
    /// The limit that is reached, where nobody can go.
    pub fn take(self: &Arc<Permits>, peer: Peer, pace: &Pace) -> Result<Permit, Full> {
        let mut open = self.lock();
        let of_peer = open.by_peer.get(&peer).map_or(0, Vec::len);
        if let Err(full) = self.find_place(&mut open, peer, of_peer) {
            let goes = match full {
                Full::Address(_) => open.silent_of(peer),
                Full::Listener(_) | Full::Memory(_) => open.dispensable(of_peer),
            };
            match goes.filter(|_| open.leaving < LEAVING_MAX) {
                Some((of, at)) => open.displace(of, at),
                None => return Err(full),
            }
        }
        open.by_peer.entry(peer).or_default().push(pace.clone());
        Ok(Permit { permits: self.clone(), peer, pace: pace.clone() })
    }

    /// Counts one more in where there is a place for it.
    fn find_place(&self, open: &mut Open, peer: Peer, of_peer: usize) -> Result<(), Full> {
        let Places { connections_max, memory, .. } = &self.places;
        if peer != Peer::Local && of_peer >= self.per_address_max {
            return Err(Full::Address(self.per_address_max));
        }
        if open.all >= *connections_max {
            return Err(Full::Listener(*connections_max));
        }
        if let Some(PlaceMemory { budget, bytes }) = memory {
            let taken = match &mut open.memory {
                Some(taken) => taken.grow(*bytes),
                none => budget.take(Class::Connection, *bytes).map(|taken| *none = Some(taken)),
            };
            taken.map_err(Full::Memory)?;
        }
        open.all += 1;
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().expect("nothing panics while it counts")
    }
}

impl Open {
    /// Finds the connection of one peer that has been silent for longest.
    fn silent_of(&self, peer: Peer) -> Option<(Peer, usize)> {
        if !self.may_lose(peer) {
            return None;
        }
        let (_, at) = oldest(self.by_peer.get(&peer)?, silent)?;
        Some((peer, at))
    }

    /// Finds a connection that can go for a peer which has `of_peer`: a silent one, or a slow one of a
    /// peer that has more; of the peer with most connections the oldest.
    fn dispensable(&self, of_peer: usize) -> Option<(Peer, usize)> {
        let by = |age: fn(&Pace) -> Option<Instant>, more_than: usize| {
            let peers = self.by_peer.iter();
            let peers =
                peers.filter(|(peer, paces)| paces.len() > more_than && self.may_lose(**peer));
            let each = peers.filter_map(|(peer, paces)| {
                let (since, at) = oldest(paces, age)?;
                Some(((paces.len(), Reverse(since)), (*peer, at)))
            });
            each.max_by_key(|(rank, _)| *rank).map(|(_, found)| found)
        };
        by(silent, 0).or_else(|| by(slow, of_peer))
    }

    /// Tells whether those that a peer lost have gone, but for some.
    fn may_lose(&self, peer: Peer) -> bool {
        self.leaving_by_peer.get(&peer).is_none_or(|leaving| *leaving < LEAVING_PER_PEER_MAX)
    }

    /// Takes a connection's place, which is its successor's.
    fn displace(&mut self, peer: Peer, at: usize) {
        let pace = self.by_peer.get_mut(&peer).expect("it was found there").swap_remove(at);
        self.forget(peer);
        self.leaving += 1;
        *self.leaving_by_peer.entry(peer).or_default() += 1;
        pace.displace();
    }

    /// Gives a place back with its memory.
    fn leave(&mut self) {
        let left = self.all - 1;
        if let Some(memory) = &mut self.memory {
            memory.shrink_to(memory.bytes() / self.all * left);
        }
        self.all = left;
    }

    /// Has one connection fewer that a peer had lost.
    fn left(&mut self, peer: Peer) {
        self.leaving -= 1;
        if let Entry::Occupied(mut leaving) = self.leaving_by_peer.entry(peer) {
            *leaving.get_mut() -= 1;
            if *leaving.get() == 0 {
                leaving.remove();
            }
        }
    }

    /// Forgets a peer that has no connection any more.
    fn forget(&mut self, peer: Peer) {
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
            Some(_) => {
                open.forget(self.peer);
                open.leave();
            }
            None => open.left(self.peer),
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

    fn permits(connections_max: usize, per_address_max: usize) -> Arc<Permits> {
        Permits::new(Places { connections_max, per_address_max, memory: None })
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
        let permits = permits(3, 2);
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
        let permits = permits(9, 2);
        let old = permits.take(ip("192.0.2.1"), &pace()).unwrap();
        let _busy = busy(&permits, ip("192.0.2.1")).unwrap();
        let new = permits.take(ip("192.0.2.1"), &pace()).unwrap();
        assert!(is_displaced(&old) && !is_displaced(&new));
        drop(old);
        assert_eq!(permits.lock().leaving, 0);
    }

    #[test]
    fn on_a_full_listener_the_address_with_most_connections_makes_room() {
        let permits = permits(8, 5);
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
        let permits = permits(1, 1);
        let mut leaving = Vec::new();
        for _ in 0..=LEAVING_PER_PEER_MAX {
            leaving.push(permits.take(Peer::Local, &pace()).unwrap());
        }
        assert_eq!(permits.take(Peer::Local, &pace()).err(), Some(Full::Listener(1)));
        leaving.remove(0);
        permits.take(Peer::Local, &pace()).unwrap();
    }

    /// Memory for eight, and for twelve while nobody else borrows.
    fn poor() -> (Arc<Permits>, Budget) {
        let (budget, bytes) = (Budget::new(64 << 10), 512);
        let memory = Some(PlaceMemory { budget: budget.clone(), bytes });
        (Permits::new(Places { connections_max: 99, per_address_max: 99, memory }), budget)
    }

    #[test]
    fn one_address_never_has_all_of_the_memory() {
        let (permits, budget) = poor();
        let loud: Vec<_> =
            std::iter::from_fn(|| busy(&permits, ip("192.0.2.1")).ok()).take(99).collect();
        assert_eq!(loud.len(), 7);
        assert_eq!(budget.taken(Class::Connection), 7 * 512);
        let _other = busy(&permits, ip("192.0.2.2")).unwrap();
    }

    #[test]
    fn without_memory_a_silent_connection_makes_room() {
        let (permits, budget) = poor();
        let silent: Vec<_> =
            (0..7).map(|_| permits.take(ip("192.0.2.1"), &pace()).unwrap()).collect();
        let others: Vec<_> = (2..99)
            .map_while(|host| {
                let open = permits.lock().all;
                let permit = busy(&permits, ip(&format!("192.0.2.{host}")));
                permit.ok().filter(|_| permits.lock().all > open)
            })
            .collect();
        assert!(is_displaced(&silent[0]) && !silent[1..].iter().any(is_displaced));
        let taken = budget.taken(Class::Connection);
        assert_eq!(taken, permits.lock().all * 512);
        assert!(taken > budget.largest(Class::Connection), "some was borrowed");
        drop((silent, others));
        assert_eq!((budget.taken(Class::Connection), permits.lock().leaving), (0, 0));
    }

    #[test]
    fn without_memory_nobody_who_has_a_request_goes() {
        let (permits, _budget) = poor();
        let mut busy_ones = Vec::new();
        let full = (1..99).find_map(|host| match busy(&permits, ip(&format!("192.0.2.{host}"))) {
            Ok(permit) => {
                busy_ones.push(permit);
                None
            }
            Err(full) => Some(full),
        });
        assert!(matches!(full, Some(Full::Memory(_))), "{full:?}");
        assert!(!busy_ones.iter().any(is_displaced));
    }

    #[test]
    fn who_does_not_go_costs_no_other_address_its_turn() {
        let permits = permits(6, 3);
        let mut held = Vec::new();
        for _ in 0..3 + LEAVING_PER_PEER_MAX {
            held.push(permits.take(ip("192.0.2.1"), &pace()).unwrap());
        }
        assert_eq!(permits.take(ip("192.0.2.1"), &pace()).err(), Some(Full::Address(3)));
        // The others displace each other all the same, also where the first has most.
        for host in 2..=5 {
            held.push(permits.take(ip(&format!("192.0.2.{host}")), &pace()).unwrap());
        }
        assert_eq!(permits.lock().leaving, LEAVING_PER_PEER_MAX + 1);
        let all = permits.lock().leaving;
        for host in 0..=LEAVING_MAX - all {
            let taken = permits.take(ip(&format!("198.51.100.{host}")), &pace());
            assert_eq!(
                taken.is_ok(),
                host < LEAVING_MAX - all,
                "no more than {LEAVING_MAX} in all"
            );
            held.extend(taken);
        }
    }

    #[test]
    fn nothing_is_remembered_of_who_has_left() {
        let permits = permits(2, 2);
        for host in 0..1000_u32 {
            let peer = Peer::at(std::net::IpAddr::V4(host.into()));
            drop(permits.take(peer, &pace()).unwrap());
        }
        let open = permits.lock();
        assert_eq!((open.all, open.by_peer.len(), open.leaving), (0, 0, 0));
        assert!(open.leaving_by_peer.is_empty());
    }
}
