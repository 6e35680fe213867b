//! What a store of 0.1 leaves to the log behind it: its readable records under their numbers and links, who
//! made them, and where it stood. Where its bytes hold several versions of a number, the chain says which counts.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;

use serde::Deserialize;

use super::bytes::{self, Value};
use super::position::Position;
use super::{high_water, journal};
use crate::format::{self, Anchor, BootOffset, GENESIS, Kind, Link};
use crate::marks::{BatchName, StoredBatch};
use crate::origin;
use crate::packed::Packed;

/// Versions kept of one number or origin: numbers of records that were never acknowledged were used again, and
/// the files may still hold the old ones.
const VERSIONS_MAX: usize = 8;

/// Chunks hold fewer numbers than this.
const CHUNK_NUMBERS: u64 = 256;

/// Chunks that are gathered before those that are there twice are left out.
const GATHERED_MAX: usize = 200_000;

/// Numbers read before the first that is asked for, so that the chain says which version of that one counts.
const RUN_UP: u64 = 16;

/// Numbers read at once where it is not known how far they go.
const STEP: u64 = 1_000;

/// A store of 0.1, open for reading.
pub(crate) struct Heritage {
    files: Vec<File>,
    /// By the number of the first record.
    chunks: Vec<Chunk>,
    origins: Origins,
    anchor: Anchor,
    offsets: Vec<BootOffset>,
    marks: Vec<Mark>,
    position: Position,
}

/// Where a chunk lies.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Chunk {
    first_id: u64,
    /// Of its bytes: most are there several times, since sled wrote its pages anew.
    checksum: u32,
    length: u32,
    file: usize,
    at: u64,
}

/// That a batch was stored under a name.
#[derive(Clone, Copy, PartialEq, Eq, Deserialize)]
struct Mark {
    name: BatchName,
    stored: StoredBatch,
    /// Of the batch's last record: tells the mark of a batch that was taken back from one that counts.
    link: Link,
}

/// A record, and what of it the chain says.
struct Record {
    value: Vec<u8>,
    link: Link,
    more_follow: bool,
}

impl Heritage {
    /// Reads what the store in `dir` holds. Its files may be moved while it is open.
    ///
    /// # Errors
    /// When a file can't be read.
    pub(crate) fn open(dir: &Path) -> io::Result<Heritage> {
        let mut heritage = Heritage {
            files: bytes::files(dir)?,
            chunks: Vec::new(),
            origins: Origins::default(),
            anchor: Anchor::default(),
            offsets: Vec::new(),
            marks: Vec::new(),
            position: Position { first_id: 1, next_id: 1, link: GENESIS },
        };
        heritage.gather()?;
        heritage.stand(high_water::read(dir), journal::read(dir).state)?;
        heritage.leave_out_undone_batches()?;
        Ok(heritage)
    }

    /// Returns the version that has written the store in `dir` where it is newer than the one that is known here.
    pub(crate) fn newer_version(dir: &Path) -> Option<u8> {
        journal::read(dir).newer
    }

    /// Finds all values, and remembers where the records are.
    fn gather(&mut self) -> io::Result<()> {
        let Heritage { files, chunks, origins, anchor, offsets, marks, .. } = self;
        for (file, opened) in files.iter().enumerate() {
            bytes::each_value(opened, |at, value| match value {
                Value::Chunk(ids, bytes) => {
                    if chunks.len() == GATHERED_MAX.max(chunks.capacity()) {
                        leave_out_copies(chunks);
                    }
                    let length = u32::try_from(bytes.len()).expect("chunks are bounded");
                    let checksum = crc32fast::hash(bytes);
                    chunks.push(Chunk { first_id: ids.start, checksum, length, file, at });
                }
                Value::Other(Kind::Origin, value) => origins.take(value),
                Value::Other(Kind::Anchor, value) => {
                    let found = format::decode_other::<Anchor>(Kind::Anchor, value);
                    if let Some((_, found)) = found.ok().filter(|(_, found)| found.id > anchor.id) {
                        *anchor = found;
                    }
                }
                Value::Other(Kind::BootOffset, value) => {
                    let found = format::decode_other::<BootOffset>(Kind::BootOffset, value);
                    let found = found.ok().filter(|(_, found)| !offsets.contains(found));
                    offsets.extend(found.map(|(_, found)| found));
                }
                Value::Other(Kind::Batch, value) => {
                    let found = format::decode_other::<Mark>(Kind::Batch, value);
                    let found = found.ok().filter(|(_, found)| !marks.contains(found));
                    marks.extend(found.map(|(_, found)| found));
                }
                Value::Other(..) => {}
            })?;
        }
        leave_out_copies(chunks);
        origins.number();
        Ok(())
    }

