//! The journal: what was committed since the last checkpoint, in one file of fixed size beside
//! sled's. A commit is one synchronous write here; sled takes the same records in memory and is
//! flushed and synced at the next checkpoint, after which the journal starts again from its
//! beginning.
//!
//! Every commit begins on a block of its own, so that no later write touches one that was
//! acknowledged. Which commits count needs no mark: each states the number that it begins with, and
//! one that does not continue the commit before it is a leftover. What it holds are the very
//! values that sled gets, so that a salvage finds them here as well.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::chunk::{self, Chunk};
use super::climb::Climb;
use super::format::{self, Anchor, Kind};
use super::keys::{ANCHOR_KEY, mark_key, offset_key, origin_key};
use super::marks::Mark;
use super::packed::Packed;
use super::position::Position;
use picket_base::disk::{self, AlignedBytes};

pub(super) const FILE_NAME: &str = "journal";

/// 256 commits of up to 50 predictions: at ten commits a second a checkpoint in half a minute.
const FILE_BYTES: usize = 1 << 20;

/// What a commit is rounded up to.
const BLOCK_BYTES: usize = disk::DIRECT_ALIGNMENT_BYTES;

/// Memory kept for the next commit: one large batch is no reason to keep more.
const KEPT_BYTES: usize = 64 << 10;

/// CRC-32 over the rest of the header and the values, then the header.
const HEADER_BYTES: usize = 64;

#[derive(Serialize, Deserialize)]
struct Header {
    values_bytes: u32,
    /// Number of the first record in it.
    first_new: u64,
    /// Where the log stands with it.
    state: Position,
}

/// The file, open for the owner of the log.
pub(super) struct Journal {
    file: File,
    /// Where the next commit goes.
    at: usize,
    /// The next commit: its header's room, then its values.
    commit: Vec<u8>,
    /// What is written.
    blocks: AlignedBytes,
    first_new: Option<u64>,
}

impl Journal {
    /// Opens or creates the file in `dir`; what it holds is overwritten by the next commit. One that
    /// the disk can't read is made anew where `climb` gives up what can't be read.
    pub(super) fn open(dir: &Path, climb: Climb) -> io::Result<Journal> {
        let path = dir.join(FILE_NAME);
        match Journal::open_file(&path) {
            Err(error) if climb == Climb::Unreadable && disk::is_io_error(&error) => {
                tracing::warn!(%error, "the journal can't be read and is made anew");
                std::fs::remove_file(&path)?;
                Journal::open_file(&path)
            }
            other => other,
        }
    }

    fn open_file(path: &Path) -> io::Result<Journal> {
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        let length = file.metadata()?.len();
        if length < FILE_BYTES as u64 {
            // Written, not only allocated: commits then change no metadata of the file system.
            let missing = FILE_BYTES - usize::try_from(length).unwrap_or(FILE_BYTES);
            file.write_all_at(&vec![0; missing], length)?;
            file.sync_all()?;
        }
        let (commit, blocks) = (vec![0; HEADER_BYTES], AlignedBytes::zeroed(BLOCK_BYTES));
        Ok(Journal { file: disk::open_synchronous(path)?, at: 0, commit, blocks, first_new: None })
    }

    /// Adds a value other than records to the next commit.
    pub(super) fn add(&mut self, value: &[u8]) {
        // What is too large for the file is not gathered either.
        if self.commit.len() <= FILE_BYTES {
            self.commit.extend(value);
        }
    }

    /// Adds a chunk of records to the next commit.
    pub(super) fn add_chunk(&mut self, first_id: u64, chunk: &[u8]) {
        self.first_new.get_or_insert(first_id);
        self.add(chunk);
    }

