//! What is measured: the loads, how often and how long.

use std::time::Duration;

/// One way of writing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Load {
    /// Records in a commit.
    pub batch: usize,
    /// From one commit to the next; none for as fast as it goes.
    pub interval: Option<Duration>,
}

impl std::fmt::Display for Load {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.interval {
            None => write!(f, "batch {}", self.batch),
            Some(interval) => {
                let per_second = self.batch as f64 / interval.as_secs_f64();
                write!(f, "{per_second:.0}/s, commit every {} ms", interval.as_millis())
            }
        }
    }
}

/// Bounds of a run.
pub struct Plan {
    /// Every engine is measured once in each, one after the other, so that the machine's noise hits
    /// all alike.
    pub rounds: usize,
    /// Rounds that measure the paced loads too: device bytes vary little, and pace takes time.
    paced_rounds: usize,
    /// A measurement ends after as many records or as long, whichever comes first.
    pub records_max: usize,
    pub duration_max: Duration,
    pub paced_duration: Duration,
}

/// Records a second of the paced loads: the rate that the log's wear target is stated for.
const PACED_RECORDS_PER_SEC: usize = 100;

impl Plan {
    pub fn full() -> Plan {
        Plan {
            rounds: 5,
            paced_rounds: 2,
            records_max: 50_000,
            duration_max: Duration::from_secs(3),
            paced_duration: Duration::from_secs(20),
        }
    }

    pub fn quick() -> Plan {
        Plan {
            rounds: 2,
            paced_rounds: 1,
            records_max: 10_000,
            duration_max: Duration::from_millis(500),
            paced_duration: Duration::from_secs(6),
        }
    }

    /// The loads of one round, counted from 0.
    pub fn loads(&self, round: usize) -> Vec<Load> {
        let fast = [1, 10, 100, 1000].map(|batch| Load { batch, interval: None });
        // The daemon's default commit interval, and a long one.
        let paced = [Duration::from_millis(100), Duration::from_secs(1)].map(|interval| Load {
            batch: PACED_RECORDS_PER_SEC * interval.as_millis() as usize / 1000,
            interval: Some(interval),
        });
        let paced = if round < self.paced_rounds { &paced[..] } else { &[] };
        fast.iter().chain(paced).copied().collect()
    }
}
