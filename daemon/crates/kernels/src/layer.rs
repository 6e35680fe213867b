//! A convolution that copies its input first, for callers whose tensors are not in views.

use super::conv::Conv;
use super::convolution::{Convolution, Geometry};
use super::kernel::Kernel;
use super::last::Last;
use super::picture::{Outside, enter_flipped};
use super::quantised::Quantised;
use super::refusal::Refusal;
use super::view::{SLACK, View};

/// How the bytes of an input are ordered.
pub type Order = Outside;

/// A convolution packed for one kernel. Threads may share it: a run keeps its state to itself.
#[derive(Debug)]
pub struct Layer {
    input: Quantised,
    output: Quantised,
    pub(super) conv: Conv,
}

impl Layer {
    /// Packs a convolution for `kernel`.
    ///
    /// # Errors
    /// Shapes, scales or zero points that the kernels don't take.
    ///
    /// # Panics
    /// When the CPU doesn't have `kernel`.
    pub fn pack(convolution: &Convolution, kernel: Kernel) -> Result<Layer, Refusal> {
        kernel.assert_available();
        Layer::pack_for(convolution, kernel)
    }

    pub(super) fn pack_for(convolution: &Convolution, kernel: Kernel) -> Result<Layer, Refusal> {
        let pixel = convolution.geometry.in_channels.next_multiple_of(4);
        let conv = Conv::pack_for(convolution, Last::Nothing, pixel, kernel)?;
        Ok(Layer { input: convolution.input, output: convolution.output, conv })
    }

    pub fn geometry(&self) -> &Geometry {
        self.conv.geometry()
    }

    pub fn kernel(&self) -> Kernel {
        self.conv.kernel()
    }

    /// Convolves one image. The output is `[height][width][channels]`, whatever the order of the input.
    ///
    /// # Panics
    /// When `input` or `output` is not as long as the geometry says.
    pub fn run(&self, input: &[u8], order: Order, output: &mut [u8]) {
        let (buffer, from) = self.arrange(input, order);
        let geometry = self.conv.geometry();
        assert_eq!(output.len(), geometry.output_len(), "the output is as long as its shape says");
        let to = View::dense(0, geometry.output(), geometry.out_channels);
        self.conv.run(&buffer, from, output, to);
        let flip = self.output.flip(self.kernel());
        if flip != 0 {
            output.iter_mut().for_each(|byte| *byte ^= flip);
        }
    }

    /// Arranges the input as the kernel wants it, within a border of its zero point.
    pub(super) fn arrange(&self, input: &[u8], order: Order) -> (Vec<u8>, View) {
        let Geometry { in_channels, windows, .. } = self.conv.geometry();
        let pixel = in_channels.next_multiple_of(4);
        let [above, below, left, right] = windows.border();
        let [rows, columns] = windows.input;
        let row = (left + columns + right) * pixel;
        let view = View {
            offset: above * row + left * pixel,
            rows,
            columns,
            channels: *in_channels,
            pixel,
            row,
        };
        let len = (above + rows + below) * row + SLACK;
        let mut buffer = vec![self.input.border(self.kernel()); len];
        enter_flipped(input, order, self.input.flip(self.kernel()), (&mut buffer, view));
        (buffer, view)
    }
}