    /// Finds where the store stood: behind the newest record that there is, or that its own files know of.
    fn stand(&mut self, stated: Option<Position>, journaled: Option<Position>) -> io::Result<()> {
        let said = || stated.into_iter().chain(journaled);
        let kept_from = said().map(|position| position.first_id).max().unwrap_or(0);
        if kept_from > self.anchor.id + 1 {
            let moved_at_us = self.anchor.moved_at_us;
            self.anchor = Anchor { id: kept_from - 1, link: None, moved_at_us };
        }
        let first_id = self.anchor.id + 1;
        let newest = self.newest(first_id)?;
        // The files may have lost more than the records have.
        let all = said().chain([newest]).filter(|position| position.next_id >= first_id);
        let furthest = all.max_by_key(|position| position.next_id).unwrap_or(newest);
        self.position = Position { first_id, ..furthest };
        Ok(())
    }

    /// Returns where the newest record stands that doesn't leave a batch unfinished: such a batch was never
    /// acknowledged.
    fn newest(&self, first_id: u64) -> io::Result<Position> {
        let last = self.chunks.last().map_or(0, |last| last.first_id.saturating_add(CHUNK_NUMBERS));
        let mut end = last;
        while end > first_id {
            let start = end.saturating_sub(STEP).max(first_id);
            let found = self.read_behind(None, start..end)?;
            if let Some((id, record)) = found.iter().rfind(|(_, record)| !record.more_follow) {
                return Ok(Position { first_id, next_id: id + 1, link: record.link });
            }
            end = start;
        }
        let link = self.anchor.link.unwrap_or(GENESIS);
        Ok(Position { first_id, next_id: first_id, link })
    }

    /// A batch that was taken back has left its name behind.
    fn leave_out_undone_batches(&mut self) -> io::Result<()> {
        let marks = std::mem::take(&mut self.marks);
        for mark in marks {
            let StoredBatch { first_id, records, .. } = mark.stored;
            let last = first_id.saturating_add(records.saturating_sub(1));
            let stored = self.read(last..last.saturating_add(1))?;
            let counts = match stored.get(&last) {
                Some(record) => record.link == mark.link,
                None => last < self.position.first_id,
            };
            if counts && last < self.position.next_id {
                self.marks.push(mark);
            }
        }
        Ok(())
    }

    /// Returns the last record that its retention removed.
    pub(crate) fn anchor(&self) -> Anchor {
        self.anchor
    }

    /// Returns where it stands.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// Returns what is stored of origins and clocks, as values.
    pub(crate) fn values(&self) -> Vec<u8> {
        let mut values = self.origins.values();
        for offset in &self.offsets {
            values.extend(format::encode_other(Kind::BootOffset, 0, offset));
        }
        values
    }

    /// Returns the batches that were stored under a name.
    pub(crate) fn named(&self) -> Vec<(BatchName, StoredBatch)> {
        self.marks.iter().map(|mark| (mark.name, mark.stored)).collect()
    }

    /// Returns its readable records of these numbers.
    ///
    /// # Errors
    /// When a file can't be read.
    pub(crate) fn records(&self, ids: &Range<u64>) -> io::Result<Vec<(u64, Vec<u8>)>> {
        let read = self.read(ids.clone())?;
        Ok(read.into_iter().map(|(id, record)| (id, record.value)).collect())
    }

    fn read(&self, ids: Range<u64>) -> io::Result<BTreeMap<u64, Record>> {
        let Position { first_id, next_id, .. } = self.position;
        let ids = ids.start.max(first_id)..ids.end.min(next_id);
        let start = ids.start.saturating_sub(RUN_UP).max(first_id);
        let before = if start == first_id { self.link_of_anchor() } else { None };
        let mut read = self.read_behind(before, start..ids.end)?;
        Ok(read.split_off(&ids.start))
    }

    fn link_of_anchor(&self) -> Option<Link> {
        if self.anchor.id == 0 { Some(GENESIS) } else { self.anchor.link }
    }

    /// Reads records, of which the first has `previous` before it. Of several versions of a number the one that
    /// continues the chain counts, else the last that was found.
    fn read_behind(
        &self,
        mut previous: Option<Link>,
        ids: Range<u64>,
    ) -> io::Result<BTreeMap<u64, Record>> {
        let mut records = BTreeMap::new();
        let mut next = ids.start;
        for (id, versions) in self.versions(&ids)? {
            let before = previous.filter(|_| id == next);
            let continues =
                |value: &&Vec<u8>| before.is_some_and(|link| self.continues(link, value).is_some());
            let Some(value) = versions.iter().find(continues).or(versions.last()) else { continue };
            let Some(record) = self.record(before, id, value) else { continue };
            previous = Some(record.link);
            next = id + 1;
            records.insert(id, record);
        }
        Ok(records)
    }

