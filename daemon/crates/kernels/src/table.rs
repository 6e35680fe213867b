//! Operators of one byte: tables of 256 answers, copies, and copies of chosen channels.

use super::kernel::Kernel;
use super::lookup::{look_up, look_up_into};
use super::quantised::Quantised;
use super::view::{Source, View, each_run};
use super::widest::widest;

/// Any operator of one byte, between a dequantisation and a quantisation: its answer for each byte, as
/// the kernel keeps both.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    answers: Box<[u8; 256]>,
    kernel: Kernel,
}

impl Table {
    /// Packs the answers for the model's bytes 0 to 255, which are -128 to 127 from the middle on where
    /// the input is signed.
    pub fn pack(answers: &[u8; 256], [input, output]: [Quantised; 2], kernel: Kernel) -> Table {
        let (from, to) = (input.flip(kernel), output.flip(kernel));
        let answers = std::array::from_fn(|byte| answers[byte ^ usize::from(from)] ^ to);
        Table { answers: Box::new(answers), kernel }
    }

    /// Looks up every byte.
    ///
    /// # Panics
    /// When the shapes differ or a view does not lie in its buffer.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        let source = Source { bytes: input, view: from };
        widest(
            self.kernel,
            #[inline(always)]
            || {
                each_run(
                    [source],
                    output,
                    to,
                    #[inline(always)]
                    |[input], output| look_up_into(self.kernel, &self.answers, input, output),
                );
            },
        );
    }

    /// Returns the answer for a byte.
    #[inline(always)]
    pub(crate) fn at(&self, byte: u8) -> u8 {
        self.answers[usize::from(byte)]
    }

    /// Returns the answers for all bytes.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    pub(crate) fn answers(&self) -> &[u8; 256] {
        &self.answers
    }

    /// Looks up every byte in place.
    #[inline]
    pub(crate) fn change(&self, bytes: &mut [u8]) {
        look_up(self.kernel, &self.answers, bytes);
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
