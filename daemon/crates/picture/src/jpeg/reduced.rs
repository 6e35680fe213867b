//! A block's coefficients to 4×4 or 2×2 samples: libjpeg's transforms of a reduced size, bit for bit.
//!
//! They are those of `idct` for the lower half or quarter of the frequencies, with what the others add to
//! them. Each sample is the mean of the 2×2 or 4×4 that the whole transform would give, nearly.

use std::num::Wrapping;

use super::block::Block;
use super::idct::{CONST_BITS, PASS1_BITS, rounded, sample, times, transposed};

/// Coefficients of a row.
const SIDE: usize = 8;

// Constants times 2^13.
const F_0_211: i32 = 1730;
const F_0_509: i32 = 4176;
const F_0_601: i32 = 4926;
const F_0_720: i32 = 5906;
const F_0_765: i32 = 6270;
const F_0_850: i32 = 6967;
const F_0_899: i32 = 7373;
const F_1_061: i32 = 8697;
const F_1_272: i32 = 10_426;
const F_1_451: i32 = 11_893;
const F_1_847: i32 = 15_137;
const F_2_172: i32 = 17_799;
const F_2_562: i32 = 20_995;
const F_3_624: i32 = 29_692;

/// Writes 4×4 samples of a block at the start of `rows`, whose rows are `stride` bytes apart.
#[inline]
pub fn half(block: &Block, steps: &Block, rows: &mut [u8], stride: usize) {
    let columns = pass_of_four::<{ CONST_BITS - PASS1_BITS + 1 }>(&dequantised(block, steps));
    // Lanes that are not needed cost less than rows of four, which no vector holds.
    let mut rows_of_eight = [[0; SIDE]; SIDE];
    rows_of_eight[..4].copy_from_slice(&columns);
    let turned = transposed(&rows_of_eight);
    let lines = pass_of_four::<{ CONST_BITS + PASS1_BITS + 3 + 1 }>(&turned);
    for y in 0..4 {
        rows[y * stride..y * stride + 4].copy_from_slice(&lines.map(|line| sample(line[y])));
    }
}

/// Writes 2×2 samples of a block at the start of `rows`, whose rows are `stride` bytes apart.
#[inline]
pub fn quarter(block: &Block, steps: &Block, rows: &mut [u8], stride: usize) {
    let columns = pass_of_two::<SIDE, { CONST_BITS - PASS1_BITS + 2 }>(&dequantised(block, steps));
    let mut turned = [[0; 2]; SIDE];
    for (x, column) in turned.iter_mut().enumerate() {
        *column = columns.map(|row| row[x]);
    }
    let lines = pass_of_two::<2, { CONST_BITS + PASS1_BITS + 3 + 2 }>(&turned);
    for y in 0..2 {
        rows[y * stride..y * stride + 2].copy_from_slice(&lines.map(|line| sample(line[y])));
    }
}

#[inline(always)]
fn dequantised(block: &Block, steps: &Block) -> [[i16; SIDE]; SIDE] {
    let mut values = [[0_i16; SIDE]; SIDE];
    for (row, (block, steps)) in
        values.iter_mut().zip(block.chunks_exact(SIDE).zip(steps.chunks_exact(SIDE)))
    {
        for ((value, &coefficient), &step) in row.iter_mut().zip(block).zip(steps) {
            *value = coefficient.wrapping_mul(step);
        }
    }
    values
}

/// Returns each column's transform to four samples, of which `SHIFT` fractional bits are rounded off.
#[inline(always)]
fn pass_of_four<const SHIFT: u32>(rows: &[[i16; SIDE]; SIDE]) -> [[i16; SIDE]; 4] {
    let mut out = [[0; SIDE]; 4];
    for lane in 0..SIDE {
        let input = |row: usize| rows[row][lane];
        let mean = Wrapping(i32::from(input(0)) << (CONST_BITS + 1));
        let even = times(input(2), F_1_847) - times(input(6), F_0_765);
        let (e0, e1) = (mean + even, mean - even);
        let o1 = times(input(5), F_1_451) - times(input(7), F_0_211) - times(input(3), F_2_172)
            + times(input(1), F_1_061);
        let o0 = times(input(3), F_0_899) - times(input(7), F_0_509) - times(input(5), F_0_601)
            + times(input(1), F_2_562);
        out[0][lane] = rounded::<SHIFT>(e0 + o0);
        out[1][lane] = rounded::<SHIFT>(e1 + o1);
        out[2][lane] = rounded::<SHIFT>(e1 - o1);
        out[3][lane] = rounded::<SHIFT>(e0 - o0);
    }
    out
}

/// Returns each column's transform to two samples, of which `SHIFT` fractional bits are rounded off.
#[inline(always)]
fn pass_of_two<const LANES: usize, const SHIFT: u32>(
    rows: &[[i16; LANES]; SIDE],
) -> [[i16; LANES]; 2] {
    let mut out = [[0; LANES]; 2];
    for lane in 0..LANES {
        let input = |row: usize| rows[row][lane];
        let mean = Wrapping(i32::from(input(0)) << (CONST_BITS + 2));
        let odd = times(input(5), F_0_850) - times(input(7), F_0_720) - times(input(3), F_1_272)
            + times(input(1), F_3_624);
        out[0][lane] = rounded::<SHIFT>(mean + odd);
        out[1][lane] = rounded::<SHIFT>(mean - odd);
    }
    out
}
