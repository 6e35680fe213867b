//! What a PNG or JPEG file states about itself, found by a walk over its container before anything is
//! decoded. It knows nothing of either container.

use crate::error::DecodeError;
use crate::limits::{IMAGE_SIDE_MAX, PIXELS_MAX};

/// What a PNG or JPEG file states about itself.
#[derive(Debug)]
pub struct Outline<'a> {
    pub format: &'static str,
    /// Width and height in pixels, both within the limits.
    pub size: (u32, u32),
    /// What the decoder holds beside its output, in bytes: a JPEG's coefficients between its scans,
    /// 0 where one scan holds everything.
    pub coefficient_bytes: u64,
    /// The first Exif data, from its TIFF header on.
    pub exif: Option<&'a [u8]>,
}

/// Refuses a picture whose stated size is zero or beyond the limits.
pub fn check_size(width: u32, height: u32) -> Result<(), DecodeError> {
    if width == 0 || height == 0 {
        return Err(DecodeError::ZeroSize { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > IMAGE_SIDE_MAX || pixels > PIXELS_MAX {
        return Err(DecodeError::Dimensions { width, height });
    }
    Ok(())
}