    /// Returns true once everything that was added is on the medium, false when there is no room
    /// for it: then a checkpoint is due.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn commit(&mut self, state: Position) -> io::Result<bool> {
        let Some(first_new) = self.first_new else { return Ok(self.commit.len() == HEADER_BYTES) };
        let end = self.at + self.commit.len().next_multiple_of(BLOCK_BYTES);
        if end > FILE_BYTES {
            return Ok(false);
        }
        let values_bytes = self.commit.len() - HEADER_BYTES;
        let values_bytes = u32::try_from(values_bytes).expect("the file is smaller");
        let header = Header { values_bytes, first_new, state };
        postcard::to_slice(&header, &mut self.commit[4..HEADER_BYTES])
            .expect("a header takes less than its room");
        let checksum = crc32fast::hash(&self.commit[4..]);
        self.commit[..4].copy_from_slice(&checksum.to_le_bytes());
        let length = end - self.at;
        if self.blocks.as_mut().len() < length {
            self.blocks = AlignedBytes::zeroed(length);
        }
        let (content, padding) = self.blocks.as_mut()[..length].split_at_mut(self.commit.len());
        content.copy_from_slice(&self.commit);
        padding.fill(0);
        self.file.write_all_at(&self.blocks.as_mut()[..length], self.at as u64)?;
        self.at = end;
        self.next();
        Ok(true)
    }

    /// Starts again from the beginning of the file, since the store has everything.
    pub(super) fn restart(&mut self) {
        self.at = 0;
        self.next();
    }

    fn next(&mut self) {
        self.first_new = None;
        self.commit.clear();
        self.commit.resize(HEADER_BYTES, 0);
        self.commit.shrink_to(KEPT_BYTES);
        if self.blocks.as_mut().len() > KEPT_BYTES {
            self.blocks = AlignedBytes::zeroed(BLOCK_BYTES);
        }
    }
}

/// What a journal holds: commits that follow each other.
pub(super) struct Tail {
    /// Where the log stood after the last of them.
    pub(super) state: Position,
    first_new: u64,
    values: Vec<u8>,
}

/// Reads the commits in the journal of `dir`; none when there is no file or no whole commit in it.
pub(super) fn read(dir: &Path) -> Option<Tail> {
    let bytes = content(dir)?;
    let mut rest = &bytes[..];
    let mut tail: Option<Tail> = None;
    while let Some((header, values)) = decode(rest) {
        let tail = match &mut tail {
            None => tail.insert(Tail {
                state: header.state,
                first_new: header.first_new,
                values: Vec::new(),
            }),
            Some(tail) if tail.state.next_id == header.first_new => tail,
            Some(_) => break,
        };
        tail.state = header.state;
        tail.values.extend(values);
        let length = (HEADER_BYTES + values.len()).next_multiple_of(BLOCK_BYTES);
        rest = rest.get(length..).unwrap_or_default();
    }
    tail
}

/// Returns the version of the values of the first commit in the journal of `dir` where it is newer than
/// the one that is written here: of the commits that count all have the same writer.
pub(super) fn newer_version(dir: &Path) -> Option<u8> {
    let bytes = content(dir)?;
    let (_, mut held) = commit_at_start(&bytes)?;
    loop {
        match format::frame(held) {
            Ok((Kind::Chunk, ..)) => held = Packed::at_start(held).ok()?.1,
            Ok((_, _, behind)) => held = behind,
            Err(_) => return format::newer_version(held),
        }
    }
}

fn content(dir: &Path) -> Option<Vec<u8>> {
    let file = File::open(dir.join(FILE_NAME)).ok()?;
    let mut bytes = vec![0; FILE_BYTES];
    let length = read_up_to(&file, &mut bytes).ok()?;
    bytes.truncate(length);
    Some(bytes)
}

