//! Damaged stores that were set aside, as `quarantine-<boot>-<next id>` beside the log's directory.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use super::high_water;
use super::paths::parent;
use picket_base::{clock, disk};

/// Damaged stores kept for a person to look at; each is as large as the log may be.
const QUARANTINES_MAX: usize = 2;

const QUARANTINE_PREFIX: &str = "quarantine-";

/// In a quarantine: everything that could be brought back from it was.
const SALVAGED_MARK: &str = "salvaged";

/// Renames the directory, makes a new one in its place and takes the oldest quarantines away. Returns
/// the quarantine's name.
pub(super) fn set_aside(dir: &Path) -> io::Result<String> {
    let parent = parent(dir);
    let next_id = high_water::read(dir).map_or(0, |state| state.next_id);
    let boot_id = clock::boot_id();
    let name = (next_id..)
        .map(|number| format!("{QUARANTINE_PREFIX}{boot_id}-{number}"))
        .find(|name| !parent.join(name).exists())
        .expect("there are more numbers than directories");
    std::fs::rename(dir, parent.join(&name))?;
    std::fs::create_dir(dir)?;
    disk::sync_dir(parent)?;
    let mut quarantines = names(dir)?;
    while quarantines.len() > QUARANTINES_MAX {
        std::fs::remove_dir_all(parent.join(quarantines.remove(0)))?;
    }
    Ok(name)
}

/// Returns the names of the damaged stores beside `dir`, oldest first.
pub(crate) fn names(dir: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(parent(dir))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with(QUARANTINE_PREFIX) && entry.file_type()?.is_dir() {
            found.push((entry.metadata()?.modified()?, name));
        }
    }
    found.sort();
    Ok(found.into_iter().map(|(_, name)| name).collect())
}

/// Returns a quarantine whose records are not in the store yet: the newest one, when it was made by this
/// open or by one that a power cut ended.
pub(super) fn unsalvaged(dir: &Path) -> io::Result<Option<PathBuf>> {
    let newest = names(dir)?.pop().map(|name| parent(dir).join(name));
    Ok(newest.filter(|path| !path.join(SALVAGED_MARK).exists()))
}

/// Marks a quarantine as one whose records are all in the store.
pub(super) fn mark_salvaged(quarantine: &Path) -> io::Result<()> {
    File::create(quarantine.join(SALVAGED_MARK))?.sync_all()
}
