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

/// The other part of an answer takes at most so many bytes: two names, a digest and times.
const SERVED_BYTES_MAX: usize = 1 << 10;

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
    #[serde(flatten)]
    pub judged: JudgedView<'a>,
    #[serde(flatten)]
    pub served: ServedView<'a>,
}

/// The part of an answer that is known once a picture is judged.
#[derive(Serialize)]
pub struct JudgedView<'a> {
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
}

/// The part of an answer that is known once it is given.
#[derive(Serialize)]
pub struct ServedView<'a> {
    /// Whether the record is on the medium.
    pub durable: bool,
    pub model: ModelView<'a>,
    pub timing_ms: TimingView,
}

/// The first part of an answer, written by whoever judged the picture.
#[derive(Debug)]
pub struct Judged(Vec<u8>);

impl Judged {
    pub(super) fn write(view: &JudgedView) -> Judged {
        Judged(serde_json::to_vec(view).expect("a prediction has no value that JSON lacks"))
    }

    /// Returns the bytes of memory that the whole answer will take.
    pub fn held_bytes(&self) -> usize {
        self.0.capacity() + SERVED_BYTES_MAX
    }

    /// Adds the other part. Returns the answer's JSON.
    pub fn with(self, served: &ServedView) -> Vec<u8> {
        let mut json = self.0;
        // Two objects become one: `…}` and `{…` meet at a comma.
        json.pop();
        let second = json.len();
        serde_json::to_writer(&mut json, served).expect("a Vec takes all that is written");
        json[second] = b',';
        json
    }
}

impl<'a> JudgedView<'a> {
    /// `id` is the record's number in the log, none where there is no log or none that takes records.
    pub fn of(prediction: &'a Prediction, id: Option<u64>, shown: Shown) -> JudgedView<'a> {
        let Prediction { probabilities, labels, .. } = prediction;
        let view = |class: usize| TopView {
            class,
            label: &labels[class],
            confidence: probabilities[class],
        };
        let all = shown.all || probabilities.len() <= PROBABILITIES_MAX;
        JudgedView {
            class: prediction.class,
            label: prediction.label(),
            confidence: prediction.confidence,
            probabilities: all.then_some(probabilities),
            top: prediction.top(shown.top).into_iter().map(view).collect(),
            defect: prediction.defect,
            uncertain: prediction.uncertain,
            id,
            logged: id.is_some(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn the_two_parts_of_an_answer_are_one_object() {
        let judged = json!({"class": 3, "label": "cat", "logged": true});
        let judged = Judged(serde_json::to_vec(&judged).unwrap());
        let timing_ms =
            TimingView { queue: 0.5, decode: 1.0, inference: 2.0, commit: None, total: 4.0 };
        let model = ModelView { name: "m", version: "1", digest: "d" };
        let whole = judged.with(&ServedView { durable: true, model, timing_ms });
        let whole: serde_json::Value = serde_json::from_slice(&whole).unwrap();
        let timing_ms = json!({"queue": 0.5, "decode": 1.0, "inference": 2.0, "total": 4.0});
        let model = json!({"name": "m", "version": "1", "digest": "d"});
        let expected = json!({"class": 3, "label": "cat", "logged": true, "durable": true,
                              "model": model, "timing_ms": timing_ms});
        assert_eq!(whole, expected);
    }
}
