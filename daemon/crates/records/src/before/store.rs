//! PredictionLog: every prediction under a contiguous sequence number, on sled.
//!
//! One thread owns a PredictionLog. Readers borrow the tree from a `Shelf`, which the owner empties
//! before it drops a failed store, so that it can be opened again.

use std::collections::HashMap;
use std::fs::File;
use std::ops::Range;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use picket_base::disk;

use super::climb::RecoveryStep;
use super::error::{LogError, StoreError, StoreFault, guard};
use super::format::Link;
use super::handle::Handle;
use super::headroom::Headroom;
use super::high_water::HighWaterFile;
use super::journal::Journal;
use super::marks::Marks;
use super::origin::Origin;
use super::position::Position;
use super::quarantine;
use super::reader::{BootOffsets, Shelf};
use super::retention::{DISK_AMPLIFICATION, Retention};
use super::scan::{SCAN_STEP, Scan};
use super::stats::Stats;

/// From a commit to the checkpoint that takes it from the journal, at most.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of values that sled may be given between two checkpoints. With what it writes beside them
/// (measured: up to four times as much) that stays below a segment, 512 KiB: sled takes a segment
/// again once two more are written, and what it moved out of it must be on the medium by then.
const UNSETTLED_BYTES_MAX: usize = 96 << 10;

/// The log, open for its owner.
pub struct PredictionLog {
    pub(super) db: Handle,
    /// Our own handle on sled's file: its flush alone does not reach the medium.
    pub(super) file: File,
    pub(super) dir: PathBuf,
    pub(super) journal: Journal,
    pub(super) high_water: HighWaterFile,
    pub(super) headroom: Headroom,
    pub(super) shelf: Shelf,
    pub(super) stats: Arc<Mutex<Stats>>,
    pub(super) marks: Arc<Mutex<Marks>>,
    pub(super) offsets: BootOffsets,
    pub(super) retention: Retention,
    pub(super) numbers: HashMap<Arc<Origin>, u32>,
    pub(super) scan: Scan,
    pub(super) next_origin: u32,
    pub(super) first_id: u64,
    pub(super) next_id: u64,
    /// Link of the record before `next_id`.
    pub(super) link: Link,
    pub(super) live_bytes: u64,
    /// Bytes given to sled since the last checkpoint.
    pub(super) unsettled_bytes: usize,
    /// Those of the append at hand, since sled was synced in the middle of it.
    pub(super) appended_bytes: usize,
    /// When the first commit since then was made.
    pub(super) unsettled_since: Option<Instant>,
    pub(super) steps: Vec<RecoveryStep>,
    /// Held for as long as the store is ours; released by the kernel whatever happens.
    pub(super) _lock: File,
}

impl PredictionLog {
    /// Returns the number that the next record will have.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Sets other limits, which hold from the next append on.
    pub fn set_retention(&mut self, retention: Retention) {
        self.retention = retention;
    }

    /// Returns what had to be done to open it.
    pub fn steps(&self) -> &[RecoveryStep] {
        &self.steps
    }

    /// Returns the numbers that should be there and can't be read, as far as the store was read.
    pub fn losses(&self) -> &[Range<u64>] {
        &self.scan.losses
    }

    /// Returns the number of live records and their estimated bytes on disk.
    pub fn size(&self) -> (u64, u64) {
        (self.next_id - self.first_id, self.live_bytes * DISK_AMPLIFICATION)
    }

