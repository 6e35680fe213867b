//! Reading the log beside its owner: pages, records by number, counters, proof. The owner puts a snapshot on
//! the shelf after each commit, the view's thread its view; readers take what is there, wait for nobody and
//! change nothing.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, RwLock};
use std::time::{Duration, Instant};

use serde::Serialize;

use super::findings::Findings;
use super::lookup::Lookup;
use super::position::Stream;
use super::proof::{Witness, prove};
use super::reader::Reader;
use super::removal::removal;
use super::sizes::Retention;
use super::snapshot::{Beside, Snapshot};
use crate::error::LogError;
use crate::marks::{BatchName, Marks, StoredBatch};
use crate::query::{Item, Page, Query, Sink};
use crate::record::LogRecord;
use crate::removal::Removal;
use crate::stats::Stats;

/// A reader that misses records waits so long for a view that is being opened.
const VIEW_WAIT_MAX: Duration = Duration::from_secs(2);
const VIEW_PAUSE: Duration = Duration::from_millis(10);

/// Where readers find the log while it is open.
#[derive(Default)]
pub(crate) struct Shelf {
    log: RwLock<Option<Arc<Snapshot>>>,
    view: RwLock<Option<Lookup>>,
    /// Since when the view is being opened, if it is.
    view_opens: Mutex<Option<Instant>>,
    /// A reader has found something wrong with the view.
    distrusted: AtomicBool,
    marks: Mutex<Arc<Mutex<Marks>>>,
}

impl Shelf {
    pub(crate) fn log(&self) -> Option<Arc<Snapshot>> {
        self.log.read().expect("nobody panics with the shelf in hand").clone()
    }

    /// Puts a log on the shelf, or takes it away.
    pub(crate) fn put(&self, log: Option<Arc<Snapshot>>) {
        *self.log.write().expect("nobody panics with the shelf in hand") = log;
    }

    pub(crate) fn lookup(&self) -> Option<Lookup> {
        self.view.read().expect("nobody panics with the shelf in hand").clone()
    }

    /// Puts a view on the shelf, or takes it away, unless `is_over` says so.
    pub(crate) fn put_view(&self, view: Option<Lookup>, is_over: impl Fn() -> bool) {
        let mut place = self.view.write().expect("nobody panics with the shelf in hand");
        if !is_over() {
            *place = view;
        }
    }

    pub(crate) fn put_marks(&self, marks: Arc<Mutex<Marks>>) {
        *self.marks.lock().expect("nobody panics with the shelf in hand") = marks;
    }

    pub(crate) fn set_view_opens(&self, since: Option<Instant>) {
        *self.view_opens.lock().expect("nobody panics with the shelf in hand") = since;
    }

    /// Whether a reader has found something wrong with the view since this was last asked.
    pub(crate) fn take_distrust(&self) -> bool {
        self.distrusted.swap(false, Ordering::AcqRel)
    }

    fn view_opens(&self) -> bool {
        let since = *self.view_opens.lock().expect("nobody panics with the shelf in hand");
        since.is_some_and(|since| since.elapsed() < VIEW_WAIT_MAX)
    }
}

impl Beside for Shelf {
    fn is_kept(&self, name: &str) -> bool {
        self.log().is_some_and(|log| log.files.iter().flatten().any(|file| file.name == name))
    }

    fn view(&self) -> Option<Lookup> {
        while self.view_opens() {
            std::thread::sleep(VIEW_PAUSE);
        }
        self.lookup()
    }
}

