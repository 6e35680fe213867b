//! Direct int8 convolution: a packed layer, a driver over its tiles, and one file for each instruction
//! set that computes a tile. Knows shapes and bytes: no graph, no engine, no image.
//!
//! Only the files of instruction sets hold unsafe code; `scalar` is their twin, and `tests` hold each
//! path to it bit for bit.

#![deny(unsafe_code)]

mod convolution;
mod layer;
mod scalar;
mod tile;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512_vnni;
#[cfg(target_arch = "x86_64")]
mod avx_vnni;
#[cfg(target_arch = "aarch64")]
mod dotprod;
#[cfg(target_arch = "aarch64")]
mod i8mm;
#[cfg(target_arch = "aarch64")]
mod neon;
#[cfg(test)]
mod tests;

pub use convolution::{Convolution, Geometry, Quantised, Refusal};
pub use layer::{Layer, Order};

/// What computes a convolution. Chosen when the program starts, by what the CPU says it can do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kernel {
    /// Plain Rust, any CPU.
    Scalar,
    /// x86-64 with AVX2: 16-bit multiplies (vpmaddwd), which are exact where vpmaddubsw saturates.
    Avx2,
    /// x86-64 with AVX-VNNI: 8-bit dot products of 256 bits (vpdpbusd).
    AvxVnni,
    /// x86-64 with AVX-512 VNNI: the same in 512 bits.
    Avx512Vnni,
    /// aarch64: widening 16-bit multiplies (smlal), on every CPU of this kind.
    Neon,
    /// aarch64 from ARMv8.2 with the dot product (sdot): Cortex-A55, A75, A76 and later.
    Dotprod,
    /// aarch64 with 8-bit matrix multiplies (smmla): Cortex-A510, A710, Neoverse V1 and later.
    I8mm,
}

impl Kernel {
    /// In order of speed where several are available.
    pub const ALL: [Kernel; 7] = [
        Kernel::Scalar,
        Kernel::Avx2,
        Kernel::AvxVnni,
        Kernel::Avx512Vnni,
        Kernel::Neon,
        Kernel::Dotprod,
        Kernel::I8mm,
    ];

    /// The fastest that this CPU has.
    pub fn best() -> Kernel {
        let available = |kernel: &&Kernel| kernel.is_available();
        *Kernel::ALL.iter().rfind(available).unwrap_or(&Kernel::Scalar)
    }

    pub fn is_available(self) -> bool {
        match self {
            Kernel::Scalar => true,
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx2 => avx2::is_available(),
            #[cfg(target_arch = "x86_64")]
            Kernel::AvxVnni => avx_vnni::is_available(),
            #[cfg(target_arch = "x86_64")]
            Kernel::Avx512Vnni => avx512_vnni::is_available(),
            #[cfg(target_arch = "aarch64")]
            Kernel::Neon => neon::is_available(),
            #[cfg(target_arch = "aarch64")]
            Kernel::Dotprod => dotprod::is_available(),
            #[cfg(target_arch = "aarch64")]
            Kernel::I8mm => i8mm::is_available(),
            #[allow(unreachable_patterns, reason = "the rest belongs to another architecture")]
            _ => false,
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Kernel::Scalar => "scalar",
            Kernel::Avx2 => "avx2",
            Kernel::AvxVnni => "avxvnni",
            Kernel::Avx512Vnni => "avx512vnni",
            Kernel::Neon => "neon",
            Kernel::Dotprod => "dotprod",
            Kernel::I8mm => "i8mm",
        }
    }

    /// How a layer is packed for this kernel.
    fn form(self, geometry: &Geometry) -> Form {
        let (lanes, step, adjacent, pixels, activation) = match self {
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
        let cuts_columns = self != Kernel::I8mm;
        Form { lanes, step, adjacent, pixels, cuts_columns, activation }
    }
}

/// To be called behind an engine that may have left the upper halves of x86's vector registers in
/// use, as tract's AVX kernels do: from then on each SSE instruction of the same thread waits for
/// what its register held before. The `scalar` kernel took 4 times as long.
pub fn leave_vectors() {
    #[cfg(target_arch = "x86_64")]
    avx2::clear_upper_halves();
}

#[cfg(target_arch = "x86_64")]
pub use avx2::upper_halves_in_use;

/// What a kernel wants its operands to look like.
#[derive(Clone, Copy, Debug)]
struct Form {
    /// Output channels of a tile; weights are packed in blocks of so many.
    lanes: usize,
    /// Input channels are filled up to a multiple of this.
    step: usize,
    /// Weights of one output channel that lie side by side, for one multiply; divides `step`.
    adjacent: usize,
    /// Output pixels of a tile.
    pixels: usize,
    /// Whether a tile's first and last pixel leave out columns of padding.
    cuts_columns: bool,
    activation: Activation,
}

/// How activations are stored for a kernel: a type that the model's bytes fit into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Activation {
    /// i8 plus 128 where the model has i8.
    U8,
    /// u8 minus 128 where the model has u8.
    I8,
    /// As they are.
    I16,
}

impl Activation {
    /// What is added to a value of the model.
    fn offset(self, signed: bool) -> i32 {
        match (self, signed) {
            (Activation::U8, true) => 128,
            (Activation::I8, false) => -128,
            _ => 0,
        }
    }
}
