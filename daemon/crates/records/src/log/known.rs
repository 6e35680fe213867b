//! Who has made the records that a log holds, and how the clocks of their boots related to the time: stored
//! with the records, by number. It knows no file.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, RwLock, RwLockReadGuard, RwLockWriteGuard};

use picket_base::clock::Stamp;

use super::position::Stream;
use crate::format::{self, BootOffset, Damage, Kind};
use crate::origin::{self, Origin};
use crate::record::{Entry, LogRecord};
use crate::stats::Stats;
use crate::tally::Tally;

/// An origin that records name.
#[derive(Clone, Debug)]
pub(crate) struct Maker {
    pub(crate) origin: Arc<Origin>,
    /// The origin's content, as the chain covers it.
    pub(crate) content: Arc<[u8]>,
    /// What its records in the log come to, of each stream.
    pub(crate) tallies: [Tally; 2],
}

/// All origins of a log, and the clock offsets of their boots. Whoever has a clone sees what the others do.
#[derive(Clone, Default)]
pub(crate) struct Known(Arc<RwLock<Makers>>);

#[derive(Default)]
struct Makers {
    by_number: BTreeMap<u32, Maker>,
    numbers: HashMap<Arc<Origin>, u32>,
    next: u32,
    offsets: HashMap<String, i64>,
    stats: Stats,
}

impl Makers {
    fn insert(&mut self, number: u32, origin: Arc<Origin>) {
        self.next = self.next.max(number.saturating_add(1));
        self.numbers.insert(origin.clone(), number);
        let content = origin::to_content(&origin).into();
        self.by_number.insert(number, Maker { origin, content, tallies: [Tally::default(); 2] });
    }
}

