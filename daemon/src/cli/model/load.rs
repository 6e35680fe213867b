//! The model that a command looks into.

use crate::cli::error::CliError;
use crate::cli::global::{Global, load};
use crate::config::{ModelSettings, Settings};
use crate::models;
use picket_classifier::{Engine, Model};

/// # Errors
/// A configuration that is refused, or a model that can't serve.
pub fn load_model(
    settings: ModelSettings,
    engine: Engine,
    global: &Global,
) -> Result<Model, CliError> {
    let config = load(Settings { model: settings, ..Settings::default() }, global)?;
    Ok(models::load_model(&config.model.source(), engine)?)
}
