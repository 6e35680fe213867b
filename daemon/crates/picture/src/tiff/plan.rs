//! What a TIFF file's first directory states, before any of it is decoded (TIFF 6.0).
//!
//! Owns every limit on a TIFF: its sizes, and that each strip or tile is in the file. It must not decode
//! anything.

use super::chunk::{Coding, Compression};
use crate::directory::Directory;
use crate::error::DecodeError;
use crate::limits::{IMAGE_SIDE_MAX, PIXELS_MAX};
use crate::outline::check_size;
use crate::rows::Pixel;
use crate::samples::{Alpha, Depth, Samples};

/// The tags that are read; TIFF 6.0, appendix A.
const WIDTH: u16 = 256;
const HEIGHT: u16 = 257;
const BITS: u16 = 258;
const COMPRESSION: u16 = 259;
const PHOTOMETRIC: u16 = 262;
const FILL_ORDER: u16 = 266;
const STRIP_OFFSETS: u16 = 273;
const SAMPLES: u16 = 277;
const ROWS_PER_STRIP: u16 = 278;
const STRIP_BYTES: u16 = 279;
const MAX_SAMPLE: u16 = 281;
const PLANAR: u16 = 284;
const PREDICTOR: u16 = 317;
const TILE_WIDTH: u16 = 322;
const TILE_HEIGHT: u16 = 323;
const TILE_OFFSETS: u16 = 324;
const TILE_BYTES: u16 = 325;
const EXTRA_SAMPLES: u16 = 338;
const SAMPLE_FORMAT: u16 = 339;
/// Those of them that have exactly one value.
const SINGLE: [u16; 11] = [
    WIDTH,
    HEIGHT,
    COMPRESSION,
    PHOTOMETRIC,
    FILL_ORDER,
    SAMPLES,
    ROWS_PER_STRIP,
    PLANAR,
    PREDICTOR,
    TILE_WIDTH,
    TILE_HEIGHT,
];
/// Those that have several.
const LISTS: [u16; 7] =
    [BITS, STRIP_OFFSETS, STRIP_BYTES, TILE_OFFSETS, TILE_BYTES, EXTRA_SAMPLES, SAMPLE_FORMAT];
/// The most values of such a tag: a strip for each row of three planes of the tallest picture.
const VALUES_MAX: u32 = 3 * IMAGE_SIDE_MAX;
/// The most pixels of all tiles with what lies beyond the picture's edges, which are decoded too.
const TILED_PIXELS_MAX: u64 = 2 * PIXELS_MAX;

/// Strips and tiles may be so often the file's length in all, beside what they decode to: some writers state
/// lengths that reach a little into the next one.
const STORED_COPIES_MAX: u64 = 2;

/// What unpacking a strip holds beside it, in bytes at most: the tables of Deflate or LZW.
const UNPACKING_BYTES: u64 = 192 << 10;

/// `Predictor`: the samples themselves, or their differences from the pixel to the left.
const DIFFERENCES: u32 = 2;

/// What is to be decoded, and how.
pub struct Plan<'a> {
    body: &'a [u8],
    directory: Directory<'a>,
    pub size: (u32, u32),
    pub samples: Samples,
    pub coding: Coding,
    pub depth: Depth,
    pub orientation: u8,
    /// Whether each channel is stored by itself.
    pub planar: bool,
    /// Width and height of a strip or tile, in pixels, at its full size.
    pub chunk: (u32, u32),
    tiled: bool,
}

