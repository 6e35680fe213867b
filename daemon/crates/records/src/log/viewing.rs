//! The view's thread, as the owner of the log has it: it starts it, leaves one to itself that hangs, and lets
//! another finish at the end. It knows nothing of what the thread does.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::healing::Hole;
use super::position::Stream;
use super::shelf::Shelf;
use super::upkeep::{Work, throw_away};
use super::view::View;
use super::view_state::Shared;

/// It hangs when nothing is heard of it for this long: a step takes milliseconds, also on a slow card.
const HANG: Duration = Duration::from_secs(180);

/// The view's thread, as the owner of the log has it.
pub(crate) struct Viewer {
    dir: PathBuf,
    shelf: Arc<Shelf>,
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Option<View>>>,
}

impl Viewer {
    /// Starts the thread for the log in `dir`.
    pub(crate) fn start(dir: &Path, shelf: &Arc<Shelf>) -> Viewer {
        let shared = Arc::new(Shared::new());
        shelf.set_view_opens(Some(Instant::now()));
        let mut work = Work::new(dir, shelf, &shared);
        let thread = std::thread::Builder::new().name("log-view".into()).spawn(move || work.run());
        if let Err(error) = &thread {
            tracing::warn!(%error, "the log goes without its view");
            shelf.set_view_opens(None);
        }
        let (dir, shelf) = (dir.to_path_buf(), shelf.clone());
        Viewer { dir, shelf, shared, thread: thread.ok() }
    }

    /// Whether the thread has read all that is sealed.
    pub(crate) fn has_looked(&self) -> bool {
        self.shared.looked.load(Ordering::Acquire)
    }

    /// Whether the owner has something to mend.
    pub(crate) fn has_holes(&self) -> bool {
        self.shared.lock().holes.is_some()
    }

    /// Takes what the owner is to mend; the thread goes on after `mended`.
    pub(crate) fn holes(&self) -> Vec<(Stream, Hole)> {
        self.shared.lock().holes.clone().unwrap_or_default()
    }

    pub(crate) fn mended(&self) {
        self.shared.lock().holes = None;
        self.shared.changed.notify_all();
    }

    /// Tells the thread that something was sealed.
    pub(crate) fn wake(&self) {
        self.shared.changed.notify_all();
    }

    /// Leaves a thread to itself that hangs, and starts another with a view of its own.
    pub(crate) fn watch(&mut self) {
        if self.shared.lock().beat.elapsed() < HANG || self.thread.is_none() {
            return;
        }
        tracing::warn!("the log's view hangs, it is made anew");
        self.shared.abandoned.store(true, Ordering::Release);
        self.shelf.put_view(None, || false);
        throw_away(&self.dir);
        *self = Viewer::start(&self.dir, &self.shelf);
    }

    /// Lets the thread end, and another take in what is left, whose priority is the caller's. What is not done
    /// by the deadline is left.
    pub(crate) fn end(&mut self, deadline: Instant) {
        let Some(thread) = self.thread.take() else { return };
        let mut state = self.shared.lock();
        state.end = Some(deadline);
        state.holes = None;
        drop(state);
        self.shared.changed.notify_all();
        if self.shared.wait_for_end(deadline)
            && let Ok(Some(view)) = thread.join()
        {
            self.finish(view, deadline);
        }
        self.shelf.put_view(None, || false);
    }

    fn finish(&self, view: View, deadline: Instant) {
        let work = Work::new(&self.dir, &self.shelf, &self.shared);
        self.shared.lock().ended = false;
        let thread = std::thread::Builder::new().name("log-view-end".into());
        let Ok(thread) = thread.spawn(move || work.finish(view)) else { return };
        if self.shared.wait_for_end(deadline) {
            let _ = thread.join();
        }
    }
}
