//! What the view keeps under which key, and where it stands. It changes nothing.

use serde::{Deserialize, Serialize};

use super::position::Stream;
use super::terms::Term;
use crate::format::Link;
use crate::packed::read_chunk;

/// Chunks that share an entry of the index, a bit for each.
pub(crate) const GROUP_CHUNKS: u64 = 16;

const CHUNK_KEY: u8 = b'c';
pub(crate) const INDEX_KEY: u8 = b'i';
pub(crate) const ORIGIN_KEY: u8 = b'o';

/// Where a stream stands in the view.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Fed {
    /// Its chunks are those of these numbers; the last may be there and not full.
    pub(crate) first: u64,
    pub(crate) next: u64,
    /// Keys are there up to this one.
    pub(crate) placed: u64,
    /// Records in the chunk that is not full, and how many the stream had before that.
    pub(crate) partial: u32,
    pub(crate) begun: u64,
    /// How many records the stream has up to the last in it, and the link of that.
    pub(crate) ordinal: u64,
    pub(crate) link: Link,
}

impl Fed {
    /// The number after that of the last chunk, which may not be full.
    pub(crate) fn end(&self) -> u64 {
        self.next + u64::from(self.partial > 0)
    }
}

/// Records, each under its number and as a value of its own.
pub(crate) type Records = Vec<(u64, Vec<u8>)>;

/// Returns the records of a chunk; none where it is not there or can't be read.
pub(crate) fn records(db: &sled::Db, stream: Stream, chunk: u64) -> sled::Result<Option<Records>> {
    let chunk = db.get(chunk_key(stream, chunk))?;
    Ok(chunk.and_then(|chunk| read_chunk(&chunk).ok()))
}

pub(crate) fn chunk_key(stream: Stream, number: u64) -> [u8; 10] {
    let mut key = [CHUNK_KEY; 10];
    key[1] = stream as u8;
    key[2..].copy_from_slice(&number.to_be_bytes());
    key
}

/// Returns what the keys of a term's entries begin with.
pub(crate) fn index_prefix(stream: Stream, term: &Term) -> Vec<u8> {
    [&[INDEX_KEY, stream as u8][..], &term.to_key()].concat()
}

pub(crate) fn index_key(stream: Stream, term: &Term, group: u64) -> Vec<u8> {
    [&index_prefix(stream, term)[..], &group.to_be_bytes()].concat()
}

/// The times of a group's records.
pub(crate) fn times_key(stream: Stream, group: u64) -> Vec<u8> {
    [&[INDEX_KEY, stream as u8, b't'][..], &group.to_be_bytes()].concat()
}

/// Returns the group that an entry of the index is for.
pub(crate) fn group_of(key: &[u8]) -> Option<u64> {
    key.last_chunk::<8>().map(|group| u64::from_be_bytes(*group))
}