impl<'a> Plan<'a> {
    /// Reads the first directory of a body.
    ///
    /// # Errors
    /// Malformed when the directory, a strip or a tile is not in the file, too large when sizes beyond the
    /// limits are stated, unprocessable when the pixels are of a kind that is not read.
    pub fn of(body: &'a [u8]) -> Result<Plan<'a>, DecodeError> {
        if body.starts_with(b"II+\0") || body.starts_with(b"MM\0+") {
            return Err(unsupported("64-bit offsets (BigTIFF)"));
        }
        if !body.starts_with(b"II*\0") && !body.starts_with(b"MM\0*") {
            return Err(damaged("its signature is missing"));
        }
        let missing = "its directory is not in the file";
        let directory =
            Directory::first(body).ok_or(DecodeError::Truncated { format: "tiff", missing })?;
        check_counts(&directory)?;
        let tag = |tag| directory.number(tag);
        let (Some(width), Some(height)) = (tag(WIDTH), tag(HEIGHT)) else {
            return Err(damaged("its directory states no size"));
        };
        check_size(width, height)?;
        if tag(FILL_ORDER).is_some_and(|order| order != 1) {
            return Err(unsupported("bits in reverse order"));
        }
        let samples = samples(&directory)?;
        let planar = match tag(PLANAR) {
            None | Some(1) => false,
            Some(2) => samples.channels() > 1,
            Some(other) => return Err(unsupported(&format!("planar configuration {other}"))),
        };
        let tiled = tag(TILE_WIDTH).is_some() || tag(TILE_OFFSETS).is_some();
        let chunk = if tiled {
            (tag(TILE_WIDTH).unwrap_or(0), tag(TILE_HEIGHT).unwrap_or(0))
        } else {
            (width, tag(ROWS_PER_STRIP).unwrap_or(height).min(height))
        };
        let plan = Plan {
            body,
            directory,
            size: (width, height),
            samples,
            coding: coding(&directory, if planar { 1 } else { samples.channels() })?,
            depth: tag(MAX_SAMPLE).map_or(Depth::Unstated, depth),
            orientation: directory.orientation(),
            planar,
            chunk,
            tiled,
        };
        plan.check_chunk()?;
        plan.check_data()?;
        Ok(plan)
    }

    /// Returns the bytes of a pixel as decoded, all channels together.
    pub fn pixel_bytes(&self) -> usize {
        self.samples.channels() << usize::from(self.coding.wide)
    }

    /// Returns how many strips or tiles there are across and down.
    pub fn chunks(&self) -> (u32, u32) {
        (self.size.0.div_ceil(self.chunk.0), self.size.1.div_ceil(self.chunk.1))
    }

    /// Whether a strip or tile is decoded to whole rows.
    pub fn is_whole_rows(&self) -> bool {
        !self.planar && self.chunk.0 == self.size.0
    }

    /// Returns what decoding holds at most, in bytes: a row of strips or tiles, and one of them where it
    /// isn't decoded to whole rows.
    pub fn working_bytes(&self) -> u64 {
        let rows = u64::from(self.chunk.1.min(self.size.1));
        let band = u64::from(self.size.0) * rows * self.pixel_bytes() as u64;
        let chunk = u64::from(self.chunk.0) * rows * self.coding.pixel_bytes() as u64;
        if self.is_whole_rows() { band } else { band + chunk }
    }

    /// Returns what finding the strips or tiles and unpacking one hold beside that, in bytes at most.
    pub fn table_bytes(&self) -> u64 {
        let (across, down) = self.chunks();
        let planes = if self.planar { self.samples.channels() as u64 } else { 1 };
        let chunks = u64::from(across) * u64::from(down) * planes;
        // The list of them may grow to twice its length.
        2 * chunks * size_of::<&[u8]>() as u64 + UNPACKING_BYTES
    }

    fn check_chunk(&self) -> Result<(), DecodeError> {
        let (width, height) = self.chunk;
        if width == 0 || height == 0 {
            return Err(damaged("its strips or tiles have no pixels"));
        }
        if !self.tiled {
            return Ok(());
        }
        let (across, down) = self.chunks();
        let pixels = u64::from(across) * u64::from(down) * u64::from(width) * u64::from(height);
        if width.max(height) > IMAGE_SIDE_MAX || pixels > TILED_PIXELS_MAX {
            return Err(unsupported(&format!("tiles of {width}x{height}")));
        }
        Ok(())
    }

    /// Refuses a file that lacks a strip or tile, or whose strips and tiles share so much of it that
    /// reading them takes far longer than the file is large. Blank ones may be the same bytes: those are
    /// no more than what they decode to.
    fn check_data(&self) -> Result<(), DecodeError> {
        let (across, down) = self.chunks();
        let planes = if self.planar { self.samples.channels() as u64 } else { 1 };
        let (mut found, mut stored) = (0_u64, 0_u64);
        for data in self.data()? {
            found += 1;
            stored += data?.len() as u64;
        }
        let needed = u64::from(across) * u64::from(down) * planes;
        if found != needed {
            return Err(damaged(&format!("it has {found} strips or tiles, {needed} are needed")));
        }
        let chunk = u64::from(self.chunk.0) * u64::from(self.chunk.1.min(self.size.1));
        let decoded = needed * chunk * self.coding.pixel_bytes() as u64;
        let most = decoded + STORED_COPIES_MAX * self.body.len() as u64;
        if stored > most {
            let overlap = format!(
                "its strips or tiles overlap, they are {stored} bytes, {most} are possible"
            );
            return Err(damaged(&overlap));
        }
        Ok(())
    }
    /// Gives what is stored of each strip or tile: from left to right, from the top, plane by plane.
    pub fn data(
        &self,
    ) -> Result<impl Iterator<Item = Result<&'a [u8], DecodeError>> + use<'a>, DecodeError> {
        let tags =
            if self.tiled { (TILE_OFFSETS, TILE_BYTES) } else { (STRIP_OFFSETS, STRIP_BYTES) };
        let missing = || damaged("it does not say where its strips or tiles are");
        let offsets = self.directory.numbers(tags.0).ok_or_else(missing)?;
        let lengths = self.directory.numbers(tags.1).ok_or_else(missing)?;
        let body = self.body;
        Ok(offsets.zip(lengths).map(move |(offset, length)| {
            let data = body.get(offset as usize..).and_then(|data| data.get(..length as usize));
            data.ok_or(DecodeError::Truncated {
                format: "tiff",
                missing: "a strip or tile is missing",
            })
        }))
    }
}

/// Refuses tags that are stated twice, that have more values than any picture needs, or whose values are
/// no whole numbers in the file.
fn check_counts(directory: &Directory) -> Result<(), DecodeError> {
    let mut seen = 0_u32;
    for entry in directory.entries() {
        let single = SINGLE.iter().position(|&tag| tag == entry.tag);
        let list = LISTS.iter().position(|&tag| tag == entry.tag).map(|index| index + SINGLE.len());
        let Some(index) = single.or(list) else { continue };
        if seen & 1 << index != 0 {
            return Err(damaged(&format!("tag {} is stated twice", entry.tag)));
        }
        seen |= 1 << index;
        let most = if single.is_some() { 1 } else { VALUES_MAX };
        if entry.count == 0 || entry.count > most {
            return Err(damaged(&format!("tag {} has {} values", entry.tag, entry.count)));
        }
        if directory.numbers(entry.tag).is_none() {
            return Err(damaged(&format!("the values of tag {} are not in the file", entry.tag)));
        }
    }
    Ok(())
}

/// Returns how the samples of a row are stored, `interleaved` channels side by side.
fn coding(directory: &Directory, interleaved: usize) -> Result<Coding, DecodeError> {
    let formats = directory.numbers(SAMPLE_FORMAT);
    if formats.is_some_and(|mut formats| formats.any(|format| format != 1)) {
        return Err(unsupported("samples that are not unsigned whole numbers"));
    }
    let mut bits = directory.numbers(BITS).ok_or_else(|| unsupported("1 bit a sample"))?;
    let first = bits.next().unwrap_or(1);
    if !matches!(first, 8 | 16) || bits.any(|bits| bits != first) {
        return Err(unsupported(&format!("{first} bits a sample")));
    }
    let compression = match directory.number(COMPRESSION).unwrap_or(1) {
        1 => Compression::None,
        5 => Compression::Lzw,
        8 | 32_946 => Compression::Deflate,
        32_773 => Compression::PackBits,
        6 | 7 => return Err(unsupported("JPEG inside")),
        other => return Err(unsupported(&format!("compression {other}"))),
    };
    let differences = match directory.number(PREDICTOR) {
        None | Some(1) => false,
        Some(DIFFERENCES) => true,
        Some(other) => return Err(unsupported(&format!("predictor {other}"))),
    };
    let inverted = directory.number(PHOTOMETRIC) == Some(0);
    let (big_endian, wide) = (directory.big_endian(), first == 16);
    Ok(Coding { compression, wide, big_endian, differences, inverted, interleaved })
}

fn samples(directory: &Directory) -> Result<Samples, DecodeError> {
    let (pixel, photometric) = match directory.number(PHOTOMETRIC) {
        Some(photometric @ (0 | 1)) => (Pixel::Grey, photometric),
        Some(2) => (Pixel::Rgb, 2),
        Some(3) => return Err(unsupported("a palette")),
        Some(other) => return Err(unsupported(&format!("photometric interpretation {other}"))),
        None => return Err(damaged("its photometric interpretation is missing")),
    };
    let stated = directory.number(SAMPLES).unwrap_or(1) as usize;
    let alpha = match (stated.checked_sub(pixel.bytes()), directory.number(EXTRA_SAMPLES)) {
        (Some(0), None) => Alpha::None,
        (Some(1), Some(1)) if photometric > 0 => Alpha::Premultiplied,
        (Some(1), Some(2)) if photometric > 0 => Alpha::Straight,
        // OpenCV writes four samples and states nothing of the fourth.
        (Some(1), None) if photometric == 2 => Alpha::Straight,
        _ => return Err(unsupported(&format!("{stated} samples a pixel"))),
    };
    Ok(Samples { pixel, alpha })
}

/// Returns what MaxSampleValue says; one that isn't all ones is a statistic of the picture.
fn depth(max_sample: u32) -> Depth {
    match max_sample {
        65_535 => Depth::White(u16::MAX),
        255..65_535 if (max_sample + 1).is_power_of_two() => {
            Depth::Significant(max_sample.trailing_ones() as u8)
        }
        _ => Depth::Unstated,
    }
}

pub fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged { format: "tiff", reason: reason.to_owned() }
}

pub fn unsupported(feature: &str) -> DecodeError {
    DecodeError::Unsupported { format: "tiff", feature: feature.to_owned() }
}
