//! The note that the daemon was asked to stop: an end of its process behind it is no fault of the model that
//! serves. Anybody who has it may write it, at any moment, and as often as he likes.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use crate::error::StoreError;
use crate::ledger::replace;

/// The note's file. It names the run that it is of, so that an old one says nothing.
const FILE: &str = ".stopped";

/// The note of one run of the daemon.
#[derive(Debug)]
pub struct StopNote {
    dir: PathBuf,
    run: u64,
    /// Whether it is on the medium.
    written: Mutex<bool>,
}

impl StopNote {
    pub(crate) fn new(dir: PathBuf, run: u64) -> StopNote {
        StopNote { dir, run, written: Mutex::new(false) }
    }

    /// Returns once it is on the medium.
    ///
    /// # Errors
    /// What the disk says.
    pub fn write(&self) -> Result<(), StoreError> {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        if !*written {
            replace(&self.dir, FILE, self.run.to_string().as_bytes())?;
            *written = true;
        }
        Ok(())
    }
}

/// Whether this run was asked to stop.
pub(crate) fn is_noted(dir: &Path, run: u64) -> bool {
    fs::read_to_string(dir.join(FILE)).is_ok_and(|text| text == run.to_string())
}
