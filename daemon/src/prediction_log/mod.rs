//! PredictionLog: every prediction under a contiguous sequence number, on sled. The only room that
//! names sled.
//!
//! One thread owns a PredictionLog (see writer.rs). Readers borrow the tree from a `Shelf`, which
//! the owner empties before it drops a failed store, so that it can be opened again.
//!
//! Keys: `r` + sequence number (u64, big-endian) → record; `o` + number (u32) → origin; `b` + boot
//! id → that boot's clock offset; `a` → the anchor of the chain.

mod chunk;
mod headroom;
mod high_water;
mod reader;
mod record;
mod recovery;
mod salvage;
mod scan;
mod segment;
mod stats;
mod suspicion;
#[cfg(test)]
mod tests;
mod verify;

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

pub use headroom::NoRoom;
pub use reader::{LogReader, PAGE_RECORDS_MAX, Page, Query};
pub use record::{
    Body, Damage, Detection, Entry, LogRecord, NAME_BYTES_MAX, Origin, Predicted, Reported,
};
pub use record::{Stored, decode as decode_record};
pub use recovery::{Climb, Step};
pub use stats::Stats;
pub use suspicion::Suspicion;
pub use verify::{Store, VerifyReport, verify};

use chunk::Chunk;
use headroom::Headroom;
use high_water::{HighWater, HighWaterFile};
use record::{Anchor, GENESIS, Kind, Link};
use salvage::Recent;
use scan::{Scan, Seen};

use crate::os;

/// sled's page cache, bytes. Writes go to the newest pages and reads mostly to them too.
const CACHE_BYTES: u64 = 8 << 20;

/// Bytes on disk for each live byte, once retention has reached its plateau: measured at 2.1 to
/// 2.4 with records of 128 bytes; rounded up.
const DISK_AMPLIFICATION: u64 = 3;

/// Records removed with one append at most, so that a lowered limit is reached in steps and no
/// commit takes long.
const RETIRE_STEP: usize = 2_000;

/// Once over its limit of records, the log gives up this share of it at once, or as many.
const RETIRE_SLACK_SHARE: u64 = 16;
const RETIRE_SLACK_MAX: u64 = 256;

/// Distinct origins (device, model, boot) kept at most; each costs memory while it has records.
/// Beyond it the oldest records go, as with the other limits.
const ORIGINS_MAX: usize = 16_384;

/// Time that reading the store may take at open; the rest is read while the daemon serves.
const SCAN_BUDGET: Duration = Duration::from_secs(2);

/// Records read at once, at open and later.
const SCAN_STEP: usize = 2_000;

const RECORD_PREFIX: u8 = b'r';
const ORIGIN_PREFIX: u8 = b'o';
const OFFSET_PREFIX: u8 = b'b';
const ANCHOR_KEY: u8 = b'a';

/// How much the log may hold. The oldest records go first; the newest always stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub max_records: u64,
    /// On disk.
    pub max_bytes: u64,
    /// By the wall clock of this machine.
    pub max_age: Option<Duration>,
}

/// Whose fault a failed operation of the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// No space left, or none that we may use.
    Full,
    ReadOnly,
    /// The disk could not read or write (EIO): nothing that it acknowledged since is certain.
    Disk,
    /// The system's, such as too many open files: no word about disk or store.
    System,
    /// The store's own: damage, or a bug of sled's.
    Store,
}

/// What sled, or the file system beneath it, said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    pub fault: Fault,
    pub detail: String,
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> StoreError {
        let fault = match &error {
            sled::Error::Io(error) => fault(error),
            _ => Fault::Store,
        };
        StoreError { fault, detail: error.to_string().replace('\n', " ") }
    }
}

fn fault(error: &io::Error) -> Fault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Fault::Full,
        io::ErrorKind::ReadOnlyFilesystem => Fault::ReadOnly,
        // sled reports an inconsistency of its own files as an I/O error of these kinds.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            Fault::Store
        }
        // sled copies errors without their number; of what it meets, only EIO has no kind.
        _ if os::is_io_error(error) || error.raw_os_error().is_none() => Fault::Disk,
        _ => Fault::System,
    }
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot use log directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("log {} is in use by another process", path.display())]
    Locked { path: PathBuf },
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("log {} cannot be opened: {error}", path.display())]
    Open { path: PathBuf, error: StoreError },
    #[error("log write failed: {0}")]
    Write(StoreError),
    #[error("log read failed: {0}")]
    Read(StoreError),
    #[error("the log is closed while its disk recovers")]
    Closed,
}

