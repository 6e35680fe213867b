//! The samples of one component that are at hand: those of a row of MCUs, and the last row before them.

use super::block::Block;
use super::frame::{BLOCK_SIDE, Component, Frame};
use super::{idct, reduced, upsample};

/// The narrowest component that the filters smooth, in samples; libjpeg repeats in narrower ones.
const SMOOTH_WIDTH_MIN: usize = 3;

/// A strip of a component at the asked size.
pub struct Plane {
    /// Samples that a block gives each way: 8, 4, 2 or 1.
    side: usize,
    /// Samples that count, across and down in all.
    width: usize,
    height: usize,
    /// How many pixels of the picture a sample is for, across and down.
    expand: (usize, usize),
    smooth: bool,
    /// Rows of samples in a row of MCUs.
    rows: usize,
    stride: usize,
    samples: Vec<u8>,
    steps: Block,
    /// Room for a row as wide as the picture, and for its sums.
    wide: Vec<u8>,
    sums: Vec<u16>,
}

impl Plane {
    /// Makes room for a component. `smallest` is what a block of the finest component gives each way.
    pub fn new(frame: &Frame, component: &Component, steps: &[u16; 64], smallest: u32) -> Plane {
        let side = side(frame, component, smallest);
        let scaled = |length: u32, factor: u32, most: u32| {
            (length * factor * side).div_ceil(most * BLOCK_SIDE) as usize
        };
        let width = scaled(frame.width, component.across, frame.across_max);
        let height = scaled(frame.height, component.down, frame.down_max);
        let expand = |factor: u32, most: u32| (most * smallest / (factor * side)) as usize;
        let across = expand(component.across, frame.across_max);
        let down = expand(component.down, frame.down_max);
        let smooth = smallest > 1
            && match (across, down) {
                (2, 1 | 2) => width >= SMOOTH_WIDTH_MIN,
                (1, 2) => true,
                _ => false,
            };
        let rows = (component.down * side) as usize;
        let stride = (frame.padded_blocks(component).0 * side) as usize;
        let is_whole = (across, down) == (1, 1);
        Plane {
            side: side as usize,
            width,
            height,
            expand: (across, down),
            smooth,
            rows,
            stride,
            samples: vec![0; (rows + 1) * stride],
            steps: idct::factors(steps),
            wide: vec![0; if is_whole { 0 } else { width * across }],
            sums: vec![0; if is_whole { 0 } else { width }],
        }
    }

    /// Returns the most bytes that it holds.
    pub fn bytes(frame: &Frame, component: &Component) -> u64 {
        let stride = u64::from(frame.padded_blocks(component).0 * BLOCK_SIDE);
        let rows = u64::from(component.down * BLOCK_SIDE + 1);
        let across = u64::from(frame.across_max / component.across);
        // Besides the samples a row as wide as the picture, and sums of two bytes.
        stride * (rows + across + 2)
    }

    /// Whether a row of the picture may need samples of the row of MCUs below.
    pub fn looks_down(&self) -> bool {
        self.smooth && self.expand.1 == 2
    }

    /// Whether a block gives its mean alone.
    pub fn is_single(&self) -> bool {
        self.side == 1
    }

    /// Keeps the last row, for the rows of the picture that need it beside those to come.
    pub fn advance(&mut self) {
        let last = self.rows * self.stride;
        self.samples.copy_within(last..last + self.stride, 0);
    }

    /// Takes a block in this column and row of the strip's blocks. The place of its last coefficient in the
    /// order of a scan is `last`.
    #[inline]
    pub fn put(&mut self, (x, y): (usize, usize), block: &Block, last: usize) {
        let start = (1 + y * self.side) * self.stride + x * self.side;
        let to = &mut self.samples[start..];
        match (last, self.side) {
            (0, side) => idct::flat(block[0], self.steps[0], side, to, self.stride),
            (_, 8) => idct::whole(block, &self.steps, to, self.stride),
            (_, 4) => reduced::half(block, &self.steps, to, self.stride),
            (_, 2) => reduced::quarter(block, &self.steps, to, self.stride),
            _ => to[0] = idct::level(block[0], self.steps[0]),
        }
    }

    /// Takes a block's mean alone.
    #[inline]
    pub fn put_level(&mut self, (x, y): (usize, usize), dc: i16) {
        self.samples[(1 + y) * self.stride + x] = idct::level(dc, self.steps[0]);
    }

    /// Returns the samples of one row of the picture. It is counted from the first row of the strip, which
    /// holds the `strip`th row of MCUs; -1 is the last row of the strip before.
    pub fn row(&mut self, strip: usize, row: isize) -> &[u8] {
        let down = self.expand.1 as isize;
        let near = row.div_euclid(down);
        let width = self.width;
        let start = |row: isize| (row + 1) as usize * self.stride;
        let samples = |row: isize| &self.samples[start(row)..start(row) + width];
        let upper = row.rem_euclid(down) == 0;
        // The rows beyond the picture are its first and its last one.
        let before = (strip * self.rows) as isize;
        let far = if upper { near - 1 } else { near + 1 };
        let far = far.clamp(-before, self.height as isize - 1 - before);
        match (self.smooth, self.expand) {
            (_, (1, 1)) => return samples(near),
            (true, (2, 1)) => upsample::across(samples(near), &mut self.wide),
            (true, (1, _)) => {
                let half = if upper { 1 } else { 2 };
                upsample::down(samples(near), samples(far), half, &mut self.wide);
            }
            (true, _) => {
                upsample::both(samples(near), samples(far), &mut self.sums, &mut self.wide);
            }
            (false, (across, _)) => upsample::repeat(samples(near), across, &mut self.wide),
        }
        &self.wide
    }
}

/// Returns what a block of this component gives each way: `smallest`, or more where that saves making more
/// of its samples afterwards.
fn side(frame: &Frame, component: &Component, smallest: u32) -> u32 {
    let mut side = smallest;
    let fits =
        |most: u32, factor: u32, side: u32| (most * smallest).is_multiple_of(factor * side * 2);
    while side < BLOCK_SIDE
        && fits(frame.across_max, component.across, side)
        && fits(frame.down_max, component.down, side)
    {
        side *= 2;
    }
    side
}
