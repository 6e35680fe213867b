//! Windows bitmaps of 1, 4, 8, 16, 24 and 32 bits a pixel, uncompressed, from either end (Microsoft,
//! "Bitmap Storage").
//!
//! Read straight from the body, a row at a time; nothing but one row is held. It must not know other
//! formats.

use crate::error::DecodeError;
use crate::outline::check_size;
use crate::rows::{Header, Pixel, Rows};
use crate::samples::blend;

/// Length of the file header, in bytes: "BM", the file's size, two reserved fields, where pixels begin.
const FILE_HEADER_BYTES: usize = 14;
/// The information header of OS/2 1.x, with sizes of 16 bits and a palette of three bytes a colour.
const CORE_HEADER_BYTES: u32 = 12;
/// The information header from which on the colours' masks are in it: BITMAPV2INFOHEADER.
const MASKS_HEADER_BYTES: u32 = 52;
/// The information headers: OS/2 1.x, Windows 3, with masks, with alpha's, OS/2 2.x, Windows 4 and 5.
const HEADERS: [u32; 7] = [CORE_HEADER_BYTES, 40, MASKS_HEADER_BYTES, 56, 64, 108, 124];
/// The OS/2 2.x header, which has other fields where the masks are.
const OS2_HEADER_BYTES: u32 = 64;

/// `biCompression`: none; none, with the channels' masks; the same with alpha's.
const RGB: u32 = 0;
const BITFIELDS: u32 = 3;
const ALPHA_BITFIELDS: u32 = 6;

/// Whether a body begins like a bitmap: with a known header, a possible depth, and pixels inside the body.
pub fn begins(body: &[u8]) -> bool {
    let known = |fields: Fields| {
        let pixels = fields.header_bytes as usize + FILE_HEADER_BYTES..body.len();
        fields.planes == 1
            && matches!(fields.bits, 1 | 4 | 8 | 16 | 24 | 32)
            && pixels.contains(&(fields.pixels_at as usize))
    };
    Fields::read(body).is_ok_and(known)
}

/// What the two headers state.
struct Fields {
    pixels_at: u32,
    header_bytes: u32,
    width: i32,
    height: i32,
    planes: u16,
    bits: u16,
    compression: u32,
    colours_used: u32,
}

impl Fields {
    fn read(body: &[u8]) -> Result<Fields, DecodeError> {
        if !body.starts_with(b"BM") {
            return Err(damaged("its signature is missing"));
        }
        let (pixels_at, header_bytes) = (u32_at(body, 10)?, u32_at(body, 14)?);
        if !HEADERS.contains(&header_bytes) {
            return Err(damaged("its header has an unknown length"));
        }
        if header_bytes == CORE_HEADER_BYTES {
            let (width, height) = (u16_at(body, 18)?.into(), u16_at(body, 20)?.into());
            let (planes, bits) = (u16_at(body, 22)?, u16_at(body, 24)?);
            let (compression, colours_used) = (RGB, 0);
            return Ok(Fields {
                pixels_at,
                header_bytes,
                width,
                height,
                planes,
                bits,
                compression,
                colours_used,
            });
        }
        Ok(Fields {
            pixels_at,
            header_bytes,
            width: u32_at(body, 18)?.cast_signed(),
            height: u32_at(body, 22)?.cast_signed(),
            planes: u16_at(body, 26)?,
            bits: u16_at(body, 28)?,
            compression: u32_at(body, 30)?,
            colours_used: u32_at(body, 46)?,
        })
    }
}

/// A bitmap file.
pub struct Bmp<'a> {
    size: (u32, u32),
    /// Whether the first row in the file is the top one.
    top_down: bool,
    format: Format,
    /// All rows, each filled up to a multiple of four bytes.
    rows: &'a [u8],
    row_bytes: usize,
}

/// What a pixel is made of.
enum Format {
    /// So many bits of an index into colours.
    Palette { bits: u16, colours: Vec<[u8; 3]>, grey: bool },
    /// Blue, green, red, in so many bytes, of which the fourth means nothing.
    Bytes(usize),
    /// Channels in a little-endian number of so many bytes.
    Masks { bytes: usize, colours: [Mask; 3], alpha: Option<Mask> },
}

/// Where the bits of a channel are.
#[derive(Clone, Copy)]
struct Mask {
    shift: u32,
    max: u32,
}

