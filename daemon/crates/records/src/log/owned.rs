//! The prediction log as its daemon has it: the log in a directory, with the room on its disk, its view and
//! its readers. One thread owns it, and drops it after an error.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::directory::{lock, lock_existing};
use super::healing::{Hole, scrub};
use super::medium::Disk;
use super::position::Stream;
use super::repair::NotRepaired;
use super::shelf::{LogReader, Shelf};
use super::sizes::Retention;
use super::snapshot::Beside;
use super::staged::Group;
use super::store::{Log, Opened};
use super::takeover::Inheritance;
use super::trouble::Trouble;
use super::viewing::Viewer;
use crate::error::{LogError, StoreError, StoreFault};
use crate::headroom::Headroom;
use picket_base::clock::Stamp;
use picket_base::disk;

/// From a commit to the checkpoint that puts it into sealed files, at most.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(30);

/// Between two looks at the size and the age of what is kept.
const RETIRE_INTERVAL: Duration = Duration::from_secs(5);

/// The view has this long to take in what is left where the log ends early.
const VIEW_END_MAX: Duration = Duration::from_millis(400);

/// Steps of retention in one go at most; the next go takes the rest.
const RETIRE_STEPS: usize = 8;

/// The log, open for its owner.
pub struct PredictionLog {
    dir: PathBuf,
    log: Log,
    headroom: Headroom,
    shelf: Arc<Shelf>,
    viewer: Viewer,
    lock: Disk,
    found: Vec<Found>,
    /// When the first commit since the last checkpoint was made.
    unsealed_since: Option<Instant>,
    retired_at: Instant,
    /// Bytes on disk beside the sealed files, as of then.
    beside: u64,
    repaired: u64,
}

/// What opening a log has found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Found {
    /// There was none, and it was made.
    Made { store: u64 },
    /// Which log, and the how-manieth opening of it, and the number that it gives next.
    Opened { store: u64, opening: u32, next: u64 },
    /// Records of a batch that a power cut left incomplete, which nobody was promised.
    TakenBack(u64),
    /// What it goes on from.
    Inherited(Inheritance),
    /// So many records between two numbers could not be read.
    Lost { records: u64, after: u64, before: u64 },
}

impl Found {
    /// Labels of the metric that counts what was found.
    pub const LABELS: [&str; 4] = ["made", "taken_back", "inherited", "lost"];

    /// Whether any start may find that.
    pub fn is_ordinary(&self) -> bool {
        matches!(self, Found::Made { .. } | Found::Opened { .. })
    }

    /// Returns the label of what is out of the ordinary, one of `LABELS`.
    pub fn label(&self) -> Option<&'static str> {
        match self {
            Found::Made { .. } => Some("made"),
            Found::Opened { .. } => None,
            Found::TakenBack(_) => Some("taken_back"),
            Found::Inherited(_) => Some("inherited"),
            Found::Lost { .. } => Some("lost"),
        }
    }
}

impl std::fmt::Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Found::Made { store } => write!(f, "made log {store:016x}: there was none"),
            Found::Opened { store, opening, next } => {
                write!(f, "log {store:016x}, opening {opening}, continues with {next}")
            }
            Found::TakenBack(records) => write!(f, "took back {records} records of a cut batch"),
            Found::Inherited(inheritance) => inheritance.fmt(f),
            Found::Lost { records, after, before } => {
                write!(f, "{records} records between {after} and {before} can't be read")
            }
        }
    }
}

impl PredictionLog {
    /// Opens the log in `dir`, or makes one there unless a log of this store is expected.
    ///
    /// # Errors
    /// `Directory` or `Locked` when the directory can't be used, `NoRoom` when the disk is full or read-only,
    /// `Newer` when a newer version has written it, `Gone` when what was expected is not there, `Open` when
    /// the disk fails.
    pub fn open(
        dir: &Path,
        retention: Retention,
        reader: &LogReader,
        expected: Option<u64>,
    ) -> Result<PredictionLog, LogError> {
        let locked = if expected.is_some() { lock_existing(dir) } else { lock(dir) };
        let locked = locked.map_err(|trouble| trouble.of(dir))?;
        let mut headroom = Headroom::new(dir);
        headroom.check_for_open()?;
        let opened = Log::open_on(locked.clone(), expected);
        let (mut log, opened) = opened.map_err(|trouble| match trouble {
            Trouble::Io(error) => LogError::Open { path: dir.into(), error: error.into() },
            other => other.of(dir),
        })?;
        log.set_limits([retention.own, retention.reported]);
        let found = found(&log, opened);
        let shelf = reader.shelf.clone();
        shelf.put_marks(log.marks().clone());
        shelf.put(Some(Arc::new(log.snapshot())));
        let viewer = Viewer::start(dir, &shelf);
        Ok(PredictionLog {
            dir: dir.to_path_buf(),
            log,
            headroom,
            shelf,
            viewer,
            lock: locked,
            found,
            unsealed_since: None,
            retired_at: Instant::now(),
            beside: beside(dir),
            repaired: 0,
        })
    }

