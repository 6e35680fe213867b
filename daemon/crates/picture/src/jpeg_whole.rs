//! The pixels of a JPEG, decoded whole by the `image` crate.
//!
//! The only place that names that crate. The segments were walked first (jpeg/): size and completeness are
//! known before a pixel is allocated. No panic is caught here.

use std::io::Cursor;

use image::codecs::jpeg::JpegDecoder;
use image::{ColorType, ImageDecoder, ImageError, Limits};

use crate::directory::Directory;
use crate::error::DecodeError;
use crate::jpeg;
use crate::limits::{DECODED_BYTES_MAX, IMAGE_SIDE_MAX};
use crate::media::JPEG_START;
use crate::rows::{Header, Pixel, Rows};

/// A baseline or progressive JPEG: grey, YCbCr, RGB, or CMYK and YCCK as Adobe writes them.
pub struct Jpeg<'a> {
    header: Header,
    decoder: JpegDecoder<Cursor<&'a [u8]>>,
}

impl<'a> Jpeg<'a> {
    pub fn open(body: &'a [u8]) -> Result<Jpeg<'a>, DecodeError> {
        if !body.starts_with(JPEG_START) {
            return Err(damaged("its signature is missing"));
        }
        let outline = jpeg::outline(body)?;
        let mut decoder = JpegDecoder::new(Cursor::new(body)).map_err(refusal)?;
        let mut limits = Limits::default();
        limits.max_image_width = Some(IMAGE_SIDE_MAX);
        limits.max_image_height = Some(IMAGE_SIDE_MAX);
        limits.max_alloc = Some(DECODED_BYTES_MAX);
        decoder.set_limits(limits).map_err(refusal)?;
        // Were the decoder to read another header than the walk did, no limit would hold.
        if decoder.dimensions() != outline.size {
            return Err(damaged("its header is ambiguous"));
        }
        let pixel = if decoder.color_type() == ColorType::L8 { Pixel::Grey } else { Pixel::Rgb };
        let directory = outline.exif.and_then(Directory::first);
        let orientation = directory.map_or(1, |directory| directory.orientation());
        let working_bytes = decoder.total_bytes().saturating_add(outline.coefficient_bytes);
        let (format, size) = (outline.format, outline.size);
        let header = Header { format, size, pixel, orientation, working_bytes };
        Ok(Jpeg { header, decoder })
    }
}

impl Rows for Jpeg<'_> {
    fn header(&self) -> Header {
        self.header
    }

    fn read(self, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        let mut pixels = vec![0; self.decoder.total_bytes() as usize];
        self.decoder.read_image(&mut pixels).map_err(refusal)?;
        let row_bytes = self.header.size.0 as usize * self.header.pixel.bytes();
        pixels.chunks_exact(row_bytes).for_each(row);
        Ok(())
    }
}

fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged { format: "jpeg", reason: reason.to_owned() }
}

fn refusal(error: ImageError) -> DecodeError {
    match error {
        ImageError::IoError(_) => DecodeError::Truncated {
            format: "jpeg",
            missing: "its data ends before the last pixel",
        },
        ImageError::Unsupported(error) => {
            DecodeError::Unsupported { format: "jpeg", feature: error.to_string() }
        }
        error => damaged(&error.to_string()),
    }
}
