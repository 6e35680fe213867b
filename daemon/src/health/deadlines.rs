//! How long each kind of subsystem may be silent: what the configuration says, and never longer than
//! the service manager would wait for a ping.

use std::time::Duration;

use crate::config::HealthConfig;

/// Who beats every second can't be judged sooner.
const DEADLINE_MIN: Duration = Duration::from_secs(3);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Deadlines {
    /// The service manager's; none when it waits for no pings.
    pub watchdog_period: Option<Duration>,
    pub runtime: Duration,
    pub worker: Duration,
    pub log: Duration,
}

impl Deadlines {
    /// A deadline beyond the watchdog's period would keep a hung daemon longer than whoever set
    /// that period allows.
    pub fn new(config: &HealthConfig, watchdog_period: Option<Duration>) -> Deadlines {
        let longest = watchdog_period.unwrap_or(Duration::MAX).max(DEADLINE_MIN);
        let within = |key, deadline: Duration| {
            if deadline > longest {
                tracing::info!(key, ?deadline, watchdog = ?longest, "the watchdog's period is shorter and holds");
            }
            deadline.min(longest)
        };
        Deadlines {
            watchdog_period,
            runtime: within("health.runtime_deadline", config.runtime_deadline.0),
            worker: within("health.worker_deadline", config.worker_deadline.0),
            log: within("health.log_deadline", config.log_deadline.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Span;

    #[test]
    fn no_deadline_is_longer_than_the_watchdogs_period() {
        let secs = Duration::from_secs;
        let config = HealthConfig {
            runtime_deadline: Span(secs(15)),
            worker_deadline: Span(secs(30)),
            log_deadline: Span(secs(60)),
            sample_interval: Span(secs(30)),
        };
        let of = |period: Option<u64>| {
            let Deadlines { runtime, worker, log, .. } = Deadlines::new(&config, period.map(secs));
            [runtime, worker, log].map(|deadline| deadline.as_secs())
        };
        assert_eq!(of(None), [15, 30, 60]);
        assert_eq!(of(Some(30)), [15, 30, 30]);
        assert_eq!(of(Some(1)), [3, 3, 3]);
    }
}
