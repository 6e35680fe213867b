//! The form in which each kernel wants its operands. It knows nothing of how they are packed.

use super::convolution::Geometry;
use super::kernel::Kernel;

/// What a kernel wants its operands to look like.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// A tile computes this many output channels, and weights are packed in blocks of as many.
    pub lanes: usize,
    /// Input channels are filled up to a multiple of this.
    pub step: usize,
    /// This many weights of one output channel lie side by side, for one multiply; divides `step`.
    pub adjacent: usize,
    /// A tile computes this many output pixels.
    pub pixels: usize,
    /// Whether a tile's first and last pixel leave out columns of padding.
    pub cuts_columns: bool,
    pub activation: Activation,
}

impl Form {
    /// Returns the form in which `kernel` takes a layer of this geometry.
    pub fn of(kernel: Kernel, geometry: &Geometry) -> Form {
        let (lanes, step, adjacent, pixels, activation) = match kernel {
            Kernel::Scalar => (8, 1, 1, 4, Activation::I16),
            Kernel::Avx2 => (16, 2, 2, 4, Activation::I16),
            Kernel::AvxVnni => (16, 4, 4, 4, Activation::U8),
            Kernel::Avx512Vnni => {
                // A tile within one row of the output is spared the padding around it.
                let narrow = geometry.output()[1] % 8 == 4;
                // As many registers of channels as there are sums for share each activation that
                // is loaded; none of them may stay empty.
                let (pixels, most) = if narrow { (4, 4) } else { (8, 3) };
                let registers = geometry.out_channels.div_ceil(16);
                let shared = (1..=most).rfind(|shared| registers.is_multiple_of(*shared));
                (16 * shared.unwrap_or(1), 4, 4, pixels, Activation::U8)
            }
            Kernel::Neon => (8, 4, 1, 8, Activation::I16),
            Kernel::Dotprod => (8, 4, 4, 8, Activation::I8),
            Kernel::I8mm => (8, 8, 8, 8, Activation::I8),
        };
        // A matrix multiply takes pixels in pairs: leaving one of them out saves nothing.
        let cuts_columns = kernel != Kernel::I8mm;
        Form { lanes, step, adjacent, pixels, cuts_columns, activation }
    }
}

/// How activations are stored for a kernel: a type that holds the model's bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Stored as u8; i8 of the model is raised by 128.
    U8,
    /// Stored as i8; u8 of the model is lowered by 128.
    I8,
    /// Stored unchanged as i16.
    I16,
}

impl Activation {
    /// Returns what is added to a value of the model when it is stored.
    pub fn offset(self, signed: bool) -> i32 {
        match (self, signed) {
            (Activation::U8, true) => 128,
            (Activation::I8, false) => -128,
            _ => 0,
        }
    }
}
