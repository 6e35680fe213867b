//! What batches may hold of the log's queue, so that a flood of them leaves room for this box's own
//! predictions and for other senders. It knows neither records nor the disk.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard};

use crate::peer::Peer;

/// Batches together may hold this part of the queue; the rest is for this box's own predictions.
const BATCHES_PART: (usize, usize) = (3, 4);

/// Several batches of one sender may hold one part in so many of what batches have. A sender's only one may
/// be larger.
const SENDER_PART: usize = 2;

/// While no other batch waits, one may have all of the queue but one part in so many, which is enough for
/// thousands of own predictions: a device that was offline sends all that it has at once, and what never
/// fits could never be sent.
const OWN_PART_MIN: usize = 16;

/// Counts what batches hold.
#[derive(Default)]
pub(super) struct BatchShares {
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    bytes: usize,
    by_sender: HashMap<Peer, usize>,
}

/// A batch's bytes of the queue; they are given back when this is dropped.
pub(super) struct BatchShare {
    shares: Arc<BatchShares>,
    sender: Peer,
    bytes: usize,
}

/// Why a batch has to wait.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("batches hold {held} bytes of memory, {wanted} more don't fit: {most} are theirs")]
    Batches { held: usize, wanted: usize, most: usize },
    #[error(
        "batches of this address hold {held} bytes of memory, {wanted} more don't fit: {most} are one \
         address's"
    )]
    Sender { held: usize, wanted: usize, most: usize },
}

/// Returns the most that one batch may hold of a queue of so many bytes.
pub(super) fn largest(queue_bytes: usize) -> usize {
    queue_bytes - queue_bytes / OWN_PART_MIN
}

/// Returns what several batches may hold of it together.
fn together(queue_bytes: usize) -> usize {
    let (parts, of) = BATCHES_PART;
    queue_bytes / of * parts
}

impl BatchShares {
    /// Takes a batch's bytes, of a queue of so many.
    ///
    /// # Errors
    /// When batches, or those of this sender, hold too much already.
    pub fn take(
        self: &Arc<BatchShares>,
        sender: Peer,
        wanted: usize,
        queue_bytes: usize,
    ) -> Result<BatchShare, NoRoom> {
        let mut all = self.lock();
        let (held, of_sender) = (all.bytes, all.by_sender.get(&sender).copied().unwrap_or(0));
        let most = if held == 0 { largest(queue_bytes) } else { together(queue_bytes) };
        if held + wanted > most {
            return Err(NoRoom::Batches { held, wanted, most });
        }
        let most = most / SENDER_PART;
        if of_sender > 0 && of_sender + wanted > most {
            return Err(NoRoom::Sender { held: of_sender, wanted, most });
        }
        all.bytes += wanted;
        *all.by_sender.entry(sender).or_default() += wanted;
        Ok(BatchShare { shares: self.clone(), sender, bytes: wanted })
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().expect("nothing panics while it counts")
    }
}

impl Drop for BatchShare {
    fn drop(&mut self) {
        let mut all = self.shares.lock();
        all.bytes -= self.bytes;
        let Some(held) = all.by_sender.get_mut(&self.sender) else { return };
        *held -= self.bytes;
        if *held == 0 {
            all.by_sender.remove(&self.sender);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    const QUEUE: usize = 8_000;

    fn peer(host: u8) -> Peer {
        Peer::at(Ipv4Addr::new(192, 0, 2, host).into())
    }

    fn fill(shares: &Arc<BatchShares>, host: u8) -> Vec<BatchShare> {
        std::iter::from_fn(|| shares.take(peer(host), 100, QUEUE).ok()).collect()
    }

    #[test]
    fn a_sender_gets_half_of_what_batches_have_and_all_of_them_three_quarters() {
        let shares = Arc::new(BatchShares::default());
        let held = [fill(&shares, 1), fill(&shares, 2), fill(&shares, 3)];
        assert_eq!(held.each_ref().map(Vec::len), [30, 30, 0]);
        let full = NoRoom::Batches { held: 6_000, wanted: 100, most: 6_000 };
        assert_eq!(shares.take(peer(3), 100, QUEUE).err(), Some(full));
        let [first, ..] = held;
        drop(first);
        assert_eq!(fill(&shares, 3).len(), 30);
        let refused = shares.take(peer(2), 100, QUEUE).err();
        assert_eq!(refused, Some(NoRoom::Sender { held: 3_000, wanted: 100, most: 3_000 }));
    }

    #[test]
    fn the_only_batch_leaves_a_sixteenth_to_own_predictions_and_nothing_is_remembered() {
        let shares = Arc::new(BatchShares::default());
        assert!(shares.take(peer(1), largest(QUEUE) + 1, QUEUE).is_err());
        let most = shares.take(peer(1), largest(QUEUE), QUEUE).unwrap();
        assert_eq!(most.bytes, 7_500);
        assert!(shares.take(peer(1), 1, QUEUE).is_err());
        assert!(shares.take(peer(2), 1, QUEUE).is_err());
        drop(most);
        let all = shares.lock();
        assert_eq!((all.bytes, all.by_sender.len()), (0, 0));
    }
}
