//! What a model's scores mean: their kind, and a label for each class. It runs nothing.

use std::sync::Arc;

use crate::scores::Scores;

/// The most classes of a model; a record of the log numbers them in 16 bits.
pub const CLASSES_MAX: usize = 10_000;

/// What the scores of a model are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Unnormalised: softmax makes probabilities of them.
    Logits,
    /// Probabilities already; their sum is 1.
    Probabilities,
    /// One logistic score a class, each for itself, before the sigmoid.
    SigmoidLogits,
    /// One probability a class, each for itself.
    Sigmoid,
}

impl Kind {
    /// Whether each class is scored for itself, so that several or none may be present.
    pub fn is_independent(self) -> bool {
        matches!(self, Kind::SigmoidLogits | Kind::Sigmoid)
    }
}

/// How a model's scores become probabilities of labels.
#[derive(Clone, Debug, PartialEq)]
pub struct Output {
    pub kind: Kind,
    /// Logits are divided by it.
    pub temperature: f32,
    /// One label for each class, in the order of the scores. A model of one score that tells two classes
    /// apart has two: the score is the second one's.
    pub labels: Arc<[String]>,
}

impl Output {
    /// Returns the probability of each label, 0..=1.
    pub fn probabilities(&self, scores: &Scores) -> Vec<f32> {
        let logistic = |logit: f32| 1.0 / (1.0 + (-logit / self.temperature).exp());
        let mut probabilities = match self.kind {
            Kind::Logits => softmax(&scores.0, self.temperature),
            Kind::SigmoidLogits => scores.0.iter().map(|&logit| logistic(logit)).collect(),
            // A quantised model's last step may lie a little outside.
            Kind::Probabilities | Kind::Sigmoid => {
                scores.0.iter().map(|score| score.clamp(0.0, 1.0)).collect()
            }
        };
        if self.is_pair(scores.0.len()) {
            probabilities.insert(0, 1.0 - probabilities[0]);
        }
        probabilities
    }

    /// Whether one score stands for two labels.
    fn is_pair(&self, scores: usize) -> bool {
        scores == 1 && self.labels.len() == 2
    }
}

/// The logits are shifted by their maximum, so that none overflows.
fn softmax(logits: &[f32], temperature: f32) -> Vec<f32> {
    let max = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
    let mut exponentials: Vec<f32> =
        logits.iter().map(|logit| ((logit - max) / temperature).exp()).collect();
    let sum: f32 = exponentials.iter().sum();
    exponentials.iter_mut().for_each(|exponential| *exponential /= sum);
    exponentials
}

#[cfg(test)]
mod tests {
    use super::*;

    fn output(kind: Kind, temperature: f32, labels: usize) -> Output {
        let labels = (0..labels).map(|class| format!("class {class}")).collect();
        Output { kind, temperature, labels }
    }

    #[track_caller]
    fn assert_near(found: &[f32], expected: &[f32]) {
        assert_eq!(found.len(), expected.len(), "{found:?}");
        for (found, expected) in found.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-6, "{found} is not {expected}");
        }
    }

    #[test]
    fn each_kind_becomes_probabilities_in_its_own_way() {
        let scores = Scores(vec![1.0, 3.0]);
        let third = 1.0 / (1.0 + 2.0_f32.exp());
        assert_near(&output(Kind::Logits, 1.0, 2).probabilities(&scores), &[third, 1.0 - third]);
        let cooler = 1.0 / (1.0 + 1.0_f32.exp());
        assert_near(&output(Kind::Logits, 2.0, 2).probabilities(&scores), &[cooler, 1.0 - cooler]);
        let huge = Scores(vec![1e30, -1e30]);
        assert_near(&output(Kind::Logits, 1.0, 2).probabilities(&huge), &[1.0, 0.0]);
        let stated = Scores(vec![0.25, 0.75]);
        assert_near(&output(Kind::Probabilities, 1.0, 2).probabilities(&stated), &stated.0);
        let both = Scores(vec![0.9, 1.002]);
        assert_near(&output(Kind::Sigmoid, 1.0, 2).probabilities(&both), &[0.9, 1.0]);
        let zero = Scores(vec![0.0, 0.0]);
        assert_near(&output(Kind::SigmoidLogits, 1.0, 2).probabilities(&zero), &[0.5, 0.5]);
    }

    #[test]
    fn one_score_of_two_labels_is_the_second_ones() {
        let score = Scores(vec![0.8]);
        assert_near(&output(Kind::Sigmoid, 1.0, 2).probabilities(&score), &[0.2, 0.8]);
        assert_near(&output(Kind::Sigmoid, 1.0, 1).probabilities(&score), &[0.8]);
    }
}
