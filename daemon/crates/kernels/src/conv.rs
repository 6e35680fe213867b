//! A convolution packed for one kernel: chooses how it is computed, and what is done with its bytes
//! last.

use super::convolution::{Convolution, Geometry};
use super::elementwise::Addition;
use super::kernel::Kernel;
use super::plain::Plain;
use super::refusal::Refusal;
use super::table::Table;
use super::view::{SLACK, Source, View};

/// What is done with a convolution's bytes before they are written.
#[derive(Clone, Debug, Default)]
pub enum Last {
    #[default]
    Nothing,
    /// An activation.
    Table(Table),
    /// The sum with another tensor, which is the addition's second input.
    Addition(Addition),
}

/// A convolution packed for one kernel. Threads may share it: a run keeps its state to itself.
#[derive(Debug)]
pub struct Conv {
    geometry: Geometry,
    last: Last,
    plain: Plain,
    pixel: usize,
}

impl Conv {
    /// Packs a convolution whose input comes in a view with `pixel` bytes from pixel to pixel.
    ///
    /// # Errors
    /// What `Convolution::check` refuses.
    ///
    /// # Panics
    /// When the CPU doesn't have `kernel`, or `pixel` is less than the input's channels.
    pub fn pack(
        convolution: &Convolution,
        last: Last,
        pixel: usize,
        kernel: Kernel,
    ) -> Result<Conv, Refusal> {
        kernel.assert_available();
        convolution.check()?;
        let geometry = convolution.geometry.clone();
        assert!(pixel >= geometry.in_channels, "a pixel of {pixel} bytes for {geometry:?}");
        Ok(Conv { geometry, last, plain: Plain::pack(convolution, kernel), pixel })
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Convolves one image. Its border, as wide as `Windows::border` says, holds the zero point.
    ///
    /// # Panics
    /// When a shape is another than the packed one, when a view does not lie in its buffer, or when
    /// the last step is an addition.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        assert!(!matches!(self.last, Last::Addition(_)), "it is packed to add another tensor");
        self.check(input, from, to);
        self.plain.run(input, from, output, to);
        if let Last::Table(table) = &self.last {
            for row in 0..to.rows {
                for column in 0..to.columns {
                    table.change(&mut output[to.at(row, column)..][..to.channels]);
                }
            }
        }
    }

    /// Convolves one image and adds another tensor of the output's shape.
    ///
    /// # Panics
    /// When a shape is another than the packed one, when a view does not lie in its buffer, or when
    /// the last step is no addition.
    pub fn run_adding(&self, input: Source, other: Source, output: &mut [u8], to: View) {
        let Last::Addition(addition) = &self.last else {
            panic!("it is packed without an addition")
        };
        self.check(input.bytes, input.view, to);
        self.plain.run(input.bytes, input.view, output, to);
        let summed = output.to_vec();
        addition.run([Source { bytes: &summed, view: to }, other], output, to);
    }

    fn check(&self, input: &[u8], from: View, to: View) {
        let Geometry { in_channels, out_channels, windows, .. } = &self.geometry;
        assert!(from.has_shape(windows.input, *in_channels), "{from:?} for {:?}", self.geometry);
        assert!(to.has_shape(windows.output(), *out_channels), "{to:?} for {:?}", self.geometry);
        assert_eq!(from.pixel, self.pixel, "it is packed for pixels of another size");
        from.assert_read(input.len(), windows.border());
        debug_assert!(SLACK > 0);
    }
}
