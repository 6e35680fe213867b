//! The high-water file: how far the log has got, kept apart from the store, so that records which
//! the store has lost without a word are known by number.
//!
//! It is written after every commit and never says more than what is on the medium; it is synced
//! with a checkpoint, at most once in `SYNC_INTERVAL`, so that it costs next to no wear. What was
//! committed since, the journal knows as well.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::journal;
use super::position::Position;

pub(super) const FILE_NAME: &str = "high-water";

/// Between two syncs while records come.
const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// Each state is written to the other of two slots, a disk sector each: a torn write leaves the
/// state before it.
const SLOT_BYTES: usize = 512;

/// The file, open for the owner of the log.
pub(super) struct HighWaterFile {
    file: File,
    /// Slots are written in turn.
    turn: u64,
    synced: Instant,
}

#[derive(Serialize, Deserialize)]
struct Slot {
    turn: u64,
    state: Position,
}

impl HighWaterFile {
    /// Opens or creates the file in `dir`.
    pub(super) fn open(dir: &Path) -> io::Result<HighWaterFile> {
        let path = dir.join(FILE_NAME);
        let file =
            File::options().read(true).write(true).create(true).truncate(false).open(path)?;
        if file.metadata()?.len() < 2 * SLOT_BYTES as u64 {
            // Whole from the start: later writes change no metadata.
            file.write_all_at(&[0; 2 * SLOT_BYTES], 0)?;
            file.sync_all()?;
        }
        let turn = newest_slot(&file).map_or(0, |slot| slot.turn);
        Ok(HighWaterFile { file, turn, synced: Instant::now() })
    }

    /// Writes the position into the next slot.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn write(&mut self, state: Position) -> io::Result<()> {
        self.turn += 1;
        let offset = (self.turn % 2) * SLOT_BYTES as u64;
        self.file.write_all_at(&encode(&Slot { turn: self.turn, state }), offset)
    }

    /// Syncs the file, at most once in `SYNC_INTERVAL`.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(super) fn sync(&mut self) -> io::Result<()> {
        if self.synced.elapsed() >= SYNC_INTERVAL {
            self.file.sync_data()?;
            self.synced = Instant::now();
        }
        Ok(())
    }
}

/// Returns how far the log in `dir` has got, by this file and by the journal; none when neither says.
pub(super) fn read(dir: &Path) -> Option<Position> {
    let file = File::open(dir.join(FILE_NAME)).ok();
    let stated = file.and_then(|file| newest_slot(&file)).map(|slot| slot.state);
    let journaled = journal::read(dir).map(|tail| tail.state);
    let first_id = stated.iter().chain(&journaled).map(|state| state.first_id).max()?;
    let furthest = stated.into_iter().chain(journaled).max_by_key(|state| state.next_id)?;
    Some(Position { first_id, ..furthest })
}

fn newest_slot(file: &File) -> Option<Slot> {
    let slots = [0, SLOT_BYTES as u64].into_iter().filter_map(|offset| {
        let mut bytes = [0; SLOT_BYTES];
        file.read_exact_at(&mut bytes, offset).ok()?;
        decode(&bytes)
    });
    slots.max_by_key(|slot| slot.turn)
}

/// Encodes a slot: CRC-32 over the rest of the sector, then the slot, zeros behind.
fn encode(slot: &Slot) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    postcard::to_slice(slot, &mut bytes[4..]).expect("a slot takes less than a sector");
    let checksum = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Slot> {
    let (stated, content) = bytes.split_first_chunk::<4>()?;
    let intact = crc32fast::hash(content).to_le_bytes() == *stated;
    // An unwritten sector passes no check: the checksum of zeros is not zero.
    intact.then(|| postcard::from_bytes(content).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state(next_id: u64) -> Position {
        Position { first_id: 1, next_id, link: [7; 12] }
    }

    #[test]
    fn the_newest_whole_slot_counts_and_a_torn_one_leaves_the_one_before() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read(dir.path()), None);
        let mut file = HighWaterFile::open(dir.path()).unwrap();
        assert_eq!(read(dir.path()), None, "an empty file states nothing");
        for next_id in [2, 3, 4] {
            file.write(state(next_id)).unwrap();
            assert_eq!(read(dir.path()), Some(state(next_id)));
        }
        drop(file);
        let raw = File::options().write(true).open(dir.path().join(FILE_NAME)).unwrap();
        // The third write went to slot 1.
        raw.write_all_at(&[0xff; 40], SLOT_BYTES as u64).unwrap();
        let mut file = HighWaterFile::open(dir.path()).unwrap();
        assert_eq!(read(dir.path()), Some(state(3)));
        file.write(state(9)).unwrap();
        assert_eq!(read(dir.path()), Some(state(9)));
    }

    #[test]
    fn a_cut_or_foreign_file_states_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"x", &[0xff; 1024], &[0; 1024]] {
            std::fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
            assert_eq!(read(dir.path()), None);
        }
    }
}