impl LogError {
    /// Waiting can't help: the directory is not ours to write, or somebody else holds it.
    pub fn is_permanent(&self) -> bool {
        match self {
            LogError::Directory { source, .. } => os::is_refusal(source),
            LogError::Locked { .. } => true,
            _ => false,
        }
    }

    pub fn fault(&self) -> Fault {
        match self {
            LogError::NoRoom(NoRoom::Full { .. }) => Fault::Full,
            LogError::NoRoom(NoRoom::ReadOnly) => Fault::ReadOnly,
            LogError::Open { error, .. } | LogError::Write(error) | LogError::Read(error) => {
                error.fault
            }
            LogError::Directory { source, .. } => fault(source),
            LogError::Locked { .. } | LogError::Closed => Fault::Store,
        }
    }
}

/// Where readers find the tree while the log is open.
type Shelf = Arc<RwLock<Option<sled::Db>>>;

#[derive(Debug)]
struct OriginUse {
    origin: Arc<Origin>,
    /// As the chain covers it.
    content: Vec<u8>,
    records: u64,
}

impl OriginUse {
    fn new(origin: Origin) -> OriginUse {
        let content = record::origin_content(&origin);
        OriginUse { origin: Arc::new(origin), content, records: 0 }
    }
}

pub struct PredictionLog {
    db: sled::Db,
    /// Our own handle on sled's file: its flush alone does not reach the medium.
    file: File,
    dir: PathBuf,
    high_water: HighWaterFile,
    headroom: Headroom,
    shelf: Shelf,
    stats: Arc<Mutex<Stats>>,
    offsets: reader::BootOffsets,
    retention: Retention,
    numbers: HashMap<Arc<Origin>, u32>,
    scan: Scan,
    next_origin: u32,
    first_id: u64,
    next_id: u64,
    /// Link of the record before `next_id`.
    link: Link,
    live_bytes: u64,
    /// sled has begun the last segment that was made for it.
    wants_room: bool,
    steps: Vec<Step>,
    /// Held for as long as the store is ours; released by the kernel whatever happens.
    _lock: File,
}

impl PredictionLog {
    /// Opens or creates the log in `dir`, climbing the recovery ladder as far as needed and
    /// allowed, and reads it to rebuild its counters and find what is missing.
    ///
    /// # Errors
    /// `Directory` or `Locked` when the directory can't be used, `NoRoom` when the disk is full or
    /// read-only, `Open` when the disk fails.
    pub fn open(
        dir: &Path,
        retention: Retention,
        reader: &LogReader,
        climb: Climb,
    ) -> Result<PredictionLog, LogError> {
        let broken = |source| LogError::Directory { path: dir.to_path_buf(), source };
        std::fs::create_dir_all(dir).map_err(broken)?;
        let lock = lock(dir)?;
        let mut headroom = Headroom::new(dir);
        headroom.check_for_open()?;
        // A store that is not there yet has none.
        let recent = Recent::read(dir).unwrap_or_default();
        let opened = recovery::open(dir, climb, read_within_budget)?;
        let (high_water, state) = HighWaterFile::open(dir).map_err(broken)?;
        sync_names(dir).map_err(broken)?;
        let Read { scan, stats, live_bytes } = opened.read;
        let mut log = PredictionLog {
            db: opened.db,
            file: opened.file,
            dir: dir.to_path_buf(),
            high_water,
            headroom,
            shelf: reader.shelf.clone(),
            stats: reader.stats.clone(),
            offsets: reader.offsets.clone(),
            retention,
            numbers: HashMap::new(),
            next_origin: 0,
            first_id: 1,
            next_id: 1,
            link: GENESIS,
            scan,
            live_bytes,
            wants_room: false,
            steps: opened.steps,
            _lock: lock,
        };
        log.adopt(stats);
        if climb != Climb::Derived {
            log.take_back_incomplete_group()
                .map_err(|error| LogError::Open { path: dir.into(), error })?;
        }
        log.recover(state, &recent, climb)
            .map_err(|error| LogError::Open { path: dir.into(), error })?;
        for step in &log.steps {
            tracing::warn!(%step, "log recovery");
        }
        *log.shelf.write().expect("no reader panics with the shelf in hand") = Some(log.db.clone());
        Ok(log)
    }

