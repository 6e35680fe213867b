//! Damaged stores that version 0.1 set aside, as `quarantine-<boot>-<next id>` beside the log's directory.

use std::io;
use std::path::Path;

use crate::paths::parent;

const PREFIX: &str = "quarantine-";

/// Returns the names of the damaged stores beside `dir`, oldest first.
///
/// # Errors
/// When the directory can't be read.
pub(crate) fn set_aside(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent(dir))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(PREFIX) && entry.file_type()?.is_dir() {
            found.push((entry.metadata()?.modified()?, name));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}
