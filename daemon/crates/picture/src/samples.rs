//! Decoded samples to 8-bit pixels: transparency, and 16-bit samples of which fewer bits are in use.
//!
//! It must not know which format the samples come from.

use crate::error::DecodeError;
use crate::rows::Pixel;

/// What transparency is blended over, per channel in 0..=255: the training set's mean pixel
/// (model card, mean 121).
pub const BACKGROUND: u64 = 121;

/// The largest sample of 12 bits, which industrial cameras put into 16.
const TWELVE_BITS_MAX: u16 = 4_095;
/// The smallest sample that needs all of 12 bits.
const TWELVE_BITS_MIN: u16 = 2_048;

/// How a pixel's alpha channel, its last, is to be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alpha {
    None,
    /// The colours are stored as they are.
    Straight,
    /// The colours are stored multiplied by alpha.
    Premultiplied,
}

/// The channels of a decoder's samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Samples {
    pub pixel: Pixel,
    pub alpha: Alpha,
}

impl Samples {
    /// Returns the samples of one pixel.
    pub fn channels(self) -> usize {
        self.pixel.bytes() + usize::from(self.alpha != Alpha::None)
    }

    /// Writes a row of 8-bit samples as pixels.
    pub fn narrow_row(self, from: &[u8], to: &mut [u8]) {
        let colours = self.pixel.bytes();
        if self.alpha == Alpha::None {
            to.copy_from_slice(from);
            return;
        }
        let pixels = from.chunks_exact(colours + 1).zip(to.chunks_exact_mut(colours));
        for (from, to) in pixels {
            let alpha = from[colours];
            for (to, &value) in to.iter_mut().zip(from) {
                *to = match self.alpha {
                    Alpha::Premultiplied => add(value.into(), alpha.into(), 255),
                    _ => blend::<255>(value, alpha),
                };
            }
        }
    }

    /// Writes a row of wide samples as pixels; `white` is the largest value that a sample can have.
    fn narrow_wide_row(self, from: &[u16], to: &mut [u8], white: u16) {
        let colours = self.pixel.bytes();
        let max = u64::from(white);
        let pixels = from.chunks_exact(self.channels()).zip(to.chunks_exact_mut(colours));
        for (from, to) in pixels {
            let alpha = from.get(colours).copied().map_or(max, u64::from);
            for (to, &value) in to.iter_mut().zip(from) {
                *to = match self.alpha {
                    Alpha::None => scale(value, white),
                    Alpha::Straight => mix(u64::from(value) * alpha, alpha, max),
                    Alpha::Premultiplied => add(value.into(), alpha, max),
                };
            }
        }
    }
}

/// Scales a sample of 0..=`white` to 0..=255, rounded half up.
pub fn scale(value: u16, white: u16) -> u8 {
    let white = u32::from(white);
    ((u32::from(value) * 255 + white / 2) / white) as u8
}

/// Blends a sample of 0..=MAX over the background by its alpha of 0..=MAX, rounded to 0..=255.
pub fn blend<const MAX: u64>(value: impl Into<u64>, alpha: impl Into<u64>) -> u8 {
    let alpha = alpha.into();
    mix(value.into() * alpha, alpha, MAX)
}

/// Adds the background's share to a sample that was multiplied by its alpha before.
fn add(value: u64, alpha: u64, max: u64) -> u8 {
    mix(value.min(alpha) * max, alpha, max)
}

/// Returns `product`, a value times its alpha, with the background's share, rounded to 0..=255.
fn mix(product: u64, alpha: u64, max: u64) -> u8 {
    let sum = product * 255 + BACKGROUND * max * (max - alpha);
    ((sum + max * max / 2) / (max * max)) as u8
}

/// What a file of 16-bit samples says of the bits that are in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Depth {
    Unstated,
    /// The samples reach from 0 to this.
    White(u16),
    /// So many bits, 1 to 16, were significant before somebody scaled the samples up to 16, or did not.
    Significant(u8),
}

/// What is known of the samples of a whole picture.
struct Survey {
    depth: Depth,
    peak: u16,
    /// Whether some sample isn't one that scaling up would have made.
    unscaled: bool,
}

impl Survey {
    /// Takes the next row. Returns whether more of them could still change the answer.
    fn take(&mut self, row: &[u16]) -> bool {
        self.peak = row.iter().copied().fold(self.peak, u16::max);
        match self.depth {
            Depth::White(_) => false,
            Depth::Unstated => self.peak <= TWELVE_BITS_MAX,
            Depth::Significant(bits) => {
                self.unscaled |= row.iter().any(|&value| !is_scaled_up(value, bits));
                self.peak <= max_of(bits)
            }
        }
    }

    /// Returns the value of white.
    fn white(&self, format: &'static str) -> Result<u16, DecodeError> {
        match self.depth {
            Depth::White(white) => Ok(white),
            Depth::Significant(bits) if self.unscaled && self.peak <= max_of(bits) => {
                Ok(max_of(bits))
            }
            Depth::Significant(_) => Ok(u16::MAX),
            // Black is black at any depth.
            Depth::Unstated if self.peak == 0 || self.peak > TWELVE_BITS_MAX => Ok(u16::MAX),
            Depth::Unstated if self.peak >= TWELVE_BITS_MIN => Ok(TWELVE_BITS_MAX),
            Depth::Unstated => Err(DecodeError::Depth { format, peak: self.peak }),
        }
    }
}

