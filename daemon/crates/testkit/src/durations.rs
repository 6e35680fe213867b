//! Durations of one kind, and their percentiles.

use std::time::Duration;

#[derive(Clone, Debug, Default)]
pub struct Durations(Vec<Duration>);

impl Durations {
    pub fn add(&mut self, duration: Duration) {
        self.0.push(duration);
    }

    pub fn extend(&mut self, others: &Durations) {
        self.0.extend_from_slice(&others.0);
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The duration that `share` (0.0 to 1.0) of them do not exceed; zero if there are none.
    pub fn quantile(&self, share: f64) -> Duration {
        let mut sorted = self.0.clone();
        sorted.sort_unstable();
        let rank = (share * sorted.len() as f64).ceil() as usize;
        sorted.get(rank.max(1) - 1).copied().unwrap_or_default()
    }

    pub fn max(&self) -> Duration {
        self.quantile(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_durations() {
        let mut durations = Durations::default();
        assert_eq!(durations.quantile(0.5), Duration::ZERO);
        for ms in [30, 10, 40, 20] {
            durations.add(Duration::from_millis(ms));
        }
        let ms = |share| durations.quantile(share).as_millis();
        assert_eq!((ms(0.0), ms(0.5), ms(0.51), ms(0.99)), (10, 20, 30, 40));
        assert_eq!(durations.max(), Duration::from_millis(40));
    }
}
