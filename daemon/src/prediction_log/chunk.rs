//! Records in the tree: up to `CHUNK_RECORDS_MAX` of one commit share a value, under the number of
//! the first. A commit then costs one insertion, and sled's leaves, which hold 16 values, split a
//! tenth as often: at 100 records/s that is the difference between 2,400 and 1,000 bytes on the
//! device for each record.
//!
//! A chunk is its records' values one behind the other. Each is framed and checksummed, so that
//! damage to one of them leaves the others readable.

use std::ops::{Range, RangeInclusive};

use super::format::{self, HEADER_BYTES, Kind, MAGIC};
use super::{RECORD_PREFIX, record_id, record_key};

/// Records in a chunk at most, and bytes after which it takes no more.
pub(super) const CHUNK_RECORDS_MAX: usize = 32;
pub(super) const CHUNK_BYTES_MAX: usize = 4096;

/// A number and the record's value; an empty or torn one where the record can't be read.
pub(super) type Numbered = (u64, Vec<u8>);

/// Records on their way into one value.
#[derive(Default)]
pub(super) struct Chunk {
    first_id: u64,
    bytes: Vec<u8>,
    records: usize,
}

impl Chunk {
    /// Adds the record of the next number.
    pub(super) fn add(&mut self, id: u64, value: &[u8]) {
        if self.records == 0 {
            self.first_id = id;
            self.bytes.reserve(CHUNK_BYTES_MAX);
        }
        self.bytes.extend(value);
        self.records += 1;
    }

    pub(super) fn is_full(&self) -> bool {
        self.records == CHUNK_RECORDS_MAX || self.bytes.len() >= CHUNK_BYTES_MAX
    }

    /// Stores the chunk and starts an empty one.
    pub(super) fn put(&mut self, db: &sled::Db) -> sled::Result<()> {
        let Chunk { first_id, bytes, records } = std::mem::take(self);
        if records > 0 {
            db.insert(record_key(first_id), bytes)?;
        }
        Ok(())
    }
}

/// Every record of these numbers, oldest first.
pub(super) fn ascending(
    db: &sled::Db,
    ids: RangeInclusive<u64>,
) -> sled::Result<impl Iterator<Item = sled::Result<Numbered>>> {
    let first = chunk_of(db, *ids.start())?.map_or(*ids.start(), |(key, _)| key);
    let chunks = db.range(record_key(first)..=record_key(*ids.end()));
    Ok(chunks.flat_map(each_record(false)).filter(move |item| within(item, &ids)))
}

/// Every record before this number, newest first.
pub(super) fn descending(
    db: &sled::Db,
    before: u64,
) -> impl Iterator<Item = sled::Result<Numbered>> {
    let chunks = db.range(&[RECORD_PREFIX][..]..&record_key(before)[..]).rev();
    let ids = 0..=before.saturating_sub(1);
    chunks.flat_map(each_record(true)).filter(move |item| within(item, &ids))
}

/// The value of one record.
pub(super) fn get(db: &sled::Db, id: u64) -> sled::Result<Option<Vec<u8>>> {
    let Some((key, bytes)) = chunk_of(db, id)? else { return Ok(None) };
    Ok(split(key, &bytes).into_iter().find(|(found, _)| *found == id).map(|(_, value)| value))
}

/// The oldest chunk: the number of its first record, and its records.
pub(super) fn oldest(db: &sled::Db) -> sled::Result<Option<(u64, Vec<Numbered>)>> {
    let first = db.scan_prefix([RECORD_PREFIX]).next().transpose()?;
    Ok(first.and_then(|(key, bytes)| record_id(&key).map(|id| (id, split(id, &bytes)))))
}

/// Gives every readable record of the chunks that overlap these numbers a value of its own, so
/// that others can be put between them.
pub(super) fn separate(db: &sled::Db, ids: &Range<u64>) -> sled::Result<()> {
    let first = chunk_of(db, ids.start)?.map_or(ids.start, |(key, _)| key);
    let chunks: Result<Vec<_>, _> = db.range(record_key(first)..record_key(ids.end)).collect();
    for (key, bytes) in chunks? {
        let Some(first_id) = record_id(&key) else { continue };
        let mut batch = sled::Batch::default();
        batch.remove(key);
        for (id, value) in split(first_id, &bytes) {
            if format::decode(id, &value).is_ok() {
                batch.insert(&record_key(id)[..], value);
            }
        }
        db.apply_batch(batch)?;
    }
    Ok(())
}

