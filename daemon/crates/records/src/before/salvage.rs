//! Finding records in the raw bytes of a store: what sled has lost or can't open is often still
//! there. Values are framed, values and packed records checksummed, so that no index is needed to tell
//! them apart.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::format::{self, HEADER_BYTES, Kind, Link, MAGIC};
use super::marks::Mark;
use super::packed::{self, Packed, Unpacked};
use super::segment;
use super::{journal, origin};

/// Read at once; a value that crosses the end is read again from its start.
const CHUNK_BYTES: usize = 1 << 20;

/// Segments read before sled opens the store: the newest 8 MB, some 100,000 predictions.
const RECENT_SEGMENTS: usize = 16;

/// A copy of sled's file from before it was repaired.
pub(super) const COPY_NAME: &str = "db.before";

/// Stepped over where the disk reports an error: a page, the least that the kernel reads.
const UNREADABLE_STEP_BYTES: u64 = 4096;

/// Numbers looked for in one pass over the files, so that memory stays bounded (about 20 MB).
pub(super) const WINDOW: u64 = 100_000;

/// Runs of numbers gathered before they are merged.
const RUNS_MAX: usize = 100_000;

/// Versions kept of one number or origin: numbers of records that were never acknowledged are
/// used again, and the file may still hold the old ones.
const VERSIONS_MAX: usize = 8;

/// What the raw bytes hold of a range of numbers.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Values by the record's number.
    pub(super) records: BTreeMap<u64, Vec<Vec<u8>>>,
    /// Origins' contents (`origin::to_content`) by their number.
    pub(super) origins: BTreeMap<u32, Vec<Vec<u8>>>,
    pub(super) anchor: Option<format::Anchor>,
    pub(super) offsets: Vec<format::BootOffset>,
    /// Marks of batches that end here.
    pub(super) marks: Vec<Mark>,
}

/// A record brought back.
#[derive(Debug)]
pub(super) struct Salvaged {
    pub(super) link: Link,
    /// The number that the record's origin had.
    pub(super) origin: u32,
    pub(super) value: Vec<u8>,
    pub(super) origin_content: Vec<u8>,
}

/// Returns the numbers of all records in the files of `dir`, as ranges in order.
///
/// # Errors
/// When a file can't be read at all.
pub(super) fn numbers(dir: &Path) -> io::Result<Vec<Range<u64>>> {
    // Numbers mostly come one after the other: what is kept are runs, not every record.
    let mut runs: Vec<Range<u64>> = Vec::new();
    each_value(dir, |kind, value| {
        let (Kind::Record, Ok((id, ..))) = (kind, format::identify(value)) else { return };
        match runs.last_mut() {
            Some(run) if run.end == id => run.end += 1,
            Some(run) if run.contains(&id) => {}
            _ => runs.push(id..id + 1),
        }
        if runs.len() > RUNS_MAX {
            runs = merged(std::mem::take(&mut runs));
        }
    })?;
    Ok(merged(runs))
}

fn merged(mut runs: Vec<Range<u64>>) -> Vec<Range<u64>> {
    runs.sort_unstable_by_key(|run| run.start);
    let mut merged: Vec<Range<u64>> = Vec::new();
    for run in runs {
        match merged.last_mut() {
            Some(last) if run.start <= last.end => last.end = last.end.max(run.end),
            _ => merged.push(run),
        }
    }
    merged
}

/// The newest segments of a store, as they were before sled opened it: it blanks whatever lies
/// behind a damaged spot. Kept whole and only searched where something turns out to be lost; blocks
/// of this size go back to the system, where single records would leave holes in the heap.
#[derive(Default)]
pub(super) struct Recent(Vec<Vec<u8>>);

