//! Latencies of one measurement and what is said about them.

use std::time::Duration;

/// What one measurement gives.
#[derive(Clone, Debug, Default)]
pub struct Sample {
    pub records: u64,
    pub elapsed: Duration,
    /// Of every commit, in the order of time.
    pub latencies: Vec<Duration>,
    /// Written to the device until everything was on it.
    pub device_bytes: u64,
}

impl Sample {
    pub fn records_per_sec(&self) -> f64 {
        self.records as f64 / self.elapsed.as_secs_f64()
    }
}

/// The value below which `percent` of the sorted latencies lie; zero of none.
pub fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let at = (sorted.len() * percent / 100).min(sorted.len().saturating_sub(1));
    sorted.get(at).copied().unwrap_or_default()
}

/// The middle one; zero of none.
pub fn median(values: &mut [f64]) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_and_medians_are_values_that_occurred() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(101));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(199));
        assert_eq!(percentile(&sorted[..1], 99), Duration::from_millis(1));
        assert_eq!(percentile(&[], 50), Duration::ZERO);
        assert_eq!(median(&mut [3.0, 1.0, 2.0]), 2.0);
    }
}
