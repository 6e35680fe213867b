//! PredictionLog: every prediction under a contiguous sequence number, on sled. With `reader` and
//! `verify` beside it, the only files that name sled.
//!
//! One thread owns a PredictionLog (see writer.rs). Readers borrow the tree from a `Shelf`, which
//! the owner empties before it drops a failed store, so that it can be opened again.
//!
//! Keys: `r` + sequence number (u64, big-endian) → record; `o` + number (u32) → origin.

mod reader;
pub mod record;
mod stats;
mod verify;

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;

pub use reader::{LogReader, PAGE_RECORDS_MAX, Page, Query};
pub use record::{Body, Detection, Entry, LogRecord, NAME_BYTES_MAX, Origin, Predicted, Reported};
pub use stats::Stats;
pub use verify::{Store, VerifyReport, verify};

use crate::os;

/// sled's page cache, bytes. Writes go to the newest pages and reads mostly to them too.
const CACHE_BYTES: u64 = 8 << 20;

/// Bytes on disk for each live byte, once retention has reached its plateau: measured at 2.1 to
/// 2.4 with records of 128 bytes; rounded up.
const DISK_AMPLIFICATION: u64 = 3;

/// Records removed with one append at most, so that a lowered limit is reached in steps and no
/// commit takes long.
const RETIRE_STEP: usize = 2_000;

/// Distinct origins (device, model, boot) kept at most; each costs memory while it has records.
/// Beyond it the oldest records go, as with the other limits.
const ORIGINS_MAX: usize = 16_384;

const RECORD_PREFIX: u8 = b'r';
const ORIGIN_PREFIX: u8 = b'o';

/// How much the log may hold. The oldest records go first; the newest always stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    pub max_records: u64,
    /// On disk.
    pub max_bytes: u64,
    /// By the wall clock of this machine.
    pub max_age: Option<Duration>,
}

#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot use log directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("log {} is in use by another process", path.display())]
    Locked { path: PathBuf },
    #[error("log {} cannot be opened: {detail}", path.display())]
    Open { path: PathBuf, detail: String },
    #[error("log write failed: {0}")]
    Write(String),
    #[error("log read failed: {0}")]
    Read(String),
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
}

/// Where readers find the tree while the log is open.
type Shelf = Arc<RwLock<Option<sled::Db>>>;

struct OriginUse {
    origin: Arc<Origin>,
    records: u64,
}

pub struct PredictionLog {
    db: sled::Db,
    /// Our own handle on sled's file: its flush alone does not reach the medium.
    file: File,
    shelf: Shelf,
    stats: Arc<Mutex<Stats>>,
    retention: Retention,
    numbers: HashMap<Arc<Origin>, u32>,
    origins: BTreeMap<u32, OriginUse>,
    first_id: u64,
    next_id: u64,
    live_bytes: u64,
    damaged: u64,
}

impl PredictionLog {
    /// Opens or creates the log in `dir` and reads it once, front to back, to rebuild its
    /// counters and find damage.
    ///
    /// # Errors
    /// `Directory` or `Locked` when the directory can't be used; `Open` when sled or the disk fails.
    pub fn open(
        dir: &Path,
        retention: Retention,
        reader: &LogReader,
    ) -> Result<PredictionLog, LogError> {
        prepare_directory(dir)?;
        let db = open_sled(dir)?;
        let open_error = |detail: String| LogError::Open { path: dir.to_path_buf(), detail };
        let file = File::options().read(true).write(true).open(dir.join("db"));
        let file = file.map_err(|error| open_error(error.to_string()))?;
        sync_names(dir).map_err(|source| LogError::Directory { path: dir.into(), source })?;
        let mut log = PredictionLog {
            db,
            file,
            shelf: reader.shelf.clone(),
            stats: reader.stats.clone(),
            retention,
            numbers: HashMap::new(),
            origins: BTreeMap::new(),
            first_id: 1,
            next_id: 1,
            live_bytes: 0,
            damaged: 0,
        };
        guard(|| log.scan()).map_err(open_error)?;
        *log.shelf.write().expect("no reader panics with the shelf in hand") = Some(log.db.clone());
        Ok(log)
    }

