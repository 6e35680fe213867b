//! Operators of one byte: tables of 256 answers, copies, and copies of chosen channels.

use super::kernel::Kernel;
use super::quantised::Quantised;
use super::view::{Source, View, each_run};

/// Any operator of one byte, between a dequantisation and a quantisation: its answer for each byte, as
/// the kernel keeps both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table(Box<[u8; 256]>);

impl Table {
    /// Packs the answers for the model's bytes 0 to 255, which are -128 to 127 from the middle on where
    /// the input is signed.
    pub fn pack(answers: &[u8; 256], [input, output]: [Quantised; 2], kernel: Kernel) -> Table {
        let (from, to) = (input.flip(kernel), output.flip(kernel));
        Table(Box::new(std::array::from_fn(|byte| answers[byte ^ usize::from(from)] ^ to)))
    }

    /// Looks up every byte.
    ///
    /// # Panics
    /// When the shapes differ or a view does not lie in its buffer.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        each_run(
            [Source { bytes: input, view: from }],
            output,
            to,
            #[inline(always)]
            |[input], output| {
                self.look_up(input, output);
            },
        );
    }

    /// Returns the answer for a byte.
    #[inline(always)]
    pub(crate) fn at(&self, byte: u8) -> u8 {
        self.0[usize::from(byte)]
    }

    #[inline(always)]
    pub(crate) fn look_up(&self, input: &[u8], output: &mut [u8]) {
        for (input, output) in input.iter().zip(output) {
            *output = self.0[usize::from(*input)];
        }
    }

    /// Looks up every byte in place.
    #[inline(always)]
    pub(crate) fn change(&self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.0[usize::from(*byte)];
        }
    }
}

/// Copies a tensor to another view.
///
/// # Panics
/// When the shapes differ or a view does not lie in its buffer.
pub fn copy(input: &[u8], from: View, output: &mut [u8], to: View) {
    each_run(
        [Source { bytes: input, view: from }],
        output,
        to,
        #[inline(always)]
        |[input], output| {
            output.copy_from_slice(input);
        },
    );
}

/// Copies chosen channels in a chosen order: a shuffle that no view can express.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Channels(Vec<usize>);

impl Channels {
    /// The output's channel `i` is the input's `channels[i]`.
    pub fn pack(channels: Vec<usize>) -> Channels {
        Channels(channels)
    }

    /// # Panics
    /// When the shapes don't fit or a view does not lie in its buffer.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        assert!(to.has_shape([from.rows, from.columns], self.0.len()), "{from:?} and {to:?}");
        for row in 0..to.rows {
            for column in 0..to.columns {
                let pixel = &input[from.at(row, column)..][..from.channels];
                let output = &mut output[to.at(row, column)..][..to.channels];
                for (output, channel) in output.iter_mut().zip(&self.0) {
                    *output = pixel[*channel];
                }
            }
        }
    }
}
