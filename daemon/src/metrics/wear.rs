//! How fast this daemon uses up its disk: bytes written to the device for each record and for each
//! day, over the last hour. Flash dies of bytes written.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// What the rates are taken over; the daemon's whole life while that is shorter. A sample is taken
/// when somebody asks, so that it is longer after a while in which nobody did.
const WINDOW: Duration = Duration::from_secs(3600);

/// Between two samples that are kept: 61 of them at most.
const SAMPLE_INTERVAL: Duration = Duration::from_secs(60);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Totals since the start.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Instant,
    written_bytes: u64,
    records: u64,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Rates {
    /// None while no record was taken.
    pub bytes_per_record: Option<f64>,
    /// None in the first second.
    pub bytes_per_day: Option<f64>,
}

#[derive(Debug)]
pub struct Wear {
    /// Oldest first; never empty.
    samples: VecDeque<Sample>,
}

impl Wear {
    /// Counts from here on.
    pub fn since(at: Instant, written_bytes: u64, records: u64) -> Wear {
        Wear { samples: VecDeque::from([Sample { at, written_bytes, records }]) }
    }

    /// Takes the totals of now.
    pub fn rates(&mut self, at: Instant, written_bytes: u64, records: u64) -> Rates {
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
