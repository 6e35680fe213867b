//! That the daemon was asked to stop, noted beside its models: what happens from then on is not held against
//! the one that serves. A stalled disk holds nobody up, and neither does a model on trial.

use std::sync::mpsc;
use std::sync::{Arc, OnceLock};
use std::thread::Builder;
use std::time::Duration;

use picket_models::StopNote;

use crate::models::Wishes;

/// The note, once there is a store of models that it can be left with, and the keeper's trials.
#[derive(Clone, Default)]
pub struct PlannedStop(Arc<Plan>);

#[derive(Default)]
struct Plan {
    note: OnceLock<StopNote>,
    keeper: OnceLock<Wishes>,
}

impl PlannedStop {
    /// Has it noted by this from now on.
    pub fn leave_with(&self, note: StopNote) {
        // A daemon has one store of models, and starts once.
        let _ = self.0.note.set(note);
    }

    /// Has the trials of this keeper end with it.
    pub fn ends_trials_of(&self, keeper: Wishes) {
        // It has one, and starts it once.
        let _ = self.0.keeper.set(keeper);
    }

    /// Notes it on a thread of its own, and waits for that at most so long.
    pub fn note(&self, wait: Duration) {
        if let Some(keeper) = self.0.keeper.get() {
            keeper.end_trial();
        }
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
        if let Some(Err(error)) = self.0.note.get().map(StopNote::write) {
            let error = picket_base::chain(&error);
            tracing::warn!(error, "the stop can't be noted with the models");
        }
    }
}
