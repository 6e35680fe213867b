//! The hand-over to the prediction log: a bounded queue that gives every record its number at
//! once, and the one OS thread that owns PredictionLog, commits in groups and acknowledges.
//!
//! The queue survives the store: after a write error the thread drops the log, opens it again and
//! writes what was not acknowledged under the numbers that were already given.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use crate::health::{Health, Heartbeat, LogState};
use crate::metrics::Metrics;
use crate::prediction_log::{Entry, LogError, LogReader, PredictionLog, Retention};

/// Records waiting for the disk at most: several seconds of full load, about 10 MB.
pub const QUEUE_RECORDS_MAX: usize = 16_384;

/// Records in one commit at most, so that none takes long.
const GROUP_RECORDS_MAX: usize = 2_048;

/// Between two attempts to open a log whose disk failed.
const REOPEN_INTERVAL: Duration = Duration::from_secs(1);

/// The thread beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// One operation of the store may take this long before the thread counts as stuck: SD cards
/// stall for tens of seconds while they erase.
const STUCK_AFTER: Duration = Duration::from_secs(120);

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// Answer when the record is on the medium.
    Strict,
    /// Answer at once; committed within the commit interval.
    Relaxed,
}

impl std::str::FromStr for Durability {
    type Err = String;

    fn from_str(text: &str) -> Result<Durability, String> {
        match text {
            "strict" => Ok(Durability::Strict),
            "relaxed" => Ok(Durability::Relaxed),
            other => Err(format!("\"{other}\" is not one of strict, relaxed")),
        }
    }
}

/// Why records were not taken; each of them has been counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlogged {
    #[error("the log's queue is full: {QUEUE_RECORDS_MAX} records are waiting for the disk")]
    Full,
    #[error("the log takes no records: {0}")]
    Unavailable(String),
}

/// Numbers given to records, and for strict ones the word that they are on the medium.
pub struct Appended {
    pub first_id: u64,
    pub committed: Option<oneshot::Receiver<()>>,
}

#[derive(Clone, Debug)]
pub struct WriterConfig {
    pub dir: PathBuf,
    pub commit_interval: Duration,
    pub retention: Retention,
}

/// Handle for anyone who has records to log.
#[derive(Clone)]
pub struct LogWriter {
    shared: Arc<Shared>,
}

struct Shared {
    queue: Mutex<Queue>,
    /// Wakes the writer's thread.
    arrived: Condvar,
    metrics: Arc<Metrics>,
}

struct Queue {
    jobs: VecDeque<Job>,
    /// Records in `jobs` and in the writer's hands together.
    records: usize,
    strict: usize,
    next_id: u64,
    state: LogState,
    closing: bool,
}

/// Records that are stored all or none.
struct Job {
    first_id: u64,
    entries: Vec<Entry>,
    queued: Instant,
    committed: Option<oneshot::Sender<()>>,
}

