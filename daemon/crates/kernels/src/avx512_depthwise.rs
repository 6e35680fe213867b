//! Depthwise convolutions with AVX-512 VNNI and VBMI. vpdpbusd wants four taps of a channel side by side:
//! bytes of four rows are interleaved, so that each column is brought into that order once, for all pixels
//! and for both rows of the output that see it.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::avx512_bytes::{GROUP, requantise};
use super::avx512_put::{SUMS, put};
use super::avx512_vbmi::Answers;
use super::dense::Pass;
use super::depthwise::{Block, Depthwise, Form};
use super::geometry::Windows;
use super::kernel::Kernel;
use super::last::Finish;
use super::quantised::Range;

pub const LANES: usize = 32;
/// Registers of sums for a pixel.
const VECTORS: usize = LANES / SUMS;
/// Rows of the output that are computed together.
const TOGETHER: usize = 2;
/// Weights of one column in four rows.
const QUAD: usize = LANES * 4;

pub const FORM: Form = Form { lanes: LANES, channel, taps, adjacent: 4, bytes: 1 };

fn channel(lane: usize) -> usize {
    lane
}

/// For both rows of the output the taps of each four rows of the input, column by column. The second row's
/// kernel starts a stride later.
fn taps(windows: &Windows) -> Vec<[isize; 2]> {
    let [height, width] = windows.kernel;
    let (quads, stride) = (quads(TOGETHER, height, windows.stride[0]), windows.stride[0]);
    let mut taps = Vec::new();
    for row in 0..TOGETHER {
        for (quad, column) in (0..quads).flat_map(|quad| (0..width).map(move |x| (quad, x))) {
            let tap = |tap: usize| (quad * 4 + tap) as isize - (row * stride) as isize;
            taps.extend((0..4).map(|at| [tap(at), column as isize]));
        }
    }
    taps
}

/// Returns how many times four rows of the input so many rows of the output see.
const fn quads(rows: usize, height: usize, stride: usize) -> usize {
    ((rows - 1) * stride + height).div_ceil(4)
}

/// Whether it has a loop for these windows.
pub fn takes(windows: &Windows) -> bool {
    let square = [[3, 3], [5, 5]].contains(&windows.kernel);
    let near = windows.dilation == [1, 1];
    square && [[1, 1], [2, 2]].contains(&windows.stride) && near
}

pub fn drive(depthwise: &Depthwise, pass: &mut Pass) {
    let windows = &depthwise.windows;
    match (windows.kernel[1], windows.stride[1]) {
        (3, 1) => rows::<3, 1, 1, 1, 3>(depthwise, pass),
        (3, 2) => rows::<3, 2, 2, 1, 2>(depthwise, pass),
        (5, 1) => rows::<5, 1, 2, 2, 5>(depthwise, pass),
        (5, 2) => rows::<5, 2, 2, 2, 3>(depthwise, pass),
        other => unreachable!("no convolution is packed for {other:?}"),
    }
}

/// One or two rows of the output, in a block of channels.
struct Band<'a> {
    input: &'a [u8],
    /// Where the first window starts in it.
    start: usize,
    row_step: usize,
    pixel_step: usize,
    block: &'a Block<'a, LANES>,
    range: Range,
    answers: Option<&'a [u8; 256]>,
}

/// Where a band goes.
struct Target<'a> {
    output: &'a mut [u8],
    /// Where each row starts in it.
    rows: [usize; TOGETHER],
    step: usize,
    columns: usize,
}

/// Both quads are those that two rows of the output see, and that one sees.
fn rows<
    const SIZE: usize,
    const STRIDE: usize,
    const BOTH: usize,
    const ONE: usize,
    const LIVE: usize,
