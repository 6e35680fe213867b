//! Depthwise convolutions for any kernel and any window, as loops that the compiler turns into vectors.

use super::dense::Pass;
use super::depthwise::{Depthwise, Form, Strip, each_row};
use super::geometry::Windows;
use super::kernel::Kernel;
use super::quantised::number;
use super::widest::widest;

pub const LANES: usize = 32;

pub const FORM: Form = Form { lanes: LANES, channel, taps, adjacent: 1, bytes: 1 };

fn channel(lane: usize) -> usize {
    lane
}

fn taps(windows: &Windows) -> Vec<[isize; 2]> {
    each_row(windows, 0..windows.kernel[1] as isize)
}

pub fn drive(depthwise: &Depthwise, kernel: Kernel, pass: &mut Pass) {
    if kernel.keeps_signed() {
        widest(
            kernel,
            #[inline(always)]
            || depthwise.drive(pass, strip::<true>),
        );
    } else {
        widest(
            kernel,
            #[inline(always)]
            || depthwise.drive(pass, strip::<false>),
        );
    }
}

#[inline(always)]
fn strip<const SIGNED: bool>(strip: &Strip<LANES, 1>, output: &mut [[u8; LANES]; 1]) {
    let mut sums = *strip.biases;
    let [height, width] = strip.kernel;
    let (weights, _) = strip.weights.as_chunks::<LANES>();
    for row in 0..height {
        for tap in 0..width {
            let at = strip.start + row * strip.row_step + tap * strip.tap_step;
            let x = &strip.input[at..][..LANES];
            for ((sum, x), w) in sums.iter_mut().zip(x).zip(&weights[row * width + tap]) {
                // The product of two bytes fits in 16 bits.
                let product = number::<SIGNED>(*x) as i16 * i16::from(*w);
                *sum = sum.wrapping_add(i32::from(product));
            }
        }
    }
    for ((sum, scale), byte) in sums.iter().zip(strip.scales).zip(&mut output[0]) {
        *byte = strip.range.byte(*sum as f32 * scale);
    }
}
