//! x86-64 with AVX2: vpmaddwd adds two products i16 · i16 into each of 8 sums of 32 bits. Exact, where
//! vpmaddubsw, the instruction for bytes, would saturate its pairs at 16 bits.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::kernel::Kernel;
use super::quantised::Range;
use super::tile::{Output, Shape, Tile};

pub const LANES: usize = 16;
/// Eight sums in registers, of 16.
pub const PIXELS: usize = 4;
const STEP: usize = 4;
/// Sums in a register, and registers for a pixel.
pub const SUMS: usize = 8;
pub const VECTORS: usize = 2;

pub fn tile(tile: &Tile<LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    assert!(Kernel::Avx2.is_available() && tile.is_sound(STEP, 2));
    // SAFETY: the CPU has the feature, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel(tile, output) }
}

/// # Safety
/// `tile.is_sound(STEP, 2)`.
#[target_feature(enable = "avx2")]
unsafe fn kernel(tile: &Tile<LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    let mut sums = [[_mm256_setzero_si256(); VECTORS]; PIXELS];
    let low_bytes = _mm256_set1_epi16(0xFF);
    for (pixel, sums) in sums.iter_mut().enumerate() {
        *sums = biases(tile.bias(pixel));
    }
    // SAFETY: a sound tile has `run_len` elements, a multiple of STEP, for each run of each window,
    // and LANES · STEP weights of two bytes for each STEP of them, which `weights` steps through once.
    unsafe {
        let Shape { row_step, runs, run_step, run_len } = tile.shape;
        let mut weights = tile.weights.as_ptr();
        // One pointer that moves, and where each window starts from it.
        let (mut at, windows) = (tile.input.as_ptr(), tile.windows);
        for _ in 0..tile.rows {
            macro_rules! multiply {
                ($columns:expr, $pixels:expr) => {
                    for _ in 0..$columns / STEP {
                        // The first and third element of the step, then the others.
                        let mut w = [[_mm256_setzero_si256(); VECTORS]; 2];
                        for (run, w) in w.as_flattened_mut().iter_mut().enumerate() {
                            *w = _mm256_loadu_si256(weights.add(run * SUMS * 4).cast());
                        }
                        weights = weights.add(LANES * STEP * 2);
                        for (sums, window) in sums[$pixels].iter_mut().zip(&windows[$pixels]) {
                            let four = at.add(*window).cast::<i32>().read_unaligned();
                            let four = _mm256_set1_epi32(four);
                            let even = _mm256_and_si256(four, low_bytes);
                            let odd = _mm256_srli_epi16::<8>(four);
                            for (vector, sum) in sums.iter_mut().enumerate() {
                                let even = _mm256_madd_epi16(even, w[0][vector]);
                                let odd = _mm256_madd_epi16(odd, w[1][vector]);
                                *sum = _mm256_add_epi32(*sum, _mm256_add_epi32(even, odd));
                            }
                        }
                        at = at.add(STEP);
                    }
                };
            }
            for _ in 0..runs {
                let [head, all, tail] = tile.columns();
                multiply!(head, 1..);
                multiply!(all, ..);
                multiply!(tail, ..PIXELS - 1);
                // Behind the last row nothing is read any more.
                at = at.wrapping_add(run_step).wrapping_sub(run_len);
            }
            at = at.wrapping_add(row_step).wrapping_sub(runs * run_step);
        }
    }
    for (sums, output) in sums.iter().zip(output) {
        requantise(sums, tile.scales, tile.range, output);
    }
}

#[inline]
#[target_feature(enable = "avx2")]
pub fn biases(bias: &[i32; LANES]) -> [__m256i; VECTORS] {
    // SAFETY: LANES is VECTORS times SUMS.
    [0, 1].map(|vector| unsafe { _mm256_loadu_si256(bias.as_ptr().add(vector * SUMS).cast()) })
}

/// Turns the sums of one pixel into its bytes.
#[inline]
#[target_feature(enable = "avx2")]
pub fn requantise(
    sums: &[__m256i; VECTORS],
    scales: &[f32; LANES],
    range: Range,
    output: &mut [u8; LANES],
) {
    let low = _mm256_set1_ps(range.low);
    let high = _mm256_set1_ps(range.high);
    let zero = _mm256_set1_epi32(range.zero);
    let byte = _mm256_set1_epi32(0xFF);
    let mut values = [_mm256_setzero_si256(); VECTORS];
    for (vector, value) in values.iter_mut().enumerate() {
        // SAFETY: LANES is VECTORS times SUMS.
        let scale = unsafe { _mm256_loadu_ps(scales.as_ptr().add(vector * SUMS)) };
        let real = _mm256_mul_ps(_mm256_cvtepi32_ps(sums[vector]), scale);
        let real = _mm256_min_ps(_mm256_max_ps(real, low), high);
        let whole = _mm256_add_epi32(_mm256_cvtps_epi32(real), zero);
        // The low byte is the value, signed or not; what packs below must not saturate.
        *value = _mm256_and_si256(whole, byte);
    }
    // Packing works within halves of 128 bits: put their quarters in order before the last step.
    let words = _mm256_packus_epi32(values[0], values[1]);
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
    let low_half = _mm256_castsi256_si128(words);
    let high_half = _mm256_extracti128_si256::<1>(words);
    // SAFETY: `output` has 16 bytes.
    unsafe { _mm_storeu_si128(output.as_mut_ptr().cast(), _mm_packus_epi16(low_half, high_half)) };
}
