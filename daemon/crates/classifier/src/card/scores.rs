//! From what the sources say and what the graph gives to what the scores mean. Whatever nobody states
//! gets its default here, or is asked for.

use std::sync::Arc;

use super::draft::{DEFAULT, Draft, GRAPH, add, or, quoted};
use super::words::{StatedKind, Word};
use crate::output::{Kind, Output};

/// Says what the scores mean, and fills the draft likewise. `tail` is what the graph's last nodes make of
/// them, as far as they tell.
///
/// # Errors
/// As `settle_input`; labels that are too many or too few, and verdicts about others.
pub fn settle_output(
    draft: &mut Draft,
    scores: usize,
    tail: Option<Kind>,
) -> Result<Output, String> {
    let kind = kind(draft, scores, tail)?;
    let temperature = match &draft.temperature {
        None => 1.0,
        Some(stated) if matches!(kind, Kind::Logits | Kind::SigmoidLogits) => stated.value,
        Some(stated) => {
            return Err(format!(
                "{} is {}, but the model gives probabilities, which have none",
                stated.source, stated.value
            ));
        }
    };
    // One score tells two classes apart: those without it and those with it.
    let classes = scores.max(2);
    let unnamed = || (0..classes).map(|class| format!("class {class}")).collect();
    let labels = match &draft.labels {
        None => or(&mut draft.labels, unnamed(), DEFAULT),
        Some(stated) => {
            let count = stated.value.len();
            if count != scores && (scores, count) != (1, 2) {
                let source = &stated.source;
                return Err(format!("{source} has {count} labels, exactly {scores} are needed"));
            }
            stated.value.clone()
        }
    };
    let known = |label: &str, source: &str| {
        if labels.iter().any(|known| known == label) {
            return Ok(());
        }
        Err(format!("{source} names {}, which is none of the model's labels", quoted(label)))
    };
    if let Some(stated) = &draft.defect_labels {
        stated.value.iter().try_for_each(|label| known(label, &stated.source))?;
    }
    if let Some(stated) = &draft.thresholds {
        stated.value.keys().try_for_each(|label| known(label, &stated.source))?;
    }
    Ok(Output { kind, temperature, labels: Arc::from(labels) })
}

fn kind(draft: &mut Draft, scores: usize, tail: Option<Kind>) -> Result<Kind, String> {
    let kind = match (&draft.kind, tail) {
        (None, Some(tail)) => tail,
        (None, None) if scores == 1 => {
            let line = add("[output] kind = \"sigmoid\"");
            return Err(format!("it gives one score and nobody states what it is; {line}"));
        }
        (None, None) => Kind::Logits,
        (Some(stated), tail) => match (stated.value, tail) {
            (StatedKind::Logits, None | Some(Kind::Logits)) => Kind::Logits,
            // The softmax was taken off its end.
            (StatedKind::Probabilities, Some(Kind::Logits)) => Kind::Logits,
            (StatedKind::Probabilities, None | Some(Kind::Sigmoid)) if scores == 1 => Kind::Sigmoid,
            (StatedKind::Probabilities, None | Some(Kind::Probabilities)) => Kind::Probabilities,
            (StatedKind::Sigmoid, None) => Kind::SigmoidLogits,
            (StatedKind::Sigmoid, Some(kind @ (Kind::Sigmoid | Kind::SigmoidLogits))) => kind,
            (word, Some(tail)) => {
                let (source, word) = (&stated.source, quoted(word.word()));
                let tail = match tail {
                    Kind::Logits => "a LogSoftmax",
                    Kind::Probabilities => "a Softmax",
                    Kind::SigmoidLogits | Kind::Sigmoid => "a Sigmoid",
                };
                return Err(format!(
                    "{source} is {word}, but the graph ends in {tail}: they must agree"
                ));
            }
        },
    };
    if scores == 1 && !kind.is_independent() {
        return Err("it gives one score, and the softmax of one is always 1".to_string());
    }
    let word = match kind {
        Kind::Logits => StatedKind::Logits,
        Kind::Probabilities => StatedKind::Probabilities,
        Kind::SigmoidLogits | Kind::Sigmoid => StatedKind::Sigmoid,
    };
    or(&mut draft.kind, word, if tail.is_some() { GRAPH } else { DEFAULT });
    Ok(kind)
}

