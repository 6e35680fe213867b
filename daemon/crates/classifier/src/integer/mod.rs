//! Whole parts of a network in integers, as one node each of the stock engine's graph.
//!
//! - `read` makes a graph of bytes (`ir`) of ONNX's; `strided` follows axes, `interpret` says what the graph means.
//! - `cut` decides which parts leave ONNX's graph, and puts a placeholder there.
//! - `job` is what one kernel computes, `layout` lays tensors into buffers, `plan` packs the kernels of a
//!   `program`, and `node` is its place in the stock engine.

mod cut;
#[cfg(test)]
mod interpret;
mod ir;
mod job;
mod layout;
mod node;
mod plan;
mod program;
mod read;
mod strided;
#[cfg(test)]
mod tests;

pub use cut::{Cut, Region, cut};
pub use node::{IntegerRegion, Session, Unplanned, place};
pub use program::Step;
pub use read::Known;
