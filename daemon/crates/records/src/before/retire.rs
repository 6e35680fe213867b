//! Removing the oldest records once a limit is exceeded.

use super::chunk::{self, Numbered};
use super::format::{self, Anchor, Kind};
use super::keys::{ANCHOR_KEY, offset_key, origin_key, record_key};
use super::retention::DISK_AMPLIFICATION;
use super::store::PredictionLog;
use picket_base::clock;

/// Records removed with one append at most, or as many as it has added: a lowered limit is reached in
/// steps, so that no commit takes long, and no batch outgrows its limit.
const RETIRE_STEP: usize = 2_000;

/// Once over its limit of records, the log gives up this share of it at once, or as many.
const RETIRE_SLACK_SHARE: u64 = 16;
const RETIRE_SLACK_MAX: u64 = 256;

/// Distinct origins (device, model, boot) kept at most; each costs memory while it has records.
/// Beyond it the oldest records go, as with the other limits.
const ORIGINS_MAX: usize = 16_384;

impl PredictionLog {
    /// Once a limit is exceeded, removes the oldest stored records (those before `first_new`) until
    /// there is some slack, so that not every commit has to, and moves the chain's anchor to the
    /// last one removed. At most `RETIRE_STEP` records go at once, or as many as were added.
    pub(super) fn retire(&mut self, first_new: u64) -> sled::Result<()> {
        let max_records = self.retention.max_records;
        if !self.exceeds(max_records) && !self.oldest_has_expired()? {
            return Ok(());
        }
        let slack = (max_records / RETIRE_SLACK_SHARE).min(RETIRE_SLACK_MAX);
        let now_us = clock::Stamp::now().wall_us;
        let added = usize::try_from(self.next_id - first_new).unwrap_or(usize::MAX);
        let (step, mut retired) = (RETIRE_STEP.max(added), 0);
        while retired < step && (self.exceeds(max_records - slack) || self.oldest_has_expired()?) {
            let Some((first_id, records)) = chunk::oldest(&self.db)? else { break };
            let last_id = records.last().map_or(first_id, |record| record.id);
            if last_id >= first_new {
                break;
            }
            let newest = records.last().and_then(|last| format::identify(&last.value).ok());
            let link = newest.map(|(_, link, _)| link);
            let anchor = Anchor { id: last_id, link, moved_at_us: now_us };
            let mut batch = sled::Batch::default();
            batch.remove(&record_key(first_id)[..]);
            batch.insert(&[ANCHOR_KEY], format::encode_other(Kind::Anchor, 0, &anchor));
            retired += records.len();
            let mut bytes = 0;
            for record in records {
                bytes += record.stored_bytes as usize;
                self.forget(&record, &mut batch);
            }
            self.db.apply_batch(batch)?;
            self.appended(bytes)?;
            self.scan.anchor = anchor;
            self.first_id = last_id + 1;
            self.scan.losses.retain(|ids| ids.end > self.first_id);
        }
        Ok(())
    }

    /// Whether the log holds more than so many records, or more than it may otherwise.
    fn exceeds(&self, records: u64) -> bool {
        self.next_id - self.first_id > records
            || self.live_bytes * DISK_AMPLIFICATION > self.retention.max_bytes
            || self.scan.origins.len() > ORIGINS_MAX
    }

    fn oldest_has_expired(&self) -> sled::Result<bool> {
        let Some(max_age) = self.retention.max_age else { return Ok(false) };
        let keep_from_us =
            clock::Stamp::now().wall_us.saturating_sub_unsigned(clock::micros(max_age));
        let value = chunk::get(&self.db, self.first_id)?;
        let oldest = value.as_ref().and_then(|value| format::decode(self.first_id, value).ok());
        Ok(oldest.is_some_and(|oldest| oldest.at.wall_us < keep_from_us))
    }

    /// Takes a record that goes out of the counters. What the scan has not read yet was never
    /// counted.
    fn forget(&mut self, record: &Numbered, batch: &mut sled::Batch) {
        let counted = record.id >= self.scan.from || self.scan.complete;
        if let (true, Ok(stored)) = (counted, format::decode(record.id, &record.value)) {
            self.live_bytes = self.live_bytes.saturating_sub(record.stored_bytes);
            self.uncount(&stored, batch);
        }
    }

    fn uncount(&mut self, stored: &format::Stored, batch: &mut sled::Batch) {
        let Some(used) = self.scan.origins.get_mut(&stored.origin) else { return };
        let mut stats = self.stats.lock().expect("no holder of the counters panics");
        stats.remove(&used.origin, stored.inference_us, stored.defect);
        used.records -= 1;
        if used.records > 0 || !self.scan.complete {
            return;
        }
        let origin = used.origin.clone();
        self.numbers.remove(&origin);
        self.scan.origins.remove(&stored.origin);
        batch.remove(&origin_key(stored.origin)[..]);
        if !self.numbers.keys().any(|other| other.boot_id == origin.boot_id) {
            let mut offsets = self.offsets.write().expect("no holder of the offsets panics");
            offsets.remove(&origin.boot_id);
            batch.remove(offset_key(&origin.boot_id));
        }
    }
}
