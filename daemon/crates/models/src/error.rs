//! What keeps a store from doing what it is asked for.

use std::io;
use std::path::PathBuf;

/// What keeps a store from doing what it is asked for.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    #[error("the models' store {} is in use by another process", path.display())]
    InUse { path: PathBuf },
    #[error(
        "the models' store {} was written by a newer picket (format {found}, this one reads {known})",
        path.display()
    )]
    Newer { path: PathBuf, found: u32, known: u32 },
    #[error("{}", path.display())]
    Io { path: PathBuf, source: io::Error },
    #[error("a version has at most {most} files, this one has {found}")]
    Files { found: usize, most: usize },
    #[error(
        "the version has {needed} bytes, and [model] max_bytes = {most} leaves {left} beside the versions \
         that serve"
    )]
    Room { needed: u64, left: u64, most: u64 },
    #[error("the disk has {free} bytes left for models, the version needs {needed}")]
    Disk { needed: u64, free: u64 },
    #[error("no version {asked:?} is installed; there are {known}")]
    Unknown { asked: String, known: String },
    #[error("{asked:?} names several versions: {matching}; name one by its digest")]
    Ambiguous { asked: String, matching: String },
    #[error("there is no version before this one")]
    NothingBefore,
}

impl StoreError {
    pub(crate) fn io(path: impl Into<PathBuf>) -> impl FnOnce(io::Error) -> StoreError {
        let path = path.into();
        move |source| StoreError::Io { path, source }
    }
}
