//! Portable anymaps: PGM and PPM, binary (P5, P6) and plain (P2, P3), of 8 and 16 bits (netpbm's manual
//! pages pgm(5) and ppm(5)).
//!
//! Read straight from the body, a row at a time; nothing but one row is held. It must not know other
//! formats.

use crate::error::DecodeError;
use crate::outline::check_size;
use crate::rows::{Header, Pixel, Rows};
use crate::samples::{Alpha, Depth, Samples, narrow, scale};

/// The most digits that a number of the header or of a plain raster has; more can only be zeros in front.
const DIGITS_MAX: usize = 10;

/// Whether a body begins with the whole header of a portable anymap.
pub fn begins(body: &[u8]) -> bool {
    let Some((&[b'P', kind, space], _)) = body.split_first_chunk::<3>() else { return false };
    let mut text = Text { rest: &body[2..], comments: true };
    // A bitmap has no maxval, and PAM's header is words.
    let numbers = match kind {
        b'1' | b'4' => 2,
        b'2' | b'3' | b'5' | b'6' => 3,
        _ => return body.starts_with(b"P7\nWIDTH ") || body.starts_with(b"P7\n#"),
    };
    space.is_ascii_whitespace()
        && (0..numbers).all(|_| text.number().is_ok_and(|number| number > 0))
}

/// A PGM or PPM file.
pub struct Pnm<'a> {
    size: (u32, u32),
    pixel: Pixel,
    plain: bool,
    /// The sample that is white, 1 to 65,535.
    maxval: u16,
    /// What follows the header: the samples, and perhaps further pictures, which are ignored.
    raster: &'a [u8],
}

impl<'a> Pnm<'a> {
    /// Reads the header: magic number, width, height and maxval, with comments between them.
    ///
    /// # Errors
    /// Malformed when the header is cut or no header, too large when it states a size beyond the limits,
    /// unprocessable for bitmaps (P1, P4) and PAM (P7), truncated when binary samples are missing.
    pub fn open(body: &'a [u8]) -> Result<Pnm<'a>, DecodeError> {
        let Some((&[b'P', kind], rest)) = body.split_first_chunk::<2>() else {
            return Err(damaged("its magic number is missing"));
        };
        let (pixel, plain) = match kind {
            b'2' => (Pixel::Grey, true),
            b'3' => (Pixel::Rgb, true),
            b'5' => (Pixel::Grey, false),
            b'6' => (Pixel::Rgb, false),
            b'1' | b'4' => return Err(unsupported("one bit a pixel (PBM)")),
            b'7' => return Err(unsupported("a PAM header (P7)")),
            _ => return Err(damaged("its magic number is not one of P2, P3, P5 and P6")),
        };
        let mut text = Text { rest, comments: true };
        let size = (text.number()?, text.number()?);
        let maxval = text.number()?;
        check_size(size.0, size.1)?;
        let Some(maxval) = u16::try_from(maxval).ok().filter(|&maxval| maxval > 0) else {
            return Err(damaged("its maxval is not in 1 to 65535"));
        };
        // Exactly one white space: the next byte may be a sample that looks like one.
        let raster = text.rest.split_first().filter(|(space, _)| space.is_ascii_whitespace());
        let raster = raster.ok_or_else(cut)?.1;
        let pnm = Pnm { size, pixel, plain, maxval, raster };
        // A plain sample takes two bytes at least: a digit and what ends it.
        let rows = u64::from(size.1);
        let bytes =
            if plain { pnm.samples() as u64 * rows * 2 } else { pnm.row_bytes() as u64 * rows };
        if (raster.len() as u64) < bytes {
            return Err(DecodeError::Truncated {
                format: "pnm",
                missing: "its last rows are missing",
            });
        }
        Ok(pnm)
    }

    /// Returns the samples of a row.
    fn samples(&self) -> usize {
        self.size.0 as usize * self.pixel.bytes()
    }

    fn row_bytes(&self) -> usize {
        self.samples() << usize::from(self.maxval > 255)
    }

    /// Gives the samples of each row, until `row` returns false.
    fn wide_rows(&self, row: &mut dyn FnMut(&[u16]) -> bool) -> Result<(), DecodeError> {
        let mut wide = vec![0; self.samples()];
        let mut text = Text { rest: self.raster, comments: false };
        for y in 0..self.size.1 as usize {
            if self.plain {
                for sample in &mut wide {
                    // A number that is no u16 is above every maxval.
                    *sample = u16::try_from(text.number()?).unwrap_or(u16::MAX);
                    // Digits at the very end may be the first ones of a number that was cut.
                    if text.rest.is_empty() {
                        return Err(cut());
                    }
                }
            } else {
                let bytes = &self.raster[y * self.row_bytes()..][..self.row_bytes()];
                for (to, &from) in wide.iter_mut().zip(bytes.as_chunks().0) {
                    *to = u16::from_be_bytes(from);
                }
            }
            self.check(wide.iter().copied())?;
            if !row(&wide) {
                break;
            }
        }
        Ok(())
    }

    fn check(&self, mut samples: impl Iterator<Item = u16>) -> Result<(), DecodeError> {
        if samples.any(|sample| sample > self.maxval) {
            return Err(damaged("a sample is above its maxval"));
        }
        Ok(())
    }
}

impl Rows for Pnm<'_> {
    fn header(&self) -> Header {
        let (size, pixel) = (self.size, self.pixel);
        let working_bytes = self.samples() as u64 * 2;
        Header { format: "pnm", size, pixel, orientation: 1, working_bytes }
    }

