//! The model and the rules that the configuration asks for.

use std::sync::Arc;

use super::error::RunError;
use crate::config::{Band, Config};
use crate::inference::{Pipeline, Rules, UnknownLabel, Verdict, VerdictOverrides};
use crate::models::load_model;
use picket_base::Live;
use picket_classifier::{Engine, Output, VerdictDefaults};

/// Model and verdict as the configuration asks for them; `picket predict` uses the same.
///
/// # Errors
/// An unusable model, or a defect label that it does not know.
pub fn load_pipeline(config: &Config) -> Result<Pipeline, RunError> {
    let model = load_model(&config.model.source(), Engine::best())?;
    let info = model.info();
    let rules = rules(config, info.output.clone(), info.verdict.clone())?;
    Ok(Pipeline { model: Arc::new(model), rules: Live::new(rules) })
}

/// # Errors
/// A defect label that the model does not know.
pub(super) fn rules(
    config: &Config,
    output: Output,
    defaults: VerdictDefaults,
) -> Result<Rules, UnknownLabel> {
    let overrides = VerdictOverrides {
        defect_labels: config.verdict.defect_labels.as_deref(),
        uncertain_between: config.verdict.uncertain_between.map(|Band(low, high)| (low, high)),
    };
    let verdict = Verdict::new(output, defaults, overrides)?;
    Ok(Rules { verdict, json_range: config.api.json_range })
}
