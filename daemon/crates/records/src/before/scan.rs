//! Reading the whole store once, newest record first, to rebuild what is kept in memory and to
//! find what is missing. Goes in steps: what the time at open does not allow follows while the
//! daemon serves.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::chunk;
use super::format::{self, Kind, Link};
use super::keys::{ANCHOR_KEY, MARK_PREFIX, OFFSET_PREFIX, ORIGIN_PREFIX, origin_number};
use super::origin::{self, Origin};
use super::stats::Stats;

/// Time that reading the store may take at open; the rest is read while the daemon serves.
const SCAN_BUDGET: Duration = Duration::from_secs(2);

/// Records read at once, at open and later.
pub(super) const SCAN_STEP: usize = 2_000;

/// Missing or damaged numbers remembered, as ranges.
const LOSSES_MAX: usize = 1_000;

/// An origin that live records name.
#[derive(Debug)]
pub(super) struct OriginUse {
    pub(super) origin: Arc<Origin>,
    /// The origin's content, as the chain covers it.
    pub(super) content: Vec<u8>,
    pub(super) records: u64,
}

impl OriginUse {
    pub(super) fn new(origin: Origin) -> OriginUse {
        let content = origin::to_content(&origin);
        OriginUse { origin: Arc::new(origin), content, records: 0 }
    }
}

/// What a store holds, as far as it was read.
#[derive(Default)]
pub(super) struct Scan {
    pub(super) origins: BTreeMap<u32, OriginUse>,
    pub(super) offsets: Vec<format::BootOffset>,
    pub(super) anchor: format::Anchor,
    /// Number and link of the newest readable record.
    pub(super) tip: Option<(u64, Link)>,
    /// The oldest record's number, whether it was read or not.
    pub(super) first_id: Option<u64>,
    /// Everything from here on was read.
    pub(super) from: u64,
    pub(super) complete: bool,
    /// Numbers that should be there and are not, or can't be read.
    pub(super) losses: Vec<Range<u64>>,
}

/// Returns the newer version of the format that what was written last has, if it has one: of origins,
/// offsets, the anchor and the newest records. All of a version's writers write them.
pub(super) fn newer_version(db: &sled::Db) -> sled::Result<Option<u8>> {
    for prefix in [ANCHOR_KEY, ORIGIN_PREFIX, OFFSET_PREFIX, MARK_PREFIX] {
        for item in db.scan_prefix([prefix]) {
            if let Some(version) = format::newer_version(&item?.1) {
                return Ok(Some(version));
            }
        }
    }
    chunk::newer_version(db)
}

/// One readable record, for the counters.
pub(super) struct Seen {
    pub(super) origin: u32,
    pub(super) inference_us: u64,
    pub(super) defect: bool,
    pub(super) bytes: u64,
}

impl Scan {
    /// Reads everything but the records.
    pub(super) fn start(db: &sled::Db) -> sled::Result<Scan> {
        let mut scan = Scan { from: u64::MAX, ..Scan::default() };
        for item in db.scan_prefix([ORIGIN_PREFIX]) {
            let (key, value) = item?;
            let decoded = format::decode_origin(&value);
            if let (Some(number), Ok((stated, origin))) = (origin_number(&key), decoded)
                && number == stated
            {
                scan.origins.insert(number, OriginUse::new(origin));
            }
        }
        for item in db.scan_prefix([OFFSET_PREFIX]) {
            let (_, value) = item?;
            let decoded = format::decode_other(Kind::BootOffset, &value);
            scan.offsets.extend(decoded.ok().map(|(_, offset)| offset));
        }
        if let Some(value) = db.get([ANCHOR_KEY])? {
            let decoded = format::decode_other(Kind::Anchor, &value);
            scan.anchor = decoded.map(|(_, anchor)| anchor).unwrap_or_default();
        }
        scan.first_id = chunk::oldest(db)?.map(|(id, _)| id);
        Ok(scan)
    }

    /// Reads up to `limit` more records towards the oldest; true when all are read.
    pub(super) fn step(
        &mut self,
        db: &sled::Db,
        limit: usize,
        mut each: impl FnMut(Seen),
    ) -> sled::Result<bool> {
        if self.complete {
            return Ok(true);
        }
        let mut read = 0;
        for item in chunk::descending(db, self.from).take(limit) {
            let chunk::Numbered { id, value, stored_bytes } = item?;
            read += 1;
            if self.from != u64::MAX {
                self.lose(id + 1..self.from);
            }
            self.from = id;
            match format::decode(id, &value) {
                Ok(stored) if self.origins.contains_key(&stored.origin) => {
                    self.tip.get_or_insert((id, stored.link));
                    if let Some(used) = self.origins.get_mut(&stored.origin) {
                        used.records += 1;
                    }
                    each(Seen {
                        origin: stored.origin,
                        inference_us: stored.inference_us,
                        defect: stored.defect,
                        bytes: stored_bytes,
                    });
                }
                _ => self.lose(id..id + 1),
            }
        }
        if read < limit {
            self.complete = true;
            if self.from != u64::MAX {
                self.lose(self.anchor.id + 1..self.from);
            }
        }
        Ok(self.complete)
    }

    /// Adds records that `step` gave to the counters. Returns their bytes.
    pub(super) fn count(&self, seen: &[Seen], stats: &mut Stats) -> u64 {
        for record in seen {
            if let Some(used) = self.origins.get(&record.origin) {
                stats.add(&used.origin, record.inference_us, record.defect);
            }
        }
        seen.iter().map(|record| record.bytes).sum()
    }

    /// Notes numbers as lost; ranges that touch become one.
    pub(super) fn lose(&mut self, ids: Range<u64>) {
        if ids.is_empty() {
            return;
        }
        if let Some(last) = self.losses.last_mut()
            && ids.end == last.start
        {
            last.start = ids.start;
        } else if self.losses.len() < LOSSES_MAX {
            self.losses.push(ids);
        }
    }
}

/// What one reading of the store gives.
pub(super) struct Read {
    pub(super) scan: Scan,
    pub(super) stats: Stats,
    pub(super) live_bytes: u64,
}

/// Reads the store for as long as the time at open allows.
pub(super) fn read_within_budget(db: &sled::Db) -> sled::Result<Read> {
    let started = Instant::now();
    let mut read = Read { scan: Scan::start(db)?, stats: Stats::default(), live_bytes: 0 };
    let mut complete = false;
    while !complete && started.elapsed() < SCAN_BUDGET {
        let mut seen = Vec::with_capacity(SCAN_STEP);
        complete = read.scan.step(db, SCAN_STEP, |record| seen.push(record))?;
        read.live_bytes += read.scan.count(&seen, &mut read.stats);
    }
    read.stats.complete = complete;
    Ok(read)
}
