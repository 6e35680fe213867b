//! What the owner of the prediction log does, turn by turn: it opens it, commits in groups, acknowledges, and
//! tries again after an error. It knows nothing of who hands records over.
//!
//! The queue survives the store: after a write error the owner drops the log, opens it again and
//! writes what was not acknowledged under the numbers that were already given. A log that is not there any
//! more is made anew only where that was asked for.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use picket_base::budget::Taken;

use super::handle::{Bundle, GROUP_RECORDS_MAX, LogWriter};
use super::metrics::LogMetrics;
use super::owner::{Owner, WriterConfig};
use crate::health::{Health, Heartbeat, Work};
use crate::metrics::gauge_value;
use crate::os::SmallPieces;
use picket_records::{
    Body, Entry, Group, LogError, LogReader, PredictionLog, StoreFault, Stream, Suspicion,
};

/// A log that nothing is written to is looked at this often.
const LOOK_INTERVAL: Duration = Duration::from_secs(2);

/// The owner beats at least this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// At its end the log waits for its view so long at most, and leaves so much of the drain's time to the rest.
const VIEW_TIME_MAX: Duration = Duration::from_secs(3);
const DRAIN_REST: Duration = Duration::from_millis(250);

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

/// The pause between two attempts to write or open a log whose disk is full or failed.
const RETRY_INTERVAL: Duration = Duration::from_secs(1);

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