    fn read(self, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        if self.plain || self.maxval > 255 {
            let samples = Samples { pixel: self.pixel, alpha: Alpha::None };
            // Writers put 65535 over whatever 16-bit samples they are given.
            let unstated = self.maxval == u16::MAX;
            let depth = if unstated { Depth::Unstated } else { Depth::White(self.maxval) };
            return narrow("pnm", samples, depth, |take| self.wide_rows(take), row);
        }
        let scaled: Vec<u8> = (0..=self.maxval).map(|value| scale(value, self.maxval)).collect();
        let mut pixels = vec![0; self.row_bytes()];
        for bytes in self.raster.chunks_exact(self.row_bytes()).take(self.size.1 as usize) {
            if self.maxval == 255 {
                row(bytes);
                continue;
            }
            self.check(bytes.iter().copied().map(u16::from))?;
            for (to, &value) in pixels.iter_mut().zip(bytes) {
                *to = scaled[usize::from(value)];
            }
            row(&pixels);
        }
        Ok(())
    }
}

/// Decimal numbers between white space.
struct Text<'a> {
    rest: &'a [u8],
    /// Whether `#` starts a comment that ends with its line.
    comments: bool,
}

impl Text<'_> {
    fn number(&mut self) -> Result<u32, DecodeError> {
        loop {
            self.rest = self.rest.trim_ascii_start();
            if !self.comments || self.rest.first() != Some(&b'#') {
                break;
            }
            let end = self.rest.iter().position(|&byte| byte == b'\n' || byte == b'\r');
            self.rest = &self.rest[end.ok_or_else(cut)?..];
        }
        let digits = self.rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
        if digits == 0 {
            return Err(if self.rest.is_empty() { cut() } else { damaged("a number is missing") });
        }
        let (number, rest) = self.rest.split_at(digits);
        self.rest = rest;
        if digits > DIGITS_MAX {
            return Err(damaged("a number is longer than 10 digits"));
        }
        let value = number.iter().fold(0_u64, |value, digit| value * 10 + u64::from(digit - b'0'));
        Ok(u32::try_from(value).unwrap_or(u32::MAX))
    }
}

fn cut() -> DecodeError {
    DecodeError::Truncated { format: "pnm", missing: "its text ends before its last number does" }
}

fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged { format: "pnm", reason: reason.to_owned() }
}

fn unsupported(feature: &str) -> DecodeError {
    DecodeError::Unsupported { format: "pnm", feature: feature.to_owned() }
}
