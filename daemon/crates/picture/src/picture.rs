//! A picture as a model sees it. It knows nothing of how it was encoded.

use crate::error::DecodeError;
use crate::spec::Spec;

/// A picture of a model's size and channels, 8 bits each, row-major HWC in the model's channel order:
/// byte `(y * width + x) * channels + channel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Height and width, in pixels.
    pub(crate) size: [usize; 2],
    pub(crate) channels: usize,
    pub(crate) pixels: Vec<u8>,
    pub(crate) reduced: bool,
}

impl Picture {
    /// Takes height × width × channels bytes, row-major HWC in the model's channel order, as they are.
    ///
    /// # Errors
    /// [`DecodeError::Empty`] and [`DecodeError::RawLength`].
    pub fn from_raw(bytes: &[u8], spec: &Spec) -> Result<Picture, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        if bytes.len() != spec.values() {
            return Err(DecodeError::RawLength { found: bytes.len(), needed: spec.into() });
        }
        let channels = spec.colour.channels();
        Ok(Picture { size: spec.size, channels, pixels: bytes.to_vec(), reduced: false })
    }

    /// Whether it was decoded at a part of its size, and so is a little off the exact picture.
    pub fn is_reduced(&self) -> bool {
        self.reduced
    }

    /// Returns the bytes, row-major HWC, each in 0..=255.
    pub fn pixels(&self) -> &[u8] {
        &self.pixels
    }
}
