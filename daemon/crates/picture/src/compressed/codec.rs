//! PNG and JPEG bodies to a picture, within fixed bounds of memory and work.
//!
//! With `samples` the only place that names the `image` crate. The containers are walked first (png.rs,
//! jpeg/): size and completeness are known before a pixel is allocated. ICC profiles and gamma are
//! ignored: samples are taken as sRGB, as in the training set. No panic is caught here.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::codecs::png::PngDecoder;
use image::metadata::Orientation as Exif;
use image::{ImageDecoder, ImageError, Limits};

use super::samples;
use crate::error::DecodeError;
use crate::limits::{DECODED_BYTES_MAX, IMAGE_SIDE_MAX};
use crate::media::{JPEG_START, PNG_SIGNATURE};
use crate::outline::Outline;
use crate::picture::Picture;
use crate::rows::{Header, Pixel};
use crate::spec::Spec;
use crate::{jpeg, png};

/// Decodes a PNG of any colour type, bit depth and interlacing; of an animation its default image.
pub fn decode_png(body: &[u8], spec: &Spec) -> Result<Picture, DecodeError> {
    if !body.starts_with(PNG_SIGNATURE) {
        return Err(not_the_format("png", body));
    }
    let (outline, essence) = png::outline(body)?;
    let decoder = PngDecoder::with_limits(Cursor::new(essence), limits())
        .map_err(|error| refusal("png", error))?;
    decode(&outline, decoder, spec)
}

/// Decodes a baseline or progressive JPEG: grey, YCbCr, RGB, or CMYK and YCCK as Adobe writes them.
pub fn decode_jpeg(body: &[u8], spec: &Spec) -> Result<Picture, DecodeError> {
    if !body.starts_with(JPEG_START) {
        return Err(not_the_format("jpeg", body));
    }
    let outline = jpeg::outline(body)?;
    let mut decoder =
        JpegDecoder::new(Cursor::new(body)).map_err(|error| refusal("jpeg", error))?;
    decoder.set_limits(limits()).map_err(|error| refusal("jpeg", error))?;
    decode(&outline, decoder, spec)
}

fn decode(
    outline: &Outline,
    decoder: impl ImageDecoder,
    spec: &Spec,
) -> Result<Picture, DecodeError> {
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
    let orientation = outline.exif.and_then(Exif::from_exif_chunk).map_or(1, Exif::to_exif);
    let (size, pixel, working_bytes) = (outline.size, Pixel::Rgb, needed);
    let header = Header { format, size, pixel, orientation, working_bytes };
    samples::paint(&bytes, color, header, spec).ok_or_else(|| DecodeError::Unsupported {
        format,
        feature: format!("colour type {color:?}"),
    })
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
