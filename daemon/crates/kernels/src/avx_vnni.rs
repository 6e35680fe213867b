//! x86-64 with AVX-VNNI (Alder Lake, Sierra Forest, Zen 5): vpdpbusd in 256 bits, without AVX-512.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx2::{LANES, PIXELS, SUMS, VECTORS, biases, requantise};
use super::kernel::Kernel;
use super::tile::{Output, Shape, Tile};

const STEP: usize = 4;

pub fn tile(tile: &Tile<LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    assert!(Kernel::AvxVnni.is_available() && tile.is_sound(STEP, 1));
    // SAFETY: the CPU has the features, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel(tile, output) }
}

/// The kernel for one encoding of the instruction.
macro_rules! kernel {
    ($name:ident, $features:literal, $dot:ident) => {
        /// # Safety
        /// `tile.is_sound(STEP, 1)`.
        #[target_feature(enable = $features)]
        unsafe fn $name(tile: &Tile<LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
            let mut sums = [[_mm256_setzero_si256(); VECTORS]; PIXELS];
            for (pixel, sums) in sums.iter_mut().enumerate() {
                *sums = biases(tile.bias(pixel));
            }
            // SAFETY: a sound tile has `run_len` elements, a multiple of STEP, for each run of each
            // window, and LANES · STEP weights for each STEP of them, which `weights` steps through
            // once.
            unsafe {
                let Shape { row_step, runs, run_step, run_len } = tile.shape;
                let mut weights = tile.weights.as_ptr();
                // One pointer that moves, and where each window starts from it.
                let (mut at, windows) = (tile.input.as_ptr(), tile.windows);
                for _ in 0..tile.rows {
                    macro_rules! multiply {
                        ($columns:expr, $pixels:expr) => {
                            for _ in 0..$columns / STEP {
                                let mut w = [_mm256_setzero_si256(); VECTORS];
                                for (vector, w) in w.iter_mut().enumerate() {
                                    let at = weights.add(vector * SUMS * STEP);
                                    *w = _mm256_loadu_si256(at.cast());
                                }
                                weights = weights.add(LANES * STEP);
                                let pixels = sums[$pixels].iter_mut().zip(&windows[$pixels]);
                                for (sums, window) in pixels {
                                    let four = at.add(*window).cast::<i32>().read_unaligned();
                                    for (sum, w) in sums.iter_mut().zip(w) {
                                        *sum = $dot(*sum, _mm256_set1_epi32(four), w);
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
    };
}

kernel!(kernel, "avx2,avxvnni", _mm256_dpbusd_avx_epi32);

/// The same lines with AVX-512's encoding of the instruction, for a test machine that has no other.
#[cfg(test)]
pub mod evex {
    use super::*;

    pub fn is_available() -> bool {
        is_x86_feature_detected!("avx512vl") && is_x86_feature_detected!("avx512vnni")
    }

    pub fn tile(tile: &Tile<LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
        assert!(is_available() && tile.is_sound(STEP, 1));
        // SAFETY: as above.
        unsafe { kernel(tile, output) }
    }

    kernel!(kernel, "avx2,avx512vl,avx512vnni", _mm256_dpbusd_epi32);
}
