//! The owner of the prediction log: the one thread that opens it, commits in groups, acknowledges, and
//! tries again after an error. It knows nothing of who hands records over.
//!
//! The queue survives the store: after a write error the owner drops the log, opens it again and
//! writes what was not acknowledged under the numbers that were already given. A log that is not there any
//! more is made anew only where that was asked for.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_base::budget::{Budget, Taken};

use super::handle::{Bundle, GROUP_RECORDS_MAX, LogWriter, Shared};
use super::metrics::LogMetrics;
use crate::health::{Health, Heartbeat, LogState, Work};
use crate::metrics::gauge_value;
use crate::os::SmallPieces;
use picket_records::{
    Body, Entry, Group, LogError, LogReader, PredictionLog, Retention, StoreFault, Stream,
    Suspicion,
};

/// The pause between two attempts to write or open a log whose disk is full or failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

/// A log that nothing is written to is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The owner beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// At its end the log waits for its view so long at most, and leaves so much of the drain's time to the rest.
const VIEW_TIME_MAX: Duration = Duration::from_secs(3);
const DRAIN_REST: Duration = Duration::from_millis(250);

#[derive(Clone, Debug)]
pub struct WriterConfig {
    pub dir: PathBuf,
    pub commit_interval: Duration,
    pub retention: Retention,
    /// Whether a log that is gone while the daemon runs is made anew.
    pub recreate: bool,
    /// How long the daemon may take to end.
    pub drain_timeout: Duration,
    /// What the records that wait are taken from.
    pub budget: Budget,
}

/// Opens the log: its owner, to be run on a thread of its own, and the handle for everybody else.
///
/// # Errors
/// Only what waiting can't cure (see `LogError::is_permanent`). With a full or broken disk the daemon
/// starts without its log, and the owner keeps trying.
pub fn open_log(
    config: WriterConfig,
    health: Arc<Health>,
    metrics: Arc<LogMetrics>,
    reader: LogReader,
) -> Result<(LogWriter, Owner), LogError> {
    metrics.show_retention(config.retention);
    let opened = PredictionLog::open(&config.dir, config.retention, &reader, None);
    let writer = LogWriter::new(metrics, config.budget.clone(), reader.clone());
    let suspicion = Suspicion::of(&config.dir);
    let mut owner = Owner {
        shared: writer.shared.clone(),
        config,
        health,
        reader,
        log: None,
        unacknowledged: VecDeque::new(),
        suspicion,
        was_read_only: false,
        store: None,
        commit_took: Duration::ZERO,
        pieces: SmallPieces::default(),
    };
    match opened {
        Ok(log) => owner.opened(log),
        Err(error) if error.is_permanent() => return Err(error),
        Err(error) => owner.failed(&error),
    }
    Ok((writer, owner))
}

/// The log and all that its thread knows of it.
pub struct Owner {
    shared: Arc<Shared>,
    config: WriterConfig,
    health: Arc<Health>,
    reader: LogReader,
    log: Option<PredictionLog>,
    /// Bundles that were taken from the queue and are not known to be on the medium yet.
    unacknowledged: VecDeque<Bundle>,
    suspicion: Suspicion,
    /// Whether the disk was read-only when the log was last tried.
    was_read_only: bool,
    /// The log that was open: no other takes its place unless that was asked for.
    store: Option<u64>,
    /// How long the last commit took: a relaxed one starts that much before it is due.
    commit_took: Duration,
    /// What the heap holds of records that are committed.
    pieces: SmallPieces,
}

/// What the owner does next.
enum Next {
    Commit,
    Idle,
    /// Look at the disk again, or at what was tuned.
    Look,
    End,
}