>(
    depthwise: &Depthwise,
    pass: &mut Pass,
) {
    const { assert!(BOTH == quads(TOGETHER, SIZE, STRIDE) && ONE == quads(1, SIZE, STRIDE)) };
    let (from, to) = (pass.from, pass.to);
    let Windows { stride, pad_before, .. } = depthwise.windows;
    let answers = match pass.finish {
        Finish::Table(table) => Some(table.answers()),
        _ => None,
    };
    for block in depthwise.blocks::<LANES>() {
        for y in (0..to.rows).step_by(TOGETHER) {
            let start = from.offset + y * stride[0] * from.row + block.channel
                - pad_before[0] * from.row
                - pad_before[1] * from.pixel;
            let both = y + 1 < to.rows;
            let second = if both { y + 1 } else { y };
            let band = Band {
                input: pass.input,
                start,
                row_step: from.row,
                pixel_step: from.pixel,
                block: &block,
                range: depthwise.range(),
                answers,
            };
            let mut target = Target {
                output: pass.output,
                rows: [y, second].map(|y| to.at(y, 0) + block.channel),
                step: to.pixel,
                columns: to.columns,
            };
            if both {
                run::<SIZE, STRIDE, TOGETHER, BOTH, BOTH, LIVE>(&band, &mut target);
            } else {
                run::<SIZE, STRIDE, 1, ONE, BOTH, LIVE>(&band, &mut target);
            }
            if let Finish::Addition(..) = pass.finish {
                (y..=second).for_each(|y| add(pass, [block.channel, y], block.lanes));
            }
        }
    }
}

/// Adds another tensor to a row in its place.
fn add(pass: &mut Pass, [channel, y]: [usize; 2], lanes: usize) {
    for x in 0..pass.to.columns {
        let bytes = &mut pass.output[pass.to.at(y, x) + channel..][..lanes];
        let mut sums = [[0; LANES]];
        sums[0][..lanes].copy_from_slice(bytes);
        pass.finish.change(&mut sums, lanes, [channel, y, x]);
        bytes.copy_from_slice(&sums[0][..lanes]);
    }
}

fn run<
    const SIZE: usize,
    const STRIDE: usize,
    const ROWS: usize,
    const QUADS: usize,
    const PACKED: usize,
    const LIVE: usize,
>(
    band: &Band,
    target: &mut Target,
) {
    let last_row = band.start + ((ROWS - 1) * STRIDE + SIZE - 1) * band.row_step;
    let last = last_row + ((target.columns - 1) * STRIDE + SIZE - 1) * band.pixel_step;
    let written = target.rows[ROWS - 1] + (target.columns - 1) * target.step + band.block.lanes;
    assert!(Kernel::Avx512Vnni.is_available() && last + LANES <= band.input.len());
    assert!(written <= target.output.len() && target.rows[0] <= target.rows[ROWS - 1]);
    assert!(band.block.weights.len() == TOGETHER * PACKED * SIZE * QUAD && QUADS <= PACKED);
    assert!(band.block.lanes <= LANES && LIVE == SIZE.div_ceil(STRIDE));
    // SAFETY: the CPU has the features, and what is read and written is there: all just asserted.
    unsafe { kernel::<SIZE, STRIDE, ROWS, QUADS, PACKED, LIVE>(band, target) }
}

/// The sums of one pixel in each row.
type Sums<const ROWS: usize> = [[__m512i; VECTORS]; ROWS];

/// Goes through the columns. `LIVE` pixels see the same column; as one is complete, the next begins.
///
/// # Safety
/// Rows and columns of the band's windows, with LANES channels, lie in its input, its target's rows in the
/// output. There are weights of both rows for `PACKED` quads of each column.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni,avx512vbmi")]
unsafe fn kernel<
    const SIZE: usize,
    const STRIDE: usize,
    const ROWS: usize,
    const QUADS: usize,
    const PACKED: usize,
    const LIVE: usize,
