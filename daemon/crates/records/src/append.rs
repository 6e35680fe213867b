//! Adding records: their numbers, their origins and their chunks. Nothing here is durable before
//! `commit`.

use std::collections::HashMap;
use std::sync::Arc;

use super::chunk::{self, Chunk};
use super::error::{LogError, guard};
use super::format::{self, Kind};
use super::keys::{mark_key, offset_key, origin_key};
use super::marks::{BatchName, Mark, StoredBatch};
use super::origin::{self, Origin};
use super::record::Entry;
use super::scan::OriginUse;
use super::store::PredictionLog;

/// Entries that are stored all or none.
#[derive(Clone, Copy)]
pub struct Group<'a> {
    pub entries: &'a [Entry],
    /// Under which it is remembered, so that one that is sent again is known.
    pub name: Option<BatchName>,
}

impl PredictionLog {
    /// Adds groups of entries under `next_id` and the numbers after it, each group all or none, and
    /// removes what retention no longer keeps. Not durable before `commit`.
    ///
    /// # Errors
    /// `Write`; from then on this handle must be dropped: sled would acknowledge later commits
    /// without keeping them.
    pub fn append(&mut self, groups: &[&[Entry]]) -> Result<(), LogError> {
        let groups: Vec<Group> =
            groups.iter().map(|entries| Group { entries, name: None }).collect();
        self.append_named(&groups, &mut || ())
    }

    /// Does the same with groups that may have names. `progress` is called after each chunk: a large group
    /// on a slow disk takes long, and its thread is to show that it goes on.
    ///
    /// # Errors
    /// As `append`.
    pub fn append_named(
        &mut self,
        groups: &[Group],
        progress: &mut dyn FnMut(),
    ) -> Result<(), LogError> {
        guard(|| self.try_append(groups, progress)).map_err(|error| self.failed(error))
    }

    fn try_append(&mut self, groups: &[Group], progress: &mut dyn FnMut()) -> sled::Result<()> {
        let first_new = self.next_id;
        self.appended_bytes = 0;
        let mut chunk = Chunk::default();
        // Of the groups that end in the chunk.
        let mut marks = Vec::new();
        for group in groups {
            // A group may take several chunks: its records say that more follow, and one that a
            // power cut left incomplete is taken back at open.
            let (first_id, mut left) = (self.next_id, group.entries.len());
            for entry in group.entries {
                left -= 1;
                let value = self.encode(entry, left > 0)?;
                chunk.add(&value).expect("it was encoded just now, under the next number");
                if left == 0 {
                    let mark = group.name.map(|name| self.mark_of(name, first_id, entry));
                    marks.extend(mark);
                }
                if chunk.is_full() {
                    self.put(&mut chunk, &mut marks)?;
                    progress();
                }
            }
        }
        self.put(&mut chunk, &mut marks)?;
        // At once for all of them, and never while sled may wait for the disk.
        let mut stats = self.stats.lock().expect("no holder of the counters panics");
        for entry in groups.iter().flat_map(|group| group.entries) {
            stats.add(&entry.origin, entry.inference_us, entry.defect);
        }
        drop(stats);
        self.retire(first_new)
    }

    /// The mark of the group whose last entry was encoded just now.
    fn mark_of(&self, name: BatchName, first_id: u64, last: &Entry) -> Mark {
        let (records, taken_at_us) = (self.next_id - first_id, last.at.wall_us);
        Mark { name, stored: StoredBatch { first_id, records, taken_at_us }, link: self.link }
    }

    /// Stores a chunk by way of the journal, and starts an empty one.
    fn put(&mut self, chunk: &mut Chunk, marks: &mut Vec<Mark>) -> sled::Result<()> {
        let Some((first_id, bytes)) = chunk.take() else { return Ok(()) };
        // Before the chunk: an open removes a mark without the end of its batch, but could not make one
        // for a batch that has lost its.
        for mark in marks.drain(..) {
            self.remember(&mark)?;
        }
        self.journal.add_chunk(first_id, &bytes);
        let stored_bytes = chunk::insert(&self.db, first_id, bytes)?;
        self.live_bytes += stored_bytes as u64;
        self.appended(stored_bytes)
    }

    /// Stores the mark of a batch, and removes the marks of those that are forgotten for it.
    fn remember(&mut self, mark: &Mark) -> sled::Result<()> {
        let value = mark.to_value();
        let bytes = value.len();
        self.journal.add(&value);
        self.db.insert(mark_key(mark.stored.first_id), value)?;
        self.appended(bytes)?;
        let mut marks = self.marks.lock().expect("no holder of the marks panics");
        let forgotten = marks.add(mark);
        drop(marks);
        forgotten.into_iter().try_for_each(|id| self.db.remove(mark_key(id)).map(drop))
    }

    /// Gives an entry its number and its value. Its origin is stored before it.
    fn encode(&mut self, entry: &Entry, more_follow: bool) -> sled::Result<Vec<u8>> {
        let id = self.next_id;
        let number = self.number_of(&entry.origin)?;
        self.note_offset(entry)?;
        let used = self.scan.origins.get_mut(&number).expect("its number was given just now");
        used.records += 1;
        let place = format::Place { id, previous: self.link, origin: number, more_follow };
        let (value, link) = format::encode(&place, &used.content, entry);
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
        let bytes = value.len();
        self.journal.add(&value);
        self.db.insert(origin_key(number), value)?;
        self.appended(bytes)?;
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
        let bytes = value.len();
        self.journal.add(&value);
        self.db.insert(offset_key(boot_id), value)?;
        self.appended(bytes)
    }
}
