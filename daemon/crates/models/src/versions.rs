//! The directories of installed versions: `<name>/<version>-<digest>/`, written beside, brought to the
//! medium, and then put into their place whole.

use std::fs::{self, File};
use std::io;
use std::path::{Component, Path, PathBuf};

use crate::error::StoreError;
use crate::ledger::replace;
use crate::limits::{TEXT_BYTES_MAX, VERSION_FILES_MAX};
use crate::state::{Version, short};

/// Where a version is while it arrives.
const ARRIVING: &str = ".arriving";

/// The beginning of the names of directories in which versions are given to the store.
pub const GIVEN: &str = ".given-";

/// What a version is known by, in its own directory: with it a lost state can be made again.
const LABEL: &str = ".version.json";

/// A file that a version consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SourceFile {
    /// Its name in the version, with `/` between directories.
    pub name: String,
    /// Where it is now.
    pub path: PathBuf,
}

/// A version that has been copied, and is in no list yet. It is removed where nobody installs it.
#[derive(Debug)]
pub struct Staged {
    dir: PathBuf,
    bytes: u64,
}

impl Staged {
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn bytes(&self) -> u64 {
        self.bytes
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Where it was installed there is nothing any more.
        let _ = fs::remove_dir_all(&self.dir);
    }
}

/// Returns the place of a version below the store's directory.
pub(crate) fn place(version: &Version) -> PathBuf {
    let last = format!("{}-{}", plain(&version.version), short(&version.digest));
    Path::new(&plain(&version.name)).join(last)
}

/// Makes a directory's name of text from outside: what is not plain is written as its bytes in hex.
fn plain(text: &str) -> String {
    let mut name = String::new();
    for byte in text.bytes().take(TEXT_BYTES_MAX / 3) {
        let is_plain = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_')
            || (byte == b'.' && !name.is_empty());
        if is_plain { name.push(byte.into()) } else { name.push_str(&format!("%{byte:02x}")) }
    }
    if name.is_empty() { "%".to_string() } else { name }
}

/// Copies files into a directory of their own, onto the medium.
pub(crate) fn stage(store: &Path, files: &[SourceFile]) -> Result<Staged, StoreError> {
    if files.len() > VERSION_FILES_MAX {
        return Err(StoreError::Files { found: files.len(), most: VERSION_FILES_MAX });
    }
    let dir = store.join(ARRIVING);
    clear_arriving(store)?;
    fs::create_dir_all(&dir).map_err(StoreError::io(&dir))?;
    let mut staged = Staged { dir, bytes: 0 };
    for SourceFile { name, path } in files {
        let to = staged.dir.join(name);
        if !is_inside(Path::new(name)) {
            let wrong = io::Error::other("its name leads out of the version");
            return Err(StoreError::Io { path: path.clone(), source: wrong });
        }
        staged.bytes += bring(store, path, &to).map_err(StoreError::io(path))?;
    }
    sync_dirs(&staged.dir).map_err(StoreError::io(&staged.dir))?;
    Ok(staged)
}

fn is_inside(name: &Path) -> bool {
    name.components().count() > 0
        && name.components().all(|part| matches!(part, Component::Normal(_)))
}

/// Brings a file to its place and onto the medium. What was given to the store is taken as it is.
fn bring(store: &Path, from: &Path, to: &Path) -> io::Result<u64> {
    if let Some(parent) = to.parent() {
        fs::create_dir_all(parent)?;
    }
    if from.starts_with(store) && fs::hard_link(from, to).is_ok() {
        let file = File::open(to)?;
        file.sync_all()?;
        return Ok(file.metadata()?.len());
    }
    let (mut from, mut file) = (File::open(from)?, File::create_new(to)?);
    let bytes = io::copy(&mut from, &mut file)?;
    file.sync_all()?;
    Ok(bytes)
}

fn sync_dirs(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            sync_dirs(&entry.path())?;
        }
    }
    File::open(dir)?.sync_all()
}

/// Puts a copied version into its place. One that is there already is replaced: its files are the same.
pub(crate) fn settle(store: &Path, staged: &Staged, version: &Version) -> Result<(), StoreError> {
    let text = serde_json::to_string_pretty(version).expect("a Version has only what JSON has");
    replace(&staged.dir, LABEL, text.as_bytes())?;
    let to = store.join(place(version));
    let parent = to.parent().expect("it is below the store");
    fs::create_dir_all(parent).map_err(StoreError::io(parent))?;
    remove_dir(&to)?;
    fs::rename(&staged.dir, &to).map_err(StoreError::io(&to))?;
    for dir in [parent, store] {
        File::open(dir).and_then(|dir| dir.sync_all()).map_err(StoreError::io(dir))?;
    }
    Ok(())
}

/// Removes a version's files, and the directory of its name with the last of them.
pub(crate) fn remove(store: &Path, version: &Version) -> Result<(), StoreError> {
    let dir = store.join(place(version));
    remove_dir(&dir)?;
    // It is there still where it holds another version.
    let _ = dir.parent().map(fs::remove_dir);
    Ok(())
}

fn remove_dir(dir: &Path) -> Result<(), StoreError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other.map_err(StoreError::io(dir)),
    }
}

/// Removes what an interrupted installation has left.
pub(crate) fn clear_arriving(store: &Path) -> Result<(), StoreError> {
    remove_dir(&store.join(ARRIVING))
}

/// Removes what was given by somebody who was interrupted.
pub(crate) fn clear_given(store: &Path) -> Result<(), StoreError> {
    for entry in fs::read_dir(store).map_err(StoreError::io(store))?.flatten() {
        if entry.file_name().as_encoded_bytes().starts_with(GIVEN.as_bytes()) {
            remove_dir(&entry.path())?;
        }
    }
    Ok(())
}

/// Returns the versions whose directories are there, each with what it says of itself.
pub(crate) fn present(store: &Path) -> Result<Vec<(PathBuf, Option<Version>)>, StoreError> {
    let mut found = Vec::new();
    for name in directories(store)? {
        for dir in directories(&name)? {
            let label = fs::read(dir.join(LABEL)).ok();
            let version = label.and_then(|text| serde_json::from_slice::<Version>(&text).ok());
            let version = version.filter(|version| store.join(place(version)) == dir);
            found.push((dir, version));
        }
    }
    found.sort_by_key(|(_, version)| version.as_ref().map(|version| version.installed));
    Ok(found)
}

fn directories(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut paths = Vec::new();
        for entry in fs::read_dir(dir)? {
            let entry = entry?;
            let is_hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if entry.file_type()?.is_dir() && !is_hidden {
                paths.push(entry.path());
            }
        }
        Ok(paths)
    };
    read().map_err(StoreError::io(dir))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_from_outside_stay_inside_and_differ() {
        for (text, expected) in [
            ("cifar10-model", "cifar10-model"),
            ("1.2.3", "1.2.3"),
            ("../../etc", "%2e.%2f..%2fetc"),
            (".", "%2e"),
            ("", "%"),
            ("a b", "a%20b"),
            ("ü", "%c3%bc"),
        ] {
            assert_eq!(plain(text), expected);
        }
        assert!(plain(&"ü".repeat(1_000)).len() <= TEXT_BYTES_MAX + 2);
        for name in ["/etc/passwd", "../x", "a/../../x", "", "."] {
            assert!(!is_inside(Path::new(name)), "{name}");
        }
        assert!(is_inside(Path::new("golden/a.png")));
    }
}
