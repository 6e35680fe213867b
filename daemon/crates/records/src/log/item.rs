//! What a frame holds: a chunk of one stream's records, numbers that are void, or where retention has moved
//! a stream's beginning. It knows no file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::frame::{Author, Frame, Head, Kind};
use super::known::Known;
use super::position::{Lane, Position, Stream};
use crate::format::{self, Damage, Link, Stored};
use crate::marks::{BatchName, StoredBatch};
use crate::packed::{Packed, Packer};
use crate::tally::Tally;

/// Between the numbers of the first and the last record of a chunk at most: the other stream may have had
/// those in between.
const SPAN_MAX: u64 = 200;

/// A chunk of records.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) stream: Stream,
    /// The numbers of its first and its last record.
    pub(crate) first: u64,
    pub(crate) last: u64,
    /// How many records the stream had before it, and how many there are in it.
    pub(crate) ordinal: u64,
    pub(crate) count: u32,
    /// The stream's link before it, and that of its last record.
    pub(crate) previous: Link,
    pub(crate) head: Link,
    /// Its records are of a batch that goes on in the next piece.
    pub(crate) more_follow: bool,
    /// The earliest and the latest wall time in it, epoch µs.
    pub(crate) times: [i64; 2],
    pub(crate) tallies: BTreeMap<u32, Tally>,
    pub(crate) chunk: Vec<u8>,
}

/// Why numbers were given and will never be records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Void {
    /// It could not be encoded.
    Refused,
    /// It was dropped while the disk took nothing.
    Dropped,
}

/// Which limit of retention records have gone by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Retired {
    pub(crate) by_count: u64,
    pub(crate) by_bytes: u64,
    pub(crate) by_age: u64,
    /// When the last of them went, epoch µs by this machine's clock.
    pub(crate) moved_at_us: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Item {
    Records(Piece),
    Void {
        first: u64,
        count: u32,
        why: Void,
        ordinal: u64,
        previous: Link,
    },
    /// `next` is the number that the log gave next at that time.
    Retired {
        stream: Stream,
        next: u64,
        lane: Lane,
        retired: Retired,
    },
    /// Batches that were stored under a name; `next` as above, the lane's place as it was then.
    Batches {
        next: u64,
        ordinal: u64,
        previous: Link,
        named: Vec<(BatchName, StoredBatch)>,
    },
}

/// Records on their way into pieces.
pub(crate) struct Packing {
    stream: Stream,
    ordinal: u64,
    link: Link,
    packer: Packer,
    /// Of what is in the packer; its chunk is still to come.
    piece: Option<Piece>,
}

impl Packing {
    /// Begins where a stream stands.
    pub(crate) fn new(stream: Stream, ordinal: u64, link: Link) -> Packing {
        Packing { stream, ordinal, link, packer: Packer::default(), piece: None }
    }

    /// Adds a record; returns the piece that it had no more room in.
    ///
    /// # Errors
    /// When the value is none of a record.
    pub(crate) fn add(&mut self, id: u64, value: &[u8]) -> Result<Option<Piece>, Damage> {
        let stored = format::decode(id, value)?;
        let full = self.piece.as_ref().is_some_and(|piece| {
            self.packer.is_full() || id.saturating_sub(piece.first) > SPAN_MAX
        });
        let done = if full { self.take() } else { None };
        self.packer.add(value)?;
        let (stream, ordinal, previous) = (self.stream, self.ordinal, self.link);
        let piece = self.piece.get_or_insert_with(|| Piece::empty(stream, id, ordinal, previous));
        piece.count_in(id, &stored);
        self.ordinal += 1;
        self.link = stored.link;
        Ok(done)
    }

    /// Whether a piece goes on where this ends.
    pub(crate) fn is_followed_by(&self, piece: &Piece) -> bool {
        (self.ordinal, self.link) == (piece.ordinal, piece.previous)
    }

    /// Returns the chunk as it would be now; none where it is empty.
    pub(crate) fn so_far(&self) -> Option<Vec<u8>> {
        self.packer.clone().finish().map(|(_, chunk)| chunk)
    }

    /// Returns what is in hand as a piece.
    pub(crate) fn take(&mut self) -> Option<Piece> {
        let piece = self.piece.take()?;
        let (_, chunk) = std::mem::take(&mut self.packer).finish().expect("it has a record");
        Some(Piece { chunk, ..piece })
    }
}

impl Piece {
    fn empty(stream: Stream, first: u64, ordinal: u64, previous: Link) -> Piece {
        Piece {
            stream,
            first,
            last: first,
            ordinal,
            count: 0,
            previous,
            head: previous,
            more_follow: false,
            times: [i64::MAX, i64::MIN],
            tallies: BTreeMap::new(),
            chunk: Vec::new(),
        }
    }

    fn count_in(&mut self, id: u64, stored: &Stored) {
        self.last = id;
        self.count += 1;
        self.head = stored.link;
        let [earliest, latest] = self.times;
        self.times = [earliest.min(stored.at.wall_us), latest.max(stored.at.wall_us)];
        self.tallies.entry(stored.origin).or_default().add(Tally::of(stored));
    }

    pub(crate) fn end(&self) -> u64 {
        self.ordinal + u64::from(self.count)
    }

    /// Gives its records, each under its number and as a value of its own.
    pub(crate) fn records(&self) -> Vec<(u64, Vec<u8>)> {
        crate::packed::read_chunk(&self.chunk).expect("a piece's chunk is whole")
    }
}

