//! What the answers of the probes must have been while the daemon was attacked.

use std::time::Duration;

use picket_testkit::{PROBE_PATHS, Seen};

use crate::verdict::Verdict;

/// Each path's answers came as fast as the goals say, and all of them were 200.
pub fn judge(seen: &Seen, verdict: &mut Verdict, p50: Option<Duration>, p99: Duration) {
    for (path, times) in PROBE_PATHS.iter().zip(&seen.latencies) {
        let (half, most) = (times.quantile(0.5), times.quantile(0.99));
        let found = format!("{:.2} / {:.2} / {:.2} ms", ms(half), ms(most), ms(times.max()));
        let name = format!("{path} p50 / p99 / max of {}", times.len());
        let (goal, met) = match p50 {
            Some(p50) => (
                format!("p50 <= {} ms, p99 <= {} ms", ms(p50), ms(p99)),
                half <= p50 && most <= p99,
            ),
            None => (format!("p99 <= {} ms", ms(p99)), most <= p99),
        };
        // No answer at all is no fast answer.
        verdict.goal(&name, found, goal, met && !times.is_empty());
    }
    let failed = seen.failures.len() + seen.not_ready.len();
    verdict.goal("probes without a 200", failed, "none", failed == 0);
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
