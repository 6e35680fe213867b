//! The journal: what was committed since the last checkpoint, in one file of fixed size. A commit is one
//! synchronous write of whole frames; after a checkpoint the journal starts again from its beginning. It
//! knows frames and not what is in them.
//!
//! Every commit begins on a block of its own, so that no later write touches one that was acknowledged. All
//! of a commit counts or nothing. A leftover of an earlier round has lower numbers, one of an earlier
//! opening a lower epoch. Behind a broken commit a later one that counts tells damage from a torn tail.
//! Within a commit the frames of one stream may have numbers between those of the other's.

use std::io;

use super::frame::{Frame, NoFrame};
use super::medium::{Access, Bytes, Medium, read_what_can_be_read};
use super::witness::Statement;
use picket_base::disk::{AlignedBytes, DIRECT_ALIGNMENT_BYTES};

pub(crate) const FILE_NAME: &str = "journal";

/// 256 commits of up to 50 predictions: at ten commits a second a checkpoint in half a minute.
pub(crate) const FILE_BYTES: usize = 1 << 20;

/// What a commit is rounded up to.
const BLOCK_BYTES: usize = DIRECT_ALIGNMENT_BYTES;

/// Memory kept for the next commit: one large batch is no reason to keep more.
const KEPT_BYTES: usize = 64 << 10;

/// The file, open for the owner of the log.
pub(crate) struct Journal {
    file: Box<dyn Bytes>,
    /// Where the next commit goes.
    at: usize,
    blocks: AlignedBytes,
}

impl Journal {
    /// Opens the file, or makes it; what it holds is overwritten by the next commit.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn open(medium: &dyn Medium) -> io::Result<Journal> {
        let file = match medium.open(FILE_NAME, Access::Write) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                medium.open(FILE_NAME, Access::Create)?
            }
            other => other?,
        };
        let length = file.length()?;
        if length < FILE_BYTES as u64 {
            // Written, not only allocated: commits then change no metadata of the file system.
            file.write_at(&vec![0; FILE_BYTES - length as usize], length)?;
            file.sync()?;
            medium.sync_names()?;
        }
        let file = medium.open(FILE_NAME, Access::Synchronous)?;
        Ok(Journal { file, at: 0, blocks: AlignedBytes::zeroed(BLOCK_BYTES) })
    }

    /// Whether a commit of so many bytes has room before the next checkpoint.
    pub(crate) fn has_room(&self, bytes: usize) -> bool {
        self.at + bytes.next_multiple_of(BLOCK_BYTES) <= FILE_BYTES
    }

    /// Returns once these frames are on the medium; there is room for them.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) fn write(&mut self, frames: &[u8]) -> io::Result<()> {
        let length = frames.len().next_multiple_of(BLOCK_BYTES);
        if self.blocks.as_mut().len() < length {
            self.blocks = AlignedBytes::zeroed(length);
        }
        let blocks = &mut self.blocks.as_mut()[..length];
        let (content, padding) = blocks.split_at_mut(frames.len());
        content.copy_from_slice(frames);
        padding.fill(0);
        self.file.write_at(blocks, self.at as u64)?;
        self.at += length;
        if length > KEPT_BYTES {
            self.blocks = AlignedBytes::zeroed(BLOCK_BYTES);
        }
        Ok(())
    }

    /// Starts again from the beginning of the file: what it held is in sealed files.
    pub(crate) fn restart(&mut self) {
        self.at = 0;
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.at == 0
    }

    pub(crate) fn is_at_its_name(&self) -> bool {
        self.file.is_at_its_name()
    }
}

/// Returns the content of the journal; empty where there is none. Its owner may be at work: the last block is
/// read first, so that before each commit that is seen all earlier ones are seen as well.
///
/// # Errors
/// When the disk can't say how long it is.
pub(crate) fn read(medium: &dyn Medium) -> io::Result<Vec<u8>> {
    let file = match medium.open(FILE_NAME, Access::Read) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let length = usize::try_from(file.length()?).unwrap_or(FILE_BYTES).min(FILE_BYTES);
    let mut content = vec![0; length];
    for (index, block) in content.chunks_mut(BLOCK_BYTES).enumerate().rev() {
        let at = index * BLOCK_BYTES;
        let read = read_what_can_be_read(&*file, at as u64, block.len())?;
        block[..read.len()].copy_from_slice(&read);
    }
    Ok(content)
}

