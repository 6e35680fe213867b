//! Direct int8 convolution: a packed layer, a driver over its tiles, and one file for each instruction
//! set that computes a tile. Knows shapes and bytes: no graph, no engine, no image.
//!
//! - `convolution` and `kernel` are what a caller chooses, `form` is how a kernel wants its operands.
//! - `span` cuts a convolution into tiles, `tile` is one of them, `packed` is all of them on their way
//!   through a kernel, `layer` the whole convolution on one image.
//! - Only the files of instruction sets and `vectors` hold unsafe code; `scalar` is their twin, and
//!   `tests` hold each path to it bit for bit.

#![deny(unsafe_code)]

mod conv;
mod convolution;
mod dense;
mod depthwise;
mod elementwise;
mod form;
mod geometry;
mod kernel;
mod last;
mod layer;
mod lookup;
mod paths;
mod picture;
mod plain;
mod plain_depthwise;
mod pool;
mod quantised;
mod refusal;
mod scalar;
mod table;
mod tile;
mod tiling;
mod vectors;
mod view;
mod widest;

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx2_depthwise;
#[cfg(target_arch = "x86_64")]
mod avx512_depthwise;
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
#[cfg(target_arch = "aarch64")]
mod neon_depthwise;
#[cfg(target_arch = "aarch64")]
mod neon_loop;
#[cfg(test)]
mod tests;

pub use conv::Conv;
pub use convolution::{Convolution, Geometry};
pub use elementwise::{Addition, Product, Scaled};
pub use geometry::Windows;
pub use kernel::Kernel;
pub use last::Last;
pub use layer::{Layer, Order};
pub use picture::{Dequantise, Outside, Quantise, enter, enter_flipped, leave_bytes};
pub use pool::{AveragePool, Counted, MaxPool};
pub use quantised::Quantised;
pub use refusal::Refusal;
pub use table::{Channels, Table, copy};
pub use vectors::leave_vectors;
#[cfg(target_arch = "x86_64")]
pub use vectors::upper_halves_in_use;
pub use view::{SLACK, Source, View};