    /// The number that the next record will have.
    pub fn next_id(&self) -> u64 {
        self.next_id
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
        self.file.metadata().map_or(0, |metadata| os::allocated_bytes(&metadata))
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

    /// Returns once everything appended so far is on the medium.
    ///
    /// # Errors
    /// As `append`.
    pub fn commit(&mut self) -> Result<(), LogError> {
        guard(|| {
            self.db.flush()?;
            // flush only asks the kernel to start writing: see docs/prediction-log.md.
            self.file.sync_data()?;
            self.high_water.write(self.position())?;
            self.wants_room = segment::wants_room(&self.file)?;
            Ok(())
        })
        .map_err(|error| self.failed(error))
    }

    /// Time until `idle` has something to do; none when it has not.
    pub fn idle_work_due(&self) -> Option<Duration> {
        if self.wants_room || !self.scan.complete {
            return Some(Duration::ZERO);
        }
        self.high_water.sync_due()
    }

    /// What is done while nothing else is to do: room for sled to write to, one step of reading the
    /// rest of the store, the high-water file's last sync.
    ///
    /// # Errors
    /// As `append`.
    pub fn idle(&mut self) -> Result<(), LogError> {
        guard(|| {
            if self.high_water.sync_due().is_some_and(|left| left.is_zero()) {
                self.high_water.sync()?;
            }
            if std::mem::take(&mut self.wants_room) {
                segment::extend(&self.file)?;
            } else if !self.scan.complete {
                self.scan_on()?;
            }
            Ok(())
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

    /// Takes over what the scan found.
    fn adopt(&mut self, stats: Stats) {
        let scan = &self.scan;
        self.numbers = scan.origins.iter().map(|(n, used)| (used.origin.clone(), *n)).collect();
        self.next_origin = scan.origins.last_key_value().map_or(0, |(last, _)| last + 1);
        let newest = scan.tip.map_or(scan.anchor.id, |(id, _)| id);
        // A damaged record keeps its number, even the newest.
        let last_key = scan.losses.iter().map(|ids| ids.end - 1).max().unwrap_or(0);
        self.next_id = newest.max(last_key) + 1;
        self.first_id = scan.first_id.unwrap_or(self.next_id).min(self.next_id);
        self.link = scan.tip.map_or(scan.anchor.link, |(_, link)| Some(link)).unwrap_or(GENESIS);
        let offsets = scan.offsets.iter().map(|o| (o.boot_id.clone(), o.offset_us)).collect();
        *self.offsets.write().expect("no holder of the offsets panics") = offsets;
        *self.stats.lock().expect("no holder of the counters panics") = stats;
    }

    /// Brings back what the raw bytes still hold, or held before the store was opened, of records
    /// that it has lost, and leaves out the numbers of those that are gone.
    fn recover(
        &mut self,
        mut state: Option<HighWater>,
        recent: &Recent,
        climb: Climb,
    ) -> Result<(), StoreError> {
        let dir = self.dir.clone();
        let mut salvaged = 0;
        let quarantine = guard(|| Ok(recovery::unsalvaged(&dir)?))?;
        if let Some(quarantine) = quarantine.filter(|_| climb != Climb::Derived) {
            let (stood, count) = recovery::salvage_quarantine(&self.db, &self.file, &quarantine)?;
            salvaged += count;
            state = Some(stood);
            self.read_again()?;
        }
        let lost = self.lost(state);
        if !lost.is_empty() {
            salvaged += recovery::restore_recent(&self.db, recent, &lost)?;
            self.read_again()?;
            let lost = self.lost(state);
            salvaged += recovery::restore(&self.db, &self.file, &dir, &lost)?;
            self.read_again()?;
        }
        guard(|| {
            self.db.flush()?;
            self.file.sync_all()?;
            recovery::remove(&dir, |name| name == salvage::COPY_NAME)?;
            Ok(())
        })?;
        if salvaged > 0 {
            self.steps.push(Step::Salvaged(salvaged));
        }
        self.steps.extend(self.lost(state).into_iter().map(Step::Lost));
        if let Some(state) = state.filter(|state| state.next_id > self.next_id) {
            self.scan.lose(self.next_id..state.next_id);
            self.next_id = state.next_id;
            self.link = state.link;
        }
        Ok(())
    }

    /// A group whose last records are missing was never acknowledged: all of it goes.
    fn take_back_incomplete_group(&mut self) -> Result<(), StoreError> {
        let complete = guard(|| {
            for item in chunk::descending(&self.db, self.next_id) {
                let (id, value) = item?;
                let stored = record::decode(id, &value).ok();
                if !stored.is_some_and(|stored| stored.more_follow) {
                    return Ok(id + 1);
                }
            }
            Ok(self.first_id)
        })?;
        let incomplete = complete..self.next_id;
        if incomplete.is_empty() {
            return Ok(());
        }
        guard(|| {
            chunk::separate(&self.db, &incomplete)?;
            for id in incomplete.clone() {
                self.db.remove(record_key(id))?;
            }
            self.db.flush()?;
            Ok(self.file.sync_all()?)
        })?;
        let records = incomplete.end - incomplete.start;
        tracing::info!(records, "an unfinished batch is taken back");
        self.read_again()
    }

    fn read_again(&mut self) -> Result<(), StoreError> {
        let read = guard(|| read_within_budget(&self.db))?;
        self.scan = read.scan;
        self.live_bytes = read.live_bytes;
        self.adopt(read.stats);
        Ok(())
    }

    /// What the scan missed, and the tail that the high-water file knows of.
    fn lost(&self, state: Option<HighWater>) -> Vec<Range<u64>> {
        let tail = state.map_or(0..0, |state| self.next_id..state.next_id);
        let mut lost = self.scan.losses.clone();
        lost.push(tail);
        lost.retain(|ids| !ids.is_empty());
        lost
    }

    fn scan_on(&mut self) -> sled::Result<()> {
        let PredictionLog { scan, db, stats, live_bytes, .. } = self;
        let mut seen = Vec::with_capacity(SCAN_STEP);
        let complete = scan.step(db, SCAN_STEP, |record| seen.push(record))?;
        let mut stats = stats.lock().expect("no holder of the counters panics");
        for Seen { origin, inference_us, defect, bytes } in seen {
            *live_bytes += bytes;
            if let Some(used) = scan.origins.get(&origin) {
                stats.add(&used.origin, inference_us, defect);
            }
        }
        stats.complete = complete;
        Ok(())
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
                let (id, value) = self.encode(entry, left > 0)?;
                chunk.add(id, &value);
                if chunk.is_full() {
                    chunk.put(&self.db)?;
                }
            }
        }
        chunk.put(&self.db)?;
        self.retire(first_new)
    }

    /// Gives an entry its number and its value. Its origin is stored before it.
    fn encode(&mut self, entry: &Entry, more_follow: bool) -> sled::Result<(u64, Vec<u8>)> {
        let id = self.next_id;
        let number = self.number_of(&entry.origin)?;
        self.note_offset(entry)?;
        let used = self.scan.origins.get_mut(&number).expect("its number was given just now");
        used.records += 1;
        let place = record::Place { id, previous: self.link, origin: number, more_follow };
        let (value, link) = record::encode(&place, &used.content, entry);
        self.live_bytes += stored_bytes(&value);
        self.link = link;
        self.next_id += 1;
        let mut stats = self.stats.lock().expect("no holder of the counters panics");
        stats.add(&entry.origin, entry.inference_us, entry.defect);
        Ok((id, value))
    }

    fn number_of(&mut self, origin: &Arc<Origin>) -> sled::Result<u32> {
        if let Some(&number) = self.numbers.get(origin) {
            return Ok(number);
        }
        let number = self.next_origin;
        self.next_origin += 1;
        let value = record::encode_other(Kind::Origin, number, &**origin);
        self.db.insert(origin_key(number), value)?;
        self.numbers.insert(origin.clone(), number);
        let content = record::origin_content(origin);
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
        let mut offsets = self.offsets.write().expect("no holder of the offsets panics");
        if offsets.contains_key(boot_id) {
            return Ok(());
        }
        let monotonic_us = i64::try_from(entry.at.monotonic_us).unwrap_or(i64::MAX);
        let offset_us = entry.at.wall_us.saturating_sub(monotonic_us);
        offsets.insert(boot_id.clone(), offset_us);
        let offset = record::BootOffset { boot_id: boot_id.clone(), offset_us };
        let value = record::encode_other(Kind::BootOffset, 0, &offset);
        self.db.insert(offset_key(boot_id), value).map(drop)
    }

    /// Once a limit is exceeded, removes the oldest stored records (those before `first_new`) until
    /// there is some slack, so that not every commit has to, and moves the chain's anchor to the
    /// last one removed. At most `RETIRE_STEP` records go at once.
    fn retire(&mut self, first_new: u64) -> sled::Result<()> {
        let max_records = self.retention.max_records;
        if !self.exceeds(max_records) && !self.oldest_has_expired()? {
            return Ok(());
        }
        let slack = (max_records / RETIRE_SLACK_SHARE).min(RETIRE_SLACK_MAX);
        let now_us = os::Stamp::now().wall_us;
        let mut retired = 0;
        while retired < RETIRE_STEP
            && (self.exceeds(max_records - slack) || self.oldest_has_expired()?)
        {
            let Some((first_id, records)) = chunk::oldest(&self.db)? else { break };
            let last_id = records.last().map_or(first_id, |(id, _)| *id);
            if last_id >= first_new {
                break;
            }
            let newest = records.last().and_then(|(_, value)| record::identify(value).ok());
            let link = newest.map(|(_, link, _)| link);
            let anchor = Anchor { id: last_id, link, moved_at_us: now_us };
            let mut batch = sled::Batch::default();
            batch.remove(&record_key(first_id)[..]);
            batch.insert(&[ANCHOR_KEY], record::encode_other(Kind::Anchor, 0, &anchor));
            retired += records.len();
            for (id, value) in records {
                self.forget(id, &value, &mut batch);
            }
            self.db.apply_batch(batch)?;
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
        let keep_from_us = os::Stamp::now().wall_us.saturating_sub_unsigned(os::micros(max_age));
        let value = chunk::get(&self.db, self.first_id)?;
        let oldest = value.and_then(|value| record::decode(self.first_id, &value).ok());
        Ok(oldest.is_some_and(|oldest| oldest.at.wall_us < keep_from_us))
    }

    /// Takes a record that goes out of the counters. What the scan has not read yet was never
    /// counted.
    fn forget(&mut self, id: u64, value: &[u8], batch: &mut sled::Batch) {
        let counted = id >= self.scan.from || self.scan.complete;
        if let (true, Ok(stored)) = (counted, record::decode(id, value)) {
            self.live_bytes = self.live_bytes.saturating_sub(stored_bytes(value));
            self.uncount(&stored, batch);
        }
    }

    fn uncount(&mut self, stored: &record::Stored, batch: &mut sled::Batch) {
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

impl Drop for PredictionLog {
    fn drop(&mut self) {
        // Waits for readers at most as long as one page takes; then sled's lock goes with `db`.
        self.shelf.write().expect("no reader panics with the shelf in hand").take();
    }
}

/// What one reading of the store gives.
struct Read {
    scan: Scan,
    stats: Stats,
    live_bytes: u64,
}

fn read_within_budget(db: &sled::Db) -> sled::Result<Read> {
    let started = Instant::now();
    let mut read = Read { scan: Scan::start(db)?, stats: Stats::default(), live_bytes: 0 };
    let mut complete = false;
    while !complete && started.elapsed() < SCAN_BUDGET {
        let mut seen = Vec::with_capacity(SCAN_STEP);
        complete = read.scan.step(db, SCAN_STEP, |record| seen.push(record))?;
        for Seen { origin, inference_us, defect, bytes } in seen {
            read.live_bytes += bytes;
            if let Some(used) = read.scan.origins.get(&origin) {
                read.stats.add(&used.origin, inference_us, defect);
            }
        }
    }
    read.stats.complete = complete;
    Ok(read)
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

/// One owner at a time, this process included: sled's own lock goes with its files when they are
/// set aside.
fn lock(dir: &Path) -> Result<File, LogError> {
    let broken = |source| LogError::Directory { path: dir.to_path_buf(), source };
    let path = recovery::beside(dir, ".lock");
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(broken)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::Locked { path: dir.to_path_buf() }),
        Err(std::fs::TryLockError::Error(source)) => Err(broken(source)),
    }
}

/// sled's file, the store and the directory that holds it: names created just now must outlive a
/// power cut as well.
fn sync_names(dir: &Path) -> io::Result<()> {
    os::sync_dir(dir)?;
    os::sync_dir(recovery::parent(dir))
}

/// Runs a store operation; sled panics on some damage where it should fail.
fn guard<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let detail = format!("the store panicked: {}", panic_text(&*panic));
            Err(StoreError { fault: Fault::Store, detail: detail.replace('\n', " ") })
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}

fn stored_bytes(value: &[u8]) -> u64 {
    (size_of::<u64>() + 1 + value.len()) as u64
}

fn record_key(id: u64) -> [u8; 9] {
    let mut key = [RECORD_PREFIX; 9];
    key[1..].copy_from_slice(&id.to_be_bytes());
    key
}

fn record_id(key: &[u8]) -> Option<u64> {
    key.strip_prefix(&[RECORD_PREFIX])?.try_into().ok().map(u64::from_be_bytes)
}

fn origin_key(number: u32) -> [u8; 5] {
    let mut key = [ORIGIN_PREFIX; 5];
    key[1..].copy_from_slice(&number.to_be_bytes());
    key
}

fn origin_number(key: &[u8]) -> Option<u32> {
    key.strip_prefix(&[ORIGIN_PREFIX])?.try_into().ok().map(u32::from_be_bytes)
}

fn offset_key(boot_id: &str) -> Vec<u8> {
    [&[OFFSET_PREFIX], boot_id.as_bytes()].concat()
}
