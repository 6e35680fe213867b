//! What can go wrong with the log, and whose fault it is; sled's errors and panics end here.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;

use super::format::Damage;
use super::headroom::NoRoom;
use picket_base::disk;

/// Whose fault a failed operation of the store is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StoreFault {
    /// No space left, or none that we may use.
    Full,
    ReadOnly,
    /// The disk could not read or write (EIO): nothing that it acknowledged since is certain.
    Disk,
    /// The system's, such as too many open files: no word about disk or store.
    System,
    /// The store's own: damage, or a bug of sled's.
    Store,
}

/// What sled, or the file system beneath it, said.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct StoreError {
    pub fault: StoreFault,
    pub detail: String,
}

impl From<io::Error> for StoreError {
    fn from(error: io::Error) -> StoreError {
        StoreError { fault: fault(&error), detail: error.to_string().replace('\n', " ") }
    }
}

impl From<sled::Error> for StoreError {
    fn from(error: sled::Error) -> StoreError {
        let fault = match &error {
            sled::Error::Io(error) => fault(error),
            _ => StoreFault::Store,
        };
        StoreError { fault, detail: error.to_string().replace('\n', " ") }
    }
}

fn fault(error: &io::Error) -> StoreFault {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => StoreFault::Full,
        io::ErrorKind::ReadOnlyFilesystem => StoreFault::ReadOnly,
        // sled reports an inconsistency of its own files as an I/O error of these kinds.
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::UnexpectedEof => {
            StoreFault::Store
        }
        // sled copies errors without their number; of what it meets, only EIO has no kind.
        _ if disk::is_io_error(error) || error.raw_os_error().is_none() => StoreFault::Disk,
        _ => StoreFault::System,
    }
}

/// Why the log did not do what it was asked for.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    #[error("cannot use log directory {}", path.display())]
    Directory { path: PathBuf, source: io::Error },
    #[error("log {} is in use by another process", path.display())]
    Locked { path: PathBuf },
    /// Whatever this version did to it would harm it.
    #[error(
        "log {} was written by a newer picket: it has format {found}, which this one does not know",
        path.display()
    )]
    Newer { path: PathBuf, found: u8 },
    /// What was promised is not in what the next start would open.
    #[error("log {} was removed, renamed, replaced or mounted over", path.display())]
    Gone { path: PathBuf },
    #[error(transparent)]
    NoRoom(#[from] NoRoom),
    #[error("log {} cannot be opened: {error}", path.display())]
    Open { path: PathBuf, error: StoreError },
    #[error("log write failed: {0}")]
    Write(StoreError),
    #[error("log read failed: {0}")]
    Read(StoreError),
    #[error("record {id} can't be read: {damage}")]
    Damaged { id: u64, damage: Damage },
    #[error("the log is closed while its disk recovers")]
    Closed,
}

impl LogError {
    /// Whether waiting can't help: the directory is not ours to write, somebody else holds it, or a newer
    /// version has written it.
    pub fn is_permanent(&self) -> bool {
        match self {
            LogError::Directory { source, .. } => disk::is_refusal(source),
            LogError::Locked { .. } | LogError::Newer { .. } => true,
            _ => false,
        }
    }

    /// Returns whose fault it is.
    pub fn fault(&self) -> StoreFault {
        match self {
            LogError::NoRoom(NoRoom::ReadOnly) => StoreFault::ReadOnly,
            LogError::NoRoom(_) => StoreFault::Full,
            LogError::Open { error, .. } | LogError::Write(error) | LogError::Read(error) => {
                error.fault
            }
            LogError::Directory { source, .. } => fault(source),
            LogError::Locked { .. }
            | LogError::Newer { .. }
            | LogError::Gone { .. }
            | LogError::Damaged { .. }
            | LogError::Closed => StoreFault::Store,
        }
    }
}

/// Runs a store operation; sled panics on some damage where it should fail.
pub(crate) fn guard<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, StoreError> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(result) => Ok(result?),
        Err(panic) => {
            let detail = format!("the store panicked: {}", panic_text(&*panic));
            Err(StoreError { fault: StoreFault::Store, detail: detail.replace('\n', " ") })
        }
    }
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    panic
        .downcast_ref::<String>()
        .map(String::as_str)
        .or_else(|| panic.downcast_ref::<&str>().copied())
        .unwrap_or("no message")
}