fn read_up_to(file: &File, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What the disk can't read ends the commits that count.
            Err(_) if filled > 0 => break,
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

fn decode(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (header, held) = commit_at_start(bytes)?;
    holds_its_records(&header, held).then_some((header, held))
}

/// The commit with a right checksum that these bytes begin with.
fn commit_at_start(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (stated, rest) = bytes.split_first_chunk::<4>()?;
    let header: Header = postcard::from_bytes(rest.get(..HEADER_BYTES - 4)?).ok()?;
    let length = HEADER_BYTES - 4 + usize::try_from(header.values_bytes).ok()?;
    let content = rest.get(..length)?;
    let intact = crc32fast::hash(content).to_le_bytes() == *stated;
    let held = &content.get(HEADER_BYTES - 4..)?;
    // An unwritten block passes no check: the checksum of zeros is not zero.
    intact.then_some((header, held))
}

/// Whether the numbers that a commit claims are those of its records, one after the other.
fn holds_its_records(header: &Header, held: &[u8]) -> bool {
    let records = values(held).filter(|(kind, _)| *kind == Kind::Record);
    let mut next_id = header.first_new;
    for (_, value) in records {
        if format::identify(&value).map(|(id, ..)| id) != Ok(next_id) {
            return false;
        }
        next_id = next_id.saturating_add(1);
    }
    next_id == header.state.next_id && next_id > header.first_new
}

impl Tail {
    /// Gives the store what it has not kept of these commits, under the same numbers. Does nothing
    /// where the store lacks more than they hold, or knows other origins: a salvage then finds
    /// their records one by one.
    pub(super) fn replay(&self, db: &sled::Db) -> sled::Result<()> {
        let next_id = next_id(db)?;
        if !(self.first_new..self.state.next_id).contains(&next_id) {
            return Ok(());
        }
        let mut batch = sled::Batch::default();
        for (kind, value) in values(&self.values) {
            if kind == Kind::Origin
                && let Ok((number, _)) = format::decode_origin(&value)
            {
                let key = origin_key(number);
                match db.get(key)? {
                    Some(stored) if stored != value => return Ok(()),
                    Some(_) => {}
                    None => batch.insert(&key[..], value),
                }
            } else if kind == Kind::BootOffset
                && let Ok((_, offset)) = format::decode_other::<format::BootOffset>(kind, &value)
            {
                batch.insert(offset_key(&offset.boot_id), value);
            }
        }
        // In the store before the records are: an open removes the mark of a batch that is not whole.
        for (kind, value) in values(&self.values) {
            if kind == Kind::Batch
                && let Ok(mark) = Mark::of(&value)
                && mark.last_id() >= next_id
            {
                batch.insert(&mark_key(mark.stored.first_id)[..], value);
            }
        }
        db.apply_batch(batch)?;
        let mut records = Chunk::default();
        for (kind, value) in values(&self.values) {
            if kind == Kind::Record
                && let Ok((id, ..)) = format::identify(&value)
                && id >= next_id
                && records.add(&value).is_ok()
                && records.is_full()
            {
                put(db, &mut records)?;
            }
        }
        put(db, &mut records)?;
        let records = self.state.next_id - next_id;
        tracing::info!(records, from = next_id, "the store takes over records from the journal");
        Ok(())
    }
}

fn put(db: &sled::Db, records: &mut Chunk) -> sled::Result<()> {
    records.take().map_or(Ok(()), |(first_id, bytes)| chunk::insert(db, first_id, bytes).map(drop))
}

/// Returns the number after the newest record in the store.
fn next_id(db: &sled::Db) -> sled::Result<u64> {
    if let Some(newest) = chunk::descending(db, u64::MAX).next() {
        return Ok(newest?.id + 1);
    }
    let anchor = db.get([ANCHOR_KEY])?;
    let anchor = anchor.and_then(|value| format::decode_other::<Anchor>(Kind::Anchor, &value).ok());
    Ok(anchor.map_or(0, |(_, anchor)| anchor.id) + 1)
}

/// Gives the values in these bytes, records each as one of its own; ends at the first that is damaged.
fn values(bytes: &[u8]) -> impl Iterator<Item = (Kind, Vec<u8>)> {
    let mut rest = bytes;
    let next = move || {
        let (kind, content, behind) = format::frame(rest).ok()?;
        if kind == Kind::Chunk {
            let (packed, behind) = Packed::at_start(rest).ok()?;
            rest = behind;
            return Some(packed.records().map(|record| (Kind::Record, record.value)).collect());
        }
        let value = rest[..format::HEADER_BYTES + content.len()].to_vec();
        rest = behind;
        Some(vec![(kind, value)])
    };
    std::iter::from_fn(next).flat_map(|values: Vec<_>| values)
}

#[cfg(test)]
mod tests {
    use super::super::chunk::tests::packed;
    use super::super::packed::CHUNK_RECORDS_MAX;
    use super::*;

    fn commit(journal: &mut Journal, ids: std::ops::Range<u64>) -> bool {
        for first in ids.clone().step_by(CHUNK_RECORDS_MAX) {
            let last = ids.end.min(first + CHUNK_RECORDS_MAX as u64);
            journal.add_chunk(first, &packed(first..last));
        }
        let state = Position { first_id: 1, next_id: ids.end, link: format::GENESIS };
        journal.commit(state).unwrap()
    }

    fn ids(dir: &Path) -> Vec<u64> {
        let Some(tail) = read(dir) else { return Vec::new() };
        let ids: Vec<u64> =
            values(&tail.values).map(|(_, value)| format::identify(&value).unwrap().0).collect();
        assert_eq!(ids.last(), Some(&(tail.state.next_id - 1)));
        ids
    }

    #[test]
    fn commits_that_follow_each_other_count_and_leftovers_do_not() {
        let dir = tempfile::tempdir().unwrap();
        assert!(read(dir.path()).is_none());
        let mut journal = Journal::open(dir.path(), Climb::Quarantine).unwrap();
        assert!(read(dir.path()).is_none(), "an empty file holds nothing");
        for ids in [1..2, 2..80, 80..81] {
            assert!(commit(&mut journal, ids));
        }
        assert_eq!(ids(dir.path()), (1..81).collect::<Vec<_>>());
        journal.restart();
        assert_eq!(ids(dir.path()).len(), 80, "they stay until they are written over");
        assert!(commit(&mut journal, 81..83));
        assert_eq!(ids(dir.path()), [81, 82], "those behind it are leftovers");
    }

    #[test]
    fn a_torn_commit_does_not_count_and_leaves_those_before_it() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), Climb::Quarantine).unwrap();
        assert!(commit(&mut journal, 1..3));
        assert!(commit(&mut journal, 3..100));
        let whole = std::fs::read(dir.path().join(FILE_NAME)).unwrap();
        for torn in [BLOCK_BYTES, BLOCK_BYTES + 5, BLOCK_BYTES + HEADER_BYTES, 2 * BLOCK_BYTES] {
            let mut bytes = whole.clone();
            bytes[torn] ^= 1;
            std::fs::write(dir.path().join(FILE_NAME), &bytes).unwrap();
            assert_eq!(ids(dir.path()), [1, 2], "byte {torn}");
            std::fs::write(dir.path().join(FILE_NAME), &bytes[..torn]).unwrap();
            assert_eq!(ids(dir.path()), [1, 2], "cut at {torn}");
        }
    }

    #[test]
    fn a_commit_without_room_is_not_taken_and_the_file_never_grows() {
        let dir = tempfile::tempdir().unwrap();
        let mut journal = Journal::open(dir.path(), Climb::Quarantine).unwrap();
        let commits = (FILE_BYTES / BLOCK_BYTES) as u64;
        assert!((1..=commits).all(|id| commit(&mut journal, id..id + 1)));
        assert!(!commit(&mut journal, 257..258));
        journal.restart();
        assert!(!commit(&mut journal, 257..257 + 40_000), "more than the whole file");
        journal.restart();
        assert!(commit(&mut journal, 257..258));
        let length = std::fs::metadata(dir.path().join(FILE_NAME)).unwrap().len();
        assert_eq!(length, FILE_BYTES as u64);
        assert_eq!(ids(dir.path()), [257]);
    }
}
