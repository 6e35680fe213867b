//! What systemd is told: ready, status, alive, stopping; and the sockets that it hands over. Silent
//! where nobody listens. The only file that names sd-notify.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread::JoinHandle;
use std::time::Duration;

use sd_notify::NotifyState;

use crate::health::Health;
use crate::os::{self, Inherited};

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

/// Sockets that the service manager listens on for us (`FileDescriptorName=` of their unit).
#[derive(Debug, Default)]
pub struct Sockets {
    pub api: Option<Inherited>,
    pub probe: Option<Inherited>,
}

#[derive(Debug, thiserror::Error)]
pub enum SocketsError {
    #[error("the service manager's sockets can't be taken over")]
    Protocol(#[source] std::io::Error),
    #[error(
        "the service manager hands over a socket named {0:?}, FileDescriptorName=api or probe is needed"
    )]
    Name(String),
    #[error("the service manager hands over two sockets named {0:?}, one is possible")]
    Twice(String),
    #[error("the service manager's socket {name:?} can't be used: {detail}")]
    Kind { name: String, detail: String },
}

impl Sockets {
    /// Must come before any thread is started: it takes the variables that announce the sockets
    /// out of the environment.
    ///
    /// # Errors
    /// Sockets that nobody here would serve, which would only look as if they worked.
    pub fn take() -> Result<Sockets, SocketsError> {
        let given = sd_notify::listen_fds_with_names().map(Iterator::collect::<Vec<_>>);
        for variable in ["LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"] {
            os::forget_variable(variable);
        }
        let mut sockets = Sockets::default();
        for (fd, name) in given.map_err(SocketsError::Protocol)? {
            let place = match name.as_str() {
                "api" => &mut sockets.api,
                "probe" => &mut sockets.probe,
                _ => return Err(SocketsError::Name(name)),
            };
            if place.is_some() {
                return Err(SocketsError::Twice(name));
            }
            *place = Some(os::adopt(fd).map_err(|detail| SocketsError::Kind { name, detail })?);
        }
        Ok(sockets)
    }
}
