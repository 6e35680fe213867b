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

use crate::health::{Health, Heartbeat, LogState, Work};
use crate::metrics::Metrics;
use picket_records::{
    Climb, Entry, LogError, LogReader, PredictionLog, Retention, StoreFault, Suspicion,
};

/// Records waiting for the disk at most: several seconds of full load, about 10 MB.
pub const QUEUE_RECORDS_MAX: usize = 16_384;

/// Records in one commit at most, so that none takes long.
const GROUP_RECORDS_MAX: usize = 2_048;

/// Between two attempts to write or open a log whose disk is full or failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// Failed attempts to read a store from a disk that can be written to, after which the store is
/// set aside: a bad sector does not heal.
const UNREADABLE_ATTEMPTS_MAX: u32 = 30;

/// The thread beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

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

/// What whoever hands a record over wants to hear of the medium.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Promise {
    /// Nothing: the record is committed within the interval.
    Unneeded,
    /// That it is there, where such word can be given; the record is taken in any case.
    Preferred,
    /// The same, or the record is refused.
    Required,
}

/// Why records were not taken; each of them has been counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unlogged {
    #[error("the log's queue is full: {QUEUE_RECORDS_MAX} records are waiting for the disk")]
    Full,
    #[error("the log takes no records: {0}")]
    Unavailable(String),
    #[error("the log can promise no durability: {0}")]
    Suspect(String),
}

/// Numbers given to records, and for strict ones the word that they are on the medium; none where
/// the disk is suspect and no such word can be given.
pub struct Appended {
    pub first_id: u64,
    pub committed: Option<oneshot::Receiver<()>>,
}

#[derive(Clone, Debug)]
pub struct WriterConfig {
    pub dir: PathBuf,
    /// Longest silence of the thread, one operation of the store included.
    pub deadline: Duration,
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
    /// What a reload asks for; taken by the thread before its next commit.
    tuning: Option<Tuning>,
    closing: bool,
}

