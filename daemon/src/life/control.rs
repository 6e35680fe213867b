//! The socket on which the command line asks a running daemon: where it lies, and that it comes and goes
//! with the log. A socket keeps its disk from being unmounted, and so from being repaired.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use super::error::RunError;
use super::part::Parts;
use crate::health::{Health, Heartbeat, Work};
use crate::http::HttpMetrics;
use crate::http::api::{self, Api};
use crate::http::listener::{BindError, Listener, Patience, Server};
use crate::memory::Shares;
use picket_base::budget::{Budget, Class};
use picket_base::disk;
use picket_records::LogReader;

/// Connections that the command line may open.
pub const CONTROL_CONNECTIONS_MAX: usize = 8;

/// The log is looked at this often.
const TEND_INTERVAL: Duration = Duration::from_secs(1);

/// While the disk does not take the socket it is tried this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// Longest wait for open questions: whoever asks can ask again, and a drain has little time left by then.
const DRAIN_TIMEOUT: Duration = Duration::from_millis(250);

/// What the control listener is made of.
pub struct ControlSetup {
    pub path: PathBuf,
    pub api: Arc<Api>,
    pub health: Arc<Health>,
    pub metrics: Arc<HttpMetrics>,
    pub reader: LogReader,
    pub budget: Budget,
    pub patience: Patience,
    pub deadline: Duration,
}

/// The control listener, open while the log is.
pub struct Control {
    setup: ControlSetup,
    open: Option<Parts>,
    tried: Option<Instant>,
}

impl Control {
    pub fn new(setup: ControlSetup) -> Control {
        Control { setup, open: None, tried: None }
    }

    /// Has the listener follow the log until told to stop, on a thread of its own: the disk may hold up
    /// whoever makes or removes a file on it.
    pub fn run(mut self, heartbeat: &Heartbeat, stopped: &Receiver<()>) {
        while stopped.recv_timeout(TEND_INTERVAL) == Err(RecvTimeoutError::Timeout) {
            heartbeat.busy(Work::ControlSocket);
            if let Err(error) = self.tend() {
                let error = picket_base::chain(&error);
                tracing::error!(error, "picket log can't ask this daemon");
            }
            heartbeat.beat();
        }
    }

    /// Opens the listener where the log is open, and closes it where the log is not.
    ///
    /// # Errors
    /// When another process or a foreign file has the socket's place: then somebody else would answer for
    /// this daemon. A disk without room for it is tried again.
    pub fn tend(&mut self) -> Result<(), RunError> {
        if !self.setup.reader.is_open() {
            self.open = None;
            self.tried = None;
            return Ok(());
        }
        if self.open.is_some() || self.tried.is_some_and(|at| at.elapsed() < RETRY_INTERVAL) {
            return Ok(());
        }
        let is_first = self.tried.replace(Instant::now()).is_none();
        match Listener::private(&self.setup.path) {
            Ok(listener) => {
                self.open = Some(self.serve(listener)?);
                self.tried = None;
                Ok(())
            }
            Err(error) if may_pass(&error) => {
                if is_first {
                    let error = picket_base::chain(&error);
                    tracing::warn!(error, "picket log can't ask this daemon, trying again");
                }
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    fn serve(&self, listener: Listener) -> Result<Parts, RunError> {
        let setup = &self.setup;
        let heartbeat = setup.health.heartbeat("control", setup.deadline);
        let server = Server {
            name: "control",
            connections_max: CONTROL_CONNECTIONS_MAX,
            // Who comes by it has no address, and no share.
            per_address_max: 1,
            patience: setup.patience,
            drain_timeout: DRAIN_TIMEOUT,
            heartbeat: heartbeat.clone(),
            metrics: setup.metrics.clone(),
            tls: None,
            // They are few, and part of the daemon's own memory.
            budget: None,
            answers: Some(Shares::new(setup.budget.clone(), Class::Maintenance)),
        };
        let opened = server.open(listener, api::control_routes(setup.api.clone()));
        let (opened, stop) = opened.map_err(|source| {
            heartbeat.retire();
            RunError::Listener { name: "control".into(), source }
        })?;
        let mut parts = Parts::default();
        parts.start(heartbeat, |_| opened.serve(), move || stop.stop())?;
        Ok(parts)
    }
}

/// Whether waiting may help: a disk that is full, read-only, broken or not there.
fn may_pass(error: &BindError) -> bool {
    let cause = error.cause();
    let of_the_disk = matches!(
        cause.kind(),
        ErrorKind::StorageFull
            | ErrorKind::QuotaExceeded
            | ErrorKind::ReadOnlyFilesystem
            | ErrorKind::NotFound
    );
    of_the_disk || disk::is_io_error(cause)
}
