//! The recovery ladder: from a store directory in whatever state a power cut, a full disk or bit
//! rot has left it to an open store, one rung at a time, the least destructive first.
//!
//! 1. Half-written snapshots go: sled refuses to open beside one.
//! 2. The store is opened and read.
//! 3. Without its snapshots, which sled builds again from its log.
//! 4. Without its configuration, of which only defaults are used.
//! 5. Set aside as `quarantine-<boot>-<next id>`, with every record that can be found in its raw
//!    bytes copied into a fresh store.
//!
//! A disk that fails is no damage to the store: it stops the climb, and the caller tries again.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::error::guard;
use super::error::{Fault, LogError, StoreError};
use super::format::{self, Anchor, GENESIS, Kind, Link};
use super::high_water::{self, HighWater};
use super::keys::{ANCHOR_KEY, offset_key, origin_key, record_key};
use super::record;
use super::store::CACHE_BYTES;
use super::{chunk, packed, salvage};
use picket_base::{clock, disk};

/// Damaged stores kept for a person to look at; each is as large as the log may be.
const QUARANTINES_MAX: usize = 2;

const QUARANTINE_PREFIX: &str = "quarantine-";

/// In a quarantine: everything that could be brought back from it was.
const SALVAGED_MARK: &str = "salvaged";

/// How long a dropped handle may keep sled's lock, and how often it is asked for meanwhile.
const LEFTOVER_WAIT_MAX: Duration = Duration::from_secs(5);
const LEFTOVER_PAUSE: Duration = Duration::from_millis(10);

/// Left free beside a copy of the store.
const COPY_MARGIN_BYTES: u64 = 32 << 20;

/// Records copied into a fresh store between two flushes.
const SALVAGE_BATCH: usize = 1_000;

/// What was done to get the log open.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    HalfSnapshotsRemoved(usize),
    SnapshotsRemoved(String),
    ConfigurationRemoved(String),
    Quarantined {
        name: String,
        why: String,
    },
    Salvaged(u64),
    /// Numbers that were committed once and are gone.
    Lost(Range<u64>),
}

impl Step {
    /// Label of the metric that counts recoveries.
    pub const LABELS: [&str; 6] = [
        "half_snapshots_removed",
        "snapshots_removed",
        "configuration_removed",
        "quarantined",
        "salvaged",
        "lost",
    ];

    pub fn label(&self) -> &'static str {
        Step::LABELS[match self {
            Step::HalfSnapshotsRemoved(_) => 0,
            Step::SnapshotsRemoved(_) => 1,
            Step::ConfigurationRemoved(_) => 2,
            Step::Quarantined { .. } => 3,
            Step::Salvaged(_) => 4,
            Step::Lost(_) => 5,
        }]
    }
}

impl std::fmt::Display for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Step::HalfSnapshotsRemoved(count) => {
                write!(f, "half-written snapshots removed: {count}")
            }
            Step::SnapshotsRemoved(why) => write!(f, "snapshots removed, since {why}"),
            Step::ConfigurationRemoved(why) => {
                write!(f, "store configuration removed, since {why}")
            }
            Step::Quarantined { name, why } => write!(f, "store set aside as {name}, since {why}"),
            Step::Salvaged(count) => write!(f, "records salvaged: {count}"),
            Step::Lost(ids) => write!(f, "records {} to {} are lost", ids.start, ids.end - 1),
        }
    }
}

/// sled's store, which may go at any time: when the last of its handles does, sled syncs its file,
/// and panics where the disk refuses.
pub(super) struct Handle(Option<sled::Db>);

impl std::ops::Deref for Handle {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let db = self.0.take();
        // Nothing is lost by it: what was not acknowledged by then never is.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// An open store that was read without a fault.
pub(super) struct Opened<T> {
    pub(super) db: Handle,
    /// Our own handle on sled's file: its flush alone does not reach the medium.
    pub(super) file: File,
    pub(super) read: T,
    pub(super) steps: Vec<Step>,
}

/// How far the ladder may be climbed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Climb {
    /// Only what sled builds again by itself goes: for looking at a store.
    Derived,
    /// A damaged store is set aside.
    Quarantine,
    /// A store that the disk can't read is set aside too.
    Unreadable,
}

