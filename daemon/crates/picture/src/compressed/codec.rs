//! PNG and JPEG bodies to a 32×32 picture, within fixed bounds of memory and work.
//!
//! With `samples` the only place that names the `image` crate. The containers are walked first (png.rs,
//! jpeg/): size and completeness are known before a pixel is allocated. ICC profiles and gamma are
//! ignored: samples are taken as sRGB, as in the training set. No panic is caught here.

use std::io::Cursor;

use image::codecs::png::PngDecoder;
use image::metadata::Orientation as Exif;
use image::{ImageDecoder, ImageError, Limits};

use super::samples;
use crate::error::DecodeError;
use crate::jpeg::Jpeg;
use crate::limits::{CHANNELS, DECODED_BYTES_MAX, IMAGE_SIDE_MAX};
use crate::media::{JPEG_START, PNG_SIGNATURE};
use crate::outline::Outline;
use crate::picture::Picture;
use crate::png;
use crate::resize::{Average, Orientation};
use crate::rows::{Header, Pixel};

/// Decodes a PNG of any colour type, bit depth and interlacing; of an animation its default image.
pub fn decode_png(body: &[u8]) -> Result<Picture, DecodeError> {
    if !body.starts_with(PNG_SIGNATURE) {
        return Err(not_the_format("png", body));
    }
    let (outline, essence) = png::outline(body)?;
    let decoder = PngDecoder::with_limits(Cursor::new(essence), limits())
        .map_err(|error| refusal("png", error))?;
    decode(&outline, decoder)
}

/// Decodes a baseline or progressive JPEG: grey, YCbCr, RGB, or CMYK and YCCK as Adobe writes them.
pub fn decode_jpeg(body: &[u8]) -> Result<Picture, DecodeError> {
    if !body.starts_with(JPEG_START) {
        return Err(not_the_format("jpeg", body));
    }
    let jpeg = Jpeg::open(body)?;
    let Header { size, pixel, orientation, .. } = jpeg.header();
    let mut average = Average::new(size.0, size.1);
    let mut colours = vec![0; size.0 as usize * CHANNELS];
    jpeg.read(1, &mut |row| {
        if pixel == Pixel::Rgb {
            return average.push_row(row);
        }
        for (to, &grey) in colours.chunks_exact_mut(CHANNELS).zip(row) {
            to.fill(grey);
        }
        average.push_row(&colours);
    })?;
    Ok(Orientation::from_exif(orientation).apply(average.finish()))
}

fn decode(outline: &Outline, decoder: impl ImageDecoder) -> Result<Picture, DecodeError> {
    let format = outline.format;
    // Were the decoder to read another header than the walk did, no limit would hold.
    if decoder.dimensions() != outline.size {
        return Err(DecodeError::Damaged { format, reason: "its header is ambiguous".to_owned() });
    }
    let pixel_bytes = decoder.total_bytes();
    let needed = pixel_bytes.saturating_add(outline.coefficient_bytes);
    if needed > DECODED_BYTES_MAX {
        return Err(DecodeError::Memory { needed });
    }
    let color = decoder.color_type();
    let mut bytes = vec![0; pixel_bytes as usize];
    decoder.read_image(&mut bytes).map_err(|error| refusal(format, error))?;
    let picture = samples::average(&bytes, color, outline.size).ok_or_else(|| {
        DecodeError::Unsupported { format, feature: format!("colour type {color:?}") }
    })?;
    let tag = outline.exif.and_then(Exif::from_exif_chunk).map_or(1, Exif::to_exif);
    Ok(Orientation::from_exif(tag).apply(picture))
}

/// Returns the limits that the decoders hold themselves, as a second line behind the walk.
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
