//! PredictionLog: every prediction under a contiguous sequence number, on sled.
//!
//! One thread owns a PredictionLog. Readers borrow the tree from a `Shelf`, which the owner empties
//! before it drops a failed store, so that it can be opened again.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use picket_base::disk;

use crate::chunk::Chunk;
use crate::error::{Fault, LogError, StoreError, guard};
use crate::format::{self, Kind, Link};
use crate::headroom::Headroom;
use crate::high_water::{HighWater, HighWaterFile};
use crate::journal::Journal;
use crate::keys::{offset_key, origin_key};
use crate::reader::{self, Shelf};
use crate::record::{Entry, Origin};
use crate::recovery::{self, Handle, Step};
use crate::retention::Retention;
use crate::scan::{OriginUse, Scan};
use crate::stats::Stats;

/// sled's page cache, bytes. Writes go to the newest pages and reads mostly to them too.
pub(super) const CACHE_BYTES: u64 = 4 << 20;

/// Bytes on disk for each live byte, once retention has reached its plateau: measured at 2.1 to
/// 2.4 with records of 128 bytes; rounded up.
pub(super) const DISK_AMPLIFICATION: u64 = 3;

/// From a commit to the checkpoint that takes it from the journal, at most.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(60);

/// Bytes of values that sled may be given between two checkpoints. With what it writes beside them
/// (measured: up to four times as much) that stays below a segment, 512 KiB: sled takes a segment
/// again once two more are written, and what it moved out of it must be on the medium by then.
const UNSETTLED_BYTES_MAX: usize = 96 << 10;

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
    pub(super) offsets: reader::BootOffsets,
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
    /// The first commit since then.
    pub(super) unsettled_since: Option<Instant>,
    pub(super) steps: Vec<Step>,
    /// Held for as long as the store is ours; released by the kernel whatever happens.
    pub(super) _lock: File,
}

impl PredictionLog {
    /// The number that the next record will have.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Other limits hold from the next append on.
    pub fn set_retention(&mut self, retention: Retention) {
        self.retention = retention;
    }

    /// What had to be done to open it.
    pub fn steps(&self) -> &[Step] {
        &self.steps
    }

    /// Numbers that should be there and can't be read, as far as the store was read.
    pub fn losses(&self) -> &[Range<u64>] {
        &self.scan.losses
    }

    /// Live records and their estimated bytes on disk.
    pub fn size(&self) -> (u64, u64) {
        (self.next_id - self.first_id, self.live_bytes * DISK_AMPLIFICATION)
    }

    /// Bytes that the store takes on disk now.
    pub fn disk_bytes(&self) -> u64 {
        self.file.metadata().map_or(0, |metadata| disk::allocated_bytes(&metadata))
    }

    /// Damaged stores that were set aside and are kept.
    pub fn quarantines(&self) -> usize {
        recovery::quarantines(&self.dir).map_or(0, |names| names.len())
    }

    /// Whether there is room to write; looks at the disk.
    ///
    /// # Errors
    /// `NoRoom`.
    pub fn check_room(&mut self) -> Result<(), LogError> {
        Ok(self.headroom.check()?)
    }

    /// Free on the disk when `check_room` last looked, at most 50 ms before it was last called.
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

    /// Adds groups of entries under `next_id` and the numbers after it, each group all or none, and
    /// removes what retention no longer keeps. Not durable before `commit`.
    ///
    /// # Errors
    /// `Write`; from then on this handle must be dropped: sled would acknowledge later commits
    /// without keeping them.
    pub fn append(&mut self, groups: &[&[Entry]]) -> Result<(), LogError> {
        guard(|| self.try_append(groups)).map_err(|error| self.failed(error))
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

    fn settle(&mut self) -> sled::Result<()> {
        self.db.flush()?;
        // flush only asks the kernel to start writing: see docs/prediction-log.md.
        self.file.sync_data()?;
        self.high_water.sync()?;
        self.journal.restart();
        self.unsettled_bytes = 0;
        self.unsettled_since = None;
        Ok(())
    }

    fn checkpoint_due(&self) -> Option<Duration> {
        self.unsettled_since.map(|since| CHECKPOINT_INTERVAL.saturating_sub(since.elapsed()))
    }

    /// Time until `idle` has something to do; none when it has not.
    pub fn idle_work_due(&self) -> Option<Duration> {
        if self.scan.complete { self.checkpoint_due() } else { Some(Duration::ZERO) }
    }

    /// What is done while nothing else is to do: the checkpoint of commits long past, one step of
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

    fn failed(&mut self, error: StoreError) -> LogError {
        if error.fault == Fault::Full {
            self.headroom.exhausted();
        }
        LogError::Write(error)
    }

    fn position(&self) -> HighWater {
        HighWater { first_id: self.first_id, next_id: self.next_id, link: self.link }
    }

    fn note_lost(&mut self, ids: Range<u64>) {
        let step = Step::Lost(ids.clone());
        tracing::error!(%step, "log recovery");
        self.scan.lose(ids);
        self.steps.push(step);
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

    fn put(&mut self, chunk: &mut Chunk) -> sled::Result<()> {
        let stored_bytes = chunk.put(&self.db, Some(&mut self.journal))?;
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
        let (value, link) = format::encode(&place, &used.content, entry);
        self.link = link;
        self.next_id += 1;
        Ok(value)
    }

    fn number_of(&mut self, origin: &Arc<Origin>) -> sled::Result<u32> {
        if let Some(&number) = self.numbers.get(origin) {
            return Ok(number);
        }
        let number = self.next_origin;
        self.next_origin += 1;
        let value = format::encode_other(Kind::Origin, number, &**origin);
        self.journal.add(&value);
        self.unsettled_bytes += value.len();
        self.db.insert(origin_key(number), value)?;
        self.numbers.insert(origin.clone(), number);
        let content = format::origin_content(origin);
        let used = OriginUse { origin: origin.clone(), content, records: 0 };
        self.scan.origins.insert(number, used);
        Ok(number)
    }

    /// The first record of a boot that knows the time says how its monotonic clock relates to it.
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

impl Drop for PredictionLog {
    fn drop(&mut self) {
        // Waits for readers at most as long as one page takes; then sled's lock goes with `db`.
        self.shelf.write().expect("no reader panics with the shelf in hand").take();
    }
}

/// Name of the socket on which the daemon that owns the log in `dir` answers questions about it:
/// the same by whichever path the directory is reached.
///
/// # Errors
/// When there is no such directory.
pub fn socket_name(dir: &Path) -> io::Result<String> {
    let parent = std::fs::metadata(recovery::parent(dir))?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("picket-{}-{}-{name}", parent.dev(), parent.ino()))
}
