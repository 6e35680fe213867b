//! What is counted of predictions: how many were answered, failed or turned away, how long each stage
//! took, and the model that serves.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use super::pipeline::StageTimes;
use crate::metrics::{
    Counter, Gauge, GaugeFamily, Histogram, RealGauge, Registry, gauge_value, stage,
};

pub struct InferenceMetrics {
    /// Predictions that were answered.
    pub predictions: Counter,
    /// Predictions that failed through a fault of the daemon.
    pub errors: Counter,
    /// Pictures that wait for a worker.
    pub queue_depth: Gauge,
    pub(super) queue_capacity: Gauge,
    /// Predictions that were refused because the queue was full.
    pub(super) turned_away: Counter,
    queue: Histogram,
    decode: Histogram,
    inference: Histogram,
    last_prediction: RealGauge,
    model_loaded: Gauge,
    model_info: GaugeFamily,
}

impl InferenceMetrics {
    /// `model` and `stage` are the labels that the configuration gives the model.
    pub fn new(registry: &Registry, model: &str, stage_label: &str) -> InferenceMetrics {
        let counter = |name, help| registry.counter(name, help, &[("model", model)]);
        let gauge = |name, help| registry.gauge(name, help, &[]);
        InferenceMetrics {
            predictions: counter("inference_predictions_total", "Predictions answered."),
            errors: counter("inference_errors_total", "Predictions that failed here."),
            queue_depth: gauge("picket_queue_depth", "Images waiting for a worker."),
            queue_capacity: gauge("picket_queue_capacity", "Images that may wait for a worker."),
            turned_away: registry.counter(
                "picket_predictions_turned_away_total",
                "Predictions refused because the queue was full.",
                &[],
            ),
            queue: stage(registry, "queue"),
            decode: stage(registry, "decode"),
            inference: stage(registry, "inference"),
            last_prediction: registry.real_gauge(
                "picket_last_prediction_timestamp_seconds",
                "When the last prediction was answered, 0 before the first.",
            ),
            model_loaded: registry.gauge(
                "inference_model_loaded",
                "Whether a model is loaded and serving.",
                &[("model", model), ("stage", stage_label)],
            ),
            model_info: registry.gauges(
                "picket_model_info",
                "The model in use; always 1.",
                &["version", "digest"],
            ),
        }
    }

    pub fn model_loaded(&self, version: &str, digest: &str) {
        self.model_loaded.set(1);
        self.model_info.reset();
        self.model_info.with_label_values(&[version, digest]).set(1);
    }

    /// Counts a prediction that was answered just now.
    pub fn predicted(&self) {
        self.predictions.inc();
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.last_prediction.set(now.as_secs_f64());
    }

    /// Epoch seconds of the last prediction, if there was one since the start.
    pub fn last_prediction(&self) -> Option<f64> {
        Some(self.last_prediction.get()).filter(|seconds| *seconds > 0.0)
    }

    pub(super) fn show_depth(&self, depth: usize) {
        self.queue_depth.set(gauge_value(depth as u64));
    }

    pub(super) fn observe(&self, waited: Duration, times: StageTimes) {
        self.queue.observe(waited.as_secs_f64());
        self.decode.observe(times.decode.as_secs_f64());
        self.inference.observe(times.inference.as_secs_f64());
    }
}
