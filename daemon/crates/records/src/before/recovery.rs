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
use std::path::Path;

use super::climb::{Climb, RecoveryStep};
use super::error::{LogError, StoreError, StoreFault, guard};
use super::handle::{Handle, is_let_go, open_sled};
use super::{quarantine, salvage};
use picket_base::disk;

/// sled's page cache, bytes. Writes go to the newest pages and reads mostly to them too.
const CACHE_BYTES: u64 = 4 << 20;

/// Left free beside a copy of the store.
const COPY_MARGIN_BYTES: u64 = 32 << 20;

/// An open store that was read without a fault.
pub(super) struct Opened<T> {
    pub(super) db: Handle,
    /// Our own handle on sled's file: its flush alone does not reach the medium.
    pub(super) file: File,
    pub(super) read: T,
    pub(super) steps: Vec<RecoveryStep>,
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
                steps.push(RecoveryStep::SnapshotsRemoved(why.clone()));
            }
            2 if remove(dir, |name| name == "conf").map_err(broken)? > 0 => {
                steps.push(RecoveryStep::ConfigurationRemoved(why.clone()));
            }
            _ => continue,
        }
        match attempt(dir, &read, &mut steps) {
            Ok((db, file, read)) => return Ok(Opened { db, file, read, steps }),
            Err(error) if error.fault != StoreFault::Store && climb != Climb::Unreadable => {
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
        let error = StoreError { fault: StoreFault::Store, detail: why };
        return Err(LogError::Open { path: dir.into(), error });
    }
    let name = quarantine::set_aside(dir).map_err(broken)?;
    steps.push(RecoveryStep::Quarantined { name, why });
    let opened = attempt(dir, &read, &mut steps);
    let (db, file, read) = opened.map_err(|error| LogError::Open { path: dir.into(), error })?;
    Ok(Opened { db, file, read, steps })
}

fn attempt<T>(
    dir: &Path,
    read: &impl Fn(&sled::Db) -> sled::Result<T>,
    steps: &mut Vec<RecoveryStep>,
) -> Result<(Handle, File, T), StoreError> {
    let half = guard(|| Ok(remove(dir, |name| name.ends_with(".generating"))?))?;
    if half > 0 {
        steps.push(RecoveryStep::HalfSnapshotsRemoved(half));
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

/// Keeps sled's file as it is now: building its snapshots again, sled blanks what it can't read,
/// and records that a salvage would find go with it. Without room for a copy it goes without.
fn keep_copy(dir: &Path) {
    let (db, copy) = (dir.join("db"), dir.join(salvage::COPY_NAME));
    let room = std::fs::metadata(&db).is_ok_and(|metadata| {
        let space = picket_base::room::room(dir).map_or(0, |space| space.free_bytes);
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

/// Removes the files of `dir` whose names fit. Returns how many there were.
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
