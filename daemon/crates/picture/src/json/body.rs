//! The JSON body: the numbers of a picture of the model's size (CHW, flat or nested) to a picture (HWC).
//!
//! The daemon's hot path. The numbers go straight from the parser into one byte each; nothing else that a
//! client sends is kept. It must not guess: numbers that can only be meant in another range are refused
//! with the range to state.

use serde::de::Deserializer;

use super::draft::Draft;
use super::plain;
use super::visitors::BodyVisitor;
use crate::error::DecodeError;
use crate::media::BYTE_ORDER_MARK;
use crate::picture::Picture;
use crate::range::JsonRange;
use crate::spec::Spec;

/// Decodes `{"data":[numbers],"range"?:"0..255"|"0..1"}`; other keys are ignored.
///
/// `data` is flat or nested as `[C][H][W]` or `[1][C][H][W]`. A value is scaled to 0..=255 and rounded half
/// to even. The body's range beats `json_range`.
pub fn decode(body: &[u8], spec: &Spec, json_range: JsonRange) -> Result<Picture, DecodeError> {
    let json = body.strip_prefix(BYTE_ORDER_MARK).unwrap_or(body);
    if let Some(picture) = plain::decode(json, spec, json_range) {
        return Ok(picture);
    }
    let text = std::str::from_utf8(json).map_err(|error| DecodeError::NotUtf8 {
        offset: body.len() - json.len() + error.valid_up_to(),
    })?;
    parse(text, spec, json_range)
}

/// Returns what decoding holds beside the picture, in bytes at most: numbers that are read twice where
/// their range comes behind them, and what the parser keeps of a text with escapes and of brackets in
/// brackets, which may grow to twice its length.
pub fn held_bytes(body: &[u8], spec: &Spec) -> u64 {
    let kept = if body.contains(&b'\\') { body.len() } else { openings(body) };
    2 * spec.values() as u64 + 2 * kept as u64
}

/// Counts opening brackets of both kinds, which differ in one bit. A part of 255 bytes is counted in a byte, of which
/// many fit into a register: 3,072 numbers take 0.5 µs, counted in words 6 µs.
fn openings(body: &[u8]) -> usize {
    let count = |part: &[u8]| part.iter().map(|byte| u8::from(byte | 0x20 == b'{')).sum::<u8>();
    body.chunks(usize::from(u8::MAX)).map(|part| usize::from(count(part))).sum()
}

/// Decodes any body, and words what is wrong with it.
pub fn parse(text: &str, spec: &Spec, json_range: JsonRange) -> Result<Picture, DecodeError> {
    let draft = read(text, spec, json_range)?;
    match draft.range {
        // The numbers may have come before their range.
        Some(stated) if stated != json_range => read(text, spec, stated)?.finish(spec),
        _ => draft.finish(spec),
    }
}

/// Reads a whole body, whose numbers are taken to be in `range`.
fn read(text: &str, spec: &Spec, range: JsonRange) -> Result<Draft, DecodeError> {
    let mut draft = Draft::new(spec, range);
    let mut json = serde_json::Deserializer::from_str(text);
    match json.deserialize_any(BodyVisitor(&mut draft)).and_then(|()| json.end()) {
        Ok(()) => Ok(draft),
        Err(error) => Err(draft.explain(text, &error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn brackets_of_both_kinds_are_counted_however_many_there_are() {
        for (text, count) in [("", 0), ("[{", 2), ("]};{", 1), (r#"{"data":[[1],[2]]}"#, 4)] {
            assert_eq!(openings(text.as_bytes()), count, "{text}");
        }
        for count in [254, 255, 256, 511, 70_000] {
            assert_eq!(openings("[".repeat(count).as_bytes()), count);
        }
    }
}
