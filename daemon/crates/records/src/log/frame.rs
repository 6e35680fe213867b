//! Frames, of which journal and sealed files consist: each names the store, who wrote it when, the frame
//! before it, and what it holds. It counts only where it continues the one before. Knows no file.

use serde::{Deserialize, Serialize};

use super::position::Stream;
use crate::format::Link;

const MAGIC: [u8; 4] = *b"PkFr";

/// Raised whenever head or payload change their shape. The first 16 bytes keep theirs for ever, so that a
/// newer frame is known for what it is.
pub(crate) const FRAME_VERSION: u8 = 1;

/// Magic, CRC-32 of all that follows it, version, kind, stream, flags, length of the payload (u32), store
/// (u64), epoch (u32), count (u32), CRC-32 of the frame before (u32), number (u64), count of the stream's
/// records before (u64), link before (12 bytes).
pub(crate) const HEAD_BYTES: usize = 64;

/// Longest payload. Batches take as many frames as they need.
pub(crate) const PAYLOAD_BYTES_MAX: usize = 256 << 10;

/// A footer lists every frame and origin of its file, and grows with it.
const ANY_PAYLOAD_BYTES_MAX: usize = 16 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Records = 1,
    /// Numbers that were given and will never be records; the payload says why.
    Void = 2,
    /// Where retention has moved a stream's beginning.
    Retired = 3,
    /// The end of a sealed file: see `summary`.
    Footer = 4,
    /// The names of batches that were stored.
    Batches = 5,
}

/// Who writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Author {
    /// Which log, by a number drawn when it was made.
    pub(crate) store: u64,
    /// Which opening of it.
    pub(crate) epoch: u32,
}

/// What a frame says of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    pub(crate) kind: Kind,
    pub(crate) stream: Stream,
    /// Its records are of a batch whose others are in the next frame.
    pub(crate) more_follow: bool,
    /// It begins a commit, or it ends one.
    pub(crate) begins: bool,
    pub(crate) ends: bool,
    pub(crate) author: Author,
    /// Records, or numbers that are void.
    pub(crate) count: u32,
    /// The checksum of the frame before it.
    pub(crate) predecessor: u32,
    /// The first number in it.
    pub(crate) first: u64,
    /// How many records the stream had before it.
    pub(crate) ordinal: u64,
    /// The link of the stream's record before it.
    pub(crate) previous: Link,
}

/// A whole frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Frame<'a> {
    pub(crate) head: Head,
    pub(crate) payload: &'a [u8],
    pub(crate) checksum: u32,
}

/// Why there is no frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NoFrame {
    /// Its checksum is right and its version is not known.
    Newer(u8),
    /// It is cut, damaged, or was never there.
    Broken,
}

const MORE_FOLLOW: u8 = 1;
const BEGINS: u8 = 2;
const ENDS: u8 = 4;

impl Head {
    /// Appends the frame of this head and payload; returns its checksum.
    pub(crate) fn seal(&self, payload: &[u8], bytes: &mut Vec<u8>) -> u32 {
        let start = bytes.len();
        let length = u32::try_from(payload.len()).expect("payloads are bounded");
        let flag = |set, flag| if set { flag } else { 0 };
        let flags =
            flag(self.more_follow, MORE_FOLLOW) | flag(self.begins, BEGINS) | flag(self.ends, ENDS);
        bytes.extend(MAGIC);
        bytes.extend([0; 4]);
        bytes.extend([FRAME_VERSION, self.kind as u8, self.stream as u8, flags]);
        bytes.extend(length.to_le_bytes());
        bytes.extend(self.author.store.to_le_bytes());
        bytes.extend(self.author.epoch.to_le_bytes());
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.predecessor.to_le_bytes());
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.ordinal.to_le_bytes());
        bytes.extend(self.previous);
        bytes.extend_from_slice(payload);
        let checksum = crc32fast::hash(&bytes[start + 8..]);
        bytes[start + 4..start + 8].copy_from_slice(&checksum.to_le_bytes());
        checksum
    }

    fn decode(head: &[u8; HEAD_BYTES]) -> Option<Head> {
        let u32_at = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("4 bytes"));
        let u64_at = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().expect("8 bytes"));
        let kinds = [Kind::Records, Kind::Void, Kind::Retired, Kind::Footer, Kind::Batches];
        let flags = head[11];
        Some(Head {
            kind: kinds.into_iter().find(|kind| *kind as u8 == head[9])?,
            stream: Stream::ALL.into_iter().find(|stream| *stream as u8 == head[10])?,
            more_follow: flags & MORE_FOLLOW != 0,
            begins: flags & BEGINS != 0,
            ends: flags & ENDS != 0,
            author: Author { store: u64_at(16), epoch: u32_at(24) },
            count: u32_at(28),
            predecessor: u32_at(32),
            first: u64_at(36),
            ordinal: u64_at(44),
            previous: head[52..].try_into().expect("12 bytes"),
        })
    }

    /// The number after the last that it holds, where it gives any.
    pub(crate) fn end(&self) -> Option<u64> {
        match self.kind {
            Kind::Records | Kind::Void => Some(self.first.saturating_add(self.count.into())),
            Kind::Retired | Kind::Footer | Kind::Batches => None,
        }
    }
}

