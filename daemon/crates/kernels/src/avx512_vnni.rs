//! x86-64 with AVX-512 VNNI: vpdpbusd adds four products u8 · i8 to each of 16 sums, exactly.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512_bytes::{Target, finish};
use super::avx512_put::SUMS;
use super::dense::{Dense, Pass, Spot};
use super::kernel::Kernel;
use super::tile::{Shape, Tile};

const STEP: usize = 4;

/// Up to 24 registers of sums, of 32: 16 channels in each, as many for a pixel as the form says. Ten of
/// them keep two multipliers of five cycles busy.
pub fn drive(dense: &Dense, pass: &mut Pass) {
    macro_rules! run {
        ($vectors:literal, $lanes:literal, $pixels:literal) => {
            dense.each_tile(
                pass,
                #[inline(always)]
                |work, pass, spot| tile::<$vectors, $lanes, $pixels>(work, pass, spot),
            )
        };
    }
    macro_rules! drive {
        ($(($vectors:literal, $lanes:literal): $($pixels:literal)*;)*) => {
            match (dense.form.lanes, dense.form.pixels) {
                $($(($lanes, $pixels) => run!($vectors, $lanes, $pixels),)*)*
                form => unreachable!("no convolution is packed in the form {form:?}"),
            }
        };
    }
    drive! {
        (1, 16): 1 2 3 4 5 6 7 8;
        (2, 32): 1 2 3 4 5 6 7 8;
        (3, 48): 1 2 3 4 5 6 7 8;
        (4, 64): 1 2 3 4 5 6;
    }
}

fn tile<const VECTORS: usize, const LANES: usize, const PIXELS: usize>(
    tile: &Tile<LANES, PIXELS>,
    pass: &mut Pass,
    spot: Spot,
) {
    assert!(Kernel::Avx512Vnni.is_available() && LANES == VECTORS * SUMS && tile.is_sound(STEP, 1));
    assert!(spot.pixels <= PIXELS);
    // SAFETY: the CPU has the features, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel::<VECTORS, LANES, PIXELS>(tile, &Target::of::<LANES>(pass, spot)) }
}

/// # Safety
/// `LANES` is `VECTORS · SUMS`, `tile.is_sound(STEP, 1)`, and the target is of such a tile.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
unsafe fn kernel<const VECTORS: usize, const LANES: usize, const PIXELS: usize>(
    tile: &Tile<LANES, PIXELS>,
    target: &Target,
) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; PIXELS];
    // SAFETY: a sound tile has `run_len` elements, a multiple of STEP, for each run of each window,
    // and LANES · STEP weights for each STEP of them, which `weights` steps through once.
    unsafe {
        for vector in 0..VECTORS {
            for (pixel, sums) in sums.iter_mut().enumerate() {
                let bias = tile.bias(pixel).as_ptr().add(vector * SUMS);
                sums[vector] = _mm512_loadu_si512(bias.cast());
            }
        }
        let Shape { row_step, runs, run_step, run_len } = tile.shape;
        let mut weights = tile.weights.as_ptr();
        // One pointer that moves, and where each window starts from it.
        let (mut at, windows) = (tile.input.as_ptr(), tile.windows);
        for _ in 0..tile.rows {
            macro_rules! multiply {
                ($columns:expr, $pixels:expr) => {
                    for _ in 0..$columns / STEP {
                        let mut w = [_mm512_setzero_si512(); VECTORS];
                        for (vector, w) in w.iter_mut().enumerate() {
                            *w = _mm512_loadu_si512(weights.add(vector * SUMS * STEP).cast());
                        }
                        weights = weights.add(LANES * STEP);
                        for (sums, window) in sums[$pixels].iter_mut().zip(&windows[$pixels]) {
                            let four = at.add(*window).cast::<i32>().read_unaligned();
                            let x = _mm512_set1_epi32(four);
                            for (sum, w) in sums.iter_mut().zip(w) {
                                *sum = _mm512_dpbusd_epi32(*sum, x, w);
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
    // SAFETY: `LANES` is VECTORS times SUMS, and the target of as many.
    unsafe { finish::<VECTORS, PIXELS>(&sums, tile.scales, tile.range, target) }
}
