//! Which batches were stored under a name of their sender's: whoever sends one again is told what was
//! stored then. A mark is stored right before the last chunk of its batch, so that it is there when the
//! batch is, whole; an open removes one without the end of its batch. Knows nothing of records or files.

use std::collections::{BTreeMap, HashMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// Batches that are remembered of one sender.
pub const SENDER_BATCHES_MAX: usize = 10_000;

/// Batches that are remembered of all senders: 8 MB of memory, 5 MB in the store.
const BATCHES_MAX: usize = 65_536;

type SenderDigest = [u8; 8];

/// What a sender calls a batch. It takes the same few bytes however long the names are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct BatchName {
    sender: SenderDigest,
    batch: [u8; 16],
}

impl BatchName {
    /// `sender` is the device that names the batch, whatever address it comes from.
    pub fn new(sender: Option<&str>, batch: &str) -> BatchName {
        let sender = sender.unwrap_or_default();
        let mut hash = Sha256::new();
        hash.update(sender);
        let sender_only = hash.clone().finalize();
        // No text has this byte, so that no pair of names reads as another pair.
        hash.update([0xff]);
        hash.update(batch);
        let both = hash.finalize();
        let mut name = BatchName { sender: [0; 8], batch: [0; 16] };
        name.sender.copy_from_slice(&sender_only[..8]);
        name.batch.copy_from_slice(&both[..16]);
        name
    }
}

/// What was stored of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredBatch {
    /// The number of its first record; the others follow.
    pub first_id: u64,
    /// How many records it has, at least one.
    pub records: u64,
    /// When it was taken, epoch µs.
    pub taken_at_us: i64,
}

/// The marks of the newest batches.
#[derive(Default)]
pub(crate) struct Marks {
    stored: HashMap<BatchName, StoredBatch>,
    /// By the number of the first record, the oldest batch first.
    names: BTreeMap<u64, BatchName>,
    senders: HashMap<SenderDigest, VecDeque<u64>>,
}

impl Marks {
    pub(crate) fn get(&self, name: &BatchName) -> Option<StoredBatch> {
        self.stored.get(name).copied()
    }

    /// Remembers the newest batch. Returns the first numbers of those that are forgotten for it.
    pub(crate) fn remember(&mut self, name: BatchName, stored: StoredBatch) -> Vec<u64> {
        let first_id = stored.first_id;
        if self.names.insert(first_id, name) == Some(name) {
            return Vec::new();
        }
        self.stored.insert(name, stored);
        let of_sender = self.senders.entry(name.sender).or_default();
        of_sender.push_back(first_id);
        let mut forgotten = Vec::new();
        if of_sender.len() > SENDER_BATCHES_MAX {
            forgotten.extend(of_sender.front().copied());
        } else if self.names.len() > BATCHES_MAX {
            forgotten.extend(self.names.first_key_value().map(|(id, _)| *id));
        }
        forgotten.iter().for_each(|id| self.forget(*id));
        forgotten
    }

    fn forget(&mut self, first_id: u64) {
        let Some(name) = self.names.remove(&first_id) else { return };
        // A batch that was sent again after it had been forgotten is remembered by its newer mark.
        if self.stored.get(&name).is_some_and(|stored| stored.first_id == first_id) {
            self.stored.remove(&name);
        }
        if let Some(of_sender) = self.senders.get_mut(&name.sender) {
            of_sender.retain(|id| *id != first_id);
            if of_sender.is_empty() {
                self.senders.remove(&name.sender);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(sender: &str, batch: u64) -> BatchName {
        BatchName::new(Some(sender), &batch.to_string())
    }

    /// Remembers a batch; returns what is forgotten for it.
    fn add(marks: &mut Marks, sender: &str, batch: u64, first_id: u64) -> Vec<u64> {
        marks.remember(name(sender, batch), StoredBatch { first_id, records: 3, taken_at_us: 7 })
    }

    #[test]
    fn a_name_is_of_its_sender() {
        let one = BatchName::new(Some("line-4"), "1");
        assert_eq!(one, BatchName::new(Some("line-4"), "1"));
        for other in [
            BatchName::new(None, "1"),
            BatchName::new(Some("line-41"), ""),
            BatchName::new(Some("line-"), "41"),
            BatchName::new(Some("line-4"), "2"),
        ] {
            assert_ne!(one, other);
        }
    }

    #[test]
    fn the_last_batches_of_each_sender_are_remembered() {
        let mut marks = Marks::default();
        assert!(add(&mut marks, "other", 0, 1).is_empty());
        let most = SENDER_BATCHES_MAX as u64;
        assert!((0..most).all(|batch| add(&mut marks, "line-4", batch, 10 + batch).is_empty()));
        assert_eq!(add(&mut marks, "line-4", most, 10 + most), [10]);
        assert_eq!(marks.get(&name("line-4", 0)), None);
        assert_eq!(marks.get(&name("line-4", 1)).unwrap().first_id, 11);
        assert_eq!(marks.get(&name("other", 0)).unwrap().first_id, 1);
    }

    #[test]
    fn all_senders_together_are_bounded_and_the_oldest_batch_goes_first() {
        let mut marks = Marks::default();
        for number in 0..BATCHES_MAX as u64 {
            assert!(add(&mut marks, &format!("line-{number}"), 0, number).is_empty());
        }
        assert_eq!(add(&mut marks, "line-0", 1, 1 << 40), [0]);
        assert_eq!((marks.names.len(), marks.stored.len()), (BATCHES_MAX, BATCHES_MAX));
        assert_eq!(marks.senders.len(), BATCHES_MAX);
    }

    #[test]
    fn one_that_was_sent_again_after_it_was_forgotten_is_remembered_by_its_newer_mark() {
        let mut marks = Marks::default();
        add(&mut marks, "line-4", 1, 10);
        add(&mut marks, "line-4", 1, 20);
        marks.forget(10);
        assert_eq!(marks.get(&name("line-4", 1)).unwrap().first_id, 20);
    }
}
