//! The work of the view's thread: it feeds the view with what is sealed, at idle priority, and looks for what
//! can't be read in either. Whatever is wrong with the view, it is thrown away and made anew, while readers do
//! without.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use super::feeding::{NotFed, Source};
use super::healing::scrub;
use super::lookup::Lookup;
use super::position::Stream;
use super::shelf::Shelf;
use super::snapshot::Snapshot;
use super::view::View;
use super::view_state::Shared;
use crate::error::StoreError;

pub(crate) const DIR_NAME: &str = "view";

/// One that was thrown away, until it is removed.
const OLD_NAME: &str = "view.old";

/// Between two looks for what is new.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// From what it was fed to its sync. With the time to a checkpoint that is less than a minute from a commit.
const SYNC_INTERVAL: Duration = Duration::from_secs(25);

/// Records that it is fed between two looks at anything else.
const STEP_RECORDS: u64 = 1_000;

/// All that is sealed is read once in this time.
const SCRUB_INTERVAL: Duration = Duration::from_secs(24 * 3600);

/// While much is to be done, it works so long and then rests as long as it has worked.
const WORK_TIME: Duration = Duration::from_millis(20);

/// A view that fails again is made anew after a pause that doubles up to this.
const PAUSE_MAX: Duration = Duration::from_secs(300);

/// Why a view is thrown away, or the thread ends.
#[derive(Debug, thiserror::Error)]
enum Unfit {
    #[error("it is another store's, or another version's")]
    Foreign,
    #[error("it has other records than the log")]
    Different,
    #[error("a reader could not read it")]
    Distrusted,
    #[error("it does not hold what it says")]
    Untrue,
    #[error(transparent)]
    Failed(#[from] StoreError),
    #[error("the log can't be read: {0}")]
    Log(std::io::Error),
    #[error("the log is gone")]
    Gone,
}

impl From<NotFed> for Unfit {
    fn from(error: NotFed) -> Unfit {
        match error {
            NotFed::Files(error) => Unfit::Log(error),
            NotFed::View(error) => Unfit::Failed(error),
        }
    }
}

/// What the thread works on.
pub(super) struct Work {
    dir: PathBuf,
    shelf: Arc<Shelf>,
    shared: Arc<Shared>,
    /// Since when it has worked without a rest.
    worked: Instant,
    /// Whether it takes in what is left at the end of the log.
    finishes: bool,
}

impl Work {
    pub(super) fn new(dir: &Path, shelf: &Arc<Shelf>, shared: &Arc<Shared>) -> Work {
        let (dir, shelf, shared) = (dir.to_path_buf(), shelf.clone(), shared.clone());
        Work { dir, shelf, shared, worked: Instant::now(), finishes: false }
    }

    /// Works until the log ends. Returns the view, if it is fit.
    pub(super) fn run(&mut self) -> Option<View> {
        let mut left = None;
        let mut pause = LOOK_INTERVAL;
        while !self.is_ending() {
            let served = catch_unwind(AssertUnwindSafe(|| self.serve()));
            self.put(None);
            self.shelf.set_view_opens(None);
            picket_base::priority::lower();
            let why = match served {
                Ok(Ok(view)) => {
                    left = Some(view);
                    break;
                }
                Ok(Err(Unfit::Gone)) => "the log is gone".to_string(),
                Ok(Err(error @ Unfit::Log(_))) => error.to_string(),
                Ok(Err(unfit)) => {
                    self.throw_away();
                    unfit.to_string()
                }
                Err(_) => {
                    self.throw_away();
                    "it panicked".to_string()
                }
            };
            tracing::warn!(why, "the log's view is made anew");
            self.rest(pause);
            pause = (pause * 2).min(PAUSE_MAX);
        }
        self.shared.ended();
        left
    }

    /// Takes in what is left at the end of the log.
    pub(super) fn finish(mut self, mut view: View) {
        self.finishes = true;
        let finished = catch_unwind(AssertUnwindSafe(|| {
            let log = self.log()?;
            self.feed(&log, &mut view)?;
            Ok::<(), Unfit>(view.sync()?)
        }));
        if !matches!(finished, Ok(Ok(()) | Err(Unfit::Log(_) | Unfit::Gone))) {
            tracing::warn!("the log's view could not be finished, it will be made anew");
            self.throw_away();
        }
        drop(view);
        self.shared.ended();
    }

    fn throw_away(&self) {
        if !self.shared.is_over() && self.log().is_ok() {
            throw_away(&self.dir);
        }
    }

    fn put(&self, view: Option<Lookup>) {
        self.shelf.put_view(view, || self.shared.is_over());
    }

    fn log(&self) -> Result<Arc<Snapshot>, Unfit> {
        let log = self.shelf.log().ok_or(Unfit::Gone)?;
        if log.medium.is_at_its_path() { Ok(log) } else { Err(Unfit::Gone) }
    }

    fn beat(&self) {
        self.shared.lock().beat = Instant::now();
    }

    fn is_ending(&self) -> bool {
        self.shared.is_over() || self.shared.lock().end.is_some()
    }

    fn is_out_of_time(&self) -> bool {
        let end = self.shared.lock().end.filter(|end| !self.finishes || Instant::now() >= *end);
        self.shared.is_over() || end.is_some()
    }

