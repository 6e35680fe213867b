//! A JPEG file to rows of pixels, from the top, at its size or a half, a quarter or an eighth of it.

use super::colour;
use super::frame::BLOCK_SIDE;
use super::plane::Plane;
use super::refusal::{Fault, truncated};
use super::store::Store;
use super::stream::Stream;
use super::walk::{Plan, plan};
use crate::error::DecodeError;
use crate::limits::DECODED_BYTES_MAX;
use crate::rows::Header;

/// What the segments' outline and the codes of a scan take, in bytes, at most: four components with tables
/// of 9 KiB, and 64 scans of half a KiB.
const TABLES_BYTES: u64 = 96 << 10;

/// A JPEG file whose segments were walked.
pub struct Jpeg<'a> {
    plan: Plan<'a>,
    working_bytes: u64,
}

impl<'a> Jpeg<'a> {
    /// Walks over a body that starts like a JPEG. No pixel is decoded.
    ///
    /// # Errors
    /// Malformed when the file is cut or its segments contradict each other, too large when its size, its
    /// scans or the memory it needs exceed the limits, unprocessable when it is coded in a way that is not
    /// read.
    pub fn open(body: &'a [u8]) -> Result<Jpeg<'a>, DecodeError> {
        let plan = plan(body)?;
        let planes = plan.frame.components.iter();
        let planes: u64 = planes.map(|component| Plane::bytes(&plan.frame, component)).sum();
        let coefficients = if plan.is_single_scan() { 0 } else { Store::bytes(&plan.frame) };
        let working_bytes = planes + coefficients + TABLES_BYTES;
        if working_bytes > DECODED_BYTES_MAX {
            return Err(DecodeError::Memory { needed: working_bytes, most: DECODED_BYTES_MAX });
        }
        Ok(Jpeg { plan, working_bytes })
    }

    /// Returns what is known of the picture.
    pub fn header(&self) -> Header {
        Header {
            format: "jpeg",
            size: (self.plan.frame.width, self.plan.frame.height),
            pixel: self.plan.space.pixel(),
            orientation: self.plan.orientation,
            working_bytes: self.working_bytes,
        }
    }

    /// Returns how many scans make up the picture.
    pub fn scans(&self) -> usize {
        self.plan.scans.len()
    }

    /// Decodes the picture at its size divided by `reduction`, which is 1, 2, 4 or 8, and rounded up. Each
    /// row is given to `row`, the first one first; where damage is found, some were given before it.
    ///
    /// # Errors
    /// Malformed when a scan is damaged or does not hold exactly its blocks.
    pub fn read(self, reduction: u32, row: &mut dyn FnMut(&[u8])) -> Result<(), DecodeError> {
        assert!(matches!(reduction, 1 | 2 | 4 | 8), "reduction {reduction}");
        let mut strips = Strips::new(&self.plan, BLOCK_SIDE / reduction);
        if self.plan.is_single_scan() {
            let mut stream = Stream::new(&self.plan)?;
            strips.each(|_, planes| stream.fill(planes), row)?;
            return Ok(stream.finish()?);
        }
        let store = Store::new(&self.plan)?;
        strips.each(
            |strip, planes| {
                store.fill(strip, planes);
                Ok(())
            },
            row,
        )
    }
}

/// The rows of MCUs that turn into rows of pixels.
struct Strips<'a> {
    plan: &'a Plan<'a>,
    planes: Vec<Plane>,
    width: usize,
    height: usize,
    /// Rows of pixels in a row of MCUs.
    rows: usize,
}

impl<'a> Strips<'a> {
    /// `side` is what a block of the finest component gives each way.
    fn new(plan: &'a Plan<'a>, side: u32) -> Strips<'a> {
        let frame = &plan.frame;
        let planes = frame.components.iter().zip(&plan.steps);
        let scaled = |length: u32| (length * side).div_ceil(BLOCK_SIDE) as usize;
        Strips {
            plan,
            planes: planes.map(|(part, steps)| Plane::new(frame, part, steps, side)).collect(),
            width: scaled(frame.width),
            height: scaled(frame.height),
            rows: (frame.down_max * side) as usize,
        }
    }

    /// Fills the planes strip by strip, and gives each row of pixels to `row` once all of its samples are
    /// at hand.
    fn each(
        &mut self,
        mut fill: impl FnMut(usize, &mut [Plane]) -> Result<(), Fault>,
        row: &mut dyn FnMut(&[u8]),
    ) -> Result<(), DecodeError> {
        let mut pixels = vec![0; self.width * self.plan.space.pixel().bytes()];
        // The last row of a strip may need the next one.
        let late = usize::from(self.planes.iter().any(Plane::looks_down));
        let strips = self.plan.frame.mcus().1 as usize;
        let mut done = 0;
        for strip in 0..strips {
            self.planes.iter_mut().for_each(Plane::advance);
            fill(strip, &mut self.planes)?;
            let first = strip * self.rows;
            let end = if strip + 1 == strips { self.height } else { first + self.rows - late };
            for y in done..end {
                self.convert(strip, y as isize - first as isize, &mut pixels);
                row(&pixels);
            }
            done = end;
        }
        if done < self.height {
            return Err(truncated("its last rows are missing"));
        }
        Ok(())
    }

    fn convert(&mut self, strip: usize, y: isize, pixels: &mut [u8]) {
        let mut samples: [&[u8]; 4] = [&[]; 4];
        let count = self.planes.len();
        for (samples, plane) in samples.iter_mut().zip(&mut self.planes) {
            *samples = plane.row(strip, y);
        }
        colour::convert(self.plan.space, &samples[..count], pixels);
    }
}