impl Known {
    fn read(&self) -> RwLockReadGuard<'_, Makers> {
        self.0.read().expect("nobody panics with what is known in hand")
    }

    fn write(&self) -> RwLockWriteGuard<'_, Makers> {
        self.0.write().expect("nobody panics with what is known in hand")
    }

    pub(crate) fn maker(&self, number: u32) -> Option<Maker> {
        self.read().by_number.get(&number).cloned()
    }

    /// Returns what all records come to.
    pub(crate) fn stats(&self) -> Stats {
        Stats { complete: true, ..self.read().stats.clone() }
    }

    pub(crate) fn offset_us(&self, boot_id: &str) -> Option<i64> {
        self.read().offsets.get(boot_id).copied()
    }

    /// Returns the number of an origin, a new one where it is new.
    pub(crate) fn number_of(&mut self, origin: &Arc<Origin>) -> u32 {
        if let Some(&number) = self.read().numbers.get(origin) {
            return number;
        }
        let mut makers = self.write();
        let number = makers.next;
        makers.insert(number, origin.clone());
        number
    }

    /// Counts the records of all origins anew.
    pub(crate) fn recount(&mut self, tallies: &BTreeMap<(u32, Stream), Tally>) {
        let mut makers = self.write();
        let Makers { by_number, stats, .. } = &mut *makers;
        *stats = Stats::default();
        for (number, maker) in by_number {
            for stream in Stream::ALL {
                let tally = tallies.get(&(*number, stream)).copied().unwrap_or_default();
                maker.tallies[stream as usize] = tally;
                stats.count(stream, &maker.origin, tally);
            }
        }
    }

    /// Counts records of an origin.
    pub(crate) fn count(&mut self, (stream, number): (Stream, u32), tally: Tally) {
        let mut makers = self.write();
        let Makers { by_number, stats, .. } = &mut *makers;
        if let Some(maker) = by_number.get_mut(&number) {
            maker.tallies[stream as usize].add(tally);
            stats.count(stream, &maker.origin, tally);
        }
    }

    /// Takes records out of the counts, and an origin that has no more with them.
    pub(crate) fn uncount(&mut self, (stream, number): (Stream, u32), tally: Tally) {
        let mut makers = self.write();
        let Makers { by_number, numbers, offsets, stats, .. } = &mut *makers;
        let Some(maker) = by_number.get_mut(&number) else { return };
        maker.tallies[stream as usize].remove(tally);
        stats.uncount(stream, &maker.origin, tally);
        if maker.tallies.iter().any(|tally| tally.records > 0) {
            return;
        }
        let origin = maker.origin.clone();
        numbers.remove(&origin);
        by_number.remove(&number);
        if !numbers.keys().any(|other| other.boot_id == origin.boot_id) {
            offsets.remove(&origin.boot_id);
        }
    }

    /// Notes how a boot's monotonic clock relates to the time, with the first record that knows it.
    pub(crate) fn note_clock(&mut self, boot_id: &str, at: &Stamp) {
        if at.synchronised && self.offset_us(boot_id).is_none() {
            let monotonic_us = i64::try_from(at.monotonic_us).unwrap_or(i64::MAX);
            let offset_us = at.wall_us.saturating_sub(monotonic_us);
            self.write().offsets.insert(boot_id.to_string(), offset_us);
        }
    }

    /// Returns the record of a value.
    ///
    /// # Errors
    /// Why it can't be read.
    pub(crate) fn to_record(&self, id: u64, value: &[u8]) -> Result<LogRecord, Damage> {
        let stored = format::decode(id, value)?;
        let makers = self.read();
        let maker = makers.by_number.get(&stored.origin).ok_or(Damage::Origin(stored.origin))?;
        let origin = maker.origin.clone();
        let boot_offset_us = makers.offsets.get(&origin.boot_id).copied();
        drop(makers);
        let (at, inference_us, defect) = (stored.at, stored.inference_us, stored.defect);
        let body = stored.into_body(&origin);
        let entry = Entry { origin, at, inference_us, defect, body };
        Ok(LogRecord { id, entry, boot_offset_us })
    }

    /// Returns what is stored of an origin and of its boot's clock.
    pub(crate) fn values(&self, number: u32) -> Vec<u8> {
        let Some(maker) = self.maker(number) else { return Vec::new() };
        let mut values = format::encode_origin(number, &maker.origin);
        let boot_id = maker.origin.boot_id.clone();
        if let Some(offset_us) = self.offset_us(&boot_id) {
            let offset = BootOffset { boot_id, offset_us };
            values.extend(format::encode_other(Kind::BootOffset, 0, &offset));
        }
        values
    }

    /// Whether the clock of this origin's boot is known.
    pub(crate) fn knows_clock(&self, number: u32) -> bool {
        let makers = self.read();
        let maker = makers.by_number.get(&number);
        maker.is_some_and(|maker| makers.offsets.contains_key(&maker.origin.boot_id))
    }

    /// Takes over what is stored in these bytes, as `values` gave them. What is damaged is left out, and
    /// an origin under a number that another one has: its records would speak of the wrong one.
    pub(crate) fn adopt(&mut self, mut values: &[u8]) {
        while let Ok((kind, content, behind)) = format::frame(values) {
            let value = &values[..format::HEADER_BYTES + content.len()];
            values = behind;
            let mut makers = self.write();
            if kind == Kind::Origin
                && let Ok((number, origin)) = format::decode_origin(value)
                && !makers.by_number.contains_key(&number)
            {
                makers.insert(number, Arc::new(origin));
            } else if kind == Kind::BootOffset
                && let Ok((_, offset)) = format::decode_other::<BootOffset>(kind, value)
            {
                makers.offsets.entry(offset.boot_id).or_insert(offset.offset_us);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::tests::origin;

    #[test]
    fn what_is_stored_of_an_origin_comes_back_under_its_number() {
        let mut known = Known::default();
        let (one, two) = (origin("edge-01"), origin("edge-02"));
        assert_eq!([&one, &two, &one].map(|origin| known.number_of(origin)), [0, 1, 0]);
        let at = Stamp { monotonic_us: 5, wall_us: 105, synchronised: true };
        assert!(!known.knows_clock(1));
        known.note_clock(&two.boot_id, &at);
        known.note_clock(&two.boot_id, &Stamp { wall_us: 900, ..at });
        let mut read = Known::default();
        read.adopt(&known.values(1));
        assert_eq!(read.maker(1).unwrap().origin, two);
        assert_eq!(read.offset_us(&two.boot_id), Some(100));
        assert!(read.knows_clock(1) && read.maker(0).is_none());
        assert_eq!(read.number_of(&one), 2, "numbers are not given twice");
        // A leftover under the same number does not take its place.
        let other = Known::default();
        (0..2).for_each(|number| other.write().insert(number, origin("edge-03")));
        read.adopt(&other.values(1));
        assert_eq!(read.maker(1).unwrap().origin, two);
        read.adopt(&known.values(1)[..20]);
    }

    #[test]
    fn an_origin_goes_with_its_last_record() {
        let mut known = Known::default();
        let one = origin("edge-01");
        let number = known.number_of(&one);
        let tally = Tally { records: 2, defects: 1, inference_us: 7 };
        known.count((Stream::Own, number), tally);
        known.count((Stream::Own, number), tally);
        known.uncount((Stream::Own, number), tally);
        assert_eq!(known.maker(number).unwrap().tallies[0], tally);
        known.uncount((Stream::Own, number), tally);
        assert!(known.maker(number).is_none() && known.values(number).is_empty());
        assert_eq!(known.number_of(&one), number + 1);
    }
}