    /// Returns the content of the origin with which a record continues the chain.
    fn continues(&self, previous: Link, value: &[u8]) -> Option<&[u8]> {
        let (_, link, origin) = format::identify(value).ok()?;
        let fits = |content: &&[u8]| format::expected_link(&previous, content, value) == Ok(link);
        self.origins.contents(origin).find(fits)
    }

    fn record(&self, previous: Option<Link>, id: u64, value: &[u8]) -> Option<Record> {
        let stored = format::decode(id, value).ok()?;
        let (link, more_follow) = (stored.link, stored.more_follow);
        let by_chain = previous.and_then(|previous| self.continues(previous, value));
        let content = by_chain.or_else(|| self.origins.contents(stored.origin).last())?;
        let number = self.origins.number_of(stored.origin, content);
        let value = format::with_origin(value, number).ok()?;
        Some(Record { value, link, more_follow })
    }

    /// Returns all versions of these numbers, in the order in which they lie in the files.
    fn versions(&self, ids: &Range<u64>) -> io::Result<BTreeMap<u64, Vec<Vec<u8>>>> {
        let from = ids.start.saturating_sub(CHUNK_NUMBERS);
        let start = self.chunks.partition_point(|chunk| chunk.first_id < from);
        let end = self.chunks.partition_point(|chunk| chunk.first_id < ids.end);
        let mut chunks: Vec<&Chunk> = self.chunks[start..end].iter().collect();
        chunks.sort_by_key(|chunk| (chunk.file, chunk.at));
        let mut versions: BTreeMap<u64, Vec<Vec<u8>>> = BTreeMap::new();
        for chunk in chunks {
            let mut bytes = vec![0; chunk.length as usize];
            self.files[chunk.file].read_exact_at(&mut bytes, chunk.at)?;
            // It was intact when it was found.
            let Ok((packed, _)) = Packed::at_start(&bytes) else { continue };
            for record in packed.records().filter(|record| ids.contains(&record.id)) {
                keep(versions.entry(record.id).or_default(), record.value);
            }
        }
        Ok(versions)
    }
}

fn leave_out_copies(chunks: &mut Vec<Chunk>) {
    // The last of them stays.
    chunks.sort_unstable_by(|a, b| b.cmp(a));
    chunks.dedup_by_key(|chunk| (chunk.first_id, chunk.checksum, chunk.length));
    chunks.reverse();
}

fn keep(versions: &mut Vec<Vec<u8>>, value: Vec<u8>) {
    versions.retain(|known| *known != value);
    if versions.len() == VERSIONS_MAX {
        versions.remove(0);
    }
    versions.push(value);
}

/// Who made the records. A number whose records were all removed was given again: its earlier origins get
/// numbers of their own, behind all others.
#[derive(Default)]
struct Origins {
    /// Contents by the number that the store gave, the newest last.
    by_number: BTreeMap<u32, Vec<Vec<u8>>>,
    /// The numbers of the earlier ones, and their contents' place.
    moved: BTreeMap<(u32, usize), u32>,
}

impl Origins {
    fn take(&mut self, value: &[u8]) {
        if let Ok((number, origin)) = format::decode_origin(value) {
            keep(self.by_number.entry(number).or_default(), origin::to_content(&origin));
        }
    }

    fn number(&mut self) {
        let mut next =
            self.by_number.last_key_value().map_or(0, |(last, _)| last.saturating_add(1));
        for (number, contents) in &self.by_number {
            for place in 0..contents.len().saturating_sub(1) {
                self.moved.insert((*number, place), next);
                next = next.saturating_add(1);
            }
        }
    }

    fn contents(&self, number: u32) -> impl DoubleEndedIterator<Item = &[u8]> {
        self.by_number.get(&number).into_iter().flatten().map(Vec::as_slice)
    }

    /// Returns the number that this content of a number has now.
    fn number_of(&self, number: u32, content: &[u8]) -> u32 {
        let place = self.contents(number).position(|known| known == content);
        let moved = place.and_then(|place| self.moved.get(&(number, place)));
        moved.copied().unwrap_or(number)
    }

    fn values(&self) -> Vec<u8> {
        let mut values = Vec::new();
        for (number, contents) in &self.by_number {
            for content in contents {
                if let Some(origin) = origin::from_content(content) {
                    values.extend(format::encode_origin(self.number_of(*number, content), &origin));
                }
            }
        }
        values
    }
}
