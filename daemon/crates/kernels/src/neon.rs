//! aarch64: smlal adds a product i16 · i16 to each of 4 sums of 32 bits. Exact for every i8, where
//! pairs of smull and smlal on bytes would overflow 16 bits at −128 · −128 twice.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::kernel::Kernel;
use super::quantised::Range;
use super::tile::{Output, Tile};

pub const LANES: usize = 8;
/// Sixteen registers of sums, of 32.
pub const PIXELS: usize = 8;
const STEP: usize = 4;

pub fn tile(tile: &Tile<i16, LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    assert!(Kernel::Neon.is_available() && tile.is_sound(STEP));
    // SAFETY: the CPU has the feature, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel(tile, output) }
}

/// # Safety
/// `tile.is_sound(STEP)`.
#[target_feature(enable = "neon")]
unsafe fn kernel(tile: &Tile<i16, LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    let mut sums = [[vdupq_n_s32(0); 2]; PIXELS];
    for (pixel, sums) in sums.iter_mut().enumerate() {
        *sums = biases(tile.bias(pixel));
    }
    // SAFETY: a sound tile has `row_len` elements, a multiple of STEP, for each row of each window,
    // and LANES weights for each of them, which `weights` steps through once.
    unsafe {
        let mut weights = tile.weights.as_ptr();
        // One pointer that moves, and where each window starts from it.
        let (mut at, windows) = (tile.input.as_ptr(), tile.windows);
        for _ in 0..tile.rows {
            let mut x = [vdup_n_s16(0); PIXELS];
            // One channel of the step for all pixels: its 8 weights are widened once.
            macro_rules! channel {
                ($lane:literal, $pixels:expr) => {
                    let w = vmovl_s8(vld1_s8(weights.add($lane * LANES)));
                    let (w_low, w_high) = (vget_low_s16(w), vget_high_s16(w));
                    for (sums, x) in sums[$pixels].iter_mut().zip(&x[$pixels]) {
                        sums[0] = vmlal_lane_s16::<$lane>(sums[0], w_low, *x);
                        sums[1] = vmlal_lane_s16::<$lane>(sums[1], w_high, *x);
                    }
                };
            }
            macro_rules! multiply {
                ($columns:expr, $pixels:expr) => {
                    for _ in 0..$columns / STEP {
                        for (x, window) in x[$pixels].iter_mut().zip(&windows[$pixels]) {
                            *x = vld1_s16(at.add(*window));
                        }
                        channel!(0, $pixels);
                        channel!(1, $pixels);
                        channel!(2, $pixels);
                        channel!(3, $pixels);
                        weights = weights.add(LANES * STEP);
                        at = at.add(STEP);
                    }
                };
            }
            let [head, all, tail] = tile.columns();
            multiply!(head, 1..);
            multiply!(all, ..);
            multiply!(tail, ..PIXELS - 1);
            // Behind the last row nothing is read any more.
            at = at.wrapping_add(tile.row_step - tile.row_len);
        }
    }
    for (sums, output) in sums.iter().zip(output) {
        requantise(sums, tile.scales, tile.range, output);
    }
}

#[inline]
#[target_feature(enable = "neon")]
pub fn biases(bias: &[i32; LANES]) -> [int32x4_t; 2] {
    // SAFETY: LANES is twice the 4 sums of a register.
    unsafe { [vld1q_s32(bias.as_ptr()), vld1q_s32(bias.as_ptr().add(4))] }
}

/// Turns the sums of one pixel into its bytes.
#[inline]
#[target_feature(enable = "neon")]
pub fn requantise(
    sums: &[int32x4_t; 2],
    scales: &[f32; LANES],
    range: Range,
    output: &mut [u8; LANES],
) {
    let low = vdupq_n_f32(range.low);
    let high = vdupq_n_f32(range.high);
    let zero = vdupq_n_s32(range.zero);
    let mut words = [vdup_n_s16(0); 2];
    for (half, words) in words.iter_mut().enumerate() {
        // SAFETY: LANES is twice the 4 scales of a register.
        let scale = unsafe { vld1q_f32(scales.as_ptr().add(half * 4)) };
        let real = vmulq_f32(vcvtq_f32_s32(sums[half]), scale);
        let real = vminq_f32(vmaxq_f32(real, low), high);
        // vcvtn rounds half to even.
        *words = vmovn_s32(vaddq_s32(vcvtnq_s32_f32(real), zero));
    }
    let bytes = vmovn_s16(vcombine_s16(words[0], words[1]));
    // SAFETY: `output` has 8 bytes.
    unsafe { vst1_u8(output.as_mut_ptr(), vreinterpret_u8_s8(bytes)) };
}
