//! What tells that a batch was sent before: its name, or for a batch without one its sender and its bytes.
//! A sender whose answer takes too long gives up and sends the same again. It must not know what is in a
//! batch.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use picket_records::{BatchName, StoredBatch};
use sha2::{Digest, Sha256};

use crate::peer::Peer;

/// Batches without a name that are remembered; a hundred bytes each.
const REMEMBERED_MAX: usize = 256;

/// Who sends again does so within this time.
const REMEMBERED_FOR: Duration = Duration::from_secs(10 * 60);

/// What tells one batch from another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum BatchKey {
    /// Its sender named it; the log knows the name for good.
    Named(BatchName),
    /// It is known for a while only.
    Unnamed { sender: Peer, digest: [u8; 32] },
}

impl BatchKey {
    /// The key of a batch without a name: who sent it, and all of its bytes.
    pub fn unnamed(sender: Peer, body: &[u8]) -> BatchKey {
        BatchKey::Unnamed { sender, digest: Sha256::digest(body).into() }
    }

    /// Under which the log stores the batch.
    pub fn name(self) -> Option<BatchName> {
        match self {
            BatchKey::Named(name) => Some(name),
            BatchKey::Unnamed { .. } => None,
        }
    }
}

/// Batches without a name that are stored, though their senders may not know it. The oldest are first.
#[derive(Default)]
pub(super) struct Unanswered {
    batches: VecDeque<(Instant, BatchKey, StoredBatch)>,
}

impl Unanswered {
    pub fn remember(&mut self, key: BatchKey, stored: StoredBatch) {
        if self.batches.len() == REMEMBERED_MAX {
            self.batches.pop_front();
        }
        self.batches.push_back((Instant::now(), key, stored));
    }

    /// What was stored of a batch, where that is remembered.
    pub fn get(&mut self, key: &BatchKey) -> Option<StoredBatch> {
        while self.batches.front().is_some_and(|(at, ..)| at.elapsed() > REMEMBERED_FOR) {
            self.batches.pop_front();
        }
        let mut newest_first = self.batches.iter().rev();
        newest_first.find(|(_, known, _)| known == key).map(|(_, _, stored)| *stored)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_newest_are_remembered() {
        let key = |number: usize| BatchKey::unnamed(Peer::Local, &number.to_le_bytes());
        let stored =
            |number: usize| StoredBatch { first_id: number as u64, records: 1, taken_at_us: 0 };
        let mut unanswered = Unanswered::default();
        (0..=REMEMBERED_MAX).for_each(|number| unanswered.remember(key(number), stored(number)));
        assert_eq!(unanswered.get(&key(0)), None);
        assert_eq!(unanswered.get(&key(1)), Some(stored(1)));
        assert_eq!(unanswered.get(&key(REMEMBERED_MAX)), Some(stored(REMEMBERED_MAX)));
    }
}
