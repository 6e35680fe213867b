//! What the records of a log come to, of each origin: by the footers, without reading the records. It changes
//! nothing else.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;

use super::item::Item;
use super::known::Known;
use super::medium::Medium;
use super::pieces::tally_between;
use super::position::{Position, Stream};
use super::segment::Segment;
use crate::tally::Tally;

/// Counts what sealed files hold and what is recent, less what retention has taken of the oldest file.
///
/// # Errors
/// When the disk can't open a file.
pub(crate) fn count(
    medium: &dyn Medium,
    files: [&[Arc<Segment>]; 2],
    recent: &[Arc<Item>],
    position: &Position,
    known: &mut Known,
) -> io::Result<()> {
    let mut tallies: BTreeMap<(u32, Stream), Tally> = BTreeMap::new();
    let mut add = |origin, stream, tally| tallies.entry((origin, stream)).or_default().add(tally);
    for file in files.iter().copied().flatten() {
        for (origin, tally) in &file.summary.tallies {
            add(*origin, file.stream, *tally);
        }
    }
    for item in recent {
        let Item::Records(piece) = &**item else { continue };
        for (origin, tally) in &piece.tallies {
            add(*origin, piece.stream, *tally);
        }
    }
    for stream in Stream::ALL {
        let to = position.lane(stream).kept_from;
        for (origin, tally) in tally_between(medium, files[stream as usize], (0, to))? {
            tallies.entry((origin, stream)).or_default().remove(tally);
        }
    }
    known.recount(&tallies);
    Ok(())
}
