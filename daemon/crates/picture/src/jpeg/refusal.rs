//! Short forms of what can be wrong with a JPEG file.

use crate::error::DecodeError;

pub fn cut() -> DecodeError {
    truncated("its end marker is missing")
}

pub fn truncated(missing: &'static str) -> DecodeError {
    DecodeError::Truncated { format: "jpeg", missing }
}

pub fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged { format: "jpeg", reason: reason.to_owned() }
}

pub fn unsupported(feature: &str) -> DecodeError {
    DecodeError::Unsupported { format: "jpeg", feature: feature.to_owned() }
}
