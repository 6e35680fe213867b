//! The table of weights of one axis: for each pixel of the result, which stored pixels it mixes, and how.

use super::geometry::Axis;
use super::kernel::{self, Curve, Extent, OPENCV_BITS, PILLOW_BITS};

/// What one pixel of the result takes in a table beside its weights, in bytes; the area average's cells take
/// the most. Twice that, since a table may grow to twice its length.
const ENTRY_BYTES: u64 = 2 * 40;

/// The weights of the visible pixels of a result along one axis, in the order of the stored picture.
#[derive(Debug)]
pub struct Taps {
    /// The first stored pixel of each, never falling.
    firsts: Vec<usize>,
    /// Where the weights of each end; those of the next begin there.
    ends: Vec<usize>,
    weights: Vec<i32>,
    /// The bits after the point.
    pub bits: u32,
}

/// What one pixel of the result mixes.
#[derive(Clone, Copy)]
pub struct Tap<'a> {
    /// The first stored pixel.
    pub first: usize,
    /// The weights of that pixel and of those behind it.
    pub weights: &'a [i32],
}

impl Taps {
    /// Computes the weights of one axis, as the trainer's library has them: Pillow's (`pillow`) or OpenCV's.
    /// Without a curve pixels are copied.
    pub fn new(axis: &Axis, curve: Option<Curve>, pillow: bool) -> Taps {
        let pixels = axis.pixels();
        let extent = Extent { pixels, start: axis.lead(), scale: axis.scale() };
        let bits = if pillow { PILLOW_BITS } else { OPENCV_BITS };
        let mut taps = Taps { firsts: Vec::new(), ends: Vec::new(), weights: Vec::new(), bits };
        let cells = axis.upright_cells();
        // A side that keeps its length is copied by every filter.
        let same = axis.scaled == axis.source && axis.reduction == 1;
        let mut weights = vec![1 << bits];
        match curve.filter(|_| !same) {
            None if same => cells.for_each(|at| taps.add(at, &weights)),
            None if pillow => {
                kernel::pillow_nearest(extent, cells).for_each(|from| taps.add(from, &weights));
            }
            None => cells.for_each(|at| {
                taps.add(kernel::opencv_nearest(pixels, axis.scaled, at), &weights);
            }),
            Some(curve) => cells.for_each(|at| {
                let mix = if pillow { kernel::pillow } else { kernel::opencv };
                let first = mix(curve, extent, at, &mut weights);
                taps.add(first, &weights);
            }),
        }
        if axis.mirrored {
            return taps.mirrored(pixels);
        }
        taps
    }

    fn add(&mut self, first: usize, weights: &[i32]) {
        self.firsts.push(first);
        self.weights.extend(weights);
        self.ends.push(self.weights.len());
    }

    /// Returns the table for a picture of `pixels` pixels that is stored the other way round.
    fn mirrored(mut self, pixels: usize) -> Taps {
        let mut taps = Taps { firsts: Vec::new(), ends: Vec::new(), weights: Vec::new(), ..self };
        self.weights.reverse();
        let all = self.weights.len();
        for at in (0..self.firsts.len()).rev() {
            let from = if at == 0 { 0 } else { self.ends[at - 1] };
            let weights = &self.weights[all - self.ends[at]..all - from];
            taps.add(pixels - self.firsts[at] - weights.len(), weights);
        }
        taps
    }

    /// Returns how many bytes the table of an axis takes at most, that of the area average included.
    pub fn memory(axis: &Axis, curve: Option<Curve>) -> u64 {
        let taps = curve.map_or(1.0, |curve| 2.0 * curve.support() * axis.scale().max(1.0) + 1.0);
        axis.length as u64 * (ENTRY_BYTES + 2 * taps.ceil() as u64 * size_of::<i32>() as u64)
    }

    /// Returns how many pixels of the result there are.
    pub fn len(&self) -> usize {
        self.firsts.len()
    }

    /// Returns what one pixel of the result mixes.
    pub fn get(&self, at: usize) -> Tap<'_> {
        let from = if at == 0 { 0 } else { self.ends[at - 1] };
        Tap { first: self.firsts[at], weights: &self.weights[from..self.ends[at]] }
    }
}

#[cfg(test)]
impl Taps {
    pub fn held(&self) -> usize {
        let entries = (self.firsts.capacity() + self.ends.capacity()) * size_of::<usize>();
        entries + self.weights.capacity() * size_of::<i32>()
    }
}

impl Tap<'_> {
    /// Returns the pixel behind the last one.
    pub fn end(&self) -> usize {
        self.first + self.weights.len()
    }
}