impl LogWriter {
    /// Opens the log and starts the thread that owns it.
    ///
    /// # Errors
    /// Only what waiting can't cure (see `LogError::is_permanent`). With a full or broken disk
    /// the daemon starts without its log and keeps trying.
    pub fn start(
        config: WriterConfig,
        health: Arc<Health>,
        metrics: Arc<Metrics>,
        reader: LogReader,
    ) -> Result<(LogWriter, JoinHandle<()>), LogError> {
        let opened = PredictionLog::open(&config.dir, config.retention, &reader);
        let queue = Queue {
            jobs: VecDeque::new(),
            records: 0,
            strict: 0,
            next_id: 0,
            state: LogState::Opening,
            closing: false,
        };
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), arrived: Condvar::new(), metrics });
        let heartbeat = health.heartbeat("log writer", STUCK_AFTER);
        let mut owner = Owner {
            shared: shared.clone(),
            config,
            health,
            heartbeat,
            reader,
            log: None,
            unacknowledged: VecDeque::new(),
        };
        match opened {
            Ok(log) => owner.opened(log),
            Err(error) if error.is_permanent() => return Err(error),
            Err(error) => owner.failed(&error),
        }
        let thread = std::thread::Builder::new()
            .name("log-writer".into())
            .spawn(move || owner.run())
            .expect("the kernel has room for one more thread at start");
        Ok((LogWriter { shared }, thread))
    }

    /// Gives the entries contiguous numbers and queues them, to be stored all or none.
    ///
    /// # Errors
    /// When the queue is full or the log is not available; nothing is queued then.
    pub fn append(
        &self,
        entries: Vec<Entry>,
        durability: Durability,
    ) -> Result<Appended, Unlogged> {
        let count = entries.len();
        let defects = entries.iter().filter(|entry| entry.defect).count();
        let result = self.enqueue(entries, durability);
        let metrics = &self.shared.metrics;
        if result.is_ok() {
            metrics.logged.inc_by(count as u64);
            metrics.defects.inc_by(defects as u64);
        } else {
            metrics.log_errors.inc_by(count as u64);
        }
        result
    }

    fn enqueue(&self, entries: Vec<Entry>, durability: Durability) -> Result<Appended, Unlogged> {
        let mut queue = self.shared.lock();
        if let LogState::Unavailable(why) = &queue.state {
            return Err(Unlogged::Unavailable(why.clone()));
        }
        if queue.closing {
            return Err(Unlogged::Unavailable("the daemon is shutting down".into()));
        }
        if queue.records + entries.len() > QUEUE_RECORDS_MAX {
            return Err(Unlogged::Full);
        }
        let first_id = queue.next_id;
        let (sender, receiver) = match durability {
            Durability::Strict => Some(oneshot::channel()).unzip(),
            Durability::Relaxed => (None, None),
        };
        queue.next_id += entries.len() as u64;
        queue.records += entries.len();
        queue.strict += usize::from(sender.is_some());
        // A relaxed record among others waits for the interval that the first one began.
        let wake = sender.is_some() || queue.jobs.is_empty() || queue.records >= GROUP_RECORDS_MAX;
        queue.jobs.push_back(Job { first_id, entries, queued: Instant::now(), committed: sender });
        drop(queue);
        if wake {
            self.shared.arrived.notify_one();
        }
        Ok(Appended { first_id, committed: receiver })
    }

    /// Lets the thread commit what is queued and end; later records are refused.
    pub fn close(&self) {
        self.shared.lock().closing = true;
        self.shared.arrived.notify_one();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().expect("nothing that holds the log's queue panics")
    }
}

/// The thread's side.
struct Owner {
    shared: Arc<Shared>,
    config: WriterConfig,
    health: Arc<Health>,
    heartbeat: Arc<Heartbeat>,
    reader: LogReader,
    log: Option<PredictionLog>,
    /// Taken from the queue, not yet known to be on the medium.
    unacknowledged: VecDeque<Job>,
}

impl Owner {
    fn run(mut self) {
        loop {
            self.heartbeat.beat();
            if self.log.is_none() {
                if self.wait_to_reopen() {
                    break;
                }
                self.reopen();
                continue;
            }
            if !self.take_group() {
                break;
            }
            if let Err(error) = self.commit_group() {
                self.failed(&error);
            }
        }
        self.heartbeat.retire();
    }

    /// Waits until a group is due and takes it; false when the queue is closed and empty.
    fn take_group(&mut self) -> bool {
        let mut queue = self.shared.lock();
        loop {
            self.heartbeat.beat();
            let wait = match queue.jobs.front() {
                None if queue.closing => return !self.unacknowledged.is_empty(),
                None if !self.unacknowledged.is_empty() => break,
                None => BEAT_INTERVAL,
                Some(first) => {
                    let left = self.config.commit_interval.saturating_sub(first.queued.elapsed());
                    let due = queue.strict > 0
                        || queue.closing
                        || queue.records >= GROUP_RECORDS_MAX
                        || left.is_zero();
                    if due {
                        break;
                    }
                    left.min(BEAT_INTERVAL)
                }
            };
            let waited = self.shared.arrived.wait_timeout(queue, wait);
            queue = waited.expect("nothing that holds the log's queue panics").0;
        }
        let mut records: usize = self.unacknowledged.iter().map(|job| job.entries.len()).sum();
        while let Some(job) = queue.jobs.front() {
            if records > 0 && records + job.entries.len() > GROUP_RECORDS_MAX {
                break;
            }
            records += job.entries.len();
            queue.strict -= usize::from(job.committed.is_some());
            self.unacknowledged.extend(queue.jobs.pop_front());
        }
        true
    }

