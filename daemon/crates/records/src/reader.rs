//! Reading the log beside its writer: newest first, in pages of bounded work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};

use super::chunk;
use super::error::{LogError, guard};
use super::format::{self, Damage, Kind};
use super::keys::origin_key;
use super::record::{Entry, LogRecord, Origin};
use super::stats::Stats;

/// Where readers find the tree while the log is open.
pub(super) type Shelf = Arc<RwLock<Option<sled::Db>>>;

/// Clock offsets by boot id: see `format::BootOffset`.
pub(super) type BootOffsets = Arc<RwLock<HashMap<String, i64>>>;

/// Records in one page at most.
pub const PAGE_RECORDS_MAX: usize = 1_000;

/// Records looked at for one page at most: a filter that matches nothing must not read a whole
/// log in one go. `Page::next` says where to go on.
const SCAN_RECORDS_MAX: usize = 20_000;

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
}

impl Query {
    fn matches(&self, record: &LogRecord) -> bool {
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

/// A reader of the log. It is cheap to clone, works while the log is open and says `Closed` while it is
/// not.
#[derive(Clone, Default)]
pub struct LogReader {
    pub(super) shelf: Shelf,
    pub(super) stats: Arc<Mutex<Stats>>,
    pub(super) offsets: BootOffsets,
}

impl LogReader {
    pub fn new() -> LogReader {
        LogReader::default()
    }

    /// Returns the counters as they are now.
    pub fn stats(&self) -> Stats {
        self.stats.lock().expect("no holder of the counters panics").clone()
    }

    /// Returns a page of the records that `query` asks for.
    ///
    /// # Errors
    /// `Closed` while the log is not open, `Read` when the store fails.
    pub fn query(&self, query: &Query) -> Result<Page, LogError> {
        let shelf = self.shelf.read().expect("no reader panics with the shelf in hand");
        let db = shelf.as_ref().ok_or(LogError::Closed)?;
        guard(|| self.page(db, query)).map_err(LogError::Read)
    }

    /// Gives every record from `from` on to `each`, oldest first; damaged ones by their number. Goes
    /// in steps, so that the writer is never held up for long.
    ///
    /// # Errors
    /// `Closed`, `Read`, or whatever `each` gives.
    pub fn export<E: From<LogError>>(
        &self,
        from: u64,
        mut each: impl FnMut(u64, Result<LogRecord, Damage>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut from = from;
        loop {
            let step = self.step(from)?;
            let Some((last, _)) = step.last() else { return Ok(()) };
            from = last + 1;
            for (id, record) in step {
                each(id, record)?;
            }
        }
    }

    /// Returns at most `PAGE_RECORDS_MAX` records from `from` on, oldest first.
    ///
    /// # Errors
    /// `Closed` while the log is not open, `Read` when the store fails.
    pub fn step(&self, from: u64) -> Result<Vec<Item>, LogError> {
        let shelf = self.shelf.read().expect("no reader panics with the shelf in hand");
        let db = shelf.as_ref().ok_or(LogError::Closed)?;
        let mut origins = HashMap::new();
        guard(|| {
            let mut step = Vec::with_capacity(PAGE_RECORDS_MAX);
            for item in chunk::ascending(db, from..=u64::MAX)?.take(PAGE_RECORDS_MAX) {
                let chunk::Numbered { id, value, .. } = item?;
                step.push((id, self.resolve(db, &mut origins, id, &value)?));
            }
            Ok(step)
        })
        .map_err(LogError::Read)
    }

    fn page(&self, db: &sled::Db, query: &Query) -> sled::Result<Page> {
        let before = query.after.unwrap_or(u64::MAX);
        let mut page = Page { records: Vec::new(), next: None, damaged: Vec::new() };
        let mut origins = HashMap::new();
        let mut last = None;
        for (scanned, item) in chunk::descending(db, before).enumerate() {
            if scanned == SCAN_RECORDS_MAX || page.records.len() == query.limit {
                page.next = last;
                break;
            }
            let chunk::Numbered { id, value, .. } = item?;
            last = Some(id);
            match self.resolve(db, &mut origins, id, &value)? {
                Ok(record) if query.matches(&record) => page.records.push(record),
                Ok(_) => {}
                Err(_) => page.damaged.push(id),
            }
        }
        Ok(page)
    }

    /// Decodes a value and puts its origin in place; `origins` remembers those already read.
    fn resolve(
        &self,
        db: &sled::Db,
        origins: &mut HashMap<u32, Arc<Origin>>,
        id: u64,
        value: &[u8],
    ) -> sled::Result<Result<LogRecord, Damage>> {
        let stored = match format::decode(id, value) {
            Ok(stored) => stored,
            Err(damage) => return Ok(Err(damage)),
        };
        let origin = match origins.get(&stored.origin) {
            Some(origin) => origin.clone(),
            None => {
                let value = db.get(origin_key(stored.origin))?;
                let decoded = value.and_then(|v| format::decode_other(Kind::Origin, &v).ok());
                let Some(origin) = decoded.map(|(_, origin): (u32, Origin)| Arc::new(origin))
                else {
                    return Ok(Err(Damage::Origin(stored.origin)));
                };
                origins.insert(stored.origin, origin.clone());
                origin
            }
        };
        let offsets = self.offsets.read().expect("no holder of the offsets panics");
        let boot_offset_us = offsets.get(&origin.boot_id).copied();
        let entry = Entry {
            origin,
            at: stored.at,
            inference_us: stored.inference_us,
            defect: stored.defect,
            body: stored.body,
        };
        Ok(Ok(LogRecord { id, entry, boot_offset_us }))
    }
}
