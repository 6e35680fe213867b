//! Finding values in the raw bytes of a store. They are framed and checksummed, so that no index is needed to
//! tell them apart: what sled has lost, or could not open, is often still there.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::journal;
use crate::format::{self, HEADER_BYTES, Kind, MAGIC};
use crate::packed::{self, Packed, Unpacked};

/// Read at once; a value that crosses the end is read again from its start.
const READ_BYTES: usize = 1 << 20;

/// Stepped over where the disk reports an error: a page, the least that the kernel reads.
const UNREADABLE_STEP_BYTES: u64 = 4096;

/// A value in a file.
pub(super) enum Value<'a> {
    /// The numbers of a chunk's records, and its bytes, of which some may be damaged.
    Chunk(Range<u64>, &'a [u8]),
    /// Any other, whole.
    Other(Kind, &'a [u8]),
}

/// Opens the files of the store in `dir` that hold values: sled's own, those that it put large values into, and
/// last the journal, which has the newest.
///
/// # Errors
/// When one can't be opened.
pub(super) fn files(dir: &Path) -> io::Result<Vec<File>> {
    let mut paths = vec![dir.join("db")];
    if let Ok(large) = std::fs::read_dir(dir.join("blobs")) {
        paths.extend(large.collect::<io::Result<Vec<_>>>()?.iter().map(std::fs::DirEntry::path));
    }
    paths.push(dir.join(journal::FILE_NAME));
    let opened = paths.into_iter().map(|path| match File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    });
    opened.filter_map(Result::transpose).collect()
}

/// Gives every value in the file, with its place.
///
/// # Errors
/// When nothing is known of the file. What of it can't be read is passed over.
pub(super) fn each_value(file: &File, mut each: impl FnMut(u64, Value)) -> io::Result<()> {
    let end = file.metadata()?.len();
    let (mut window, mut start) = (Vec::with_capacity(2 * READ_BYTES), 0);
    while start < end {
        let more = read_on(file, start, &mut window);
        // Whatever starts before here is whole in the window.
        let whole = window.len() - if more { packed::BYTES_MAX.min(window.len()) } else { 0 };
        let read = values_of(&window, whole, &mut |at, value| each(start + at as u64, value));
        if more {
            window.drain(..read);
            start += read as u64;
        } else {
            start += window.len() as u64 / UNREADABLE_STEP_BYTES * UNREADABLE_STEP_BYTES;
            start += UNREADABLE_STEP_BYTES;
            window.clear();
        }
    }
    Ok(())
}

/// Reads on behind what the window holds; false at the end, and before what the disk can't give back.
fn read_on(file: &File, start: u64, window: &mut Vec<u8>) -> bool {
    let held = window.len();
    window.resize(held + READ_BYTES, 0);
    let read = loop {
        match file.read_at(&mut window[held..], start + held as u64) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => break other.unwrap_or(0),
        }
    };
    window.truncate(held + read);
    read > 0
}

/// Gives every value that starts before `end`; returns where the search may go on.
fn values_of(bytes: &[u8], end: usize, each: &mut impl FnMut(usize, Value)) -> usize {
    let mut at = 0;
    while at < end {
        match bytes[at..end].iter().position(|&byte| byte == MAGIC) {
            None => at = end,
            Some(distance) => {
                at += distance;
                at += value_at(&bytes[at..], |value| each(at, value)).unwrap_or(1);
            }
        }
    }
    at
}

/// Gives the value at the start of `bytes`; returns how many bytes of it are intact, if any.
fn value_at(bytes: &[u8], each: impl FnOnce(Value)) -> Option<usize> {
    let (kind, content, _) = format::frame(bytes).ok()?;
    let length = HEADER_BYTES + content.len();
    if kind == Kind::Chunk {
        let (packed, behind) = Packed::at_start(bytes).ok()?;
        let records: Vec<Unpacked> = packed.records().collect();
        each(Value::Chunk(packed.ids(), &bytes[..bytes.len() - behind.len()]));
        return Some(packed.intact_bytes(&records));
    }
    each(Value::Other(kind, &bytes[..length]));
    Some(length)
}
