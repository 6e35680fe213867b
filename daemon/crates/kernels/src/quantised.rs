//! The type of a tensor of bytes, and how a kernel keeps it. It knows nothing of operators.

use super::kernel::Kernel;

/// The type of a tensor of bytes in the model, and which of its values means zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantised {
    pub signed: bool,
    pub zero: i32,
}

impl Quantised {
    /// Returns the least and the greatest value.
    pub fn range(self) -> (i32, i32) {
        if self.signed { (-128, 127) } else { (0, 255) }
    }

    /// Whether the zero point is a value of the type.
    pub fn is_sound(self) -> bool {
        let (low, high) = self.range();
        (low..=high).contains(&self.zero)
    }

    /// Returns the same tensor as `kernel` keeps it: a type of the model that is not the kernel's own
    /// is moved by 128, values and zero point alike.
    pub fn kept_by(self, kernel: Kernel) -> Quantised {
        let signed = kernel.keeps_signed();
        let shift = i32::from(signed) - i32::from(self.signed);
        Quantised { signed, zero: self.zero - 128 * shift }
    }

    /// Returns what turns a byte of the model into the kernel's and back, by exclusive or.
    pub fn flip(self, kernel: Kernel) -> u8 {
        if self.signed == kernel.keeps_signed() { 0 } else { 0x80 }
    }

    /// Returns the zero point as `kernel` keeps it: what borders are filled with.
    pub fn border(self, kernel: Kernel) -> u8 {
        self.kept_by(kernel).zero as u8
    }
}

/// Returns the number that a kept byte stands for.
#[inline(always)]
pub fn number<const SIGNED: bool>(byte: u8) -> i32 {
    if SIGNED { i32::from(byte as i8) } else { i32::from(byte) }
}

/// Where a number ends up: `saturate(round(real) + zero)`, rounded half to even in f32, which is
/// ONNX's rule and ONNX Runtime's order. Saturated first, to whole numbers, the result is the same
/// and every float has its integer.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    /// The least value of the output's type, minus `zero`.
    pub low: f32,
    /// The greatest value of the output's type, minus `zero`.
    pub high: f32,
    pub zero: i32,
}

impl Range {
    /// Returns the range of a tensor as a kernel keeps it.
    pub fn of(kept: Quantised) -> Range {
        let (low, high) = kept.range();
        Range { low: (low - kept.zero) as f32, high: (high - kept.zero) as f32, zero: kept.zero }
    }

    /// Returns the byte of a real number in steps of the output's scale.
    #[inline(always)]
    pub fn byte(self, real: f32) -> u8 {
        // Written so that each is one instruction: `max` and `min` also ask for NaN, of which there is
        // none.
        let real = if real > self.low { real } else { self.low };
        let real = if real < self.high { real } else { self.high };
        (round_half_to_even(real) + self.zero) as u8
    }
}

/// 1.5 · 2²³: a float of this size has no places behind the point, so that adding it rounds.
const ROUND: f32 = 12_582_912.0;

/// Rounds a number of at most 2²² as the floating-point unit does by itself: half to even. The bits of the sum
/// are the integer's, which every compiler turns into vectors; `round_ties_even` it calls by name.
#[inline(always)]
fn round_half_to_even(real: f32) -> i32 {
    ((real + ROUND).to_bits() as i32).wrapping_sub(ROUND.to_bits() as i32)
}
