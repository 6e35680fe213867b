//! Direct int8 convolution: a packed layer, a driver over its tiles, and one file for each instruction
//! set that computes a tile. Knows shapes and bytes: no graph, no engine, no image.
//!
//! - `convolution` and `kernel` are what a caller chooses, `form` is how a kernel wants its operands.
//! - `span` cuts a convolution into tiles, `tile` is one of them, `packed` is all of them on their way
//!   through a kernel, `layer` the whole convolution on one image.
//! - Only the files of instruction sets and `vectors` hold unsafe code; `scalar` is their twin, and
//!   `tests` hold each path to it bit for bit.

#![deny(unsafe_code)]

mod convolution;
mod form;
mod kernel;
mod layer;
mod packed;
mod scalar;
mod span;
mod tile;
mod vectors;

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
pub use kernel::Kernel;
pub use layer::{Layer, Order};
pub use vectors::leave_vectors;
#[cfg(target_arch = "x86_64")]
pub use vectors::upper_halves_in_use;
