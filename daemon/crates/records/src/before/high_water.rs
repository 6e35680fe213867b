//! The high-water file: how far the store had got, kept apart from it, so that records which sled has lost
//! without a word are known by number.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::position::Position;

const FILE_NAME: &str = "high-water";

/// Each state was written to the other of two slots, a disk sector each: a torn write left the one before it.
const SLOT_BYTES: usize = 512;

#[derive(Serialize, Deserialize)]
struct Slot {
    turn: u64,
    state: Position,
}

/// Returns how far the store in `dir` has got, by this file; none where it does not say.
pub(super) fn read(dir: &Path) -> Option<Position> {
    let file = File::open(dir.join(FILE_NAME)).ok()?;
    let slots = [0, SLOT_BYTES as u64].into_iter().filter_map(|offset| {
        let mut bytes = [0; SLOT_BYTES];
        file.read_exact_at(&mut bytes, offset).ok()?;
        decode(&bytes)
    });
    slots.max_by_key(|slot| slot.turn).map(|slot| slot.state)
}

/// Decodes a slot: CRC-32 over the rest of the sector, then the slot, zeros behind.
fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Slot> {
    let (stated, content) = bytes.split_first_chunk::<4>()?;
    let intact = crc32fast::hash(content).to_le_bytes() == *stated;
    // An unwritten sector passes no check: the checksum of zeros is not zero.
    intact.then(|| postcard::from_bytes(content).ok()).flatten()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    /// Writes the file as 0.1 did.
    pub(crate) fn write(dir: &Path, state: Position) {
        let mut bytes = [0; 2 * SLOT_BYTES];
        postcard::to_slice(&Slot { turn: 1, state }, &mut bytes[4..SLOT_BYTES]).unwrap();
        let checksum = crc32fast::hash(&bytes[4..SLOT_BYTES]);
        bytes[..4].copy_from_slice(&checksum.to_le_bytes());
        std::fs::write(dir.join(FILE_NAME), bytes).unwrap();
    }

    #[test]
    fn a_cut_or_foreign_file_states_nothing() {
        let dir = tempfile::tempdir().unwrap();
        for bytes in [&b""[..], b"x", &[0xff; 1024], &[0; 1024]] {
            std::fs::write(dir.path().join(FILE_NAME), bytes).unwrap();
            assert_eq!(read(dir.path()), None);
        }
        let state = Position { first_id: 1, next_id: 9, link: [7; 12] };
        write(dir.path(), state);
        assert_eq!(read(dir.path()), Some(state));
    }
}
