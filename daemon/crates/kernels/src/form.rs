//! The form in which each kernel wants its operands. It knows nothing of how they are packed.

use super::convolution::Geometry;
use super::kernel::Kernel;

/// What a kernel wants its operands to look like.
#[derive(Clone, Copy, Debug)]
pub struct Form {
    /// A tile computes this many output channels, and weights are packed in blocks of as many.
    pub lanes: usize,
    /// A run of elements is filled up to a multiple of this.
    pub step: usize,
    pub order: Order,
    /// A tile computes this many output pixels.
    pub pixels: usize,
    /// Whether a tile's first and last pixel leave out columns of padding.
    pub cuts_columns: bool,
}

/// In which order the weights of a block follow each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// For each group of so many elements, the weights of each channel side by side.
    Groups(usize),
    /// For each group of four elements, the first and third of each channel, then the others, in two
    /// bytes each with the sign in the second.
    EvenOddWide,
    /// For each group of 16 elements those of each channel; for 8 left at a run's end likewise.
    Sixteens,
}

impl Form {
    /// Returns the form in which `kernel` takes a convolution of this geometry.
    pub fn of(kernel: Kernel, geometry: &Geometry) -> Form {
        let width = geometry.output()[1];
        let channels = geometry.out_channels / geometry.groups;
        let (lanes, step, order, pixels) = match kernel {
            Kernel::Scalar => (8, 1, Order::Groups(1), 4),
            Kernel::Avx2 => (16, 4, Order::EvenOddWide, 4),
            Kernel::AvxVnni => (16, 4, Order::Groups(4), 4),
            Kernel::Avx512Vnni => {
                let (shared, pixels) = avx512(channels.div_ceil(16), width);
                (16 * shared, 4, Order::Groups(4), pixels)
            }
            Kernel::Neon => (4, 8, Order::Sixteens, 4),
            Kernel::Dotprod => (8, 4, Order::Groups(4), fitting(&[8, 7, 6, 5, 4], width)),
            Kernel::I8mm => (8, 8, Order::Groups(8), fitting(&[8, 6, 4], width)),
        };
        // A matrix multiply takes pixels in pairs: leaving one of them out saves nothing.
        let cuts_columns = kernel != Kernel::I8mm && pixels > 1;
        Form { lanes, step, order, pixels, cuts_columns }
    }

    /// Returns the bytes that a weight takes.
    pub fn weight_bytes(self) -> usize {
        if self.order == Order::EvenOddWide { 2 } else { 1 }
    }

    /// Returns what the elements that a pixel leaves out are whole multiples of.
    pub fn cut_step(self) -> usize {
        if self.order == Order::Sixteens { 16 } else { self.step }
    }
}

/// Returns the size of tiles that computes a row in the fewest multiplies; a tile's own cost is one pixel.
fn fitting(sizes: &[usize], width: usize) -> usize {
    let cost = |size: &&usize| width.div_ceil(**size) * (**size + 1);
    *sizes.iter().min_by_key(cost).expect("there is a size")
}

/// Most registers of sums in a tile of so many pixels: 32 registers hold them, a pixel's activations and
/// as many weights as there are sums of a pixel.
const SHARED_MAX: [usize; 9] = [0, 4, 4, 4, 4, 4, 4, 3, 3];

/// Multiplies that two multipliers of five cycles each have under way.
const UNDER_WAY: usize = 10;

/// What the start and the end of a tile cost, in multiplies for each step of its windows.
const ENDS: usize = 3;

/// Returns how many registers of channels and how many pixels a tile has: those that compute a row of
/// the output in the fewest cycles. Registers of channels share each activation that is loaded; none
/// of them may stay empty.
fn avx512(registers: usize, width: usize) -> (usize, usize) {
    let sizes = (1..SHARED_MAX.len()).flat_map(|pixels| {
        let shared = (1..=SHARED_MAX[pixels]).filter(|shared| registers.is_multiple_of(*shared));
        shared.map(move |shared| (shared, pixels))
    });
    let cycles = |&(shared, pixels): &(usize, usize)| {
        let tiles = registers / shared * width.div_ceil(pixels);
        // Three registers of sums leave part of a register of bytes empty.
        tiles * ((shared * pixels).max(UNDER_WAY) + ENDS + usize::from(shared == 3))
    };
    sizes.min_by_key(cycles).unwrap_or((1, 8))
}
