//! aarch64 from ARMv8.2 with FEAT_DotProd (Cortex-A55, A75, A76 and later): sdot adds four products
//! i8 · i8 to each of 4 sums, exactly.
#![allow(unsafe_code)]

use std::arch::aarch64::*;
use std::arch::asm;

use super::dense::{Dense, Pass};
use super::kernel::Kernel;
use super::neon::requantise_pairs;
use super::tile::{Output, Shape, Tile};

pub const LANES: usize = 8;
const STEP: usize = 4;
/// Elements in a register: four steps, which sdot picks by number.
const REGISTER: usize = 16;

/// Up to sixteen registers of sums, of 32.
pub fn drive(dense: &Dense, pass: &mut Pass) {
    match dense.form.pixels {
        4 => dense.drive(pass, tile::<4>),
        5 => dense.drive(pass, tile::<5>),
        6 => dense.drive(pass, tile::<6>),
        7 => dense.drive(pass, tile::<7>),
        _ => dense.drive(pass, tile::<8>),
    }
}

fn tile<const PIXELS: usize>(tile: &Tile<LANES, PIXELS>, output: &mut Output<LANES, PIXELS>) {
    assert!(Kernel::Dotprod.is_available() && tile.is_sound(STEP, 1));
    // SAFETY: the CPU has the feature, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel(tile, output) }
}

/// `sums += w · x[LANE]`: std's vdotq_laneq_s32 needs a nightly compiler.
#[inline]
#[target_feature(enable = "neon,dotprod")]
fn dot<const LANE: i32>(sums: int32x4_t, w: int8x16_t, x: uint8x16_t) -> int32x4_t {
    let mut result = sums;
    // SAFETY: one instruction on registers, of a feature that this function demands; LANE is 0 to 3
    // or it doesn't assemble.
    unsafe {
        asm!(
            "sdot {sums:v}.4s, {w:v}.16b, {x:v}.4b[{lane}]",
            sums = inout(vreg) result,
            w = in(vreg) w,
            x = in(vreg) x,
            lane = const LANE,
            options(pure, nomem, nostack, preserves_flags),
        );
    }
    result
}

/// # Safety
/// `tile.is_sound(STEP, 1)`.
#[target_feature(enable = "neon,dotprod")]
unsafe fn kernel<const PIXELS: usize>(
    tile: &Tile<LANES, PIXELS>,
    output: &mut Output<LANES, PIXELS>,
) {
    let mut sums = [[vdupq_n_s32(0); 2]; PIXELS];
    for (pixel, sums) in sums.iter_mut().enumerate() {
        *sums = biases(tile.bias(pixel));
    }
    // SAFETY: a sound tile has `run_len` elements, a multiple of STEP, for each run of each window,
    // and LANES · STEP weights for each STEP of them, which `weights` steps through once.
    unsafe {
        let Shape { row_step, runs, run_step, run_len } = tile.shape;
        let mut weights = tile.weights.as_ptr();
        let mut x = [vdupq_n_u8(0); PIXELS];
        macro_rules! step {
            ($lane:literal, $pixels:expr) => {
                let w = vld1q_s8_x2(weights);
                weights = weights.add(LANES * STEP);
                for (sums, x) in sums[$pixels].iter_mut().zip(&x[$pixels]) {
                    sums[0] = dot::<$lane>(sums[0], w.0, *x);
                    sums[1] = dot::<$lane>(sums[1], w.1, *x);
                }
            };
        }
        // One pointer that moves, and where each window starts from it.
        let (mut at, windows) = (tile.input.as_ptr(), tile.windows);
        for _ in 0..tile.rows {
            macro_rules! multiply {
                ($columns:expr, $pixels:expr) => {
                    for _ in 0..$columns / REGISTER {
                        for (x, window) in x[$pixels].iter_mut().zip(&windows[$pixels]) {
                            *x = vld1q_u8(at.add(*window));
                        }
                        step!(0, $pixels);
                        step!(1, $pixels);
                        step!(2, $pixels);
                        step!(3, $pixels);
                        at = at.add(REGISTER);
                    }
                    for _ in 0..$columns % REGISTER / STEP {
                        for (x, window) in x[$pixels].iter_mut().zip(&windows[$pixels]) {
                            let four = at.add(*window).cast::<u32>().read_unaligned();
                            *x = vreinterpretq_u8_u32(vdupq_n_u32(four));
                        }
                        step!(0, $pixels);
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
    let (pairs, last) = output.as_chunks_mut::<2>();
    for (sums, output) in sums.as_chunks::<2>().0.iter().zip(pairs) {
        requantise_pairs(sums, tile.scales, tile.range, output);
    }
    if let [last] = last {
        let mut two = [*last; 2];
        requantise_pairs(&[sums[PIXELS - 1]; 2], tile.scales, tile.range, &mut two);
        *last = two[0];
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn biases(bias: &[i32; LANES]) -> [int32x4_t; 2] {
    // SAFETY: LANES is twice the 4 sums of a register.
    unsafe { [vld1q_s32(bias.as_ptr()), vld1q_s32(bias.as_ptr().add(4))] }
}
