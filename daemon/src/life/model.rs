//! What serves, as the configuration asks for it: the base model, the rules by which its scores are judged,
//! and what others become when they take over.

use std::sync::Arc;

use super::error::RunError;
use crate::config::{Band, Config};
use crate::inference::{Pipeline, Rules, Serving, UnknownLabel, Verdict, VerdictOverrides};
use crate::models::load_model;
use picket_base::Live;
use picket_classifier::{Engine, Model, Output, VerdictDefaults};
use picket_records::{Labels, Origin};

/// Model and verdict as the configuration asks for them; `picket predict` uses the same.
///
/// # Errors
/// An unusable model, or a defect label that it does not know.
pub fn load_pipeline(config: &Config) -> Result<Pipeline, RunError> {
    let model = load_model(&config.model.source(), Engine::best())?;
    Ok(pipeline(config, model)?)
}

/// # Errors
/// A defect label that the model does not know.
fn pipeline(config: &Config, model: Model) -> Result<Pipeline, UnknownLabel> {
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

/// What a model needs beside itself to serve: the configuration as it is at the moment, and this boot.
#[derive(Clone)]
pub struct Makings {
    pub config: Arc<Live<Config>>,
    pub boot_id: String,
}

impl Makings {
    /// Makes of a model, called `name`, what serves.
    ///
    /// # Errors
    /// A defect label that it does not know.
    pub fn make(&self, model: Model, name: &str) -> Result<Serving, UnknownLabel> {
        let config = self.config.get();
        let pipeline = pipeline(&config, model)?;
        let info = pipeline.model.info();
        let origin = Origin {
            boot_id: self.boot_id.clone(),
            model_name: name.to_string(),
            model_version: info.version.clone(),
            device_id: Some(config.device_id.clone()),
            labels: Labels::new(&info.output.labels),
        };
        Ok(Serving { pipeline, name: name.to_string(), origin: Arc::new(origin) })
    }
}
