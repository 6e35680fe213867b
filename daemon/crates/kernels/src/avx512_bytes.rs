//! How AVX-512 makes bytes of sums, and puts them where they belong: rounded, with another tensor added to
//! them or not, in registers throughout. It knows nothing of how the sums came about.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512_put::{SUMS, put};
use super::avx512_vbmi::Answers;
use super::convolution::Convolution;
use super::dense::{Pass, Spot};
use super::elementwise::Addition;
use super::last::Finish;
use super::quantised::Range;

/// Registers of sums that become one of bytes.
pub const GROUP: usize = 4;

/// Where the bytes of a tile's pixels go, and what is added to them.
pub struct Target<'a> {
    /// From the first pixel's first channel on.
    output: *mut u8,
    step: usize,
    pixels: usize,
    lanes: usize,
    last: Last<'a>,
}

/// What is done with the bytes before they are written.
enum Last<'a> {
    Nothing,
    LookUp(&'a [u8; 256]),
    Add(Added<'a>),
}

/// A tensor that is added.
struct Added<'a> {
    addition: &'a Addition,
    /// From the first pixel's first channel on.
    other: &'a [u8],
    step: usize,
}

impl<'a> Target<'a> {
    /// Returns where a tile of LANES channels goes.
    ///
    /// # Panics
    /// When a view does not lie in its buffer.
    #[inline(always)]
    pub fn of<const LANES: usize>(pass: &'a mut Pass, spot: Spot) -> Target<'a> {
        let Spot { place: [channel, y, x], lanes, pixels } = spot;
        let to = pass.to;
        let output = &mut pass.output[to.at(y, x) + channel..];
        assert!(lanes <= LANES && (pixels - 1) * to.pixel + lanes <= output.len());
        let last = match pass.finish {
            Finish::Nothing => Last::Nothing,
            Finish::Table(table) => Last::LookUp(table.answers()),
            Finish::Addition(addition, other, _) => {
                let (step, at) = (other.view.pixel, other.view.at(y, x) + channel);
                let other = &other.bytes[at..];
                // Whole blocks are read; behind the last channel there is SLACK.
                assert!((pixels - 1) * step + LANES <= other.len());
                Last::Add(Added { addition, other, step })
            }
        };
        let output = output.as_mut_ptr();
        Target { output, step: to.pixel, pixels, lanes, last }
    }
}

/// Turns the sums of a tile into bytes and writes those that there are pixels and channels for. It is part of
/// the kernel that calls it, so that the sums stay in its registers.
///
/// # Safety
/// The CPU has AVX-512 F, BW and VBMI, and the caller is compiled for it. `target` is of `VECTORS · SUMS` channels, and so many are the `scales`; it has at most `PIXELS` pixels.
#[inline(always)]
pub unsafe fn finish<const VECTORS: usize, const PIXELS: usize>(
    sums: &[[__m512i; VECTORS]; PIXELS],
    scales: &[f32],
    range: Range,
    target: &Target,
) {
    let at = scales.as_ptr();
    // SAFETY: the CPU has the features, and there are VECTORS times SUMS scales.
    let scales = unsafe {
        let mut scales = [_mm512_setzero_ps(); VECTORS];
        for (vector, scale) in scales.iter_mut().enumerate() {
            *scale = _mm512_loadu_ps(at.add(vector * SUMS));
        }
        scales
    };
    // SAFETY: as the caller says. `Target::of` saw that the block of the other tensor is there for each pixel.
    unsafe {
        match &target.last {
            Last::Nothing => write::<VECTORS, PIXELS>(
                target,
                range.zero,
                #[inline(always)]
                |pixel, vector| rounded(sums[pixel][vector], scales[vector]),
                #[inline(always)]
                |bytes| bytes,
            ),
            Last::LookUp(answers) => {
                let answers = Answers::new(answers);
                write::<VECTORS, PIXELS>(
                    target,
                    range.zero,
                    #[inline(always)]
                    |pixel, vector| rounded(sums[pixel][vector], scales[vector]),
                    #[inline(always)]
                    |bytes| answers.of(bytes),
                );
            }
            Last::Add(Added { addition, other, step }) => {
                let (adding, other, step) = (Adding::new(addition, range), other.as_ptr(), *step);
                let (last, zero) = (target.pixels - 1, addition.range().zero);
                write::<VECTORS, PIXELS>(
                    target,
                    zero,
                    #[inline(always)]
                    |pixel, vector| {
                        let at = other.add(pixel.min(last) * step + vector * SUMS);
                        let own = rounded(sums[pixel][vector], scales[vector]);
                        adding.sum(own, _mm_loadu_si128(at.cast()))
                    },
                    #[inline(always)]
                    |bytes| bytes,
                );
            }
        }
    }
}

/// Whether `rounded` takes a convolution, whose weights are less their zero points: no sum that it can have is,
/// multiplied by its scale, too large for an i32. Those of trained layers are far below.
pub fn takes(convolution: &Convolution) -> bool {
    // Sums wrap: none is beyond this.
    const SUM_MAX: f64 = 2_147_483_648.0;
    // In f32 the product may be larger by two roundings.
    const PRODUCT_MAX: f64 = 0.999 * SUM_MAX;
    let channels = convolution.scales.iter().zip(&convolution.bias).enumerate();
    let products = convolution.geometry.products_of_sum();
    channels.into_iter().all(|(channel, (scale, bias))| {
        let reach = || {
            let weights = &convolution.weights[channel * products..][..products];
            let weights: i64 = weights.iter().map(|weight| i64::from(*weight).abs()).sum();
            // Bytes and zero point are up to 255 each.
            2 * 255 * weights + i64::from(*bias).abs()
        };
        let scale = f64::from(*scale);
        scale < 0.999 || SUM_MAX.min(reach() as f64) * scale < PRODUCT_MAX
    })
}

/// Returns what a sum becomes, less the zero point and without limits: what packing does not saturate is
/// within the range.
#[inline]
#[target_feature(enable = "avx512f")]
fn rounded(sum: __m512i, scale: __m512) -> __m512i {
    _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_cvtepi32_ps(sum), scale))
}

