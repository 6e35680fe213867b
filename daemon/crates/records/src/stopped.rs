//! A store that no daemon has open, read from its directory: of today's layout, or as version 0.1.0 left it.

use std::path::Path;

use picket_base::rfc3339::{self, Precision};

use super::error::LogError;
use super::log::{Findings, Limits, Retention, StoppedLog, Witness, is_log};
use super::query::{Item, Page, Query};
use super::removal::Removal;
use crate::before::{self, AnchorReport, Store, VerifyReport};

/// A store, open for reading.
pub struct StoppedStore(Layout);

enum Layout {
    Today(Box<StoppedLog>),
    /// sled changes what it opens: this one is locked, and repaired as its own version did.
    Before(Box<Store>),
}

impl StoppedStore {
    /// Opens the store in `dir` to be read.
    ///
    /// # Errors
    /// `Directory` where there is no store or it can't be read, `Newer` where a newer version has written it,
    /// and of a store of 0.1.0 `Locked` while that runs and `Open` where it can't be opened at all.
    pub fn open(dir: &Path) -> Result<StoppedStore, LogError> {
        let layout = if is_log(dir) {
            Layout::Today(Box::new(StoppedLog::open(dir)?))
        } else {
            Layout::Before(Box::new(Store::open(dir)?))
        };
        Ok(StoppedStore(layout))
    }

    /// Returns at most `PAGE_RECORDS_MAX` records from `from` on, oldest first.
    ///
    /// # Errors
    /// When the files can't be read.
    pub fn step(&self, from: u64) -> Result<Vec<Item>, LogError> {
        match &self.0 {
            Layout::Today(log) => log.step(from),
            Layout::Before(store) => store.reader.step(from),
        }
    }

    /// Returns a page of the records that `query` asks for, newest first.
    ///
    /// # Errors
    /// As `step`.
    pub fn query(&self, query: &Query) -> Result<Page, LogError> {
        match &self.0 {
            Layout::Today(log) => log.query(query),
            Layout::Before(store) => store.reader.query(query),
        }
    }

    /// Returns what these limits would take from the records.
    ///
    /// # Errors
    /// As `step`.
    pub fn removal(&self, limits: Retention) -> Result<Removal, LogError> {
        match &self.0 {
            Layout::Today(log) => log.removal(&limits),
            Layout::Before(store) => {
                let Limits { max_records, max_bytes, max_age } = limits.own;
                store.removal(before::Retention { max_records, max_bytes, max_age })
            }
        }
    }
}

/// Reads every record of the store in `dir` and proves that none is missing, damaged or altered.
///
/// # Errors
/// As `StoppedStore::open`.
pub fn verify_stopped(dir: &Path, witness: Option<&Witness>) -> Result<VerifyReport, LogError> {
    if !is_log(dir) {
        return before::verify(dir);
    }
    let findings = StoppedLog::open(dir)?.verify(witness)?;
    Ok(VerifyReport { quarantined: quarantined(dir)?, ..findings.into() })
}

fn quarantined(dir: &Path) -> Result<Vec<String>, LogError> {
    before::quarantined(dir)
        .map_err(|source| LogError::Directory { path: dir.to_path_buf(), source })
}

impl From<Findings> for VerifyReport {
    fn from(findings: Findings) -> VerifyReport {
        let at = |us: i64| {
            rfc3339::format(rfc3339::from_epoch_seconds(us as f64 / 1e6), Precision::Seconds)
        };
        let anchor =
            AnchorReport { id: findings.retired_until, moved_at: findings.retired_at_us.map(at) };
        VerifyReport {
            first: findings.first,
            last: findings.last,
            count: findings.count,
            gaps: findings.gaps,
            corrupt: findings.corrupt,
            altered: findings.altered,
            anchor,
            head: findings.head,
            retired: findings.retired,
            witness: findings.witness,
            ..VerifyReport::default()
        }
    }
}
