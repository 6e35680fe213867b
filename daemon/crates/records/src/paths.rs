//! Names beside the log's directory, which itself may be set aside.

use std::path::{Path, PathBuf};

/// Returns the path of a file that must outlive the log's directory.
pub(crate) fn beside(dir: &Path, suffix: &str) -> PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_os_string();
    name.push(suffix);
    parent(dir).join(name)
}

/// Returns the directory that holds the log's directory.
pub(crate) fn parent(dir: &Path) -> &Path {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Returns the path of the socket on which the daemon that owns the log in `dir` answers questions about
/// it. It lies where only the owner of the log can make it.
pub fn socket_path(dir: &Path) -> PathBuf {
    beside(dir, ".sock")
}
