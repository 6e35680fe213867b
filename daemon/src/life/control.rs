//! The socket on which the command line asks a running daemon: where it lies, and what is done while the
//! disk has no room for it.

use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::error::RunError;
use super::part::Parts;
use crate::health::Health;
use crate::http::HttpMetrics;
use crate::http::api::{self, Api};
use crate::http::listener::{BindError, Listener, Server};
use picket_base::disk;

/// Connections that the command line may open.
pub const CONTROL_CONNECTIONS_MAX: usize = 8;

/// While the disk does not take the socket it is tried this often.
const RETRY_INTERVAL: Duration = Duration::from_secs(10);

/// The control listener before it listens.
pub struct Control {
    pub path: PathBuf,
    pub api: Arc<Api>,
    pub health: Arc<Health>,
    pub metrics: Arc<HttpMetrics>,
    pub deadline: Duration,
    pub drain_timeout: Duration,
    pub tried: Option<Instant>,
}

impl Control {
    /// Starts the listener, or gives itself back while the disk is at fault: the daemon serves on a full
    /// disk too.
    ///
    /// # Errors
    /// When another process or a foreign file has its place: then somebody else would answer for this
    /// daemon.
    pub fn start(mut self, parts: &mut Parts) -> Result<Option<Control>, RunError> {
        if self.tried.is_some_and(|at| at.elapsed() < RETRY_INTERVAL) {
            return Ok(Some(self));
        }
        match Listener::private(&self.path) {
            Ok(listener) => self.serve(listener, parts).map(|()| None),
            Err(error) if may_pass(&error) => {
                if self.tried.is_none() {
                    let error = picket_base::chain(&error);
                    tracing::warn!(error, "picket log can't ask this daemon, trying again");
                }
                self.tried = Some(Instant::now());
                Ok(Some(self))
            }
            Err(error) => Err(error.into()),
        }
    }

    fn serve(self, listener: Listener, parts: &mut Parts) -> Result<(), RunError> {
        let heartbeat = self.health.heartbeat("control", self.deadline);
        let server = Server {
            name: "control",
            connections_max: CONTROL_CONNECTIONS_MAX,
            per_address_max: CONTROL_CONNECTIONS_MAX,
            drain_timeout: self.drain_timeout,
            heartbeat: heartbeat.clone(),
            metrics: self.metrics,
            tls: None,
        };
        let (opened, stop) = server
            .open(listener, api::control_routes(self.api))
            .map_err(|source| RunError::Listener { name: "control".into(), source })?;
        Ok(parts.start(heartbeat, |_| opened.serve(), move || stop.stop())?)
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
