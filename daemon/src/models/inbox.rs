//! A directory into which others drop versions: an ONNX file or a bundle's directory, complete by being
//! renamed into it. What was looked at is not looked at again until it changes.

use std::collections::HashMap;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use super::offer::{Offer, Way};

/// Entries that are remembered and looked at; more are left alone until some are gone.
const ENTRIES_MAX: usize = 256;

/// The directory.
pub struct Inbox {
    dir: PathBuf,
    seen: HashMap<PathBuf, Mark>,
    /// Whether it was there at the last look.
    was_there: bool,
}

/// By what a change of an entry is known.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    bytes: u64,
    changed: (i64, i64),
}

impl Inbox {
    pub fn new(dir: PathBuf) -> Inbox {
        Inbox { dir, seen: HashMap::new(), was_there: true }
    }

    /// Returns an entry that is new, if there is one, and never again unless it changes.
    pub fn next(&mut self) -> Option<Offer> {
        let entries = match fs::read_dir(&self.dir) {
            Ok(entries) => entries,
            Err(error) => {
                if std::mem::take(&mut self.was_there) {
                    let path = self.dir.display();
                    tracing::warn!(%path, %error, "the models' inbox can't be read");
                }
                return None;
            }
        };
        self.was_there = true;
        let mut paths: Vec<PathBuf> =
            entries.flatten().map(|entry| entry.path()).take(ENTRIES_MAX).collect();
        paths.sort();
        self.seen.retain(|path, _| paths.contains(path));
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let is_bundle = metadata.is_dir() && path.join("model.onnx").is_file();
            let is_file = metadata.is_file() && name.ends_with(".onnx");
            if name.starts_with('.') || !(is_bundle || is_file) {
                continue;
            }
            let changed = (metadata.mtime(), metadata.mtime_nsec());
            let mark = Mark { inode: metadata.ino(), bytes: metadata.len(), changed };
            if self.seen.insert(path.clone(), mark) != Some(mark) {
                let (way, called) = (Way::Inbox, name);
                return Some(Offer { path, way, called, identity: None, sha256: None });
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_offered_once_and_again_when_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut inbox = Inbox::new(dir.path().to_path_buf());
        assert!(inbox.next().is_none());
        fs::write(dir.path().join(".part.onnx"), "not complete").unwrap();
        fs::write(dir.path().join("notes.txt"), "no model").unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("a.onnx"), "a").unwrap();
        fs::create_dir(dir.path().join(".bundle")).unwrap();
        fs::write(dir.path().join(".bundle/model.onnx"), "b").unwrap();
        fs::rename(dir.path().join(".bundle"), dir.path().join("b")).unwrap();
        let called = |inbox: &mut Inbox| inbox.next().map(|offer| offer.called);
        assert_eq!(called(&mut inbox).as_deref(), Some("a.onnx"));
        assert_eq!(called(&mut inbox).as_deref(), Some("b"));
        assert_eq!(called(&mut inbox), None);
        fs::write(dir.path().join(".next"), "another").unwrap();
        fs::rename(dir.path().join(".next"), dir.path().join("a.onnx")).unwrap();
        assert_eq!(called(&mut inbox).as_deref(), Some("a.onnx"));
        assert_eq!(called(&mut inbox), None);
    }
}