impl Recent {
    /// Reads the newest segments of the store in `dir`.
    ///
    /// # Errors
    /// When the file can't be read at all.
    pub(super) fn read(dir: &Path) -> io::Result<Recent> {
        let file = File::open(dir.join("db"))?;
        let length = file.metadata()?.len();
        let mut segments: Vec<(i64, u64)> = (0..length)
            .step_by(segment::SEGMENT_BYTES as usize)
            .filter_map(|start| Some((segment::age(&file, start)?, start)))
            .collect();
        segments.sort_unstable_by_key(|(number, _)| std::cmp::Reverse(*number));
        segments.truncate(RECENT_SEGMENTS);
        let read = |(_, mut start): (i64, u64)| {
            let end = length.min(start + segment::SEGMENT_BYTES);
            let mut bytes = vec![0; (end - start) as usize];
            let mut filled = 0;
            loop {
                match read_on(&file, &mut start, end, &mut bytes[filled..]) {
                    0 => return bytes,
                    read => filled += read,
                }
            }
        };
        Ok(Recent(segments.into_iter().map(read).collect()))
    }

    /// Returns what they hold of these numbers.
    pub(super) fn find(&self, lost: &[Range<u64>]) -> Found {
        let mut found = Found::default();
        for segment in &self.0 {
            scan_bytes(segment, segment.len(), &mut |kind, value| {
                found.take(kind, value, |id| lost.iter().any(|ids| ids.contains(&id)));
            });
        }
        found
    }
}

/// Looks for these numbers in the files of `dir`.
///
/// # Errors
/// When a file can't be read at all.
pub(super) fn find(dir: &Path, ids: &Range<u64>) -> io::Result<Found> {
    let mut found = Found::default();
    each_value(dir, |kind, value| found.take(kind, value, |id| ids.contains(&id)))?;
    Ok(found)
}

impl Found {
    fn take(&mut self, kind: Kind, value: &[u8], wanted: impl Fn(u64) -> bool) {
        match kind {
            Kind::Record => {
                let Ok((id, ..)) = format::identify(value) else { return };
                if wanted(id) {
                    keep(self.records.entry(id).or_default(), value.to_vec());
                }
            }
            Kind::Origin => {
                let Ok((number, origin)) = format::decode_origin(value) else { return };
                self.know_origin(number, origin::to_content(&origin));
            }
            Kind::Anchor => {
                let decoded = format::decode_other::<format::Anchor>(Kind::Anchor, value);
                let Ok((_, anchor)) = decoded else { return };
                if self.anchor.is_none_or(|known| known.id < anchor.id) {
                    self.anchor = Some(anchor);
                }
            }
            Kind::BootOffset => {
                let decoded = format::decode_other::<format::BootOffset>(Kind::BootOffset, value);
                if let Ok((_, offset)) = decoded
                    && !self.offsets.contains(&offset)
                {
                    self.offsets.push(offset);
                }
            }
            Kind::Batch => {
                let Ok(mark) = Mark::of(value) else { return };
                if wanted(mark.last_id()) && !self.marks.contains(&mark) {
                    self.marks.push(mark);
                }
            }
            // Given record by record.
            Kind::Chunk => {}
        }
    }

    /// Adds an origin that the store still has: records may name it.
    pub(super) fn know_origin(&mut self, number: u32, content: Vec<u8>) {
        keep(self.origins.entry(number).or_default(), content);
    }

    /// Returns the record of this number: of several versions the one that continues the chain from
    /// `previous`, else the last one found.
    pub(super) fn record(&self, id: u64, previous: Option<&Link>) -> Option<Salvaged> {
        let mut best = None;
        for value in self.records.get(&id)? {
            let (_, link, origin) = format::identify(value).ok()?;
            for content in self.origins.get(&origin).into_iter().flatten() {
                let continues = previous.is_some_and(|previous| {
                    format::expected_link(previous, content, value) == Ok(link)
                });
                best = Some(Salvaged {
                    link,
                    origin,
                    value: value.clone(),
                    origin_content: content.clone(),
                });
                if continues {
                    return best;
                }
            }
        }
        best
    }
}

