//! From logits to a prediction: softmax, argmax and the verdicts that the configuration asks for.

use std::sync::Arc;

use picket_classifier::{CLASSES, Logits};

/// The rules by which predictions are judged, from `[verdict]`.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether the label of each class counts as a defect.
    pub defect_classes: [bool; CLASSES],
    /// Confidences from the first to the second are uncertain, both included.
    pub uncertain_band: (f32, f32),
    pub labels: Arc<[String; CLASSES]>,
}

impl Verdict {
    /// # Errors
    /// Names the first defect label that the model does not know, and the labels that it does.
    pub fn new(
        labels: Arc<[String; CLASSES]>,
        defect_labels: &[String],
        uncertain_band: (f32, f32),
    ) -> Result<Verdict, UnknownLabel> {
        if let Some(unknown) = defect_labels.iter().find(|label| !labels.contains(label)) {
            return Err(UnknownLabel { label: unknown.clone(), known: labels.join(", ") });
        }
        let defect_classes = std::array::from_fn(|class| defect_labels.contains(&labels[class]));
        Ok(Verdict { defect_classes, uncertain_band, labels })
    }
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
    /// The index of the largest probability, 0..10.
    pub class: usize,
    pub label: String,
    /// The largest probability, 0..=1.
    pub confidence: f32,
    /// The softmax of the logits; its sum is 1.
    pub probabilities: [f32; CLASSES],
    /// Whether the label is one of `defect_labels`.
    pub defect: bool,
    /// Whether the confidence lies within the uncertain band, both ends included.
    pub uncertain: bool,
}

impl Prediction {
    pub fn from_logits(logits: &Logits, verdict: &Verdict) -> Prediction {
        let probabilities = softmax(&logits.0);
        let class = argmax(&probabilities);
        let confidence = probabilities[class];
        let (low, high) = verdict.uncertain_band;
        Prediction {
            class,
            label: verdict.labels[class].clone(),
            confidence,
            probabilities,
            defect: verdict.defect_classes[class],
            uncertain: (low..=high).contains(&confidence),
        }
    }
}

/// The logits are shifted by their maximum, so that none overflows.
fn softmax(logits: &[f32; CLASSES]) -> [f32; CLASSES] {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let exponentials = logits.map(|logit| (logit - max).exp());
    let sum: f32 = exponentials.iter().sum();
    exponentials.map(|exponential| exponential / sum)
}

/// The index of the largest; the first of equals wins.
fn argmax(probabilities: &[f32; CLASSES]) -> usize {
    let mut best = 0;
    for (class, probability) in probabilities.iter().enumerate() {
        if *probability > probabilities[best] {
            best = class;
        }
    }
    best
}
