//! Putting records back into the store: those that raw bytes still hold, under their own numbers.

use std::collections::BTreeMap;
use std::fs::File;
use std::ops::Range;
use std::path::Path;

use super::error::{StoreError, guard};
use super::format::{self, Anchor, GENESIS, Kind, Link};
use super::keys::{ANCHOR_KEY, ORIGIN_PREFIX, mark_key, offset_key, origin_key, record_key};
use super::position::Position;
use super::{chunk, high_water, origin, packed, quarantine, salvage};
use picket_base::clock;

/// Records copied into a fresh store between two flushes.
const SALVAGE_BATCH: usize = 1_000;

/// Copies every record of the store `set_aside` that can be found into the fresh store, under their own
/// numbers. Returns where the log stood then, and how many were found.
///
/// # Errors
/// When the disk fails; the copy starts again at the next open.
pub(super) fn quarantined(
    db: &sled::Db,
    file: &File,
    set_aside: &Path,
) -> Result<(Position, u64), StoreError> {
    let state = match high_water::read(set_aside) {
        Some(state) => state,
        None => {
            let found = guard(|| Ok(salvage::numbers(set_aside)?))?;
            let first_id = found.first().map_or(1, |ids| ids.start);
            let next_id = found.last().map_or(first_id, |ids| ids.end);
            Position { first_id, next_id, link: GENESIS }
        }
    };
    let anchor = Anchor {
        id: state.first_id.saturating_sub(1),
        link: None,
        moved_at_us: clock::Stamp::now().wall_us,
    };
    guard(|| db.insert([ANCHOR_KEY], format::encode_other(Kind::Anchor, 0, &anchor)).map(drop))?;
    let all = state.first_id..state.next_id;
    let count = lost(db, file, set_aside, std::slice::from_ref(&all))?;
    guard(|| Ok(quarantine::mark_salvaged(set_aside)?))?;
    if count == state.next_id - state.first_id {
        // Nothing is missing: there is nothing to look at in it.
        guard(|| Ok(std::fs::remove_dir_all(set_aside)?))?;
    }
    Ok((state, count))
}

/// Puts back those of the lost records that the newest segments held before the store was opened.
/// Returns how many.
///
/// # Errors
/// When the disk fails.
pub(super) fn recent(
    db: &sled::Db,
    segments: &salvage::Recent,
    lost: &[Range<u64>],
) -> Result<u64, StoreError> {
    guard(|| {
        lost.iter().try_for_each(|ids| chunk::separate(db, ids))?;
        window(db, &mut segments.find(lost), &mut None)
    })
}

/// Looks for lost records in the raw bytes of `source` and puts them into the store. Returns how many.
///
/// # Errors
/// When the disk fails.
pub(super) fn lost(
    db: &sled::Db,
    file: &File,
    source: &Path,
    lost: &[Range<u64>],
) -> Result<u64, StoreError> {
    let mut count = 0;
    for range in lost {
        guard(|| chunk::separate(db, range))?;
        let mut start = range.start;
        let before = guard(|| chunk::get(db, start.saturating_sub(1)))?;
        let mut previous = before.and_then(|value| format::identify(&value).ok()).map(|r| r.1);
        while start < range.end {
            let ids = start..range.end.min(start + salvage::WINDOW);
            start = ids.end;
            let mut found = guard(|| Ok(salvage::find(source, &ids)?))?;
            count += guard(|| window(db, &mut found, &mut previous))?;
            guard(|| {
                db.flush()?;
                Ok(file.sync_all()?)
            })?;
        }
    }
    Ok(count)
}

/// Puts one window of found records back. `previous` is the link of the record before it.
fn window(
    db: &sled::Db,
    found: &mut salvage::Found,
    previous: &mut Option<Link>,
) -> sled::Result<u64> {
    let mut numbers = OriginNumbers::read(db)?;
    for (number, content) in &numbers.0 {
        found.know_origin(*number, content.clone());
    }
    let mut batch = sled::Batch::default();
    let mut count = 0;
    let mut marks = std::mem::take(&mut found.marks);
    for offset in &found.offsets {
        let value = format::encode_other(Kind::BootOffset, 0, offset);
        batch.insert(offset_key(&offset.boot_id), value);
    }
    for &id in found.records.keys() {
        let Some(salvaged) = found.record(id, previous.as_ref()) else { continue };
        let number = numbers.of(salvaged.origin, salvaged.origin_content, &mut batch);
        let moved = format::with_origin(&salvaged.value, number);
        let Ok(single) = moved.and_then(|value| packed::single(&value)) else { continue };
        batch.insert(&record_key(id)[..], single);
        *previous = Some(salvaged.link);
        // One whose batch was taken back has another link.
        for mark in marks.extract_if(.., |mark| (mark.last_id(), mark.link) == (id, salvaged.link))
        {
            batch.insert(&mark_key(mark.stored.first_id)[..], mark.to_value());
        }
        count += 1;
        if count % SALVAGE_BATCH as u64 == 0 {
            db.apply_batch(std::mem::take(&mut batch))?;
            db.flush()?;
        }
    }
    db.apply_batch(batch)?;
    Ok(count)
}

/// Which origin is stored under which number, as records are put back.
struct OriginNumbers(BTreeMap<u32, Vec<u8>>);

impl OriginNumbers {
    fn read(db: &sled::Db) -> sled::Result<OriginNumbers> {
        let mut numbers = BTreeMap::new();
        for item in db.scan_prefix([ORIGIN_PREFIX]) {
            let (_, value) = item?;
            if let Ok((number, origin)) = format::decode_origin(&value) {
                numbers.insert(number, origin::to_content(&origin));
            }
        }
        Ok(OriginNumbers(numbers))
    }

    /// Returns the number under which this content is stored: its own where that is free.
    fn of(&mut self, own: u32, content: Vec<u8>, batch: &mut sled::Batch) -> u32 {
        if self.0.get(&own) == Some(&content) {
            return own;
        }
        if let Some((number, _)) = self.0.iter().find(|(_, stored)| **stored == content) {
            return *number;
        }
        let taken = self.0.contains_key(&own);
        let next = self.0.last_key_value().map_or(0, |(last, _)| last + 1);
        let number = if taken { next } else { own };
        if let Some(origin) = origin::from_content(&content) {
            let value = format::encode_origin(number, &origin);
            batch.insert(&origin_key(number)[..], value);
        }
        self.0.insert(number, content);
        number
    }
}
