//! How long each kind of subsystem may be silent: as long as whoever starts the daemon says, and
//! never longer than the service manager would wait for a ping.

use std::time::Duration;

/// A subsystem that beats every second can't be judged sooner.
const DEADLINE_MIN: Duration = Duration::from_secs(3);

/// The longest silence of each kind of subsystem.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// The service manager's period; none when it waits for no pings.
    pub watchdog_period: Option<Duration>,
    pub runtime: Duration,
    pub worker: Duration,
    pub log: Duration,
}

impl Deadlines {
    /// The same deadlines, none of them longer than the watchdog's period: that would keep a hung
    /// daemon longer than whoever set the period allows.
    pub fn within_the_watchdogs(self) -> Deadlines {
        let longest = self.watchdog_period.unwrap_or(Duration::MAX).max(DEADLINE_MIN);
        let within = |key, deadline: Duration| {
            if deadline > longest {
                tracing::info!(key, ?deadline, watchdog = ?longest, "the watchdog's period is shorter and holds");
            }
            deadline.min(longest)
        };
        Deadlines {
            watchdog_period: self.watchdog_period,
            runtime: within("health.runtime_deadline", self.runtime),
            worker: within("health.worker_deadline", self.worker),
            log: within("health.log_deadline", self.log),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_deadline_is_longer_than_the_watchdogs_period() {
        let secs = Duration::from_secs;
        let of = |period: Option<u64>| {
            let asked = Deadlines {
                watchdog_period: period.map(secs),
                runtime: secs(15),
                worker: secs(30),
                log: secs(60),
            };
            let Deadlines { runtime, worker, log, .. } = asked.within_the_watchdogs();
            [runtime, worker, log].map(|deadline| deadline.as_secs())
        };
        assert_eq!(of(None), [15, 30, 60]);
        assert_eq!(of(Some(30)), [15, 30, 30]);
        assert_eq!(of(Some(1)), [3, 3, 3]);
    }
}
