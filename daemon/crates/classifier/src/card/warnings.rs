//! What the owner of a model should know of its card: what it does not say, and what may be meant
//! otherwise.

use std::collections::HashSet;

use super::bundle::Bundle;
use super::draft::{DEFAULT, Draft, quoted};

/// Returns the warnings about a settled card. `has_golden` is whether the ONNX file states golden
/// logits.
pub fn warnings(draft: &Draft, bundle: &Bundle, has_golden: bool) -> Vec<String> {
    let mut warnings = Vec::new();
    if let Some(labels) = &draft.labels {
        if labels.source == DEFAULT {
            let last = labels.value.len() - 1;
            warnings.push(format!(
                "no labels: its classes are called \"class 0\" to \"class {last}\" (model.toml: \
                 [output] labels)"
            ));
        }
        let mut seen = HashSet::new();
        if let Some(twice) = labels.value.iter().find(|label| !seen.insert(label.as_str())) {
            warnings.push(format!("two classes are called {} ({})", quoted(twice), labels.source));
        }
    }
    if bundle.goldens.is_empty() && !has_golden {
        warnings.push(
            "no golden pictures: nothing shows that its answers are the trainer's, and the first \
             run's scores stand in for them (model.toml: [[golden]])"
                .to_string(),
        );
    }
    if bundle.shares_model_toml {
        warnings.push(
            "several ONNX files are beside model.toml, and it holds for each of them".to_string(),
        );
    }
    warnings
}
