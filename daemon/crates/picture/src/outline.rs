//! How large a picture may be that a file states, before anything of it is decoded. It knows no format.

use crate::error::DecodeError;
use crate::limits::{IMAGE_SIDE_MAX, PIXELS_MAX};

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
