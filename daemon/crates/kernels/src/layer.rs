//! A convolution packed for one kernel, and its run on one image. The only file that knows all
//! instruction sets.

use super::convolution::{Convolution, Geometry};
use super::form::Form;
use super::kernel::Kernel;
use super::packed::Packed;
use super::quantised::Quantised;
use super::refusal::Refusal;
use super::scalar;

/// How the bytes of an input are ordered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// `[channels][height][width]`
    Planar,
    /// `[height][width][channels]`
    ChannelLast,
}

/// A convolution packed for one kernel. Threads may share it: a run keeps its state to itself.
#[derive(Debug)]
pub struct Layer {
    kernel: Kernel,
    input: Quantised,
    pub(super) packed: Packed,
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
        assert!(kernel.is_available(), "this CPU has no {}", kernel.name());
        Layer::pack_for(convolution, kernel)
    }

    pub(super) fn pack_for(convolution: &Convolution, kernel: Kernel) -> Result<Layer, Refusal> {
        convolution.check()?;
        let packed = Packed::new(convolution, Form::of(kernel, &convolution.geometry));
        Ok(Layer { kernel, input: convolution.input, packed })
    }

    pub fn geometry(&self) -> &Geometry {
        &self.packed.geometry
    }

    pub fn kernel(&self) -> Kernel {
        self.kernel
    }

    /// Convolves one image. The output is `[height][width][channels]`, whatever the order of the input.
    ///
    /// # Panics
    /// When `input` or `output` is not as long as the geometry says.
    pub fn run(&self, input: &[u8], order: Order, output: &mut [u8]) {
        let packed = &self.packed;
        match self.kernel {
            Kernel::Scalar => packed.drive(&self.widened(input, order), output, scalar::tile),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => packed.drive(&self.widened(input, order), output, super::avx2::tile),
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => {
                packed.drive(&self.offset(input, order), output, super::avx_vnni::tile);
            }
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => {
                super::avx512_vnni::drive(packed, &self.offset(input, order), output);
            }
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => packed.drive(&self.widened(input, order), output, super::neon::tile),
            #[cfg(target_arch = "aarch64")]
            Kernel::Dotprod => {
                packed.drive(&self.offset(input, order), output, super::dotprod::tile);
            }
            #[cfg(target_arch = "aarch64")]
            Kernel::I8mm => packed.drive(&self.offset(input, order), output, super::i8mm::tile),
            #[allow(unreachable_patterns, reason = "the rest belongs to another architecture")]
            _ => unreachable!("a layer is packed for a kernel that this CPU has"),
        }
    }

    /// Arranges the input for kernels of 16 bits.
    fn widened(&self, input: &[u8], order: Order) -> Vec<i16> {
        if self.input.signed {
            self.arrange(input, order, |byte| i16::from(byte as i8))
        } else {
            self.arrange(input, order, i16::from)
        }
    }

    /// Arranges the input for kernels of 8 bits. Adding or subtracting 128 is a flip of the top bit.
    #[cfg_attr(not(any(target_arch = "x86_64", target_arch = "aarch64")), allow(dead_code))]
    pub(super) fn offset(&self, input: &[u8], order: Order) -> Vec<u8> {
        let flip =
            if self.packed.form.activation.offset(self.input.signed) == 0 { 0 } else { 0x80 };
        self.arrange(input, order, |byte| byte ^ flip)
    }

    /// Arranges the input channel-last, `depth` channels deep, within a border of its zero point. The
    /// weights of channels that are only filled up are 0.
    fn arrange<E: Copy>(&self, input: &[u8], order: Order, store: impl Fn(u8) -> E) -> Vec<E> {
        let channels = self.packed.geometry.in_channels;
        let [height, width] = self.packed.geometry.windows.input;
        assert_eq!(
            input.len(),
            channels * height * width,
            "the input is as long as its shape says"
        );
        let [padded_height, padded_width] = self.packed.geometry.windows.padded();
        let (depth, zero) = (self.packed.depth, store(self.input.zero as u8));
        let [top, left] = self.packed.geometry.windows.pad_before;
        let mut padded = Vec::with_capacity(padded_height * padded_width * depth);
        for y in 0..height {
            // Up to the row's first pixel: what is left of the row before, and the border.
            padded.resize(((y + top) * padded_width + left) * depth, zero);
            match order {
                Order::ChannelLast => {
                    let bytes = &input[y * width * channels..][..width * channels];
                    if depth == channels {
                        padded.extend(bytes.iter().map(|byte| store(*byte)));
                    } else {
                        for pixel in bytes.chunks_exact(channels) {
                            padded.extend(pixel.iter().map(|byte| store(*byte)));
                            padded.resize(padded.len() + depth - channels, zero);
                        }
                    }
                }
                Order::Planar if channels == 3 && depth == 4 => {
                    // As every picture comes; one write for each pixel.
                    let plane = |channel| &input[(channel * height + y) * width..][..width];
                    let pixels = plane(0).iter().zip(plane(1)).zip(plane(2));
                    padded.extend(pixels.flat_map(|((red, green), blue)| {
                        [store(*red), store(*green), store(*blue), zero]
                    }));
                }
                Order::Planar => {
                    let start = padded.len();
                    padded.resize(start + width * depth, zero);
                    for channel in 0..channels {
                        let bytes = &input[(channel * height + y) * width..][..width];
                        let pixels = padded[start..].chunks_exact_mut(depth).zip(bytes);
                        pixels.for_each(|(pixel, from)| pixel[channel] = store(*from));
                    }
                }
            }
        }
        padded.resize(padded_height * padded_width * depth, zero);
        padded
    }
}
