//! A copy of a log beside its owner at work: it opens as the log would after a power cut at that instant. It
//! takes no lock and changes nothing of the log.
//!
//! The witness is read first, for it must not claim more than the copy holds; then the sealed files are taken
//! as long as they are then, and the journal is read last: what a checkpoint had put into one stream's file, and
//! not yet into the other's, is in it. A checkpoint that ends meanwhile makes all of that be read again.

use std::io;
use std::path::{Path, PathBuf};

use super::medium::{Access, Bytes, Disk, Medium, read_what_can_be_read};
use super::position::{Position, Stream};
use super::reading::{StoppedLog, is_log};
use super::{cursor, journal, segment, takeover, witness};
use crate::error::LogError;
use crate::paths;
use picket_base::disk;

/// A log whose owner is at work is looked at so often before the copy is given up.
const ATTEMPTS: usize = 20;

/// Copied at once.
const PIECE_BYTES: usize = 1 << 20;

/// What is added to the name of a copy until it is whole.
const UNFINISHED_SUFFIX: &str = ".unfinished";

/// What a copy of a log holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backup {
    /// The number of the oldest record that is kept, and the one that the log gives next.
    pub first: u64,
    pub next: u64,
}

/// The content of a file, or the file itself and how long it was when it was opened.
enum Source {
    Held(Vec<u8>),
    Open(Box<dyn Bytes>, u64),
}

/// Copies the log in `dir` to `target`, which must not be there or be empty.
///
/// # Errors
/// `Directory` where there is no log, or one of the two can't be used.
pub fn back_up(dir: &Path, target: &Path) -> Result<Backup, LogError> {
    let of = |path: &Path| {
        let path = path.to_path_buf();
        move |source| LogError::Directory { path, source }
    };
    if !is_log(dir) {
        return Err(of(dir)(io::ErrorKind::NotFound.into()));
    }
    let medium = Disk::open(dir).map_err(of(dir))?;
    let medium = takeover::to_read(dir, medium).map_err(|trouble| trouble.of(dir))?;
    let files = gather(&*medium).map_err(of(dir))?;
    check_free(target).map_err(of(target))?;
    let unfinished = unfinished(target);
    let written = write(&unfinished, &files).and_then(|()| {
        std::fs::rename(&unfinished, target)?;
        disk::sync_dir(paths::parent(target))
    });
    written.map_err(of(target))?;
    let (first, next) = StoppedLog::open(target)?.extent();
    Ok(Backup { first, next })
}

/// Opens what belongs to one instant.
fn gather(medium: &dyn Medium) -> io::Result<Vec<(String, Source)>> {
    for _ in 0..ATTEMPTS {
        let stood = Standing::of(medium);
        let mut files = Vec::new();
        match medium.open(witness::FILE_NAME, Access::Read) {
            Ok(file) => {
                let content = read_what_can_be_read(&*file, 0, usize::MAX)?;
                files.push((witness::FILE_NAME.to_string(), Source::Held(content)));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let names = medium.names()?;
        let sealed = Stream::ALL.iter().flat_map(|stream| segment::of_stream(*stream, &names));
        let cursors = names.iter().filter(|name| cursor::is_name(name)).cloned();
        let mut gone = false;
        for name in sealed.chain(cursors) {
            match medium.open(&name, Access::Read) {
                Ok(file) => {
                    let length = file.length()?;
                    files.push((name, Source::Open(file, length)));
                }
                Err(error) if error.kind() == io::ErrorKind::NotFound => gone = true,
                Err(error) => return Err(error),
            }
        }
        files.push((journal::FILE_NAME.to_string(), Source::Held(journal::read(medium)?)));
        // The journal has not begun again meanwhile, and retention says so before it removes the first file.
        if !gone && Standing::of(medium) == stood {
            return Ok(files);
        }
    }
    Err(io::Error::new(io::ErrorKind::WouldBlock, "the log changes faster than it can be copied"))
}

/// What the witness says of checkpoints and of retention.
#[derive(PartialEq, Eq)]
struct Standing {
    turn: Option<u64>,
    kept_from: Option<[u64; 2]>,
}

impl Standing {
    fn of(medium: &dyn Medium) -> Standing {
        let stated = witness::read(medium);
        let kept = |position: &Position| Stream::ALL.map(|stream| position.lane(stream).kept_from);
        Standing {
            turn: stated.as_ref().map(|(statement, _)| statement.turn),
            kept_from: stated.as_ref().map(|(_, position)| kept(position)),
        }
    }
}

fn unfinished(target: &Path) -> PathBuf {
    paths::beside(target, UNFINISHED_SUFFIX)
}

fn check_free(target: &Path) -> io::Result<()> {
    let entries = match std::fs::read_dir(target) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other?,
    };
    match entries.count() {
        0 => Ok(()),
        _ => Err(io::Error::new(io::ErrorKind::DirectoryNotEmpty, "it is there and not empty")),
    }
}

/// Writes the files into a new directory; one that an earlier attempt has left goes.
fn write(dir: &Path, files: &[(String, Source)]) -> io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => std::fs::create_dir_all(dir)?,
    }
    let copy = Disk::open(dir)?;
    for (name, source) in files {
        let file = copy.open(name, Access::Create)?;
        match source {
            Source::Held(content) => file.write_at(content, 0)?,
            Source::Open(source, length) => copy_all(&**source, *length, &*file)?,
        }
        file.sync()?;
    }
    copy.sync_names()
}