impl<'a> Frame<'a> {
    /// Returns the frame at the start of `bytes`.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) fn at_start(bytes: &'a [u8]) -> Result<Frame<'a>, NoFrame> {
        let (head, rest) = bytes.split_first_chunk::<HEAD_BYTES>().ok_or(NoFrame::Broken)?;
        if head[..4] != MAGIC {
            return Err(NoFrame::Broken);
        }
        let length = u32::from_le_bytes(head[12..16].try_into().expect("4 bytes"));
        let length = usize::try_from(length).map_err(|_| NoFrame::Broken)?;
        let payload = rest.get(..length).filter(|_| length <= ANY_PAYLOAD_BYTES_MAX);
        let payload = payload.ok_or(NoFrame::Broken)?;
        let checksum = u32::from_le_bytes(head[4..8].try_into().expect("4 bytes"));
        if crc32fast::hash(&bytes[8..HEAD_BYTES + length]) != checksum {
            return Err(NoFrame::Broken);
        }
        if head[8] > FRAME_VERSION {
            return Err(NoFrame::Newer(head[8]));
        }
        let head = Head::decode(head).ok_or(NoFrame::Broken)?;
        Ok(Frame { head, payload, checksum })
    }

    /// The bytes that it takes.
    pub(crate) fn length(&self) -> usize {
        HEAD_BYTES + self.payload.len()
    }
}

/// Returns where in these bytes something begins that calls itself a frame, from `at` on.
pub(crate) fn next_magic(bytes: &[u8], at: usize) -> Option<usize> {
    let found = bytes.get(at..)?.windows(MAGIC.len()).position(|window| window == MAGIC)?;
    Some(at + found)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn head(first: u64, count: u32) -> Head {
        Head {
            kind: Kind::Records,
            stream: Stream::Own,
            more_follow: false,
            begins: true,
            ends: true,
            author: Author { store: 7, epoch: 1 },
            count,
            predecessor: 0,
            first,
            ordinal: first - 1,
            previous: [3; 12],
        }
    }

    #[test]
    fn a_frame_comes_back_as_it_was_and_no_bit_of_it_may_be_another() {
        let head = Head { more_follow: true, ends: false, stream: Stream::Reported, ..head(9, 4) };
        let mut bytes = Vec::new();
        let checksum = head.seal(b"payload", &mut bytes);
        bytes.extend(b"behind it");
        let frame = Frame::at_start(&bytes).unwrap();
        assert_eq!((frame.head, frame.payload, frame.checksum), (head, &b"payload"[..], checksum));
        assert_eq!(frame.length(), HEAD_BYTES + 7);
        for (at, bit) in (0..frame.length()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1 << bit;
            assert_eq!(Frame::at_start(&damaged), Err(NoFrame::Broken), "byte {at}, bit {bit}");
        }
        for cut in 0..HEAD_BYTES + 7 {
            assert_eq!(Frame::at_start(&bytes[..cut]), Err(NoFrame::Broken), "cut at {cut}");
        }
    }

    #[test]
    fn a_newer_frame_is_known_for_what_it_is() {
        let mut bytes = Vec::new();
        head(1, 1).seal(b"?", &mut bytes);
        bytes[8] = FRAME_VERSION + 1;
        assert_eq!(Frame::at_start(&bytes), Err(NoFrame::Broken), "damage is no version");
        let checksum = crc32fast::hash(&bytes[8..]);
        bytes[4..8].copy_from_slice(&checksum.to_le_bytes());
        assert_eq!(Frame::at_start(&bytes), Err(NoFrame::Newer(FRAME_VERSION + 1)));
    }

    #[test]
    fn the_next_frame_is_found_behind_rubbish() {
        let mut bytes = b"PkF PkPkFr".to_vec();
        assert_eq!(next_magic(&bytes, 0), Some(6));
        assert_eq!(next_magic(&bytes, 7), None);
        bytes.truncate(9);
        assert_eq!(next_magic(&bytes, 0), None);
        assert_eq!(next_magic(&bytes, 99), None);
    }
}
