//! Reading a whole log to prove that nothing in it is missing, damaged or altered.

use std::ops::Range;
use std::path::Path;

use picket_base::rfc3339::{self, Precision};
use serde::{Deserialize, Serialize};

use super::climb::Climb;
use super::error::{LogError, guard};
use super::format::{self, Anchor, Kind, Link};
use super::keys::{ANCHOR_KEY, origin_key};
use super::reader::LogReader;
use super::retention::Retention;
use super::store::PredictionLog;
use super::{chunk, high_water, origin, quarantine, salvage};
use crate::log::Testimony;
use crate::removal::Removal;

/// Numbers listed in a report at most; the counts are always whole.
const LISTED_MAX: usize = 1_000;

/// Records read while the store is held.
const STEP_RECORDS: usize = 1_000;

/// The log of a daemon that is not running, open for reading.
pub struct Store {
    pub reader: LogReader,
    log: PredictionLog,
}

impl Store {
    /// Opens the log in `dir` to be read.
    ///
    /// # Errors
    /// `Directory` when there is no log in `dir`, `Locked` while a daemon runs on it, `Open` when
    /// it can't be read at all.
    pub fn open(dir: &Path) -> Result<Store, LogError> {
        // Opening would create a store that isn't there, and call it sound.
        if let Err(source) = std::fs::metadata(dir.join("db"))
            && high_water::read(dir).is_none()
        {
            return Err(LogError::Directory { path: dir.to_path_buf(), source });
        }
        let reader = LogReader::new();
        let keep_all = Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };
        let log = PredictionLog::open(dir, keep_all, &reader, Climb::Derived)?;
        Ok(Store { reader, log })
    }
}

impl Store {
    /// Returns what these limits would take from the log.
    ///
    /// # Errors
    /// As [`LogReader::removal`].
    pub fn removal(&self, limits: Retention) -> Result<Removal, LogError> {
        self.reader.removal(limits, self.log.size().1)
    }
}

/// What `picket log verify` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Sequence number of the oldest record, 0 when there is none.
    pub first: u64,
    /// Sequence number of the newest record, 0 when there is none.
    pub last: u64,
    /// Readable records.
    pub count: u64,
    /// Missing numbers, as inclusive ranges; the first 1,000 of them.
    pub gaps: Vec<[u64; 2]>,
    /// Numbers whose records can't be read; the first 1,000 of them.
    pub corrupt: Vec<u64>,
    /// Numbers whose records are not what was written, by the chain; the first 1,000 of them.
    pub altered: Vec<u64>,
    /// What had to be done to open the store, by this command or by the daemon that runs on it.
    #[serde(default)]
    pub recovered: Vec<String>,
    /// Directories beside the store that hold what an earlier recovery set aside.
    pub quarantined: Vec<String>,
    pub anchor: AnchorReport,
    /// The link of the newest record, hexadecimal, and behind it that of the newest reported record once
    /// there is one: noted elsewhere, it proves the whole log later.
    pub head: String,
    /// Records that retention has taken.
    #[serde(default)]
    pub retired: u64,
    /// What the log makes of the witness that was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub witness: Option<Testimony>,
    /// Why the store can't be opened at all. All its numbers are gaps then.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unreadable: Option<String>,
    /// Of these gaps, what the raw bytes still hold, as inclusive ranges: a daemon that sets the
    /// store aside brings it back.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub salvageable: Vec<[u64; 2]>,
}

/// The last record that retention removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct AnchorReport {
    /// Its number, 0 when nothing was ever removed.
    pub id: u64,
    /// When it was removed, RFC 3339 by this machine's clock.
    pub moved_at: Option<String>,
}

impl VerifyReport {
    /// Whether nothing is missing, damaged or altered.
    pub fn is_sound(&self) -> bool {
        self.gaps.is_empty()
            && self.corrupt.is_empty()
            && self.altered.is_empty()
            && self.unreadable.is_none()
            && matches!(self.witness, None | Some(Testimony::Holds | Testimony::Retired))
    }

    fn lose(&mut self, from: u64, to: u64) {
        if from <= to && self.gaps.len() < LISTED_MAX {
            self.gaps.push([from, to]);
        }
    }
}

/// Reads every record of the store in `dir`, of which no daemon runs.
///
/// # Errors
/// As `Store::open` where nothing at all is known of the store, or `Read`.
pub fn verify(dir: &Path) -> Result<VerifyReport, LogError> {
    match Store::open(dir) {
        Ok(store) => {
            let recovered = store.log.steps().iter().map(ToString::to_string).collect();
            Ok(VerifyReport { recovered, ..store.reader.verify(dir)? })
        }
        Err(error @ LogError::Open { .. }) => {
            let broken = |source| LogError::Directory { path: dir.to_path_buf(), source };
            let found = salvage::numbers(dir).map_err(broken)?;
            let known = high_water::read(dir).map(|state| state.first_id..state.next_id);
            let extent = || Some(found.first()?.start..found.last()?.end);
            let Some(ids) = known.or_else(extent) else { return Err(error) };
            let mut report = VerifyReport {
                unreadable: Some(error.to_string()),
                quarantined: quarantined(dir)?,
                salvageable: within(&found, &ids),
                ..VerifyReport::default()
            };
            report.lose(ids.start, ids.end.saturating_sub(1));
            Ok(report)
        }
        Err(error) => Err(error),
    }
}

/// Returns the part of these ranges that lies in `ids`, as inclusive ranges.
fn within(ranges: &[Range<u64>], ids: &Range<u64>) -> Vec<[u64; 2]> {
    let cut = |range: &Range<u64>| range.start.max(ids.start)..range.end.min(ids.end);
    let inside = ranges.iter().map(cut).filter(|range| !range.is_empty());
    inside.map(|range| [range.start, range.end - 1]).take(LISTED_MAX).collect()
}

