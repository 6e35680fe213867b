//! Pixels without a file around them: of the model's size, or of a stated size and format.

use std::fmt;
use std::str::FromStr;

use crate::error::DecodeError;
use crate::outline::check_size;
use crate::rows::{Header, Pixel, Rows};
use crate::samples::{Alpha, Depth, Samples, max_of, narrow};

/// The pixel formats of a raw body, by name: those of one byte a channel, then those of 16-bit
/// little-endian samples, of which so many bits are in use.
const FORMATS: [(&str, RawFormat); 6] = [
    ("rgb8", RawFormat::Rgb8),
    ("bgr8", RawFormat::Bgr8),
    ("mono8", RawFormat::Mono8),
    ("mono10le", RawFormat::Wide(10)),
    ("mono12le", RawFormat::Wide(12)),
    ("mono16le", RawFormat::Wide(16)),
];

/// How a pixel of a raw body is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RawFormat {
    /// Red, green, blue.
    Rgb8,
    /// Blue, green, red.
    Bgr8,
    /// One byte.
    Mono8,
    /// Two bytes, the low one first, with so many bits in use.
    Wide(u8),
}

impl RawFormat {
    fn bytes(self) -> usize {
        match self {
            RawFormat::Rgb8 | RawFormat::Bgr8 => 3,
            RawFormat::Mono8 => 1,
            RawFormat::Wide(_) => 2,
        }
    }
}

impl fmt::Display for RawFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = FORMATS.iter().find(|(_, format)| format == self);
        f.write_str(name.map_or("raw", |(name, _)| name))
    }
}

impl FromStr for RawFormat {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<RawFormat, DecodeError> {
        let format = FORMATS.iter().find(|(name, _)| *name == text);
        format.map(|(_, format)| *format).ok_or(DecodeError::RawFormat)
    }
}

/// What a raw body holds: rows from the top, without gaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RawForm {
    /// In pixels, as the height.
    pub width: u32,
    pub height: u32,
    pub format: RawFormat,
}

impl RawForm {
    /// Returns the bytes of all pixels.
    fn bytes(self) -> u64 {
        u64::from(self.width) * u64::from(self.height) * self.format.bytes() as u64
    }
}

impl fmt::Display for RawForm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{} {}", self.width, self.height, self.format)
    }
}

/// A raw body of a stated form.
pub struct Raw<'a> {
    form: RawForm,
    pixels: &'a [u8],
}

impl<'a> Raw<'a> {
    /// Takes a body of exactly the bytes that the form needs.
    ///
    /// # Errors
    /// Too large when the size is beyond the limits, [`DecodeError::RawFormLength`].
    pub fn open(body: &'a [u8], form: RawForm) -> Result<Raw<'a>, DecodeError> {
        check_size(form.width, form.height)?;
        if body.len() as u64 != form.bytes() {
            let (found, needed, form) = (body.len(), form.bytes(), form.to_string());
            return Err(DecodeError::RawFormLength { found, needed, form });
        }
        Ok(Raw { form, pixels: body })
    }

    fn row_bytes(&self) -> usize {
        self.form.width as usize * self.form.format.bytes()
    }
}

impl Rows for Raw<'_> {
    fn header(&self) -> Header {
        let RawForm { width, height, format } = self.form;
        let colour = matches!(format, RawFormat::Rgb8 | RawFormat::Bgr8);
        let pixel = if colour { Pixel::Rgb } else { Pixel::Grey };
        let working_bytes = self.row_bytes() as u64;
        Header { format: "raw", size: (width, height), pixel, orientation: 1, working_bytes }
    }

    fn read(self, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        let rows = self.pixels.chunks_exact(self.row_bytes());
        match self.form.format {
            RawFormat::Rgb8 | RawFormat::Mono8 => rows.for_each(row),
            RawFormat::Bgr8 => {
                let mut pixels = vec![0; self.row_bytes()];
                for bgr in rows {
                    let pairs =
                        pixels.as_chunks_mut::<3>().0.iter_mut().zip(bgr.as_chunks::<3>().0);
                    pairs.for_each(|(to, &[blue, green, red])| *to = [red, green, blue]);
                    row(&pixels);
                }
            }
            RawFormat::Wide(bits) => return self.read_wide(bits, row),
        }
        Ok(())
    }
}

impl Raw<'_> {
    fn read_wide(&self, bits: u8, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        let samples = Samples { pixel: Pixel::Grey, alpha: Alpha::None };
        let white = max_of(bits);
        // Who has 12 bits in 16 and states 16 gets no black picture.
        let depth = if white == u16::MAX { Depth::Unstated } else { Depth::White(white) };
        let mut wide = vec![0; self.form.width as usize];
        let rows = |take: &mut dyn FnMut(&[u16]) -> bool| {
            for bytes in self.pixels.chunks_exact(self.row_bytes()) {
                for (to, &from) in wide.iter_mut().zip(bytes.as_chunks().0) {
                    *to = u16::from_le_bytes(from);
                }
                if let Some(&sample) = wide.iter().find(|&&sample| sample > white) {
                    let reason = format!("a sample is {sample}, {bits} bits hold at most {white}");
                    return Err(DecodeError::Damaged { format: "raw", reason });
                }
                if !take(&wide) {
                    break;
                }
            }
            Ok(())
        };
        narrow("raw", samples, depth, rows, row)
    }
}