    /// Which log this is.
    pub fn store(&self) -> u64 {
        self.log.author().store
    }

    /// Returns the number that the next record will have.
    pub fn next_id(&self) -> u64 {
        self.log.position().next
    }

    /// Sets other limits, which hold from the next commit on.
    pub fn set_retention(&mut self, retention: Retention) {
        self.log.set_limits([retention.own, retention.reported]);
    }

    /// Returns what was found when it was opened.
    pub fn found(&self) -> &[Found] {
        &self.found
    }

    /// Returns the number of records and their bytes on disk, of one stream.
    pub fn size(&self, stream: Stream) -> (u64, u64) {
        let lane = self.log.position().lane(stream);
        (lane.next - lane.kept_from, self.log.sealed[stream as usize].bytes())
    }

    /// Returns the bytes that all of it takes on disk, as of a few seconds ago.
    pub fn disk_bytes(&self) -> u64 {
        self.beside + Stream::ALL.iter().map(|stream| self.size(*stream).1).sum::<u64>()
    }

    /// Returns how many damaged stores version 0.1 has set aside beside it.
    pub fn quarantines(&self) -> usize {
        crate::before::set_aside(&self.dir).map_or(0, |names| names.len())
    }

    /// Returns how many records can't be read.
    pub fn lost(&self) -> u64 {
        self.log.losses.iter().map(|loss| loss.records).sum()
    }

    /// Returns how many records were written anew since it was opened, from where they could be read.
    pub fn repaired(&self) -> u64 {
        self.repaired
    }

    /// Whether there is room to write, and the log is where the next start would find it; looks at the disk.
    ///
    /// # Errors
    /// `NoRoom` and `Gone`.
    pub fn check(&mut self) -> Result<(), LogError> {
        self.log.check_place().map_err(|trouble| trouble.of(&self.dir))?;
        Ok(self.headroom.check()?)
    }

    /// Returns what was free on the disk when it was last looked at.
    pub fn free_bytes(&self) -> u64 {
        self.headroom.free_bytes()
    }

    /// Leaves out the numbers before `id`: they were given to records that the disk then lost.
    ///
    /// # Errors
    /// As `commit`.
    pub fn resume_at(&mut self, id: u64) -> Result<(), LogError> {
        let left_out = self.log.leave_out(id, super::item::Void::Dropped);
        self.show(left_out)
    }

    /// Returns once these groups are on the medium, each all or none, under the next numbers; gives the first
    /// numbers of those that can't be stored.
    ///
    /// # Errors
    /// `Write` and `Gone`; none of these groups is promised then, and the log is to be dropped.
    pub fn commit(&mut self, groups: &[Group]) -> Result<Vec<u64>, LogError> {
        self.commit_in_steps(groups, &mut || ())
    }

    /// Does the same, and calls `progress` after each step: a large batch on a slow disk takes long, and its
    /// thread is to show that it goes on.
    ///
    /// # Errors
    /// As `commit`.
    pub fn commit_in_steps(
        &mut self,
        groups: &[Group],
        progress: &mut dyn FnMut(),
    ) -> Result<Vec<u64>, LogError> {
        let committed = self.log.commit_in_steps(groups, progress);
        self.unsealed_since.get_or_insert_with(Instant::now);
        let retired = committed.and_then(|refused| self.retire(progress).map(|()| refused));
        self.show(retired)
    }

    /// Returns the time until `idle` has something to do.
    pub fn idle_work_due(&self) -> Duration {
        if self.viewer.has_holes() {
            return Duration::ZERO;
        }
        let retire = RETIRE_INTERVAL.saturating_sub(self.retired_at.elapsed());
        let seal = self.unsealed_since.map(|at| CHECKPOINT_INTERVAL.saturating_sub(at.elapsed()));
        seal.unwrap_or(retire).min(retire)
    }

    /// Does what waits until nothing else is to do: the checkpoint of commits long past, retention by age,
    /// mending what the view's thread found damaged.
    ///
    /// # Errors
    /// As `commit`.
    pub fn idle(&mut self) -> Result<(), LogError> {
        self.viewer.watch();
        if self.viewer.has_holes() {
            let mended = self.mend(self.viewer.holes());
            self.viewer.mended();
            self.show(mended)?;
        }
        let mut done = Ok(());
        if self.unsealed_since.is_some_and(|at| at.elapsed() >= CHECKPOINT_INTERVAL) {
            done = self.seal();
        }
        let done = done.and_then(|()| self.retire(&mut || ()));
        self.show(done)
    }

    /// Puts all that was committed into sealed files.
    ///
    /// # Errors
    /// As `commit`.
    pub fn checkpoint(&mut self) -> Result<(), LogError> {
        let sealed = self.seal();
        self.show(sealed)
    }

    /// Puts all that was committed into sealed files, and into the view as far as `view_time` allows: who
    /// closes the log gives up what is in memory.
    ///
    /// # Errors
    /// As `commit`.
    pub fn close(mut self, view_time: Duration) -> Result<(), LogError> {
        let deadline = Instant::now() + view_time;
        self.checkpoint()?;
        if !self.viewer.has_looked() {
            // After a short life: what is damaged is read from the view only while the log is open.
            let healed = self.heal(deadline);
            self.show(healed)?;
        }
        self.viewer.end(deadline);
        Ok(())
    }

