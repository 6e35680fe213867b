//! The pixels of a PNG file, row by row; an interlaced one is decoded whole before its first row.
//!
//! The only place that names the `png` crate. The file was walked first (walk.rs): its size and its end
//! are known before a pixel is allocated. ICC profiles and gamma are ignored: samples are taken as sRGB,
//! as in the training set. No panic is caught here.

use std::io::{Cursor, ErrorKind};

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::walk::{Outline, outline};
use crate::error::DecodeError;
use crate::limits::DECODED_BYTES_MAX;
use crate::rows::{Header, Pixel, Rows};
use crate::samples::{Alpha, Depth, Samples, narrow};

/// What the decoder holds beside some rows, in bytes at most: deflate's window and what it reads ahead;
/// png 0.18, `UnfilteringBuffer`.
const WINDOW_BYTES: u64 = 512 << 10;
/// The rows that it holds at most; likewise.
const WINDOW_ROWS: u64 = 8;

/// A PNG of any colour type, bit depth and interlacing; of an animation its default image.
pub struct Png {
    outline: Outline,
    samples: Samples,
    wide: bool,
    interlaced: bool,
    row_bytes: usize,
}

impl Png {
    /// Reads the chunks of a body, and the colours of its palette.
    ///
    /// # Errors
    /// Malformed when the file is cut or damaged, too large when it states a size beyond the limits.
    pub fn open(body: &[u8]) -> Result<Png, DecodeError> {
        let outline = outline(body)?;
        let reader = reader(&outline.essence)?;
        // Were the decoder to read another header than the walk did, no limit would hold.
        if reader.info().size() != outline.size {
            return Err(damaged("its header is ambiguous"));
        }
        let (colour, depth) = reader.output_color_type();
        let (pixel, alpha) = match colour {
            ColorType::Grayscale => (Pixel::Grey, Alpha::None),
            ColorType::GrayscaleAlpha => (Pixel::Grey, Alpha::Straight),
            ColorType::Rgb => (Pixel::Rgb, Alpha::None),
            ColorType::Rgba => (Pixel::Rgb, Alpha::Straight),
            ColorType::Indexed => return Err(damaged("its palette is missing")),
        };
        let (samples, wide) = (Samples { pixel, alpha }, depth == BitDepth::Sixteen);
        let row_bytes = (outline.size.0 as usize * samples.channels()) << usize::from(wide);
        let interlaced = reader.info().interlaced;
        Ok(Png { samples, wide, interlaced, row_bytes, outline })
    }

    /// Gives the rows as the decoder has them, until `row` returns false.
    fn decoded(&self, mut row: impl FnMut(&[u8]) -> bool) -> Result<(), DecodeError> {
        let mut reader = reader(&self.outline.essence)?;
        if self.interlaced {
            let mut pixels = vec![0; self.row_bytes * self.outline.size.1 as usize];
            reader.next_frame(&mut pixels).map_err(refusal)?;
            pixels.chunks_exact(self.row_bytes).all(row);
            return Ok(());
        }
        // The last call reads what follows the last row, its checksum above all.
        while let Some(next) = reader.next_row().map_err(refusal)? {
            if !row(next.data()) {
                break;
            }
        }
        Ok(())
    }
}

impl Rows for Png {
    fn header(&self) -> Header {
        let (Outline { size, orientation, .. }, pixel) = (&self.outline, self.samples.pixel);
        let working_bytes = match self.interlaced {
            true => self.row_bytes as u64 * u64::from(size.1),
            false => self.row_bytes as u64 * WINDOW_ROWS + WINDOW_BYTES,
        };
        let (size, orientation) = (*size, *orientation);
        Header { format: "png", size, pixel, orientation, working_bytes }
    }

    fn read(self, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        if self.wide {
            let depth = match self.outline.significant_bits {
                None => Depth::Unstated,
                Some(16) => Depth::White(u16::MAX),
                Some(bits) => Depth::Significant(bits),
            };
            let mut wide = vec![0; self.row_bytes / 2];
            let rows = |take: &mut dyn FnMut(&[u16]) -> bool| {
                self.decoded(|bytes| {
                    for (to, &from) in wide.iter_mut().zip(bytes.as_chunks().0) {
                        *to = u16::from_be_bytes(from);
                    }
                    take(&wide)
                })
            };
            return narrow("png", self.samples, depth, rows, row);
        }
        let mut pixels = vec![0; self.outline.size.0 as usize * self.samples.pixel.bytes()];
        self.decoded(|bytes| {
            if self.samples.alpha == Alpha::None {
                row(bytes);
            } else {
                self.samples.narrow_row(bytes, &mut pixels);
                row(&pixels);
            }
            true
        })
    }
}

fn reader(essence: &[u8]) -> Result<Reader<Cursor<&[u8]>>, DecodeError> {
    let limits = Limits { bytes: DECODED_BYTES_MAX as usize };
    let mut decoder = Decoder::new_with_limits(Cursor::new(essence), limits);
    decoder.ignore_checksums(false);
    // Palettes and fewer than 8 bits become 8 bits, a colour key becomes alpha.
    decoder.set_transformations(Transformations::EXPAND);
    decoder.read_info().map_err(refusal)
}

fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged { format: "png", reason: reason.to_owned() }
}

fn refusal(error: DecodingError) -> DecodeError {
    match error {
        DecodingError::IoError(error) if error.kind() == ErrorKind::UnexpectedEof => {
            DecodeError::Truncated { format: "png", missing: "its data ends before the last pixel" }
        }
        error => DecodeError::Damaged { format: "png", reason: error.to_string() },
    }
}