impl Mask {
    fn new(mask: u32) -> Result<Mask, DecodeError> {
        let shift = if mask == 0 { 0 } else { mask.trailing_zeros() };
        let max = mask >> shift;
        if mask == 0 || max & max.wrapping_add(1) != 0 {
            return Err(damaged("the mask of a colour is empty or has gaps"));
        }
        Ok(Mask { shift, max })
    }

    /// Returns the channel of a pixel, scaled to 0..=255.
    fn of(self, pixel: u32) -> u8 {
        let value = u64::from(pixel >> self.shift & self.max);
        let max = u64::from(self.max);
        ((value * 255 + max / 2) / max) as u8
    }
}

impl<'a> Bmp<'a> {
    /// Reads the headers and the palette.
    ///
    /// # Errors
    /// Malformed when headers, palette or rows are cut or contradict each other, too large when a size
    /// beyond the limits is stated, unprocessable when the pixels are compressed.
    pub fn open(body: &'a [u8]) -> Result<Bmp<'a>, DecodeError> {
        let fields = Fields::read(body)?;
        let Fields { width, height, bits, compression, .. } = fields;
        // A negative width would mean nothing; it is shown as what it is without a sign.
        let size = (width.cast_unsigned(), height.unsigned_abs());
        check_size(size.0, size.1)?;
        if !matches!((compression, bits), (RGB, _) | (BITFIELDS | ALPHA_BITFIELDS, 16 | 32)) {
            return Err(unsupported(&format!("compression {compression} of {bits} bits a pixel")));
        }
        if (fields.pixels_at as usize) < FILE_HEADER_BYTES + fields.header_bytes as usize {
            return Err(damaged("its pixels begin inside its header"));
        }
        let format = match bits {
            1 | 4 | 8 => Format::palette(body, &fields)?,
            24 => Format::Bytes(3),
            32 if compression == RGB => Format::Bytes(4),
            16 | 32 => Format::masks(body, &fields)?,
            _ => return Err(unsupported(&format!("{bits} bits a pixel"))),
        };
        let row_bits = size.0 as usize * usize::from(bits);
        let row_bytes = row_bits.div_ceil(32) * 4;
        let missing = "its last rows are missing";
        let rows = body.get(fields.pixels_at as usize..);
        // Some writers leave out what fills up the last row.
        let bytes = row_bytes * (size.1 as usize - 1) + row_bits.div_ceil(8);
        let rows = rows.filter(|rows| rows.len() >= bytes);
        let rows = rows.ok_or(DecodeError::Truncated { format: "bmp", missing })?;
        Ok(Bmp { size, top_down: height < 0, format, rows, row_bytes })
    }

    /// Gives the bytes of each row from the top.
    fn stored(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let (height, row_bytes, top_down) = (self.size.1 as usize, self.row_bytes, self.top_down);
        let rows = self.rows;
        (0..height).map(move |y| {
            let y = if top_down { y } else { height - 1 - y };
            let row = &rows[y * row_bytes..];
            &row[..row_bytes.min(row.len())]
        })
    }
}

impl Format {
    fn palette(body: &[u8], fields: &Fields) -> Result<Format, DecodeError> {
        let start = FILE_HEADER_BYTES + fields.header_bytes as usize;
        let all = 1 << fields.bits;
        let stated = if fields.colours_used == 0 { all } else { fields.colours_used.min(all) };
        let bytes = if fields.header_bytes == CORE_HEADER_BYTES { 3 } else { 4 };
        let end = start + stated as usize * bytes;
        let table = body.get(start..end).filter(|_| end <= fields.pixels_at as usize);
        let table = table.ok_or_else(|| damaged("its palette reaches into its pixels"))?;
        let colours: Vec<[u8; 3]> =
            table.chunks_exact(bytes).map(|colour| [colour[2], colour[1], colour[0]]).collect();
        let grey = colours.iter().all(|[red, green, blue]| red == green && green == blue);
        Ok(Format::Palette { bits: fields.bits, colours, grey })
    }

