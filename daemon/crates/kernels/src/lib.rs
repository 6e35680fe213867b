//! Operators of quantised networks on bytes: each packed for one kernel, and run from views of buffers into
//! others. Knows shapes and bytes: no graph, no engine, no file.
//!
//! - `kernel`, `quantised`, `geometry` and `view` are what every operator is described with; `refusal` says
//!   what none takes.
//! - `conv` chooses how a `convolution` is computed: `dense` cuts it into tiles (`form`, `tile`, `tiling`),
//!   `depthwise` into strips, `plain` takes what neither can. `last` is what is done with their bytes
//!   before they are written. `paths` alone knows all instruction sets.
//! - `pool`, `elementwise`, `table` and `channels` are the other operators, `picture` the ways in and out. They are
//!   loops that `widest` compiles for each instruction set.
//! - Only the files of instruction sets, `lookup`, `widest` and `vectors` hold unsafe code; `scalar`,
//!   `plain` and `plain_depthwise` are their twins, and `tests` hold each path to the definitions bit for
//!   bit.

#![deny(unsafe_code)]

mod channels;
mod conv;
mod convolution;
mod dense;
mod depthwise;
mod elementwise;
mod form;
mod geometry;
mod kernel;
mod last;
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
mod avx512_bytes;
#[cfg(target_arch = "x86_64")]
mod avx512_depthwise;
#[cfg(target_arch = "x86_64")]
mod avx512_put;
#[cfg(target_arch = "x86_64")]
mod avx512_vbmi;
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

pub use channels::Channels;
pub use conv::Conv;
pub use convolution::{Convolution, Geometry};
pub use elementwise::{Addition, Product, Scaled};
pub use geometry::Windows;
pub use kernel::Kernel;
pub use last::Last;
pub use picture::{Dequantise, Outside, Quantise, enter, enter_flipped, leave_bytes};
pub use pool::{AveragePool, Counted, MaxPool};
pub use quantised::Quantised;
pub use refusal::Refusal;
pub use table::{Table, copy};
pub use vectors::leave_vectors;
#[cfg(target_arch = "x86_64")]
pub use vectors::upper_halves_in_use;
pub use view::{SLACK, Source, View};
