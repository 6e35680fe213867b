//! How long anything is waited for. It knows nothing of what is waited for.

use std::time::{Duration, Instant};

/// The longest wait for anything that a healthy daemon does: far above the slowest machine's time,
/// so that only a hang reaches it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// The pause between two looks at something that is about to happen.
const POLL_INTERVAL: Duration = Duration::from_millis(3);

/// Asks until `done`; false if it is still not done after `limit`.
pub fn wait_for(limit: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + limit;
    while !done() {
        if Instant::now() > deadline {
            return false;
        }
        std::thread::sleep(POLL_INTERVAL);
    }
    true
}