>(
    band: &Band,
    target: &mut Target,
) {
    // SAFETY: there are LANES biases and scales, VECTORS times SUMS.
    let (biases, scales) = unsafe {
        let biases = band.block.biases.as_ptr();
        let scales = band.block.scales.as_ptr();
        (
            [0, 1].map(|vector| _mm512_loadu_si512(biases.add(vector * SUMS).cast())),
            [0, 1].map(|vector| _mm512_loadu_ps(scales.add(vector * SUMS))),
        )
    };
    let answers = band.answers.map(|answers| Answers::new(answers));
    let mut sums: [Sums<ROWS>; LIVE] = [[biases; ROWS]; LIVE];
    let weights = band.block.weights.as_ptr();
    let input = band.input.as_ptr();
    let column = |sums: &mut [Sums<ROWS>; LIVE], at: usize, tap: usize| {
        let rows = (ROWS - 1) * STRIDE + SIZE;
        for quad in 0..QUADS {
            // SAFETY: the column lies in the input, and the weights are there.
            unsafe {
                let start = input.add(band.start + at * band.pixel_step);
                // Behind the last row weights are 0.
                let x = interleaved(
                    [0, 1, 2, 3]
                        .map(|row| start.add((quad * 4 + row).min(rows - 1) * band.row_step)),
                );
                for (ahead, sums) in sums.iter_mut().enumerate() {
                    let Some(tap) = tap.checked_sub(ahead * STRIDE) else { continue };
                    for (row, sums) in sums.iter_mut().enumerate() {
                        // Which rows of the kernel lie here: none, where all weights are 0.
                        let top = row * STRIDE;
                        if quad * 4 >= top + SIZE || quad * 4 + 4 <= top {
                            continue;
                        }
                        let at = ((row * PACKED + quad) * SIZE + tap) * QUAD;
                        for (vector, sum) in sums.iter_mut().enumerate() {
                            let w = _mm512_loadu_si512(weights.add(at + vector * 64).cast());
                            *sum = _mm512_dpbusd_epi32(*sum, x[vector], w);
                        }
                    }
                }
            }
        }
    };
    // One by one: sums that a loop reads by a number that the compiler does not know are in no register.
    macro_rules! columns {
        ($first:expr, $until:expr, $pixel:expr, $($at:literal)*) => {$(
            if $first + $at < $until {
                column(&mut sums, $pixel * STRIDE + $first + $at, $first + $at);
            }
        )*};
    }
    columns!(0, SIZE - STRIDE, 0, 0 1 2 3);
    for pixel in 0..target.columns {
        columns!(SIZE - STRIDE, SIZE, pixel, 0 1);
        let done = sums[0];
        for ahead in 1..LIVE {
            sums[ahead - 1] = sums[ahead];
        }
        sums[LIVE - 1] = [biases; ROWS];
        // SAFETY: the target's rows have place for so many pixels.
        unsafe { finish(&done, &scales, answers.as_ref(), (band, target, pixel)) }
    }
}

/// Turns the sums of a pixel into bytes and writes them. It is part of the kernel that calls it, so that the
/// sums stay in its registers.
///
/// # Safety
/// The CPU has the kernel's features. Each row of the target has place for the pixel, with as many channels as
/// the band's block has.
#[inline(always)]
unsafe fn finish<const ROWS: usize>(
    done: &Sums<ROWS>,
    scales: &[__m512; VECTORS],
    answers: Option<&Answers>,
    (band, target, pixel): (&Band, &mut Target, usize),
) {
    let ([first, second], [low, high]) = ([done[0], done[ROWS - 1]], *scales);
    let sums: [__m512i; GROUP] = [first[0], first[1], second[0], second[1]];
    // SAFETY: as the caller says.
    unsafe {
        let mut bytes = requantise(sums, [low, high, low, high], band.range);
        if let Some(answers) = answers {
            bytes = answers.of(bytes);
        }
        for row in 0..ROWS {
            let half = match row {
                0 => bytes,
                _ => _mm512_castsi256_si512(_mm512_extracti64x4_epi64::<1>(bytes)),
            };
            let to = target.output.as_mut_ptr().add(target.rows[row] + pixel * target.step);
            put::<VECTORS>(to, half, band.block.lanes);
        }
    }
}

/// Returns the bytes of four rows side by side, for each channel.
///
/// # Safety
/// There are LANES bytes at each of the four.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vbmi")]
unsafe fn interleaved(rows: [*const u8; 4]) -> [__m512i; VECTORS] {
    // SAFETY: as the caller says.
    let [a, b, c, d] = rows.map(|row| unsafe { _mm256_loadu_si256(row.cast()) });
    let pair = |low, high| _mm512_inserti64x4::<1>(_mm512_castsi256_si512(low), high);
    let (first, second) = (pair(a, b), pair(c, d));
    [0, 1].map(|vector| {
        // SAFETY: there are two orders of 64 bytes.
        let order = unsafe { _mm512_loadu_si512(ORDERS[vector].as_ptr().cast()) };
        _mm512_permutex2var_epi8(first, order, second)
    })
}

/// Which byte of two pairs of rows comes where, for the first 16 channels and for the others.
static ORDERS: [[u8; 64]; VECTORS] = {
    let mut orders = [[0; 64]; VECTORS];
    let mut at = 0;
    while at < VECTORS * 64 {
        let (channel, row) = (at / 4, at % 4);
        orders[at / 64][at % 64] = (row / 2 * 64 + row % 2 * 32 + channel) as u8;
        at += 1;
    }
    orders
};
