//! Reading pieces out of sealed files, by where their footers say they are. It knows no journal.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::frame::Frame;
use super::item::{Item, Piece};
use super::medium::{Access, Bytes, Medium, read_what_can_be_read};
use super::segment::Segment;
use super::summary::Spot;
use crate::tally::Tally;

/// What stands at some place of a stream.
pub(crate) enum Step {
    Piece(Piece),
    /// It can't be read.
    Damaged(Spot),
}

/// Reads a piece where it should be.
///
/// # Errors
/// When the disk can't say how long the file is.
pub(crate) fn read_at(file: &dyn Bytes, spot: &Spot) -> io::Result<Step> {
    let bytes = read_what_can_be_read(file, spot.at, spot.length as usize)?;
    let item = Frame::at_start(&bytes).ok().and_then(|frame| Item::read(&frame).ok());
    Ok(match item {
        Some((_, Item::Records(piece))) if piece.ordinal == spot.ordinal => Step::Piece(piece),
        _ => Step::Damaged(*spot),
    })
}

/// Gives the pieces that hold records of these counts, oldest first, until `take` has enough.
///
/// # Errors
/// When the disk can't open a file.
pub(crate) fn each_piece(
    medium: &dyn Medium,
    files: &[Arc<Segment>],
    (from, to): (u64, u64),
    mut take: impl FnMut(&Piece) -> bool,
) -> io::Result<()> {
    for segment in files.iter().filter(|file| file.summary.end > from) {
        let spots = segment.summary.spots.iter();
        let mut spots = spots.filter(|spot| spot.ordinal + u64::from(spot.count) > from).peekable();
        if spots.peek().is_none_or(|spot| spot.ordinal >= to) {
            continue;
        }
        let file = medium.open(&segment.name, Access::Read)?;
        for spot in spots.take_while(|spot| spot.ordinal < to) {
            if let Step::Piece(piece) = read_at(&*file, spot)?
                && !take(&piece)
            {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Returns what the records of these counts come to, of each origin.
///
/// # Errors
/// As `each_piece`.
pub(crate) fn tally_between(
    medium: &dyn Medium,
    files: &[Arc<Segment>],
    (from, to): (u64, u64),
) -> io::Result<BTreeMap<u32, Tally>> {
    let mut tallies: BTreeMap<u32, Tally> = BTreeMap::new();
    each_piece(medium, files, (from, to), |piece| {
        for (ordinal, (id, value)) in (piece.ordinal..).zip(piece.records()) {
            if (from..to).contains(&ordinal)
                && let Ok(stored) = crate::format::decode(id, &value)
            {
                tallies.entry(stored.origin).or_default().add(Tally::of(&stored));
            }
        }
        true
    })?;
    Ok(tallies)
}
