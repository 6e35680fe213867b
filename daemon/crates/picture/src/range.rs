//! The range in which a JSON body states its values. It knows nothing of the body.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::DecodeError;

/// The range in which a JSON body states its values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum JsonRange {
    /// Pixel values from 0 to 255.
    #[default]
    #[serde(rename = "0..255")]
    ZeroTo255,
    /// Pixel values divided by 255.
    #[serde(rename = "0..1")]
    ZeroTo1,
}

impl JsonRange {
    /// The largest value of the range; the smallest is 0.
    pub(super) fn max(self) -> f64 {
        match self {
            JsonRange::ZeroTo255 => 255.0,
            JsonRange::ZeroTo1 => 1.0,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            JsonRange::ZeroTo255 => "0..255",
            JsonRange::ZeroTo1 => "0..1",
        }
    }
}

impl fmt::Display for JsonRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for JsonRange {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<JsonRange, DecodeError> {
        [JsonRange::ZeroTo255, JsonRange::ZeroTo1]
            .into_iter()
            .find(|range| range.name() == text)
            .ok_or(DecodeError::Range)
    }
}
