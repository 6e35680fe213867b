//! A resize by weights: each row across, as it comes, into the rows of the result that it is a part of.
//!
//! It keeps the sums of the result's unfinished rows and no copy of the picture. It must not know where
//! the weights come from.

use std::collections::VecDeque;

use super::geometry::Axis;
use super::kernel::{Curve, PILLOW_BITS};
use super::taps::Taps;

/// Mixes rows of `CHANNELS` channels, by the weights of both axes.
pub struct Sampler<const CHANNELS: usize> {
    across: Taps,
    down: Down,
    order: Order,
    /// A row that is mixed across, not yet down.
    row: Vec<i32>,
    /// How many rows were pushed.
    pushed: usize,
    pixels: Vec<u8>,
}

/// Which axis is mixed first. Pillow rounds and clips between the two, so that it matters where a
/// filter overshoots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    AcrossFirst,
    /// For a picture stored on its side.
    DownFirst,
}

impl<const CHANNELS: usize> Sampler<CHANNELS> {
    /// Starts a picture whose rows have `width` pixels.
    pub fn new(across: Taps, down: Taps, order: Order, width: usize) -> Self {
        let columns = if order == Order::DownFirst { width } else { across.len() };
        let pixels = Vec::with_capacity(across.len() * down.len() * CHANNELS);
        let row = vec![0; across.len() * CHANNELS];
        let down = Down::new(down, columns * CHANNELS);
        Sampler { across, down, order, row, pushed: 0, pixels }
    }

    /// Returns how many rows of the result are unfinished at once, at most.
    pub fn open_rows(down: &Axis, curve: Option<Curve>) -> u64 {
        let Some(curve) = curve else { return 1 };
        let scale = down.scale();
        let window = 2.0 * curve.support() * scale.max(1.0) + 1.0;
        // One is being opened while another is kept for its memory.
        ((window / scale).ceil() as u64 + 2).min(down.length as u64 + 1)
    }

    /// Takes the next row from the top.
    pub fn push_row(&mut self, row: &[u8]) {
        let at = self.pushed;
        self.pushed += 1;
        if !self.down.wants(at) {
            return;
        }
        let pixels = &mut self.pixels;
        if self.order == Order::AcrossFirst {
            mix::<CHANNELS>(row, &self.across, &mut self.row);
            self.down.push(at, &self.row, |sums| pixels.extend(sums.iter().map(|&sum| pixel(sum))));
            return;
        }
        let (across, mixed) = (&self.across, &mut self.row);
        let mut finished = vec![0; row.len()];
        self.down.push(at, row, |sums| {
            for (to, &sum) in finished.iter_mut().zip(sums) {
                *to = pixel(sum);
            }
            mix::<CHANNELS>(&finished, across, mixed);
            pixels.extend(mixed.iter().map(|&value| value as u8));
        });
    }

    /// Returns the pixels, row-major HWC, once every row was pushed.
    pub fn finish(self) -> Vec<u8> {
        self.pixels
    }
}

#[cfg(test)]
impl<const CHANNELS: usize> Sampler<CHANNELS> {
    pub fn held(&self) -> usize {
        let sums = self.down.open.iter().chain(&self.down.spare);
        let sums: usize = sums.map(|sums| sums.capacity() * 4).sum();
        let tables = self.across.held() + self.down.taps.held();
        tables + sums + self.row.capacity() * 4 + self.pixels.capacity()
    }
}

/// Mixes one row across. With Pillow's weights the values are rounded pixels, with OpenCV's they keep the
/// weights' bits.
fn mix<const CHANNELS: usize>(row: &[u8], across: &Taps, to: &mut [i32]) {
    let rounded = across.bits == PILLOW_BITS;
    let row = row.as_chunks::<CHANNELS>().0;
    for (at, to) in to.as_chunks_mut::<CHANNELS>().0.iter_mut().enumerate() {
        let tap = across.get(at);
        let mut sums = [if rounded { HALF } else { 0 }; CHANNELS];
        for (pixel, &weight) in row[tap.first..tap.end()].iter().zip(tap.weights) {
            for (sum, &value) in sums.iter_mut().zip(pixel) {
                *sum += i32::from(value) * weight;
            }
        }
        *to = if rounded { sums.map(|sum| i32::from(pixel(sum))) } else { sums };
    }
}

/// A half of the last kept bit: both libraries' sums have 22 bits to drop at the end.
const HALF: i32 = 1 << (PILLOW_BITS - 1);

/// Drops the bits after the point of a sum that began with [`HALF`].
fn pixel(sum: i32) -> u8 {
    (sum >> PILLOW_BITS).clamp(0, 255) as u8
}

/// The second axis: the sums of the rows of the result that are not finished.
struct Down {
    taps: Taps,
    columns: usize,
    /// How many rows are finished.
    done: usize,
    open: VecDeque<Vec<i32>>,
    /// A finished row's memory, for the next one.
    spare: Option<Vec<i32>>,
}

impl Down {
    fn new(taps: Taps, columns: usize) -> Down {
        Down { taps, columns, done: 0, open: VecDeque::new(), spare: None }
    }

    /// Returns whether an unfinished row has a part of source row `at`.
    fn wants(&self, at: usize) -> bool {
        self.done < self.taps.len() && self.taps.get(self.done).first <= at
    }

    /// Adds source row `at` to the rows that it is a part of, and gives each finished one to `finished`.
    fn push<T: Copy + Into<i32>>(
        &mut self,
        at: usize,
        row: &[T],
        mut finished: impl FnMut(&[i32]),
    ) {
        let mut next = self.done;
        while next < self.taps.len() {
            let tap = self.taps.get(next);
            let Some(&weight) = at.checked_sub(tap.first).and_then(|at| tap.weights.get(at)) else {
                return;
            };
            if next - self.done == self.open.len() {
                let mut sums = self.spare.take().unwrap_or_default();
                sums.clear();
                sums.resize(self.columns, HALF);
                self.open.push_back(sums);
            }
            let ends = tap.end() == at + 1;
            let sums = &mut self.open[next - self.done];
            for (sum, &value) in sums.iter_mut().zip(row) {
                *sum += value.into() * weight;
            }
            next += 1;
            if ends && let Some(sums) = self.open.pop_front() {
                finished(&sums);
                self.spare = Some(sums);
                self.done += 1;
            }
        }
    }
}
