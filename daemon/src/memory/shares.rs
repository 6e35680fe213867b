//! What each peer holds of a class of memory. One holder of a peer may have three quarters of the class;
//! more of them only while as much is left to others as the peer has. So a peer that is alone gets half of
//! the class, two that want all of it a third each, and there is always something left for the next.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use picket_base::budget::{Budget, Class, Exhausted, Taken};

use crate::peer::Peer;

/// One holder never gets more than so many of four parts of its class.
const OF_ONE_QUARTERS: usize = 3;

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
    #[error("it needs more than {most} bytes of memory for {class}, the limit for one")]
    Never { class: Class, most: usize },
}

impl Shares {
    pub fn new(budget: Budget, class: Class) -> Arc<Shares> {
        Arc::new(Shares { budget, class, held: Mutex::default() })
    }

    pub fn class(&self) -> Class {
        self.class
    }

    /// Returns the most that one holder can ever get, bytes.
    pub fn largest_of_one(&self) -> usize {
        self.budget.largest(self.class) / 4 * OF_ONE_QUARTERS
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

    /// Makes what was taken of the same class a peer's.
    ///
    /// # Errors
    /// When the peer's share has no more.
    pub fn adopt(self: &Arc<Shares>, peer: Peer, taken: Taken) -> Result<Share, NoShare> {
        let bytes = taken.bytes();
        let mut share =
            Share { shares: self.clone(), peer, taken: self.budget.take(self.class, 0)? };
        let mut peers = self.lock();
        share.check(&peers, bytes, bytes)?;
        *peers.entry(peer).or_default() += bytes;
        drop(peers);
        share.taken = taken;
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
        let mut peers = self.shares.lock();
        self.check(&peers, more, 0)?;
        self.taken.grow(more)?;
        if more > 0 {
            *peers.entry(self.peer).or_default() += more;
        }
        Ok(())
    }

    /// Whether the peer may have so many more bytes here, of which some are taken from the budget already.
    fn check(
        &self,
        peers: &HashMap<Peer, usize>,
        more: usize,
        taken: usize,
    ) -> Result<(), NoShare> {
        let Shares { budget, class, .. } = &*self.shares;
        let most = self.shares.largest_of_one();
        if self.taken.bytes().saturating_add(more) > most {
            return Err(NoShare::Never { class: *class, most });
        }
        if more == 0 {
            return Ok(());
        }
        let held = peers.get(&self.peer).copied().unwrap_or(0);
        let is_its_only_one = held == self.taken.bytes();
        let others = budget.taken(*class).saturating_sub(taken);
        let left = budget.largest(*class).saturating_sub(others + more);
        if !is_its_only_one && held + more > left {
            budget.count_refusal(*class);
            return Err(NoShare::TooMuch { class: *class, held, wanted: more });
        }
        Ok(())
    }

    /// Gives so many bytes back.
    pub fn shrink_by(&mut self, less: usize) {
        let mut peers = self.shares.lock();
        self.taken.shrink_to(self.taken.bytes() - less);
        give_back(&mut peers, self.peer, less);
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
        give_back(&mut self.shares.lock(), self.peer, self.taken.bytes());
    }
}

fn give_back(peers: &mut HashMap<Peer, usize>, peer: Peer, bytes: usize) {
    let Some(held) = peers.get_mut(&peer) else { return };
    *held -= bytes;
    if *held == 0 {
        peers.remove(&peer);
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
        let part = shares.budget.largest(shares.class) / 16;
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
        let held = shares.budget.largest(shares.class) / 16 * 8;
        let text = format!("{held} bytes of memory for request bodies are this address's");
        assert!(error.starts_with(&text), "{error}");
        drop((first, second, third));
        assert_eq!(shares.budget.taken(Class::Body), 0);
        assert!(shares.lock().is_empty());
    }

    #[test]
    fn a_peers_only_holder_may_have_three_quarters_and_leaves_the_rest_to_others() {
        let shares = Shares::new(Budget::new(64 << 20), Class::Body);
        let (class, most) = (shares.budget.largest(Class::Body), shares.largest_of_one());
        assert_eq!(most, class / 4 * 3);
        let mut whole = shares.take(peer(1), most / 2).unwrap();
        whole.grow(most / 2).unwrap();
        assert!(matches!(whole.grow(1), Err(NoShare::Never { .. })));
        assert!(matches!(shares.take(peer(1), 1 << 20), Err(NoShare::TooMuch { .. })));
        assert_eq!(shares.budget.refused(Class::Body), 1);
        let _other = shares.take(peer(2), class / 4).unwrap();
        whole.shrink_by(most / 2);
        assert_eq!(
            (whole.bytes(), shares.budget.taken(Class::Body)),
            (most / 2, most / 2 + class / 4)
        );
    }

    #[test]
    fn what_was_taken_already_is_not_taken_twice() {
        let shares = Shares::new(Budget::new(64 << 20), Class::Answer);
        let taken = |bytes| shares.budget.take(Class::Answer, bytes).unwrap();
        let most = shares.largest_of_one();
        let first = shares.adopt(peer(1), taken(most)).unwrap();
        assert_eq!(shares.budget.taken(Class::Answer), most);
        assert!(shares.adopt(peer(1), taken(most / 8)).is_err());
        let other = shares.adopt(peer(2), taken(most / 8)).unwrap();
        drop((first, other));
        assert_eq!(shares.budget.taken(Class::Answer), 0);
        assert!(shares.lock().is_empty());
    }
}
