//! Reading the log beside its writer: newest first, in pages of bounded work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, RwLock};

use super::chunk;
use super::error::{LogError, guard};
use super::format::{self, Damage};
use super::keys::origin_key;
use super::marks::{BatchName, Marks, StoredBatch};
use super::origin::Origin;
use super::query::{Item, PAGE_RECORDS_MAX, Page, Query, Sink};
use super::record::{Entry, LogRecord};
use super::stats::Stats;

/// Where readers find the tree while the log is open.
pub(super) type Shelf = Arc<RwLock<Option<sled::Db>>>;

/// Clock offsets by boot id: see `format::BootOffset`.
pub(super) type BootOffsets = Arc<RwLock<HashMap<String, i64>>>;

/// Records looked at for one page at most: a filter that matches nothing must not read a whole
/// log in one go. `Page::next` says where to go on.
const SCAN_RECORDS_MAX: usize = 20_000;

/// A reader of the log. It is cheap to clone, works while the log is open and says `Closed` while it is
/// not.
#[derive(Clone, Default)]
pub struct LogReader {
    pub(super) shelf: Shelf,
    pub(super) stats: Arc<Mutex<Stats>>,
    pub(super) offsets: BootOffsets,
    pub(super) marks: Arc<Mutex<Marks>>,
}

impl LogReader {
    pub fn new() -> LogReader {
        LogReader::default()
    }

    /// Whether the log is open.
    pub fn is_open(&self) -> bool {
        self.shelf.read().expect("no reader panics with the shelf in hand").is_some()
    }

    /// Returns the counters as they are now.
    pub fn stats(&self) -> Stats {
        self.stats.lock().expect("no holder of the counters panics").clone()
    }

    /// Returns what was stored of the batch of this name, if it is one of those that are remembered.
    pub fn stored_batch(&self, name: &BatchName) -> Option<StoredBatch> {
        self.marks.lock().expect("no holder of the marks panics").get(name)
    }

    /// Returns a page of the records that `query` asks for.
    ///
    /// # Errors
    /// `Closed` while the log is not open, `Read` when the store fails.
    pub fn query(&self, query: &Query) -> Result<Page, LogError> {
        let mut page = Page { records: Vec::new(), next: None, damaged: Vec::new() };
        page.next = self.query_into(query, &mut page)?;
        Ok(page)
    }

    /// Gives the records that `query` asks for to `sink`, newest first, until it is full. Returns what to
    /// pass as `after` for the next page; none when the log's end was reached.
    ///
    /// # Errors
    /// As `query`.
    pub fn query_into(&self, query: &Query, sink: &mut impl Sink) -> Result<Option<u64>, LogError> {
        let shelf = self.shelf.read().expect("no reader panics with the shelf in hand");
        let db = shelf.as_ref().ok_or(LogError::Closed)?;
        guard(|| self.page(db, query, sink)).map_err(LogError::Read)
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
        let mut step = Vec::new();
        self.step_into(from, &mut step)?;
        Ok(step)
    }

    /// Gives at most `PAGE_RECORDS_MAX` records from `from` on to `sink`, oldest first, until it is full.
    ///
    /// # Errors
    /// As `step`.
    pub fn step_into(&self, from: u64, sink: &mut impl Sink) -> Result<(), LogError> {
        let shelf = self.shelf.read().expect("no reader panics with the shelf in hand");
        let db = shelf.as_ref().ok_or(LogError::Closed)?;
        let mut origins = HashMap::new();
        let step = || {
            let items = chunk::ascending(db, from..=u64::MAX)?.take(PAGE_RECORDS_MAX);
            for (read, item) in items.enumerate() {
                let chunk::Numbered { id, value, .. } = item?;
                let is_full = read > 0 && !sink.goes_on();
                if is_full || !sink.take(id, self.resolve(db, &mut origins, id, &value)?) {
                    break;
                }
            }
            Ok(())
        };
        guard(step).map_err(LogError::Read)
    }