/// Opens the store in `dir` and reads it by `read`.
///
/// # Errors
/// `Open` when the disk fails, or when no rung that `climb` allows helps.
pub(super) fn open<T>(
    dir: &Path,
    climb: Climb,
    read: impl Fn(&sled::Db) -> sled::Result<T>,
) -> Result<Opened<T>, LogError> {
    let broken = |source| LogError::Directory { path: dir.into(), source };
    let mut steps = Vec::new();
    let mut why = String::new();
    for rung in 0..3 {
        match rung {
            0 => {}
            1 => {
                keep_copy(dir);
                if remove(dir, |name| name.starts_with("snap.")).map_err(broken)? == 0 {
                    continue;
                }
                steps.push(Step::SnapshotsRemoved(why.clone()));
            }
            2 if remove(dir, |name| name == "conf").map_err(broken)? > 0 => {
                steps.push(Step::ConfigurationRemoved(why.clone()));
            }
            _ => continue,
        }
        match attempt(dir, &read, &mut steps) {
            Ok((db, file, read)) => return Ok(Opened { db, file, read, steps }),
            Err(error) if error.fault != Fault::Store && climb != Climb::Unreadable => {
                return Err(LogError::Open { path: dir.into(), error });
            }
            Err(error) => why = error.detail,
        }
        // With a handle that a panic has leaked nothing but another directory is safe.
        if !is_let_go(dir) {
            break;
        }
    }
    if climb == Climb::Derived {
        let error = StoreError { fault: Fault::Store, detail: why };
        return Err(LogError::Open { path: dir.into(), error });
    }
    let name = quarantine(dir).map_err(broken)?;
    steps.push(Step::Quarantined { name, why });
    let opened = attempt(dir, &read, &mut steps);
    let (db, file, read) = opened.map_err(|error| LogError::Open { path: dir.into(), error })?;
    Ok(Opened { db, file, read, steps })
}

fn attempt<T>(
    dir: &Path,
    read: &impl Fn(&sled::Db) -> sled::Result<T>,
    steps: &mut Vec<Step>,
) -> Result<(Handle, File, T), StoreError> {
    let half = guard(|| Ok(remove(dir, |name| name.ends_with(".generating"))?))?;
    if half > 0 {
        steps.push(Step::HalfSnapshotsRemoved(half));
    }
    let config = sled::Config::new()
        .path(dir)
        .cache_capacity(CACHE_BYTES)
        // Commits are ours; a background flush would only wake an idle disk.
        .flush_every_ms(None);
    let db = open_sled(&config)?;
    let file = guard(|| Ok(File::options().read(true).write(true).open(dir.join("db"))?))?;
    let read = guard(|| read(&db))?;
    Ok((db, file, read))
}

/// The log's own lock is ours: who else can hold sled's is a handle of this process that was
/// dropped, whose threads are still ending, or one that a panic has leaked.
pub(super) fn open_sled(config: &sled::Config) -> Result<Handle, StoreError> {
    let deadline = Instant::now() + LEFTOVER_WAIT_MAX;
    loop {
        match guard(|| config.open()) {
            Err(error) if error.detail.contains("could not acquire lock") => {
                if Instant::now() > deadline {
                    return Err(StoreError { fault: Fault::Store, ..error });
                }
                std::thread::sleep(LEFTOVER_PAUSE);
            }
            other => return other.map(|db| Handle(Some(db))),
        }
    }
}

/// Whether the failed handle has let the store go: until then its threads may still rename
/// snapshots and write to its file.
fn is_let_go(dir: &Path) -> bool {
    let deadline = Instant::now() + LEFTOVER_WAIT_MAX;
    loop {
        match File::open(dir.join("db")).map(|file| file.try_lock()) {
            Ok(Err(std::fs::TryLockError::WouldBlock)) if Instant::now() < deadline => {
                std::thread::sleep(LEFTOVER_PAUSE);
            }
            Ok(Err(_)) => return false,
            // Without a file there is nothing to hold.
            Ok(Ok(())) | Err(_) => return true,
        }
    }
}