impl Owner {
    /// Works until the handle is closed and everything queued is committed.
    pub fn run(mut self, heartbeat: &Heartbeat) {
        loop {
            heartbeat.beat();
            self.take_tuning();
            let Some(log) = &mut self.log else {
                if self.wait_to_retry() {
                    break;
                }
                heartbeat.busy(Work::OpenLog);
                self.reopen();
                continue;
            };
            // Asked before a record is taken in hand, so that a full disk costs none.
            let room = log.check();
            self.shared.metrics.disk_free_bytes.set(gauge_value(log.free_bytes()));
            // A disk that does not answer will say so to the write itself.
            self.shared.lock().disk_free = match log.free_bytes() {
                0 => u64::MAX,
                free => free,
            };
            if let Err(no_room) = room {
                // A read-only disk is let go of, so that it can be unmounted and repaired.
                if no_room.fault() != StoreFault::Full {
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
            let done = match self.next(heartbeat) {
                Next::End => break,
                Next::Commit => {
                    heartbeat.busy(Work::Commit);
                    self.commit_group(heartbeat)
                }
                Next::Look => Ok(()),
                Next::Idle => self.idle(),
            };
            if let Err(error) = done {
                self.failed(&error);
            }
        }
        // Closing the store may take a while, and nobody is to mistake that for a hang.
        heartbeat.retire();
        let drain_left = self.config.drain_timeout.saturating_sub(self.health.drained_for());
        let view_time = drain_left.saturating_sub(DRAIN_REST).min(VIEW_TIME_MAX);
        if let Some(Err(error)) = self.log.take().map(|log| log.close(view_time)) {
            tracing::error!(error = picket_base::chain(&error), "log could not be closed properly");
        }
    }

    fn take_tuning(&mut self) {
        let Some(tuning) = self.shared.lock().tuning.take() else { return };
        self.config.commit_interval = tuning.commit_interval;
        self.config.retention = tuning.retention;
        self.shared.metrics.show_retention(tuning.retention);
        if let Some(log) = &mut self.log {
            log.set_retention(tuning.retention);
        }
    }

    /// Waits until a group is due and takes it, or until the log has something to do by itself.
    fn next(&mut self, heartbeat: &Heartbeat) -> Next {
        let now = Instant::now();
        let idle_deadline = self.log.as_ref().map(|log| now + log.idle_work_due());
        let look_deadline = now + LOOK_INTERVAL;
        let mut backlog = self.shared.lock();
        loop {
            heartbeat.beat();
            if backlog.tuning.is_some() || Instant::now() >= look_deadline {
                return Next::Look;
            }
            let mut wait = match backlog.bundles.front() {
                None if backlog.closing && self.unacknowledged.is_empty() => return Next::End,
                None if !self.unacknowledged.is_empty() => break,
                None => BEAT_INTERVAL,
                Some(first) => {
                    let interval = self.config.commit_interval;
                    let lead = self.commit_took.min(interval / 2);
                    let left = (interval - lead).saturating_sub(first.queued.elapsed());
                    let due = backlog.strict > 0
                        || backlog.closing
                        || backlog.records >= GROUP_RECORDS_MAX
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
                    heartbeat.busy(Work::Housekeeping);
                    return Next::Idle;
                }
                wait = wait.min(left);
            }
            backlog = self.shared.wait(backlog, wait);
        }
        let mut records = records_of(&self.unacknowledged);
        while let Some(bundle) = backlog.bundles.front() {
            if records > 0 && records + bundle.entries.len() > GROUP_RECORDS_MAX {
                break;
            }
            records += bundle.entries.len();
            backlog.strict -= usize::from(bundle.committed.is_some());
            self.unacknowledged.extend(backlog.bundles.pop_front());
        }
        Next::Commit
    }

    fn idle(&mut self) -> Result<(), LogError> {
        let Some(log) = &mut self.log else { return Ok(()) };
        let before = log.repaired();
        log.idle()?;
        let repaired = log.repaired() - before;
        if repaired > 0 {
            self.shared.metrics.repaired(repaired);
            self.health.note_recovery([format!("wrote {repaired} damaged records anew")]);
        }
        self.shared.metrics.show_size(log);
        Ok(())
    }

    fn commit_group(&mut self, heartbeat: &Heartbeat) -> Result<(), LogError> {
        let Some(log) = &mut self.log else { return Err(LogError::Closed) };
        let started = Instant::now();
        // After a reopen, what had reached the medium before the error is there already.
        let stored = log.next_id();
        let waiting = self.unacknowledged.iter().filter(|bundle| bundle.first_id >= stored);
        let groups = waiting.map(|bundle| Group {
            stream: stream_of(&bundle.entries),
            entries: &bundle.entries,
            name: bundle.name(),
        });
        let groups: Vec<Group> = groups.collect();
        let refused = log.commit_in_steps(&groups, &mut || heartbeat.busy(Work::Commit))?;
        let mut backlog = self.shared.lock();
        backlog.records -= records_of(&self.unacknowledged);
        for bundle in &self.unacknowledged {
            if refused.contains(&bundle.first_id) {
                backlog.refused(bundle);
            } else {
                backlog.stored(bundle);
            }
        }
        drop(backlog);
        self.commit_took = started.elapsed();
        self.shared.metrics.commit.observe(self.commit_took.as_secs_f64());
        self.shared.metrics.show_size(log);
        self.drop_refused(&refused);
        self.acknowledge();
        Ok(())
    }

    /// Takes their promises from bundles that can't be stored, and counts them: they are not tried again.
    fn drop_refused(&mut self, refused: &[u64]) {
        let bundles = self.unacknowledged.iter_mut();
        for bundle in bundles.filter(|bundle| refused.contains(&bundle.first_id)) {
            bundle.committed = None;
            let records = bundle.entries.len() as u64;
            self.shared.metrics.errors.inc_by(records);
            tracing::error!(first = bundle.first_id, records, "records can't be stored, dropped");
        }
    }

    /// Tells who waits for the medium, and gives back the records' memory: to the kernel, then to the
    /// budget.
    fn acknowledge(&mut self) {
        let mut taken = Vec::with_capacity(self.unacknowledged.len());
        let mut shares = Vec::new();
        for bundle in self.unacknowledged.drain(..) {
            if let Some(committed) = bundle.committed {
                // The asker may have given up; its record is kept all the same.
                let _ = committed.send(());
            }
            taken.push(bundle.taken);
            shares.extend(bundle.share);
        }
        self.pieces.freed(taken.iter().map(Taken::bytes).sum());
    }

    fn opened(&mut self, mut log: PredictionLog) {
        if std::mem::take(&mut self.was_read_only) {
            // Somebody mounted it writable again.
            self.suspicion.clear();
        }
        let backlog = self.shared.lock();
        let waiting = self.unacknowledged.front().or(backlog.bundles.front());
        let next = waiting.map_or(backlog.next_id, |bundle| bundle.first_id);
        drop(backlog);
        // Nobody gives numbers meanwhile: no records are taken before `accept`.
        if let Err(error) = log.resume_at(next) {
            return self.failed(&error);
        }
        let mut backlog = self.shared.lock();
        backlog.next_id = backlog.next_id.max(log.next_id());
        drop(backlog);
        let opened_before = self.store.replace(log.store());
        let [(own, own_bytes), (reported, reported_bytes)] =
            [Stream::Own, Stream::Reported].map(|stream| log.size(stream));
        tracing::info!(
            dir = %self.config.dir.display(), own, own_bytes, reported, reported_bytes, "log open"
        );
        let metrics = &self.shared.metrics;
        for found in log.found() {
            // Only the first start may find none without anybody having to look.
            if found.is_ordinary() && (opened_before.is_none() || opened_before == self.store) {
                tracing::info!("{found}");
            } else {
                tracing::warn!("{found}");
                self.health.note_recovery([found.to_string()]);
            }
        }
        metrics.show_opened(&log);
        self.log = Some(log);
        self.accept();
    }

    /// From now on records are taken, with or without promises.
    fn accept(&mut self) {
        let state = match self.suspicion.standing() {
            Some(why) => LogState::Suspect(why.to_string()),
            None => LogState::Ok,
        };
        self.set_state(state);
    }

    /// From now on no records are taken until there is room; the store stays open.
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
        let WriterConfig { dir, retention, recreate, .. } = &self.config;
        let expected = self.store.filter(|_| !recreate);
        match PredictionLog::open(dir, *retention, &self.reader, expected) {
            Ok(log) => self.opened(log),
            Err(error) => {
                let why = picket_base::chain(&error);
                if error.fault() == StoreFault::Disk {
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

    /// Takes back the promises: whoever waits for the medium hears at once that there is no word of it.
    /// The records stay queued and are written as soon as that is possible.
    ///
    /// State and promises change under one lock: whoever came in between would be promised what only
    /// the next opening of the log could keep.
    fn withdraw(&mut self, state: LogState) {
        let mut backlog = self.shared.lock();
        backlog.state = state.clone();
        backlog.strict = 0;
        for bundle in self.unacknowledged.iter_mut().chain(&mut backlog.bundles) {
            bundle.committed = None;
        }
        backlog.pending.values_mut().for_each(|pending| pending.waiting.clear());
        drop(backlog);
        self.tell(state);
    }

    fn set_state(&self, state: LogState) {
        let mut backlog = self.shared.lock();
        if backlog.state == state {
            return;
        }
        backlog.state = state.clone();
        drop(backlog);
        self.tell(state);
    }

    fn tell(&self, state: LogState) {
        self.shared.metrics.show_state(&state);
        self.health.set_log(state);
    }

    /// Says whether the daemon is shutting down: what is still queued can't be kept then.
    fn wait_to_retry(&mut self) -> bool {
        let deadline = Instant::now() + RETRY_INTERVAL;
        let mut backlog = self.shared.lock();
        while !backlog.closing {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            backlog = self.shared.wait(backlog, left);
        }
        let lost = backlog.records;
        drop(backlog);
        if lost > 0 {
            self.shared.metrics.errors.inc_by(lost as u64);
            tracing::error!(records = lost, "shutting down with a broken log, records lost");
        }
        true
    }
}

fn records_of(bundles: &VecDeque<Bundle>) -> usize {
    bundles.iter().map(|bundle| bundle.entries.len()).sum()
}

/// Records of a bundle are all this box's own, or all of them others'.
fn stream_of(entries: &[Entry]) -> Stream {
    match entries.first().map(|entry| &entry.body) {
        Some(Body::Reported(_)) => Stream::Reported,
        Some(Body::Predicted(_)) | None => Stream::Own,
    }
}
