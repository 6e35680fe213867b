//! The weights with which Pillow and OpenCV mix pixels, in their own fixed-point arithmetic. It knows one
//! axis, and no pixel.
//!
//! Pillow (antialias) widens a filter to all the pixels that one pixel of the result stands for, and
//! gives each weight 22 bits. OpenCV (no antialias) looks at the neighbours alone, with 11 bits.

use std::ops::Range;

/// The bits after the point of Pillow's weights: its PRECISION_BITS, 32 - 8 - 2.
pub const PILLOW_BITS: u32 = 22;
/// The bits after the point of OpenCV's weights: its INTER_RESIZE_COEF_BITS.
pub const OPENCV_BITS: u32 = 11;
/// The bicubic parameter of Pillow, and that of OpenCV.
const PILLOW_A: f64 = -0.5;
const OPENCV_A: f32 = -0.75;

/// A filter that mixes pixels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Curve {
    Linear,
    Cubic,
}

/// The decoder's pixels on one axis, upright: how many there are, and where the picture lies in them.
#[derive(Clone, Copy, Debug)]
pub struct Extent {
    pub pixels: usize,
    /// Where the picture begins: above 0 where a part of the first pixel lies outside of it.
    pub start: f64,
    /// How many pixels one pixel of the result stands for.
    pub scale: f64,
}

impl Curve {
    /// Returns how far it reaches from a pixel's centre, in pixels of the larger picture.
    pub fn support(self) -> f64 {
        match self {
            Curve::Linear => 1.0,
            Curve::Cubic => 2.0,
        }
    }

    /// Returns its value at a distance from the centre, as Pillow has it.
    fn at(self, x: f64) -> f64 {
        let x = x.abs();
        match self {
            Curve::Cubic if x < 1.0 => ((PILLOW_A + 2.0) * x - (PILLOW_A + 3.0)) * x * x + 1.0,
            Curve::Cubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * PILLOW_A,
            Curve::Linear if x < 1.0 => 1.0 - x,
            _ => 0.0,
        }
    }
}

/// Writes Pillow's weights of result pixel `at` and returns the first pixel that they are for.
pub fn pillow(curve: Curve, extent: Extent, at: usize, weights: &mut Vec<i32>) -> usize {
    let widened = extent.scale.max(1.0);
    let support = curve.support() * widened;
    let centre = extent.start + (at as f64 + 0.5) * extent.scale;
    let first = (centre - support + 0.5).max(0.0) as usize;
    let end = ((centre + support + 0.5) as usize).min(extent.pixels);
    let raw = |pixel: usize| curve.at((pixel as f64 - centre + 0.5) / widened);
    let sum: f64 = (first..end).map(raw).sum();
    let share = |pixel: usize| if sum == 0.0 { 0.0 } else { raw(pixel) / sum };
    weights.clear();
    weights.extend((first..end).map(|pixel| fixed(share(pixel))));
    first
}

/// Returns a weight with 22 bits after the point, rounded half away from zero.
fn fixed(share: f64) -> i32 {
    (share * f64::from(1 << PILLOW_BITS)).round() as i32
}

/// Writes OpenCV's weights of result pixel `at` and returns the first pixel that they are for. Pixels
/// outside the picture count as the one at its border.
pub fn opencv(curve: Curve, extent: Extent, at: usize, weights: &mut Vec<i32>) -> usize {
    let centre = ((at as f64 + 0.5) * extent.scale - 0.5) as f32;
    let whole = centre.floor();
    let (low, rest) = (whole as isize, centre - whole);
    let cubic = cubic(rest);
    let (start, taps): (isize, &[f32]) = match curve {
        Curve::Linear => (low, &[1.0 - rest, rest]),
        Curve::Cubic => (low - 1, &cubic),
    };
    let last = extent.pixels as isize - 1;
    let inside = |offset: usize| (start + offset as isize).clamp(0, last) as usize;
    let (first, end) = (inside(0), inside(taps.len() - 1));
    weights.clear();
    weights.resize(end - first + 1, 0);
    for (offset, tap) in taps.iter().enumerate() {
        let fixed = (tap * (1 << OPENCV_BITS) as f32).round_ties_even();
        weights[inside(offset) - first] += fixed as i32;
    }
    first
}

/// Returns OpenCV's four bicubic weights, `x` behind the second pixel.
fn cubic(x: f32) -> [f32; 4] {
    const A: f32 = OPENCV_A;
    let far = ((A * (x + 1.0) - 5.0 * A) * (x + 1.0) + 8.0 * A) * (x + 1.0) - 4.0 * A;
    let near = |x: f32| ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0;
    let (left, right) = (near(x), near(1.0 - x));
    [far, left, right, 1.0 - far - left - right]
}

/// Returns the pixels that the result pixels of a range copy, as Pillow finds them: from their centres, by
/// adding up steps from the first pixel on.
pub fn pillow_nearest(extent: Extent, range: Range<usize>) -> impl Iterator<Item = usize> {
    let mut position = extent.scale * 0.5;
    let mut next = move || {
        let pixel = (position as usize).min(extent.pixels - 1);
        position += extent.scale;
        pixel
    };
    let skipped = range.start;
    (0..range.end).map(move |_| next()).skip(skipped)
}

/// Returns the pixel that result pixel `at` of `count` copies, as OpenCV finds it: from its left edge.
pub fn opencv_nearest(pixels: usize, count: usize, at: usize) -> usize {
    let scale = 1.0 / (count as f64 / pixels as f64);
    ((at as f64 * scale) as usize).min(pixels - 1)
}
