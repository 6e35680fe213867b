//! Taking over a store of 0.1: its files go into a folder, the log goes on behind its last number, and its
//! records are copied into sealed files one by one. Killed at any moment it goes on at the next start. It
//! removes nothing of the old store.

use std::fs::{File, TryLockError};
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::frame::Author;
use super::inherited::{Inherited, position_behind};
use super::medium::{Access, Disk, Medium};
use super::position::Stream;
use super::segment::{self, NEW_SUFFIX};
use super::trouble::Trouble;
use super::witness::{self, Statement, Witness};
use crate::before::Heritage;
use crate::marks::{BatchName, StoredBatch};
use crate::paths;
use picket_base::disk;

/// The folder that the old store is kept in, and the file in it that says that all of it is copied.
const FOLDER: &str = "before-0.2";
const DONE: &str = "taken-over";

/// Room that is kept free, which is the log's own from now on.
const RESERVE: &str = "reserve";

/// Left free beside a copy: what the log keeps free to work, and some room to go on with.
const MARGIN_BYTES: u64 = 12 << 20;

/// Lies in the directory that takes the place of 0.1's lock file.
const BARRED: &str = "written-by-a-newer-picket";

/// What a log has taken over from 0.1 at this start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inheritance {
    /// The numbers of the records.
    pub ids: Range<u64>,
    /// Why they are read from the old store still.
    pub no_room: Option<String>,
}

impl std::fmt::Display for Inheritance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Range { start, end } = self.ids;
        let (count, last) = (end - start, end - 1);
        write!(f, "{count} records of 0.1, up to number {last}, ")?;
        match &self.no_room {
            None => write!(
                f,
                "are taken over; the old store is kept as {FOLDER} until somebody removes it"
            ),
            Some(why) => write!(f, "are read in place from {FOLDER}: {why}"),
        }
    }
}

/// A directory that is ready to be opened as a log.
pub(super) struct Prepared {
    pub(super) medium: Arc<dyn Medium>,
    pub(super) inheritance: Option<Inheritance>,
    /// Batches that the old store remembers.
    pub(super) named: Vec<(BatchName, StoredBatch)>,
}

/// Readies a directory that is locked: takes over an old store that is in it, in a log named by `drawn`, unless
/// another log is expected.
///
/// # Errors
/// `Locked` while 0.1 runs on it, `Newer` or what the old store or the disk says.
pub(super) fn prepare(
    disk: Disk,
    (drawn, expected): (u64, Option<u64>),
) -> Result<Prepared, Trouble> {
    let names = disk.names()?;
    let dir = &disk.path().to_path_buf();
    let folder = dir.join(FOLDER);
    // Where a log is expected that is not there, nothing takes its place.
    let lock = lock_of_before(dir)?;
    if is_old(&names) && expected.is_none() {
        if let Some(found) = Heritage::newer_version(dir) {
            return Err(Trouble::Newer(found));
        }
        set_apart(dir, &names)?;
    }
    bar(dir);
    drop(lock);
    if !is_unfinished(&folder) {
        return Ok(Prepared { medium: Arc::new(disk), inheritance: None, named: Vec::new() });
    }
    let inherited = inherit(Heritage::open(&folder)?, disk, drawn)?;
    let stood = inherited.heritage().position();
    let mut inheritance = Inheritance { ids: stood.first_id..stood.next_id, no_room: None };
    let named = inherited.heritage().named();
    inheritance.no_room = copy(dir, &inherited)?;
    let medium: Arc<dyn Medium> = match inheritance.no_room {
        Some(_) => Arc::new(inherited),
        None => Arc::new(inherited.into_disk()),
    };
    Ok(Prepared { medium, inheritance: Some(inheritance), named })
}

/// Opens a log for reading whose old store may not be copied yet.
///
/// # Errors
/// As `prepare`.
pub(super) fn to_read(dir: &Path, disk: Disk) -> Result<Arc<dyn Medium>, Trouble> {
    let old = if is_unfinished(&dir.join(FOLDER)) {
        dir.join(FOLDER)
    } else if is_old(&disk.names()?) {
        dir.to_path_buf()
    } else {
        return Ok(Arc::new(disk));
    };
    if let Some(found) = Heritage::newer_version(&old) {
        return Err(Trouble::Newer(found));
    }
    let author = author(&disk)?.unwrap_or(Author { store: 0, epoch: 1 });
    Ok(Arc::new(Inherited::new(disk, Heritage::open(&old)?, author)))
}

/// Says that nothing is to be taken over any more.
///
/// # Errors
/// When the disk refuses.
pub(super) fn finish(dir: &Path) -> io::Result<()> {
    let folder = dir.join(FOLDER);
    File::create(folder.join(DONE))?.sync_all()?;
    disk::sync_dir(&folder)
}

/// Whether these are the files of 0.1 and nothing of the log.
pub(super) fn is_old(names: &[String]) -> bool {
    let sealed = Stream::ALL.iter().any(|stream| !segment::of_stream(*stream, names).is_empty());
    let has = |name: &str| names.iter().any(|other| other == name);
    !sealed && !has(witness::FILE_NAME) && (has("db") || has("high-water"))
}

