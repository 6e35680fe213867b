//! Room on the disk: writing stops before the disk is full, and a reserve that was allocated in
//! good times lets the store be opened and records be removed in bad ones.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use picket_base::disk;
use picket_base::room::{Room, room};

pub(crate) const FILE_NAME: &str = "reserve";

/// Given back when the disk fills: room for sled's snapshot and the segments of one removal.
const RESERVE_BYTES: u64 = 4 << 20;

/// Writing stops when less is free: a commit of the largest group takes less.
const LOW_WATER_BYTES: u64 = 4 << 20;

/// A store is opened, to be read, with no less: sled writes a snapshot.
const OPEN_BYTES: u64 = 2 << 20;

/// Writing stops when fewer files can be made: two sealed files, and one that is written anew.
const FREE_FILES: u64 = 4;

/// Writing goes on when as much is free: the reserve, and some room above low water, so that the
/// two states do not alternate with every commit.
const RESUME_BYTES: u64 = LOW_WATER_BYTES + RESERVE_BYTES + (2 << 20);

/// Between two looks at a disk with room: what is logged meanwhile is far below low water.
const CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// What can't be written to, and why.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoRoom {
    #[error("disk has {free_bytes} bytes free, {needed_bytes} are needed to log")]
    Full { free_bytes: u64, needed_bytes: u64 },
    #[error("quota leaves {free_bytes} bytes, {needed_bytes} are needed to log")]
    Quota { free_bytes: u64, needed_bytes: u64 },
    #[error("disk has room for {free_files} more files, {} are needed to log", FREE_FILES)]
    Files { free_files: u64 },
    #[error("disk is mounted read-only")]
    ReadOnly,
}

/// Watches the free space of one directory's disk.
#[derive(Debug)]
pub(crate) struct Headroom {
    dir: PathBuf,
    /// Below low water and not yet back above the resume mark.
    low: bool,
    /// When there was room the last time.
    had_room: Option<Instant>,
    /// What the last look found.
    free_bytes: u64,
}

impl Headroom {
    pub(crate) fn new(dir: &Path) -> Headroom {
        Headroom { dir: dir.to_path_buf(), low: false, had_room: None, free_bytes: 0 }
    }

    /// Whether the store may be opened: with the reserve's help, and then only to be read until
    /// `check` allows more.
    pub(crate) fn check_for_open(&mut self) -> Result<(), NoRoom> {
        match self.check() {
            Err(NoRoom::ReadOnly) => return Err(NoRoom::ReadOnly),
            Ok(()) => return Ok(()),
            Err(NoRoom::Full { .. } | NoRoom::Quota { .. } | NoRoom::Files { .. }) => {}
        }
        let free_bytes = room(&self.dir).map_or(0, |room| room.free_bytes);
        if free_bytes < OPEN_BYTES {
            return Err(NoRoom::Full { free_bytes, needed_bytes: OPEN_BYTES });
        }
        Ok(())
    }

    /// Whether the store may be written to now. Releases the reserve when space runs out and
    /// takes it again when there is plenty.
    pub(crate) fn check(&mut self) -> Result<(), NoRoom> {
        if self.had_room.is_some_and(|then| then.elapsed() < CHECK_INTERVAL) {
            return Ok(());
        }
        self.had_room = None;
        // A disk that doesn't answer will say so to the write itself.
        let Ok(room) = room(&self.dir) else { return Ok(()) };
        let Room { free_bytes, free_files, by_quota, read_only } = room;
        self.free_bytes = free_bytes;
        if read_only {
            return Err(NoRoom::ReadOnly);
        }
        if let Some(free_files) = free_files.filter(|free| *free < FREE_FILES) {
            return Err(NoRoom::Files { free_files });
        }
        let needed_bytes = if self.low { RESUME_BYTES } else { LOW_WATER_BYTES };
        if free_bytes < needed_bytes {
            if !self.low {
                self.low = true;
                self.release();
            }
            if by_quota {
                return Err(NoRoom::Quota { free_bytes, needed_bytes });
            }
            return Err(NoRoom::Full { free_bytes, needed_bytes });
        }
        if self.low || !self.path().exists() {
            self.low = false;
            self.reserve(free_bytes);
        }
        self.had_room = Some(Instant::now());
        Ok(())
    }

    pub(crate) fn free_bytes(&self) -> u64 {
        self.free_bytes
    }

    /// The disk has refused a write although there seemed to be room.
    pub(crate) fn exhausted(&mut self) {
        self.low = true;
        self.had_room = None;
        self.release();
    }

    fn path(&self) -> PathBuf {
        self.dir.join(FILE_NAME)
    }

    fn release(&self) {
        if std::fs::remove_file(self.path()).is_ok() {
            tracing::warn!(bytes = RESERVE_BYTES, "disk is filling up, reserve released");
        }
    }

    fn reserve(&self, free_bytes: u64) {
        if free_bytes < RESUME_BYTES {
            return;
        }
        let allocate =
            || -> io::Result<()> { disk::preallocate(&File::create(self.path())?, RESERVE_BYTES) };
        if let Err(error) = allocate() {
            tracing::warn!(%error, "no reserve could be allocated");
            let _ = std::fs::remove_file(self.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reserve_is_there_in_good_times_and_given_back_in_bad_ones() {
        let dir = tempfile::tempdir().unwrap();
        let mut headroom = Headroom::new(dir.path());
        assert_eq!(headroom.check(), Ok(()));
        let reserve = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap();
        assert!(disk::allocated_bytes(&reserve) >= RESERVE_BYTES);
        headroom.exhausted();
        assert!(!dir.path().join(FILE_NAME).exists());
        assert_eq!(headroom.check(), Ok(()), "there is plenty again");
        assert!(dir.path().join(FILE_NAME).exists());
    }
}
