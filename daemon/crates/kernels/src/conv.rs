//! A convolution packed for one kernel: chooses how it is computed.

use super::convolution::{Convolution, Geometry};
use super::dense::{Dense, Pass};
use super::depthwise::Depthwise;
use super::kernel::Kernel;
use super::last::{Finish, Last};
use super::paths;
use super::plain::Plain;
use super::refusal::Refusal;
use super::view::{Source, View};

/// A convolution packed for one kernel. Threads may share it: a run keeps its state to itself.
#[derive(Debug)]
pub struct Conv {
    geometry: Geometry,
    last: Last,
    method: Method,
    pixel: usize,
    kernel: Kernel,
}

#[derive(Debug)]
enum Method {
    /// One for each group.
    Dense(Vec<Dense>),
    Depthwise(Depthwise),
    Plain(Plain),
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
        Conv::pack_for(convolution, last, pixel, kernel)
    }

    pub(super) fn pack_for(
        convolution: &Convolution,
        last: Last,
        pixel: usize,
        kernel: Kernel,
    ) -> Result<Conv, Refusal> {
        convolution.check()?;
        let geometry = convolution.geometry.clone();
        assert!(pixel >= geometry.in_channels, "a pixel of {pixel} bytes for {geometry:?}");
        let usual = convolution.without_zeros();
        let method = match usual.filter(|usual| paths::takes_sums(usual, kernel)) {
            None => Method::Plain(Plain::pack(convolution, kernel)),
            Some(convolution) if geometry.is_depthwise() => {
                Method::Depthwise(paths::depthwise(&convolution, kernel))
            }
            Some(convolution) if geometry.groups == 1 => {
                Method::Dense(vec![Dense::pack(&convolution, pixel, kernel)])
            }
            Some(convolution) => {
                let groups = convolution.groups();
                let pack = |group: &Convolution| Dense::pack(group, pixel, kernel);
                Method::Dense(groups.iter().map(pack).collect())
            }
        };
        Ok(Conv { geometry, last, method, pixel, kernel })
    }

    pub fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Convolves one image. Its border, as wide as `Windows::border` says, holds the zero point.
    ///
    /// # Panics
    /// When a shape is another than the packed one, when a view does not lie in its buffer, or when
    /// the last step is an addition.
    pub fn run(&self, input: &[u8], from: View, output: &mut [u8], to: View) {
        let finish = match &self.last {
            Last::Nothing => Finish::Nothing,
            Last::Table(table) => Finish::Table(table),
            Last::Addition(_) => panic!("it is packed to add another tensor"),
        };
        self.pass(Pass { input, from, output, to, finish });
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
        let shape = other.view.has_shape([to.rows, to.columns], to.channels);
        assert!(shape, "{:?} is added to {to:?}", other.view);
        other.view.assert_read(other.bytes.len(), [0; 4]);
        let finish = Finish::Addition(addition, other, self.kernel);
        self.pass(Pass { input: input.bytes, from: input.view, output, to, finish });
    }

    /// Returns what is packed for the only group, for tests of a tile that no kernel names.
    #[cfg(all(test, target_arch = "x86_64"))]
    pub(super) fn dense(&self) -> Option<&Dense> {
        match &self.method {
            Method::Dense(groups) => groups.first(),
            _ => None,
        }
    }

    fn pass(&self, pass: Pass) {
        let Pass { input, from, output, to, finish } = pass;
        let Geometry { in_channels, out_channels, groups, windows } = &self.geometry;
        assert!(from.has_shape(windows.input, *in_channels), "{from:?} for {:?}", self.geometry);
        assert!(to.has_shape(windows.output(), *out_channels), "{to:?} for {:?}", self.geometry);
        assert_eq!(from.pixel, self.pixel, "it is packed for pixels of another size");
        from.assert_read(input.len(), windows.border());
        let (into, out_of) = (in_channels / groups, out_channels / groups);
        match &self.method {
            Method::Dense(groups) => {
                for (group, dense) in groups.iter().enumerate() {
                    let (from, to) =
                        (from.part(group * into, into), to.part(group * out_of, out_of));
                    let finish = finish.part(group * out_of, out_of);
                    paths::drive(dense, self.kernel, &mut Pass { input, from, output, to, finish });
                }
            }
            Method::Depthwise(depthwise) => {
                let mut pass = Pass { input, from, output, to, finish };
                paths::drive_depthwise(depthwise, self.kernel, &mut pass);
            }
            Method::Plain(plain) => plain.run(&mut Pass { input, from, output, to, finish }),
        }
    }
}
