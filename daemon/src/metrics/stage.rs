//! The one family that several rooms share: how long each stage of a prediction takes.

use prometheus::Histogram;

use super::registry::Registry;

/// Upper ends of the buckets, seconds: from 50 µs (an inference on a fast core) to 1 s (a commit on a
/// tired SD card).
const BUCKETS: [f64; 14] = [
    0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0,
];

/// The durations of one stage, seconds.
pub fn stage(registry: &Registry, stage: &str) -> Histogram {
    let (name, help) = ("picket_stage_duration_seconds", "Time spent in each stage.");
    registry.histogram(name, help, &[("stage", stage)], &BUCKETS)
}