fn keep(versions: &mut Vec<Vec<u8>>, value: Vec<u8>) {
    if versions.contains(&value) {
        return;
    }
    if versions.len() == VERSIONS_MAX {
        versions.remove(0);
    }
    versions.push(value);
}

fn each_value(dir: &Path, mut each: impl FnMut(Kind, &[u8])) -> io::Result<()> {
    for path in files(dir)? {
        let file = File::open(path)?;
        let length = file.metadata()?.len();
        scan(&file, 0..length, &mut each);
    }
    Ok(())
}

/// Lists sled's own file, a copy of it, the folder that it puts large values into, and the journal.
fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for dir in [dir.to_path_buf(), dir.join("blobs")] {
        let Ok(entries) = std::fs::read_dir(&dir) else { continue };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let own = name == "db"
                || name == COPY_NAME
                || name == journal::FILE_NAME
                || dir.ends_with("blobs");
            if own && entry.file_type()?.is_file() {
                files.push(entry.path());
            }
        }
    }
    Ok(files)
}

fn scan(file: &File, bytes: Range<u64>, each: &mut impl FnMut(Kind, &[u8])) {
    let mut window = Vec::with_capacity(2 * CHUNK_BYTES);
    let mut offset = bytes.start;
    loop {
        let before = window.len();
        let left = usize::try_from(bytes.end - offset).unwrap_or(usize::MAX);
        window.resize(before + CHUNK_BYTES.min(left), 0);
        let read = read_on(file, &mut offset, bytes.end, &mut window[before..]);
        window.truncate(before + read);
        let last = read == 0;
        // Whatever starts before here is whole in the window.
        let end = if last { window.len() } else { window.len().saturating_sub(packed::BYTES_MAX) };
        let at = scan_bytes(&window, end, each);
        if last {
            return;
        }
        window.drain(..at);
    }
}

/// Gives every value that starts before `end`; where the search may go on.
fn scan_bytes(bytes: &[u8], end: usize, each: &mut impl FnMut(Kind, &[u8])) -> usize {
    let mut at = 0;
    while at < end {
        match bytes[at..end].iter().position(|&byte| byte == MAGIC) {
            None => at = end,
            Some(distance) => {
                at += distance;
                at += value_at(&bytes[at..], each).unwrap_or(1);
            }
        }
    }
    at
}

/// Gives the value at the start of `bytes`, or the records of the chunk there, each as a value of its
/// own; how many bytes of it are intact, if any. A record outside of a chunk is never stored.
fn value_at(bytes: &[u8], each: &mut impl FnMut(Kind, &[u8])) -> Option<usize> {
    let (kind, content, _) = format::frame(bytes).ok()?;
    let length = HEADER_BYTES + content.len();
    match kind {
        Kind::Record => {}
        Kind::Chunk => {
            let (packed, _) = Packed::at_start(bytes).ok()?;
            let records: Vec<Unpacked> = packed.records().collect();
            records.iter().for_each(|record| each(Kind::Record, &record.value));
            return Some(packed.intact_bytes(&records));
        }
        _ => each(kind, &bytes[..length]),
    }
    Some(length)
}

