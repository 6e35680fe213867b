//! What a store of 0.1 leaves to the log behind it: its readable records under their numbers and links, who
//! made them, and where it stood. It is opened as its own version opened it, and nothing is added.

use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard};

use super::chunk;
use super::climb::Climb;
use super::keys::MARK_PREFIX;
use super::position::Position;
use super::reader::LogReader;
use super::retention::Retention;
use super::store::PredictionLog;
use crate::error::{LogError, StoreError, guard};
use crate::format::{self, Anchor, Kind};
use crate::marks::{BatchName, Mark, StoredBatch};

/// A store of 0.1, open and locked.
pub(crate) struct Heritage(Mutex<PredictionLog>);

impl Heritage {
    /// Opens the store in `dir` by the recovery ladder of its version.
    ///
    /// # Errors
    /// As `PredictionLog::open`.
    pub(crate) fn open(dir: &Path) -> Result<Heritage, LogError> {
        let keep_all = Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };
        let log = PredictionLog::open(dir, keep_all, &LogReader::new(), Climb::Quarantine)?;
        Ok(Heritage(Mutex::new(log)))
    }

    /// Looks at the store in `dir` where its version left it, before anything is done to it.
    ///
    /// # Errors
    /// `Newer` where a newer version has written it, `Locked` where it is in use, `NoRoom` where it can't be
    /// opened for lack of room. What else is wrong with it is for `open`.
    pub(crate) fn check(dir: &Path) -> Result<(), LogError> {
        let keep_all = Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };
        match PredictionLog::open(dir, keep_all, &LogReader::new(), Climb::Derived) {
            Err(
                error @ (LogError::Newer { .. } | LogError::Locked { .. } | LogError::NoRoom(_)),
            ) => Err(error),
            _ => Ok(()),
        }
    }

    fn log(&self) -> MutexGuard<'_, PredictionLog> {
        self.0.lock().expect("nobody panics with the store in hand")
    }

    /// Returns the last record that its retention removed.
    pub(crate) fn anchor(&self) -> Anchor {
        self.log().scan.anchor
    }

    /// Returns where it stands.
    pub(crate) fn position(&self) -> Position {
        let log = self.log();
        Position { first_id: log.scan.anchor.id + 1, next_id: log.next_id, link: log.link }
    }

    /// Returns what had to be done to open it.
    pub(crate) fn steps(&self) -> Vec<String> {
        self.log().steps.iter().map(ToString::to_string).collect()
    }

    /// Returns what is stored of origins and clocks, under their numbers.
    pub(crate) fn values(&self) -> Vec<u8> {
        let log = self.log();
        let origins = log.scan.origins.iter();
        let mut values: Vec<u8> = origins
            .flat_map(|(number, used)| format::encode_origin(*number, &used.origin))
            .collect();
        for offset in &log.scan.offsets {
            values.extend(format::encode_other(Kind::BootOffset, 0, offset));
        }
        values
    }

    /// Returns the batches that were stored under a name.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn named(&self) -> Result<Vec<(BatchName, StoredBatch)>, StoreError> {
        let log = self.log();
        guard(|| {
            let mut named = Vec::new();
            for item in log.db.scan_prefix([MARK_PREFIX]) {
                let mark = Mark::of(&item?.1).ok();
                named.extend(mark.map(|mark| (mark.name, mark.stored)));
            }
            Ok(named)
        })
    }

    /// Returns its readable records of these numbers.
    ///
    /// # Errors
    /// What sled says.
    pub(crate) fn records(&self, ids: &Range<u64>) -> Result<Vec<(u64, Vec<u8>)>, StoreError> {
        let log = self.log();
        guard(|| {
            let mut records = Vec::new();
            let Some(last) = ids.end.checked_sub(1).filter(|last| *last >= ids.start) else {
                return Ok(records);
            };
            for item in chunk::ascending(&log.db, ids.start..=last)? {
                let chunk::Numbered { id, value, .. } = item?;
                let stored = format::decode(id, &value).ok();
                let known = stored.is_some_and(|s| log.scan.origins.contains_key(&s.origin));
                if known {
                    records.push((id, value));
                }
            }
            Ok(records)
        })
    }
}
