//! The journal of 0.1: what was committed since sled was flushed, in one file of fixed size. Its values are
//! found with all others; what it says is where the store stands, and by which version it was written.
//!
//! Every commit begins on a block of its own. Which commits count needs no mark: each states the number that it
//! begins with, and one that does not continue the commit before it is a leftover.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::{Deserialize, Serialize};

use super::position::Position;
use crate::format::{self, Kind};
use crate::packed::Packed;
use picket_base::disk;

pub(super) const FILE_NAME: &str = "journal";

const FILE_BYTES: usize = 1 << 20;

/// What a commit was rounded up to.
const BLOCK_BYTES: usize = disk::DIRECT_ALIGNMENT_BYTES;

/// CRC-32 over the rest of the header and the values, then the header.
const HEADER_BYTES: usize = 64;

#[derive(Serialize, Deserialize)]
struct Header {
    values_bytes: u32,
    /// Number of the first record in it.
    first_new: u64,
    /// Where the store stands with it.
    state: Position,
}

/// What the journal of a store says.
#[derive(Default)]
pub(super) struct Journal {
    /// Where the store stood after the last commit in it.
    pub(super) state: Option<Position>,
    /// The version of its values where it is newer than the one that is known here.
    pub(super) newer: Option<u8>,
}

/// Reads the journal of the store in `dir`; it says nothing where there is none.
pub(super) fn read(dir: &Path) -> Journal {
    let bytes = content(dir).unwrap_or_default();
    let mut journal = Journal::default();
    let mut rest = &bytes[..];
    while let Some((header, values)) = commit_at_start(rest) {
        if journal.state.is_some_and(|state| state.next_id != header.first_new) {
            break;
        }
        journal.newer = journal.newer.or_else(|| newer_version(values));
        journal.state = Some(header.state);
        let length = (HEADER_BYTES + values.len()).next_multiple_of(BLOCK_BYTES);
        rest = rest.get(length..).unwrap_or_default();
    }
    journal
}

fn content(dir: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(dir.join(FILE_NAME))?;
    let mut bytes = vec![0; FILE_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        match file.read_at(&mut bytes[filled..], filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // What the disk can't read ends the commits that count.
            Err(_) => break,
        }
    }
    bytes.truncate(filled);
    Ok(bytes)
}

/// The commit with a right checksum that these bytes begin with.
fn commit_at_start(bytes: &[u8]) -> Option<(Header, &[u8])> {
    let (stated, rest) = bytes.split_first_chunk::<4>()?;
    let header: Header = postcard::from_bytes(rest.get(..HEADER_BYTES - 4)?).ok()?;
    let length = HEADER_BYTES - 4 + usize::try_from(header.values_bytes).ok()?;
    let content = rest.get(..length)?;
    let intact = crc32fast::hash(content).to_le_bytes() == *stated;
    let held = &content.get(HEADER_BYTES - 4..)?;
    // An unwritten block passes no check: the checksum of zeros is not zero.
    intact.then_some((header, held))
}

fn newer_version(mut values: &[u8]) -> Option<u8> {
    loop {
        match format::frame(values) {
            Ok((Kind::Chunk, ..)) => values = Packed::at_start(values).ok()?.1,
            Ok((_, _, behind)) => values = behind,
            Err(_) => return format::newer_version(values),
        }
    }
}
