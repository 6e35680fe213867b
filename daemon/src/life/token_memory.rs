//! Whether this box has ever asked for a token: a file in the state directory remembers it, so that a
//! configuration that was lost in part does not open the API.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::error::RunError;
use picket_base::disk;

/// The file's name, in the state directory.
pub(super) const FILE_NAME: &str = "token-configured";

/// What the file says to whoever finds it.
const CONTENT: &str = "A token was configured here: without one picket does not start. See `picket config forget-token`.\n";

/// Remembers a token that is configured; refuses a configuration that has lost it.
///
/// # Errors
/// `TokenLost` where there is no token and there was one.
pub fn check(state_dir: &Path, has_token: bool) -> Result<(), RunError> {
    let path = path(state_dir);
    let remembered = match fs::symlink_metadata(&path) {
        Ok(_) => true,
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        // The log is on the same disk, and says what ails it.
        Err(error) => {
            tracing::warn!(path = %path.display(), %error, "can't tell whether a token is remembered");
            return Ok(());
        }
    };
    match (has_token, remembered) {
        (false, true) => Err(RunError::TokenLost { path }),
        (true, false) => {
            if let Err(error) = remember(state_dir, &path) {
                tracing::warn!(path = %path.display(), %error, "the token is not remembered");
            }
            Ok(())
        }
        _ => Ok(()),
    }
}

fn remember(state_dir: &Path, path: &Path) -> io::Result<()> {
    fs::create_dir_all(state_dir)?;
    fs::write(path, CONTENT)?;
    File::open(path)?.sync_all()?;
    disk::sync_dir(state_dir)
}

/// Forgets that there was a token. Returns whether one was remembered.
///
/// # Errors
/// When the file can't be removed.
pub fn forget(state_dir: &Path) -> io::Result<bool> {
    match fs::remove_file(path(state_dir)) {
        Ok(()) => disk::sync_dir(state_dir).map(|()| true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

fn path(state_dir: &Path) -> PathBuf {
    state_dir.join(FILE_NAME)
}