/// Returns the frames that count, oldest first. Where some are missing, damage took them: the numbers of
/// those behind tell which. Returns the version of a newer writer where there is one.
pub(crate) fn frames<'a>(
    bytes: &'a [u8],
    stated: Option<&Statement>,
) -> Result<Vec<Frame<'a>>, u8> {
    let mut found: Vec<Frame> = Vec::new();
    // What is left of commits that are broken: counts once a later commit shows that they were whole.
    let mut doubtful = Vec::new();
    let mut store = stated.map(|stated| stated.author.store);
    let mut epoch = stated.map_or(0, |stated| stated.author.epoch);
    let mut next = stated.map_or(0, |stated| stated.round);
    let mut at = 0;
    while at < bytes.len() {
        let (frames, whole) = commit(&bytes[at..])?;
        let fits = !frames.is_empty()
            && frames.iter().all(|Frame { head, .. }| {
                store.is_none_or(|store| store == head.author.store)
                    && head.author.epoch >= epoch
                    && head.first >= next
            });
        let length = if fits && whole { frames.iter().map(Frame::length).sum() } else { 1 };
        at += length.next_multiple_of(BLOCK_BYTES);
        if !fits {
            continue;
        }
        for Frame { head, .. } in &frames {
            (store, epoch) = (Some(head.author.store), head.author.epoch);
            next = next.max(head.end().unwrap_or(0));
        }
        doubtful.extend(frames);
        if whole {
            found.append(&mut doubtful);
        }
    }
    Ok(found)
}

/// Returns the frames of the commit that begins here, as far as they can be read, and whether that is all of
/// them.
fn commit(bytes: &[u8]) -> Result<(Vec<Frame<'_>>, bool), u8> {
    let mut frames: Vec<Frame> = Vec::new();
    let mut rest = bytes;
    loop {
        let frame = match Frame::at_start(rest) {
            Ok(frame) => frame,
            Err(NoFrame::Newer(version)) => return Err(version),
            Err(NoFrame::Broken) => return Ok((frames, false)),
        };
        let continues = match frames.last() {
            None => frame.head.begins,
            Some(last) => !frame.head.begins && frame.head.predecessor == last.checksum,
        };
        if !continues {
            return Ok((frames, false));
        }
        frames.push(frame);
        if frame.head.ends {
            return Ok((frames, true));
        }
        rest = &rest[frame.length()..];
    }
}

#[cfg(test)]
#[allow(clippy::single_range_in_vec_init, reason = "a frame is one range of numbers")]
mod tests {
    use std::ops::Range;

    use super::super::frame::tests::head;
    use super::super::frame::{Author, Head};
    use super::super::position::Position;
    use super::super::sim::{Fault, Sim};
    use super::*;

    /// A commit with a frame for each of these ranges of numbers.
    fn commit_of(epoch: u32, numbers: &[Range<u64>]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut predecessor = 0;
        for (index, ids) in numbers.iter().enumerate() {
            let head = Head {
                begins: index == 0,
                ends: index + 1 == numbers.len(),
                author: Author { store: 7, epoch },
                predecessor,
                ..head(ids.start, (ids.end - ids.start) as u32)
            };
            predecessor = head.seal(&vec![9; 900 * head.count as usize], &mut bytes);
        }
        bytes
    }

    fn found(sim: &Sim, stated: Option<&Statement>) -> Vec<Range<u64>> {
        let bytes = read(sim).unwrap();
        let frames = frames(&bytes, stated).unwrap();
        frames.iter().map(|f| f.head.first..f.head.end().unwrap()).collect()
    }

    fn stated(epoch: u32, round: u64) -> Statement {
        let position = Position::continuing(round, [0; 12]);
        Statement { turn: 1, author: Author { store: 7, epoch }, tail: 0, round, position }
    }

