//! x86-64 with AVX-512 VNNI: vpdpbusd adds four products u8 · i8 to each of 16 sums, exactly.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::tile::{Output, Tile};

/// Sixteen sums in registers, of 32, when VECTORS is 2: enough to hide vpdpbusd's latency.
const PIXELS: usize = 8;
const STEP: usize = 4;
/// Sums in a register.
const SUMS: usize = 16;

pub fn is_available() -> bool {
    is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512vnni")
}

pub fn tile<const VECTORS: usize, const LANES: usize>(
    tile: &Tile<u8, LANES, PIXELS>,
    output: &mut Output<LANES, PIXELS>,
) {
    assert!(is_available() && LANES == VECTORS * SUMS && tile.is_sound(STEP));
    // SAFETY: the CPU has the features, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel::<VECTORS, LANES>(tile, output) }
}

/// # Safety
/// `LANES` is `VECTORS · SUMS`, and `tile.is_sound(STEP)`.
#[target_feature(enable = "avx512f,avx512vnni")]
unsafe fn kernel<const VECTORS: usize, const LANES: usize>(
    tile: &Tile<u8, LANES, PIXELS>,
    output: &mut Output<LANES, PIXELS>,
) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; PIXELS];
    // SAFETY: a sound tile has `row_len` elements, a multiple of STEP, for each row of each window,
    // and LANES · STEP weights for each STEP of them, which `weights` steps through once.
    unsafe {
        for vector in 0..VECTORS {
            let bias = _mm512_loadu_si512(tile.bias.as_ptr().add(vector * SUMS).cast());
            for pixel in &mut sums {
                pixel[vector] = bias;
            }
        }
        let mut weights = tile.weights.as_ptr();
        for row in 0..tile.rows {
            let mut windows = [tile.input.as_ptr(); PIXELS];
            for (window, start) in windows.iter_mut().zip(tile.windows) {
                *window = window.add(start + row * tile.row_step);
            }
            for at in (0..tile.row_len).step_by(STEP) {
                let mut w = [_mm512_setzero_si512(); VECTORS];
                for (vector, w) in w.iter_mut().enumerate() {
                    *w = _mm512_loadu_si512(weights.add(vector * SUMS * STEP).cast());
                }
                weights = weights.add(LANES * STEP);
                for (sums, window) in sums.iter_mut().zip(windows) {
                    let x = _mm512_set1_epi32(window.add(at).cast::<i32>().read_unaligned());
                    for (sum, w) in sums.iter_mut().zip(w) {
                        *sum = _mm512_dpbusd_epi32(*sum, x, w);
                    }
                }
            }
        }
    }
    let low = _mm512_set1_ps(tile.range.low);
    let high = _mm512_set1_ps(tile.range.high);
    let zero = _mm512_set1_epi32(tile.range.zero);
    for (sums, output) in sums.iter().zip(output) {
        for (vector, sum) in sums.iter().enumerate() {
            // SAFETY: `scales` and a row of `output` have LANES elements, VECTORS times SUMS.
            unsafe {
                let scale = _mm512_loadu_ps(tile.scales.as_ptr().add(vector * SUMS));
                let real = _mm512_mul_ps(_mm512_cvtepi32_ps(*sum), scale);
                let real = _mm512_min_ps(_mm512_max_ps(real, low), high);
                let value = _mm512_add_epi32(_mm512_cvtps_epi32(real), zero);
                let bytes = _mm512_cvtepi32_epi8(value);
                _mm_storeu_si128(output.as_mut_ptr().add(vector * SUMS).cast(), bytes);
            }
        }
    }
}