/// Keeps sled's file as it is now: building its snapshots again, sled blanks what it can't read,
/// and records that a salvage would find go with it. Without room for a copy it goes without.
fn keep_copy(dir: &Path) {
    let (db, copy) = (dir.join("db"), dir.join(salvage::COPY_NAME));
    let room = std::fs::metadata(&db).is_ok_and(|metadata| {
        let space = disk::disk_space(dir).map_or(0, |space| space.free_bytes);
        space > metadata.len() + COPY_MARGIN_BYTES
    });
    if room
        && !copy.exists()
        && let Err(error) = std::fs::copy(&db, &copy)
    {
        tracing::warn!(%error, "the damaged store is repaired without a copy");
        let _ = std::fs::remove_file(&copy);
    }
}

/// Removes the files of `dir` whose names fit; how many there were.
pub(super) fn remove(dir: &Path, fits: impl Fn(&str) -> bool) -> io::Result<usize> {
    let mut removed = 0;
    for file in std::fs::read_dir(dir)? {
        let file = file?;
        if fits(&file.file_name().to_string_lossy()) {
            tracing::warn!(file = %file.path().display(), "removing");
            std::fs::remove_file(file.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Renames the directory, makes a new one in its place and takes the oldest quarantines away.
fn quarantine(dir: &Path) -> io::Result<String> {
    let parent = parent(dir);
    let next_id = high_water::read(dir).map_or(0, |state| state.next_id);
    let boot_id = clock::boot_id();
    let name = (next_id..)
        .map(|number| format!("{QUARANTINE_PREFIX}{boot_id}-{number}"))
        .find(|name| !parent.join(name).exists())
        .expect("there are more numbers than directories");
    std::fs::rename(dir, parent.join(&name))?;
    std::fs::create_dir(dir)?;
    disk::sync_dir(parent)?;
    let mut quarantines = quarantines(dir)?;
    while quarantines.len() > QUARANTINES_MAX {
        std::fs::remove_dir_all(parent.join(quarantines.remove(0)))?;
    }
    Ok(name)
}

/// Names of the damaged stores beside `dir`, oldest first.
pub(super) fn quarantines(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent(dir))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(QUARANTINE_PREFIX) && entry.file_type()?.is_dir() {
            found.push((entry.metadata()?.modified()?, name));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// A file of the log that must outlive its directory, which may be set aside.
pub(super) fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    parent(dir).join(name)
}

pub(super) fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// A quarantine whose records are not in the store yet: the newest one, when it was made by this
/// open or by one that a power cut ended.
pub(super) fn unsalvaged(dir: &Path) -> io::Result<Option<PathBuf>> {
    let newest = quarantines(dir)?.pop().map(|name| parent(dir).join(name));
    Ok(newest.filter(|path| !path.join(SALVAGED_MARK).exists()))
}

/// Copies every record of `quarantine` that can be found into the fresh store, under their own
/// numbers; where the log stood then, and how many were found.
///
/// # Errors
/// When the disk fails; the copy starts again at the next open.
pub(super) fn salvage_quarantine(
    db: &sled::Db,
    file: &File,
    quarantine: &Path,
) -> Result<(HighWater, u64), StoreError> {
    let state = match high_water::read(quarantine) {
        Some(state) => state,
        None => {
            let found = guard(|| Ok(salvage::numbers(quarantine)?))?;
            let first_id = found.first().map_or(1, |ids| ids.start);
            let next_id = found.last().map_or(first_id, |ids| ids.end);
            HighWater { first_id, next_id, link: GENESIS }
        }
    };
    let anchor = Anchor {
        id: state.first_id.saturating_sub(1),
        link: None,
        moved_at_us: clock::Stamp::now().wall_us,
    };
    guard(|| db.insert([ANCHOR_KEY], format::encode_other(Kind::Anchor, 0, &anchor)).map(drop))?;
    let all = state.first_id..state.next_id;
    let count = restore(db, file, quarantine, std::slice::from_ref(&all))?;
    guard(|| Ok(File::create(quarantine.join(SALVAGED_MARK))?.sync_all()?))?;
    if count == state.next_id - state.first_id {
        // Nothing is missing: there is nothing to look at in it.
        guard(|| Ok(std::fs::remove_dir_all(quarantine)?))?;
    }
    Ok((state, count))
}

/// Puts back those of the lost records that the newest segments held before the store was opened;
/// how many.
///
/// # Errors
/// When the disk fails.
pub(super) fn restore_recent(
    db: &sled::Db,
    recent: &salvage::Recent,
    lost: &[Range<u64>],
) -> Result<u64, StoreError> {
    guard(|| {
        lost.iter().try_for_each(|ids| chunk::separate(db, ids))?;
        restore_window(db, &mut recent.find(lost), &mut None)
    })
}

/// Looks for lost records in the raw bytes of `source` and puts them into the store; how many.
///
/// # Errors
/// When the disk fails.
pub(super) fn restore(
    db: &sled::Db,
    file: &File,
    source: &Path,
    lost: &[Range<u64>],
) -> Result<u64, StoreError> {
    let mut count = 0;
    for range in lost {
        guard(|| chunk::separate(db, range))?;
        let mut start = range.start;
        let before = guard(|| chunk::get(db, start.saturating_sub(1)))?;
        let mut previous = before.and_then(|value| format::identify(&value).ok()).map(|r| r.1);
        while start < range.end {
            let window = start..range.end.min(start + salvage::WINDOW);
            start = window.end;
            let mut found = guard(|| Ok(salvage::find(source, &window)?))?;
            count += guard(|| restore_window(db, &mut found, &mut previous))?;
            guard(|| {
                db.flush()?;
                Ok(file.sync_all()?)
            })?;
        }
    }
    Ok(count)
}

fn restore_window(
    db: &sled::Db,
    found: &mut salvage::Found,
    previous: &mut Option<Link>,
) -> sled::Result<u64> {
    let mut numbers = OriginNumbers::read(db)?;
    for (number, content) in &numbers.0 {
        found.know_origin(*number, content.clone());
    }
    let mut batch = sled::Batch::default();
    let mut count = 0;
    for offset in &found.offsets {
        let value = format::encode_other(Kind::BootOffset, 0, offset);
        batch.insert(offset_key(&offset.boot_id), value);
    }
    for &id in found.records.keys() {
        let Some(salvaged) = found.record(id, previous.as_ref()) else { continue };
        let number = numbers.of(salvaged.origin, salvaged.origin_content, &mut batch);
        let moved = format::with_origin(&salvaged.value, number);
        let Ok(single) = moved.and_then(|value| packed::single(&value)) else { continue };
        batch.insert(&record_key(id)[..], single);
        *previous = Some(salvaged.link);
        count += 1;
        if count % SALVAGE_BATCH as u64 == 0 {
            db.apply_batch(std::mem::take(&mut batch))?;
            db.flush()?;
        }
    }
    db.apply_batch(batch)?;
    Ok(count)
}

/// Which origin is stored under which number, as records are put back.
struct OriginNumbers(std::collections::BTreeMap<u32, Vec<u8>>);

impl OriginNumbers {
    fn read(db: &sled::Db) -> sled::Result<OriginNumbers> {
        let mut numbers = std::collections::BTreeMap::new();
        for item in db.scan_prefix([crate::keys::ORIGIN_PREFIX]) {
            let (_, value) = item?;
            if let Ok((number, origin)) =
                format::decode_other::<record::Origin>(Kind::Origin, &value)
            {
                numbers.insert(number, format::origin_content(&origin));
            }
        }
        Ok(OriginNumbers(numbers))
    }

    /// The number under which this content is stored: its own where that is free.
    fn of(&mut self, own: u32, content: Vec<u8>, batch: &mut sled::Batch) -> u32 {
        if self.0.get(&own) == Some(&content) {
            return own;
        }
        if let Some((number, _)) = self.0.iter().find(|(_, stored)| **stored == content) {
            return *number;
        }
        let taken = self.0.contains_key(&own);
        let next = self.0.last_key_value().map_or(0, |(last, _)| last + 1);
        let number = if taken { next } else { own };
        if let Ok(origin) = postcard::from_bytes::<record::Origin>(&content) {
            let value = format::encode_other(Kind::Origin, number, &origin);
            batch.insert(&origin_key(number)[..], value);
        }
        self.0.insert(number, content);
        number
    }
}
