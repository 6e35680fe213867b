//! One strip or tile of a TIFF file: what is stored to samples in the machine's byte order (TIFF 6.0,
//! sections 8, 9, 13 and 14; Deflate by Adobe's technical notes).
//!
//! It must not know where a strip is, nor what its samples mean.

use fdeflate::Decompressor;
use weezl::BitOrder;
use weezl::decode::Configuration;

use crate::error::DecodeError;

/// The bits of the symbols that LZW begins with.
const LZW_SYMBOL_BITS: u8 = 8;
/// The most channels side by side: colours and alpha.
const CHANNELS_MAX: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    None,
    Lzw,
    Deflate,
    PackBits,
}

/// How the samples of a strip or tile are stored.
#[derive(Clone, Copy)]
pub struct Coding {
    pub compression: Compression,
    /// Whether samples have 16 bits; 8 otherwise.
    pub wide: bool,
    pub big_endian: bool,
    /// Whether differences from the pixel to the left are stored.
    pub differences: bool,
    /// Whether 0 is white.
    pub inverted: bool,
    /// The channels side by side in a row, 1 to 4.
    pub interleaved: usize,
}

impl Coding {
    /// Returns the bytes of a pixel of one strip or tile.
    pub fn pixel_bytes(self) -> usize {
        self.interleaved << usize::from(self.wide)
    }

    /// Decodes the first rows of a strip or tile, as many as `samples` holds, each of `row_bytes`.
    ///
    /// # Errors
    /// Truncated when it holds fewer, damaged when its compression is broken.
    pub fn decode(
        self,
        data: &[u8],
        samples: &mut [u8],
        row_bytes: usize,
    ) -> Result<(), DecodeError> {
        let written = match self.compression {
            Compression::None => {
                let bytes = data.len().min(samples.len());
                samples[..bytes].copy_from_slice(&data[..bytes]);
                bytes
            }
            Compression::Lzw => unlzw(data, samples)?,
            Compression::Deflate => inflate(data, samples)?,
            Compression::PackBits => unpack(data, samples),
        };
        if written < samples.len() {
            let missing = "a strip or tile ends before its last pixel";
            return Err(DecodeError::Truncated { format: "tiff", missing });
        }
        samples.chunks_exact_mut(row_bytes).for_each(|row| self.finish(row));
        Ok(())
    }

    /// Turns a row as it is stored into samples.
    fn finish(self, row: &mut [u8]) {
        if self.wide {
            let mut left = [0_u16; CHANNELS_MAX];
            for pixel in row.chunks_exact_mut(self.pixel_bytes()) {
                for (sample, left) in pixel.as_chunks_mut::<2>().0.iter_mut().zip(&mut left) {
                    let stored = match self.big_endian {
                        true => u16::from_be_bytes(*sample),
                        false => u16::from_le_bytes(*sample),
                    };
                    *left = if self.differences { left.wrapping_add(stored) } else { stored };
                    *sample = left.to_ne_bytes();
                }
            }
        } else if self.differences {
            for at in self.interleaved..row.len() {
                row[at] = row[at].wrapping_add(row[at - self.interleaved]);
            }
        }
        if self.inverted {
            row.iter_mut().for_each(|byte| *byte = !*byte);
        }
    }
}

/// Deflate grows what it can't pack by less than one part in so many, and by its frame, bytes. The rest of
/// a longer stream is blocks without content, each of which takes time.
const OVERHEAD_PART: usize = 32;
const OVERHEAD_BYTES: usize = 1 << 10;

/// A stream that goes on for longer behind the last pixel is taken without its checksum: a strip may be
/// written whole where the picture's last one is cut. A single bit adds no more than a match has.
const SURPLUS_BYTES: usize = 512;

/// How far back a deflate stream refers (RFC 1951).
const WINDOW_BYTES: usize = 32 << 10;