struct Tuning {
    commit_interval: Duration,
    retention: Retention,
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
        metrics.set_retention(config.retention);
        let climb = Climb::Quarantine;
        let opened = PredictionLog::open(&config.dir, config.retention, &reader, climb);
        let queue = Queue {
            jobs: VecDeque::new(),
            records: 0,
            strict: 0,
            next_id: 0,
            state: LogState::Opening,
            tuning: None,
            closing: false,
        };
        let shared =
            Arc::new(Shared { queue: Mutex::new(queue), arrived: Condvar::new(), metrics });
        let heartbeat = health.heartbeat("log-writer", config.deadline);
        let suspicion = Suspicion::of(&config.dir);
        let mut owner = Owner {
            shared: shared.clone(),
            config,
            health,
            heartbeat,
            reader,
            log: None,
            unacknowledged: VecDeque::new(),
            suspicion,
            was_read_only: false,
            unreadable_attempts: 0,
            commit_took: Duration::ZERO,
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
            metrics.log_errors.inc_by(count as u64);
        }
        result
    }

    fn enqueue(&self, entries: Vec<Entry>, promise: Promise) -> Result<Appended, Unlogged> {
        let mut queue = self.shared.lock();
        if let Some(why) = queue.state.refusal() {
            return Err(Unlogged::Unavailable(why.to_string()));
        }
        if queue.closing {
            return Err(Unlogged::Unavailable("the daemon is shutting down".into()));
        }
        if queue.records + entries.len() > QUEUE_RECORDS_MAX {
            return Err(Unlogged::Full);
        }
        let first_id = queue.next_id;
        if let (LogState::Suspect(why), Promise::Required) = (&queue.state, promise) {
            return Err(Unlogged::Suspect(why.clone()));
        }
        let promised = promise != Promise::Unneeded && queue.state == LogState::Ok;
        let (sender, receiver) = promised.then(oneshot::channel).unzip();
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

    /// From the next commit on other limits hold.
    pub fn tune(&self, commit_interval: Duration, retention: Retention) {
        self.shared.lock().tuning = Some(Tuning { commit_interval, retention });
        self.shared.arrived.notify_one();
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
    suspicion: Suspicion,
    /// The disk was read-only when the log was last tried.
    was_read_only: bool,
    unreadable_attempts: u32,
    /// How long the last commit took: a relaxed one starts that much before it is due.
    commit_took: Duration,
}

fn gauge(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// What the thread does next.
enum Next {
    Commit,
    Idle,
    Tuned,
    End,
}

impl Owner {
    fn run(mut self) {
        loop {
            self.heartbeat.beat();
            self.take_tuning();
            let Some(log) = &mut self.log else {
                if self.wait_to_retry() {
                    break;
                }
                self.heartbeat.busy(Work::OpenLog);
                self.reopen();
                continue;
            };
            // Asked before a record is taken in hand, so that a full disk costs none.
            let room = log.check_room();
            self.shared.metrics.disk_free_bytes.set(gauge(log.free_bytes()));
            if let Err(no_room) = room {
                // A read-only disk is let go of, so that it can be unmounted and repaired.
                if no_room.fault() == StoreFault::ReadOnly {
                    self.failed(&no_room);
                    continue;
                }
                self.refuse(&no_room);
                if self.wait_to_retry() {
                    break;
                }
                continue;
            }
            self.accept();
            let done = match self.next() {
                Next::End => break,
                Next::Commit => {
                    self.heartbeat.busy(Work::Commit);
                    self.commit_group()
                }
                Next::Tuned => Ok(()),
                Next::Idle => self.log.as_mut().map_or(Ok(()), PredictionLog::idle),
            };
            if let Err(error) = done {
                self.failed(&error);
            }
        }
        self.heartbeat.retire();
    }

    fn take_tuning(&mut self) {
        let Some(tuning) = self.shared.lock().tuning.take() else { return };
        self.config.commit_interval = tuning.commit_interval;
        self.config.retention = tuning.retention;
        self.shared.metrics.set_retention(tuning.retention);
        if let Some(log) = &mut self.log {
            log.set_retention(tuning.retention);
        }
    }

    /// Waits until a group is due and takes it, or until the log has something to do by itself.
    fn next(&mut self) -> Next {
        let idle_work_due = self.log.as_ref().and_then(PredictionLog::idle_work_due);
        let idle_deadline = idle_work_due.map(|left| Instant::now() + left);
        let mut queue = self.shared.lock();
        loop {
            self.heartbeat.beat();
            if queue.tuning.is_some() {
                return Next::Tuned;
            }
            let mut wait = match queue.jobs.front() {
                None if queue.closing && self.unacknowledged.is_empty() => return Next::End,
                None if !self.unacknowledged.is_empty() => break,
                None => BEAT_INTERVAL,
                Some(first) => {
                    let interval = self.config.commit_interval;
                    let lead = self.commit_took.min(interval / 2);
                    let left = (interval - lead).saturating_sub(first.queued.elapsed());
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
            if let Some(deadline) = idle_deadline {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    self.heartbeat.busy(Work::Housekeeping);
                    return Next::Idle;
                }
                wait = wait.min(left);
            }
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
        Next::Commit
    }

    fn commit_group(&mut self) -> Result<(), LogError> {
        let Some(log) = &mut self.log else { return Err(LogError::Closed) };
        let started = Instant::now();
        // After a reopen, what had reached the medium before the error is there already.
        let stored = log.next_id();
        let groups: Vec<&[Entry]> = self
            .unacknowledged
            .iter()
            .filter(|job| job.first_id >= stored)
            .map(|job| job.entries.as_slice())
            .collect();
        log.append(&groups)?;
        log.commit()?;
        let records: usize = self.unacknowledged.iter().map(|job| job.entries.len()).sum();
        self.shared.lock().records -= records;
        for job in self.unacknowledged.drain(..) {
            if let Some(committed) = job.committed {
                // The asker may have given up; its record is kept all the same.
                let _ = committed.send(());
            }
        }
        self.commit_took = started.elapsed();
        let metrics = &self.shared.metrics;
        metrics.commit.observe(self.commit_took.as_secs_f64());
        self.show_size();
        Ok(())
    }

    fn opened(&mut self, mut log: PredictionLog) {
        if std::mem::take(&mut self.was_read_only) {
            // Somebody mounted it writable again.
            self.suspicion.clear();
        }
        self.unreadable_attempts = 0;
        let mut queue = self.shared.lock();
        let waiting = self.unacknowledged.front().or(queue.jobs.front());
        log.resume_at(waiting.map_or(queue.next_id, |job| job.first_id));
        queue.next_id = queue.next_id.max(log.next_id());
        drop(queue);
        let (records, bytes) = log.size();
        tracing::info!(dir = %self.config.dir.display(), records, bytes, "log open");
        let metrics = &self.shared.metrics;
        for step in log.steps() {
            metrics.recovered(step);
        }
        self.health.note_recovery(log.steps().iter().map(ToString::to_string));
        self.log = Some(log);
        self.show_size();
        self.accept();
    }

    /// Records are taken, with or without promises.
    fn accept(&mut self) {
        let state = match self.suspicion.standing() {
            Some(why) => LogState::Suspect(why.to_string()),
            None => LogState::Ok,
        };
        self.set_state(state);
    }

    /// Records are not taken until there is room; the store stays open.
    fn refuse(&mut self, no_room: &LogError) {
        let why = picket_base::chain(no_room);
        if self.shared.lock().state.refusal().is_none() {
            tracing::error!(error = %why, "log takes no records, waiting for room");
        }
        self.withdraw(LogState::Degraded(why));
    }

    /// Drops a failed log: its handle would acknowledge later writes without keeping them.
    fn failed(&mut self, error: &LogError) {
        let why = picket_base::chain(error);
        tracing::error!(error = %why, "log unavailable, trying to open it again");
        // First: dropping the log may take a while.
        self.withdraw(match error.fault() {
            StoreFault::Full | StoreFault::ReadOnly => LogState::Degraded(why.clone()),
            StoreFault::Disk | StoreFault::System | StoreFault::Store => {
                LogState::Unavailable(why.clone())
            }
        });
        self.log = None;
        if error.fault() == StoreFault::Disk {
            self.suspicion.raise(&why);
        }
        self.was_read_only |= error.fault() == StoreFault::ReadOnly;
    }

    fn reopen(&mut self) {
        let WriterConfig { dir, retention, .. } = &self.config;
        let climb = if self.unreadable_attempts < UNREADABLE_ATTEMPTS_MAX {
            Climb::Quarantine
        } else {
            Climb::Unreadable
        };
        match PredictionLog::open(dir, *retention, &self.reader, climb) {
            Ok(log) => self.opened(log),
            Err(error) => {
                let why = picket_base::chain(&error);
                if error.fault() == StoreFault::Disk {
                    self.unreadable_attempts += 1;
                    self.suspicion.raise(&why);
                }
                self.was_read_only |= error.fault() == StoreFault::ReadOnly;
                self.set_state(match error {
                    LogError::NoRoom(_) => LogState::Degraded(why),
                    _ => LogState::Unavailable(why),
                });
            }
        }
    }

    /// Whoever waits for the medium is told at once that there is no word of it. The records stay
    /// queued and are written as soon as that is possible.
    ///
    /// State and promises under one lock: whoever comes in between would be promised what only the
    /// next opening of the log could keep.
    fn withdraw(&mut self, state: LogState) {
        let mut queue = self.shared.lock();
        queue.state = state.clone();
        queue.strict = 0;
        for job in self.unacknowledged.iter_mut().chain(&mut queue.jobs) {
            job.committed = None;
        }
        drop(queue);
        self.tell(state);
    }

    fn set_state(&self, state: LogState) {
        let mut queue = self.shared.lock();
        if queue.state == state {
            return;
        }
        queue.state = state.clone();
        drop(queue);
        self.tell(state);
    }

    fn tell(&self, state: LogState) {
        self.shared.metrics.set_log_state(&state);
        self.health.set_log(state);
    }

    fn show_size(&self) {
        let Some(log) = &self.log else { return };
        let metrics = &self.shared.metrics;
        let (records, bytes) = log.size();
        metrics.log_records.set(gauge(records));
        metrics.log_bytes.set(gauge(bytes));
        metrics.log_disk_bytes.set(gauge(log.disk_bytes()));
        metrics.log_lost.set(gauge(log.losses().iter().map(|ids| ids.end - ids.start).sum()));
        metrics.log_quarantines.set(gauge(log.quarantines() as u64));
    }

    /// True when the daemon is shutting down: what is still queued can't be kept.
    fn wait_to_retry(&mut self) -> bool {
        let deadline = Instant::now() + RETRY_INTERVAL;
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
