//! aarch64 with FEAT_I8MM (Cortex-A510, A710, X2, Neoverse V1, N2 and later): smmla multiplies 2 × 8
//! i8 with 8 × 2 of them and adds to 4 sums, exactly.
#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::dense::{Dense, Pass};
use super::dotprod::LANES;
use super::kernel::Kernel;
use super::neon::requantise_pairs;
use super::tile::{Output, Shape, Tile};

const STEP: usize = 8;
/// A register of sums is of two pixels times two channels.
const LANE_PAIRS: usize = LANES / 2;

/// Up to sixteen registers of sums, of 32.
pub fn drive(dense: &Dense, pass: &mut Pass) {
    match dense.form.pixels {
        4 => dense.drive(pass, tile::<2, 4>),
        6 => dense.drive(pass, tile::<3, 6>),
        _ => dense.drive(pass, tile::<4, 8>),
    }
}

fn tile<const PAIRS: usize, const PIXELS: usize>(
    tile: &Tile<LANES, PIXELS>,
    output: &mut Output<LANES, PIXELS>,
) {
    assert!(Kernel::I8mm.is_available() && PIXELS == PAIRS * 2 && tile.is_sound(STEP, 1));
    // SAFETY: the CPU has the feature, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel::<PAIRS, PIXELS>(tile, output) }
}

/// `sums += x · wᵀ`, both of two rows of 8: std's vmmlaq_s32 needs a nightly compiler.
#[inline]
#[target_feature(enable = "neon,i8mm")]
fn multiply(sums: int32x4_t, x: uint8x16_t, w: int8x16_t) -> int32x4_t {
    let mut result = sums;
    // SAFETY: one instruction on registers, of a feature that this function demands.
    unsafe {
        asm!(
            "smmla {sums:v}.4s, {x:v}.16b, {w:v}.16b",
            sums = inout(vreg) result,
            x = in(vreg) x,
            w = in(vreg) w,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    result
}

/// # Safety
/// `tile.is_sound(STEP, 1)`.
#[target_feature(enable = "neon,i8mm")]
unsafe fn kernel<const PAIRS: usize, const PIXELS: usize>(
    tile: &Tile<LANES, PIXELS>,
    output: &mut Output<LANES, PIXELS>,
) {
    // Its form cuts no columns, so that all pixels have the same.
    let mut sums = [biases(tile.bias(0)); PAIRS];
    // SAFETY: a sound tile has `run_len` elements, a multiple of STEP, for each run of each window,
    // and LANES · STEP weights for each STEP of them, which `weights` steps through once.
    unsafe {
        let Shape { row_step, runs, run_step, run_len } = tile.shape;
        let mut weights = tile.weights.as_ptr();
        for run in 0..tile.rows * runs {
            let mut windows = [tile.input.as_ptr(); PIXELS];
            for (window, start) in windows.iter_mut().zip(tile.windows) {
                *window = window.add(start + run / runs * row_step + run % runs * run_step);
            }
            for at in (0..run_len).step_by(STEP) {
                let w = vld1q_s8_x4(weights);
                weights = weights.add(LANES * STEP);
                for (sums, windows) in sums.iter_mut().zip(windows.as_chunks::<2>().0) {
                    let x = windows.map(|window| vld1_u8(window.add(at)));
                    let x = vcombine_u8(x[0], x[1]);
                    sums[0] = multiply(sums[0], x, w.0);
                    sums[1] = multiply(sums[1], x, w.1);
                    sums[2] = multiply(sums[2], x, w.2);
                    sums[3] = multiply(sums[3], x, w.3);
                }
            }
        }
    }
    for (sums, output) in sums.iter().zip(output.as_chunks_mut::<2>().0) {
        requantise_pairs(&pixels(sums), tile.scales, tile.range, output);
    }
}

/// Returns the biases of each pair of channels, for both pixels.
#[inline]
#[target_feature(enable = "neon")]
fn biases(bias: &[i32; LANES]) -> [int32x4_t; LANE_PAIRS] {
    [0, 1, 2, 3].map(|pair| {
        // SAFETY: LANES is twice the number of pairs.
        let bias = unsafe { vld1_s32(bias.as_ptr().add(pair * 2)) };
        vcombine_s32(bias, bias)
    })
}

/// Turns pairs of channels of two pixels into the channels of each.
#[inline]
#[target_feature(enable = "neon")]
fn pixels(sums: &[int32x4_t; LANE_PAIRS]) -> [[int32x4_t; 2]; 2] {
    let low = |a, b| vcombine_s32(vget_low_s32(a), vget_low_s32(b));
    let high = |a, b| vcombine_s32(vget_high_s32(a), vget_high_s32(b));
    [
        [low(sums[0], sums[1]), low(sums[2], sums[3])],
        [high(sums[0], sums[1]), high(sums[2], sums[3])],
    ]
}
