//! Samples in a decoder's colour type to a picture, a row at a time.

use image::ColorType;

use crate::picture::Picture;
use crate::resize::Canvas;
use crate::rows::{Header, Pixel};
use crate::spec::Spec;

/// What transparency is blended over, per channel in 0..=255: the training set's mean pixel
/// (model card, mean 121).
pub const BACKGROUND: u64 = 121;

/// The channels of a colour pixel.
const CHANNELS: usize = 3;

/// Paints the samples of a decoded picture. Returns none for a colour type that no PNG or JPEG has.
pub fn paint(samples: &[u8], color: ColorType, header: Header, spec: &Spec) -> Option<Picture> {
    let to_bytes: fn(&[u8], &mut [u8]) = match color {
        ColorType::Rgb8 | ColorType::L8 => |from, to| to.copy_from_slice(from),
        ColorType::La8 => |from, to| to[0] = blend::<255>(from[0], from[1]),
        ColorType::Rgba8 => |from, to| {
            for (to, &value) in to.iter_mut().zip(&from[..CHANNELS]) {
                *to = blend::<255>(value, from[3]);
            }
        },
        ColorType::L16 => |from, to| to[0] = blend::<65_535>(sample16(from, 0), u16::MAX),
        ColorType::La16 => |from, to| to[0] = blend::<65_535>(sample16(from, 0), sample16(from, 1)),
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
    let pixel = if color.has_color() { Pixel::Rgb } else { Pixel::Grey };
    let header = Header { pixel, ..header };
    let mut canvas = Canvas::new(spec, &header);
    let width = header.size.0 as usize;
    let pixel_bytes = usize::from(color.bytes_per_pixel());
    let mut row = vec![0; width * pixel.bytes()];
    for from in samples.chunks_exact(width * pixel_bytes) {
        if pixel_bytes == pixel.bytes() {
            canvas.push(from);
            continue;
        }
        for (from, to) in from.chunks_exact(pixel_bytes).zip(row.chunks_exact_mut(pixel.bytes())) {
            to_bytes(from, to);
        }
        canvas.push(&row);
    }
    Some(canvas.finish())
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
