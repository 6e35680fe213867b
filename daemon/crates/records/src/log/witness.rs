//! The witness: how far the log had got, in a file of its own, so that a file that is missing or a frame
//! that is rotten is told from one that was never written. It knows nothing of what the log holds.
//!
//! Three slots, a block each. A checkpoint writes the older of the first two and syncs it. After every
//! commit the third is written and not synced: it survives the process, and the power some seconds later.
//! No slot ever claims more than is on the medium.

use std::io;

use serde::{Deserialize, Serialize};

use super::frame::Author;
use super::medium::{Access, Bytes, Medium};
use super::position::Position;

pub(crate) const FILE_NAME: &str = "witness";

/// A slot's block, and what of it is used: a disk writes that much whole or not at all.
const BLOCK_BYTES: usize = 4096;
const SLOT_BYTES: usize = 512;

/// Slots that are synced; behind them comes the one that is not.
const SYNCED: u64 = 2;

/// What the log knows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Statement {
    /// Grows with each synced slot.
    pub(crate) turn: u64,
    /// Who wrote it.
    pub(crate) author: Author,
    /// The checksum of the last frame of the journal before it began again.
    pub(crate) tail: u32,
    /// The number that the journal's first frame has, if it has any.
    pub(crate) round: u64,
    pub(crate) position: Position,
}

/// The file, open for the owner of the log.
pub(crate) struct Witness {
    file: Box<dyn Bytes>,
}

impl Witness {
    /// Opens the file, or makes it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn open(medium: &dyn Medium) -> io::Result<Witness> {
        let file = match medium.open(FILE_NAME, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                medium.open(FILE_NAME, Access::Create)?
            }
            other => other?,
        };
        let length = (SYNCED as usize + 1) * BLOCK_BYTES;
        if file.length()? < length as u64 {
            // Whole from the start: later writes change no metadata.
            let missing = vec![0; length - file.length()? as usize];
            file.write_at(&missing, file.length()?)?;
            file.sync()?;
            medium.sync_names()?;
        }
        Ok(Witness { file })
    }

    /// Keeps a statement for good.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn state(&self, statement: &Statement) -> io::Result<()> {
        self.file.write_at(&encode(statement), statement.turn % SYNCED * BLOCK_BYTES as u64)?;
        self.file.sync()
    }

    /// Keeps a statement until the power goes, and longer once the kernel has written it.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn mark(&self, statement: &Statement) -> io::Result<()> {
        self.file.write_at(&encode(statement), SYNCED * BLOCK_BYTES as u64)
    }

    pub(crate) fn is_at_its_name(&self) -> bool {
        self.file.is_at_its_name()
    }
}

/// Returns what the last checkpoint stated, and where the log has stood for certain since; none where no
/// slot is whole.
pub(crate) fn read(medium: &dyn Medium) -> Option<(Statement, Position)> {
    let file = medium.open(FILE_NAME, Access::Read).ok()?;
    let slot = |number: u64| {
        let mut bytes = [0; SLOT_BYTES];
        let read = file.read_at(&mut bytes, number * BLOCK_BYTES as u64).ok()?;
        decode(&bytes).filter(|_| read == SLOT_BYTES)
    };
    let stated = (0..SYNCED).filter_map(slot).max_by_key(|statement| statement.turn);
    let marked = slot(SYNCED);
    // Where both synced slots are damaged, what the mark repeats of them is still right.
    let stated = stated.or(marked)?;
    let same =
        |mark: &Statement| mark.author.store == stated.author.store && mark.turn >= stated.turn;
    let position = marked.filter(same).map_or(stated.position, |mark| mark.position);
    Some((stated, position))
}

