//! The golden check: logits that a file states for a certain picture, against those of this engine.

use crate::error::ModelError;
use crate::scores::Scores;
use picket_picture::{Picture, Spec};

/// Largest accepted difference between a golden logit in a file and ours. Runtimes round requantised
/// values differently by one step; a damaged file or a wrong kernel is off by whole units.
pub const TOLERANCE: f32 = 0.25;

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

/// Compares logits with those that are expected.
///
/// # Errors
/// `Unfit` when their counts differ, `Golden` with the first class that is further off than
/// `tolerance`.
pub fn check(
    digest: &str,
    found: &Scores,
    expected: &[f32],
    tolerance: f32,
) -> Result<(), ModelError> {
    if found.0.len() != expected.len() {
        let (stated, needed) = (expected.len(), found.0.len());
        let detail = format!("it states {stated} golden logits, exactly {needed} are needed");
        return Err(ModelError::Unfit { digest: digest.to_string(), detail });
    }
    for (class, (&found, &expected)) in found.0.iter().zip(expected).enumerate() {
        if (found - expected).abs() > tolerance {
            return Err(ModelError::Golden { digest: digest.to_string(), class, found, expected });
        }
    }
    Ok(())
}
