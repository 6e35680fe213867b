//! PNG and JPEG bodies to a 32×32 image, within fixed bounds of memory and work.
//!
//! The only file that names the `image` crate. The containers are walked first (png.rs, jpeg.rs):
//! size and completeness are known before a pixel is allocated. ICC profiles and gamma are
//! ignored: samples are taken as sRGB, as in the training set. No panic is caught here.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation as Exif;
use image::{ColorType, ImageDecoder, ImageError, Limits};

use super::media::{JPEG_START, PNG_SIGNATURE};
use super::resize::{Average, Orientation};
use super::{CHANNELS, DecodeError, Image, jpeg, png};

/// The longest accepted side, in pixels: above any camera's, and a row stays below 128 KiB.
pub(super) const IMAGE_SIDE_MAX: u32 = 16_384;
/// The most pixels accepted: 24 MP covers the cameras sold for these boxes (12 MP) twice over.
pub(super) const PIXELS_MAX: u64 = 24_000_000;
/// The most memory that decoding one picture may take, in bytes: 24 MP of RGB8 (68.7 MiB) fits,
/// and four workers at their worst hold 288 MiB of a 1 GiB board.
pub(super) const DECODED_BYTES_MAX: u64 = 72 << 20;
/// What transparency is blended over, per channel in 0..=255: the training set's mean pixel
/// (model card, mean 121).
const BACKGROUND: u64 = 121;

/// Decodes a PNG of any colour type, bit depth and interlacing; of an animation its default image.
pub(super) fn decode_png(body: &[u8]) -> Result<Image, DecodeError> {
    if !body.starts_with(PNG_SIGNATURE) {
        return Err(not_the_format("png", body));
    }
    let outline = png::outline(body)?;
    let decoder = PngDecoder::with_limits(Cursor::new(outline.essence), limits())
        .map_err(|error| refusal("png", error))?;
    let picture = Picture {
        format: "png",
        size: (outline.width, outline.height),
        coefficient_bytes: 0,
        exif: outline.exif,
    };
    picture.decode(decoder)
}

/// Decodes a baseline or progressive JPEG: grey, YCbCr, RGB, or CMYK and YCCK as Adobe writes them.
pub(super) fn decode_jpeg(body: &[u8]) -> Result<Image, DecodeError> {
    if !body.starts_with(JPEG_START) {
        return Err(not_the_format("jpeg", body));
    }
    let outline = jpeg::outline(body)?;
    let mut decoder =
        JpegDecoder::new(Cursor::new(body)).map_err(|error| refusal("jpeg", error))?;
    decoder.set_limits(limits()).map_err(|error| refusal("jpeg", error))?;
    let picture = Picture {
        format: "jpeg",
        size: (outline.width, outline.height),
        coefficient_bytes: outline.coefficient_bytes,
        exif: outline.exif,
    };
    picture.decode(decoder)
}

/// Refuses a picture whose stated size is zero or beyond the limits.
pub(super) fn check_size(width: u32, height: u32) -> Result<(), DecodeError> {
    if width == 0 || height == 0 {
        return Err(DecodeError::ZeroSize { width, height });
    }
    let pixels = u64::from(width) * u64::from(height);
    if width.max(height) > IMAGE_SIDE_MAX || pixels > PIXELS_MAX {
        return Err(DecodeError::Dimensions { width, height });
    }
    Ok(())
}

/// What the walk over the container found.
struct Picture<'a> {
    format: &'static str,
    /// Width and height in pixels, both within the limits.
    size: (u32, u32),
    /// What the decoder holds beside its output, in bytes.
    coefficient_bytes: u64,
    /// The Exif data from its TIFF header on.
    exif: Option<&'a [u8]>,
}

impl Picture<'_> {
    fn decode(&self, decoder: impl ImageDecoder) -> Result<Image, DecodeError> {
        // Were the decoder to read another header than the walk did, no limit would hold.
        if decoder.dimensions() != self.size {
            let reason = "its header is ambiguous".to_owned();
            return Err(DecodeError::Damaged { format: self.format, reason });
        }
        let pixel_bytes = decoder.total_bytes();
        let needed = pixel_bytes.saturating_add(self.coefficient_bytes);
        if needed > DECODED_BYTES_MAX {
            return Err(DecodeError::Memory { needed });
        }
        let color = decoder.color_type();
        let mut samples = vec![0; pixel_bytes as usize];
        decoder.read_image(&mut samples).map_err(|error| refusal(self.format, error))?;
        let image = self.average(&samples, color)?;
        let tag = self.exif.and_then(Exif::from_exif_chunk).map_or(1, Exif::to_exif);
        Ok(Orientation::from_exif(tag).apply(image))
    }

    /// Samples in the decoder's colour type to 32×32 RGB8, a row at a time.
    fn average(&self, samples: &[u8], color: ColorType) -> Result<Image, DecodeError> {
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
            _ => {
                let feature = format!("colour type {color:?}");
                return Err(DecodeError::Unsupported { format: self.format, feature });
            }
        };
        let (width, height) = self.size;
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
        Ok(average.finish())
    }
}

/// The sample of a channel of one pixel of 16-bit samples, in the machine's byte order.
fn sample16(pixel: &[u8], channel: usize) -> u16 {
    u16::from_ne_bytes([pixel[channel * 2], pixel[channel * 2 + 1]])
}

/// A sample of 0..=MAX over the background by its alpha of 0..=MAX, rounded to 0..=255.
fn blend<const MAX: u64>(value: impl Into<u64>, alpha: impl Into<u64>) -> u8 {
    let alpha = alpha.into();
    let sum = value.into() * alpha * 255 + BACKGROUND * MAX * (MAX - alpha);
    ((sum + MAX * MAX / 2) / (MAX * MAX)) as u8
}

/// The decoders' own limits, as a second line behind the walk.
fn limits() -> Limits {
    let mut limits = Limits::default();
    limits.max_image_width = Some(IMAGE_SIDE_MAX);
    limits.max_image_height = Some(IMAGE_SIDE_MAX);
    limits.max_alloc = Some(DECODED_BYTES_MAX);
    limits
}

fn not_the_format(declared: &'static str, body: &[u8]) -> DecodeError {
    let starts = [("png", PNG_SIGNATURE), ("jpeg", JPEG_START)];
    if let Some((found, _)) = starts.iter().find(|(_, start)| body.starts_with(start)) {
        return DecodeError::WrongFormat { declared, found };
    }
    let reason = "its signature is missing".to_owned();
    DecodeError::Damaged { format: declared, reason }
}

fn refusal(format: &'static str, error: ImageError) -> DecodeError {
    match error {
        ImageError::IoError(_) => {
            DecodeError::Truncated { format, missing: "its data ends before the last pixel" }
        }
        ImageError::Unsupported(error) => {
            DecodeError::Unsupported { format, feature: error.to_string() }
        }
        error => DecodeError::Damaged { format, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests;
