//! The golden check: logits that a file states for a certain picture, against those of this engine.

use crate::error::ModelError;
use crate::logits::{CLASSES, Logits};
use picket_picture::{IMAGE_BYTES, Picture};

/// Largest accepted difference between a golden logit in a file and ours. Runtimes round requantised
/// values differently by one step; a damaged file or a wrong kernel is off by whole units.
pub const TOLERANCE: f32 = 0.25;

/// Reads golden logits, separated by commas.
///
/// # Errors
/// What is wrong with them, as a sentence without its subject's name.
pub fn parse(stated: &str) -> Result<[f32; CLASSES], String> {
    let logits: Result<Vec<f32>, _> = stated.split(',').map(|text| text.trim().parse()).collect();
    let logits = logits.map_err(|error| format!("its golden_logits are not numbers: {error}"))?;
    let count = logits.len();
    logits
        .try_into()
        .map_err(|_| format!("it states {count} golden logits, exactly {CLASSES} are needed"))
}

/// Returns the picture that daemon/training/stamp.py runs to state a model's golden logits.
pub fn picture() -> Picture {
    let bytes: Vec<u8> = (0..IMAGE_BYTES).map(|i| (31 * i * i + 7 * i) as u8).collect();
    Picture::from_rgb8(&bytes).expect("it holds exactly IMAGE_BYTES bytes")
}

/// Compares logits with those that are expected.
///
/// # Errors
/// `Golden` with the first class that is further off than `tolerance`.
pub fn check(
    digest: &str,
    found: &Logits,
    expected: &[f32; CLASSES],
    tolerance: f32,
) -> Result<(), ModelError> {
    for (class, (&found, &expected)) in found.0.iter().zip(expected).enumerate() {
        if (found - expected).abs() > tolerance {
            return Err(ModelError::Golden { digest: digest.to_string(), class, found, expected });
        }
    }
    Ok(())
}