    #[test]
    fn at_every_cut_all_of_a_commit_counts_or_nothing_and_no_acknowledged_one_is_missing() {
        let commits: [&[Range<u64>]; 4] = [&[1..2], &[2..4, 4..9, 9..12], &[12..13], &[13..30]];
        let play = |sim: &Sim, acknowledged: &mut usize| -> io::Result<()> {
            let mut journal = Journal::open(sim)?;
            for commit in commits {
                journal.write(&commit_of(1, commit))?;
                *acknowledged += 1;
            }
            Ok(())
        };
        let whole = Sim::default();
        play(&whole, &mut 0).unwrap();
        assert_eq!(found(&whole, None), commits.concat());
        for step in 1..=whole.steps() {
            let sim = Sim::default();
            sim.fail_at(step, Fault::Cut);
            let mut acknowledged = 0;
            assert!(play(&sim, &mut acknowledged).is_err());
            // A commit of these takes up to 40 sectors: every one of them lost, and every one alone.
            for sector in 0..100 {
                for alone in [false, true] {
                    let mut turn = 0;
                    let cut = sim.after_cut(|| {
                        turn += 1;
                        (turn - 1 == sector) == alone
                    });
                    for stated in [None, Some(&stated(1, 1))] {
                        let found = found(&cut, stated);
                        let least = commits[..acknowledged].concat();
                        let most = commits[..commits.len().min(acknowledged + 1)].concat();
                        assert!(found == least || found == most, "step {step}: {found:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn leftovers_of_earlier_rounds_and_openings_do_not_count() {
        let sim = Sim::default();
        let mut journal = Journal::open(&sim).unwrap();
        for ids in [1..20, 20..22, 22..24] {
            journal.write(&commit_of(1, &[ids])).unwrap();
        }
        journal.restart();
        assert_eq!(found(&sim, Some(&stated(1, 24))), [], "a checkpoint has them");
        assert_eq!(found(&sim, Some(&stated(1, 20))), [20..22, 22..24], "of an older statement");
        journal.write(&commit_of(1, &[24..25])).unwrap();
        assert_eq!(found(&sim, Some(&stated(1, 24))), [24..25]);
        assert_eq!(found(&sim, None), [24..25]);
        // Numbers that were given and not acknowledged are given again by the next opening.
        journal.restart();
        journal.write(&commit_of(2, &[20..21])).unwrap();
        assert_eq!(found(&sim, Some(&stated(2, 20))), [20..21]);
        assert_eq!(found(&sim, Some(&stated(1, 20))), [20..21]);
        let foreign = Statement { author: Author { store: 8, epoch: 1 }, ..stated(1, 1) };
        assert_eq!(found(&sim, Some(&foreign)), []);
    }

    #[test]
    fn damage_in_the_middle_is_a_hole_and_at_the_end_a_tail() {
        let sim = Sim::default();
        let mut journal = Journal::open(&sim).unwrap();
        let commits: [&[Range<u64>]; 3] = [&[1..3], &[3..5, 5..9], &[9..12]];
        commits.iter().for_each(|commit| journal.write(&commit_of(1, commit)).unwrap());
        let whole = sim.content(FILE_NAME);
        let damaged = |at: usize| {
            let mut bytes = whole.clone();
            bytes[at] ^= 1;
            sim.set_content(FILE_NAME, bytes);
            found(&sim, Some(&stated(1, 1)))
        };
        assert_eq!(damaged(0), [3..5, 5..9, 9..12]);
        assert_eq!(damaged(BLOCK_BYTES + 70), [1..3, 9..12]);
        assert_eq!(damaged(BLOCK_BYTES + 2_000), [1..3, 3..5, 9..12], "what is left of a commit");
        assert_eq!(damaged(3 * BLOCK_BYTES), [1..3, 3..5, 5..9]);
        let short = sim.content(FILE_NAME)[..5_000].to_vec();
        sim.set_content(FILE_NAME, short);
        assert_eq!(found(&sim, None), [1..3]);
    }

    #[test]
    fn a_journal_of_a_newer_version_is_known_for_what_it_is() {
        let mut bytes = commit_of(1, &[1..2]);
        bytes[8] += 1;
        let checksum = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(frames(&bytes, None), Err(2));
    }

    #[test]
    fn the_file_never_grows() {
        let sim = Sim::default();
        let mut journal = Journal::open(&sim).unwrap();
        for id in 1..=256 {
            assert!(journal.has_room(970));
            journal.write(&commit_of(1, &[id..id + 1])).unwrap();
        }
        assert!(!journal.has_room(1));
        journal.restart();
        assert!(journal.has_room(FILE_BYTES) && !journal.has_room(FILE_BYTES + 1));
        assert_eq!(sim.content(FILE_NAME).len(), FILE_BYTES);
        assert_eq!(found(&sim, None).len(), 256);
    }
}