/// The constants of an addition.
struct Adding {
    limits: [__m512i; 2],
    moved: __m512i,
    other_zero: __m512i,
    ratios: [__m512; 2],
    high: __m512,
}

impl Adding {
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn new(addition: &Addition, own: Range) -> Adding {
        let ([own_zero, other_zero], ratios) = addition.inputs();
        Adding {
            limits: [own.low, own.high].map(|limit| _mm512_set1_epi32(limit as i32)),
            // Zero where the addition is of this very tensor.
            moved: _mm512_set1_epi32(own.zero - own_zero),
            other_zero: _mm512_set1_epi32(other_zero),
            ratios: ratios.map(|ratio| _mm512_set1_ps(ratio)),
            high: _mm512_set1_ps(addition.range().high),
        }
    }

    /// Returns the sum of numbers less their zero point and of bytes of the other tensor, as `rounded`.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn sum(&self, own: __m512i, other: __m128i) -> __m512i {
        let own = _mm512_min_epi32(_mm512_max_epi32(own, self.limits[0]), self.limits[1]);
        let own = _mm512_add_epi32(own, self.moved);
        let other = _mm512_sub_epi32(_mm512_cvtepu8_epi32(other), self.other_zero);
        let own = _mm512_mul_ps(_mm512_cvtepi32_ps(own), self.ratios[0]);
        let other = _mm512_mul_ps(_mm512_cvtepi32_ps(other), self.ratios[1]);
        // What is too large for an i32 would become the least of them; what is too small does too.
        _mm512_cvtps_epi32(_mm512_min_ps(_mm512_add_ps(own, other), self.high))
    }
}

