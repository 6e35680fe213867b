//! By what changed files are known without reading them: a file written again, replaced, or behind a
//! link that leads elsewhere, as when a kubelet swaps a Secret.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// A certificate's file and its key's; None for what is not there.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Identity([Option<File>; 2]);

#[derive(Debug, PartialEq, Eq)]
struct File {
    /// Behind all links.
    path: PathBuf,
    device: u64,
    inode: u64,
    bytes: u64,
    /// Seconds and nanoseconds, those of the content and those of the inode.
    modified: (i64, i64),
    changed: (i64, i64),
}

impl Identity {
    pub fn of(cert: &Path, key: &Path) -> Identity {
        Identity([cert, key].map(File::at))
    }
}

impl File {
    fn at(path: &Path) -> Option<File> {
        let path = std::fs::canonicalize(path).ok()?;
        let metadata = std::fs::metadata(&path).ok()?;
        Some(File {
            device: metadata.dev(),
            inode: metadata.ino(),
            bytes: metadata.size(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
            path,
        })
    }
}
