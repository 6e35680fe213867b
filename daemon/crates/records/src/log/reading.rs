//! A log that nobody has open, or whose owner does not answer: read from its own files alone, without a lock
//! and without a write. It knows no view.

use std::io;
use std::path::{Path, PathBuf};

use super::findings::Findings;
use super::medium::{Disk, Medium};
use super::position::Stream;
use super::proof::{Witness, prove};
use super::removal::removal;
use super::sizes::Retention;
use super::snapshot::{Alone, Snapshot};
use super::survey::Survey;
use super::trouble::Trouble;
use super::{journal, segment, takeover, witness};
use crate::error::LogError;
use crate::query::{Item, Page, Query};
use crate::removal::Removal;

/// A log whose owner is at work is read again so often before it is taken as it was found.
const ATTEMPTS: usize = 20;

/// The files of a log, as they were when it was opened.
pub struct StoppedLog {
    path: PathBuf,
    log: Snapshot,
}

/// Whether there is a log in a directory, or what one goes on from.
pub(crate) fn is_log(dir: &Path) -> bool {
    let names = Disk::open(dir).and_then(|medium| medium.names()).unwrap_or_default();
    has_log(&names)
}

fn has_log(names: &[String]) -> bool {
    let sealed = Stream::ALL.iter().any(|stream| !segment::of_stream(*stream, names).is_empty());
    sealed || takeover::is_old(names) || names.iter().any(|name| name == witness::FILE_NAME)
}

impl StoppedLog {
    /// Reads the files in `dir`, which may be on a read-only disk.
    ///
    /// # Errors
    /// `Directory` where there is no log, or it can't be read, `Newer` where a newer version has written it.
    pub fn open(dir: &Path) -> Result<StoppedLog, LogError> {
        let broken = |source| LogError::Directory { path: dir.to_path_buf(), source };
        let medium = Disk::open(dir).map_err(broken)?;
        if !has_log(&medium.names().map_err(broken)?) {
            return Err(broken(io::ErrorKind::NotFound.into()));
        }
        let medium = takeover::to_read(dir, medium).map_err(|trouble| trouble.of(dir))?;
        let survey = steady(&*medium).map_err(|trouble| trouble.of(dir))?;
        let log = Snapshot::of(&survey, medium);
        Ok(StoppedLog { path: dir.to_path_buf(), log })
    }

    /// Returns the number of the oldest record that is kept, and the one that the log gives next.
    pub fn extent(&self) -> (u64, u64) {
        (self.log.first(), self.log.position.next)
    }

    /// Returns at most `PAGE_RECORDS_MAX` records from `from` on, oldest first.
    ///
    /// # Errors
    /// `Directory` where a file can't be opened.
    pub fn step(&self, from: u64) -> Result<Vec<Item>, LogError> {
        let mut step = Vec::new();
        self.log.step(from, &Alone, &mut step).map_err(|error| self.broken(error))?;
        Ok(step)
    }

    /// Returns a page of the records that `query` asks for, newest first.
    ///
    /// # Errors
    /// As `step`.
    pub fn query(&self, query: &Query) -> Result<Page, LogError> {
        let mut page = Page { records: Vec::new(), next: None, damaged: Vec::new() };
        let given = self.log.page((query, None), &Alone, &mut page);
        page.next = given.map_err(|error| self.broken(error))?.next;
        Ok(page)
    }

    /// Reads all records, checks each against the chain, and hears a witness.
    ///
    /// # Errors
    /// As `step`.
    pub(crate) fn verify(&self, witness: Option<&Witness>) -> Result<Findings, LogError> {
        let proof = prove(&self.log, witness, || true);
        let proof = proof.map_err(|error| self.broken(error))?;
        Ok(Findings::of(&self.log, proof.expect("it went on to the end")))
    }

    /// Returns what limits would take from the records as they are now.
    ///
    /// # Errors
    /// As `step`.
    pub fn removal(&self, retention: &Retention) -> Result<Removal, LogError> {
        removal(&self.log, retention).map_err(|error| self.broken(error))
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