    fn commit_group(&mut self) -> Result<(), LogError> {
        let Some(log) = &mut self.log else { return Err(LogError::Closed) };
        let started = Instant::now();
        // After a reopen, what had reached the medium before the error is there already.
        let stored = log.next_id();
        let entries: Vec<&Entry> = self
            .unacknowledged
            .iter()
            .flat_map(|job| job.entries.iter().zip(job.first_id..))
            .filter(|(_, id)| *id >= stored)
            .map(|(entry, _)| entry)
            .collect();
        log.append(&entries)?;
        log.commit()?;
        let records: usize = self.unacknowledged.iter().map(|job| job.entries.len()).sum();
        self.shared.lock().records -= records;
        for job in self.unacknowledged.drain(..) {
            if let Some(committed) = job.committed {
                // The asker may have given up; its record is kept all the same.
                let _ = committed.send(());
            }
        }
        let metrics = &self.shared.metrics;
        metrics.commit.observe(started.elapsed().as_secs_f64());
        let (live, bytes) = log.size();
        metrics.log_records.set(i64::try_from(live).unwrap_or(i64::MAX));
        metrics.log_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        Ok(())
    }

    fn opened(&mut self, mut log: PredictionLog) {
        let mut queue = self.shared.lock();
        let waiting = self.unacknowledged.front().or(queue.jobs.front());
        log.resume_at(waiting.map_or(queue.next_id, |job| job.first_id));
        let (records, bytes) = log.size();
        let damaged = log.damaged();
        tracing::info!(dir = %self.config.dir.display(), records, bytes, damaged, "log open");
        let metrics = &self.shared.metrics;
        metrics.log_records.set(i64::try_from(records).unwrap_or(i64::MAX));
        metrics.log_bytes.set(i64::try_from(bytes).unwrap_or(i64::MAX));
        metrics.log_damaged.set(i64::try_from(damaged).unwrap_or(i64::MAX));
        metrics.set_log_initialized(true);
        queue.next_id = queue.next_id.max(log.next_id());
        queue.state = LogState::Open;
        drop(queue);
        self.health.set_log(LogState::Open);
        self.log = Some(log);
    }

    /// Drops a failed log: its handle would acknowledge later writes without keeping them.
    fn failed(&mut self, error: &LogError) {
        let why = crate::chain(error);
        tracing::error!(error = %why, "log unavailable, trying to open it again");
        self.unavailable(why);
        let log = self.log.take();
        // sled may panic when a poisoned handle goes.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| drop(log)));
    }

    fn unavailable(&self, why: String) {
        self.shared.metrics.set_log_initialized(false);
        self.health.set_log(LogState::Unavailable(why.clone()));
        self.shared.lock().state = LogState::Unavailable(why);
    }

    fn reopen(&mut self) {
        match PredictionLog::open(&self.config.dir, self.config.retention, &self.reader) {
            Ok(log) => self.opened(log),
            Err(error) => self.unavailable(crate::chain(&error)),
        }
    }

    /// True when the daemon is shutting down: what is still queued can't be kept.
    fn wait_to_reopen(&mut self) -> bool {
        let deadline = Instant::now() + REOPEN_INTERVAL;
        let mut queue = self.shared.lock();
        while !queue.closing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            let waited = self.shared.arrived.wait_timeout(queue, left);
            queue = waited.expect("nothing that holds the log's queue panics").0;
        }
        let lost = queue.records;
        drop(queue);
        if lost > 0 {
            self.shared.metrics.log_errors.inc_by(lost as u64);
            tracing::error!(records = lost, "shutting down with a broken log, records lost");
        }
        true
    }
}
