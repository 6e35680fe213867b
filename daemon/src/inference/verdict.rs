//! From scores to a prediction: probabilities, the most probable class, and the verdicts that model and
//! configuration ask for.

use std::sync::Arc;

use picket_classifier::{Output, Scores};

/// The rules by which predictions are judged.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether the label of each class counts as a defect.
    defect_classes: Vec<bool>,
    /// Confidences from the first to the second are uncertain, both included.
    uncertain_band: (f32, f32),
    output: Output,
}

impl Verdict {
    /// # Errors
    /// Names the first defect label that the model does not know, and the labels that it does.
    pub fn new(
        output: Output,
        defect_labels: &[String],
        uncertain_band: (f32, f32),
    ) -> Result<Verdict, UnknownLabel> {
        let labels = &output.labels;
        if let Some(unknown) = defect_labels.iter().find(|label| !labels.contains(label)) {
            return Err(UnknownLabel { label: unknown.clone(), known: known(labels) });
        }
        let defect_classes = labels.iter().map(|label| defect_labels.contains(label)).collect();
        Ok(Verdict { defect_classes, uncertain_band, output })
    }

    /// Returns what the model's scores mean.
    pub fn output(&self) -> &Output {
        &self.output
    }
}

/// How many labels an error lists.
const LABELS_SHOWN_MAX: usize = 32;

fn known(labels: &[String]) -> String {
    let shown = labels.len().min(LABELS_SHOWN_MAX);
    let rest = labels.len() - shown;
    let listed = labels[..shown].join(", ");
    if rest == 0 { listed } else { format!("{listed} and {rest} others") }
}

#[derive(Debug, thiserror::Error)]
#[error("defect label \"{label}\" is not one of the model's labels: {known}")]
pub struct UnknownLabel {
    label: String,
    known: String,
}

/// What one image was judged to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Prediction {
    /// The index of the most probable class.
    pub class: usize,
    /// The largest probability, 0..=1.
    pub confidence: f32,
    /// The probability of each class.
    pub probabilities: Vec<f32>,
    /// The label of each class.
    pub labels: Arc<[String]>,
    /// Whether the label is one of `defect_labels`.
    pub defect: bool,
    /// Whether the confidence lies within the uncertain band, both ends included.
    pub uncertain: bool,
}

impl Prediction {
    pub fn new(scores: &Scores, verdict: &Verdict) -> Prediction {
        let probabilities = verdict.output.probabilities(scores);
        let class = argmax(&probabilities);
        let confidence = probabilities[class];
        let (low, high) = verdict.uncertain_band;
        Prediction {
            class,
            confidence,
            probabilities,
            labels: verdict.output.labels.clone(),
            defect: verdict.defect_classes[class],
            uncertain: (low..=high).contains(&confidence),
        }
    }

    /// Returns by how much the most probable class leads; a sigmoid of one class by its distance from
    /// even odds.
    pub fn margin(&self) -> f32 {
        let others =
            self.probabilities.iter().enumerate().filter(|(class, _)| *class != self.class);
        let second = others.map(|(_, probability)| *probability).reduce(f32::max);
        second.map_or((self.confidence - 0.5).abs() * 2.0, |second| self.confidence - second)
    }

    /// Returns the label of the most probable class.
    pub fn label(&self) -> &str {
        &self.labels[self.class]
    }
}

/// The index of the largest; the first of equals wins.
fn argmax(probabilities: &[f32]) -> usize {
    let mut best = 0;
    for (class, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[best] {
            best = class;
        }
    }
    best
}