impl LogReader {
    /// Reads every record that was committed when it began, and checks each against the chain.
    ///
    /// # Errors
    /// `Closed` while the log is not open, `Read` when the store fails.
    pub fn verify(&self, dir: &Path) -> Result<VerifyReport, LogError> {
        self.verify_in_steps(dir, || true)
    }

    /// The same in steps, so that the writer is never held up for long; `goes_on` is asked between
    /// two of them.
    ///
    /// # Errors
    /// As `verify`, and `Closed` when it was not to go on.
    pub fn verify_in_steps(
        &self,
        dir: &Path,
        mut goes_on: impl FnMut() -> bool,
    ) -> Result<VerifyReport, LogError> {
        let state = high_water::read(dir);
        let anchor = self.anchor()?;
        let newest = self.with_store(|db| {
            Ok(chunk::descending(db, u64::MAX).next().transpose()?.map(|record| record.id))
        })?;
        let mut walk = Walk::new(&anchor, newest.unwrap_or(0), state.map(|state| state.next_id));
        while self.verify_step(&mut walk)? {
            if !goes_on() {
                return Err(LogError::Closed);
            }
        }
        let mut report = walk.finish();
        // What retention removed meanwhile is not missing.
        let anchor = self.anchor()?;
        report.gaps.retain(|[_, to]| *to > anchor.id);
        report.anchor = AnchorReport {
            id: anchor.id,
            moved_at: (anchor.id > 0).then(|| {
                let moved_at = rfc3339::from_epoch_seconds(anchor.moved_at_us as f64 / 1e6);
                rfc3339::format(moved_at, Precision::Seconds)
            }),
        };
        report.retired = anchor.id;
        report.quarantined = quarantined(dir)?;
        Ok(report)
    }

    fn anchor(&self) -> Result<Anchor, LogError> {
        let value = self.with_store(|db| db.get([ANCHOR_KEY]))?;
        let decoded = value.and_then(|value| format::decode_other(Kind::Anchor, &value).ok());
        Ok(decoded.map(|(_, anchor)| anchor).unwrap_or_default())
    }

    fn verify_step(&self, walk: &mut Walk) -> Result<bool, LogError> {
        self.with_store(|db| {
            let mut read = 0;
            if walk.next > walk.end {
                return Ok(false);
            }
            for item in chunk::ascending(db, walk.next..=walk.end)?.take(STEP_RECORDS) {
                let chunk::Numbered { id, value, .. } = item?;
                read += 1;
                let content = match format::identify(&value) {
                    Ok((_, _, origin)) => db.get(origin_key(origin))?.and_then(origin_content),
                    Err(_) => None,
                };
                walk.take(id, &value, content.as_deref());
            }
            Ok(read == STEP_RECORDS)
        })
    }

    fn with_store<T>(
        &self,
        read: impl FnOnce(&sled::Db) -> sled::Result<T>,
    ) -> Result<T, LogError> {
        let shelf = self.shelf.read().expect("no reader panics with the shelf in hand");
        let db = shelf.as_ref().ok_or(LogError::Closed)?;
        guard(|| read(db)).map_err(LogError::Read)
    }
}

/// Returns the content of a stored origin, as the chain covers it.
fn origin_content(value: sled::IVec) -> Option<Vec<u8>> {
    format::decode_origin(&value).ok().map(|(_, origin)| origin::to_content(&origin))
}

/// Reading from the oldest record to the newest.
struct Walk {
    report: VerifyReport,
    /// The number that should come next.
    next: u64,
    /// The last number to read.
    end: u64,
    /// Committed numbers end before this one.
    next_id: Option<u64>,
    /// Link of the record before `next`, where it is known.
    link: Option<Link>,
}

impl Walk {
    fn new(anchor: &Anchor, end: u64, next_id: Option<u64>) -> Walk {
        let link = if anchor.id == 0 { Some(format::GENESIS) } else { anchor.link };
        Walk { report: VerifyReport::default(), next: anchor.id + 1, end, next_id, link }
    }

    fn take(&mut self, id: u64, value: &[u8], origin_content: Option<&[u8]>) {
        let report = &mut self.report;
        if report.first == 0 {
            report.first = id;
        }
        report.last = id;
        if id > self.next {
            report.lose(self.next, id - 1);
        }
        self.next = id + 1;
        let decoded = format::decode(id, value).ok().zip(origin_content);
        let Some((stored, content)) = decoded else {
            if report.corrupt.len() < LISTED_MAX {
                report.corrupt.push(id);
            }
            self.link = None;
            return;
        };
        report.count += 1;
        let broken = self.link.is_some_and(|previous| {
            format::expected_link(&previous, content, value) != Ok(stored.link)
        });
        // Behind a gap only a match proves something.
        let behind_gap = report.gaps.last().is_some_and(|[_, to]| to + 1 == id);
        if broken && !behind_gap && report.altered.len() < LISTED_MAX {
            report.altered.push(id);
        }
        self.link = Some(stored.link);
    }

    fn finish(mut self) -> VerifyReport {
        if let Some(next_id) = self.next_id {
            self.report.lose(self.next, next_id.saturating_sub(1));
        }
        let head = self.link.filter(|_| self.report.count > 0).unwrap_or(format::GENESIS);
        self.report.head = head.iter().map(|byte| format!("{byte:02x}")).collect();
        self.report
    }
}

fn quarantined(dir: &Path) -> Result<Vec<String>, LogError> {
    quarantine::names(dir).map_err(|source| LogError::Directory { path: dir.to_path_buf(), source })
}
