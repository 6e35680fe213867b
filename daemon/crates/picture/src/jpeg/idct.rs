//! A block's coefficients to its 8×8 samples: the slow integer transform of libjpeg, bit for bit.
//!
//! The algorithm is that of C. Loeffler, A. Ligtenberg and G. Moschytz, "Practical fast 1-D DCT algorithms
//! with 11 multiplications", ICASSP 1989. Columns come first and keep two more bits. Each step is a loop
//! over eight lanes whose factors fit 16 bits, which a compiler turns into vector instructions.

use std::num::Wrapping;

use super::block::Block;
use super::tables::BLOCK;

/// Samples and coefficients of a row.
const SIDE: usize = 8;
/// Fractional bits of the constants.
pub const CONST_BITS: u32 = 13;
/// Fractional bits that the first pass leaves.
pub const PASS1_BITS: u32 = 2;
/// The sample in the middle of the range, which coefficients of 0 stand for.
const MIDDLE: i16 = 128;

// Constants times 2^13.
const F_0_298: i32 = 2446;
const F_0_390: i32 = 3196;
const F_0_541: i32 = 4433;
const F_0_765: i32 = 6270;
const F_0_899: i32 = 7373;
const F_1_175: i32 = 9633;
const F_1_501: i32 = 12_299;
const F_1_847: i32 = 15_137;
const F_1_961: i32 = 16_069;
const F_2_053: i32 = 16_819;
const F_2_562: i32 = 20_995;
const F_3_072: i32 = 25_172;

type Lanes = [i16; SIDE];

/// Writes the samples of a block at the start of `rows`, whose rows are `stride` bytes apart. Coefficients
/// stand row by row, as do the steps that they are multiplied with.
#[inline]
pub fn whole(block: &Block, steps: &Block, rows: &mut [u8], stride: usize) {
    let mut values = [[0_i16; SIDE]; SIDE];
    for (row, (block, steps)) in
        values.iter_mut().zip(block.chunks_exact(SIDE).zip(steps.chunks_exact(SIDE)))
    {
        for ((value, &coefficient), &step) in row.iter_mut().zip(block).zip(steps) {
            *value = coefficient.wrapping_mul(step);
        }
    }
    let columns = pass::<{ CONST_BITS - PASS1_BITS }>(&values);
    let lines = pass::<{ CONST_BITS + PASS1_BITS + 3 }>(&transposed(&columns));
    for (y, line) in transposed(&lines).iter().enumerate() {
        let start = y * stride;
        let samples: &mut [u8; SIDE] =
            (&mut rows[start..start + SIDE]).try_into().expect("eight samples");
        for (to, &value) in samples.iter_mut().zip(line) {
            *to = sample(value);
        }
    }
}

/// Writes the samples of a block that has no coefficient but the first.
#[inline]
pub fn flat(dc: i16, step: i16, side: usize, rows: &mut [u8], stride: usize) {
    let sample = level(dc, step);
    for y in 0..side {
        rows[y * stride..y * stride + side].fill(sample);
    }
}

/// Returns the mean sample of a block.
#[inline]
pub fn level(dc: i16, step: i16) -> u8 {
    let value = i32::from(dc.wrapping_mul(step));
    (((value + 4) >> 3) + i32::from(MIDDLE)).clamp(0, 255) as u8
}

/// Returns each column's transform, of which `SHIFT` fractional bits are rounded off. Products come in
/// pairs, as vector instructions take them. Sums wrap, which only damaged coefficients make them do.
#[inline(always)]
fn pass<const SHIFT: u32>(rows: &[Lanes; SIDE]) -> [Lanes; SIDE] {
    let mut out = [[0_i16; SIDE]; SIDE];
    for lane in 0..SIDE {
        let input = |row: usize| rows[row][lane];
        let pair = |(a, by): (i16, i32), (b, with): (i16, i32)| times(a, by) + times(b, with);
        // Even part.
        let (a, b) = (input(2), input(6));
        let t2 = pair((a, F_0_541), (b, F_0_541 - F_1_847));
        let t3 = pair((a, F_0_541 + F_0_765), (b, F_0_541));
        let t0 = times(input(0).wrapping_add(input(4)), 1 << CONST_BITS);
        let t1 = times(input(0).wrapping_sub(input(4)), 1 << CONST_BITS);
        let even = [t0 + t3, t1 + t2, t1 - t2, t0 - t3];
        // Odd part.
        let (a, b, c, d) = (input(7), input(5), input(3), input(1));
        let (z3, z4) = (a.wrapping_add(c), b.wrapping_add(d));
        let w3 = pair((z3, F_1_175 - F_1_961), (z4, F_1_175));
        let w4 = pair((z3, F_1_175), (z4, F_1_175 - F_0_390));
        let odd = [
            pair((a, -F_0_899), (d, F_1_501 - F_0_899)) + w4,
            pair((b, -F_2_562), (c, F_3_072 - F_2_562)) + w3,
            pair((b, F_2_053 - F_2_562), (c, -F_2_562)) + w4,
            pair((a, F_0_298 - F_0_899), (d, -F_0_899)) + w3,
        ];
        for step in 0..SIDE / 2 {
            out[step][lane] = rounded::<SHIFT>(even[step] + odd[step]);
            out[SIDE - 1 - step][lane] = rounded::<SHIFT>(even[step] - odd[step]);
        }
    }
    out
}

/// Multiplies with a constant, which must fit 16 bits.
#[inline(always)]
pub fn times(value: i16, factor: i32) -> Wrapping<i32> {
    Wrapping(i32::from(value) * factor)
}

/// Rounds fractional bits off.
#[inline(always)]
pub fn rounded<const SHIFT: u32>(value: Wrapping<i32>) -> i16 {
    let value = (value + Wrapping(1 << (SHIFT - 1))).0 >> SHIFT;
    value.clamp(i32::from(i16::MIN), i32::from(i16::MAX)) as i16
}

/// Returns the sample of a transformed value, which is 0 in the middle of the range.
#[inline(always)]
pub fn sample(value: i16) -> u8 {
    (value.clamp(-MIDDLE, MIDDLE - 1) + MIDDLE) as u8
}

/// Swaps rows and columns, in three steps that interleave whole rows: vector instructions do just that.
#[inline(always)]
pub fn transposed(rows: &[Lanes; SIDE]) -> [Lanes; SIDE] {
    let step = |rows: &[Lanes; SIDE]| {
        let mut out = [[0; SIDE]; SIDE];
        for pair in 0..SIDE / 2 {
            for lane in 0..SIDE / 2 {
                out[2 * pair][2 * lane] = rows[pair][lane];
                out[2 * pair][2 * lane + 1] = rows[pair + 4][lane];
                out[2 * pair + 1][2 * lane] = rows[pair][lane + 4];
                out[2 * pair + 1][2 * lane + 1] = rows[pair + 4][lane + 4];
            }
        }
        out
    };
    step(&step(&step(rows)))
}

/// Returns a table of steps in the form that the transforms take.
pub fn factors(steps: &[u16; BLOCK]) -> Block {
    steps.map(|step| step as i16)
}