    /// Goes on without the view, as a disk does that is all that is to be measured.
    pub fn end_view(&mut self) {
        self.viewer.end(Instant::now() + VIEW_END_MAX);
    }

    fn seal(&mut self) -> Result<(), Trouble> {
        self.log.checkpoint()?;
        self.unsealed_since = None;
        self.viewer.wake();
        Ok(())
    }

    fn retire(&mut self, progress: &mut dyn FnMut()) -> Result<(), Trouble> {
        let due = self.retired_at.elapsed() >= RETIRE_INTERVAL;
        if !due && !self.log.is_over_count() && !self.log.is_far_over() {
            return Ok(());
        }
        if due {
            self.retired_at = Instant::now();
            self.beside = beside(&self.dir);
        }
        for _ in 0..RETIRE_STEPS {
            progress();
            if self.log.retire(self.beside, &Stamp::now())? > 0 {
                continue;
            }
            // Only what is sealed can go.
            if self.log.is_sealed() || !self.log.is_far_over() {
                break;
            }
            self.seal()?;
        }
        Ok(())
    }

    /// Looks for what can't be read, and mends it.
    fn heal(&mut self, deadline: Instant) -> Result<(), Trouble> {
        let holes = scrub(&self.log.snapshot(), || Instant::now() < deadline);
        let holes = holes.map_err(Trouble::Io)?;
        if holes.is_empty() { Ok(()) } else { self.mend(holes) }
    }

    fn mend(&mut self, holes: Vec<(Stream, Hole)>) -> Result<(), Trouble> {
        let Some(view) = self.shelf.view() else { return Ok(()) };
        // Origins that no file names any more are needed to read what the view has.
        if let Err(error) = view.teach(&mut self.log.known) {
            tracing::warn!(%error, "the log's view could not be asked for origins");
        }
        match self.log.mend(holes, &view) {
            Ok(repaired) => {
                self.repaired += repaired.records;
                if repaired.records > 0 {
                    let records = repaired.records;
                    tracing::warn!(records, "damaged records were written anew from the view");
                }
                for (_, hole) in repaired.left {
                    let (records, after, before) = (hole.to - hole.from, hole.after, hole.before);
                    tracing::error!(records, after, before, "records can't be read anywhere");
                }
                Ok(())
            }
            Err(NotRepaired::Files(trouble)) => Err(trouble),
            Err(NotRepaired::View(error)) => {
                tracing::warn!(%error, "the log's view could not be read to repair records");
                Ok(())
            }
        }
    }

    /// Shows the readers what has come of something, and tells the owner.
    fn show<T>(&mut self, done: Result<T, Trouble>) -> Result<T, LogError> {
        match done {
            Ok(done) => {
                if self.log.is_sealed() {
                    self.unsealed_since = None;
                }
                self.shelf.put(Some(Arc::new(self.log.snapshot())));
                Ok(done)
            }
            Err(Trouble::Io(error)) => {
                let error = StoreError::from(error);
                if error.fault == StoreFault::Full {
                    self.headroom.exhausted();
                }
                Err(LogError::Write(error))
            }
            Err(other) => Err(other.of(&self.dir)),
        }
    }
}

impl Drop for PredictionLog {
    fn drop(&mut self) {
        self.viewer.end(Instant::now() + VIEW_END_MAX);
        self.shelf.put(None);
        // A reader may have a page to finish, or the view's thread hang: the next opening does not wait.
        self.lock.unlock();
    }
}

fn found(log: &Log, opened: Opened) -> Vec<Found> {
    let author = log.author();
    let (store, opening, next) = (author.store, author.epoch, log.position().next);
    let mut found = Vec::new();
    found.push(if opened.made {
        Found::Made { store }
    } else {
        Found::Opened { store, opening, next }
    });
    if opened.taken_back > 0 {
        found.push(Found::TakenBack(opened.taken_back));
    }
    found.extend(opened.inheritance.map(Found::Inherited));
    found.extend(opened.losses.iter().map(|loss| Found::Lost {
        records: loss.records,
        after: loss.after,
        before: loss.before,
    }));
    found
}

/// Returns the bytes on disk of what is beside the sealed files, most of it the view. The journal always takes
/// the same, and the reserve is given back before anything else goes.
fn beside(dir: &Path) -> u64 {
    let allocated = |dir: &Path| -> u64 {
        let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
        let files = entries.filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            !name.ends_with(super::segment::SUFFIX)
                && name != crate::headroom::FILE_NAME
                && name != super::journal::FILE_NAME
        });
        let sizes = files.filter_map(|entry| entry.metadata().ok());
        let sizes = sizes.filter(std::fs::Metadata::is_file);
        sizes.map(|metadata| disk::allocated_bytes(&metadata)).sum()
    };
    allocated(dir) + allocated(&dir.join(super::upkeep::DIR_NAME))
}
