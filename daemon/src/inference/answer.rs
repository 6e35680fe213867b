//! The answer to a picture as JSON: the same over HTTP and from `picket predict --json`. It knows
//! neither of the two.

use std::time::Duration;

use picket_base::clock::micros;
use serde::Serialize;

use super::verdict::Prediction;

/// How many of the most probable classes an answer has unless it is asked for others.
const TOP: usize = 5;

/// How many it can be asked for.
pub const TOP_MAX: usize = 32;

/// Up to so many probabilities are all in every answer.
const PROBABILITIES_MAX: usize = 32;

/// How much of a prediction its asker wants to see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shown {
    /// So many of the most probable classes.
    pub top: usize,
    /// All probabilities, however many there are.
    pub all: bool,
}

impl Default for Shown {
    fn default() -> Shown {
        Shown { top: TOP, all: false }
    }
}

/// One prediction as its asker sees it.
#[derive(Serialize)]
pub struct PredictionView<'a> {
    pub class: usize,
    pub label: &'a str,
    pub confidence: f32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub probabilities: Option<&'a [f32]>,
    /// The most probable classes, the first one first.
    pub top: Vec<TopView<'a>>,
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
        shown: Shown,
    ) -> PredictionView<'a> {
        let Prediction { probabilities, labels, .. } = prediction;
        let view = |class: usize| TopView {
            class,
            label: &labels[class],
            confidence: probabilities[class],
        };
        let all = shown.all || probabilities.len() <= PROBABILITIES_MAX;
        PredictionView {
            class: prediction.class,
            label: prediction.label(),
            confidence: prediction.confidence,
            probabilities: all.then_some(probabilities),
            top: prediction.top(shown.top).into_iter().map(view).collect(),
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

/// One of the most probable classes.
#[derive(Serialize)]
pub struct TopView<'a> {
    pub class: usize,
    pub label: &'a str,
    pub confidence: f32,
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
