//! Why a log can't be used. It knows no log.

use std::io;
use std::path::Path;

use crate::error::LogError;

/// Why a log can't be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Trouble {
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("its files have version {0}")]
    Newer(u8),
    #[error("it is in use by another process")]
    Locked,
    #[error("its directory or a file in it was removed, renamed, replaced or mounted over")]
    Gone,
}

impl Trouble {
    /// Returns it as what is wrong with the log in `dir`.
    pub(crate) fn of(self, dir: &Path) -> LogError {
        let path = dir.to_path_buf();
        match self {
            Trouble::Io(source) => LogError::Directory { path, source },
            Trouble::Newer(found) => LogError::Newer { path, found },
            Trouble::Locked => LogError::Locked { path },
            Trouble::Gone => LogError::Gone { path },
        }
    }
}

impl From<Trouble> for io::Error {
    fn from(trouble: Trouble) -> io::Error {
        match trouble {
            Trouble::Io(error) => error,
            other => io::Error::other(other),
        }
    }
}