/// Writes the bytes of whole numbers, raised by the zero point.
///
/// # Safety
/// The CPU has AVX-512 F and BW, and what `change` asks for. `target` is of `VECTORS · SUMS` channels and has at most `PIXELS` pixels.
#[inline(always)]
unsafe fn write<const VECTORS: usize, const PIXELS: usize>(
    target: &Target,
    zero: i32,
    whole: impl Fn(usize, usize) -> __m512i,
    change: impl Fn(__m512i) -> __m512i,
) {
    let (pixels, lanes, step) = (target.pixels, target.lanes, target.step);
    let output = target.output;
    // One or two registers of sums leave place for other pixels'.
    let together = if VECTORS < 3 { GROUP / VECTORS } else { 1 };
    macro_rules! emit {
        ($($group:literal)*) => {$(
            let first = $group * together;
            if first < PIXELS && first < pixels {
                // SAFETY: the CPU has the features, and each pixel that there is has place for its lanes.
                unsafe {
                    let mut values = [_mm512_setzero_si512(); GROUP];
                    for (at, value) in values.iter_mut().enumerate() {
                        let (pixel, vector) = (first + at / VECTORS, at % VECTORS);
                        // Of three registers the first fills the fourth's place.
                        let pixel = if VECTORS == 3 { first } else { pixel.min(PIXELS - 1) };
                        *value = whole(pixel, vector);
                    }
                    let bytes = change(ordered(packed(&values, zero)));
                    for at in 0..together.min(PIXELS - first) {
                        if first + at < pixels {
                            let to = output.add((first + at) * step);
                            put::<VECTORS>(to, part::<VECTORS>(bytes, at), lanes);
                        }
                    }
                }
            }
        )*};
    }
    // One by one: what a loop reads by a number that the compiler does not know is no register.
    const { assert!(PIXELS <= 8) };
    emit!(0 1 2 3 4 5 6 7);
}

/// Returns the bytes of one pixel of those that are together in a register.
#[inline]
#[target_feature(enable = "avx512f")]
fn part<const VECTORS: usize>(bytes: __m512i, pixel: usize) -> __m512i {
    match (VECTORS, pixel) {
        (1, 1) => _mm512_castsi128_si512(_mm512_extracti32x4_epi32::<1>(bytes)),
        (1, 2) => _mm512_castsi128_si512(_mm512_extracti32x4_epi32::<2>(bytes)),
        (1, 3) => _mm512_castsi128_si512(_mm512_extracti32x4_epi32::<3>(bytes)),
        (2, 1) => _mm512_castsi256_si512(_mm512_extracti64x4_epi64::<1>(bytes)),
        _ => bytes,
    }
}

/// Packs registers of whole numbers into one of bytes. Packing works within quarters of 128 bits: each of
/// the result holds four bytes of each register. What saturates on the way to 16 and to 8 bits is beyond
/// the range of the output.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
fn packed(values: &[__m512i; GROUP], zero: i32) -> __m512i {
    let zero = _mm512_set1_epi16(zero as i16);
    let words = |low, high| _mm512_adds_epi16(_mm512_packs_epi32(low, high), zero);
    _mm512_packus_epi16(words(values[0], values[1]), words(values[2], values[3]))
}

/// Puts what is packed within quarters into the order of the registers of sums.
#[inline]
#[target_feature(enable = "avx512f")]
fn ordered(bytes: __m512i) -> __m512i {
    let order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    _mm512_permutexvar_epi32(order, bytes)
}

/// Turns four registers of sums into one of bytes, in their order.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub fn requantise(sums: [__m512i; GROUP], scales: [__m512; GROUP], range: Range) -> __m512i {
    let mut values = sums;
    for (value, scale) in values.iter_mut().zip(scales) {
        *value = rounded(*value, scale);
    }
    ordered(packed(&values, range.zero))
}
