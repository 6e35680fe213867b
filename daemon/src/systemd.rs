//! What systemd is told: ready, status, alive, stopping. Silent where nobody listens. The only
//! file that names sd-notify.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::health::Health;

/// Shorter watchdog periods than this can't be met honestly on a loaded board.
const WATCHDOG_PERIOD_MIN: Duration = Duration::from_millis(100);

/// Messages to the service manager, in the order of a service's life.
#[derive(Clone, Copy, Debug)]
pub struct Notifier;

impl Notifier {
    pub fn status(self, text: &str) {
        // A line break would start a field of its own.
        let line: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        notify(&[NotifyState::Status(&line)]);
    }

    pub fn ready(self) {
        notify(&[NotifyState::Ready]);
    }

    pub fn stopping(self) {
        notify(&[NotifyState::Stopping]);
    }
}

fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::debug!(%error, "the service manager was not reached");
    }
}

/// Pings while Health says alive, from a thread of its own: a stuck runtime must not ping, and a
/// busy one must not miss a ping.
pub struct Watchdog {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Nothing when the service manager asks for no pings.
    pub fn start(health: Arc<Health>) -> Option<Watchdog> {
        let period =
            sd_notify::watchdog_enabled().filter(|period| *period >= WATCHDOG_PERIOD_MIN)?;
        let (stop, stopped) = mpsc::channel();
        let thread = std::thread::Builder::new()
            .name("watchdog".into())
            .spawn(move || {
                while stopped.recv_timeout(period / 3) == Err(RecvTimeoutError::Timeout) {
                    match health.liveness() {
                        Ok(()) => notify(&[NotifyState::Watchdog]),
                        // Said before the service manager kills us, so that the log has the why.
                        Err(stuck) => tracing::error!(%stuck, "no watchdog ping"),
                    }
                }
            })
            .expect("the kernel has room for one more thread at start");
        Some(Watchdog { stop, thread })
    }

    pub fn stop(self) {
        drop(self.stop);
        let _ = self.thread.join();
    }
}
