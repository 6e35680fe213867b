//! The decoded picture. It knows nothing of how it was encoded.

use crate::error::DecodeError;
use crate::limits::IMAGE_BYTES;

/// A picture of 32×32 pixels, RGB8, row-major HWC: byte `(y * 32 + x) * 3 + channel`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture(pub(super) Box<[u8; IMAGE_BYTES]>);

impl Picture {
    /// Takes 3072 bytes, 32×32 RGB8 in row-major HWC order, as they are.
    ///
    /// # Errors
    /// [`DecodeError::Empty`] and [`DecodeError::Rgb8Length`].
    pub fn from_rgb8(bytes: &[u8]) -> Result<Picture, DecodeError> {
        if bytes.is_empty() {
            return Err(DecodeError::Empty);
        }
        match <[u8; IMAGE_BYTES]>::try_from(bytes) {
            Ok(pixels) => Ok(Picture(Box::new(pixels))),
            Err(_) => Err(DecodeError::Rgb8Length { found: bytes.len() }),
        }
    }

    /// Returns the 3072 bytes, row-major HWC, each in 0..=255.
    pub fn pixels(&self) -> &[u8; IMAGE_BYTES] {
        &self.0
    }
}
