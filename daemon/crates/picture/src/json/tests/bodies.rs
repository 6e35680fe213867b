//! Bodies of 3072 numbers, and what is said of them.

use crate::error::{DecodeError, DecodeFault};
use crate::fixtures::{IMAGE_BYTES, SMALL};
use crate::json::decode;
use crate::picture::Picture;
use crate::range::JsonRange;

/// A body of 3072 numbers, all `fill`, with some replaced by index.
pub fn data(fill: &str, replaced: &[(usize, &str)]) -> String {
    let mut values = vec![fill; IMAGE_BYTES];
    for &(index, value) in replaced {
        values[index] = value;
    }
    values.join(",")
}

pub fn body(fill: &str, replaced: &[(usize, &str)]) -> String {
    format!("{{\"data\":[{}]}}", data(fill, replaced))
}

pub fn scaled(fill: &str, replaced: &[(usize, &str)]) -> String {
    format!("{{\"range\":\"0..1\",\"data\":[{}]}}", data(fill, replaced))
}

pub fn parse(body: &str) -> Result<Picture, DecodeError> {
    decode(body.as_bytes(), &SMALL, JsonRange::ZeroTo255)
}

#[track_caller]
pub fn assert_refused(body: &str, fault: DecodeFault, text: &str) {
    let error = parse(body).unwrap_err();
    assert_eq!(error.to_string(), text);
    assert_eq!(error.fault(), fault);
}

#[track_caller]
pub fn assert_malformed(body: &str) {
    let error = parse(body).unwrap_err();
    assert!(matches!(error, DecodeError::JsonSyntax { .. }), "{error}");
    assert_eq!(error.fault(), DecodeFault::Malformed);
}
