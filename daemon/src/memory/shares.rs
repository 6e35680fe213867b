//! What each peer holds of a class of memory. One holder of a peer may always have what the budget gives;
//! more of them only while as much is left to others as the peer has. So a peer that is alone gets half of
//! the class, two that want all of it a third each, and there is always something left for the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use picket_base::budget::{Budget, Class, Exhausted, Taken};

use crate::peer::Peer;

/// The shares of one class.
pub struct Shares {
    budget: Budget,
    class: Class,
    held: Mutex<HashMap<Peer, usize>>,
}

/// Memory of a peer. It is given back when dropped.
pub struct Share {
    shares: Arc<Shares>,
    peer: Peer,
    taken: Taken,
}

/// Why a peer gets no more.
#[derive(Debug, thiserror::Error)]
pub enum NoShare {
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
    #[error(
        "{held} bytes of memory for {class} are this address's, {wanted} more would leave too little to \
         others"
    )]
    TooMuch { class: Class, held: usize, wanted: usize },
}

impl Shares {
    pub fn new(budget: Budget, class: Class) -> Arc<Shares> {
        Arc::new(Shares { budget, class, held: Mutex::default() })
    }

    /// Returns the most that one holder can ever get, bytes.
    pub fn largest(&self) -> usize {
        self.budget.largest(self.class)
    }

    /// Takes bytes for a peer, now or not at all.
    ///
    /// # Errors
    /// When the budget or the peer's share of it has no more.
    pub fn take(self: &Arc<Shares>, peer: Peer, bytes: usize) -> Result<Share, NoShare> {
        let taken = self.budget.take(self.class, 0)?;
        let mut share = Share { shares: self.clone(), peer, taken };
        share.grow(bytes)?;
        Ok(share)
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Peer, usize>> {
        self.held.lock().expect("nothing panics while it counts")
    }
}

impl Share {
    /// Takes more bytes, now or not at all.
    ///
    /// # Errors
    /// As [`Shares::take`]; what was taken before stays taken.
    pub fn grow(&mut self, more: usize) -> Result<(), NoShare> {
        let Shares { budget, class, .. } = &*self.shares;
        let mut peers = self.shares.lock();
        let held = peers.get(&self.peer).copied().unwrap_or(0);
        let is_its_only_one = held == self.taken.bytes();
        let left = budget.largest(*class).saturating_sub(budget.taken(*class) + more);
        if !is_its_only_one && held + more > left {
            return Err(NoShare::TooMuch { class: *class, held, wanted: more });
        }
        self.taken.grow(more)?;
        if more > 0 {
            peers.insert(self.peer, held + more);
        }
        Ok(())
    }

    pub fn bytes(&self) -> usize {
        self.taken.bytes()
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut peers = self.shares.lock();
        let Some(held) = peers.get_mut(&self.peer) else { return };
        *held -= self.taken.bytes();
        if *held == 0 {
            peers.remove(&self.peer);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn peer(host: u8) -> Peer {
        Peer::at(Ipv4Addr::new(192, 0, 2, host).into())
    }

    /// As many shares of a sixteenth of the class as a peer gets.
    fn all(shares: &Arc<Shares>, host: u8) -> Vec<Share> {
        let part = shares.largest() / 16;
        std::iter::from_fn(|| shares.take(peer(host), part).ok()).collect()
    }

    #[test]
    fn a_peer_gets_as_much_as_is_left_to_others_and_the_next_one_always_something() {
        let shares = Shares::new(Budget::new(64 << 20), Class::Body);
        let first = all(&shares, 1);
        assert_eq!(first.len(), 8);
        let second = all(&shares, 2);
        assert_eq!(second.len(), 4);
        let third = all(&shares, 3);
        assert_eq!(third.len(), 2);
        let error = shares.take(peer(1), 1 << 20).err().unwrap().to_string();
        let held = shares.largest() / 16 * 8;
        let text = format!("{held} bytes of memory for request bodies are this address's");
        assert!(error.starts_with(&text), "{error}");
        drop((first, second, third));
        assert_eq!(shares.budget.taken(Class::Body), 0);
        assert!(shares.lock().is_empty());
    }

    #[test]
    fn a_peers_only_holder_may_have_all_that_one_ever_gets() {
        let shares = Shares::new(Budget::new(64 << 20), Class::Body);
        let mut whole = shares.take(peer(1), shares.largest() / 2).unwrap();
        whole.grow(shares.largest() / 2).unwrap();
        assert_eq!(whole.bytes(), shares.largest());
        assert!(shares.take(peer(1), 1 << 20).is_err());
    }
}