impl Item {
    /// Batches that are named where the log stands at `position`.
    pub(crate) fn named(named: Vec<(BatchName, StoredBatch)>, position: &Position) -> Item {
        let lane = position.lane(Stream::Reported);
        let (ordinal, previous) = (lane.next, lane.head);
        Item::Batches { next: position.next, ordinal, previous, named }
    }

    pub(crate) fn stream(&self) -> Stream {
        match self {
            Item::Records(piece) => piece.stream,
            // Which one does not matter as long as it is always the same.
            Item::Void { .. } => Stream::Own,
            Item::Retired { stream, .. } => *stream,
            Item::Batches { .. } => Stream::Reported,
        }
    }

    /// Returns the number after those that it takes.
    pub(crate) fn end(&self) -> u64 {
        match self {
            Item::Records(piece) => piece.last + 1,
            Item::Void { first, count, .. } => first + u64::from(*count),
            Item::Retired { next, .. } | Item::Batches { next, .. } => *next,
        }
    }

    /// Returns the head of its frame, which is the only one of its commit until somebody says otherwise.
    pub(crate) fn head(&self, author: Author, predecessor: u32) -> Head {
        let (kind, first, count, ordinal, previous) = match self {
            Item::Records(piece) => {
                (Kind::Records, piece.first, piece.count, piece.ordinal, piece.previous)
            }
            Item::Void { first, count, ordinal, previous, .. } => {
                (Kind::Void, *first, *count, *ordinal, *previous)
            }
            Item::Retired { next, lane, .. } => (Kind::Retired, *next, 0, lane.next, lane.head),
            Item::Batches { next, ordinal, previous, .. } => {
                (Kind::Batches, *next, 0, *ordinal, *previous)
            }
        };
        let more_follow = matches!(self, Item::Records(piece) if piece.more_follow);
        let stream = self.stream();
        let (begins, ends) = (true, true);
        Head {
            kind,
            stream,
            more_follow,
            begins,
            ends,
            author,
            count,
            predecessor,
            first,
            ordinal,
            previous,
        }
    }

    /// Returns the payload of its frame. What `stored` lacks of the origins that it names comes with it.
    pub(crate) fn payload(&self, known: &Known, stored: &mut StoredOrigins) -> Vec<u8> {
        match self {
            Item::Records(piece) => {
                let mut payload = Vec::with_capacity(piece.chunk.len());
                for &number in piece.tallies.keys() {
                    if stored.lacks(number, known) {
                        payload.extend(known.values(number));
                    }
                }
                payload.extend_from_slice(&piece.chunk);
                payload
            }
            Item::Void { why, .. } => postcard::to_allocvec(why).expect("a Vec takes any content"),
            Item::Retired { lane, retired, .. } => {
                postcard::to_allocvec(&(lane, retired)).expect("a Vec takes any content")
            }
            Item::Batches { named, .. } => {
                postcard::to_allocvec(named).expect("a Vec takes any content")
            }
        }
    }

    /// Returns what a frame holds, and the values of origins and clocks that come with it.
    ///
    /// # Errors
    /// What is wrong with it: its checksum is right, so that was written so.
    pub(crate) fn read<'a>(frame: &Frame<'a>) -> Result<(&'a [u8], Item), Damage> {
        let Frame { head, payload, .. } = frame;
        let decoded = |_| Damage::Content;
        match head.kind {
            Kind::Records => {
                let (values, piece) = read_piece(head, payload)?;
                Ok((values, Item::Records(piece)))
            }
            Kind::Void => {
                let why = postcard::from_bytes(payload).map_err(decoded)?;
                let Head { first, count, ordinal, previous, .. } = *head;
                Ok((&[], Item::Void { first, count, why, ordinal, previous }))
            }
            Kind::Retired => {
                let (lane, retired) = postcard::from_bytes(payload).map_err(decoded)?;
                let (stream, next) = (head.stream, head.first);
                Ok((&[], Item::Retired { stream, next, lane, retired }))
            }
            Kind::Batches => {
                let named = postcard::from_bytes(payload).map_err(decoded)?;
                let Head { first: next, ordinal, previous, .. } = *head;
                Ok((&[], Item::Batches { next, ordinal, previous, named }))
            }
            Kind::Footer => Err(Damage::Kind),
        }
    }
}

fn read_piece<'a>(head: &Head, payload: &'a [u8]) -> Result<(&'a [u8], Piece), Damage> {
    let mut rest = payload;
    while let Ok((format::Kind::Origin | format::Kind::BootOffset, _, behind)) = format::frame(rest)
    {
        rest = behind;
    }
    let values = &payload[..payload.len() - rest.len()];
    let (packed, behind) = Packed::at_start(rest)?;
    if !behind.is_empty() {
        return Err(Damage::Content);
    }
    let mut piece = Piece::empty(head.stream, head.first, head.ordinal, head.previous);
    for record in packed.records() {
        piece.count_in(record.id, &format::decode(record.id, &record.value)?);
    }
    piece.more_follow = head.more_follow;
    piece.chunk = rest.to_vec();
    let as_stated = piece.count == head.count && packed.ids().start == head.first;
    if as_stated { Ok((values, piece)) } else { Err(Damage::Content) }
}

/// Which origins a file names with their content, and for which of them it states their boot's clock.
#[derive(Clone, Debug, Default)]
pub(crate) struct StoredOrigins(BTreeMap<u32, bool>);

impl StoredOrigins {
    /// Whether a file needs what is known of an origin; from then on it has that.
    pub(crate) fn lacks(&mut self, number: u32, known: &Known) -> bool {
        let clock = known.knows_clock(number);
        let before = self.0.insert(number, clock);
        before.is_none_or(|before| clock && !before)
    }
}
