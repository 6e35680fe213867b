//! What is asked of a log, and who takes the answer. It knows nothing of how the records are found.

use super::format::Damage;
use super::log::Stream;
use super::record::LogRecord;

/// Records in one page at most.
pub const PAGE_RECORDS_MAX: usize = 1_000;

/// Which records to give; `Default` gives the newest.
#[derive(Clone, Debug, Default)]
pub struct Query {
    /// 1..=PAGE_RECORDS_MAX
    pub limit: usize,
    /// Only records before this number: the `next` of the page before.
    pub after: Option<u64>,
    pub edge_device_id: Option<String>,
    pub defect_only: bool,
    /// Epoch seconds, this moment included.
    pub since: Option<f64>,
    /// Epoch seconds, this moment excluded.
    pub until: Option<f64>,
    pub label: Option<String>,
    /// Only what this box has seen, or only what others have reported.
    pub source: Option<Stream>,
}

impl Query {
    pub(crate) fn matches(&self, record: &LogRecord) -> bool {
        let timestamp = record.timestamp();
        self.since.is_none_or(|since| timestamp >= since)
            && self.until.is_none_or(|until| timestamp < until)
            && (!self.defect_only || record.entry.defect)
            && self.label.as_ref().is_none_or(|label| record.has_label(label))
            && (self.edge_device_id.is_none()
                || self.edge_device_id == record.entry.origin.device_id)
    }
}

/// Some records, and where to go on.
#[derive(Clone, Debug, PartialEq)]
pub struct Page {
    /// Newest first.
    pub records: Vec<LogRecord>,
    /// Pass as `after` for the next page; none when the log's end was reached.
    pub next: Option<u64>,
    /// Numbers of records on the way that could not be read.
    pub damaged: Vec<u64>,
}

/// A number, and its record or why that can't be read.
pub type Item = (u64, Result<LogRecord, Damage>);

/// Takes the records of a page as they are read, and says when it is full.
pub trait Sink {
    /// Whether to look at another record; asked before each but the first.
    fn goes_on(&mut self) -> bool;

    /// Takes a record. False says that it did not: then it is the first of the next page.
    fn take(&mut self, id: u64, record: Result<LogRecord, Damage>) -> bool;
}

impl Sink for Page {
    fn goes_on(&mut self) -> bool {
        true
    }

    fn take(&mut self, id: u64, record: Result<LogRecord, Damage>) -> bool {
        match record {
            Ok(record) => self.records.push(record),
            Err(_) => self.damaged.push(id),
        }
        true
    }
}

impl Sink for Vec<Item> {
    fn goes_on(&mut self) -> bool {
        true
    }

    fn take(&mut self, id: u64, record: Result<LogRecord, Damage>) -> bool {
        self.push((id, record));
        true
    }
}
