//! From a path to an open log: the directory is made, held and locked before anything in it is read.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::Path;

use super::medium::Disk;
use super::sizes::Sizes;
use super::store::{Log, Opened};
use super::takeover::{self, Prepared};
use super::trouble::Trouble;
use crate::paths;
use picket_base::disk;

impl Log {
    /// Opens the log in `dir`, or makes one there.
    ///
    /// # Errors
    /// `Locked` and `Newer` before anything is changed, `Io` when the directory can't be used or its disk
    /// fails.
    #[cfg(test)]
    pub(crate) fn open_in(dir: &Path) -> Result<(Log, Opened), Trouble> {
        Log::open_on(lock(dir)?, None)
    }

    /// Opens the log in a directory that is locked, or makes one there unless one is expected; a store of 0.1
    /// is taken over.
    ///
    /// # Errors
    /// As `Log::open`, and what the old store says.
    pub(crate) fn open_on(disk: Disk, expected: Option<u64>) -> Result<(Log, Opened), Trouble> {
        // A number that no other store is likely to have.
        let drawn = RandomState::new().build_hasher().finish();
        let dir = disk.path().to_path_buf();
        let Prepared { medium, inheritance, named } = takeover::prepare(disk, (drawn, expected))?;
        let (mut log, opened) = Log::open(medium, (drawn, expected), Sizes::default())?;
        log.name_batches(named)?;
        if inheritance.as_ref().is_some_and(|inheritance| inheritance.no_room.is_none()) {
            takeover::finish(&dir)?;
        }
        Ok((log, Opened { inheritance, ..opened }))
    }
}

/// Opens a directory that is there, for its only owner.
///
/// # Errors
/// `Locked` where it has one, `Gone` where there is none.
pub(crate) fn lock_existing(dir: &Path) -> Result<Disk, Trouble> {
    let medium = Disk::open(dir).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Trouble::Gone,
        _ => Trouble::Io(error),
    })?;
    if medium.lock()? { Ok(medium) } else { Err(Trouble::Locked) }
}

/// Opens a directory for its only owner, or makes it.
///
/// # Errors
/// `Locked` where it has one.
pub(crate) fn lock(dir: &Path) -> Result<Disk, Trouble> {
    if let Err(error) = std::fs::create_dir(dir) {
        match error.kind() {
            io::ErrorKind::AlreadyExists => {}
            io::ErrorKind::NotFound => std::fs::create_dir_all(dir)?,
            _ => return Err(error.into()),
        }
    }
    // Its name must outlive a power cut as well.
    disk::sync_dir(paths::parent(dir))?;
    lock_existing(dir)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::super::position::Stream;
    use super::super::proof::prove;
    use super::super::snapshot::Snapshot;
    use super::super::staged::Group;
    use super::super::survey::Survey;
    use super::*;
    use crate::record::Entry;
    use crate::record::tests::{origin, predicted};

    fn commit(log: &mut Log) -> Result<(), Trouble> {
        let entries: Vec<Entry> =
            (0..3).map(|class| predicted(&origin("edge-01"), class, false)).collect();
        log.commit(&[Group { stream: Stream::Own, entries: &entries, name: None }]).map(drop)
    }

    /// A process that another test starts holds copies of all descriptors until it runs its program.
    fn open_again(dir: &Path) -> (Log, Opened) {
        for _ in 0..500 {
            match Log::open_in(dir) {
                Err(Trouble::Locked) => std::thread::sleep(Duration::from_millis(10)),
                other => return other.unwrap(),
            }
        }
        panic!("it stays locked");
    }

    #[test]
    fn a_log_has_one_owner_by_whatever_path() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("some").join("log");
        let (mut log, opened) = Log::open_in(&dir).unwrap();
        assert!(opened.made);
        commit(&mut log).unwrap();
        let link = state.path().join("link");
        std::os::unix::fs::symlink(&dir, &link).unwrap();
        for path in [&dir, &link, &dir.join(".")] {
            assert!(matches!(Log::open_in(path), Err(Trouble::Locked)), "{}", path.display());
        }
        // Whoever only reads needs no lock.
        let medium = Arc::new(Disk::open(&link).unwrap());
        let survey = Survey::take(&*medium).unwrap();
        let proof = prove(&Snapshot::of(&survey, medium), None, || true).unwrap().unwrap();
        assert!(proof.is_sound() && proof.count == 3, "{proof:?}");
        drop(log);
        let (mut log, opened) = open_again(&link);
        assert!(!opened.made);
        assert_eq!(log.position().next, 4);
        commit(&mut log).unwrap();
    }

    #[test]
    fn a_log_that_was_taken_away_promises_nothing() {
        let take: [fn(&Path); 4] = [
            |dir| std::fs::rename(dir, dir.with_file_name("was")).unwrap(),
            |dir| std::fs::remove_dir_all(dir).unwrap(),
            |dir| std::fs::remove_file(dir.join("journal")).unwrap(),
            |dir| {
                std::fs::copy(dir.join("witness"), dir.join("copy")).unwrap();
                std::fs::rename(dir.join("copy"), dir.join("witness")).unwrap();
            },
        ];
        for take in take {
            let state = tempfile::tempdir().unwrap();
            let dir = state.path().join("log");
            let (mut log, _) = Log::open_in(&dir).unwrap();
            commit(&mut log).unwrap();
            take(&dir);
            assert!(matches!(commit(&mut log), Err(Trouble::Gone)));
        }
    }
}
