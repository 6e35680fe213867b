//! What the owner of the log and the view's thread tell each other. It knows neither.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::healing::Hole;
use super::position::Stream;

#[derive(Debug)]
pub(super) struct Shared {
    /// It hangs and another has taken its place.
    pub(super) abandoned: AtomicBool,
    /// All that is sealed was read.
    pub(super) looked: AtomicBool,
    state: Mutex<State>,
    pub(super) changed: Condvar,
}

#[derive(Debug)]
pub(super) struct State {
    pub(super) beat: Instant,
    /// By when it has to have ended.
    pub(super) end: Option<Instant>,
    pub(super) ended: bool,
    /// What can't be read, for the owner to mend.
    pub(super) holes: Option<Vec<(Stream, Hole)>>,
}

impl Shared {
    /// Begins with a thread that has just given a sign of life.
    pub(super) fn new() -> Shared {
        let (beat, end, ended, holes) = (Instant::now(), None, false, None);
        let state = Mutex::new(State { beat, end, ended, holes });
        let (abandoned, looked) = (AtomicBool::new(false), AtomicBool::new(false));
        Shared { abandoned, looked, state, changed: Condvar::new() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("nobody panics with the view's state in hand")
    }

    pub(super) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        left: Duration,
    ) -> MutexGuard<'a, State> {
        let waited = self.changed.wait_timeout(state, left);
        waited.expect("nobody panics with the view's state in hand").0
    }

    pub(super) fn ended(&self) {
        self.lock().ended = true;
        self.changed.notify_all();
    }

    /// Waits for the thread to end. One that does not is left to itself: what it holds nobody needs.
    pub(super) fn wait_for_end(&self, deadline: Instant) -> bool {
        let mut state = self.lock();
        while !state.ended {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                self.abandoned.store(true, Ordering::Release);
                return false;
            }
            state = self.wait(state, left);
        }
        true
    }

    pub(super) fn is_over(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}