/// What can't be read is copied as zeros, which is damage there as well.
fn copy_all(from: &dyn Bytes, length: u64, to: &dyn Bytes) -> io::Result<()> {
    let mut at = 0;
    while at < length {
        let most = (length - at).min(PIECE_BYTES as u64) as usize;
        let piece = read_what_can_be_read(from, at, most)?;
        if piece.is_empty() {
            break;
        }
        to.write_at(&piece, at)?;
        at += piece.len() as u64;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    use super::super::sizes::Limits;
    use super::super::staged::Group;
    use super::super::store::Log;
    use super::*;
    use crate::record::tests::{origin, predicted};
    use picket_base::clock::Stamp;

    #[test]
    fn a_copy_of_a_log_at_work_is_sound_and_holds_what_was_acknowledged_before() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("log");
        let (mut log, _) = Log::open_in(&dir).unwrap();
        let limits = Limits { max_records: 3_000, ..Limits::NONE };
        log.set_limits([limits, limits]);
        /// Ends the writer also where an assertion fails.
        struct Done<'a>(&'a AtomicBool);
        impl Drop for Done<'_> {
            fn drop(&mut self) {
                self.0.store(true, Ordering::Relaxed);
            }
        }
        let (acknowledged, done) = (AtomicU64::new(0), AtomicBool::new(false));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let entries: Vec<_> =
                    (0..7).map(|class| predicted(&origin("edge-01"), class, false)).collect();
                let mut turn = 0;
                while !done.load(Ordering::Relaxed) {
                    turn += 1;
                    let stream = Stream::ALL[turn % 2];
                    log.commit(&[Group { stream, entries: &entries, name: None }]).unwrap();
                    acknowledged.store(log.position().next, Ordering::Release);
                    if turn % 50 == 0 {
                        log.checkpoint().unwrap();
                        log.retire(0, &Stamp::now()).unwrap();
                    }
                }
            });
            let _done = Done(&done);
            for copy in 0..30 {
                let before = acknowledged.load(Ordering::Acquire);
                let target = state.path().join(format!("copy-{copy}"));
                let backup = back_up(&dir, &target).unwrap();
                assert!(backup.next >= before, "{backup:?}, {before} were acknowledged");
                let found = StoppedLog::open(&target).unwrap().verify(None).unwrap();
                assert!(found.gaps.is_empty() && found.altered.is_empty(), "{found:?}");
                let (_, opened) = Log::open_in(&target).unwrap();
                assert!(opened.losses.is_empty(), "{:?}", opened.losses);
            }
        });
    }

    #[test]
    fn a_copy_never_replaces_anything_and_needs_a_log() {
        let state = tempfile::tempdir().unwrap();
        let dir = state.path().join("log");
        assert!(back_up(&dir, &state.path().join("copy")).is_err());
        drop(Log::open_in(&dir).unwrap());
        let target = state.path().join("copy");
        std::fs::create_dir(&target).unwrap();
        assert!(back_up(&dir, &target).is_ok(), "it is empty");
        let error = back_up(&dir, &target).unwrap_err();
        assert!(picket_base::chain(&error).contains("not empty"), "{error:?}");
    }
}
