//! Depthwise convolutions with AVX-512 VNNI. vpdpbusd wants four taps of a channel side by side: bytes of
//! four neighbouring pixels are interleaved, and each such quad of columns serves two pixels of the
//! output where the stride is 1, with the kernel's row at its first or at its second byte.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512_vnni::requantise;
use super::dense::Pass;
use super::depthwise::{Depthwise, Form, Strip};
use super::geometry::Windows;
use super::kernel::Kernel;

pub const LANES: usize = 64;
/// Registers of sums for a pixel, of 16 channels each.
const VECTORS: usize = 4;

pub const FORM: Form = Form { lanes: LANES, channel, taps, adjacent: 4, bytes: 1 };

/// Interleaving works within quarters of 128 bits: a register of sums has four channels of each quarter.
fn channel(lane: usize) -> usize {
    let (vector, quarter, within) = (lane / 16, lane / 4 % 4, lane % 4);
    quarter * 16 + vector * 4 + within
}

/// Quads of taps: those of a pixel at an even column, then those of one at an odd column.
fn taps(windows: &Windows) -> Vec<isize> {
    let width = windows.kernel[1];
    let odd = windows.stride[1] % 2;
    (0..=odd)
        .flat_map(|odd| (0..quads(width + odd) * 4).map(move |at| at as isize - odd as isize))
        .collect()
}

const fn quads(columns: usize) -> usize {
    columns.div_ceil(4)
}

/// Whether it has a loop for these windows.
pub fn takes(windows: &Windows) -> bool {
    let square = [[3, 3], [5, 5]].contains(&windows.kernel);
    square && [[1, 1], [2, 2]].contains(&windows.stride) && windows.dilation[1] == 1
}

pub fn drive(depthwise: &Depthwise, pass: &mut Pass) {
    let windows = &depthwise.windows;
    macro_rules! drive {
        ($($kernel:literal / $stride:literal),*) => {
            match (windows.kernel[1], windows.stride[1], pass.to.columns) {
                $(
                    ($kernel, $stride, 4..) => depthwise.drive(pass, strip::<$kernel, $stride, 4>),
                    ($kernel, $stride, 2..) => depthwise.drive(pass, strip::<$kernel, $stride, 2>),
                    ($kernel, $stride, _) => depthwise.drive(pass, strip::<$kernel, $stride, 1>),
                )*
                other => unreachable!("no convolution is packed for {other:?}"),
            }
        };
    }
    drive!(3 / 1, 3 / 2, 5 / 1, 5 / 2)
}

fn strip<const WIDTH: usize, const STRIDE: usize, const PIXELS: usize>(
    strip: &Strip<LANES, PIXELS>,
    output: &mut [[u8; LANES]; PIXELS],
) {
    let odd = STRIDE % 2;
    let taps = 4 * (quads(WIDTH) + odd * quads(WIDTH + 1));
    assert!(Kernel::Avx512Vnni.is_available() && strip.kernel[1] == WIDTH && strip.is_sound(taps));
    assert_eq!(strip.pixel_step, STRIDE * strip.tap_step, "its columns follow each other");
    // SAFETY: the CPU has the features, and the strip is as the kernel asks: both just asserted.
    unsafe { kernel::<WIDTH, STRIDE, PIXELS>(strip, output) }
}

/// Most columns of a strip: those of 4 pixels at stride 2 under a kernel of 5, in whole quads.
const COLUMNS_MAX: usize = 16;

/// # Safety
/// The strip is sound for the taps of such a kernel, and its columns follow each other.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn kernel<const WIDTH: usize, const STRIDE: usize, const PIXELS: usize>(
    strip: &Strip<LANES, PIXELS>,
    output: &mut [[u8; LANES]; PIXELS],
) {
    let mut sums = [[_mm512_setzero_si512(); VECTORS]; PIXELS];
    let mut scales = [_mm512_setzero_ps(); VECTORS];
    for vector in 0..VECTORS {
        // SAFETY: there are LANES of both, VECTORS times 16.
        let bias = unsafe { _mm512_loadu_si512(strip.biases.as_ptr().add(vector * 16).cast()) };
        sums.iter_mut().for_each(|sums| sums[vector] = bias);
        // SAFETY: as above.
        scales[vector] = unsafe { _mm512_loadu_ps(strip.scales.as_ptr().add(vector * 16)) };
    }
    let even_quads = quads(WIDTH);
    let row_quads = even_quads + STRIDE % 2 * quads(WIDTH + 1);
    let last = (PIXELS - 1) * STRIDE + WIDTH - 1;
    for row in 0..strip.kernel[0] {
        // SAFETY: a sound strip has LANES elements at each column up to the last one, in each row,
        // and `row_quads · 4 · LANES` weights for each row.
        unsafe {
            let at = strip.input.as_ptr().add(strip.start + row * strip.row_step);
            let weights = strip.weights.as_ptr().add(row * row_quads * 4 * LANES);
            let column = |at_column: usize| {
                // Columns behind the last one have weights of 0.
                _mm512_loadu_si512(at.add(at_column.min(last) * strip.tap_step).cast())
            };
            let mut pairs = [[_mm512_setzero_si512(); 2]; COLUMNS_MAX / 2];
            for (pair, halves) in pairs.iter_mut().enumerate() {
                if pair * 2 <= last {
                    let (a, b) = (column(pair * 2), column(pair * 2 + 1));
                    *halves = [_mm512_unpacklo_epi8(a, b), _mm512_unpackhi_epi8(a, b)];
                }
            }
            for odd in 0..=STRIDE % 2 {
                for quad in 0..quads(WIDTH + odd) {
                    let weights = weights.add((odd * even_quads + quad) * 4 * LANES);
                    let mut w = [_mm512_setzero_si512(); VECTORS];
                    for (vector, w) in w.iter_mut().enumerate() {
                        *w = _mm512_loadu_si512(weights.add(vector * 64).cast());
                    }
                    for (pixel, sums) in sums.iter_mut().enumerate() {
                        let first = pixel * STRIDE;
                        if first % 2 != odd {
                            continue;
                        }
                        let pair = first / 2 + quad * 2;
                        let ([a, b], [c, d]) = (pairs[pair], pairs[pair + 1]);
                        let x = [
                            _mm512_unpacklo_epi16(a, c),
                            _mm512_unpackhi_epi16(a, c),
                            _mm512_unpacklo_epi16(b, d),
                            _mm512_unpackhi_epi16(b, d),
                        ];
                        for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
                            *sum = _mm512_dpbusd_epi32(*sum, x, w);
                        }
                    }
                }
            }
        }
    }
    for (sums, output) in sums.iter().zip(output) {
        // The order of the channels is the one that packing within quarters undoes.
        let bytes = requantise(sums, &scales, strip.range);
        // SAFETY: `output` has 64 bytes.
        unsafe { _mm512_storeu_si512(output.as_mut_ptr().cast(), bytes) };
    }
}
