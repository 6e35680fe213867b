//! The side of the log that everybody holds: a bounded queue that numbers each record at once, under
//! a lock. It knows nothing of the disk; the thread that does takes the records from here.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use picket_base::budget::{Budget, Class, Exhausted, Taken};
use tokio::sync::oneshot;

use super::durability::Promise;
use super::metrics::LogMetrics;
use crate::health::LogState;
use picket_records::{Entry, Retention};

/// The most records in one commit, so that no commit takes long.
pub(super) const GROUP_RECORDS_MAX: usize = 2_048;

/// Why records were not taken; each of them has been counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlogged {
    /// The queue's share of memory is used up.
    #[error("the log's queue is full: {0}")]
    Full(Exhausted),
    /// No queue of this size takes them, however empty it is.
    #[error("the records take {bytes} bytes of memory, the log's queue has {most} in all")]
    TooLarge { bytes: usize, most: usize },
    #[error("the log takes no records: {0}")]
    Unavailable(String),
    #[error("the log can promise no durability: {0}")]
    Suspect(String),
}

/// The numbers that records were given.
pub struct Appended {
    pub first_id: u64,
    /// Says when the records are on the medium; none where nobody asked, or where the disk is suspect
    /// and no such promise can be made.
    pub committed: Option<oneshot::Receiver<()>>,
}

/// A handle for anyone who has records to log.
#[derive(Clone)]
pub struct LogWriter {
    pub(super) shared: Arc<Shared>,
}

pub(super) struct Shared {
    backlog: Mutex<Backlog>,
    /// Wakes the thread that owns the log.
    arrived: Condvar,
    budget: Budget,
    pub metrics: Arc<LogMetrics>,
}

/// What waits for the thread that owns the log.
pub(super) struct Backlog {
    pub bundles: VecDeque<Bundle>,
    /// The records in `bundles` and in the owner's hands together.
    pub records: usize,
    /// The bundles whose sender waits for the medium.
    pub strict: usize,
    pub next_id: u64,
    pub state: LogState,
    /// What a reload asks for; the owner takes it before its next commit.
    pub tuning: Option<Tuning>,
    pub closing: bool,
}

/// Limits that a reload changes.
pub(super) struct Tuning {
    pub commit_interval: Duration,
    pub retention: Retention,
}

/// Records that are stored all or none.
pub(super) struct Bundle {
    pub first_id: u64,
    pub entries: Vec<Entry>,
    pub queued: Instant,
    pub committed: Option<oneshot::Sender<()>>,
    /// Their memory, which the budget gets back with them.
    pub taken: Taken,
}

impl LogWriter {
    /// A handle on a log that is not open yet.
    pub(super) fn new(metrics: Arc<LogMetrics>, budget: Budget) -> LogWriter {
        let backlog = Backlog {
            bundles: VecDeque::new(),
            records: 0,
            strict: 0,
            next_id: 0,
            state: LogState::Opening,
            tuning: None,
            closing: false,
        };
        let (backlog, arrived) = (Mutex::new(backlog), Condvar::new());
        LogWriter { shared: Arc::new(Shared { backlog, arrived, budget, metrics }) }
    }

    /// Gives the entries contiguous numbers and queues them, to be stored all or none.
    ///
    /// # Errors
    /// When the queue is full, the log not available or the promise impossible; nothing is queued
    /// then.
    pub fn append(&self, entries: Vec<Entry>, promise: Promise) -> Result<Appended, Unlogged> {
        let count = entries.len();
        let defects = entries.iter().filter(|entry| entry.defect).count();
        let result = self.enqueue(entries, promise);
        let metrics = &self.shared.metrics;
        if result.is_ok() {
            metrics.logged.inc_by(count as u64);
            metrics.defects.inc_by(defects as u64);
        } else {
            metrics.errors.inc_by(count as u64);
        }
        result
    }

    fn enqueue(&self, entries: Vec<Entry>, promise: Promise) -> Result<Appended, Unlogged> {
        let bytes = held_bytes(&entries);
        let mut backlog = self.shared.lock();
        if let Some(why) = backlog.state.refusal() {
            return Err(Unlogged::Unavailable(why.to_string()));
        }
        if backlog.closing {
            return Err(Unlogged::Unavailable("the daemon is shutting down".into()));
        }
        let most = self.shared.budget.largest(Class::LogQueue);
        if bytes > most {
            return Err(Unlogged::TooLarge { bytes, most });
        }
        let taken = self.shared.budget.take(Class::LogQueue, bytes).map_err(Unlogged::Full)?;
        let first_id = backlog.next_id;
        if let (LogState::Suspect(why), Promise::Required) = (&backlog.state, promise) {
            return Err(Unlogged::Suspect(why.clone()));
        }
        let promised = promise != Promise::Unneeded && backlog.state == LogState::Ok;
        let (sender, receiver) = promised.then(oneshot::channel).unzip();
        backlog.next_id += entries.len() as u64;
        backlog.records += entries.len();
        backlog.strict += usize::from(sender.is_some());
        // A relaxed record among others waits for the interval that the first one began.
        let wake =
            sender.is_some() || backlog.bundles.is_empty() || backlog.records >= GROUP_RECORDS_MAX;
        let (queued, committed) = (Instant::now(), sender);
        backlog.bundles.push_back(Bundle { first_id, entries, queued, committed, taken });
        drop(backlog);
        if wake {
            self.shared.arrived.notify_one();
        }
        Ok(Appended { first_id, committed: receiver })
    }

    /// Sets other limits, which hold from the next commit on.
    pub fn tune(&self, commit_interval: Duration, retention: Retention) {
        self.shared.lock().tuning = Some(Tuning { commit_interval, retention });
        self.shared.arrived.notify_one();
    }

    /// Lets the owner commit what is queued and end; later records are refused.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.arrived.notify_one();
    }
}

/// Returns the memory of entries in a queue, bytes. An origin that the one before has too is counted once.
fn held_bytes(entries: &[Entry]) -> usize {
    let mut last: Option<&Entry> = None;
    let mut bytes = size_of::<Bundle>();
    for entry in entries {
        bytes += entry.held_bytes();
        if last.is_none_or(|last| !Arc::ptr_eq(&last.origin, &entry.origin)) {
            bytes += entry.origin.held_bytes();
        }
        last = Some(entry);
    }
    bytes
}

impl Shared {
    pub fn lock(&self) -> MutexGuard<'_, Backlog> {
        self.backlog.lock().expect("nothing that holds the log's queue panics")
    }

    /// Waits until something arrives, for so long at most.
    pub fn wait<'a>(
        &self,
        backlog: MutexGuard<'a, Backlog>,
        timeout: Duration,
    ) -> MutexGuard<'a, Backlog> {
        let waited = self.arrived.wait_timeout(backlog, timeout);
        waited.expect("nothing that holds the log's queue panics").0
    }
}
