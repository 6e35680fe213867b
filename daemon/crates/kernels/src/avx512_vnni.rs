//! x86-64 with AVX-512 VNNI: vpdpbusd adds four products u8 · i8 to each of 16 sums, exactly.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::dense::{Dense, Pass};
use super::kernel::Kernel;
use super::quantised::Range;
use super::tile::{Output, Shape, Tile};

const STEP: usize = 4;
/// Sums in a register.
const SUMS: usize = 16;
/// Registers of sums that become one of bytes.
const GROUP: usize = 4;

/// Up to 24 registers of sums, of 32: 16 channels in each, as many for a pixel as the form says. Ten of
/// them keep two multipliers of five cycles busy.
pub fn drive(dense: &Dense, pass: &mut Pass) {
    macro_rules! drive {
        ($(($vectors:literal, $lanes:literal): $($pixels:literal)*;)*) => {
            match (dense.form.lanes, dense.form.pixels) {
                $($(($lanes, $pixels) => dense.drive(pass, tile::<$vectors, $lanes, $pixels>),)*)*
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
    output: &mut Output<LANES, PIXELS>,
) {
    assert!(Kernel::Avx512Vnni.is_available() && LANES == VECTORS * SUMS && tile.is_sound(STEP, 1));
    // SAFETY: the CPU has the features, and the tile is as the kernel asks: both just asserted.
    unsafe { kernel::<VECTORS, LANES, PIXELS>(tile, output) }
}

/// # Safety
/// `LANES` is `VECTORS · SUMS`, and `tile.is_sound(STEP, 1)`.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn kernel<const VECTORS: usize, const LANES: usize, const PIXELS: usize>(
    tile: &Tile<LANES, PIXELS>,
    output: &mut Output<LANES, PIXELS>,
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
    let mut scales = [_mm512_setzero_ps(); VECTORS];
    for (vector, scales) in scales.iter_mut().enumerate() {
        // SAFETY: there are LANES scales, VECTORS times SUMS.
        *scales = unsafe { _mm512_loadu_ps(tile.scales.as_ptr().add(vector * SUMS)) };
    }
    let (groups, rest) = sums.as_flattened().as_chunks::<GROUP>();
    let (bytes, last) = output.as_flattened_mut().as_chunks_mut::<{ GROUP * SUMS }>();
    let scales_of = |group: usize| [0, 1, 2, 3].map(|at| scales[(group * GROUP + at) % VECTORS]);
    for (group, (sums, bytes)) in groups.iter().zip(bytes).enumerate() {
        *bytes = ordered(requantise(sums, &scales_of(group), tile.range));
    }
    if !rest.is_empty() {
        let mut sums = [rest[0]; GROUP];
        sums[..rest.len()].copy_from_slice(rest);
        let bytes = ordered(requantise(&sums, &scales_of(groups.len()), tile.range));
        last.copy_from_slice(&bytes[..rest.len() * SUMS]);
    }
}

/// Turns registers of sums into one of bytes. Packing works within quarters of 128 bits: each of the
/// result holds four bytes of each register. What saturates on the way to 16 and to 8 bits is beyond
/// the range of the output.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn requantise(sums: &[__m512i; GROUP], scales: &[__m512; GROUP], range: Range) -> __m512i {
    let high = _mm512_set1_ps(range.high);
    let zero = _mm512_set1_epi16(range.zero as i16);
    let mut values = [_mm512_setzero_si512(); GROUP];
    for ((value, sum), scale) in values.iter_mut().zip(sums).zip(scales) {
        let real = _mm512_mul_ps(_mm512_cvtepi32_ps(*sum), *scale);
        // What is too large for an i32 would become the least of them; what is too small does too.
        *value = _mm512_cvtps_epi32(_mm512_min_ps(real, high));
    }
    let words = |low, high| _mm512_adds_epi16(_mm512_packs_epi32(low, high), zero);
    let (first, second) = (words(values[0], values[1]), words(values[2], values[3]));
    _mm512_packus_epi16(first, second)
}

/// Puts what is packed within quarters into the order of the registers of sums.
#[inline]
#[target_feature(enable = "avx512f")]
fn ordered(bytes: __m512i) -> [u8; GROUP * SUMS] {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    let bytes = _mm512_permutexvar_epi32(order, bytes);
    let mut output = [0; GROUP * SUMS];
    // SAFETY: `output` has 64 bytes.
    unsafe { _mm512_storeu_si512(output.as_mut_ptr().cast(), bytes) };
    output
}