#[cfg(test)]
mod tests {
    use super::super::model_toml::parse;
    use super::*;

    fn settle(toml: &str, scores: usize, tail: Option<Kind>) -> Result<Output, String> {
        settle_output(&mut parse(toml, "model.toml").unwrap().draft, scores, tail)
    }

    #[test]
    fn the_kind_is_the_graph_s_or_as_stated() {
        let stated = |word: &str| format!("[output]\nkind = '{word}'");
        for (toml, scores, tail, expected) in [
            (String::new(), 3, None, Kind::Logits),
            (String::new(), 3, Some(Kind::Probabilities), Kind::Probabilities),
            (String::new(), 1, Some(Kind::Sigmoid), Kind::Sigmoid),
            (stated("logits"), 3, Some(Kind::Logits), Kind::Logits),
            (stated("probabilities"), 3, None, Kind::Probabilities),
            (stated("probabilities"), 3, Some(Kind::Logits), Kind::Logits),
            (stated("probabilities"), 1, None, Kind::Sigmoid),
            (stated("sigmoid"), 3, None, Kind::SigmoidLogits),
            (stated("sigmoid"), 1, Some(Kind::Sigmoid), Kind::Sigmoid),
        ] {
            assert_eq!(settle(&toml, scores, tail).unwrap().kind, expected, "{toml} {tail:?}");
        }
    }

    #[test]
    fn a_model_without_labels_numbers_its_classes_and_one_score_has_two() {
        let output = settle("", 3, None).unwrap();
        assert_eq!(*output.labels, ["class 0", "class 1", "class 2"]);
        let output = settle("", 1, Some(Kind::Sigmoid)).unwrap();
        assert_eq!(*output.labels, ["class 0", "class 1"]);
        let output = settle("[output]\nlabels = ['defect']", 1, Some(Kind::Sigmoid)).unwrap();
        assert_eq!(*output.labels, ["defect"]);
    }

    #[test]
    fn what_does_not_go_together_is_refused() {
        let (softmax, sigmoid) = (Some(Kind::Probabilities), Some(Kind::Sigmoid));
        for (toml, scores, tail, expected) in [
            (
                "",
                1,
                None,
                "it gives one score and nobody states what it is; add to model.toml: [output] kind",
            ),
            ("", 1, softmax, "it gives one score, and the softmax of one is always 1"),
            ("[output]\nkind = 'logits'", 1, None, "the softmax of one is always 1"),
            (
                "[output]\nkind = 'logits'",
                3,
                softmax,
                "kind is \"logits\", but the graph ends in a Softmax: they must agree",
            ),
            ("[output]\nkind = 'logits'", 3, sigmoid, "but the graph ends in a Sigmoid"),
            ("[output]\nkind = 'sigmoid'", 3, softmax, "but the graph ends in a Softmax"),
            ("[output]\nkind = 'probabilities'", 3, sigmoid, "but the graph ends in a Sigmoid"),
            ("[output]\ntemperature = 2", 3, softmax, "temperature is 2, but the model gives prob"),
            ("[output]\nlabels = ['a']", 2, None, "labels has 1 labels, exactly 2 are needed"),
            ("[output]\nlabels = ['a', 'b']", 3, None, "labels has 2 labels, exactly 3 are needed"),
            (
                "[output]\nlabels = ['a', 'b']\n[verdict]\ndefect_labels = ['c']",
                2,
                None,
                "defect_labels names \"c\", which is none of the model's labels",
            ),
            (
                "[verdict]\nthresholds = { rust = 0.5 }",
                2,
                None,
                "thresholds names \"rust\", which is none of the model's labels",
            ),
        ] {
            let found = settle(toml, scores, tail).unwrap_err();
            assert!(found.contains(expected), "{toml:?}: {found:?} lacks {expected:?}");
        }
    }
}
