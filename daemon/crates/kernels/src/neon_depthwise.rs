//! Depthwise convolutions on any aarch64: smull and smlal sum two taps of 16 channels in 16 bits, saddw
//! adds them to sums of 32. A layer with a weight of −128 adds each product by itself.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::dense::Pass;
use super::depthwise::{Depthwise, Form, Strip, each_row};
use super::geometry::Windows;
use super::kernel::Kernel;
use super::neon::requantise;

pub const LANES: usize = 16;
/// Registers of sums for a pixel.
const VECTORS: usize = 4;
/// Pixels that share each weight that is loaded: eight registers of sums.
const PIXELS: usize = 2;

pub const FORM: Form = Form { lanes: LANES, channel, taps, adjacent: 1, bytes: 1 };

fn channel(lane: usize) -> usize {
    lane
}

fn taps(windows: &Windows) -> Vec<[isize; 2]> {
    each_row(windows, 0..windows.kernel[1] as isize)
}

pub fn drive(depthwise: &Depthwise, pass: &mut Pass) {
    match (depthwise.pairs_fit, pass.to.columns) {
        (true, 2..) => depthwise.drive(pass, strip::<true, PIXELS>),
        (true, _) => depthwise.drive(pass, strip::<true, 1>),
        (false, 2..) => depthwise.drive(pass, strip::<false, PIXELS>),
        (false, _) => depthwise.drive(pass, strip::<false, 1>),
    }
}

fn strip<const PAIRED: bool, const PIXELS: usize>(
    strip: &Strip<LANES, PIXELS>,
    output: &mut [[u8; LANES]; PIXELS],
) {
    assert!(Kernel::Neon.is_available() && strip.is_sound(strip.kernel[1]));
    // SAFETY: the CPU has the feature, and the strip is as the kernel asks: both just asserted.
    unsafe { kernel::<PAIRED, PIXELS>(strip, output) }
}

/// # Safety
/// The strip is sound for as many weights a row as the kernel is wide.
#[target_feature(enable = "neon")]
unsafe fn kernel<const PAIRED: bool, const PIXELS: usize>(
    strip: &Strip<LANES, PIXELS>,
    output: &mut [[u8; LANES]; PIXELS],
) {
    let mut sums = [[vdupq_n_s32(0); VECTORS]; PIXELS];
    let mut scales = [vdupq_n_f32(0.0); VECTORS];
    for vector in 0..VECTORS {
        // SAFETY: there are LANES of both, VECTORS times 4.
        let bias = unsafe { vld1q_s32(strip.biases.as_ptr().add(vector * 4)) };
        sums.iter_mut().for_each(|sums| sums[vector] = bias);
        // SAFETY: as above.
        scales[vector] = unsafe { vld1q_f32(strip.scales.as_ptr().add(vector * 4)) };
    }
    let [height, width] = strip.kernel;
    let mut weights = strip.weights.as_ptr();
    for row in 0..height {
        // SAFETY: a sound strip has LANES elements at each tap of each pixel, and as many weights for
        // each tap, which `weights` steps through once.
        unsafe {
            let mut at = strip.input.as_ptr().cast::<i8>().add(strip.start + row * strip.row_step);
            for _ in 0..width / 2 {
                let w = [vld1q_s8(weights), vld1q_s8(weights.add(LANES))];
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    let at = at.add(pixel * strip.pixel_step);
                    let x = [vld1q_s8(at), vld1q_s8(at.add(strip.tap_step))];
                    if PAIRED {
                        let low = vmull_s8(vget_low_s8(x[0]), vget_low_s8(w[0]));
                        let high = vmull_high_s8(x[0], w[0]);
                        let low = vmlal_s8(low, vget_low_s8(x[1]), vget_low_s8(w[1]));
                        add(sums, [low, vmlal_high_s8(high, x[1], w[1])]);
                    } else {
                        add_one(sums, x[0], w[0]);
                        add_one(sums, x[1], w[1]);
                    }
                }
                weights = weights.add(2 * LANES);
                // Behind the last tap nothing is read any more.
                at = at.wrapping_add(2 * strip.tap_step);
            }
            if width % 2 == 1 {
                let w = vld1q_s8(weights);
                for (pixel, sums) in sums.iter_mut().enumerate() {
                    add_one(sums, vld1q_s8(at.add(pixel * strip.pixel_step)), w);
                }
                weights = weights.add(LANES);
            }
        }
    }
    for (sums, output) in sums.iter().zip(output) {
        let bytes = requantise(sums, &scales, strip.range);
        // SAFETY: `output` has 16 bytes.
        unsafe { vst1q_s8(output.as_mut_ptr().cast(), bytes) };
    }
}

/// Adds the products of one tap.
#[inline]
#[target_feature(enable = "neon")]
fn add_one(sums: &mut [int32x4_t; VECTORS], x: int8x16_t, w: int8x16_t) {
    add(sums, [vmull_s8(vget_low_s8(x), vget_low_s8(w)), vmull_high_s8(x, w)]);
}

/// Adds 16 numbers of 16 bits.
#[inline]
#[target_feature(enable = "neon")]
fn add(sums: &mut [int32x4_t; VECTORS], [low, high]: [int16x8_t; 2]) {
    sums[0] = vaddw_s16(sums[0], vget_low_s16(low));
    sums[1] = vaddw_high_s16(sums[1], low);
    sums[2] = vaddw_s16(sums[2], vget_low_s16(high));
    sums[3] = vaddw_high_s16(sums[3], high);
}
