//! From a directory to an open log: lock, ladder, reading, and bringing back what was lost.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use super::climb::{Climb, RecoveryStep};
use super::error::{LogError, StoreError, guard};
use super::format::{self, Anchor, GENESIS, Kind};
use super::headroom::Headroom;
use super::high_water::{self, HighWaterFile};
use super::journal::{self, Journal};
use super::keys::{ANCHOR_KEY, MARK_PREFIX, mark_key, record_key};
use super::marks::{Mark, Marks};
use super::position::Position;
use super::reader::LogReader;
use super::retention::Retention;
use super::salvage::{self, Recent};
use super::scan::{Read, newer_version, read_within_budget};
use super::stats::Stats;
use super::store::PredictionLog;
use super::{chunk, paths, quarantine, recovery, restore};
use picket_base::{clock, disk};

impl PredictionLog {
    /// Opens or creates the log in `dir`, climbing the recovery ladder as far as needed and
    /// allowed, and reads it to rebuild its counters and find what is missing.
    ///
    /// # Errors
    /// `Directory` or `Locked` when the directory can't be used, `NoRoom` when the disk is full or
    /// read-only, `Open` when the disk fails, `Newer` when a newer version has written it.
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
        let newer = |found| LogError::Newer { path: dir.to_path_buf(), found };
        if let Some(found) = journal::newer_version(dir) {
            return Err(newer(found));
        }
        let tail = journal::read(dir);
        let opened = recovery::open(dir, climb, |db| {
            if let Some(found) = newer_version(db)? {
                return Ok(Err(found));
            }
            chunk::fill_last_leaf(db)?;
            tail.iter().try_for_each(|tail| tail.replay(db))?;
            read_within_budget(db).map(Ok)
        })?;
        drop(tail);
        let Read { scan, stats, live_bytes } = opened.read.map_err(newer)?;
        // Of the directory as it is now: a store that was set aside has taken its own with it.
        let state = high_water::read(dir);
        let high_water = HighWaterFile::open(dir).map_err(broken)?;
        let journal = Journal::open(dir, climb).map_err(broken)?;
        sync_names(dir).map_err(broken)?;
        let mut log = PredictionLog {
            db: opened.db,
            file: opened.file,
            dir: dir.to_path_buf(),
            journal,
            high_water,
            headroom,
            shelf: reader.shelf.clone(),
            stats: reader.stats.clone(),
            marks: reader.marks.clone(),
            offsets: reader.offsets.clone(),
            retention,
            numbers: HashMap::new(),
            next_origin: 0,
            first_id: 1,
            next_id: 1,
            link: GENESIS,
            scan,
            live_bytes,
            unsettled_bytes: 0,
            appended_bytes: 0,
            unsettled_since: None,
            steps: opened.steps,
            _lock: lock,
        };
        log.adopt(stats);
        let recovered = log
            .remove_again(state)
            .and_then(|()| log.take_back_incomplete_group(state))
            .and_then(|()| log.recover(state, &recent, climb));
        recovered
            .and_then(|()| log.read_marks())
            .map_err(|error| LogError::Open { path: dir.into(), error })?;
        for step in &log.steps {
            tracing::warn!(%step, "log recovery");
        }
        *log.shelf.write().expect("no reader panics with the shelf in hand") = Some(log.db.clone());
        Ok(log)
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
        mut state: Option<Position>,
        recent: &Recent,
        climb: Climb,
    ) -> Result<(), StoreError> {
        let dir = self.dir.clone();
        let mut salvaged = 0;
        let set_aside = guard(|| Ok(quarantine::unsalvaged(&dir)?))?;
        if let Some(set_aside) = set_aside.filter(|_| climb != Climb::Derived) {
            let (stood, count) = restore::quarantined(&self.db, &self.file, &set_aside)?;
            salvaged += count;
            state = Some(stood);
            self.read_again()?;
        }
        let lost = self.lost(state);
        if !lost.is_empty() {
            salvaged += restore::recent(&self.db, recent, &lost)?;
            self.read_again()?;
            let lost = self.lost(state);
            salvaged += restore::lost(&self.db, &self.file, &dir, &lost)?;
            self.read_again()?;
        }
        guard(|| {
            self.db.flush()?;
            self.file.sync_all()?;
            recovery::remove(&dir, |name| name == salvage::COPY_NAME)?;
            Ok(())
        })?;
        if salvaged > 0 {
            self.steps.push(RecoveryStep::Salvaged(salvaged));
        }
        self.steps.extend(self.lost(state).into_iter().map(RecoveryStep::Lost));
        if let Some(state) = state.filter(|state| state.next_id > self.next_id) {
            self.scan.lose(self.next_id..state.next_id);
            self.next_id = state.next_id;
            self.link = state.link;
        }
        Ok(())
    }

    /// What retention has removed stays removed: after a power cut sled may bring old values back,
    /// and with them an older anchor.
    fn remove_again(&mut self, state: Option<Position>) -> Result<(), StoreError> {
        let anchor = self.scan.anchor;
        let kept_from = state.map_or(0, |state| state.first_id).max(anchor.id + 1);
        if anchor.id + 1 == kept_from && self.first_id >= kept_from {
            return Ok(());
        }
        let removed = self.first_id..kept_from;
        let link = if anchor.id + 1 == kept_from { anchor.link } else { None };
        let moved_at_us = clock::Stamp::now().wall_us;
        let anchor = Anchor { id: kept_from - 1, link, moved_at_us };
        guard(|| {
            if !removed.is_empty() {
                chunk::separate(&self.db, &removed)?;
            }
            let ids: sled::Result<Vec<u64>> = chunk::ascending(&self.db, 0..=kept_from - 1)?
                .map(|item| item.map(|record| record.id))
                .collect();
            for id in ids? {
                self.db.remove(record_key(id))?;
            }
            self.db.insert([ANCHOR_KEY], format::encode_other(Kind::Anchor, 0, &anchor))?;
            self.db.flush()?;
            Ok(self.file.sync_all()?)
        })?;
        tracing::warn!(before = kept_from, "records that retention had removed are removed again");
        self.read_again()
    }

    /// A group whose last records are missing was never acknowledged: all of it goes. Not so what the
    /// high-water file knows of: there it is damage that took the last records.
    fn take_back_incomplete_group(&mut self, state: Option<Position>) -> Result<(), StoreError> {
        let complete = guard(|| {
            for item in chunk::descending(&self.db, self.next_id) {
                let chunk::Numbered { id, value, .. } = item?;
                let stored = format::decode(id, &value).ok();
                if !stored.is_some_and(|stored| stored.more_follow) {
                    return Ok(id + 1);
                }
            }
            Ok(self.first_id)
        })?;
        let committed = state.map_or(self.first_id, |state| state.next_id);
        let incomplete = complete.max(committed)..self.next_id;
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

    /// Takes over the marks of named batches. One whose batch is not there to its end is removed, for its
    /// numbers will be given again.
    fn read_marks(&mut self) -> Result<(), StoreError> {
        let mut marks = Marks::default();
        let mut useless = Vec::new();
        guard(|| {
            for item in self.db.scan_prefix([MARK_PREFIX]) {
                let (key, value) = item?;
                match Mark::of(&value) {
                    Ok(mark) if mark.last_id() < self.next_id => {
                        useless
                            .extend(marks.add(&mark).into_iter().map(|id| (&mark_key(id)).into()));
                    }
                    _ => useless.push(key),
                }
            }
            if useless.is_empty() {
                return Ok(());
            }
            useless.drain(..).try_for_each(|key: sled::IVec| self.db.remove(key).map(drop))?;
            // At once: after another power cut its numbers may be others'.
            self.db.flush()?;
            Ok(self.file.sync_all()?)
        })?;
        *self.marks.lock().expect("no holder of the marks panics") = marks;
        Ok(())
    }

    /// Reads the store once more, after it was changed.
    fn read_again(&mut self) -> Result<(), StoreError> {
        let read = guard(|| read_within_budget(&self.db))?;
        self.scan = read.scan;
        self.live_bytes = read.live_bytes;
        self.adopt(read.stats);
        Ok(())
    }

    /// Returns what the scan missed, and the tail that the high-water file knows of.
    fn lost(&self, state: Option<Position>) -> Vec<Range<u64>> {
        let tail = state.map_or(0..0, |state| self.next_id..state.next_id);
        let mut lost = self.scan.losses.clone();
        lost.push(tail);
        lost.retain(|ids| !ids.is_empty());
        lost
    }
}

/// Locks the store. It has one owner at a time, this process included: sled's own lock goes with
/// its files when they are set aside.
fn lock(dir: &Path) -> Result<File, LogError> {
    let broken = |source| LogError::Directory { path: dir.to_path_buf(), source };
    let path = paths::beside(dir, ".lock");
    let file = File::options().create(true).truncate(false).write(true).open(path);
    let file = file.map_err(broken)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(std::fs::TryLockError::WouldBlock) => Err(LogError::Locked { path: dir.to_path_buf() }),
        Err(std::fs::TryLockError::Error(source)) => Err(broken(source)),
    }
}

/// Syncs the store's directory and the one that holds it: names created just now must outlive a
/// power cut as well.
fn sync_names(dir: &Path) -> io::Result<()> {
    disk::sync_dir(dir)?;
    disk::sync_dir(paths::parent(dir))
}
