//! What a sealed file holds, in one frame at its end: the footer. It says what a stream's records of that
//! file come to and where each is, so that nobody has to read them to know. It knows no file.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::frame::{Author, Frame, HEAD_BYTES, Head, Kind};
use super::item::{Item, Piece, Retired, Void};
use super::position::{Lane, Stream};
use crate::format::Link;
use crate::marks::{BatchName, StoredBatch};
use crate::tally::Tally;

/// The last bytes of a sealed file: the length of the footer's frame (u32), its complement, and a word.
pub(crate) const TRAILER_BYTES: usize = 12;
const TRAILER_MAGIC: [u8; 4] = *b"PkEn";

/// What a sealed file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Summary {
    /// The numbers of its first and last record; there may be none.
    pub(crate) numbers: Option<[u64; 2]>,
    /// How many records its stream had before it.
    pub(crate) ordinal: u64,
    /// The stream's link before it.
    pub(crate) previous: Link,
    /// How many records its stream has with it, and the link of the last.
    pub(crate) end: u64,
    pub(crate) head: Link,
    /// The earliest and the latest wall time in it, epoch µs.
    pub(crate) times: [i64; 2],
    pub(crate) tallies: BTreeMap<u32, Tally>,
    /// What is stored of the origins and clocks.
    pub(crate) values: Vec<u8>,
    /// Numbers that will never be records: the first, how many, and why.
    pub(crate) voids: Vec<(u64, u32, Void)>,
    /// Where retention had moved the stream's beginning when the file was last appended to.
    pub(crate) retired: Option<(Lane, Retired)>,
    /// Batches that were stored under a name.
    pub(crate) named: Vec<(BatchName, StoredBatch)>,
    /// Where its records are.
    pub(crate) spots: Vec<Spot>,
}

/// Where in a file a piece is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Spot {
    pub(crate) at: u64,
    pub(crate) length: u32,
    /// The numbers of its first and last record, and how many records the stream had before it.
    pub(crate) first: u64,
    pub(crate) last: u64,
    pub(crate) ordinal: u64,
    pub(crate) count: u32,
}

impl Summary {
    /// Begins where a stream stands.
    pub(crate) fn new(ordinal: u64, previous: Link) -> Summary {
        Summary {
            numbers: None,
            ordinal,
            previous,
            end: ordinal,
            head: previous,
            times: [i64::MAX, i64::MIN],
            tallies: BTreeMap::new(),
            values: Vec::new(),
            voids: Vec::new(),
            retired: None,
            named: Vec::new(),
            spots: Vec::new(),
        }
    }

    /// Counts in what a frame holds.
    pub(crate) fn add(&mut self, at: u64, length: usize, item: &Item) {
        let piece = match item {
            Item::Records(piece) => piece,
            Item::Void { first, count, why, .. } => {
                self.voids.push((*first, *count, *why));
                return;
            }
            Item::Retired { lane, retired, .. } => {
                self.retired = Some((*lane, *retired));
                return;
            }
            Item::Batches { named, .. } => {
                self.named.extend(named);
                return;
            }
        };
        let length = u32::try_from(length).expect("frames are bounded");
        let Piece { first, last, ordinal, count, .. } = *piece;
        self.spots.push(Spot { at, length, first, last, ordinal, count });
        self.numbers = Some([self.numbers.map_or(first, |[first, _]| first), last]);
        (self.end, self.head) = (piece.end(), piece.head);
        self.times = [self.times[0].min(piece.times[0]), self.times[1].max(piece.times[1])];
        for (origin, tally) in &piece.tallies {
            self.tallies.entry(*origin).or_default().add(*tally);
        }
    }

    /// How many records it holds, whatever was lost between them.
    pub(crate) fn records(&self) -> u64 {
        self.end - self.ordinal
    }

    /// Returns the end of a file: the footer's frame and the trailer that leads to it.
    pub(crate) fn to_footer(&self, stream: Stream, author: Author, tail: u32) -> Vec<u8> {
        let mut bytes = Vec::new();
        let head = Head {
            kind: Kind::Footer,
            stream,
            more_follow: false,
            begins: true,
            ends: true,
            author,
            count: 0,
            predecessor: tail,
            first: self.numbers.map_or(0, |[first, _]| first),
            ordinal: self.end,
            previous: self.head,
        };
        head.seal(&postcard::to_allocvec(self).expect("a Vec takes any content"), &mut bytes);
        let length = u32::try_from(bytes.len()).expect("frames are bounded");
        bytes.extend(length.to_le_bytes());
        bytes.extend((!length).to_le_bytes());
        bytes.extend(TRAILER_MAGIC);
        bytes
    }

    /// Returns what a footer's frame says.
    pub(crate) fn read(frame: &Frame) -> Option<Summary> {
        let footer = frame.head.kind == Kind::Footer;
        footer.then(|| postcard::from_bytes(frame.payload).ok()).flatten()
    }
}

/// Returns the length of the footer's frame that stands before these last bytes of a file; none where the
/// file has no end.
pub(crate) fn footer_length(trailer: &[u8; TRAILER_BYTES]) -> Option<usize> {
    let number = |at: usize| u32::from_le_bytes(trailer[at..at + 4].try_into().expect("4 bytes"));
    let whole = trailer[8..] == TRAILER_MAGIC && number(0) == !number(4);
    usize::try_from(number(0)).ok().filter(|length| whole && *length >= HEAD_BYTES)
}
