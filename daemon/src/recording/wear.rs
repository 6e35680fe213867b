//! How fast this daemon uses up its disk: bytes written to the device for each record and for each
//! day, over the last hour. Flash dies of bytes written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::metrics::{Counter, Registry};
use picket_base::disk;

/// The rates are taken over this window, or over the daemon's whole life while that is shorter. A
/// sample is taken at a scrape, so that the window is longer after a while without any.
const WINDOW: Duration = Duration::from_secs(3600);

/// Samples that are kept lie this far apart: there are 61 of them at most.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Shows at each scrape what this process has written to disk, for the records that `logged` counts.
/// The kernel is asked each time, so that an idle daemon is seen too.
pub fn watch_wear(registry: &Registry, logged: Counter) {
    let written_bytes = registry.counter(
        "picket_written_bytes_total",
        "Bytes that this process has written to block devices.",
        &[],
    );
    let bytes_per_record = registry.real_gauge(
        "picket_written_bytes_per_record",
        "Bytes written to block devices for each record taken, over the last hour; 0 without any.",
    );
    let bytes_per_day = registry.real_gauge(
        "picket_written_bytes_per_day",
        "Bytes written to block devices in a day at the rate of the last hour.",
    );
    let mut wear = Wear::since(Instant::now(), disk::written_bytes().unwrap_or(0), logged.get());
    registry.before_scrape(move || {
        let Some(total) = disk::written_bytes() else { return };
        written_bytes.inc_by(total.saturating_sub(written_bytes.get()));
        let rates = wear.rates(Instant::now(), total, logged.get());
        bytes_per_record.set(rates.bytes_per_record.unwrap_or(0.0));
        bytes_per_day.set(rates.bytes_per_day.unwrap_or(0.0));
    });
}

/// Totals since the start.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    written_bytes: u64,
    records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
struct Rates {
    /// There is none while no record was taken.
    bytes_per_record: Option<f64>,
    /// There is none in the first second.
    bytes_per_day: Option<f64>,
}

#[derive(Debug)]
struct Wear {
    /// The samples, oldest first; there is always one.
    samples: VecDeque<Sample>,
}

impl Wear {
    /// Begins to count at these totals.
    fn since(at: Instant, written_bytes: u64, records: u64) -> Wear {
        Wear { samples: VecDeque::from([Sample { at, written_bytes, records }]) }
    }

    /// The rates up to now, from the totals of now.
    fn rates(&mut self, at: Instant, written_bytes: u64, records: u64) -> Rates {
        let now = Sample { at, written_bytes, records };
        if self.samples.back().is_some_and(|last| at - last.at >= SAMPLE_INTERVAL) {
            self.samples.push_back(now);
        }
        // The oldest may lie before the window, so that the rates are over the whole of it.
        while self.samples.get(1).is_some_and(|second| at - second.at >= WINDOW) {
            self.samples.pop_front();
        }
        let first = self.samples.front().copied().unwrap_or(now);
        let bytes = written_bytes.saturating_sub(first.written_bytes) as f64;
        let records = records.saturating_sub(first.records);
        let elapsed = at - first.at;
        Rates {
            bytes_per_record: (records > 0).then(|| bytes / records as f64),
            bytes_per_day: (elapsed >= Duration::from_secs(1))
                .then(|| bytes * DAY.as_secs_f64() / elapsed.as_secs_f64()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_those_of_the_last_hour() {
        let start = Instant::now();
        let mut wear = Wear::since(start, 1_000_000, 0);
        let nothing = Rates { bytes_per_record: None, bytes_per_day: None };
        assert_eq!(wear.rates(start, 1_000_000, 0), nothing);
        // An hour of 500 bytes a second, one record in each.
        for second in 1..=3600 {
            wear.rates(start + Duration::from_secs(second), 1_000_000 + second * 500, second);
        }
        let after = |wear: &mut Wear, second| {
            let bytes = 1_000_000 + 3600 * 500;
            wear.rates(start + Duration::from_secs(second), bytes, 3600)
        };
        let rates = after(&mut wear, 3600);
        assert_eq!(rates.bytes_per_record, Some(500.0));
        assert_eq!(rates.bytes_per_day, Some(500.0 * 86_400.0));
        // Then nothing more: half an hour later half of the hour counts, after two hours none.
        let half = after(&mut wear, 5400).bytes_per_day;
        assert!(
            half.is_some_and(|bytes| (bytes / (250.0 * 86_400.0) - 1.0).abs() < 0.05),
            "{half:?}"
        );
        for second in 5401..=11_000 {
            after(&mut wear, second);
        }
        let rates = Rates { bytes_per_record: None, bytes_per_day: Some(0.0) };
        assert_eq!(after(&mut wear, 11_001), rates);
        assert!(wear.samples.len() <= 62, "{}", wear.samples.len());
    }
}
