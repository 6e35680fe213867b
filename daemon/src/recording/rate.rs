//! How many records a second one sender may report. It knows nothing of the records.

use std::collections::HashMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Senders that are remembered; the one that was heard of the longest ago goes first.
const SENDERS_MAX: usize = 4_096;

/// What each sender has left. A batch that is taken is taken whole, and what it exceeds the rate by is waited
/// for before the next.
pub struct Rates {
    max: Option<u64>,
    senders: Mutex<HashMap<String, Account>>,
}

struct Account {
    at: Instant,
    /// Records, below 0 after a large batch.
    left: f64,
}

/// A sender has to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the sender reports more than {max} records a second, it may go on in {} ms", wait.as_millis())]
pub struct TooFast {
    max: u64,
    pub wait: Duration,
}

impl Rates {
    /// None is any rate.
    pub fn new(max: Option<u64>) -> Rates {
        Rates { max, senders: Mutex::default() }
    }

    /// Takes so many records from what a sender has left.
    ///
    /// # Errors
    /// Where nothing is left; nothing is taken then.
    pub fn take(&self, sender: &str, records: usize, now: Instant) -> Result<(), TooFast> {
        let Some(max) = self.max else { return Ok(()) };
        let rate = max as f64;
        let mut senders = self.senders.lock().expect("nobody panics with the rates in hand");
        if !senders.contains_key(sender) && senders.len() >= SENDERS_MAX {
            let oldest = senders.iter().min_by_key(|(_, account)| account.at);
            let oldest = oldest.map(|(sender, _)| sender.clone());
            oldest.map(|oldest| senders.remove(&oldest));
        }
        let account = senders.entry(sender.to_string()).or_insert(Account { at: now, left: rate });
        let passed = now.saturating_duration_since(account.at).as_secs_f64();
        account.left = (account.left + passed * rate).min(rate);
        account.at = now;
        if account.left <= 0.0 {
            let wait = Duration::from_secs_f64((1.0 - account.left) / rate);
            return Err(TooFast { max, wait });
        }
        account.left -= records as f64;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sender_has_its_rate_and_a_batch_is_taken_whole() {
        let rates = Rates::new(Some(100));
        let start = Instant::now();
        let take = |sender: &str, records, secs: f64| {
            rates.take(sender, records, start + Duration::from_secs_f64(secs)).map_err(|e| e.wait)
        };
        assert_eq!(take("a", 1_000, 0.0), Ok(()));
        assert_eq!(take("a", 1, 1.0), Err(Duration::from_millis(8_010)));
        assert_eq!(take("b", 60, 1.0), Ok(()));
        assert_eq!(take("b", 60, 1.0), Ok(()));
        assert!(take("b", 1, 1.0).is_err());
        assert_eq!(take("a", 1, 9.1), Ok(()));
        assert_eq!(Rates::new(None).take("a", usize::MAX, start), Ok(()));
        for sender in 0..2 * SENDERS_MAX {
            assert_eq!(take(&sender.to_string(), 1, 10.0), Ok(()));
        }
        assert!(rates.senders.lock().unwrap().len() <= SENDERS_MAX);
    }
}
