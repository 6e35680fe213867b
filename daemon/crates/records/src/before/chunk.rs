//! Records in the tree: up to `packed::CHUNK_RECORDS_MAX` of one commit share a value (see
//! packed.rs), under the number of the first. A commit then costs one insertion, and sled's leaves,
//! which hold 16 values, split a tenth as often: at 100 records/s that is the difference between
//! 2,400 and 1,000 bytes on the device for each record.

use std::ops::{Range, RangeInclusive};

use super::format::{self, Damage};
use super::keys::{FILLER_PREFIX, RECORD_PREFIX, record_id, record_key};
use super::packed::{self, Packed, Packer};

/// Empty values behind all records, so that the leaf that records are added to splits where the
/// newest begin. sled splits a leaf of 17 values into nine and eight and writes both again: without
/// them eight of the values that are written twice are written again with the next split.
const FILLERS: u8 = 7;

/// Puts the fillers where they belong, unless they are there.
pub(super) fn fill_last_leaf(db: &sled::Db) -> sled::Result<()> {
    for number in 0..FILLERS {
        let key = [FILLER_PREFIX, number];
        if !db.contains_key(key)? {
            db.insert(key, &[])?;
        }
    }
    Ok(())
}

/// How often a chunk is asked for once it has been read or written: see `ask_again`.
const REQUESTS: usize = 8;

/// Gives sled's page cache reason to look at its size. It is made of 256 shards, and sled looks at one
/// only after 64 requests for its pages; of a log that is read or written in order each page, eight
/// chunks, is asked for a few times and never again: a million records took 110 MB.
fn ask_again(db: &sled::Db, key: &[u8]) -> sled::Result<()> {
    (0..REQUESTS).try_for_each(|_| db.contains_key(key).map(drop))
}

/// A record as it is in the tree.
pub(super) struct Numbered {
    pub(super) id: u64,
    /// The value of a single record (see format.rs); empty where the record can't be read.
    pub(super) value: Vec<u8>,
    /// Bytes that it takes there, for the first of a chunk with the chunk's head and key.
    pub(super) stored_bytes: u64,
}

/// Records on their way into one value.
#[derive(Default)]
pub(super) struct Chunk(Packer);

impl Chunk {
    /// Adds the record of the next number.
    ///
    /// # Errors
    /// When the value is none of a record.
    pub(super) fn add(&mut self, value: &[u8]) -> Result<(), Damage> {
        self.0.add(value)
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.is_full()
    }

    /// Returns the number of its first record and its value, unless it is empty, and starts an
    /// empty one.
    pub(super) fn take(&mut self) -> Option<(u64, Vec<u8>)> {
        std::mem::take(&mut self.0).finish()
    }
}

/// Stores a chunk under the number of its first record. Returns how many bytes the tree has got.
pub(super) fn insert(db: &sled::Db, first_id: u64, chunk: Vec<u8>) -> sled::Result<usize> {
    let key = record_key(first_id);
    let stored_bytes = key.len() + chunk.len();
    db.insert(key, chunk)?;
    ask_again(db, &key)?;
    Ok(stored_bytes)
}

/// Gives every record of these numbers, oldest first.
pub(super) fn ascending(
    db: &sled::Db,
    ids: RangeInclusive<u64>,
) -> sled::Result<impl Iterator<Item = sled::Result<Numbered>>> {
    let first = chunk_of(db, *ids.start())?.map_or(*ids.start(), |(key, _)| key);
    let chunks = db.range(record_key(first)..=record_key(*ids.end()));
    Ok(chunks.flat_map(each_record(db, false)).filter(move |item| within(item, &ids)))
}

/// Gives every record before this number, newest first.
pub(super) fn descending(
    db: &sled::Db,
    before: u64,
) -> impl Iterator<Item = sled::Result<Numbered>> {
    let chunks = db.range(&[RECORD_PREFIX][..]..&record_key(before)[..]).rev();
    let ids = 0..=before.saturating_sub(1);
    chunks.flat_map(each_record(db, true)).filter(move |item| within(item, &ids))
}

/// Returns the newer version of the format that the newest chunk has, if it has one.
pub(super) fn newer_version(db: &sled::Db) -> sled::Result<Option<u8>> {
    let newest = db.scan_prefix([RECORD_PREFIX]).next_back().transpose()?;
    Ok(newest.and_then(|(_, bytes)| format::newer_version(&bytes)))
}

/// Returns the value of one record.
pub(super) fn get(db: &sled::Db, id: u64) -> sled::Result<Option<Vec<u8>>> {
    let Some((key, bytes)) = chunk_of(db, id)? else { return Ok(None) };
    let found = split(key, &bytes).into_iter().find(|record| record.id == id);
    Ok(found.map(|record| record.value))
}

