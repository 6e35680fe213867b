//! The pixels of a PNG file, row by row; an interlaced one is decoded whole before its first row.
//!
//! The only place that names the `png` crate. The file was walked first (walk.rs): its size and its end
//! are known before a pixel is allocated. ICC profiles and gamma are ignored: samples are taken as sRGB,
//! as in the training set. No panic is caught here.

use std::io::{Cursor, ErrorKind};

use png::{BitDepth, ColorType, Decoder, DecodingError, Limits, Reader, Transformations};

use super::walk::{Outline, essence, outline};
use crate::error::DecodeError;
use crate::limits::DECODED_BYTES_MAX;
use crate::rows::{Header, Pixel, Rows};
use crate::samples::{Alpha, Depth, Samples, narrow};

/// What the decoder holds beside some rows, in bytes at most: deflate's window and what it reads ahead, a
/// chunk, its codes; png 0.18, `UnfilteringBuffer`.
const WINDOW_BYTES: u64 = 512 << 10;
/// The rows that it holds at most; likewise.
const WINDOW_ROWS: u64 = 8;

/// A PNG of any colour type, bit depth and interlacing; of an animation its default image.
pub struct Png {
    outline: Outline,
    essence: Vec<u8>,
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
        let essence = essence(body, outline.essence_bytes)?;
        let reader = reader(&essence)?;
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
        // Were the decoder to read another header than the walk did, no limit would hold.
        if reader.info().size() != outline.size
            || row_bytes > outline.row_bytes()
            || interlaced != outline.is_interlaced()
        {
            return Err(damaged("its header is ambiguous"));
        }
        Ok(Png { samples, wide, interlaced, row_bytes, outline, essence })
    }

    /// Returns what the walk over the chunks says of the picture, before anything is allocated, and all
    /// that decoding holds beside a row, in bytes.
    ///
    /// # Errors
    /// Those of [`outline`].
    pub fn outlined(body: &[u8]) -> Result<(Header, u64), DecodeError> {
        let outline = outline(body)?;
        let pixel = if outline.is_coloured() { Pixel::Rgb } else { Pixel::Grey };
        let header = outline.header(pixel);
        let window = outline.row_bytes() as u64 * WINDOW_ROWS + WINDOW_BYTES;
        let passes = if outline.is_interlaced() { header.working_bytes } else { 0 };
        Ok((header, passes + window + outline.essence_bytes as u64))
    }

    /// Gives the rows as the decoder has them, until `row` returns false.
    fn decoded(&self, mut row: impl FnMut(&[u8]) -> bool) -> Result<(), DecodeError> {
        let mut reader = reader(&self.essence)?;
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

impl Outline {
    fn header(&self, pixel: Pixel) -> Header {
        let row_bytes = self.row_bytes() as u64;
        let working_bytes = match self.is_interlaced() {
            true => row_bytes * u64::from(self.size.1),
            false => row_bytes * WINDOW_ROWS + WINDOW_BYTES,
        };
        let Outline { size, orientation, .. } = *self;
        Header { format: "png", size, pixel, orientation, working_bytes }
    }
}

impl Rows for Png {
    fn header(&self) -> Header {
        self.outline.header(self.samples.pixel)
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
