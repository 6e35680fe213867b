//! That the daemon was asked to stop, noted beside its models: what happens from then on is not held against
//! the one that serves. A stalled disk holds nobody up.

use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use std::time::Duration;

use picket_models::StopNote;

/// The note, once there is a store of models that it can be left with.
#[derive(Clone, Default)]
pub struct PlannedStop(Arc<OnceLock<StopNote>>);

impl PlannedStop {
    /// Has it noted by this from now on.
    pub fn leave_with(&self, note: StopNote) {
        // A daemon has one store of models, and starts once.
        let _ = self.0.set(note);
    }

    /// Notes it on a thread of its own, and waits for that at most so long.
    pub fn note(&self, wait: Duration) {
        let (done, noted) = mpsc::channel::<()>();
        let stop = self.clone();
        let work = move || {
            stop.write();
            drop(done);
        };
        if Builder::new().name("stop-note".to_string()).spawn(work).is_ok() {
            let _ = noted.recv_timeout(wait);
        }
    }

    /// Returns once it is noted, or can't be.
    pub fn write(&self) {
        if let Some(Err(error)) = self.0.get().map(StopNote::write) {
            let error = picket_base::chain(&error);
            tracing::warn!(error, "the stop can't be noted with the models");
        }
    }
}