/// Where a log stands: noted elsewhere, it proves the log later.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Standing {
    /// The links of the newest records, hexadecimal.
    pub head: String,
    /// The first 48 bits of each, by the name of its stream.
    #[serde(skip)]
    pub heads: [(&'static str, u64); 2],
    /// The number of the next record, and of the oldest that is kept.
    pub next_id: u64,
    pub first_id: u64,
    /// When the oldest was made, epoch seconds; none where there is none.
    pub oldest: Option<f64>,
}

/// A reader of the log. It is cheap to clone, works while the log is open and says `Closed` while it is
/// not.
#[derive(Clone, Default)]
pub struct LogReader {
    pub(super) shelf: Arc<Shelf>,
}

impl LogReader {
    pub fn new() -> LogReader {
        LogReader::default()
    }

    /// Whether the log is open.
    pub fn is_open(&self) -> bool {
        self.shelf.log().is_some()
    }

    fn log(&self) -> Result<Arc<Snapshot>, LogError> {
        self.shelf.log().ok_or(LogError::Closed)
    }

    /// Returns the counters as they are now.
    pub fn stats(&self) -> Stats {
        self.shelf.log().map(|log| log.known.stats()).unwrap_or_default()
    }

    /// Returns where the log stands.
    ///
    /// # Errors
    /// `Closed` while the log is not open.
    pub fn standing(&self) -> Result<Standing, LogError> {
        let log = self.log()?;
        let (head, next_id, first_id) = (log.position.head(), log.position.next, log.first());
        let read = Reader::from(&log, first_id, &*self.shelf).next().ok().flatten();
        let read = read.and_then(|oldest| log.known.to_record(oldest.id, &oldest.value).ok());
        let oldest = read.map(|record| record.wall_us() as f64 / 1e6);
        let heads = Stream::ALL.map(|stream| {
            let link = log.position.lane(stream).head;
            let bits = link[..6].iter().fold(0, |bits, byte| bits << 8 | u64::from(*byte));
            (stream.name(), bits)
        });
        Ok(Standing { head, heads, next_id, first_id, oldest })
    }

    /// Returns what was stored of the batch of this name, if it is one of those that are remembered.
    pub fn stored_batch(&self, name: &BatchName) -> Option<StoredBatch> {
        let marks = self.shelf.marks.lock().expect("nobody panics with the shelf in hand").clone();
        marks.lock().expect("no holder of the marks panics").get(name)
    }

    /// Returns the record of this number; none where there is none.
    ///
    /// # Errors
    /// `Closed` while the log is not open, `Read` when its disk fails or the record can't be read.
    pub fn record(&self, id: u64) -> Result<Option<LogRecord>, LogError> {
        let mut found: Vec<Item> = Vec::new();
        self.step_into(id, &mut One(&mut found))?;
        match found.pop().filter(|(found, _)| *found == id) {
            None => Ok(None),
            Some((_, Ok(record))) => Ok(Some(record)),
            Some((_, Err(damage))) => Err(LogError::Damaged { id, damage }),
        }
    }

    /// Returns a page of the records that `query` asks for.
    ///
    /// # Errors
    /// As `query_into`.
    pub fn query(&self, query: &Query) -> Result<Page, LogError> {
        let mut page = Page { records: Vec::new(), next: None, damaged: Vec::new() };
        page.next = self.query_into(query, &mut page)?;
        Ok(page)
    }

    /// Gives the records that `query` asks for to `sink`, newest first, until it is full. Returns what to
    /// pass as `after` for the next page; none when the log's end was reached.
    ///
    /// # Errors
    /// `Closed` while the log is not open, `Read` when its disk fails.
    pub fn query_into(&self, query: &Query, sink: &mut impl Sink) -> Result<Option<u64>, LogError> {
        let log = self.log()?;
        // What is known to be missing can only be there.
        let view = if log.losses.is_empty() { self.shelf.lookup() } else { self.shelf.view() };
        let given = log.page((query, view.as_ref()), &*self.shelf, sink).map_err(read_failed)?;
        if let Some(error) = given.distrusted {
            tracing::warn!(%error, "the log's view failed a reader");
            self.shelf.distrusted.store(true, Ordering::Release);
        }
        Ok(given.next)
    }

    /// Returns at most `PAGE_RECORDS_MAX` records from `from` on, oldest first.
    ///
    /// # Errors
    /// As `query_into`.
    pub fn step(&self, from: u64) -> Result<Vec<Item>, LogError> {
        let mut step = Vec::new();
        self.step_into(from, &mut step)?;
        Ok(step)
    }

    /// Gives at most `PAGE_RECORDS_MAX` records from `from` on to `sink`, oldest first, until it is full.
    ///
    /// # Errors
    /// As `query_into`.
    pub fn step_into(&self, from: u64, sink: &mut impl Sink) -> Result<(), LogError> {
        self.log()?.step(from, &*self.shelf, sink).map_err(read_failed)
    }

    /// Returns what these limits would take from the log.
    ///
    /// # Errors
    /// As `query_into`.
    pub fn removal(&self, retention: &Retention) -> Result<Removal, LogError> {
        removal(&*self.log()?, retention).map_err(read_failed)
    }

    /// Returns how many records of each stream retention has removed over the life of the log, by count, by
    /// bytes and by age.
    pub fn retired(&self) -> [(&'static str, u64); 3] {
        let retired = self.shelf.log().map(|log| log.retired).unwrap_or_default();
        let sum = |of: fn(&super::item::Retired) -> u64| retired.iter().map(of).sum();
        [
            ("count", sum(|retired| retired.by_count)),
            ("bytes", sum(|retired| retired.by_bytes)),
            ("age", sum(|retired| retired.by_age)),
        ]
    }

    /// Reads every record that was committed when it began, checks each against the chain, and hears a
    /// witness; `goes_on` is asked before each.
    ///
    /// # Errors
    /// As `query_into`, and `Closed` when it was not to go on.
    pub fn verify(
        &self,
        witness: Option<&Witness>,
        goes_on: impl FnMut() -> bool,
    ) -> Result<crate::VerifyReport, LogError> {
        let log = self.log()?;
        let proof = prove(&log, witness, goes_on).map_err(read_failed)?;
        Ok(Findings::of(&log, proof.ok_or(LogError::Closed)?).into())
    }

    /// How many records of a stream there are.
    pub fn count(&self, stream: Stream) -> u64 {
        let log = self.shelf.log();
        let lane = log.map(|log| *log.position.lane(stream));
        lane.map_or(0, |lane| lane.next - lane.kept_from)
    }
}

fn read_failed(error: std::io::Error) -> LogError {
    LogError::Read(error.into())
}

/// Takes one record.
struct One<'a>(&'a mut Vec<Item>);

impl Sink for One<'_> {
    fn goes_on(&mut self) -> bool {
        false
    }

    fn take(&mut self, id: u64, record: Result<LogRecord, crate::format::Damage>) -> bool {
        self.0.push((id, record));
        true
    }
}