fn is_unfinished(folder: &Path) -> bool {
    folder.is_dir() && !folder.join(DONE).exists()
}

/// Takes the lock that 0.1 takes, where there is one.
fn lock_of_before(dir: &Path) -> Result<Option<File>, Trouble> {
    let file = match File::options().write(true).open(lock_path(dir)) {
        Ok(file) => file,
        // It is barred, not there, or in a place where 0.1 could not have it either.
        Err(_) => return Ok(None),
    };
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(Trouble::Locked),
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

fn lock_path(dir: &Path) -> PathBuf {
    paths::beside(dir, ".lock")
}

/// Keeps a binary of 0.1 from taking the log for an empty directory: where its lock file was is a directory
/// now, which it can't open.
fn bar(dir: &Path) {
    let lock = lock_path(dir);
    if lock.is_dir() {
        return;
    }
    let barred = || -> io::Result<()> {
        match std::fs::remove_file(&lock) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => std::fs::create_dir(&lock)?,
        }
        File::create(lock.join(BARRED))?;
        disk::sync_dir(paths::parent(dir))
    };
    // The directory may not be ours: the log itself is no worse for it.
    if let Err(error) = barred() {
        tracing::warn!(%error, "a binary of 0.1 is not kept from this log");
    }
}

/// Moves the files of the old store into their folder.
fn set_apart(dir: &Path, names: &[String]) -> io::Result<()> {
    let folder = dir.join(FOLDER);
    if folder.join(DONE).exists() {
        // Of an earlier one: somebody has put an old store in place again.
        let free = (1..).map(|number| dir.join(format!("{FOLDER}-{number}")));
        let free = free.into_iter().find(|path| !path.exists());
        std::fs::rename(&folder, free.expect("there are more numbers than folders"))?;
    }
    match std::fs::create_dir(&folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => disk::sync_dir(dir)?,
    }
    // An operator may have put an old store back that was taken over once.
    match std::fs::remove_file(dir.join(DONE)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let moved = |name: &&String| !name.starts_with(FOLDER) && *name != RESERVE && *name != DONE;
    let mut names: Vec<&String> = names.iter().filter(moved).collect();
    // What the old store is known by goes last.
    names.sort_by_key(|name| ["high-water", "db"].iter().position(|last| last == name));
    for name in names {
        std::fs::rename(dir.join(name), folder.join(name))?;
    }
    disk::sync_dir(&folder)?;
    disk::sync_dir(dir)
}

/// Puts the old store before the log; where that has no files yet, they begin behind it.
fn inherit(heritage: Heritage, disk: Disk, drawn: u64) -> Result<Inherited, Trouble> {
    let author = match author(&disk)? {
        Some(author) => author,
        None => {
            let author = Author { store: drawn, epoch: 1 };
            let position = position_behind(&heritage);
            let round = position.next;
            Witness::open(&disk)?.state(&Statement {
                turn: 1,
                author,
                tail: 0,
                round,
                position,
            })?;
            disk.sync_names()?;
            author
        }
    };
    Ok(Inherited::new(disk, heritage, author))
}

/// Returns who has written the log, as far as that is known without the old store.
fn author(disk: &Disk) -> io::Result<Option<Author>> {
    if let Some((stated, _)) = witness::read(disk) {
        return Ok(Some(stated.author));
    }
    let names = disk.names()?;
    for name in Stream::ALL.iter().flat_map(|stream| segment::of_stream(*stream, &names)) {
        if let Some(author) = segment::author(disk, &name)? {
            return Ok(Some(author));
        }
    }
    Ok(None)
}

/// Copies what is not copied yet; returns why it could not go on.
fn copy(dir: &Path, inherited: &Inherited) -> io::Result<Option<String>> {
    let there = inherited.disk().names()?;
    let gone = witness::read(inherited.disk())
        .map_or(0, |(_, position)| position.lane(Stream::Own).kept_from);
    for (name, ids) in inherited.files() {
        // Retention may have taken it since.
        if there.contains(&name) || ids.end <= gone + 1 {
            continue;
        }
        let bytes = inherited.content(&name)?.unwrap_or_default();
        let free = picket_base::room::room(dir)?.free_bytes;
        let needed = MARGIN_BYTES + bytes.len() as u64;
        if free < needed {
            return Ok(Some(format!(
                "the disk has {free} bytes free, {needed} are needed to copy the next of them"
            )));
        }
        if !bytes.is_empty() {
            write(inherited.disk(), &name, &bytes)?;
        }
    }
    inherited.disk().sync_names()?;
    Ok(None)
}

fn write(disk: &Disk, name: &str, bytes: &[u8]) -> io::Result<()> {
    let beside = format!("{name}{NEW_SUFFIX}");
    match disk.remove(&beside) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = disk.open(&beside, Access::Create)?;
    file.write_at(bytes, 0)?;
    file.sync()?;
    disk.rename(&beside, name)
}