/// Writes what a zlib stream holds; returns how many bytes were written. A stream that ends with them is
/// read to its checksum.
fn inflate(data: &[u8], to: &mut [u8]) -> Result<usize, DecodeError> {
    let data = &data[..data.len().min(to.len() + to.len() / OVERHEAD_PART + OVERHEAD_BYTES)];
    let broken = |_| damaged("a deflate stream is broken");
    let mut zlib = Decompressor::new();
    let (read, written) = zlib.read(data, to, 0, false).map_err(broken)?;
    if zlib.is_done() || written < to.len() {
        return Ok(written);
    }
    // What the rest may refer to, with room for what a damaged stream has too much.
    let mut end = to[written - written.min(WINDOW_BYTES)..].to_vec();
    let behind = end.len();
    end.resize(behind + SURPLUS_BYTES, 0);
    let (_, surplus) = zlib.read(&data[read..], &mut end, behind, false).map_err(broken)?;
    if zlib.is_done() || surplus > 0 {
        return Ok(written);
    }
    Err(DecodeError::Truncated { format: "tiff", missing: "a strip or tile lacks its checksum" })
}

fn unlzw(data: &[u8], to: &mut [u8]) -> Result<usize, DecodeError> {
    let tiff = Configuration::with_tiff_size_switch(BitOrder::Msb, LZW_SYMBOL_BITS);
    let mut lzw = tiff.with_yield_on_full_buffer(true).build();
    let (mut read, mut written) = (0, 0);
    while written < to.len() {
        let result = lzw.decode_bytes(&data[read..], &mut to[written..]);
        result.status.map_err(|error| damaged(&error.to_string()))?;
        if result.consumed_in + result.consumed_out == 0 {
            break;
        }
        read += result.consumed_in;
        written += result.consumed_out;
    }
    Ok(written)
}

/// Writes runs and literals until one of the two ends; returns how many bytes were written.
fn unpack(mut data: &[u8], to: &mut [u8]) -> usize {
    let mut written = 0;
    while let Some((&head, rest)) = data.split_first() {
        let room = &mut to[written..];
        let head = head.cast_signed();
        let (bytes, used) = match (head, rest.first()) {
            (i8::MIN, _) => (0, 0),
            (0.., _) => {
                let bytes = (head as usize + 1).min(room.len()).min(rest.len());
                room[..bytes].copy_from_slice(&rest[..bytes]);
                (bytes, bytes)
            }
            (_, Some(&value)) => {
                let bytes = (1 + usize::from(head.unsigned_abs())).min(room.len());
                room[..bytes].fill(value);
                (bytes, 1)
            }
            (_, None) => break,
        };
        written += bytes;
        if written == to.len() {
            break;
        }
        data = &rest[used..];
    }
    written
}

fn damaged(reason: &str) -> DecodeError {
    DecodeError::Damaged {
        format: "tiff",
        reason: format!("a strip or tile does not decode, {reason}"),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::time::{Duration, Instant};

    use super::*;

    /// Ten bits that hold nothing cost as much as a block that holds something: 16 MiB of them took a minute.
    #[test]
    fn blocks_without_content_behind_a_small_strip_are_not_read() {
        let blocks = [0x02, 0x08, 0x20, 0x80, 0x00].repeat(1 << 20);
        let begun = Instant::now();
        assert_eq!(inflate(&[&b"\x78\x9c"[..], &blocks].concat(), &mut [0; 3072]).unwrap(), 0);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }

    /// Four bytes a block: for a decoder that makes its tables anew for each, a minute on a small board.
    #[test]
    fn small_blocks_cost_little_more_than_large_ones() {
        let blocks = [0x02, 0x01, 0x80, 0x40, 0x00, 0x20, 0x10, 0x00, 0x08, 0x04, 0x00];
        let stream = [&b"\x78\x9c\0\x01\0\xfe\xff\x07"[..], &blocks.repeat(1 << 19)].concat();
        let mut unpacked = vec![0; 1 + (16 << 19)];
        let begun = Instant::now();
        let unpacked = inflate(&stream, &mut unpacked);
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
        assert!(matches!(unpacked, Err(DecodeError::Truncated { .. })), "without an end");
    }

    #[test]
    fn what_can_not_be_packed_is_unpacked_whatever_its_length() {
        for length in [1_usize, 3072, 1 << 20] {
            let mut state = 1_u32;
            let noise: Vec<u8> = (0..length)
                .map(|_| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                })
                .collect();
            for level in [flate2::Compression::none(), flate2::Compression::best()] {
                let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), level);
                zlib.write_all(&noise).unwrap();
                let packed = [zlib.finish().unwrap(), vec![0; 4096]].concat();
                let mut unpacked = vec![0; length];
                assert_eq!(inflate(&packed, &mut unpacked).unwrap(), length);
                assert!(unpacked == noise, "{length} {level:?}");
            }
        }
    }
}
