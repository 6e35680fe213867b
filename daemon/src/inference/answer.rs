//! The answer to a picture as JSON: the same over HTTP and from `picket predict --json`. It knows
//! neither of the two.

use std::time::Duration;

use picket_base::clock::micros;
use serde::Serialize;

use super::verdict::Prediction;

/// One prediction as its asker sees it.
#[derive(Serialize)]
pub struct PredictionView<'a> {
    pub class: usize,
    pub label: &'a str,
    pub confidence: f32,
    pub probabilities: &'a [f32],
    pub defect: bool,
    pub uncertain: bool,
    /// The record's number in the log, null if it was not logged.
    pub id: Option<u64>,
    pub logged: bool,
    /// Whether the record is on the medium.
    pub durable: bool,
    pub model: ModelView<'a>,
    pub timing_ms: TimingView,
}

impl<'a> PredictionView<'a> {
    /// Builds the answer where there is no log, or none that takes records.
    pub fn unlogged(
        prediction: &'a Prediction,
        model: ModelView<'a>,
        timing_ms: TimingView,
    ) -> PredictionView<'a> {
        PredictionView {
            class: prediction.class,
            label: prediction.label(),
            confidence: prediction.confidence,
            probabilities: &prediction.probabilities,
            defect: prediction.defect,
            uncertain: prediction.uncertain,
            id: None,
            logged: false,
            durable: false,
            model,
            timing_ms,
        }
    }
}

/// The model that predicted.
#[derive(Serialize)]
pub struct ModelView<'a> {
    pub name: &'a str,
    pub version: &'a str,
    pub digest: &'a str,
}

/// Milliseconds spent in each stage.
#[derive(Serialize)]
pub struct TimingView {
    pub queue: f64,
    pub decode: f64,
    pub inference: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub commit: Option<f64>,
    pub total: f64,
}

/// Returns milliseconds, to the microsecond: digits beyond that are noise.
pub fn ms(duration: Duration) -> f64 {
    micros(duration) as f64 / 1e3
}
