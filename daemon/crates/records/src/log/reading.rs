//! A log that nobody has open, or whose owner does not answer: read from its own files alone, without a lock
//! and without a write. It knows no view.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::medium::{Disk, Medium};
use super::pages::{NoPage, Snapshot};
use super::position::Stream;
use super::proof::{Testimony, Witness, prove_against};
use super::reader::Reader;
use super::removal::removal;
use super::survey::{Survey, Trouble};
use super::{journal, segment, takeover, witness};
use crate::error::LogError;
use crate::format::Damage;
use crate::removal::Removal;
use crate::{Item, PAGE_RECORDS_MAX, Page, Query};

/// A log whose owner is at work is read again so often before it is taken as it was found.
const ATTEMPTS: usize = 20;

/// The files of a log, as they were when it was opened.
pub(crate) struct StoppedLog {
    path: PathBuf,
    medium: Arc<dyn Medium>,
    survey: Survey,
}

/// What reading all of a stopped log has shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Findings {
    /// The numbers of the oldest and the newest record, 0 where there is none.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// Readable records.
    pub(crate) count: u64,
    /// Missing numbers, as inclusive ranges, numbers that can't be read, and those that are not what was
    /// written, by the chain: the first 1,000 of each.
    pub(crate) gaps: Vec<[u64; 2]>,
    pub(crate) corrupt: Vec<u64>,
    pub(crate) altered: Vec<u64>,
    pub(crate) head: String,
    /// How many records retention has taken, the newest number before those that are left of a stream that
    /// has lost any, and when the last went, epoch µs.
    pub(crate) retired: u64,
    pub(crate) retired_until: u64,
    pub(crate) retired_at_us: Option<i64>,
    pub(crate) witness: Option<Testimony>,
}

/// Whether there is a log of this layout in a directory.
pub(crate) fn is_log(dir: &Path) -> bool {
    let names = Disk::open(dir).and_then(|medium| medium.names()).unwrap_or_default();
    has_log(&names)
}

fn has_log(names: &[String]) -> bool {
    let sealed = Stream::ALL.iter().any(|stream| !segment::of_stream(*stream, names).is_empty());
    sealed || names.iter().any(|name| name == witness::FILE_NAME)
}

impl StoppedLog {
    /// Reads the files in `dir`, which may be on a read-only disk.
    ///
    /// # Errors
    /// `Directory` where there is no log, or it can't be read, `Newer` where a newer version has written it.
    pub(crate) fn open(dir: &Path) -> Result<StoppedLog, LogError> {
        let broken = |source| LogError::Directory { path: dir.to_path_buf(), source };
        let medium = Disk::open(dir).map_err(broken)?;
        if !has_log(&medium.names().map_err(broken)?) {
            return Err(broken(io::ErrorKind::NotFound.into()));
        }
        let medium = takeover::to_read(dir, medium).map_err(|trouble| to_error(dir, trouble))?;
        let survey = steady(&*medium).map_err(|trouble| to_error(dir, trouble))?;
        Ok(StoppedLog { path: dir.to_path_buf(), medium, survey })
    }

    /// Returns at most `PAGE_RECORDS_MAX` records from `from` on, oldest first.
    ///
    /// # Errors
    /// `Directory` where a file can't be opened.
    pub(crate) fn step(&self, from: u64) -> Result<Vec<Item>, LogError> {
        let mut reader = Reader::starting_at(&*self.medium, &self.survey, from);
        let mut step: Vec<Item> = Vec::new();
        while step.len() < PAGE_RECORDS_MAX {
            let Some(record) = reader.next().map_err(|e| self.broken(e))? else { break };
            let read = self.survey.known.to_record(record.id, &record.value);
            step.push((record.id, read.ok_or(Damage::Content)));
        }
        // What can't be read is named in its place, as far as the step goes.
        let end = if step.len() < PAGE_RECORDS_MAX { u64::MAX } else { step[step.len() - 1].0 };
        let spots = reader.damaged.iter().flat_map(|(_, spot)| spot.first..=spot.last);
        let damaged: Vec<u64> = spots.filter(|id| (from..=end).contains(id)).collect();
        for id in damaged {
            if !step.iter().any(|(read, _)| *read == id) {
                step.push((id, Err(Damage::Checksum)));
            }
        }
        step.sort_by_key(|(id, _)| *id);
        Ok(step)
    }

    /// Returns a page of the records that `query` asks for, newest first.
    ///
    /// # Errors
    /// As `step`.
    pub(crate) fn query(&self, query: &Query) -> Result<Page, LogError> {
        Snapshot::of(&self.survey, &*self.medium).page(query).map_err(|error| match error {
            NoPage::Files(trouble) => to_error(&self.path, trouble),
            NoPage::View(error) => LogError::Read(error),
        })
    }

    /// Reads all records, checks each against the chain, and hears a witness.
    ///
    /// # Errors
    /// As `step`.
    pub(crate) fn verify(&self, witness: Option<&Witness>) -> Result<Findings, LogError> {
        let proof = prove_against(&*self.medium, &self.survey, witness);
        let proof = proof.map_err(|error| self.broken(error))?;
        let lanes = Stream::ALL.map(|stream| self.survey.position.lane(stream));
        let touched = lanes.iter().filter(|lane| lane.kept_from > 0);
        let moved = self.survey.retired.iter().map(|retired| retired.moved_at_us);
        Ok(Findings {
            first: proof.first,
            last: proof.last,
            count: proof.count,
            gaps: proof.gaps,
            corrupt: proof.corrupt,
            altered: proof.altered,
            head: self.survey.position.head(),
            retired: lanes.iter().map(|lane| lane.kept_from).sum(),
            retired_until: touched.map(|lane| lane.first.saturating_sub(1)).max().unwrap_or(0),
            retired_at_us: moved.max().filter(|at| *at > 0),
            witness: proof.witness,
        })
    }

    /// Returns what limits of count, bytes and age would take from this box's own records.
    ///
    /// # Errors
    /// As `step`.
    pub(crate) fn removal(
        &self,
        limits: (u64, u64, Option<Duration>),
    ) -> Result<Removal, LogError> {
        removal(&*self.medium, &self.survey, limits).map_err(|error| self.broken(error))
    }

    fn broken(&self, source: io::Error) -> LogError {
        LogError::Directory { path: self.path.clone(), source }
    }
}

/// Reads the files until they have not changed meanwhile.
fn steady(medium: &dyn Medium) -> Result<Survey, Trouble> {
    let stand = || -> io::Result<_> {
        let stated = witness::read(medium);
        Ok((stated.map(|(stated, _)| stated), journal::read(medium)?, medium.names()?))
    };
    let mut before = stand()?;
    for _ in 0..ATTEMPTS {
        let survey = Survey::take(medium);
        let behind = stand()?;
        if behind == before {
            return survey;
        }
        before = behind;
    }
    Survey::take(medium)
}

fn to_error(dir: &Path, trouble: Trouble) -> LogError {
    let path = dir.to_path_buf();
    match trouble {
        Trouble::Io(source) => LogError::Directory { path, source },
        Trouble::Newer(found) => LogError::Newer { path, found },
        Trouble::Locked => LogError::Locked { path },
        Trouble::Gone => LogError::Closed,
        Trouble::Before(error) => *error,
    }
}
