//! How requests ended lately: what `high_error_rate` and `overloaded` go by, so that both recover by
//! themselves.
//!
//! Errors are counted by the second. What was turned away is counted for each sender: one that asks for
//! more than its share is turned away by a box that serves everybody else.

use std::collections::{HashMap, VecDeque};
use std::time::Duration;

use crate::peer::Peer;

/// Requests of the last minute decide about `high_error_rate`.
pub const ERROR_WINDOW: Duration = Duration::from_secs(60);

/// Requests of this and of the period before it decide about `overloaded`.
const SHED_PERIOD: Duration = Duration::from_secs(5);

/// Fewer requests than this in a window say nothing about a rate.
pub const RATE_REQUESTS_MIN: u64 = 20;

/// So many senders must be turned away for the box to be at fault. Two may be two that ask for too much.
pub const OVERLOADED_SENDERS_MIN: usize = 3;

/// So many senders are told apart in one period; what others ask then does not count.
const SENDERS_MAX: usize = 1_024;

/// How one request ended, as far as health is concerned. A client's error is not health's business.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Served,
    ServerError,
    Shed,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    served: u64,
    server_errors: u64,
}

/// What one sender asked for in a period.
#[derive(Clone, Copy, Debug, Default)]
struct Asked {
    all: u64,
    shed: u64,
}

/// How the senders of the last periods fared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fared {
    pub senders: usize,
    /// Of these, so many had most of their requests turned away.
    pub turned_away: usize,
    requests: u64,
}

impl Fared {
    /// Whether the work of several senders can't be done, and that of hardly any can: a box that serves
    /// a quarter of them turns the others away because they ask for too much.
    pub fn is_overload(self) -> bool {
        self.requests >= RATE_REQUESTS_MIN
            && self.turned_away >= OVERLOADED_SENDERS_MIN
            && self.turned_away * 4 > self.senders * 3
    }
}

/// The counts of each of the last `ERROR_WINDOW` seconds that had any requests, and the senders of the
/// last two periods.
#[derive(Debug, Default)]
pub struct Outcomes {
    seconds: VecDeque<(u64, Counts)>,
    period: u64,
    now: HashMap<Peer, Asked>,
    before: HashMap<Peer, Asked>,
}

impl Outcomes {
    pub fn record(&mut self, second: u64, sender: Peer, outcome: Outcome) {
        self.count(second, outcome);
        self.turn(second);
        if self.now.len() < SENDERS_MAX || self.now.contains_key(&sender) {
            let asked = self.now.entry(sender).or_default();
            asked.all += 1;
            asked.shed += u64::from(outcome == Outcome::Shed);
        }
    }

    /// The share of failures among the requests that were worked on, 0 while there are too few.
    pub fn error_rate(&self, now: u64) -> f64 {
        let from = now.saturating_sub(ERROR_WINDOW.as_secs());
        let (mut served, mut failed) = (0, 0);
        for (_, counts) in self.seconds.iter().filter(|(second, _)| *second >= from) {
            served += counts.served;
            failed += counts.server_errors;
        }
        let whole = served + failed;
        if whole < RATE_REQUESTS_MIN { 0.0 } else { failed as f64 / whole as f64 }
    }

    pub fn fared(&mut self, now: u64) -> Fared {
        self.turn(now);
        let mut senders = self.before.clone();
        for (sender, asked) in &self.now {
            let sum = senders.entry(*sender).or_default();
            sum.all += asked.all;
            sum.shed += asked.shed;
        }
        Fared {
            senders: senders.len(),
            turned_away: senders.values().filter(|asked| asked.shed * 2 > asked.all).count(),
            requests: senders.values().map(|asked| asked.all).sum(),
        }
    }

    fn count(&mut self, second: u64, outcome: Outcome) {
        if self.seconds.back().is_none_or(|(last, _)| *last != second) {
            self.seconds.push_back((second, Counts::default()));
            let oldest = second.saturating_sub(ERROR_WINDOW.as_secs());
            while self.seconds.front().is_some_and(|(first, _)| *first < oldest) {
                self.seconds.pop_front();
            }
        }
        let Some((_, counts)) = self.seconds.back_mut() else { return };
        match outcome {
            Outcome::Served => counts.served += 1,
            Outcome::ServerError => counts.server_errors += 1,
            Outcome::Shed => {}
        }
    }

    /// Begins a new period when its time has come.
    fn turn(&mut self, second: u64) {
        let period = second / SHED_PERIOD.as_secs();
        if period == self.period {
            return;
        }
        self.before = std::mem::take(&mut self.now);
        if period != self.period + 1 {
            self.before.clear();
        }
        self.period = period;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sender(host: u32) -> Peer {
        Peer::at(std::net::Ipv4Addr::from(host).into())
    }

    /// Of these senders, each with its served and its shed requests.
    fn fared(senders: &[(u32, u32)]) -> Fared {
        let mut outcomes = Outcomes::default();
        for (host, (served, shed)) in (0..).zip(senders) {
            (0..*served).for_each(|_| outcomes.record(100, sender(host), Outcome::Served));
            (0..*shed).for_each(|_| outcomes.record(100, sender(host), Outcome::Shed));
        }
        outcomes.fared(100)
    }

    #[test]
    fn a_rate_needs_enough_requests_and_recovers_when_the_window_has_passed() {
        let mut outcomes = Outcomes::default();
        for _ in 1..RATE_REQUESTS_MIN {
            outcomes.record(100, Peer::Local, Outcome::ServerError);
        }
        assert_eq!(outcomes.error_rate(100), 0.0, "too few");
        outcomes.record(100, Peer::Local, Outcome::ServerError);
        assert_eq!(outcomes.error_rate(100), 1.0);
        assert_eq!(outcomes.error_rate(161), 0.0);
    }

    #[test]
    fn senders_that_ask_for_too_much_are_no_overload_while_others_are_served() {
        assert!(!fared(&[(0, 1_000)]).is_overload());
        assert!(!fared(&[(1, 1_000), (40, 0)]).is_overload());
        assert!(!fared(&[(1, 1_000), (1, 1_000), (40, 0)]).is_overload());
        assert!(!fared(&[(1, 1_000), (1, 1_000), (1, 100), (9, 0)]).is_overload());
    }

    #[test]
    fn most_of_several_senders_turned_away_are_an_overload_that_passes() {
        assert!(fared(&[(3, 4), (3, 4), (3, 4)]).is_overload());
        assert!(fared(&[(3, 4), (3, 4), (3, 4), (3, 4), (9, 0)]).is_overload());
        assert!(!fared(&[(4, 4), (4, 4), (4, 4)]).is_overload());
        assert!(!fared(&[(0, 6), (0, 6), (0, 6)]).is_overload(), "too few requests");
        let mut outcomes = Outcomes::default();
        for request in 0..30 {
            outcomes.record(100, sender(request % 3), Outcome::Shed);
        }
        assert!(outcomes.fared(109).is_overload());
        assert!(!outcomes.fared(110).is_overload());
    }

    #[test]
    fn so_many_senders_are_remembered_and_no_more() {
        let mut outcomes = Outcomes::default();
        for host in 0..3_000 {
            outcomes.record(100, sender(host), Outcome::Served);
        }
        assert_eq!(outcomes.fared(100).senders, SENDERS_MAX);
    }
}