    /// The number that the next record will have.
    pub fn next_id(&self) -> u64 {
        self.next_id
    }

    /// Records that the scan at open could not read.
    pub fn damaged(&self) -> u64 {
        self.damaged
    }

    /// Live records and their estimated bytes on disk.
    pub fn size(&self) -> (u64, u64) {
        (self.next_id - self.first_id, self.live_bytes * DISK_AMPLIFICATION)
    }

    /// Leaves out the numbers before `id`: they were given to records that the disk then lost.
    pub fn resume_at(&mut self, id: u64) {
        if id > self.next_id {
            tracing::error!(from = self.next_id, to = id - 1, "committed records are missing");
            self.next_id = id;
        }
    }

    /// Adds entries under `next_id` and the numbers after it, all or none, and removes what
    /// retention no longer keeps. Not durable before `commit`.
    ///
    /// # Errors
    /// `Write`; from then on this handle must be dropped: sled would acknowledge later commits
    /// without keeping them.
    pub fn append(&mut self, entries: &[&Entry]) -> Result<(), LogError> {
        guard(|| self.try_append(entries)).map_err(LogError::Write)
    }

    /// Returns once everything appended so far is on the medium.
    ///
    /// # Errors
    /// As `append`.
    pub fn commit(&mut self) -> Result<(), LogError> {
        guard(|| {
            self.db.flush()?;
            // flush only asks the kernel to start writing: see docs/architecture.md.
            Ok(self.file.sync_all()?)
        })
        .map_err(LogError::Write)
    }

    fn scan(&mut self) -> sled::Result<()> {
        let mut stats = Stats::default();
        for item in self.db.scan_prefix([ORIGIN_PREFIX]) {
            let (key, value) = item?;
            let Some(number) = origin_number(&key) else { continue };
            match record::decode_origin(number, &value) {
                Ok(origin) => {
                    let origin = Arc::new(origin);
                    self.numbers.insert(origin.clone(), number);
                    self.origins.insert(number, OriginUse { origin, records: 0 });
                }
                Err(_) => self.damaged += 1,
            }
        }
        let mut first_id = None;
        for item in self.db.scan_prefix([RECORD_PREFIX]) {
            let (key, value) = item?;
            let Some(id) = record_id(&key) else { continue };
            first_id.get_or_insert(id);
            self.next_id = id + 1;
            self.live_bytes += stored_bytes(&value);
            let stored = record::decode(id, &value).ok();
            let known = stored.and_then(|stored| {
                let used = self.origins.get_mut(&stored.origin)?;
                used.records += 1;
                stats.add(&used.origin, stored.inference_us, stored.defect);
                Some(())
            });
            self.damaged += u64::from(known.is_none());
        }
        self.first_id = first_id.unwrap_or(self.next_id);
        *self.stats.lock().expect("no holder of the counters panics") = stats;
        Ok(())
    }

    fn try_append(&mut self, entries: &[&Entry]) -> sled::Result<()> {
        let mut batch = sled::Batch::default();
        let first_new = self.next_id;
        let mut numbers = Vec::with_capacity(entries.len());
        for (entry, id) in entries.iter().zip(first_new..) {
            let number = self.number_of(&entry.origin, &mut batch);
            let value = record::encode(id, number, entry);
            self.live_bytes += stored_bytes(&value);
            batch.insert(&record_key(id)[..], value);
            numbers.push(number);
        }
        self.next_id += entries.len() as u64;
        self.count(entries, &numbers);
        self.retire(first_new, &mut batch)?;
        self.db.apply_batch(batch)
    }

    fn number_of(&mut self, origin: &Arc<Origin>, batch: &mut sled::Batch) -> u32 {
        if let Some(&number) = self.numbers.get(origin) {
            return number;
        }
        let number = self.origins.last_key_value().map_or(0, |(last, _)| last + 1);
        batch.insert(&origin_key(number)[..], record::encode_origin(number, origin));
        self.numbers.insert(origin.clone(), number);
        self.origins.insert(number, OriginUse { origin: origin.clone(), records: 0 });
        number
    }

