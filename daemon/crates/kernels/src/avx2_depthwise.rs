//! Depthwise convolutions with AVX2. vpmaddwd wants two taps of a channel side by side, in 16 bits:
//! bytes of two neighbouring pixels are interleaved and widened, and each such pair of columns serves
//! two pixels of the output where the stride is 1.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::dense::Pass;
use super::depthwise::{Depthwise, Form, Strip, each_row};
use super::geometry::Windows;
use super::kernel::Kernel;
use super::quantised::Range;

pub const LANES: usize = 32;
/// Registers of sums for a pixel, of 8 channels each.
const VECTORS: usize = 4;

pub const FORM: Form = Form { lanes: LANES, channel, taps, adjacent: 2, bytes: 2 };

/// Interleaving works within halves of 128 bits: a register of sums has four channels of each half.
fn channel(lane: usize) -> usize {
    let (vector, half, within) = (lane / 8, lane / 4 % 2, lane % 4);
    half * 16 + vector * 4 + within
}

/// Pairs of taps: those of a pixel at an even column, then those of one at an odd column.
fn taps(windows: &Windows) -> Vec<[isize; 2]> {
    let width = windows.kernel[1];
    let places = |odd: usize| (0..pairs(width + odd) * 2).map(move |at| at as isize - odd as isize);
    each_row(windows, (0..=windows.stride[1] % 2).flat_map(places))
}

const fn pairs(columns: usize) -> usize {
    columns.div_ceil(2)
}

/// Whether it has a loop for these windows.
pub fn takes(windows: &Windows) -> bool {
    let square = [[3, 3], [5, 5]].contains(&windows.kernel);
    square && [[1, 1], [2, 2]].contains(&windows.stride) && windows.dilation[1] == 1
}

pub fn drive(depthwise: &Depthwise, pass: &mut Pass) {
    let windows = &depthwise.windows;
    macro_rules! drive {
        ($($kernel:literal / $stride:literal),*) => {
            match (windows.kernel[1], windows.stride[1], pass.to.columns) {
                $(
                    ($kernel, $stride, 2..) => depthwise.drive(pass, strip::<$kernel, $stride, 2>),
                    ($kernel, $stride, _) => depthwise.drive(pass, strip::<$kernel, $stride, 1>),
                )*
                other => unreachable!("no convolution is packed for {other:?}"),
            }
        };
    }
    drive!(3 / 1, 3 / 2, 5 / 1, 5 / 2)
}

fn strip<const WIDTH: usize, const STRIDE: usize, const PIXELS: usize>(
    strip: &Strip<LANES, PIXELS>,
    output: &mut [[u8; LANES]; PIXELS],
) {
    let odd = STRIDE % 2;
    let taps = 2 * (pairs(WIDTH) + odd * pairs(WIDTH + 1));
    assert!(Kernel::Avx2.is_available() && strip.kernel[1] == WIDTH && strip.is_sound(taps * 2));
    assert_eq!(strip.pixel_step, STRIDE * strip.tap_step, "its columns follow each other");
    // SAFETY: the CPU has the feature, and the strip is as the kernel asks: both just asserted.
    unsafe { kernel::<WIDTH, STRIDE, PIXELS>(strip, output) }
}

/// # Safety
/// The strip is sound for the taps of such a kernel in two bytes each, and its columns follow each
/// other.
#[target_feature(enable = "avx2")]
unsafe fn kernel<const WIDTH: usize, const STRIDE: usize, const PIXELS: usize>(
    strip: &Strip<LANES, PIXELS>,
    output: &mut [[u8; LANES]; PIXELS],
) {
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; PIXELS];
    for vector in 0..VECTORS {
        // SAFETY: there are LANES of them, VECTORS times 8.
        let bias = unsafe { _mm256_loadu_si256(strip.biases.as_ptr().add(vector * 8).cast()) };
        sums.iter_mut().for_each(|sums| sums[vector] = bias);
    }
    let even_pairs = pairs(WIDTH);
    let row_pairs = even_pairs + STRIDE % 2 * pairs(WIDTH + 1);
    let last = (PIXELS - 1) * STRIDE + WIDTH - 1;
    let zero = _mm256_setzero_si256();
    for row in 0..strip.kernel[0] {
        // SAFETY: a sound strip has LANES elements at each column up to the last one, in each row, and
        // `row_pairs · 2 · LANES` weights of two bytes for each row.
        unsafe {
            let at = strip.input.as_ptr().add(strip.start + row * strip.row_step);
            let weights = strip.weights.as_ptr().add(row * row_pairs * 4 * LANES);
            let column = |at_column: usize| {
                // Columns behind the last one have weights of 0.
                _mm256_loadu_si256(at.add(at_column.min(last) * strip.tap_step).cast())
            };
            for pair in 0..=last / 2 {
                let (a, b) = (column(pair * 2), column(pair * 2 + 1));
                let halves = [_mm256_unpacklo_epi8(a, b), _mm256_unpackhi_epi8(a, b)];
                let x = [
                    _mm256_unpacklo_epi8(halves[0], zero),
                    _mm256_unpackhi_epi8(halves[0], zero),
                    _mm256_unpacklo_epi8(halves[1], zero),
                    _mm256_unpackhi_epi8(halves[1], zero),
                ];
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let (first, odd) = (pixel * STRIDE / 2, pixel * STRIDE % 2);
                    if pair < first || pair - first >= pairs(WIDTH + odd) {
                        continue;
                    }
                    let weights = weights.add((odd * even_pairs + pair - first) * 4 * LANES);
                    for (vector, (sum, x)) in sums.iter_mut().zip(x).enumerate() {
                        let w = _mm256_loadu_si256(weights.add(vector * 32).cast());
                        *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(x, w));
                    }
                }
            }
        }
    }
    for (sums, output) in sums.iter().zip(output) {
        requantise(sums, strip.scales, strip.range, output);
    }
}

/// Turns the sums of one pixel into its bytes. Packing within halves undoes the order of the channels.
#[inline]
#[target_feature(enable = "avx2")]
fn requantise(
    sums: &[__m256i; VECTORS],
    scales: &[f32; LANES],
    range: Range,
    output: &mut [u8; LANES],
) {
    let high = _mm256_set1_ps(range.high);
    let zero = _mm256_set1_epi16(range.zero as i16);
    let mut values = [_mm256_setzero_si256(); VECTORS];
    for (vector, (value, sum)) in values.iter_mut().zip(sums).enumerate() {
        // SAFETY: LANES is VECTORS times 8.
        let scale = unsafe { _mm256_loadu_ps(scales.as_ptr().add(vector * 8)) };
        let real = _mm256_mul_ps(_mm256_cvtepi32_ps(*sum), scale);
        // What is too large for an i32 would become the least of them; what is too small does too.
        *value = _mm256_cvtps_epi32(_mm256_min_ps(real, high));
    }
    let words = |low, high| _mm256_adds_epi16(_mm256_packs_epi32(low, high), zero);
    let bytes = _mm256_packus_epi16(words(values[0], values[1]), words(values[2], values[3]));
    // SAFETY: `output` has 32 bytes.
    unsafe { _mm256_storeu_si256(output.as_mut_ptr().cast(), bytes) };
}