    fn masks(body: &[u8], fields: &Fields) -> Result<Format, DecodeError> {
        let bytes = usize::from(fields.bits) / 8;
        // Without masks of its own a pixel of 16 bits has 5 bits a colour.
        let mut masks = [0x7c00, 0x03e0, 0x001f, 0];
        if fields.compression != RGB {
            // Behind Windows 3's header or in a longer one: at the same place.
            for (index, mask) in masks.iter_mut().take(3).enumerate() {
                *mask = u32_at(body, 54 + index * 4)?;
            }
            let has_alpha =
                fields.header_bytes > MASKS_HEADER_BYTES && fields.header_bytes != OS2_HEADER_BYTES;
            if has_alpha || fields.compression == ALPHA_BITFIELDS {
                masks[3] = u32_at(body, 66)?;
            }
        }
        let [red, green, blue, alpha] = masks;
        let colours = [Mask::new(red)?, Mask::new(green)?, Mask::new(blue)?];
        let alpha = if alpha == 0 { None } else { Some(Mask::new(alpha)?) };
        Ok(Format::Masks { bytes, colours, alpha })
    }
}

impl Rows for Bmp<'_> {
    fn header(&self) -> Header {
        let grey = matches!(self.format, Format::Palette { grey: true, .. });
        let pixel = if grey { Pixel::Grey } else { Pixel::Rgb };
        let working_bytes = u64::from(self.size.0) * 3;
        Header { format: "bmp", size: self.size, pixel, orientation: 1, working_bytes }
    }

    fn read(self, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        let mut pixels = vec![0; self.size.0 as usize * self.header().pixel.bytes()];
        // Many writers leave a fourth byte at 0 in every pixel and call it alpha.
        let all_clear = match self.format {
            Format::Masks { bytes, alpha: Some(alpha), .. } => {
                self.stored().all(|row| numbers(row, bytes).all(|pixel| alpha.of(pixel) == 0))
            }
            _ => false,
        };
        for stored in self.stored() {
            match &self.format {
                Format::Palette { bits, colours, grey } => {
                    let indices = indices(stored, *bits);
                    let bytes = if *grey { 1 } else { 3 };
                    for (pixel, index) in pixels.chunks_exact_mut(bytes).zip(indices) {
                        let colour = colours.get(usize::from(index));
                        let colour =
                            colour.ok_or_else(|| damaged("a colour is not in its palette"))?;
                        pixel.copy_from_slice(&colour[..bytes]);
                    }
                }
                Format::Bytes(bytes) => {
                    for (pixel, bgr) in
                        pixels.as_chunks_mut::<3>().0.iter_mut().zip(stored.chunks_exact(*bytes))
                    {
                        *pixel = [bgr[2], bgr[1], bgr[0]];
                    }
                }
                Format::Masks { bytes, colours, alpha } => {
                    let alpha = alpha.filter(|_| !all_clear);
                    for (pixel, number) in
                        pixels.as_chunks_mut::<3>().0.iter_mut().zip(numbers(stored, *bytes))
                    {
                        *pixel = colours.map(|mask| match alpha {
                            Some(alpha) => blend::<255>(mask.of(number), alpha.of(number)),
                            None => mask.of(number),
                        });
                    }
                }
            }
            row(&pixels);
        }
        Ok(())
    }
}

/// Gives the indices of a row, of 1, 4 or 8 bits, the highest bits first.
fn indices(row: &[u8], bits: u16) -> impl Iterator<Item = u8> {
    let per_byte = 8 / bits;
    let mask = u8::MAX >> (8 - bits);
    row.iter().flat_map(move |&byte| {
        (0..per_byte).map(move |index| byte >> (8 - bits * (index + 1)) & mask)
    })
}

/// Gives the pixels of a row as little-endian numbers of 2 or 4 bytes.
fn numbers(row: &[u8], bytes: usize) -> impl Iterator<Item = u32> {
    row.chunks_exact(bytes)
        .map(|pixel| pixel.iter().rev().fold(0, |number, &byte| number << 8 | u32::from(byte)))
}

fn u16_at(body: &[u8], at: usize) -> Result<u16, DecodeError> {
    body.get(at..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| u16::from_le_bytes(*bytes))
        .ok_or_else(cut)
}

fn u32_at(body: &[u8], at: usize) -> Result<u32, DecodeError> {
    body.get(at..)
        .and_then(<[u8]>::first_chunk)
        .map(|bytes| u32::from_le_bytes(*bytes))
        .ok_or_else(cut)
}

fn cut() -> DecodeError {
    DecodeError::Truncated { format: "bmp", missing: "its header is cut" }
}

fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged { format: "bmp", reason: reason.to_owned() }
}

fn unsupported(feature: &str) -> DecodeError {
    DecodeError::Unsupported { format: "bmp", feature: feature.to_owned() }
}