    fn count(&mut self, entries: &[&Entry], numbers: &[u32]) {
        let mut stats = self.stats.lock().expect("no holder of the counters panics");
        for (entry, number) in entries.iter().zip(numbers) {
            if let Some(used) = self.origins.get_mut(number) {
                used.records += 1;
            }
            stats.add(&entry.origin, entry.inference_us, entry.defect);
        }
    }

    /// Removes the oldest stored records (those before `first_new`) until the limits hold, at
    /// most `RETIRE_STEP` of them.
    fn retire(&mut self, first_new: u64, batch: &mut sled::Batch) -> sled::Result<()> {
        let keep_from_us = self
            .retention
            .max_age
            .map(|max_age| os::Stamp::now().wall_us.saturating_sub_unsigned(os::micros(max_age)));
        for _ in 0..RETIRE_STEP {
            if self.first_id >= first_new {
                break;
            }
            let over = self.next_id - self.first_id > self.retention.max_records
                || self.live_bytes * DISK_AMPLIFICATION > self.retention.max_bytes
                || self.origins.len() > ORIGINS_MAX;
            if !over && keep_from_us.is_none() {
                break;
            }
            let id = self.first_id;
            let value = self.db.get(record_key(id))?;
            let stored = value.as_ref().and_then(|value| record::decode(id, value).ok());
            let expired =
                stored.as_ref().zip(keep_from_us).is_some_and(|(s, from)| s.at.wall_us < from);
            if !over && !expired {
                break;
            }
            batch.remove(&record_key(id)[..]);
            self.first_id += 1;
            self.live_bytes -= value.as_ref().map_or(0, |value| stored_bytes(value));
            if let Some(stored) = stored {
                self.uncount(&stored, batch);
            }
        }
        Ok(())
    }

    fn uncount(&mut self, stored: &record::Stored, batch: &mut sled::Batch) {
        let Some(used) = self.origins.get_mut(&stored.origin) else { return };
        let mut stats = self.stats.lock().expect("no holder of the counters panics");
        stats.remove(&used.origin, stored.inference_us, stored.defect);
        used.records -= 1;
        if used.records == 0 {
            self.numbers.remove(&used.origin);
            self.origins.remove(&stored.origin);
            batch.remove(&origin_key(stored.origin)[..]);
        }
    }
}

impl Drop for PredictionLog {
    fn drop(&mut self) {
        // Waits for readers at most as long as one page takes; then sled's lock goes with `db`.
        self.shelf.write().expect("no reader panics with the shelf in hand").take();
    }
}

/// Creates the directory and clears what makes sled refuse to open: a snapshot that a full disk
/// or a power cut left half written.
fn prepare_directory(dir: &Path) -> Result<(), LogError> {
    let prepare = || -> io::Result<()> {
        std::fs::create_dir_all(dir)?;
        for file in std::fs::read_dir(dir)? {
            let path = file?.path();
            if path.extension().is_some_and(|extension| extension == "generating") {
                tracing::warn!(file = %path.display(), "removing a half-written snapshot");
                std::fs::remove_file(path)?;
            }
        }
        // sled reports its own failure to write far less clearly.
        let probe = dir.join(".writable");
        std::fs::write(&probe, b"")?;
        std::fs::remove_file(probe)
    };
    prepare().map_err(|source| LogError::Directory { path: dir.to_path_buf(), source })
}

/// sled's file, the store and the directory that holds it: names created just now must outlive a
/// power cut as well.
fn sync_names(dir: &Path) -> io::Result<()> {
    os::sync_dir(dir)?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => os::sync_dir(parent),
        _ => os::sync_dir(Path::new(".")),
    }
}

fn open_sled(dir: &Path) -> Result<sled::Db, LogError> {
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        // Commits are ours; a background flush would only wake an idle disk.
        .flush_every_ms(None);
    match guard(|| config.open()) {
        Ok(db) => Ok(db),
        Err(detail) if detail.contains("could not acquire lock") => {
            Err(LogError::Locked { path: dir.to_path_buf() })
        }
        Err(detail) => Err(LogError::Open { path: dir.to_path_buf(), detail }),
    }
}

/// Runs a store operation; sled panics on some damage where it should fail.
fn guard<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => Err(format!("the store panicked: {}", panic_text(&*panic))),
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