/// Returns the oldest chunk: the number of its first record, and its records.
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
        for Numbered { id, value, .. } in split(first_id, &bytes) {
            if format::decode(id, &value).is_ok()
                && let Ok(single) = packed::single(&value)
            {
                batch.insert(&record_key(id)[..], single);
            }
        }
        db.apply_batch(batch)?;
    }
    Ok(())
}

/// Returns the chunk that a record of this number would be in.
fn chunk_of(db: &sled::Db, id: u64) -> sled::Result<Option<(u64, sled::IVec)>> {
    let chunk = db.range(record_key(0)..=record_key(id)).next_back().transpose()?;
    Ok(chunk.and_then(|(key, bytes)| record_id(&key).map(|id| (id, bytes))))
}

fn within(item: &sled::Result<Numbered>, ids: &RangeInclusive<u64>) -> bool {
    item.as_ref().map_or(true, |record| ids.contains(&record.id))
}

/// Gives the records of a chunk, in the order of their numbers or against it.
fn each_record(
    db: &sled::Db,
    backwards: bool,
) -> impl Fn(sled::Result<(sled::IVec, sled::IVec)>) -> Vec<sled::Result<Numbered>> {
    move |item| {
        let chunk = item.and_then(|(key, bytes)| ask_again(db, &key).map(|()| (key, bytes)));
        let (key, bytes) = match chunk {
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

/// Takes a chunk apart. One with a damaged head, of which nobody can say how many records it held,
/// counts as one record.
fn split(first_id: u64, chunk: &[u8]) -> Vec<Numbered> {
    let unreadable = |id| Numbered { id, value: Vec::new(), stored_bytes: 0 };
    let packed = match Packed::at_start(chunk) {
        Ok((packed, _)) if packed.ids().start == first_id => packed,
        _ => return vec![unreadable(first_id)],
    };
    let mut records: Vec<Numbered> = packed.ids().map(unreadable).collect();
    for record in packed.records() {
        let key_bytes = if record.extent.start == 0 { record_key(first_id).len() } else { 0 };
        records[(record.id - first_id) as usize] = Numbered {
            id: record.id,
            value: record.value,
            stored_bytes: (key_bytes + record.extent.len()) as u64,
        };
    }
    records
}

#[cfg(test)]
pub(super) mod tests {
    use super::super::{
        format::tests::place,
        origin::to_content,
        record::tests::{origin, predicted},
    };
    use super::*;

    /// An intact record of this number.
    pub(in crate::before) fn value(id: u64) -> Vec<u8> {
        let origin = origin("edge-01");
        let content = to_content(&origin);
        format::encode(&place(id, 0), &content, &predicted(&origin, 1, false)).unwrap().0
    }

    /// These records in one chunk.
    pub(in crate::before) fn packed(ids: Range<u64>) -> Vec<u8> {
        let mut packer = Packer::default();
        ids.for_each(|id| packer.add(&value(id)).unwrap());
        packer.finish().unwrap().1
    }

    fn readable(first_id: u64, chunk: &[u8]) -> Vec<(u64, bool)> {
        let records = split(first_id, chunk).into_iter();
        records
            .map(|record| (record.id, format::decode(record.id, &record.value).is_ok()))
            .collect()
    }

    #[test]
    fn damage_costs_the_record_that_it_hits_and_no_other() {
        let chunk = packed(7..12);
        let all: Vec<_> = (7..12).map(|id| (id, true)).collect();
        assert_eq!(readable(7, &chunk), all);
        let extents: Vec<Range<usize>> =
            Packed::at_start(&chunk).unwrap().0.records().map(|record| record.extent).collect();
        let head_bytes = chunk.len() - extents[4].len() * 5;
        for (at, bit) in (0..chunk.len()).flat_map(|at| (0..8).map(move |bit| (at, bit))) {
            let mut damaged = chunk.clone();
            damaged[at] ^= 1 << bit;
            let mut expected = all.clone();
            expected[extents.iter().position(|extent| extent.contains(&at)).unwrap()].1 = false;
            if at < head_bytes {
                expected.truncate(1);
            }
            assert_eq!(readable(7, &damaged), expected, "byte {at}, bit {bit}");
        }
        assert_eq!(readable(7, b""), [(7, false)]);
        assert_eq!(readable(8, &chunk), [(8, false)], "under another number");
        for length in 0..chunk.len() {
            let whole = extents.iter().filter(|extent| extent.end <= length).count();
            let readable = readable(7, &chunk[..length]);
            assert_eq!(readable.len(), if length < head_bytes { 1 } else { 5 });
            assert_eq!(readable.iter().filter(|(_, intact)| *intact).count(), whole);
        }
    }
}
