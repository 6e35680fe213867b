//! A handle on sled's store: opening it while an earlier one still lets go, and dropping it whatever the
//! disk says. It knows nothing of what the store holds.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::error::{StoreError, StoreFault, guard};

/// How long a dropped handle may keep sled's lock, and how often it is asked for meanwhile.
const LEFTOVER_WAIT_MAX: Duration = Duration::from_secs(5);
const LEFTOVER_PAUSE: Duration = Duration::from_millis(10);

/// sled's store, which may go at any time: when the last of its handles does, sled syncs its file,
/// and panics where the disk refuses.
pub(crate) struct Handle(Option<sled::Db>);

impl std::ops::Deref for Handle {
    type Target = sled::Db;

    fn deref(&self) -> &sled::Db {
        self.0.as_ref().expect("it is there until it is dropped")
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        let db = self.0.take();
        // Nothing is lost by it: what was not acknowledged by then never is.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

/// Opens sled, and waits for its lock. The log's own lock is ours: who else can hold sled's is a handle
/// of this process that was dropped, whose threads are still ending, or one that a panic has leaked.
pub(crate) fn open_sled(config: &sled::Config) -> Result<Handle, StoreError> {
    let deadline = Instant::now() + LEFTOVER_WAIT_MAX;
    loop {
        match guard(|| config.open()) {
            Err(error) if error.detail.contains("could not acquire lock") => {
                if Instant::now() > deadline {
                    return Err(StoreError { fault: StoreFault::Store, ..error });
                }
                std::thread::sleep(LEFTOVER_PAUSE);
            }
            other => return other.map(|db| Handle(Some(db))),
        }
    }
}
