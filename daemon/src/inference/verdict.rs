//! From scores to a prediction: probabilities, the most probable class, and the verdicts that model and
//! configuration ask for.

use std::sync::Arc;

use picket_classifier::{Output, Scores, VerdictDefaults};

/// Confidences that are uncertain where neither model nor configuration says so.
const UNCERTAIN_BAND: (f32, f32) = (0.4, 0.7);

/// The probability from which on a class is there, where each is scored for itself.
const PRESENT: f32 = 0.5;

/// The rules by which predictions are judged.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Whether the label of each class counts as a defect.
    defect_classes: Vec<bool>,
    /// From which probability on each class is a defect, whichever class won.
    thresholds: Vec<Option<f32>>,
    /// Confidences from the first to the second are uncertain, both included.
    uncertain_band: (f32, f32),
    output: Output,
    defaults: VerdictDefaults,
}

/// What the configuration says of verdicts; it goes before what the model says.
#[derive(Clone, Copy, Debug, Default)]
pub struct VerdictOverrides<'a> {
    pub defect_labels: Option<&'a [String]>,
    pub uncertain_between: Option<(f32, f32)>,
}

impl Verdict {
    /// # Errors
    /// Names the first defect label that the model does not know, and the labels that it does.
    pub fn new(
        output: Output,
        defaults: VerdictDefaults,
        overrides: VerdictOverrides<'_>,
    ) -> Result<Verdict, UnknownLabel> {
        let labels = &output.labels;
        let defect_labels = overrides.defect_labels.unwrap_or(&defaults.defect_labels);
        if let Some(unknown) = defect_labels.iter().find(|label| !labels.contains(label)) {
            return Err(UnknownLabel { label: unknown.clone(), known: known(labels) });
        }
        let defect_classes = labels.iter().map(|label| defect_labels.contains(label)).collect();
        let thresholds =
            labels.iter().map(|label| defaults.thresholds.get(label).copied()).collect();
        let band = overrides.uncertain_between.or(defaults.uncertain_between);
        let uncertain_band = band.unwrap_or(UNCERTAIN_BAND);
        Ok(Verdict { defect_classes, thresholds, uncertain_band, output, defaults })
    }

    /// Returns what the model's scores mean.
    pub fn output(&self) -> &Output {
        &self.output
    }

    /// Returns what the model itself says of verdicts.
    pub fn defaults(&self) -> &VerdictDefaults {
        &self.defaults
    }

    fn is_defect(&self, class: usize, probabilities: &[f32]) -> bool {
        // The most probable of several classes of which none is there is no finding.
        let needed = match self.output.kind.is_independent() {
            true => self.thresholds[class].unwrap_or(PRESENT),
            false => 0.0,
        };
        let won = self.defect_classes[class] && probabilities[class] >= needed;
        let mut pairs = probabilities.iter().zip(&self.thresholds);
        won || pairs.any(|(probability, threshold)| threshold.is_some_and(|p| *probability >= p))
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
    /// Whether the label is one of `defect_labels`, or any label's probability is over its threshold.
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
        let defect = verdict.is_defect(class, &probabilities);
        Prediction {
            class,
            confidence,
            probabilities,
            labels: verdict.output.labels.clone(),
            defect,
            uncertain: (low..=high).contains(&confidence),
        }
    }

    /// Returns the `count` most probable classes, the first of equals first.
    pub fn top(&self, count: usize) -> Vec<usize> {
        let ranked = picket_records::ranked(&self.probabilities, count);
        ranked.into_iter().map(|(class, _)| usize::from(class)).collect()
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

#[cfg(test)]
mod tests {
    use super::*;
    use picket_classifier::Kind;

    fn output(kind: Kind, labels: &[&str]) -> Output {
        let labels = labels.iter().map(ToString::to_string).collect();
        Output { kind, temperature: 1.0, labels }
    }

    fn defaults(defects: &[&str], thresholds: &[(&str, f32)]) -> VerdictDefaults {
        VerdictDefaults {
            defect_labels: defects.iter().map(ToString::to_string).collect(),
            uncertain_between: Some((0.2, 0.3)),
            thresholds: thresholds.iter().map(|(label, p)| (label.to_string(), *p)).collect(),
        }
    }

    fn judged(output: &Output, defaults: VerdictDefaults, probabilities: &[f32]) -> Prediction {
        let verdict = Verdict::new(output.clone(), defaults, VerdictOverrides::default()).unwrap();
        Prediction::new(&Scores(probabilities.to_vec()), &verdict)
    }

    #[test]
    fn a_threshold_makes_a_defect_of_a_class_that_did_not_win() {
        let output = output(Kind::Probabilities, &["ok", "dent", "scratch"]);
        let defaults = defaults(&["scratch"], &[("dent", 0.3)]);
        let judge = |probabilities| judged(&output, defaults.clone(), probabilities).defect;
        assert!(!judge(&[0.71, 0.29, 0.0]));
        assert!(judge(&[0.7, 0.3, 0.0]));
        assert!(judge(&[0.3, 0.29, 0.41]), "a defect label that wins needs no threshold");
    }

    #[test]
    fn of_independent_classes_the_winner_must_be_there() {
        let output = output(Kind::Sigmoid, &["dent", "scratch"]);
        let judge = |thresholds: &[(&str, f32)], probabilities: &[f32]| {
            judged(&output, defaults(&["dent"], thresholds), probabilities).defect
        };
        assert!(!judge(&[], &[0.49, 0.1]));
        assert!(judge(&[], &[0.5, 0.1]));
        assert!(!judge(&[("dent", 0.8)], &[0.7, 0.1]));
        assert!(judge(&[("dent", 0.2)], &[0.2, 0.9]));
    }

    #[test]
    fn the_configuration_goes_before_the_model_and_an_empty_list_counts() {
        let output = output(Kind::Probabilities, &["ok", "dent"]);
        let defaults = defaults(&["dent"], &[]);
        let verdict =
            |overrides| Verdict::new(output.clone(), defaults.clone(), overrides).unwrap();
        let scores = Scores(vec![0.25, 0.75]);
        let own = Prediction::new(&scores, &verdict(VerdictOverrides::default()));
        assert!((own.defect, own.uncertain) == (true, false));
        let overrides =
            VerdictOverrides { defect_labels: Some(&[]), uncertain_between: Some((0.7, 0.8)) };
        let asked = Prediction::new(&scores, &verdict(overrides));
        assert!((asked.defect, asked.uncertain) == (false, true));
    }

    #[test]
    fn the_most_probable_come_first_however_many_there_are() {
        let labels: Vec<String> = (0..1000).map(|class| class.to_string()).collect();
        let labels: Vec<&str> = labels.iter().map(String::as_str).collect();
        let output = output(Kind::Sigmoid, &labels);
        let scores: Vec<f32> = (0..1000).map(|class| (class * 7 % 100) as f32 / 100.0).collect();
        let prediction = judged(&output, VerdictDefaults::default(), &scores);
        let mut expected: Vec<usize> = (0..1000).collect();
        expected.sort_by(|a, b| scores[*b].total_cmp(&scores[*a]));
        assert_eq!(prediction.top(5), expected[..5]);
        assert_eq!(prediction.top(2000), expected);
        assert_eq!(prediction.top(1), [prediction.class]);
    }
}
