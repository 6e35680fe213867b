//! Any aarch64: smull multiplies eight pairs of bytes into 16 bits, smlal adds eight more, and sadalp
//! adds the two halves of each pair to a sum of 32 bits. Two products fit in 16 bits unless both are
//! −128 · −128, so a layer with a weight of −128 adds each product by itself.
#![allow(unsafe_code)]

use std::arch::aarch64::*;

use super::dense::{Dense, Pass};
use super::kernel::Kernel;
use super::neon_loop::{self, LANES, PIXELS, REGISTER};
use super::quantised::Range;
use super::tile::{Output, Shape, Tile};

const STEP: usize = 8;

pub fn drive(dense: &Dense, pass: &mut Pass) {
    if dense.pairs_fit {
        dense.drive(pass, tile::<true>);
    } else {
        dense.drive(pass, tile::<false>);
    }
}

fn tile<const PAIRED: bool>(tile: &Tile<LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    assert!(Kernel::Neon.is_available() && tile.is_sound(STEP, 1));
    let whole = |elements: usize| elements.is_multiple_of(REGISTER);
    assert!(whole(tile.head) && whole(tile.tail), "what is left out is whole registers");
    // SAFETY: the CPU has the feature, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel::<PAIRED>(tile, output) }
}

/// # Safety
/// `tile.is_sound(STEP, 1)`, and its head and tail are whole registers.
#[target_feature(enable = "neon")]
unsafe fn kernel<const PAIRED: bool>(
    tile: &Tile<LANES, PIXELS>,
    output: &mut Output<LANES, PIXELS>,
) {
    let mut sums = [[vdupq_n_s32(0); LANES]; PIXELS];
    // SAFETY: a sound tile has `run_len` elements, a multiple of STEP, for each run of each window,
    // and LANES weights for each of them, which `weights` steps through once.
    unsafe {
        let Shape { row_step, runs, run_step, run_len } = tile.shape;
        let mut weights = tile.weights.as_ptr();
        // One pointer that moves, and where each window starts from it.
        let (mut at, windows) = (tile.input.as_ptr().cast::<i8>(), tile.windows);
        for _ in 0..tile.rows {
            let mut x = [vdupq_n_s8(0); PIXELS];
            macro_rules! multiply {
                ($columns:expr, $pixels:expr) => {
                    for _ in 0..$columns / REGISTER {
                        for (x, window) in x[$pixels].iter_mut().zip(&windows[$pixels]) {
                            *x = vld1q_s8(at.add(*window));
                        }
                        for lane in 0..LANES {
                            let w = vld1q_s8(weights.add(lane * REGISTER));
                            let mut sums: [_; PIXELS] = sums.each_mut().map(|sums| &mut sums[lane]);
                            add::<PAIRED>(&mut sums[$pixels], &x[$pixels], w);
                        }
                        weights = weights.add(LANES * REGISTER);
                        at = at.add(REGISTER);
                    }
                };
            }
            for _ in 0..runs {
                let [head, all, tail] = tile.columns();
                multiply!(head, 1..);
                let steps = all / REGISTER;
                if PAIRED && steps > 0 {
                    let x = windows.map(|window| at.add(window));
                    neon_loop::add(&mut sums, x, weights, steps);
                    weights = weights.add(steps * LANES * REGISTER);
                    at = at.add(steps * REGISTER);
                } else {
                    multiply!(all, ..);
                }
                if all % REGISTER != 0 {
                    for lane in 0..LANES {
                        let w = vld1_s8(weights.add(lane * STEP));
                        for (sums, window) in sums.iter_mut().zip(&windows) {
                            let products = vmull_s8(vld1_s8(at.add(*window)), w);
                            sums[lane] = vpadalq_s16(sums[lane], products);
                        }
                    }
                    weights = weights.add(LANES * STEP);
                    at = at.add(STEP);
                }
                multiply!(tail, ..PIXELS - 1);
                // Behind the last row nothing is read any more.
                at = at.wrapping_add(run_step).wrapping_sub(run_len);
            }
            at = at.wrapping_add(row_step).wrapping_sub(runs * run_step);
        }
    }
    let mut results = [vdupq_n_s32(0); PIXELS];
    for (pixel, (result, sums)) in results.iter_mut().zip(&sums).enumerate() {
        let [first, second] = [vpaddq_s32(sums[0], sums[1]), vpaddq_s32(sums[2], sums[3])];
        // SAFETY: there are LANES biases.
        let bias = unsafe { vld1q_s32(tile.bias(pixel).as_ptr()) };
        *result = vaddq_s32(vpaddq_s32(first, second), bias);
    }
    // SAFETY: there are LANES scales.
    let scales = unsafe { vld1q_f32(tile.scales.as_ptr()) };
    let bytes = requantise(&results, &[scales; PIXELS], tile.range);
    // SAFETY: `output` has LANES · PIXELS bytes, which is 16.
    unsafe { vst1q_s8(output.as_mut_ptr().cast(), bytes) };
}

/// Adds the products of 16 elements of one channel for each pixel. Each instruction comes for all
/// pixels before the next one, because a core that runs in order waits for its result.
#[inline]
#[target_feature(enable = "neon")]
fn add<const PAIRED: bool>(sums: &mut [&mut int32x4_t], x: &[int8x16_t], w: int8x16_t) {
    let mut products = [vdupq_n_s16(0); PIXELS];
    for (products, x) in products.iter_mut().zip(x) {
        *products = vmull_s8(vget_low_s8(*x), vget_low_s8(w));
    }
    if !PAIRED {
        for (sum, products) in sums.iter_mut().zip(&products) {
            **sum = vpadalq_s16(**sum, *products);
        }
        products = [vdupq_n_s16(0); PIXELS];
    }
    for (products, x) in products.iter_mut().zip(x) {
        *products = vmlal_high_s8(*products, *x, w);
    }
    for (sum, products) in sums.iter_mut().zip(&products) {
        **sum = vpadalq_s16(**sum, *products);
    }
}

/// Turns 16 sums into their bytes. Conversion and narrowing saturate, and beyond the range of the
/// output there is nothing else.
#[inline]
#[target_feature(enable = "neon")]
pub fn requantise(sums: &[int32x4_t; 4], scales: &[float32x4_t; 4], range: Range) -> int8x16_t {
    let zero = vdupq_n_s16(range.zero as i16);
    // vcvtn rounds half to even.
    let value =
        |at: usize| vqmovn_s32(vcvtnq_s32_f32(vmulq_f32(vcvtq_f32_s32(sums[at]), scales[at])));
    let words = |at: usize| vqaddq_s16(vcombine_s16(value(at), value(at + 1)), zero);
    vcombine_s8(vqmovn_s16(words(0)), vqmovn_s16(words(2)))
}

/// Turns 8 sums of each pixel into its bytes, two pixels at once.
#[inline]
#[target_feature(enable = "neon")]
pub fn requantise_pairs(
    sums: &[[int32x4_t; 2]; 2],
    scales: &[f32; 8],
    range: Range,
    output: &mut [[u8; 8]; 2],
) {
    // SAFETY: there are two registers of scales.
    let scales = unsafe { [vld1q_f32(scales.as_ptr()), vld1q_f32(scales.as_ptr().add(4))] };
    let [[a, b], [c, d]] = *sums;
    let bytes = requantise(&[a, b, c, d], &[scales[0], scales[1], scales[0], scales[1]], range);
    // SAFETY: `output` has 16 bytes.
    unsafe { vst1q_s8(output.as_mut_ptr().cast(), bytes) };
}
