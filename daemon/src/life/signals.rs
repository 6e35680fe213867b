//! The thread that obeys signals, from before the start to the end of the process, and sees to it that
//! a drain ends.

use std::process::exit;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::planned_stop::PlannedStop;
use super::request::{Request, Requests};
use crate::diagnostics::Lines;
use crate::health::{Health, Heartbeat};
use crate::os::{SignalRequest, Signals};

/// The thread beats this often while it waits.
const BEAT_INTERVAL: Duration = Duration::from_secs(1);

/// Whoever ends the process here gives its last lines so long to be written.
const FLUSH_MAX: Duration = Duration::from_millis(200);

pub struct Obedience {
    pub signals: Signals,
    pub health: Arc<Health>,
    /// The longest time that a drain may take.
    pub drain_timeout: Duration,
    /// Whoever reloads and drains reads here.
    pub requests: Requests,
    pub lines: Lines,
    /// Where it is noted that the daemon was asked to stop.
    pub planned: PlannedStop,
}

impl Obedience {
    /// The first signal to stop asks for a drain, the second ends the process at once, and so does a
    /// drain that takes too long. While the daemon is still starting nothing is owed to anyone, and
    /// the first one ends it; a reload waits until it has started.
    pub fn run(&self, heartbeat: &Heartbeat) {
        let mut ends_at: Option<Instant> = None;
        let mut stop: Option<&'static str> = None;
        loop {
            heartbeat.beat();
            // The queue may be full of reloads, one of which hangs: whoever waited for it could end nothing.
            stop = stop.filter(|signal| self.requests.try_send(Request::Stop(signal)).is_err());
            let left = ends_at.map(|at| at.saturating_duration_since(Instant::now()));
            if left.is_some_and(|left| left.is_zero()) {
                let limit_secs = self.drain_timeout.as_secs();
                tracing::error!(limit_secs, "not drained in time, ending");
                self.end(1);
            }
            match self.signals.wait(left.unwrap_or(BEAT_INTERVAL).min(BEAT_INTERVAL)) {
                None => {}
                // One that finds the queue full is as good as one that waits there already.
                Some(SignalRequest::Reload) => drop(self.requests.try_send(Request::Reload(None))),
                Some(SignalRequest::Stop(signal)) if !self.health.is_serving() => {
                    tracing::info!(signal, "stopped while starting");
                    self.planned.note(FLUSH_MAX);
                    self.end(0);
                }
                Some(SignalRequest::Stop(signal)) if ends_at.is_some() => {
                    tracing::warn!(signal, "second signal, ending at once");
                    self.end(1);
                }
                Some(SignalRequest::Stop(signal)) => {
                    ends_at = Some(Instant::now() + self.drain_timeout);
                    stop = Some(signal);
                    self.planned.note(Duration::ZERO);
                }
            }
        }
    }

    fn end(&self, code: i32) -> ! {
        self.lines.flush(FLUSH_MAX);
        exit(code)
    }
}
