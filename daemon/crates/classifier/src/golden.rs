//! The golden check: scores that are stated for a certain picture, against those of this engine.

use crate::error::ModelError;
use crate::output::Kind;
use crate::scores::Scores;
use picket_picture::{Picture, Spec};

/// Largest accepted difference between a golden logit in a file and ours. Runtimes round requantised
/// values differently by one step; a damaged file or a wrong kernel is off by whole units.
pub const TOLERANCE: f32 = 0.25;

/// The same for probabilities: what a step of 0.25 makes of one is at most a sixteenth.
const PROBABILITY_TOLERANCE: f32 = 0.05;

/// What is expected of a picture.
pub struct Expected<'a> {
    /// Its name, where it is a file.
    pub picture: Option<&'a str>,
    pub scores: &'a [f32],
    pub tolerance: f32,
}

/// Returns the largest accepted difference where nobody states one.
pub fn tolerance(kind: Kind) -> f32 {
    match kind {
        Kind::Logits | Kind::SigmoidLogits => TOLERANCE,
        Kind::Probabilities | Kind::Sigmoid => PROBABILITY_TOLERANCE,
    }
}

/// Reads golden logits, separated by commas.
///
/// # Errors
/// What is wrong with them, as a sentence without its subject's name.
pub fn parse(stated: &str) -> Result<Vec<f32>, String> {
    let logits: Result<Vec<f32>, _> = stated.split(',').map(|text| text.trim().parse()).collect();
    logits.map_err(|error| format!("its golden_logits are not numbers: {error}"))
}

/// Returns the picture that daemon/training/stamp.py runs to state a model's golden logits.
pub fn picture(spec: &Spec) -> Picture {
    let bytes: Vec<u8> = (0..spec.values()).map(|i| (31 * i * i + 7 * i) as u8).collect();
    Picture::from_raw(&bytes, spec).expect("it holds exactly as many bytes as the spec says")
}

/// Compares scores with those that are expected.
///
/// # Errors
/// `Unfit` when their counts differ, `Golden` with the first class that is further off than the
/// tolerance.
pub fn check(digest: &str, found: &Scores, expected: &Expected<'_>) -> Result<(), ModelError> {
    if found.0.len() != expected.scores.len() {
        let (stated, needed) = (expected.scores.len(), found.0.len());
        let of = expected.picture.map(|name| format!(" of {name:?}")).unwrap_or_default();
        let detail = format!("it states {stated} golden logits{of}, exactly {needed} are needed");
        return Err(ModelError::Unfit { digest: digest.to_string(), detail });
    }
    for (class, (&found, &stated)) in found.0.iter().zip(expected.scores).enumerate() {
        // A NaN is no number that anything is near to.
        if (found - stated).abs() <= expected.tolerance {
            continue;
        }
        let (digest, picture) = (digest.to_string(), expected.picture.map(str::to_string));
        return Err(ModelError::Golden { digest, picture, class, found, expected: stated });
    }
    Ok(())
}
