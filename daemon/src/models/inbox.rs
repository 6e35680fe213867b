//! A directory into which others drop versions: an ONNX file or a bundle's directory, complete by being
//! renamed into it. What was looked at is not looked at again until it changes.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::offer::{Offer, Way};

/// Entries that are remembered and looked at; more are left alone until some are gone.
const ENTRIES_MAX: usize = 256;

/// The directory.
pub struct Inbox {
    dir: PathBuf,
    /// Entries, and by what a change of each is known.
    seen: BTreeMap<PathBuf, String>,
    /// Those of runs before this one.
    seen_before: BTreeSet<String>,
    /// Whether it was there at the last look.
    was_there: bool,
}

impl Inbox {
    pub fn new(dir: PathBuf) -> Inbox {
        Inbox { dir, seen: BTreeMap::new(), seen_before: BTreeSet::new(), was_there: true }
    }

    /// Offers nothing of what another run has seen.
    pub fn pass_over(&mut self, seen: &BTreeSet<String>) {
        self.seen_before.clone_from(seen);
    }

    /// Returns what has been seen and is there still, for the next run.
    pub fn looked_through(&self) -> BTreeSet<String> {
        self.seen.values().cloned().collect()
    }

    /// Returns an entry that is new, if there is one, and never again unless it changes.
    pub fn look(&mut self) -> Option<Offer> {
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
            let mark = mark(&path, &metadata);
            let is_new = self.seen.get(&path) != Some(&mark) && !self.seen_before.contains(&mark);
            self.seen.insert(path.clone(), mark.clone());
            if is_new {
                let (way, called) = (Way::Inbox, name);
                return Some(Offer { path, way, called, identity: Some(mark), sha256: None });
            }
        }
        None
    }
}

/// Returns what changes with an entry.
fn mark(path: &Path, metadata: &fs::Metadata) -> String {
    let (inode, bytes) = (metadata.ino(), metadata.len());
    let (seconds, nanos) = (metadata.mtime(), metadata.mtime_nsec());
    format!("{} {inode} {bytes} {seconds}.{nanos}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_entry_is_offered_once_and_again_when_it_is_another() {
        let dir = tempfile::tempdir().unwrap();
        let mut inbox = Inbox::new(dir.path().to_path_buf());
        assert!(inbox.look().is_none());
        fs::write(dir.path().join(".part.onnx"), "not complete").unwrap();
        fs::write(dir.path().join("notes.txt"), "no model").unwrap();
        fs::create_dir(dir.path().join("empty")).unwrap();
        fs::write(dir.path().join("a.onnx"), "a").unwrap();
        fs::create_dir(dir.path().join(".bundle")).unwrap();
        fs::write(dir.path().join(".bundle/model.onnx"), "b").unwrap();
        fs::rename(dir.path().join(".bundle"), dir.path().join("b")).unwrap();
        let called = |inbox: &mut Inbox| inbox.look().map(|offer| offer.called);
        assert_eq!(called(&mut inbox).as_deref(), Some("a.onnx"));
        assert_eq!(called(&mut inbox).as_deref(), Some("b"));
        assert_eq!(called(&mut inbox), None);
        fs::write(dir.path().join(".next"), "another").unwrap();
        fs::rename(dir.path().join(".next"), dir.path().join("a.onnx")).unwrap();
        assert_eq!(called(&mut inbox).as_deref(), Some("a.onnx"));
        assert_eq!(called(&mut inbox), None);
        let mut next = Inbox::new(dir.path().to_path_buf());
        next.pass_over(&inbox.looked_through());
        assert_eq!(called(&mut next), None);
        fs::write(dir.path().join("c.onnx"), "new").unwrap();
        assert_eq!(called(&mut next).as_deref(), Some("c.onnx"));
    }
}