/// Reads on from `offset`, over what the disk can't give back; 0 at the end.
fn read_on(file: &File, offset: &mut u64, end: u64, buffer: &mut [u8]) -> usize {
    while *offset < end {
        match file.read_at(buffer, *offset) {
            Ok(read) => {
                *offset += read as u64;
                return read;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => *offset = end.min(*offset + UNREADABLE_STEP_BYTES),
        }
    }
    0
}

#[cfg(test)]
mod tests {
    use super::super::{
        format::{CONTENT_BYTES_MAX, tests::place},
        origin::to_content,
        packed::Packer,
        record::tests::{origin, predicted, reported},
    };
    use super::*;

    fn store(parts: &[Vec<u8>]) -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("db"), parts.concat()).unwrap();
        dir
    }

    #[test]
    fn values_are_found_between_rubbish_and_across_chunks() {
        let origin = origin("edge-01");
        let content = to_content(&origin);
        let value =
            |id| format::encode(&place(id, 4), &content, &predicted(&origin, 1, false)).unwrap().0;
        let chunk = |ids: Range<u64>| {
            let mut packer = Packer::default();
            ids.for_each(|id| packer.add(&value(id)).unwrap());
            packer.finish().unwrap().1
        };
        let stored_origin = format::encode_origin(4, &origin);
        let rubbish = |bytes: usize| vec![MAGIC; bytes];
        let (mut torn, mut headless) = (chunk(10..15), chunk(20..25));
        let middle = torn.len() / 2;
        torn[middle] ^= 1;
        headless[10] ^= 1;
        let dir = store(&[
            rubbish(3),
            chunk(5..6),
            rubbish(CHUNK_BYTES - 200),
            chunk(6..10),
            torn,
            stored_origin,
            headless,
            value(30),
            chunk(40..42),
        ]);
        let found = numbers(dir.path()).unwrap();
        assert_eq!(found, [5..12, 13..15, 40..42]);
        let found = find(dir.path(), &(6..100)).unwrap();
        assert_eq!(found.records.keys().copied().collect::<Vec<_>>()[..3], [6, 7, 8]);
        assert_eq!(found.record(6, None).unwrap().value, value(6));
        assert_eq!(found.record(14, None).unwrap().value, value(14));
        assert!(found.record(12, None).is_none());
    }

    /// Reports are as long as a value may be, and lie in whatever part of a file.
    #[test]
    fn the_longest_chunk_is_found_wherever_a_window_ends() {
        let origin = origin("edge-01");
        let content = to_content(&origin);
        let value = |id, note: usize| {
            let entry = reported(&origin, &"n".repeat(note));
            format::encode(&place(id, 4), &content, &entry).unwrap().0
        };
        let mut packer = Packer::default();
        for (id, note) in [(1, 3_800), (2, CONTENT_BYTES_MAX - 200)] {
            packer.add(&value(id, note)).unwrap();
        }
        let chunk = packer.finish().unwrap().1;
        assert!(chunk.len() > CONTENT_BYTES_MAX + 3_000 && chunk.len() <= packed::BYTES_MAX);
        let stored_origin = format::encode_origin(4, &origin);
        for before in (0..chunk.len() + 1_000).step_by(977).chain([chunk.len() - 1, chunk.len()]) {
            let gap = vec![0; CHUNK_BYTES - before];
            let dir = store(&[stored_origin.clone(), gap, chunk.clone(), vec![0; CHUNK_BYTES]]);
            let found = numbers(dir.path()).unwrap();
            assert_eq!(found.first(), Some(&(1..3)), "{before} bytes before the end");
        }
    }

    #[test]
    fn of_two_versions_the_one_that_continues_the_chain_counts() {
        let origin = origin("edge-01");
        let content = to_content(&origin);
        let encode = |id, previous: &Link, class| {
            let place = format::Place { previous: *previous, ..place(id, 4) };
            format::encode(&place, &content, &predicted(&origin, class, false)).unwrap()
        };
        let (first, link) = encode(1, &format::GENESIS, 1);
        let (kept, kept_link) = encode(2, &link, 2);
        let (stale, _) = encode(2, &[9; 12], 3);
        let stored_origin = format::encode_origin(4, &origin);
        let stored = [&first, &kept, &stale].map(|value| packed::single(value).unwrap());
        let dir = store(&[vec![stored_origin], stored.to_vec()].concat());
        let found = find(dir.path(), &(1..3)).unwrap();
        let record = found.record(2, Some(&link)).unwrap();
        assert_eq!((record.value, record.link), (kept, kept_link));
        assert_eq!(found.record(2, None).unwrap().value, stale, "without a chain the last one");
    }
}