/// The chunk that a record of this number would be in.
fn chunk_of(db: &sled::Db, id: u64) -> sled::Result<Option<(u64, sled::IVec)>> {
    let chunk = db.range(record_key(0)..=record_key(id)).next_back().transpose()?;
    Ok(chunk.and_then(|(key, bytes)| record_id(&key).map(|id| (id, bytes))))
}

fn within(item: &sled::Result<Numbered>, ids: &RangeInclusive<u64>) -> bool {
    item.as_ref().map_or(true, |(id, _)| ids.contains(id))
}

/// The records of a chunk, in the order of their numbers or against it.
fn each_record(
    backwards: bool,
) -> impl Fn(sled::Result<(sled::IVec, sled::IVec)>) -> Vec<sled::Result<Numbered>> {
    move |item| {
        let (key, bytes) = match item {
            Ok(chunk) => chunk,
            Err(error) => return vec![Err(error)],
        };
        let Some(first_id) = record_id(&key) else { return Vec::new() };
        let mut records: Vec<_> = split(first_id, &bytes).into_iter().map(Ok).collect();
        if backwards {
            records.reverse();
        }
        records
    }
}

/// Takes a chunk apart. Behind a damaged record it goes on with the next one that is intact; where
/// there is none, what is left counts as one record.
fn split(first_id: u64, chunk: &[u8]) -> Vec<Numbered> {
    let mut records = Vec::with_capacity(CHUNK_RECORDS_MAX);
    let (mut id, mut rest) = (first_id, chunk);
    loop {
        if let Ok((_, content, behind)) = format::frame(rest) {
            records.push((id, rest[..HEADER_BYTES + content.len()].to_vec()));
            (id, rest) = (id + 1, behind);
        } else if let Some((next_id, behind)) = resume(rest, id) {
            records.extend((id..next_id).map(|id| (id, Vec::new())));
            (id, rest) = (next_id, behind);
        } else {
            records.push((id, rest.to_vec()));
            rest = &[];
        }
        if rest.is_empty() {
            return records;
        }
    }
}

/// The next intact record of a higher number.
fn resume(bytes: &[u8], id: u64) -> Option<(u64, &[u8])> {
    (1..bytes.len()).filter(|&at| bytes[at] == MAGIC).find_map(|at| {
        let (kind, content, _) = format::frame(&bytes[at..]).ok()?;
        let (found, ..) = format::identify(&bytes[at..at + HEADER_BYTES + content.len()]).ok()?;
        let follows = kind == Kind::Record && found > id && found - id < CHUNK_RECORDS_MAX as u64;
        follows.then_some((found, &bytes[at..]))
    })
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{
        format::tests::place,
        record::tests::{origin, predicted},
    };
    use super::*;

    /// An intact record of this number.
    pub(in super::super) fn value(id: u64) -> Vec<u8> {
        let origin = origin("edge-01");
        let content = format::origin_content(&origin);
        format::encode(&place(id, 0), &content, &predicted(&origin, 1, false)).0
    }

    fn readable(first_id: u64, chunk: &[u8]) -> Vec<(u64, bool)> {
        let records = split(first_id, chunk).into_iter();
        records.map(|(id, value)| (id, format::decode(id, &value).is_ok())).collect()
    }

    #[test]
    fn damage_costs_the_record_that_it_hits_and_no_other() {
        let values: Vec<Vec<u8>> = (7..12).map(value).collect();
        let chunk = values.concat();
        let all: Vec<_> = (7..12).map(|id| (id, true)).collect();
        assert_eq!(readable(7, &chunk), all);
        for (hit, start) in (0..5).scan(0, |at, i| {
            let start = *at;
            *at += values[i].len();
            Some((i, start))
        }) {
            for offset in [0, 1, 2, 5, 20, values[hit].len() - 1] {
                let mut damaged = chunk.clone();
                damaged[start + offset] ^= 0x10;
                let mut expected = all.clone();
                expected[hit].1 = false;
                assert_eq!(readable(7, &damaged), expected, "record {hit}, byte {offset}");
            }
        }
        assert_eq!(readable(7, b""), [(7, false)]);
        assert_eq!(readable(7, &chunk[..chunk.len() - 1])[4], (11, false));
    }
}