    fn page(
        &self,
        db: &sled::Db,
        query: &Query,
        sink: &mut impl Sink,
    ) -> sled::Result<Option<u64>> {
        let before = query.after.unwrap_or(u64::MAX);
        let mut origins = HashMap::new();
        let (mut found, mut last) = (0, None);
        for (scanned, item) in chunk::descending(db, before).enumerate() {
            if scanned == SCAN_RECORDS_MAX || found == query.limit {
                return Ok(last);
            }
            let chunk::Numbered { id, value, .. } = item?;
            if scanned > 0 && !sink.goes_on() {
                return Ok(last);
            }
            let record = self.resolve(db, &mut origins, id, &value)?;
            match &record {
                Ok(record) if !query.matches(record) => {}
                _ => {
                    let is_found = record.is_ok();
                    if !sink.take(id, record) {
                        return Ok(last);
                    }
                    found += usize::from(is_found);
                }
            }
            last = Some(id);
        }
        Ok(None)
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
                let decoded = value.and_then(|v| format::decode_origin(&v).ok());
                let Some(origin) = decoded.map(|(_, origin)| Arc::new(origin)) else {
                    return Ok(Err(Damage::Origin(stored.origin)));
                };
                origins.insert(stored.origin, origin.clone());
                origin
            }
        };
        let offsets = self.offsets.read().expect("no holder of the offsets panics");
        let boot_offset_us = offsets.get(&origin.boot_id).copied();
        let entry = Entry {
            at: stored.at,
            inference_us: stored.inference_us,
            defect: stored.defect,
            body: stored.into_body(&origin),
            origin,
        };
        Ok(Ok(LogRecord { id, entry, boot_offset_us }))
    }
}

#[cfg(test)]
mod tests {
    use super::super::climb::Climb;
    use super::super::origin::Labels;
    use super::super::record::tests::{LABELS, origin, predicted};
    use super::super::record::{Body, Predicted};
    use super::super::retention::Retention;
    use super::super::store::PredictionLog;
    use super::super::top::top;
    use super::*;

    /// A prediction of a model with these labels that calls itself what the other one does.
    fn of_model(labels: &[String], probabilities: &[f32]) -> Entry {
        let was = origin("edge-01");
        let origin = Arc::new(Origin { labels: Labels::new(labels), ..Origin::clone(&was) });
        let top = top(probabilities, labels);
        let (class, label) = (top[0].class, labels[usize::from(top[0].class)].clone());
        let classes = labels.len() as u16;
        let made = Predicted { class, label, uncertain: false, classes, top };
        Entry { origin, body: Body::Predicted(made), ..predicted(&was, 0, false) }
    }

    #[test]
    fn records_speak_the_labels_of_the_model_that_made_them() {
        let few = ["ok".to_string(), "defect".to_string()];
        let many: Vec<String> = (0..10_000).map(|class| format!("species {class}")).collect();
        let mut probabilities = vec![0.0; many.len()];
        (probabilities[9_999], probabilities[4_000]) = (0.75, 0.25);
        let entries = [
            predicted(&origin("edge-01"), 3, false),
            of_model(&few, &[0.25, 0.75]),
            of_model(&few[1..], &[0.5]),
            of_model(&many, &probabilities),
            predicted(&origin("edge-01"), 9, false),
        ];
        let state = tempfile::tempdir().unwrap();
        let (dir, reader) = (state.path().join("log"), LogReader::new());
        let keep = Retention { max_records: 10, max_bytes: 1 << 20, max_age: None };
        let open = || PredictionLog::open(&dir, keep, &reader, Climb::Derived).unwrap();
        let mut log = open();
        log.append(&[&entries]).unwrap();
        log.commit().unwrap();
        drop(log);
        let _log = open();
        let records: Vec<LogRecord> =
            reader.step(1).unwrap().into_iter().map(|(_, record)| record.unwrap()).collect();
        assert!(
            records.iter().map(|record| &record.entry.body).eq(entries.iter().map(|e| &e.body))
        );
        let shown: Vec<_> = records.iter().map(|r| serde_json::to_value(r).unwrap()).collect();
        let labels = |record: usize| -> Vec<_> {
            let top = shown[record]["top"].as_array().unwrap();
            top.iter().map(|top| top["label"].as_str().unwrap()).collect()
        };
        assert_eq!(labels(0)[..2], [LABELS[3], LABELS[0]]);
        assert_eq!((labels(1), labels(2)), (vec!["defect", "ok"], vec!["defect"]));
        assert_eq!(labels(3)[..2], ["species 9999", "species 4000"]);
        assert_eq!(labels(4)[0], LABELS[9]);
        // In the order of the classes, where all of them are kept.
        let all = [None, Some(vec![0.25, 0.75]), Some(vec![0.5]), None, None];
        for (shown, all) in shown.iter().zip(all) {
            assert_eq!(shown.get("probabilities"), all.map(serde_json::Value::from).as_ref());
        }
        assert!(reader.verify(&dir).unwrap().is_sound());
        let query = Query { limit: 10, label: Some("species 9999".into()), ..Query::default() };
        assert_eq!(reader.query(&query).unwrap().records.len(), 1);
    }
}