    /// Returns the bytes that the store takes on disk now.
    pub fn disk_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| disk::allocated_bytes(&metadata))
    }

    /// Returns how many damaged stores were set aside and are kept.
    pub fn quarantines(&self) -> usize {
        quarantine::names(&self.dir).map_or(0, |names| names.len())
    }

    /// Whether there is room to write; looks at the disk.
    ///
    /// # Errors
    /// `NoRoom`.
    pub fn check_room(&mut self) -> Result<(), LogError> {
        Ok(self.headroom.check()?)
    }

    /// Returns what was free on the disk when `check_room` last looked, at most 50 ms before it was last
    /// called.
    pub fn free_bytes(&self) -> u64 {
        self.headroom.free_bytes()
    }

    /// Leaves out the numbers before `id`: they were given to records that the disk then lost.
    pub fn resume_at(&mut self, id: u64) {
        if id > self.next_id {
            self.note_lost(self.next_id..id);
            self.next_id = id;
        }
    }

    /// Returns once everything appended so far is on the medium: in the journal, or where that has
    /// no room, in the store itself.
    ///
    /// # Errors
    /// As `append`.
    pub fn commit(&mut self) -> Result<(), LogError> {
        guard(|| {
            let position = self.position();
            let settled = self.unsettled_bytes <= UNSETTLED_BYTES_MAX;
            if settled && self.journal.commit(position)? {
                self.unsettled_since.get_or_insert_with(Instant::now);
            } else {
                self.settle()?;
            }
            Ok(self.high_water.write(position)?)
        })
        .map_err(|error| self.failed(error))
    }

    /// Puts everything into the store for good; the journal starts again.
    ///
    /// # Errors
    /// As `append`.
    pub fn checkpoint(&mut self) -> Result<(), LogError> {
        guard(|| self.settle()).map_err(|error| self.failed(error))
    }

    /// Notes bytes that a large append has given to sled, and syncs it in between. Nothing is committed
    /// by that: an open after a power cut takes back the group that ends nowhere.
    pub(super) fn appended(&mut self, bytes: usize) -> sled::Result<()> {
        self.unsettled_bytes += bytes;
        self.appended_bytes += bytes;
        if self.appended_bytes <= UNSETTLED_BYTES_MAX {
            return Ok(());
        }
        self.appended_bytes = 0;
        self.sync_sled()
    }

    fn sync_sled(&self) -> sled::Result<()> {
        self.db.flush()?;
        // flush only asks the kernel to start writing: see docs/prediction-log.md.
        Ok(self.file.sync_data()?)
    }

    fn settle(&mut self) -> sled::Result<()> {
        self.sync_sled()?;
        self.high_water.sync()?;
        self.journal.restart();
        self.unsettled_bytes = 0;
        self.unsettled_since = None;
        Ok(())
    }

    fn checkpoint_due(&self) -> Option<Duration> {
        self.unsettled_since.map(|since| CHECKPOINT_INTERVAL.saturating_sub(since.elapsed()))
    }

    /// Returns the time until `idle` has something to do; none when it has not.
    pub fn idle_work_due(&self) -> Option<Duration> {
        if self.scan.complete { self.checkpoint_due() } else { Some(Duration::ZERO) }
    }

    /// Does what waits until nothing else is to do: the checkpoint of commits long past, one step of
    /// reading the rest of the store.
    ///
    /// # Errors
    /// As `append`.
    pub fn idle(&mut self) -> Result<(), LogError> {
        guard(|| {
            if self.checkpoint_due().is_some_and(|left| left.is_zero()) {
                self.settle()?;
            }
            if self.scan.complete { Ok(()) } else { self.scan_on() }
        })
        .map_err(|error| self.failed(error))
    }

    /// Reads one step further towards the oldest record.
    fn scan_on(&mut self) -> sled::Result<()> {
        let PredictionLog { scan, db, stats, live_bytes, .. } = self;
        let mut seen = Vec::with_capacity(SCAN_STEP);
        let complete = scan.step(db, SCAN_STEP, |record| seen.push(record))?;
        let mut stats = stats.lock().expect("no holder of the counters panics");
        *live_bytes += scan.count(&seen, &mut stats);
        stats.complete = complete;
        Ok(())
    }

    /// Notes what a failed write means for the room on the disk.
    pub(super) fn failed(&mut self, error: StoreError) -> LogError {
        if error.fault == StoreFault::Full {
            self.headroom.exhausted();
        }
        LogError::Write(error)
    }

    fn position(&self) -> Position {
        Position { first_id: self.first_id, next_id: self.next_id, link: self.link }
    }

    fn note_lost(&mut self, ids: Range<u64>) {
        let step = RecoveryStep::Lost(ids.clone());
        tracing::error!(%step, "log recovery");
        self.scan.lose(ids);
        self.steps.push(step);
    }
}

impl Drop for PredictionLog {
    fn drop(&mut self) {
        // Waits for readers at most as long as one page takes; then sled's lock goes with `db`.
        self.shelf.write().expect("no reader panics with the shelf in hand").take();
    }
}
