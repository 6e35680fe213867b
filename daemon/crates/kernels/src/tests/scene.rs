//! What tests of all operators share: numbers from a seed, tensors as the model sees them, and
//! buffers in which they lie among other things.

use proptest::prelude::*;

use crate::{Kernel, Quantised, SLACK, View};

/// So many cases of a property. Miri, which takes a thousand times as long and looks at every access, gets a few.
pub fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases: if cfg!(miri) { 4 } else { cases }, ..ProptestConfig::default() }
}

/// xorshift64* (Vigna 2016): bulk data that a seed reproduces.
pub struct Numbers(pub u64);

impl Numbers {
    pub fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 16
    }

    pub fn bytes(&mut self, values: Values, len: usize) -> Vec<u8> {
        (0..len).map(|_| values.byte(self)).collect()
    }
}

#[derive(Clone, Copy, Debug)]
pub enum Values {
    Any,
    /// 0, 127, 128 and 255 as bytes: 0, 127, -128, -1 where signed.
    Edges,
    /// -128 · 255 everywhere: the greatest sums there are.
    Least,
    /// No -128, which some kernels compute apart.
    Symmetric,
}

impl Values {
    pub fn any() -> impl Strategy<Value = Values> {
        prop_oneof![
            Just(Values::Any),
            Just(Values::Edges),
            Just(Values::Least),
            Just(Values::Symmetric)
        ]
    }

    pub fn byte(self, numbers: &mut Numbers) -> u8 {
        match self {
            Values::Any => numbers.next() as u8,
            Values::Edges => [0, 127, 128, 255][numbers.next() as usize % 4],
            Values::Least => 128,
            Values::Symmetric => [127, 129, numbers.next() as u8 | 1][numbers.next() as usize % 3],
        }
    }
}

pub fn quantised() -> impl Strategy<Value = Quantised> {
    let zero = |signed: bool| if signed { -128..=127 } else { 0..=255 };
    any::<bool>()
        .prop_flat_map(move |signed| zero(signed).prop_map(move |zero| Quantised { signed, zero }))
}

/// Returns the number that a byte of the model stands for, less its zero point.
pub fn value(quantised: Quantised, byte: u8) -> i64 {
    let value = if quantised.signed { i64::from(byte as i8) } else { i64::from(byte) };
    value - i64::from(quantised.zero)
}

/// Returns the byte of a real number in steps of the output's scale, as ONNX says.
pub fn byte(quantised: Quantised, real: f32) -> u8 {
    let (low, high) = quantised.range();
    let real = f64::from(real).round_ties_even() + f64::from(quantised.zero);
    real.clamp(f64::from(low), f64::from(high)) as i32 as u8
}

pub fn kernels() -> impl Iterator<Item = Kernel> {
    Kernel::ALL.into_iter().filter(|kernel| kernel.is_available())
}

/// A tensor of `[rows][columns][channels]` bytes of the model, in a buffer of a kernel.
pub struct Scene {
    pub buffer: Vec<u8>,
    pub view: View,
    flip: u8,
}

/// Bytes between the pixels and between the rows of a view, and pixels of border around it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Gaps {
    pub pixel: usize,
    pub row: usize,
    pub border: [usize; 4],
}

pub fn gaps() -> impl Strategy<Value = Gaps> {
    let pixel = prop_oneof![Just(0_usize), 1..=9_usize];
    (pixel, prop_oneof![Just(0_usize), 1..=9_usize]).prop_map(|(pixel, row)| Gaps {
        pixel,
        row,
        border: [0; 4],
    })
}

impl Scene {
    /// An empty tensor among random bytes.
    pub fn empty(
        [rows, columns, channels]: [usize; 3],
        (quantised, kernel): (Quantised, Kernel),
        gaps: Gaps,
    ) -> Scene {
        let [above, below, left, right] = gaps.border;
        let pixel = channels + gaps.pixel;
        let row = (left + columns + right) * pixel + gaps.row;
        let offset = above * row + left * pixel + gaps.row % 4;
        let view = View { offset, rows, columns, channels, pixel, row };
        let len = (above + rows + below) * row + gaps.row + SLACK;
        let mut numbers = Numbers(row as u64 * 7919 + 1);
        let mut buffer = numbers.bytes(Values::Any, len);
        view.fill_border(&mut buffer, gaps.border, quantised.border(kernel));
        Scene { buffer, view, flip: quantised.flip(kernel) }
    }

    /// The same with the bytes of a tensor in it.
    pub fn with(mut self, bytes: &[u8]) -> Scene {
        let view = self.view;
        for (at, byte) in bytes.iter().enumerate() {
            let (pixel, channel) = (at / view.channels, at % view.channels);
            let place = view.at(pixel / view.columns, pixel % view.columns) + channel;
            self.buffer[place] = byte ^ self.flip;
        }
        self
    }

    /// The bytes of the tensor, as the model sees them.
    pub fn bytes(&self) -> Vec<u8> {
        let view = self.view;
        let pixels = (0..view.rows).flat_map(|y| (0..view.columns).map(move |x| view.at(y, x)));
        pixels
            .flat_map(|at| &self.buffer[at..at + view.channels])
            .map(|byte| byte ^ self.flip)
            .collect()
    }

    /// Checks that an operator wrote `expected` and nothing else.
    pub fn assert_written(&self, before: &Scene, expected: &[u8], what: &str) {
        assert_eq!(self.bytes(), expected, "{what}");
        let outside = Scene { buffer: before.buffer.clone(), ..*before }.with(expected);
        assert!(outside.buffer == self.buffer, "{what} wrote outside of its view");
    }
}
