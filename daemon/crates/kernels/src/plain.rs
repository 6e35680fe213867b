//! Any convolution, as loops: what no other file computes, which is weights whose zero points don't
//! leave them bytes, and scales that a path has no place for.

use std::sync::Arc;

use super::convolution::Convolution;
use super::dense::Pass;
use super::kernel::Kernel;
use super::quantised::{Range, number};
use super::view::View;
use super::widest::widest;

/// A convolution whose weights are ordered as its loops read them.
#[derive(Debug)]
pub struct Plain {
    convolution: Convolution,
    /// `[out_channels][kernel height][kernel width][in_channels / groups]`, less their zero points.
    weights: Vec<i16>,
    zero: i32,
    range: Range,
    kernel: Kernel,
}

impl Plain {
    /// Packs a convolution that `Convolution::check` takes.
    pub fn pack(convolution: &Convolution, kernel: Kernel) -> Plain {
        let geometry = &convolution.geometry;
        let channels = geometry.in_channels / geometry.groups;
        let products = geometry.products_of_sum();
        let taps = products / channels;
        let mut weights = Vec::with_capacity(convolution.weights.len());
        for (out_channel, from) in convolution.weights.chunks_exact(products).enumerate() {
            let zero = convolution.weight_zeros.get(out_channel).copied().unwrap_or(0) as i16;
            for tap in 0..taps {
                weights.extend(
                    (0..channels).map(|channel| i16::from(from[channel * taps + tap]) - zero),
                );
            }
        }
        Plain {
            weights,
            zero: convolution.input.kept_by(kernel).zero,
            range: Range::of(convolution.output.kept_by(kernel)),
            kernel,
            convolution: Convolution { weights: Arc::default(), ..convolution.clone() },
        }
    }

    pub fn run(&self, pass: &mut Pass) {
        if self.kernel.keeps_signed() {
            widest(
                self.kernel,
                #[inline(always)]
                || self.convolve::<true>(pass),
            );
        } else {
            widest(
                self.kernel,
                #[inline(always)]
                || self.convolve::<false>(pass),
            );
        }
    }

    #[inline(always)]
    fn convolve<const SIGNED: bool>(&self, pass: &mut Pass) {
        let to = pass.to;
        for y in 0..to.rows {
            for x in 0..to.columns {
                for channel in 0..to.channels {
                    let sum = self.sum::<SIGNED>(pass.input, pass.from, [y, x], channel);
                    let sum = sum.wrapping_add(self.convolution.bias[channel]);
                    let real = sum as f32 * self.convolution.scales[channel];
                    let mut byte = [[self.range.byte(real)]];
                    pass.finish.change(&mut byte, 1, [channel, y, x]);
                    pass.output[to.at(y, x) + channel] = byte[0][0];
                }
            }
        }
    }

    /// Returns the sum of one output pixel's products in one channel.
    #[inline(always)]
    fn sum<const SIGNED: bool>(
        &self,
        input: &[u8],
        from: View,
        [y, x]: [usize; 2],
        channel: usize,
    ) -> i32 {
        let geometry = &self.convolution.geometry;
        let windows = &geometry.windows;
        let channels = geometry.in_channels / geometry.groups;
        let group = channel / (geometry.out_channels / geometry.groups);
        let weights = &self.weights[channel * geometry.products_of_sum()..];
        let (rows, columns) = (windows.inside(0, y), windows.inside(1, x));
        let mut sum = 0_i32;
        for row in rows.0..rows.1 {
            for column in columns.0..columns.1 {
                let at = |axis: usize, at: usize, tap: usize| {
                    at * windows.stride[axis] + tap * windows.dilation[axis]
                        - windows.pad_before[axis]
                };
                let pixel = from.at(at(0, y, row), at(1, x, column)) + group * channels;
                let tap = (row * windows.kernel[1] + column) * channels;
                let pairs = input[pixel..][..channels].iter().zip(&weights[tap..]);
                let products = pairs.map(|(byte, weight)| {
                    (number::<SIGNED>(*byte) - self.zero) * i32::from(*weight)
                });
                sum = sum.wrapping_add(products.fold(0, i32::wrapping_add));
            }
        }
        sum
    }
}
