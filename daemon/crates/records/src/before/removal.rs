//! What limits would take from the log as it is now. It removes nothing.

use picket_base::clock;

use super::chunk;
use super::error::{LogError, guard};
use super::format;
use super::reader::LogReader;
use super::retention::Retention;
use crate::removal::Removal;

impl LogReader {
    /// Returns what these limits would take from the log, which is budgeted at `bytes` now. By age the
    /// records are taken to lie in the order of their times.
    ///
    /// # Errors
    /// `Closed` while the log is not open, `Read` when the store fails.
    pub fn removal(&self, limits: Retention, bytes: u64) -> Result<Removal, LogError> {
        let shelf = self.shelf.read().expect("no reader panics with the shelf in hand");
        let db = shelf.as_ref().ok_or(LogError::Closed)?;
        guard(|| {
            let Some((first, _)) = chunk::oldest(db)? else { return Ok(Removal::default()) };
            let newest = chunk::descending(db, u64::MAX).next().transpose()?;
            let end = newest.map_or(first, |newest| newest.id + 1);
            let of = end - first;
            let expired = match limits.max_age {
                Some(max_age) => {
                    let now_us = clock::Stamp::now().wall_us;
                    let keep_from_us = now_us.saturating_sub_unsigned(clock::micros(max_age));
                    first_from(db, first, end, keep_from_us)? - first
                }
                None => 0,
            };
            let over = bytes.saturating_sub(limits.max_bytes);
            let by_bytes = (u128::from(of) * u128::from(over)).div_ceil(u128::from(bytes.max(1)));
            let by_bytes = u64::try_from(by_bytes).unwrap_or(of);
            let by_count = of.saturating_sub(limits.max_records);
            Ok(Removal { records: expired.max(by_bytes).max(by_count).min(of), of })
        })
        .map_err(LogError::Read)
    }
}

/// Returns the first number from `first` on whose record is not older than a moment, `end` if all are.
fn first_from(db: &sled::Db, first: u64, end: u64, moment_us: i64) -> sled::Result<u64> {
    let (mut low, mut high) = (first, end);
    while low < high {
        let middle = low + (high - low) / 2;
        // A missing record is as old as the next one, a damaged one is kept.
        let next = chunk::ascending(db, middle..=high - 1)?.next().transpose()?;
        let is_old = next.as_ref().is_some_and(|next| {
            format::decode(next.id, &next.value).is_ok_and(|found| found.at.wall_us < moment_us)
        });
        match next {
            Some(next) if is_old => low = next.id + 1,
            _ => high = middle,
        }
    }
    Ok(low)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::before::climb::Climb;
    use crate::before::store::PredictionLog;
    use crate::record::Entry;
    use crate::record::tests::{origin, predicted};

    const KEEP_ALL: Retention =
        Retention { max_records: u64::MAX, max_bytes: u64::MAX, max_age: None };

    fn open(dir: &tempfile::TempDir) -> (PredictionLog, LogReader) {
        let reader = LogReader::new();
        let log =
            PredictionLog::open(&dir.path().join("log"), KEEP_ALL, &reader, Climb::Quarantine);
        (log.unwrap(), reader)
    }

    /// Appends records of these ages, minutes.
    fn append(log: &mut PredictionLog, ages: impl Iterator<Item = i64>) {
        let (now_us, device) = (clock::Stamp::now().wall_us, origin("edge-01"));
        let entries: Vec<Entry> = ages
            .map(|minutes| {
                let mut entry = predicted(&device, 3, false);
                entry.at.wall_us = now_us - minutes * 60_000_000;
                entry
            })
            .collect();
        log.append(&[&entries]).unwrap();
        log.commit().unwrap();
    }

    #[test]
    fn what_lowered_limits_would_take_is_known_before_they_take_it() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, reader) = open(&dir);
        let nothing = reader.removal(KEEP_ALL, 0).unwrap();
        assert_eq!((nothing.records, nothing.of, nothing.is_large()), (0, 0, false));
        append(&mut log, [0; 100].into_iter());
        let bytes = log.size().1;
        let removal = |limits| reader.removal(limits, bytes).unwrap();
        let records = |max_records| Retention { max_records, ..KEEP_ALL };
        for (limits, taken, is_large) in [
            (KEEP_ALL, 0, false),
            (records(100), 0, false),
            (records(90), 10, false),
            (records(89), 11, true),
            (records(1), 99, true),
            (Retention { max_bytes: bytes / 2, ..KEEP_ALL }, 50, true),
            (Retention { max_bytes: bytes, ..KEEP_ALL }, 0, false),
            (Retention { max_age: Some(Duration::ZERO), ..KEEP_ALL }, 100, true),
            (Retention { max_age: Some(Duration::from_secs(3600)), ..KEEP_ALL }, 0, false),
        ] {
            let found = removal(limits);
            assert_eq!((found.records, found.of), (taken, 100), "{limits:?}");
            assert_eq!(found.is_large(), is_large, "{limits:?}");
        }
        let hour = Some(Duration::from_secs(3600));
        let narrow = Retention { max_records: 5, max_bytes: 9, max_age: hour };
        let other = Retention { max_records: 7, max_bytes: 8, max_age: None };
        assert_eq!(narrow.wider(other), Retention { max_records: 7, max_bytes: 9, max_age: None });
    }

    /// Three records of each minute: by age the oldest go, whatever is damaged or missing among them.
    #[test]
    fn by_age_the_number_that_would_go_is_found_by_halving() {
        let dir = tempfile::tempdir().unwrap();
        let (mut log, reader) = open(&dir);
        append(&mut log, (0..60).map(|index| 20 - index / 3));
        let older_than = |secs| {
            let max_age = Some(Duration::from_secs(secs));
            reader.removal(Retention { max_age, ..KEEP_ALL }, 0).unwrap().records
        };
        assert_eq!((older_than(60 * 10 + 30), older_than(30), older_than(60 * 30)), (30, 60, 0));
    }
}