    /// Waits until it is to end, or for so long; somebody may wake it earlier.
    fn rest(&self, time: Duration) {
        let mut state = self.shared.lock();
        if state.end.is_none() {
            state = self.shared.wait(state, time);
        }
        state.beat = Instant::now();
    }

    /// Rests once it has worked for a while, so that the rest of the machine comes to its turn.
    fn pace(&mut self) {
        self.beat();
        let worked = self.worked.elapsed();
        if worked >= WORK_TIME {
            if !self.is_ending() {
                std::thread::sleep(worked.min(LOOK_INTERVAL));
            }
            self.worked = Instant::now();
        }
    }

    /// Opens the view and keeps it up to date until the log ends.
    fn serve(&mut self) -> Result<View, Unfit> {
        let log = self.log()?;
        let store = log.author.ok_or(Unfit::Gone)?.store;
        let opened = View::open(&self.dir.join(DIR_NAME), store, &log.known)?;
        let mut view = opened.ok_or(Unfit::Foreign)?;
        let kept = self.keep(&log, &mut view);
        if matches!(kept, Err(Unfit::Different | Unfit::Distrusted | Unfit::Failed(_))) {
            // Before it goes, the log takes what it lacks itself, where that fits.
            self.put(Some(view.lookup()));
            let _ = self.scrub();
        }
        kept.map(|()| view)
    }

    fn keep(&mut self, log: &Snapshot, view: &mut View) -> Result<(), Unfit> {
        for stream in Stream::ALL {
            if !source(log, stream).is_seen_by(view).map_err(Unfit::Log)? {
                return Err(Unfit::Different);
            }
        }
        if !log.losses.is_empty() {
            // What is lost may have been the only word of some origins.
            view.lookup().teach(&mut log.known.clone())?;
        }
        self.put(Some(view.lookup()));
        self.shelf.set_view_opens(None);
        // Only now: a reader that misses records waits until the view is open.
        picket_base::priority::lower();
        let (mut scrubbed, mut fed) = (None::<Instant>, None::<Instant>);
        let mut first = [0; 2];
        loop {
            if self.shelf.take_distrust() {
                return Err(Unfit::Distrusted);
            }
            let log = self.log()?;
            if self.feed(&log, view)? {
                fed.get_or_insert_with(Instant::now);
            }
            for stream in Stream::ALL {
                let oldest = log.position.lane(stream).first;
                if std::mem::replace(&mut first[stream as usize], oldest) != oldest {
                    view.remove_before(stream, oldest)?;
                }
            }
            if self.is_ending() {
                return Ok(());
            }
            if fed.is_some_and(|at| at.elapsed() >= SYNC_INTERVAL) {
                view.sync()?;
                fed = None;
                self.put(Some(view.lookup()));
            }
            if scrubbed.is_none_or(|at| at.elapsed() >= SCRUB_INTERVAL) {
                self.scrub()?;
                self.shared.looked.store(true, Ordering::Release);
                self.audit(view)?;
                scrubbed = Some(Instant::now());
            }
            self.rest(LOOK_INTERVAL);
        }
    }

    /// Feeds the view with all that is sealed. Returns whether there was anything.
    fn feed(&mut self, log: &Snapshot, view: &mut View) -> Result<bool, Unfit> {
        let before = Stream::ALL.map(|stream| view.fed(stream).ordinal);
        for stream in Stream::ALL {
            while !source(log, stream).feed(view, STEP_RECORDS)? {
                if self.is_out_of_time() {
                    break;
                }
                self.pace();
                self.put(Some(view.lookup()));
            }
        }
        let fed = Stream::ALL.map(|stream| view.fed(stream).ordinal) != before;
        if fed {
            self.put(Some(view.lookup()));
        }
        Ok(fed)
    }

    /// Reads all of the view.
    fn audit(&mut self, view: &View) -> Result<(), Unfit> {
        let known = self.log()?.known.clone();
        let right = view.lookup().is_right(&known, || {
            self.pace();
            !self.is_ending()
        })?;
        if right { Ok(()) } else { Err(Unfit::Untrue) }
    }

    /// Reads all that is sealed, and has the owner mend what can't be read.
    fn scrub(&mut self) -> Result<(), Unfit> {
        let log = self.log()?;
        let holes = scrub(&log, || {
            self.pace();
            !self.is_ending()
        });
        let holes = holes.map_err(Unfit::Log)?;
        if holes.is_empty() || self.is_ending() {
            return Ok(());
        }
        let mut state = self.shared.lock();
        state.holes = Some(holes);
        while state.holes.is_some() && state.end.is_none() && !self.shared.is_over() {
            state = self.shared.wait(state, LOOK_INTERVAL);
            state.beat = Instant::now();
        }
        Ok(())
    }
}

fn source(log: &Snapshot, stream: Stream) -> Source<'_> {
    Source {
        medium: &*log.medium,
        known: &log.known,
        stream,
        lane: log.position.lane(stream),
        files: &log.files[stream as usize],
    }
}

/// Sets a view aside and removes it; what is left of it the next one removes.
pub(super) fn throw_away(dir: &Path) {
    let (view, old) = (dir.join(DIR_NAME), dir.join(OLD_NAME));
    let remove = || {
        let _ = std::fs::remove_dir_all(&old).or_else(|_| std::fs::remove_file(&old));
        std::fs::rename(&view, &old)?;
        std::fs::remove_dir_all(&old)
    };
    if let Err(error) = remove()
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, "the log's old view can't be removed");
    }
}
