//! Healing: what can't be read in a sealed file is taken from the view, where it fits into the chain at both
//! ends, and the file is written anew beside the old one. It knows no journal.

use std::io;

use super::frame::Author;
use super::item::{Item, Packing, Piece, StoredOrigins};
use super::known::Known;
use super::lookup::Lookup;
use super::medium::{Access, Medium};
use super::pieces::{Step, read_at};
use super::position::Stream;
use super::segment::{self, Found, NEW_SUFFIX, Segment};
use super::snapshot::Snapshot;
use crate::error::StoreError;
use crate::format::{self, Link};

/// A part of a stream that can't be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hole {
    /// Which records of the stream, counted.
    pub(crate) from: u64,
    pub(crate) to: u64,
    /// The numbers of the records before and behind it, and the links that it has to go on from and lead to.
    pub(crate) after: u64,
    pub(crate) before: u64,
    pub(crate) previous: Link,
    pub(crate) next: Link,
}

/// Where a stream stands: how many records it has had, the number of the last, and its link.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Mark {
    pub(crate) ordinal: u64,
    pub(crate) number: u64,
    pub(crate) link: Link,
}

/// Reads all that is sealed. Returns what can't be read, or what was found before `goes_on` said no.
///
/// # Errors
/// When the disk can't open a file.
pub(crate) fn scrub(
    log: &Snapshot,
    mut goes_on: impl FnMut() -> bool,
) -> io::Result<Vec<(Stream, Hole)>> {
    let mut all = Vec::new();
    for stream in Stream::ALL {
        let holes = holes(log, stream, &mut goes_on)?;
        all.extend(holes.into_iter().map(|hole| (stream, hole)));
    }
    Ok(all)
}

/// Where what is sealed of a stream begins and ends.
fn ends(log: &Snapshot, stream: Stream) -> (Mark, Mark) {
    let lane = log.position.lane(stream);
    let (ordinal, number, link) = (lane.kept_from, lane.first - 1, lane.anchor);
    let from = Mark { ordinal, number, link };
    let recent = log.recent.iter().find_map(|item| match &**item {
        Item::Records(piece) if piece.stream == stream => Some(piece),
        _ => None,
    });
    let to = match recent {
        Some(piece) => {
            Mark { ordinal: piece.ordinal, number: piece.first - 1, link: piece.previous }
        }
        None => Mark { ordinal: lane.next, number: log.position.next - 1, link: lane.head },
    };
    (from, to)
}

/// Reads all pieces of a stream's files. Returns what can't be read.
///
/// # Errors
/// When the disk can't open a file.
fn holes(
    log: &Snapshot,
    stream: Stream,
    goes_on: &mut dyn FnMut() -> bool,
) -> io::Result<Vec<Hole>> {
    let (from, to) = ends(log, stream);
    let mut holes = Vec::new();
    let mut at = from;
    let mut go = |ordinal: u64, first: u64, previous: Link, behind: Mark| {
        if ordinal > at.ordinal {
            let (from, after) = (at.ordinal, at.number);
            let hole =
                Hole { from, to: ordinal, after, before: first, previous: at.link, next: previous };
            holes.push(hole);
        }
        at = behind;
    };
    for segment in &log.files[stream as usize] {
        let file = match log.medium.open(&segment.name, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            other => other?,
        };
        for spot in &segment.summary.spots {
            let end = spot.ordinal + u64::from(spot.count);
            if end <= from.ordinal {
                continue;
            }
            if !goes_on() {
                return Ok(Vec::new());
            }
            if let Step::Piece(piece) = read_at(&*file, spot)? {
                let behind = Mark { ordinal: end, number: piece.last, link: piece.head };
                // One that retention has cut into goes on in its middle.
                if piece.ordinal >= from.ordinal {
                    go(piece.ordinal, piece.first, piece.previous, behind);
                } else {
                    go(from.ordinal, piece.first, piece.previous, behind);
                }
            }
        }
    }
    go(to.ordinal, to.number + 1, to.link, to);
    Ok(holes)
}

/// Returns the records of a hole as the view has them; none unless they are as many and fit into the chain
/// at both ends.
///
/// # Errors
/// What the view says.
pub(crate) fn fill(
    hole: &Hole,
    stream: Stream,
    view: &Lookup,
    known: &Known,
) -> Result<Option<Vec<Piece>>, StoreError> {
    let records = view.between(stream, (hole.after, hole.before), hole.to - hole.from)?;
    if records.len() as u64 != hole.to - hole.from {
        return Ok(None);
    }
    let mut packing = Packing::new(stream, hole.from, hole.previous);
    let (mut link, mut pieces) = (hole.previous, Vec::new());
    for (id, value) in &records {
        let Some(next) = follows(&link, *id, value, known) else { return Ok(None) };
        link = next;
        let Ok(full) = packing.add(*id, value) else { return Ok(None) };
        pieces.extend(full);
    }
    pieces.extend(packing.take());
    Ok((link == hole.next).then_some(pieces))
}

/// Returns the link of a record that continues the chain; none where it does not.
fn follows(previous: &Link, id: u64, value: &[u8], known: &Known) -> Option<Link> {
    let (stated, link, origin) = format::identify(value).ok()?;
    let maker = known.maker(origin).filter(|_| stated == id)?;
    (format::expected_link(previous, &maker.content, value) == Ok(link)).then_some(link)
}

/// Writes a file anew: what can be read of it, and these pieces, in their order. Without an old one it is
/// made. Returns the new one, which has its end.
///
/// # Errors
/// When the disk refuses; the old file is there then.
pub(crate) fn rewrite(
    medium: &dyn Medium,
    (stream, old): (Stream, Option<&Segment>),
    healed: Vec<Piece>,
    known: &Known,
    author: Author,
) -> io::Result<Segment> {
    let mut items: Vec<Item> = healed.into_iter().map(Item::Records).collect();
    if let Some(old) = old {
        let file = medium.open(&old.name, Access::Read)?;
        segment::each(&*file, author.store, |found| {
            if let Found::Item { item, .. } = found {
                items.push(*item);
            }
        })?;
    }
    items.sort_by_key(|item| item.head(author, 0).ordinal);
    let first = items.first().expect("a file is written for something").head(author, 0);
    let name = old.map_or_else(|| segment::name(stream, first.first), |old| old.name.clone());
    let mut new = Segment::new(stream, name, first.ordinal, first.previous);
    let (mut bytes, mut stored) = (Vec::new(), StoredOrigins::default());
    for item in &items {
        let (head, before) = (item.head(author, new.tail), bytes.len());
        let checksum = head.seal(&item.payload(known, &mut stored), &mut bytes);
        new.take(bytes.len() - before, checksum, item);
    }
    new.end_with_footer(known, author, &mut bytes);
    let beside = format!("{}{NEW_SUFFIX}", new.name);
    let file = medium.open(&beside, Access::Create)?;
    file.write_at(&bytes, 0)?;
    file.sync()?;
    medium.rename(&beside, &new.name)?;
    medium.sync_names()?;
    Ok(new)
}