/// Encodes a slot: CRC-32 over the rest of it, then the statement, zeros behind.
fn encode(statement: &Statement) -> [u8; SLOT_BYTES] {
    let mut bytes = [0; SLOT_BYTES];
    postcard::to_slice(statement, &mut bytes[4..]).expect("a statement takes half a slot");
    let checksum = crc32fast::hash(&bytes[4..]);
    bytes[..4].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; SLOT_BYTES]) -> Option<Statement> {
    let (stated, content) = bytes.split_first_chunk::<4>()?;
    // An unwritten slot passes no check: the checksum of zeros is not zero.
    let intact = crc32fast::hash(content).to_le_bytes() == *stated;
    intact.then(|| postcard::from_bytes(content).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::super::sim::{Fault, Sim};
    use super::*;

    fn statement(turn: u64, next: u64) -> Statement {
        let position = Position::continuing(next, [u8::MAX; 12]);
        Statement {
            turn,
            author: Author { store: u64::MAX, epoch: u32::MAX },
            tail: 5,
            round: next,
            position,
        }
    }

    /// The next number by the last checkpoint, and by all that is known.
    fn known(sim: &Sim) -> Option<(u64, u64)> {
        read(sim).map(|(stated, position)| (stated.round, position.next))
    }

    #[test]
    fn at_every_cut_it_says_what_it_was_told_or_what_it_was_about_to_be() {
        let play = |sim: &Sim| -> io::Result<()> {
            let witness = Witness::open(sim)?;
            for turn in 1..5 {
                witness.state(&statement(turn, turn * 10))?;
                witness.mark(&Statement { round: turn * 10, ..statement(turn, turn * 10 + 5) })?;
            }
            Ok(())
        };
        let whole = Sim::default();
        play(&whole).unwrap();
        assert_eq!(known(&whole.after_kill()), Some((40, 45)));
        let mut said = std::collections::BTreeSet::new();
        for step in 1..=whole.steps() {
            let sim = Sim::default();
            sim.fail_at(step, Fault::Cut);
            assert!(play(&sim).is_err());
            for mask in 0..64_u32 {
                let mut turn = 0;
                let found = known(&sim.after_cut(|| {
                    turn += 1;
                    mask >> (turn % 6) & 1 == 1
                }));
                // Opening takes four steps, a turn three: its slot, the sync, the mark.
                let synced = (step as u64).saturating_sub(5 - 1) / 3;
                let Some((round, next)) = found else {
                    assert_eq!(synced, 0, "step {step}");
                    continue;
                };
                assert!(round / 10 >= synced && round / 10 <= synced + 1, "step {step}: {round}");
                assert!(next == round || next == round + 5, "step {step}: {next}");
                said.insert((step, next));
            }
        }
        assert!(said.len() > whole.steps(), "the mark survives in some cuts and not in others");
    }

    #[test]
    fn damage_to_one_slot_is_made_up_for_by_another() {
        let sim = Sim::default();
        let witness = Witness::open(&sim).unwrap();
        witness.state(&statement(1, 10)).unwrap();
        witness.state(&statement(2, 20)).unwrap();
        witness
            .mark(&Statement { position: Position::continuing(25, [9; 12]), ..statement(2, 20) })
            .unwrap();
        let whole = sim.content(FILE_NAME);
        let damaged = |slots: &[usize]| {
            let mut bytes = whole.clone();
            slots.iter().for_each(|slot| bytes[slot * BLOCK_BYTES + 9] ^= 1);
            sim.set_content(FILE_NAME, bytes);
            known(&sim)
        };
        assert_eq!(damaged(&[]), Some((20, 25)));
        assert_eq!(damaged(&[2]), Some((20, 20)));
        assert_eq!(damaged(&[0]), Some((10, 25)));
        assert_eq!(damaged(&[0, 1]), Some((20, 25)));
        assert_eq!(damaged(&[0, 1, 2]), None);
        sim.set_content(FILE_NAME, whole[..600].to_vec());
        assert_eq!(known(&sim), Some((20, 20)), "what is left of a file that was cut");
        sim.set_content(FILE_NAME, whole[..500].to_vec());
        assert_eq!(known(&sim), None);
    }
}
