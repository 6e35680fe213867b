//! The rows of a TIFF file's first picture, one row of strips or tiles at a time.

use super::plan::Plan;
use crate::error::DecodeError;
use crate::rows::{Header, Rows};
use crate::samples::narrow;

/// Grey or RGB of 8 or 16 bits, with or without alpha, in strips or tiles, uncompressed or in LZW, Deflate
/// or PackBits.
pub struct Tiff<'a> {
    plan: Plan<'a>,
}

impl<'a> Tiff<'a> {
    /// Reads the directory of a body.
    ///
    /// # Errors
    /// Those of [`Plan::of`].
    pub fn open(body: &'a [u8]) -> Result<Tiff<'a>, DecodeError> {
        Ok(Tiff { plan: Plan::of(body)? })
    }

    /// Returns all that decoding holds beside a row, in bytes.
    pub fn held_bytes(&self) -> u64 {
        self.plan.working_bytes() + self.plan.table_bytes()
    }

    /// Gives the rows as decoded, channels side by side and 16 bits in the machine's byte order, until
    /// `row` returns false.
    fn decoded(&self, mut row: impl FnMut(&[u8]) -> bool) -> Result<(), DecodeError> {
        let plan = &self.plan;
        let data = plan.data()?.collect::<Result<Vec<_>, _>>()?;
        let row_bytes = plan.size.0 as usize * plan.pixel_bytes();
        let (across, down) = plan.chunks();
        let planes = data.chunks_exact(across as usize * down as usize);
        let chunk_row_bytes = plan.chunk.0 as usize * plan.coding.pixel_bytes();
        let (mut band, mut chunk) = (Vec::new(), Vec::new());
        for y in 0..down {
            let rows = plan.chunk.1.min(plan.size.1 - y * plan.chunk.1) as usize;
            band.resize(row_bytes * rows, 0);
            for (channel, plane) in planes.clone().enumerate() {
                for x in 0..across {
                    let data = plane[(y * across + x) as usize];
                    if plan.is_whole_rows() {
                        plan.coding.decode(data, &mut band, row_bytes)?;
                        continue;
                    }
                    chunk.resize(chunk_row_bytes * rows, 0);
                    plan.coding.decode(data, &mut chunk, chunk_row_bytes)?;
                    let columns = chunk.chunks_exact(chunk_row_bytes);
                    for (from, to) in columns.zip(band.chunks_exact_mut(row_bytes)) {
                        self.place(from, to, x as usize, channel);
                    }
                }
            }
            if !band.chunks_exact(row_bytes).all(&mut row) {
                break;
            }
        }
        Ok(())
    }

    /// Puts a row of the strip or tile in column `x` into a row of the picture; in planes, as the channel
    /// of its pixels. What lies beyond the picture's edge is left out.
    fn place(&self, from: &[u8], to: &mut [u8], x: usize, channel: usize) {
        let pixel_bytes = self.plan.pixel_bytes();
        let to = &mut to[x * self.plan.chunk.0 as usize * pixel_bytes..];
        if !self.plan.planar {
            let bytes = from.len().min(to.len());
            to[..bytes].copy_from_slice(&from[..bytes]);
            return;
        }
        let sample = self.plan.coding.pixel_bytes();
        for (from, to) in from.chunks_exact(sample).zip(to.chunks_exact_mut(pixel_bytes)) {
            to[channel * sample..(channel + 1) * sample].copy_from_slice(from);
        }
    }
}

impl Rows for Tiff<'_> {
    fn header(&self) -> Header {
        let Plan { size, samples, orientation, .. } = self.plan;
        let working_bytes = self.plan.working_bytes();
        Header { format: "tiff", size, pixel: samples.pixel, orientation, working_bytes }
    }

    fn read(self, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        let samples = self.plan.samples;
        let width = self.plan.size.0 as usize;
        if self.plan.coding.wide {
            let mut wide = vec![0; width * samples.channels()];
            let rows = |take: &mut dyn FnMut(&[u16]) -> bool| {
                self.decoded(|bytes| {
                    for (to, &from) in wide.iter_mut().zip(bytes.as_chunks().0) {
                        *to = u16::from_ne_bytes(from);
                    }
                    take(&wide)
                })
            };
            return narrow("tiff", samples, self.plan.depth, rows, row);
        }
        let mut pixels = vec![0; width * samples.pixel.bytes()];
        self.decoded(|bytes| {
            samples.narrow_row(bytes, &mut pixels);
            row(&pixels);
            true
        })
    }
}
