//! Samples in a decoder's colour type to a picture, a row at a time.

use image::ColorType;

use crate::limits::CHANNELS;
use crate::picture::Picture;
use crate::resize::Average;

/// What transparency is blended over, per channel in 0..=255: the training set's mean pixel
/// (model card, mean 121).
pub const BACKGROUND: u64 = 121;

/// Averages the samples of `width` × `height` pixels. Returns none for a colour type that no PNG or JPEG
/// has.
pub fn average(samples: &[u8], color: ColorType, (width, height): (u32, u32)) -> Option<Picture> {
    let to_rgb8: fn(&[u8], &mut [u8]) = match color {
        ColorType::Rgb8 => |from, to| to.copy_from_slice(from),
        ColorType::L8 => |from, to| to.fill(from[0]),
        ColorType::La8 => |from, to| to.fill(blend::<255>(from[0], from[1])),
        ColorType::Rgba8 => |from, to| {
            for (to, &value) in to.iter_mut().zip(&from[..CHANNELS]) {
                *to = blend::<255>(value, from[3]);
            }
        },
        ColorType::L16 => |from, to| to.fill(blend::<65_535>(sample16(from, 0), u16::MAX)),
        ColorType::La16 => {
            |from, to| to.fill(blend::<65_535>(sample16(from, 0), sample16(from, 1)))
        }
        ColorType::Rgb16 => |from, to| {
            for (channel, to) in to.iter_mut().enumerate() {
                *to = blend::<65_535>(sample16(from, channel), u16::MAX);
            }
        },
        ColorType::Rgba16 => |from, to| {
            for (channel, to) in to.iter_mut().enumerate() {
                *to = blend::<65_535>(sample16(from, channel), sample16(from, 3));
            }
        },
        _ => return None,
    };
    let mut average = Average::new(width, height);
    let pixel_bytes = usize::from(color.bytes_per_pixel());
    let mut row = vec![0; width as usize * CHANNELS];
    for from in samples.chunks_exact(width as usize * pixel_bytes) {
        if color == ColorType::Rgb8 {
            average.push_row(from);
            continue;
        }
        for (from, to) in from.chunks_exact(pixel_bytes).zip(row.chunks_exact_mut(CHANNELS)) {
            to_rgb8(from, to);
        }
        average.push_row(&row);
    }
    Some(average.finish())
}

/// Returns the sample of a channel of one pixel of 16-bit samples, in the machine's byte order.
fn sample16(pixel: &[u8], channel: usize) -> u16 {
    u16::from_ne_bytes([pixel[channel * 2], pixel[channel * 2 + 1]])
}

/// Blends a sample of 0..=MAX over the background by its alpha of 0..=MAX, rounded to 0..=255.
pub fn blend<const MAX: u64>(value: impl Into<u64>, alpha: impl Into<u64>) -> u8 {
    let alpha = alpha.into();
    let sum = value.into() * alpha * 255 + BACKGROUND * MAX * (MAX - alpha);
    ((sum + MAX * MAX / 2) / (MAX * MAX)) as u8
}
