//! The JSON body: the numbers of a flattened picture of the model's size (CHW) to a picture (HWC).
//!
//! The daemon's hot path. The numbers go straight from the parser into one array of the needed length; nothing
//! else that a client sends is kept. It must not guess: numbers that can only be meant in another
//! range are refused with the range to state.

use serde::de::Deserializer;

use super::draft::Draft;
use super::visitors::BodyVisitor;
use crate::error::DecodeError;
use crate::picture::Picture;
use crate::range::JsonRange;
use crate::spec::Spec;

/// The largest magnitude that normalised data reaches; the daemon's contract. With a training
/// set's mean and deviation, 0 to 255 maps into about -2.5 to 2.5.
const NORMALISED_MAX: f64 = 3.0;

/// Decodes `{"data":[numbers],"range"?:"0..255"|"0..1"}`; other keys are ignored.
///
/// A value is scaled to 0..=255 and rounded half to even. The body's range beats `json_range`.
pub fn decode(body: &[u8], spec: &Spec, json_range: JsonRange) -> Result<Picture, DecodeError> {
    let text = std::str::from_utf8(body)
        .map_err(|error| DecodeError::NotUtf8 { offset: error.valid_up_to() })?;
    let mut draft = Draft::new(spec);
    let mut json = serde_json::Deserializer::from_str(text);
    let parsed = json.deserialize_any(BodyVisitor(&mut draft)).and_then(|()| json.end());
    if let Err(error) = parsed {
        return Err(draft.explain(text, &error));
    }
    match draft.found {
        None => Err(DecodeError::DataMissing { needed: spec.into() }),
        Some(found) if found == spec.values() => {
            quantise(&draft.values, spec, draft.range.unwrap_or(json_range))
        }
        Some(found) => Err(DecodeError::DataLength { found, needed: spec.into() }),
    }
}

/// Turns values in `range`, CHW, into pixels, HWC.
fn quantise(values: &[f64], spec: &Spec, range: JsonRange) -> Result<Picture, DecodeError> {
    if range == JsonRange::ZeroTo255 {
        check_pixel_values(values)?;
    }
    let max = range.max();
    let scale = 255.0 / max;
    let channels = spec.colour.channels();
    let plane_len = spec.size[0] * spec.size[1];
    let mut pixels = vec![0; values.len()];
    for (channel, plane) in values.chunks_exact(plane_len).enumerate() {
        for (at, &value) in plane.iter().enumerate() {
            if !(0.0..=max).contains(&value) {
                let index = channel * plane_len + at;
                let range = range.name();
                return Err(DecodeError::OutOfRange { index, value, range, max });
            }
            pixels[at * channels + channel] = (value * scale).round_ties_even() as u8;
        }
    }
    Ok(Picture { size: spec.size, channels, pixels })
}

/// Refuses fractions that are too small to be pixel values of 0 to 255; whole numbers pass.
fn check_pixel_values(values: &[f64]) -> Result<(), DecodeError> {
    // The cast truncates and saturates; it is one instruction where `fract` may be a call.
    if values.iter().all(|&value| f64::from(value as i32) == value) {
        return Ok(());
    }
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    if low < -NORMALISED_MAX || high > NORMALISED_MAX {
        return Ok(());
    }
    if low >= 0.0 && high <= JsonRange::ZeroTo1.max() {
        return Err(DecodeError::LooksScaled { low, high });
    }
    Err(DecodeError::LooksNormalised { low, high })
}
