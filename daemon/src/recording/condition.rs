//! In what condition the log is: opened, short of room, failed, or waiting to be opened again, and what that
//! takes back of promises. It commits nothing.

use super::owner::{Owner, WriterConfig};
use crate::health::LogState;
use picket_records::{LogError, PredictionLog, StoreFault, Stream};

impl Owner {
    pub(super) fn opened(&mut self, mut log: PredictionLog) {
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
    pub(super) fn accept(&mut self) {
        let state = match self.suspicion.standing() {
            Some(why) => LogState::Suspect(why.to_string()),
            None => LogState::Ok,
        };
        self.set_state(state);
    }

    /// From now on no records are taken until there is room; the store stays open.
    pub(super) fn refuse(&mut self, no_room: &LogError) {
        let why = picket_base::chain(no_room);
        if self.shared.lock().state.refusal().is_none() {
            tracing::error!(error = %why, "log takes no records, waiting for room");
        }
        self.withdraw(LogState::Degraded(why));
    }

    /// Drops a failed log: its handle would acknowledge later writes without keeping them.
    pub(super) fn failed(&mut self, error: &LogError) {
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

    pub(super) fn reopen(&mut self) {
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
}
