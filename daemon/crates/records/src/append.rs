//! Adding records: their numbers, their origins and their chunks. Nothing here is durable before
//! `commit`.

use std::collections::HashMap;
use std::sync::Arc;

use super::chunk::{self, Chunk};
use super::error::{LogError, guard};
use super::format::{self, Kind};
use super::keys::{offset_key, origin_key};
use super::origin::{self, Origin};
use super::record::Entry;
use super::scan::OriginUse;
use super::store::PredictionLog;

impl PredictionLog {
    /// Adds groups of entries under `next_id` and the numbers after it, each group all or none, and
    /// removes what retention no longer keeps. Not durable before `commit`.
    ///
    /// # Errors
    /// `Write`; from then on this handle must be dropped: sled would acknowledge later commits
    /// without keeping them.
    pub fn append(&mut self, groups: &[&[Entry]]) -> Result<(), LogError> {
        guard(|| self.try_append(groups)).map_err(|error| self.failed(error))
    }

    fn try_append(&mut self, groups: &[&[Entry]]) -> sled::Result<()> {
        let first_new = self.next_id;
        let mut chunk = Chunk::default();
        for group in groups {
            // A group may take several chunks: its records say that more follow, and one that a
            // power cut left incomplete is taken back at open.
            let mut left = group.len();
            for entry in *group {
                left -= 1;
                let value = self.encode(entry, left > 0)?;
                chunk.add(&value).expect("it was encoded just now, under the next number");
                if chunk.is_full() {
                    self.put(&mut chunk)?;
                }
            }
        }
        self.put(&mut chunk)?;
        // At once for all of them, and never while sled may wait for the disk.
        let mut stats = self.stats.lock().expect("no holder of the counters panics");
        for entry in groups.iter().copied().flatten() {
            stats.add(&entry.origin, entry.inference_us, entry.defect);
        }
        drop(stats);
        self.retire(first_new)
    }

    /// Stores a chunk by way of the journal, and starts an empty one.
    fn put(&mut self, chunk: &mut Chunk) -> sled::Result<()> {
        let Some((first_id, bytes)) = chunk.take() else { return Ok(()) };
        self.journal.add_chunk(first_id, &bytes);
        let stored_bytes = chunk::insert(&self.db, first_id, bytes)?;
        self.unsettled_bytes += stored_bytes;
        self.live_bytes += stored_bytes as u64;
        Ok(())
    }

    /// Gives an entry its number and its value. Its origin is stored before it.
    fn encode(&mut self, entry: &Entry, more_follow: bool) -> sled::Result<Vec<u8>> {
        let id = self.next_id;
        let number = self.number_of(&entry.origin)?;
        self.note_offset(entry)?;
        let used = self.scan.origins.get_mut(&number).expect("its number was given just now");
        used.records += 1;
        let place = format::Place { id, previous: self.link, origin: number, more_follow };
        let encoded = format::encode(&place, &used.content, entry);
        let (value, link) = encoded.expect("names, notes and lists are bounded");
        self.link = link;
        self.next_id += 1;
        Ok(value)
    }

    /// Returns the number of an origin, which is stored with it where it is new.
    fn number_of(&mut self, origin: &Arc<Origin>) -> sled::Result<u32> {
        if let Some(&number) = self.numbers.get(origin) {
            return Ok(number);
        }
        let number = self.next_origin;
        self.next_origin += 1;
        let value = format::encode_origin(number, origin);
        self.journal.add(&value);
        self.unsettled_bytes += value.len();
        self.db.insert(origin_key(number), value)?;
        self.numbers.insert(origin.clone(), number);
        let content = origin::to_content(origin);
        let used = OriginUse { origin: origin.clone(), content, records: 0 };
        self.scan.origins.insert(number, used);
        Ok(number)
    }

    /// Stores how a boot's monotonic clock relates to the time, with the first record that knows it.
    fn note_offset(&mut self, entry: &Entry) -> sled::Result<()> {
        let boot_id = &entry.origin.boot_id;
        if !entry.at.synchronised {
            return Ok(());
        }
        let known = |offsets: &HashMap<String, i64>| offsets.contains_key(boot_id);
        if known(&self.offsets.read().expect("no holder of the offsets panics")) {
            return Ok(());
        }
        let monotonic_us = i64::try_from(entry.at.monotonic_us).unwrap_or(i64::MAX);
        let offset_us = entry.at.wall_us.saturating_sub(monotonic_us);
        let mut offsets = self.offsets.write().expect("no holder of the offsets panics");
        offsets.insert(boot_id.clone(), offset_us);
        drop(offsets);
        let offset = format::BootOffset { boot_id: boot_id.clone(), offset_us };
        let value = format::encode_other(Kind::BootOffset, 0, &offset);
        self.journal.add(&value);
        self.unsettled_bytes += value.len();
        self.db.insert(offset_key(boot_id), value).map(drop)
    }
}
