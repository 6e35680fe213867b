//! How requests ended lately, counted by second: what `high_error_rate` and `overloaded` go by, so
//! that both recover by themselves.

use std::collections::VecDeque;
use std::time::Duration;

/// Requests of the last minute decide about `high_error_rate`.
pub const ERROR_WINDOW: Duration = Duration::from_secs(60);

/// Requests of the last seconds decide about `overloaded`.
pub const SHED_WINDOW: Duration = Duration::from_secs(10);

/// Fewer requests than this in a window say nothing about a rate.
pub const RATE_REQUESTS_MIN: u64 = 20;

/// How one request ended, as far as health is concerned. A client's error is not health's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Served,
    ServerError,
    Shed,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    served: u64,
    server_errors: u64,
    shed: u64,
}

impl Counts {
    /// The share of failures among the requests that were worked on.
    pub fn error_rate(self) -> f64 {
        rate(self.server_errors, self.served + self.server_errors)
    }

    /// The share of all requests that were turned away.
    pub fn shed_rate(self) -> f64 {
        rate(self.shed, self.served + self.server_errors + self.shed)
    }
}

/// A rate is 0 while there are too few requests to speak of one.
fn rate(part: u64, whole: u64) -> f64 {
    if whole < RATE_REQUESTS_MIN { 0.0 } else { part as f64 / whole as f64 }
}

/// The counts of each of the last `ERROR_WINDOW` seconds that had any requests.
#[derive(Debug, Default)]
pub struct Outcomes(VecDeque<(u64, Counts)>);

impl Outcomes {
    pub fn record(&mut self, second: u64, outcome: Outcome) {
        if self.0.back().is_none_or(|(last, _)| *last != second) {
            self.0.push_back((second, Counts::default()));
            let oldest = second.saturating_sub(ERROR_WINDOW.as_secs());
            while self.0.front().is_some_and(|(first, _)| *first < oldest) {
                self.0.pop_front();
            }
        }
        let Some((_, counts)) = self.0.back_mut() else { return };
        match outcome {
            Outcome::Served => counts.served += 1,
            Outcome::ServerError => counts.server_errors += 1,
            Outcome::Shed => counts.shed += 1,
        }
    }

    pub fn over(&self, now: u64, window: Duration) -> Counts {
        let from = now.saturating_sub(window.as_secs());
        let mut sum = Counts::default();
        for (_, counts) in self.0.iter().filter(|(second, _)| *second >= from) {
            sum.served += counts.served;
            sum.server_errors += counts.server_errors;
            sum.shed += counts.shed;
        }
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_needs_enough_requests_and_recovers_when_the_window_has_passed() {
        let mut outcomes = Outcomes::default();
        for _ in 1..RATE_REQUESTS_MIN {
            outcomes.record(100, Outcome::ServerError);
        }
        assert_eq!(outcomes.over(100, ERROR_WINDOW).error_rate(), 0.0, "too few");
        outcomes.record(100, Outcome::ServerError);
        assert_eq!(outcomes.over(100, ERROR_WINDOW).error_rate(), 1.0);
        assert_eq!(outcomes.over(161, ERROR_WINDOW).error_rate(), 0.0);
    }
}
