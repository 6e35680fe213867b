//! Names beside the log's directory, which itself may be set aside.

use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// Returns the path of a file that must outlive the log's directory.
pub(super) fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    parent(dir).join(name)
}

/// Returns the directory that holds the log's directory.
pub(super) fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Returns the name of the socket on which the daemon that owns the log in `dir` answers questions
/// about it: the same by whichever path the directory is reached.
///
/// # Errors
/// When there is no such directory.
pub fn socket_name(dir: &Path) -> io::Result<String> {
    let parent = std::fs::metadata(parent(dir))?;
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    Ok(format!("picket-{}-{}-{name}", parent.dev(), parent.ino()))
}
