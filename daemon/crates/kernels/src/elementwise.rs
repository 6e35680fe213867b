//! Operators that compute each byte from the bytes at its place: sums and products. They are plain
//! loops that the compiler turns into the vectors of each instruction set.

use super::kernel::Kernel;
use super::quantised::{Quantised, Range, number};
use super::refusal::{Refusal, positive};
use super::view::{Source, View, each_run};
use super::widest::widest;

/// A tensor of bytes and the step between its values.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scaled {
    pub quantised: Quantised,
    pub scale: f32,
}

impl Scaled {
    pub(crate) fn check(self) -> Result<(), Refusal> {
        positive(self.scale)?;
        if self.quantised.is_sound() { Ok(()) } else { Err(Refusal::ZeroPoint) }
    }
}

/// The quantised sum of two tensors (QLinearAdd), in f32:
/// `saturate(round((a − a₀) · (a_scale / y_scale) + (b − b₀) · (b_scale / y_scale)) + y₀)`.
#[derive(Clone, Debug)]
pub struct Addition {
    kernel: Kernel,
    zeros: [i32; 2],
    ratios: [f32; 2],
    range: Range,
}

impl Addition {
    /// Packs a sum for `kernel`.
    ///
    /// # Errors
    /// A scale that is no positive number, a zero point that is no value of its type.
    ///
    /// # Panics
    /// When the CPU doesn't have `kernel`.
    pub fn pack(inputs: [Scaled; 2], output: Scaled, kernel: Kernel) -> Result<Addition, Refusal> {
        kernel.assert_available();
        for tensor in inputs.into_iter().chain([output]) {
            tensor.check()?;
        }
        let ratio = |input: Scaled| positive(input.scale / output.scale);
        Ok(Addition {
            kernel,
            zeros: inputs.map(|input| input.quantised.kept_by(kernel).zero),
            ratios: [ratio(inputs[0])?, ratio(inputs[1])?],
            range: Range::of(output.quantised.kept_by(kernel)),
        })
    }

    /// Returns the zero points of both inputs as the kernel keeps them, and what each is multiplied by.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn inputs(&self) -> ([i32; 2], [f32; 2]) {
        (self.zeros, self.ratios)
    }

    /// Returns the range of the sum.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn range(&self) -> Range {
        self.range
    }

    /// Adds two tensors of one shape.
    ///
    /// # Panics
    /// When the shapes differ or a view does not lie in its buffer.
    pub fn run(&self, [a, b]: [Source; 2], output: &mut [u8], to: View) {
        let signed = self.kernel.keeps_signed();
        widest(
            self.kernel,
            #[inline(always)]
            || {
                each_run(
                    [a, b],
                    output,
                    to,
                    #[inline(always)]
                    |[a, b], output| {
                        if signed {
                            self.add::<true>(a, b, output)
                        } else {
                            self.add::<false>(a, b, output)
                        }
                    },
                );
            },
        );
    }

    #[inline(always)]
    fn add<const SIGNED: bool>(&self, a: &[u8], b: &[u8], output: &mut [u8]) {
        for ((a, b), output) in a.iter().zip(b).zip(output) {
            *output = self.byte::<SIGNED>(*a, *b);
        }
    }

    /// Adds the first `lanes` bytes of `other` in place. Where there are enough of them all are added,
    /// for that is a loop of known length.
    #[inline(always)]
    pub(crate) fn change<const LANES: usize>(
        &self,
        bytes: &mut [u8; LANES],
        lanes: usize,
        other: &[u8],
    ) {
        let mut copy = [0; LANES];
        match other.first_chunk::<LANES>() {
            Some(other) => copy = *other,
            None => copy[..lanes].copy_from_slice(&other[..lanes]),
        }
        let sums = bytes.iter_mut().zip(copy);
        if self.kernel.keeps_signed() {
            sums.for_each(|(byte, other)| *byte = self.byte::<true>(*byte, other));
        } else {
            sums.for_each(|(byte, other)| *byte = self.byte::<false>(*byte, other));
        }
    }

    /// Returns the sum of two bytes.
    #[inline(always)]
    pub(crate) fn byte<const SIGNED: bool>(&self, a: u8, b: u8) -> u8 {
        let [a_zero, b_zero] = self.zeros;
        let a = (number::<SIGNED>(a) - a_zero) as f32 * self.ratios[0];
        let b = (number::<SIGNED>(b) - b_zero) as f32 * self.ratios[1];
        self.range.byte(a + b)
    }
}

/// The quantised product of two tensors (QLinearMul):
/// `saturate(round(f32((a − a₀) · (b − b₀)) · (a_scale · b_scale / y_scale)) + y₀)`.
#[derive(Clone, Debug)]
pub struct Product {
    kernel: Kernel,
    zeros: [i32; 2],
    ratio: f32,
    range: Range,
}

impl Product {
    /// Packs a product for `kernel`.
    ///
    /// # Errors
    /// A scale that is no positive number, a zero point that is no value of its type.
    ///
    /// # Panics
    /// When the CPU doesn't have `kernel`.
    pub fn pack(inputs: [Scaled; 2], output: Scaled, kernel: Kernel) -> Result<Product, Refusal> {
        kernel.assert_available();
        for tensor in inputs.into_iter().chain([output]) {
            tensor.check()?;
        }
        Ok(Product {
            kernel,
            zeros: inputs.map(|input| input.quantised.kept_by(kernel).zero),
            ratio: positive(inputs[0].scale * inputs[1].scale / output.scale)?,
            range: Range::of(output.quantised.kept_by(kernel)),
        })
    }

    /// Multiplies two tensors of one shape, or one by a factor for each channel: `b` may be of one pixel.
    ///
    /// # Panics
    /// When the shapes don't fit or a view does not lie in its buffer.
    pub fn run(&self, [a, b]: [Source; 2], output: &mut [u8], to: View) {
        let b = if [b.view.rows, b.view.columns] == [1, 1] {
            let view = View { rows: to.rows, columns: to.columns, pixel: 0, row: 0, ..b.view };
            Source { view, ..b }
        } else {
            b
        };
        let signed = self.kernel.keeps_signed();
        widest(
            self.kernel,
            #[inline(always)]
            || {
                each_run(
                    [a, b],
                    output,
                    to,
                    #[inline(always)]
                    |[a, b], output| {
                        if signed {
                            self.multiply::<true>(a, b, output);
                        } else {
                            self.multiply::<false>(a, b, output);
                        }
                    },
                );
            },
        );
    }

    #[inline(always)]
    fn multiply<const SIGNED: bool>(&self, a: &[u8], b: &[u8], output: &mut [u8]) {
        let [a_zero, b_zero] = self.zeros;
        for ((a, b), output) in a.iter().zip(b).zip(output) {
            let product = (number::<SIGNED>(*a) - a_zero) * (number::<SIGNED>(*b) - b_zero);
            *output = self.range.byte(product as f32 * self.ratio);
        }
    }
}
