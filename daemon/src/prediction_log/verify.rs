//! Reading a whole store of a stopped daemon to prove that nothing is missing or damaged.

use std::path::Path;

use serde::Serialize;

use super::{LogError, LogReader, PredictionLog, Retention};

/// Numbers listed in a report at most; the counts are always whole.
const LISTED_MAX: usize = 1_000;

/// The log of a daemon that is not running, open for reading.
pub struct Store {
    pub reader: LogReader,
    _log: PredictionLog,
}

impl Store {
    /// # Errors
    /// `Directory` when there is no log in `dir`, `Locked` while a daemon runs on it, `Open` when
    /// it can't be read at all.
    pub fn open(dir: &Path) -> Result<Store, LogError> {
        // Opening would create a store that isn't there, and call it sound.
        std::fs::metadata(dir.join("db"))
            .map_err(|source| LogError::Directory { path: dir.to_path_buf(), source })?;
        let reader = LogReader::new();
        let keep_all = Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };
        let log = PredictionLog::open(dir, keep_all, &reader)?;
        Ok(Store { reader, _log: log })
    }
}

/// What `picket log verify` prints.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
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
    /// Directories beside the store that hold what an earlier recovery set aside.
    pub quarantined: Vec<String>,
}

impl VerifyReport {
    /// Nothing missing, nothing damaged.
    pub fn is_sound(&self) -> bool {
        self.gaps.is_empty() && self.corrupt.is_empty() && self.quarantined.is_empty()
    }
}

/// Reads every record of the store in `dir`.
///
/// # Errors
/// As `Store::open`, or `Read`.
pub fn verify(dir: &Path) -> Result<VerifyReport, LogError> {
    let store = Store::open(dir)?;
    let mut report = VerifyReport::default();
    store.reader.export(0, |id, record| -> Result<(), LogError> {
        if report.first == 0 {
            report.first = id;
        } else if id != report.last + 1 && report.gaps.len() < LISTED_MAX {
            report.gaps.push([report.last + 1, id - 1]);
        }
        report.last = id;
        match record {
            Ok(_) => report.count += 1,
            Err(_) if report.corrupt.len() < LISTED_MAX => report.corrupt.push(id),
            Err(_) => {}
        }
        Ok(())
    })?;
    report.quarantined = quarantined(dir)
        .map_err(|source| LogError::Directory { path: dir.to_path_buf(), source })?;
    Ok(report)
}

fn quarantined(dir: &Path) -> std::io::Result<Vec<String>> {
    let Some(parent) = dir.parent() else { return Ok(Vec::new()) };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    let mut names = Vec::new();
    for entry in std::fs::read_dir(parent)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        if name.starts_with("quarantine-") {
            names.push(name);
        }
    }
    names.sort();
    Ok(names)
}