/// Returns the largest value of so many bits, at most 16.
pub fn max_of(bits: u8) -> u16 {
    u16::MAX >> (16 - bits.clamp(1, 16))
}

/// Whether a sample of 16 bits can be one of `bits`, moved to the top, with zeros or its own top bits below.
fn is_scaled_up(value: u16, bits: u8) -> bool {
    let low = u16::MAX.checked_shr(bits.into()).unwrap_or(0);
    value & low == 0 || value & low == (value >> bits.min(15)) & low
}

/// Reads the wide samples of a picture and gives their pixels to `push`, row by row.
///
/// `read` gives every row to a function, until that returns false. It is called once where the depth is
/// stated, twice where the samples themselves must say it.
///
/// # Errors
/// Those of `read`, and [`DecodeError::Depth`].
pub fn narrow(
    format: &'static str,
    samples: Samples,
    depth: Depth,
    mut read: impl FnMut(&mut dyn FnMut(&[u16]) -> bool) -> Result<(), DecodeError>,
    push: &mut dyn FnMut(&[u8]),
) -> Result<(), DecodeError> {
    let mut survey = Survey { depth, peak: 0, unscaled: false };
    if !matches!(depth, Depth::White(_)) {
        read(&mut |row| survey.take(row))?;
    }
    let white = survey.white(format)?;
    let mut pixels = Vec::new();
    read(&mut |row| {
        pixels.resize(row.len() / samples.channels() * samples.pixel.bytes(), 0);
        samples.narrow_wide_row(row, &mut pixels, white);
        push(&pixels);
        true
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const GREY: Samples = Samples { pixel: Pixel::Grey, alpha: Alpha::None };

    fn narrowed(depth: Depth, row: &[u16]) -> Result<Vec<u8>, DecodeError> {
        let mut pixels = Vec::new();
        let read = |take: &mut dyn FnMut(&[u16]) -> bool| {
            take(row);
            Ok(())
        };
        narrow("png", GREY, depth, read, &mut |row| pixels.extend_from_slice(row))?;
        Ok(pixels)
    }

    #[test]
    fn mean_pixel_shows_through_in_proportion() {
        assert_eq!(BACKGROUND, 121);
        assert_eq!(blend::<255>(200_u8, 255_u8), 200);
        assert_eq!(blend::<255>(200_u8, 0_u8), 121);
        // 255 × 128/255 + 121 × 127/255 = 188.26; 0 × 128/255 + 121 × 127/255 = 60.26.
        assert_eq!(blend::<255>(255_u8, 128_u8), 188);
        assert_eq!(blend::<255>(0_u8, 128_u8), 60);
        // 128.498 and 128.502 of 255: rounded half up, not cut.
        assert_eq!(blend::<65_535>(33_024_u16, u16::MAX), 128);
        assert_eq!(blend::<65_535>(33_025_u16, u16::MAX), 129);
        assert_eq!(scale(33_024, u16::MAX), 128);
        assert_eq!(scale(33_025, u16::MAX), 129);
        assert_eq!(blend::<65_535>(u16::MAX, 32_896_u16), 188);
        // What was multiplied by alpha before is not multiplied again, and never exceeds it.
        assert_eq!(add(128, 128, 255), 188);
        assert_eq!(add(0, 128, 255), 60);
        assert_eq!(add(255, 0, 255), 121);
    }

    #[test]
    fn samples_that_need_twelve_bits_are_twelve_bits() {
        assert_eq!(narrowed(Depth::Unstated, &[0, 2_048, 4_095]).unwrap(), [0, 128, 255]);
        assert_eq!(narrowed(Depth::Unstated, &[0, 2_048, 4_096]).unwrap(), [0, 8, 16]);
        assert_eq!(narrowed(Depth::Unstated, &[0, 0, 0]).unwrap(), [0, 0, 0]);
    }

    #[test]
    fn dark_samples_of_unknown_depth_are_refused() {
        for peak in [1, 255, 2_047] {
            let text = narrowed(Depth::Unstated, &[0, peak]).unwrap_err().to_string();
            assert!(text.contains(&format!("16-bit samples of at most {peak}")), "{text}");
        }
    }

    #[test]
    fn stated_depth_is_believed_however_dark_the_picture_is() {
        assert_eq!(narrowed(Depth::White(4_095), &[0, 17]).unwrap(), [0, 1]);
        assert_eq!(narrowed(Depth::Significant(12), &[0, 17]).unwrap(), [0, 1]);
        assert_eq!(narrowed(Depth::Significant(16), &[0, 1_000]).unwrap(), [0, 4]);
    }

    #[test]
    fn significant_bits_that_were_scaled_up_stay_so() {
        // 12 bits moved up by 4: white is 65,535 although all of them are below 4,096.
        assert_eq!(narrowed(Depth::Significant(12), &[0, 0x0ab0, 0x0230]).unwrap(), [0, 11, 2]);
        // The same with their top bits repeated below.
        assert_eq!(narrowed(Depth::Significant(12), &[0x0ab0, 0x0ff0]).unwrap(), [11, 16]);
        assert_eq!(narrowed(Depth::Significant(12), &[0x0ab1, 0xffff]).unwrap(), [11, 255]);
        assert_eq!(narrowed(Depth::Significant(8), &[0x3434, 0x1212]).unwrap(), [52, 18]);
    }
}
